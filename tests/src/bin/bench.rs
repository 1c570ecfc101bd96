//! What tests cannot show in seconds. `cargo run --release -p posthorn-tests --bin bench` prints how.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark fails by panicking"
)]

use std::time::Duration;

use posthorn_tests::{
    COST_HEAD, ColdStart, CostCase, Course, ENDPOINTS, Latencies, LoadOptions, RunCost,
    SoakOptions, WarmOptions, cold_starts, cost, load, scheduler_run, soak, warm,
};

const USAGE: &str = "usage: bench COMMAND
  soak [MESSAGES] [SEED]         messages through a stack on which everything fails (20000, seed 1)
  isolation [RATE] [SECONDS] [PAIRS]   healthy endpoints' latency without and with one of 20 that
                                 begins to hang (40 a second, 120 s behind 10 s of warm-up, 2 pairs)
  schedule [PENDING]             a run of the scheduler while many attempts are pending (100000)
  cost                           calls, units and price of a message, by endpoints, payload and course
  cost MESSAGES ENDPOINTS BYTES  the price of so many messages a month
  cold [REPEATS]                 starts of each function up to its first question for work (20)
  warm [MESSAGES] [FAN_OUT] [MS] CPU of the functions, with receivers that take so long (5000, 1 and 10 and 50, 0 and
                                 100 ms when nothing is said)
  latency [RATE] [SECONDS]       POST to receipt (50 and 500 a second, 20 s)";

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
        Some("cost") if arguments.len() == 1 => run_cost().await,
        Some("cost") => run_price(number(1, 1_000_000), number(2, 1), number(3, 2048)).await,
        Some("cold") => run_cold(number(1, 20)).await,
        Some("warm") if arguments.len() <= 2 => {
            let messages = number(1, 5000);
            for (fan_out, wait) in [(1, 0), (1, 100), (10, 0), (50, 0)] {
                run_warm(messages / fan_out, fan_out, wait).await;
            }
        }
        Some("warm") => run_warm(number(1, 5000), number(2, 1), number(3, 0)).await,
        Some("latency") if arguments.len() == 1 => {
            run_latency(50, 20).await;
            run_latency(500, 20).await;
        }
        Some("latency") => run_latency(number(1, 50), number(2, 20)).await,
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

async fn run_cost() {
    println!("{COST_HEAD}");
    let mut lines = Vec::new();
    for endpoints in [1, 10] {
        for payload in [512, 2048, 20 * 1024, 200 * 1024] {
            for course in [Course::FirstTry, Course::OneRetry, Course::Exhausted] {
                let case = CostCase {
                    endpoints,
                    payload,
                    course,
                };
                let cost = cost(case).await;
                println!("{cost}");
                lines.push(cost.to_json());
            }
        }
    }
    std::fs::create_dir_all("target/bench").unwrap();
    let json = serde_json::to_string_pretty(&lines).unwrap();
    std::fs::write("target/bench/cost.json", json).unwrap();
    let picture = picture(&lines);
    std::fs::write("target/bench/cost.svg", &picture).unwrap();
    println!("written: target/bench/cost.json, target/bench/cost.svg");
    if std::env::var_os("POSTHORN_WRITE_DOCS").is_some() {
        std::fs::write("docs/cost.svg", picture).unwrap();
        println!("written: docs/cost.svg");
    }
}

