//! Benchmarks: what tests cannot show within seconds. `cargo run --release -p posthorn-tests --bin
//! bench` prints the commands.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark fails by panicking"
)]

use std::time::Duration;

use posthorn_tests::measure::{
    Amount, COST_HEAD, ColdStart, CostCase, ENDPOINTS, IDLE, Latencies, LoadOptions, Outcome,
    RunCost, SendMode, SoakOptions, WarmOptions, cold_starts, cost, growth, load, scheduler_run,
    send_cost, soak, table, warm,
};
use serde_json::{Value, json};

const USAGE: &str = "usage: bench COMMAND
  soak [MESSAGES] [SEED]         messages through a stack on which everything fails (20000, seed 1)
  isolation [RATE] [SECONDS] [PAIRS]   healthy endpoints' latency without and with one of 20 that
                                 starts to hang (40 a second, 120 s after 10 s of warm-up, 2 pairs)
  schedule [PENDING]             a run of the scheduler while many attempts are pending (100000)
  cost                           calls, units and price of a message, by endpoints, payload and course
  cost MESSAGES ENDPOINTS BYTES  the price of this many messages a month
  publish [MESSAGES]             what a message costs, by how it is sent: posted, in batches, through a queue (1000)
  cold [REPEATS]                 starts of each function until it first asks for work (20)
  warm [DELIVERIES] [FAN_OUT] [MS] [BATCH] [REPEATS]   CPU of the functions, with receivers that take MS and
                                 messages posted in batches (4000, and a table of modes without arguments, 3)
  latency [RATE] [SECONDS]       POST to receipt (50 and 500 a second, 20 s)
  growth [MILLION]               the cost of a message while tables grow up to this size (1000000)
  memory [MESSAGES]              memory of the functions while this many messages pass (100000)
  all                            cold, cost, publish, warm, latency, memory, schedule and growth, one after another
Numbers are written to target/bench/COMMAND.json.";

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
        Some("cost") if arguments.len() > 1 => {
            run_price(number(1, 1_000_000), number(2, 1), number(3, 2048)).await;
        }
        Some("all") => {
            let mut all = serde_json::Map::new();
            for command in ALL {
                println!("\n== {command}");
                let numbers = run(command, &|_, default| default).await;
                all.insert(command.to_owned(), numbers.unwrap());
            }
            write("all", &all.into());
        }
        Some(command) => match run(command, &number).await {
            Some(numbers) => write(command, &numbers),
            None => eprintln!("{USAGE}"),
        },
        None => eprintln!("{USAGE}"),
    }
}

const ALL: [&str; 8] = [
    "cold", "cost", "publish", "warm", "latency", "memory", "schedule", "growth",
];

/// Runs a command that returns numbers; `None` when there is no such command.
async fn run(command: &str, number: &impl Fn(usize, u64) -> u64) -> Option<Value> {
    Some(match command {
        "schedule" => run_schedule(number(1, 100_000)).await,
        "cost" => run_cost().await,
        "publish" => run_publish(number(1, 1000)).await,
        "cold" => run_cold(number(1, 20)).await,
        "warm" => run_warm(number).await,
        "latency" => run_latency(number).await,
        "growth" => run_growth(number(1, 1_000_000)).await,
        "memory" => run_memory(number(1, 100_000)).await,
        _ => return None,
    })
}

