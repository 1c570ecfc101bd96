//! What the scheduler reads and writes depends on what is due, not on what is pending. `bench
//! schedule` measures it with 100,000.

use posthorn_tests::measure::scheduler_run;

const DUE: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_costs_the_same_with_ten_thousand_attempts_pending() {
    let (few, many) = (
        scheduler_run(DUE, 0).await,
        scheduler_run(DUE, 10_000).await,
    );
    assert_eq!(few.calls, many.calls, "the same calls");
    // Reading the cursor once for two minutes makes a difference of half a unit.
    assert!(
        (few.read_units - many.read_units).abs() <= 0.5 && few.write_units == many.write_units,
        "{few:?} {many:?}"
    );
    let query = |(call, count): &(String, u64)| call == "DynamoDB Query" && *count == 4;
    assert!(
        few.calls.iter().any(query),
        "one Query for each shard: {few:?}"
    );
}