/// Dollars per million messages at the first try, as bars; lengths are logarithmic, as they differ by hundreds.
fn picture(costs: &[serde_json::Value]) -> String {
    const BARS: [(&str, &str, &str); 4] = [
        ("dollars_per_million", "Posthorn", "#1b7f4b"),
        ("naive", "the same without economies", "#b7bdc4"),
        ("eventbridge", "EventBridge API destinations*", "#8fb8de"),
        ("sns", "SNS over HTTP*", "#c9a7dd"),
    ];
    let mut parts = Vec::new();
    let mut y = 30;
    for cost in costs.iter().filter(|cost| cost["course"] == "first try") {
        let (endpoints, kib) = (
            &cost["endpoints"],
            cost["payload_bytes"].as_f64().unwrap() / 1024.0,
        );
        let plural = if *endpoints == 1 { "" } else { "s" };
        parts.push(format!(r#"<text x="10" y="{y}" font-weight="bold">{kib} KiB to {endpoints} endpoint{plural}</text>"#));
        for (field, name, colour) in BARS {
            y += 18;
            let dollars = cost[field].as_f64().unwrap();
            let width = (dollars + 1.0).log10() * 180.0;
            let top = y - 12;
            let end = 225.0 + width;
            parts.push(format!(
                r##"<text x="10" y="{y}" fill="#545b64">{name}</text>"##
            ));
            parts.push(format!(
                r#"<rect x="220" y="{top}" width="{width:.0}" height="14" fill="{colour}"/>"#
            ));
            parts.push(format!(
                r#"<text x="{end:.0}" y="{y}">${dollars:.2}</text>"#
            ));
        }
        y += 32;
    }
    parts.push(format!(r##"<text x="10" y="{y}" fill="#545b64">* without records, resends, per-customer secrets; list prices, logs on top</text>"##));
    let height = y + 20;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"760\" height=\"{height}\" fill=\"white\"/>\n{}\n</svg>\n",
        parts.join("\n")
    )
}

/// What so many messages a month cost, without what is there at idle (docs/costs.md).
async fn run_price(messages: u64, endpoints: u64, payload: u64) {
    let cost = cost(CostCase {
        endpoints: usize::try_from(endpoints).unwrap(),
        payload: usize::try_from(payload).unwrap(),
        course: Course::FirstTry,
    })
    .await;
    println!("{COST_HEAD}\n{cost}");
    println!(
        "{messages} messages a month of {payload} bytes to {endpoints} endpoints each: ${:.2}, and about $2.30 at idle (docs/costs.md); logs come on top",
        cost.price() * messages as f64
    );
}

async fn run_cold(repeats: u64) {
    println!("function        size     wall (median)   CPU (median, worst)   RSS (worst)");
    for (name, size, starts) in cold_starts(usize::try_from(repeats).unwrap()).await {
        let sorted = |of: fn(&ColdStart) -> Duration| {
            let mut all: Vec<_> = starts.iter().map(of).collect();
            all.sort();
            all
        };
        let (wall, cpu) = (sorted(|start| start.wall), sorted(|start| start.cpu));
        let middle = starts.len() / 2;
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let rss = starts.iter().map(|start| start.rss).max().unwrap();
        println!(
            "{name:<12} {:>6.1} MB {:>12.1} ms {:>10.1} ms {:>6.1} ms {:>10.1} MB",
            size as f64 / 1e6,
            ms(wall[middle]),
            ms(cpu[middle]),
            ms(cpu[cpu.len() - 1]),
            rss as f64 / 1024.0
        );
        let is_release = !cfg!(debug_assertions);
        assert!(
            !is_release || cpu[middle] <= Duration::from_millis(15),
            "the bar is 15 ms"
        );
        assert!(!is_release || rss <= 30 * 1024, "the bar is 30 MB");
    }
}

async fn run_warm(messages: u64, fan_out: u64, wait: u64) {
    let run = warm(WarmOptions {
        messages: usize::try_from(messages).unwrap(),
        fan_out: usize::try_from(fan_out).unwrap(),
        answer_after: Duration::from_millis(wait),
    })
    .await;
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let deliveries = (messages * fan_out) as f64;
    let own = run.ingest.as_secs_f64() / fan_out as f64 + run.dispatcher.as_secs_f64();
    println!(
        "{messages} messages to {fan_out} endpoints that take {wait} ms: ingest {:.0} us a message, dispatcher {:.0} us a delivery; \
         {:.0} deliveries per second of their CPU; {:.0} a second here, where everything else takes {:.0} us of CPU a delivery",
        us(run.ingest),
        us(run.dispatcher),
        1.0 / own,
        deliveries / run.took.as_secs_f64(),
        us(run.rest),
    );
    for (at, ingest, dispatchers) in run
        .memory
        .iter()
        .step_by(run.memory.len().div_ceil(10).max(1))
    {
        println!(
            "  {at:>5} s   ingest {:>6.1} MB   dispatchers {:>6.1} MB",
            *ingest as f64 / 1024.0,
            *dispatchers as f64 / 1024.0
        );
    }
}

async fn run_latency(rate: u64, seconds: u64) {
    let run = load(LoadOptions {
        rate: u32::try_from(rate).unwrap(),
        length: Duration::from_secs(seconds),
        hanging: false,
    })
    .await;
    print_run(&format!("{rate} a second"), &run);
}