fn write(command: &str, numbers: &Value) {
    std::fs::create_dir_all("target/bench").unwrap();
    let path = format!("target/bench/{command}.json");
    std::fs::write(&path, format!("{numbers:#}\n")).unwrap();
    println!("written: {path}");
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

/// Pairs of runs, so that a busy period of the machine affects both kinds.
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
    let (without, with) = (Latencies::merged(&without), Latencies::merged(&with));
    println!(
        "{ENDPOINTS} endpoints, {rate} messages a second, {pairs} runs of {seconds} s each; the healthy ones:"
    );
    print_run("none hangs", &without);
    print_run("one hangs", &with);
    for part in [0.5, 0.99] {
        let ratio = with.percentile(part).as_secs_f64() / without.percentile(part).as_secs_f64();
        println!("p{:<2} with / without: {ratio:.2}", part * 100.0);
        assert!(ratio <= 1.25, "the limit is 1.2, plus 0.05 for the machine");
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

async fn run_schedule(most: u64) -> Value {
    let mut lines = Vec::new();
    let most = usize::try_from(most).unwrap();
    println!("a run of the scheduler, per minute:");
    for (due, pending) in [(25, 0), (250, 0), (2500, 0), (25, most / 100), (25, most)] {
        let RunCost {
            read_units,
            write_units,
            calls,
        } = scheduler_run(due, pending).await;
        println!(
            "{due:>5} due {pending:>8} pending   {read_units:>6.1} RRU   {write_units:>4.1} WRU   {calls:?}"
        );
        lines.push(json!({ "due": due, "pending": pending, "read_units": read_units, "write_units": write_units }));
    }
    lines.into()
}

async fn run_cost() -> Value {
    println!(
        "a message of 2 KB to one endpoint, delivered at the first try and sent by an official client:"
    );
    let lone = cost(CostCase {
        endpoints: 1,
        payload: 2048,
        outcome: Outcome::FirstTry,
    })
    .await;
    println!("{}", table(&lone.counted().bill()));
    print_idle();
    println!("{COST_HEAD}");
    let mut lines = Vec::new();
    for endpoints in [1, 10] {
        for payload in [512, 2048, 20 * 1024, 200 * 1024] {
            for outcome in [Outcome::FirstTry, Outcome::OneRetry, Outcome::Exhausted] {
                let case = CostCase {
                    endpoints,
                    payload,
                    outcome,
                };
                let cost = cost(case).await;
                println!("{cost}");
                lines.push(cost.to_json());
            }
        }
    }
    std::fs::create_dir_all("target/bench").unwrap();
    let picture = picture(&lines);
    std::fs::write("target/bench/cost.svg", &picture).unwrap();
    println!("written: target/bench/cost.svg");
    if std::env::var_os("POSTHORN_WRITE_DOCS").is_some() {
        std::fs::write("docs/cost.svg", picture).unwrap();
        println!("written: docs/cost.svg");
    }
    lines.into()
}

fn print_idle() {
    println!("and per month, whatever is sent:");
    for (name, dollars) in IDLE {
        println!("{name:<77} {dollars:>5.2}");
    }
    let sum: f64 = IDLE.iter().map(|(_, dollars)| dollars).sum();
    println!("{:<77} {sum:>5.2}\n", "$ a month");
}

async fn run_publish(messages: u64) -> Value {
    println!(
        "a million messages of 2 KB to one endpoint at the first try, all items of the bill, POSTs with a key; slow: each is sent when the previous one is"
    );
    println!("delivered; busy: 32 sends run concurrently");
    println!("                                      $    WRU    RRU    SQS  ingests  dispatches");
    let mut lines = Vec::new();
    for (mode, name) in [
        (SendMode::Post, "posted one by one"),
        (SendMode::Batch(10), "posted in batches of 10"),
        (SendMode::Batch(50), "posted in batches of 50"),
        (SendMode::Queue(1), "messages queue, one by one"),
        (SendMode::Queue(10), "messages queue, in tens"),
    ] {
        for (is_busy, pace) in [(false, "slow"), (true, "busy")] {
            // Slow sends take a while each, and are all alike.
            let messages = if is_busy { messages } else { messages / 10 };
            let cost = send_cost(mode, is_busy, usize::try_from(messages).unwrap()).await;
            let [ingests, dispatches] = cost.invocations;
            println!(
                "{name:<27} {pace} {:>6.2} {:>6.2} {:>6.2} {:>6.2} {ingests:>8.2} {dispatches:>11.2}",
                cost.price * 1e6,
                cost.write_units,
                cost.read_units,
                cost.sqs
            );
            lines.push(json!({
                "way": name, "pace": pace, "dollars_per_million": cost.price * 1e6, "write_units": cost.write_units,
                "read_units": cost.read_units, "sqs_requests": cost.sqs, "ingests": ingests, "dispatches": dispatches,
            }));
        }
    }
    lines.into()
}

/// Dollars per million messages at the first try, as bars; lengths are logarithmic, as they differ by hundreds.
fn picture(costs: &[Value]) -> String {
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
    parts.push(format!(r##"<text x="10" y="{y}" fill="#545b64">* without records, resends, per-customer secrets; their list prices alone, without logs and traffic</text>"##));
    let height = y + 20;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"760\" height=\"{height}\" fill=\"white\"/>\n{}\n</svg>\n",
        parts.join("\n")
    )
}

/// The cost of this many messages a month, without the idle cost (docs/costs.md).
async fn run_price(messages: u64, endpoints: u64, payload: u64) {
    let cost = cost(CostCase {
        endpoints: usize::try_from(endpoints).unwrap(),
        payload: usize::try_from(payload).unwrap(),
        outcome: Outcome::FirstTry,
    })
    .await;
    println!("{COST_HEAD}\n{cost}");
    println!(
        "{messages} messages a month of {payload} bytes to {endpoints} endpoints each: ${:.2}, and about $2.30 at idle (docs/costs.md)",
        cost.price() * messages as f64
    );
}

async fn run_cold(repeats: u64) -> Value {
    let mut lines = Vec::new();
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
        lines.push(json!({
            "function": name, "binary_bytes": size, "wall_ms": ms(wall[middle]), "cpu_ms": ms(cpu[middle]),
            "worst_cpu_ms": ms(cpu[cpu.len() - 1]), "worst_rss_kib": rss,
        }));
        let is_release = !cfg!(debug_assertions);
        assert!(
            !is_release || cpu[middle] <= Duration::from_millis(15),
            "the bar is 15 ms"
        );
        assert!(!is_release || rss <= 30 * 1024, "the bar is 30 MB");
    }
    lines.into()
}

/// Deliveries, endpoints of the application, milliseconds until a response, messages per POST.
type Mode = (u64, u64, u64, u64);

async fn run_warm(number: &impl Fn(usize, u64) -> u64) -> Value {
    const NONE: u64 = u64::MAX;
    let deliveries = number(1, 4000);
    let modes: Vec<Mode> = match number(2, NONE) {
        NONE => [
            (1, 0, 1),
            (1, 100, 1),
            (1, 0, 10),
            (1, 0, 50),
            (10, 0, 1),
            (10, 0, 10),
            (50, 0, 1),
        ]
        .map(|(fan_out, ms, batch)| (deliveries, fan_out, ms, batch))
        .to_vec(),
        fan_out => vec![(deliveries, fan_out, number(3, 0), number(4, 1))],
    };
    println!(
        "CPU in us, median (least, most): of ingest for a message, of dispatchers for a delivery, of both for a delivery,"
    );
    println!(
        "of everything else for a delivery; then deliveries of an invocation, and deliveries a second: here, and for a"
    );
    println!("second of the functions' CPU");
    println!(
        "endpoints  answer  batch        ingest               dispatcher                 both        else  together  here  per core"
    );
    let mut lines = Vec::new();
    for mode in modes {
        lines.push(run_mode(mode, number(5, 3)).await);
    }
    lines.into()
}

async fn run_mode((deliveries, fan_out, ms, batch): Mode, repeats: u64) -> Value {
    let (mut ingest, mut dispatcher, mut both, mut others) = (vec![], vec![], vec![], vec![]);
    let (mut together, mut here) = (vec![], vec![]);
    for _ in 0..repeats {
        let options = WarmOptions {
            messages: usize::try_from((deliveries / fan_out / batch).max(1) * batch).unwrap(),
            batch: usize::try_from(batch).unwrap(),
            fan_out: usize::try_from(fan_out).unwrap(),
            answer_after: Duration::from_millis(ms),
        };
        let run = warm(options).await;
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        ingest.push(us(run.ingest));
        dispatcher.push(us(run.dispatcher));
        both.push(us(run.ingest) / fan_out as f64 + us(run.dispatcher));
        others.push(us(run.rest));
        together.push(run.together);
        here.push((options.messages * options.fan_out) as f64 / run.took.as_secs_f64());
    }
    let [ingest, dispatcher, both, others, together, here] =
        [ingest, dispatcher, both, others, together, here].map(Spread::of);
    println!(
        "{fan_out:>9} {ms:>4} ms {batch:>6} {ingest:>21} {dispatcher:>21} {both:>21} {:>8.0} {:>9.1} {:>5.0} {:>9.0}",
        others.middle,
        together.middle,
        here.middle,
        1e6 / both.middle
    );
    json!({
        "endpoints": fan_out, "answer_ms": ms, "batch": batch, "deliveries": deliveries, "repeats": repeats,
        "ingest_us": ingest.json(), "dispatcher_us": dispatcher.json(), "both_us_a_delivery": both.json(),
        "else_us": others.json(), "deliveries_of_an_invocation": together.json(), "deliveries_a_second_here": here.json(),
    })
}

/// A number over several repeats.
#[derive(Clone, Copy)]
struct Spread {
    least: f64,
    middle: f64,
    most: f64,
}

impl Spread {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        Self {
            least: all[0],
            middle: all[all.len() / 2],
            most: all[all.len() - 1],
        }
    }

    fn json(self) -> Value {
        json!({ "least": self.least, "median": self.middle, "most": self.most })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            least,
            middle,
            most,
        } = self;
        f.pad(&format!("{middle:.0} ({least:.0}, {most:.0})"))
    }
}

