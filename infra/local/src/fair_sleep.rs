//! Timeouts on a machine that other programs use too. On Lambda a function has its share of a
//! processor to itself, so here only the time counts during which a process could have had a
//! processor.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// How often the load of the machine is checked.
const TICK: Duration = Duration::from_millis(50);

/// Waits for a duration, and longer while more threads want to run than there are processors: each
/// second then counts only in proportion to the share that a thread gets.
pub async fn fair_sleep(duration: Duration) {
    let mut left = duration;
    while !left.is_zero() {
        let started = Instant::now();
        tokio::time::sleep(left.min(TICK)).await;
        let passed = started.elapsed();
        left = left.saturating_sub(passed.div_f64(threads_per_processor()));
    }
}

/// How many threads share a processor now; 1 when none has to wait, or when that is unknown.
fn threads_per_processor() -> f64 {
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    let runnable = std::fs::read_to_string("/proc/loadavg").ok();
    let runnable = runnable.and_then(|text| runnable_in(&text)).unwrap_or(0);
    (runnable as f64 / *PROCESSORS as f64).max(1.0)
}

/// Reads the 3 in "0.20 0.18 0.12 3/417 11206": 3 of 417 threads are running or want to run
/// (proc_loadavg(5)).
fn runnable_in(loadavg: &str) -> Option<usize> {
    let threads = loadavg.split_whitespace().nth(3)?;
    threads.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_want_to_run_are_read() {
        for (text, wanted) in [
            ("0.20 0.18 0.12 3/417 11206\n", Some(3)),
            ("0.20 0.18", None),
            ("", None),
        ] {
            assert_eq!(runnable_in(text), wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn a_fair_sleep_lasts_at_least_as_long_as_requested() {
        let started = Instant::now();
        fair_sleep(Duration::from_millis(120)).await;
        assert!(started.elapsed() >= Duration::from_millis(120));
        assert!(threads_per_processor() >= 1.0);
    }
}
