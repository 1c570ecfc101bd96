//! Nothing acknowledged is lost while AWS throttles, fails, drops, delays and duplicates calls,
//! functions are killed, the stack is restarted and the queue is purged. `cargo run --release -p
//! posthorn-tests --bin bench -- soak` does it with 20,000 messages.

use std::time::Duration;

use posthorn_tests::measure::{SoakOptions, soak};

async fn run(seed: u64) {
    let report = soak(SoakOptions {
        messages: 120,
        seed,
        producers: 24,
        lost_after: 5,
        patience: Duration::from_secs(700),
    })
    .await;
    println!("seed {seed}\n{report}");
    let ends = (
        report.accepted,
        report.unfinished,
        report.lost,
        report.wrong,
    );
    assert_eq!(ends, (120, 0, 0, 0), "{report}");
    assert!(report.duplicates <= report.window(), "{report}");
    let injected = report.injected.unwrap();
    assert!(injected.faults.values().sum::<u64>() > 20, "{injected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_message_comes_to_its_end_whatever_fails() {
    run(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_with_other_faults_too() {
    run(2).await;
}