/// The functions' memory, in ten rows.
async fn run_memory(messages: u64) -> Value {
    let run = warm(WarmOptions {
        messages: usize::try_from(messages).unwrap(),
        batch: 1,
        fan_out: 1,
        answer_after: Duration::ZERO,
    })
    .await;
    println!(
        "{messages} messages in {:.0} s; resident memory in MB, all processes of a function together (and how many):",
        run.took.as_secs_f64()
    );
    let step = run.memory.len().div_ceil(10).max(1);
    let mut lines = Vec::new();
    for sample in run.memory.iter().step_by(step).chain(run.memory.last()) {
        print!("{:>6} s", sample.at.as_secs());
        let mut line = json!({ "seconds": sample.at.as_secs() });
        for (name, kib, processes) in &sample.functions {
            let mb = *kib as f64 / 1024.0;
            if *processes > 0 {
                print!(
                    "   {} {mb:>6.1} ({processes})",
                    name.trim_end_matches("Function")
                );
            }
            line[name] = json!({ "mb": mb, "processes": processes });
        }
        println!();
        lines.push(line);
    }
    lines.into()
}

async fn run_latency(number: &impl Fn(usize, u64) -> u64) -> Value {
    let rates = match number(1, 0) {
        0 => vec![50, 500],
        rate => vec![rate],
    };
    let mut lines = Vec::new();
    for rate in rates {
        let run = load(LoadOptions {
            rate: u32::try_from(rate).unwrap(),
            length: Duration::from_secs(number(2, 20)),
            hanging: false,
        })
        .await;
        print_run(&format!("{rate} a second"), &run);
        let ms = |part| run.percentile(part).as_secs_f64() * 1000.0;
        lines.push(
            json!({ "rate": rate, "messages": run.count(), "p50_ms": ms(0.5), "p99_ms": ms(0.99) }),
        );
    }
    lines.into()
}

