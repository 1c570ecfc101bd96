//! What tests cannot show in seconds. `cargo run --release -p posthorn-tests --bin bench` prints how.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark fails by panicking"
)]

use std::time::Duration;

use posthorn_tests::{
    ENDPOINTS, Latencies, LoadOptions, RunCost, SoakOptions, load, scheduler_run, soak,
};

const USAGE: &str = "usage: bench COMMAND
  soak [MESSAGES] [SEED]         messages through a stack on which everything fails (20000, seed 1)
  isolation [RATE] [SECONDS] [PAIRS]   healthy endpoints' latency without and with one of 20 that
                                 begins to hang (40 a second, 120 s behind 10 s of warm-up, 2 pairs)
  schedule [PENDING]             a run of the scheduler while many attempts are pending (100000)";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| {
        let text = arguments.get(index);
        text.map_or(default, |text| text.parse().expect(USAGE))
    };
    match arguments.first().map(String::as_str) {
        Some("soak") => run_soak(number(1, 20_000), number(2, 1)).await,
        Some("isolation") => run_isolation(number(1, 40), number(2, 120), number(3, 2)).await,
        Some("schedule") => run_schedule(number(1, 100_000)).await,
        _ => eprintln!("{USAGE}"),
    }
}

async fn run_soak(messages: u64, seed: u64) {
    let report = soak(SoakOptions {
        messages: usize::try_from(messages).unwrap(),
        seed,
        producers: 64,
        lost_after: 20,
        patience: Duration::from_secs(1200),
    })
    .await;
    println!("{report}");
    assert_eq!((report.lost, report.unfinished, report.wrong), (0, 0, 0));
    assert!(report.duplicates <= report.window());
}

/// Pairs of runs, so that a machine that is busy for a while is so for both.
async fn run_isolation(rate: u64, seconds: u64, pairs: u64) {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for pair in 0..2 * pairs {
        let hanging = pair % 2 == 1;
        let run = load(LoadOptions {
            rate: u32::try_from(rate).unwrap(),
            length: Duration::from_secs(seconds),
            hanging,
        })
        .await;
        print_run(if hanging { "one hangs" } else { "none hangs" }, &run);
        if hanging { &mut with } else { &mut without }.push(run);
    }
    let (without, with) = (Latencies::together(&without), Latencies::together(&with));
    println!(
        "{ENDPOINTS} endpoints, {rate} messages a second, {pairs} runs of {seconds} s each; the healthy ones:"
    );
    print_run("none hangs", &without);
    print_run("one hangs", &with);
    for part in [0.5, 0.99] {
        let ratio = with.percentile(part).as_secs_f64() / without.percentile(part).as_secs_f64();
        println!("p{:<2} with / without: {ratio:.2}", part * 100.0);
        assert!(ratio <= 1.25, "the bar is 1.2, and 0.05 for the machine");
    }
}

fn print_run(name: &str, run: &Latencies) {
    let ms = |part| run.percentile(part).as_secs_f64() * 1000.0;
    println!(
        "{name:<12} {:>6} messages   p50 {:>7.1} ms   p99 {:>7.1} ms   max {:>7.1} ms",
        run.count(),
        ms(0.5),
        ms(0.99),
        ms(1.0)
    );
}

async fn run_schedule(most: u64) {
    let most = usize::try_from(most).unwrap();
    println!("a run of the scheduler, for each minute:");
    for (due, pending) in [(25, 0), (250, 0), (2500, 0), (25, most / 100), (25, most)] {
        let RunCost {
            read_units,
            write_units,
            calls,
        } = scheduler_run(due, pending).await;
        println!(
            "{due:>5} due {pending:>8} pending   {read_units:>6.1} RRU   {write_units:>4.1} WRU   {calls:?}"
        );
    }
}