async fn run_growth(million: u64) -> Value {
    let million = usize::try_from(million).unwrap();
    let step = |applications, messages, pending| Amount {
        applications,
        messages,
        pending,
    };
    let steps = [
        step(million / 1000, 0, 0),
        step(million / 100, 0, 0),
        step(million / 10, 0, 0),
        step(million / 10, million, 0),
        step(million / 10, million, million),
    ];
    println!(
        "applications  messages   pending   calls   WRU   RRU   CPU of ingest   of dispatchers   scheduler, nothing due"
    );
    let mut lines = Vec::new();
    growth(&steps, |it| {
        let [ingest, dispatcher] = it.cpu.map(|time| time.as_secs_f64() * 1e6);
        let Amount { applications, messages, pending } = it.amount;
        println!(
            "{applications:>12} {messages:>9} {pending:>9} {:>7.2} {:>5.2} {:>5.2} {ingest:>12.0} us {dispatcher:>13.0} us {:>15.1} RRU",
            it.calls, it.write_units, it.read_units, it.scheduler
        );
        lines.push(json!({
            "applications": applications, "messages": messages, "pending": pending, "calls": it.calls,
            "write_units": it.write_units, "read_units": it.read_units, "ingest_us": ingest, "dispatcher_us": dispatcher,
            "scheduler_read_units": it.scheduler,
        }));
    })
    .await;
    lines.into()
}
