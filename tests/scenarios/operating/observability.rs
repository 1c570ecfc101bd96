//! What operators see: metrics, with alarms and a dashboard, and traces.

use std::collections::{BTreeMap, BTreeSet};

use posthorn_runtime::metrics::{BY_VERSION, DIMENSION, Metric, NAMESPACE, VERSION};
use posthorn_tests::{Receiver, World, until};
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

const MESSAGE: &str = r#"{"eventType":"invoice.paid","payload":{}}"#;

/// The printed lines of metrics.
fn lines(world: &World) -> Vec<Value> {
    let logs = world.stack.logs();
    let lines = logs.iter().filter(|line| line.contains("\"_aws\""));
    let line = |line: &String| serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    lines.map(line).collect()
}

/// All values of each metric, by function and name.
fn totals(lines: &[Value]) -> BTreeMap<(String, String), Vec<u64>> {
    let mut totals: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for line in lines {
        let function = line[DIMENSION].as_str().unwrap();
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        // A second directive is for the function's version (see the unit test in shared/runtime).
        let is_by_version = line.get(VERSION).is_some();
        assert_eq!(directives.len(), 1 + usize::from(is_by_version));
        assert_eq!(directives[0]["Namespace"], NAMESPACE);
        assert_eq!(directives[0]["Dimensions"], json!([[DIMENSION]]));
        for metric in directives[0]["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            let known = Metric::ALL.iter().find(|it| it.name() == name).unwrap();
            assert_eq!(metric["Unit"], known.unit());
            let values = match &line[name] {
                Value::Array(values) => values.clone(),
                one => vec![one.clone()],
            };
            let values = values.iter().map(|value| value.as_u64().unwrap());
            let key = (function.to_owned(), name.to_owned());
            totals.entry(key).or_default().extend(values);
        }
        // Besides the metrics there are only the dimensions: an id would create more metrics, or
        // leak.
        let metrics = directives[0]["Metrics"].as_array().unwrap().len();
        let others = 2 + usize::from(is_by_version);
        assert_eq!(line.as_object().unwrap().len(), metrics + others, "{line}");
    }
    totals
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_and_the_end_of_a_delivery_are_counted() {
    let world = World::with_parameters([("RetrySchedule", "1")]).await;
    let receiver = Receiver::answering([503, 429]).await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let id = world.send(&application.id, MESSAGE).await;
    world.attempts(&application, &id, 2).await;
    let sums = until("all counts", || async {
        let totals = totals(&lines(&world));
        let values = |function: &str, metric: Metric| {
            let key = (function.to_owned(), metric.name().to_owned());
            totals.get(&key).cloned().unwrap_or_default()
        };
        // On a slow machine an attempt may take so long that its retry moves to the other lane.
        let dispatcher = |metric| {
            let lanes = ["DispatcherFunction", "SlowDispatcherFunction"];
            lanes
                .map(|lane| values(lane, metric))
                .concat()
                .iter()
                .sum::<u64>()
        };
        (dispatcher(Metric::DeliveriesExhausted) > 0).then(|| {
            let latencies = values("DispatcherFunction", Metric::FirstAttemptLatency);
            assert_eq!(latencies.len(), 1, "of the first attempt only");
            assert!(latencies[0] < 60_000, "{latencies:?}");
            [
                values("IngestFunction", Metric::MessagesAccepted)[0],
                dispatcher(Metric::Attempts),
                dispatcher(Metric::Attempts5xx),
                dispatcher(Metric::Attempts4xx),
                dispatcher(Metric::AttemptsThrottled),
                dispatcher(Metric::Attempts2xx),
                dispatcher(Metric::DeliveriesExhausted),
                dispatcher(Metric::DeliveriesSucceeded),
            ]
        })
    })
    .await;
    assert_eq!(sums, [1, 2, 1, 1, 1, 0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successful_delivery_is_counted_once() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let ids = [
        world.send(&application.id, MESSAGE).await,
        world.send(&application.id, MESSAGE).await,
    ];
    for id in &ids {
        world.attempts(&application, id, 1).await;
    }
    until("both counts", || async {
        let totals = totals(&lines(&world));
        let of = |metric: Metric| {
            let key = ("DispatcherFunction".to_owned(), metric.name().to_owned());
            totals.get(&key).map(|values| values.iter().sum::<u64>())
        };
        let counts = [
            Metric::Attempts,
            Metric::Attempts2xx,
            Metric::DeliveriesSucceeded,
        ]
        .map(of);
        assert_eq!(of(Metric::DeliveriesExhausted), None);
        (counts == [Some(2); 3]).then_some(())
    })
    .await;
    let scheduler = world.stack.invoke("SchedulerFunction", &json!({})).await;
    assert!(scheduler.is_ok());
    let lag = until("the scheduler's lag", || async {
        let totals = totals(&lines(&world));
        let key = (
            "SchedulerFunction".to_owned(),
            Metric::SchedulerLag.name().to_owned(),
        );
        totals.get(&key).cloned()
    })
    .await;
    assert!(lag.iter().all(|seconds| *seconds < 120), "{lag:?}");
    let key = (
        "DispatcherFunction".to_owned(),
        Metric::Attempts.name().to_owned(),
    );
    assert_eq!(totals(&lines(&world))[&key].iter().sum::<u64>(), 2, "still");
}

fn field<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {line}"))
}

/// What a function logged about a message.
async fn logged(world: &World, what: &str, id: &str, count: usize) -> Vec<Value> {
    until("the log lines", || async {
        let logs = world.stack.logs();
        let lines = logs
            .iter()
            .filter(|line| line.contains(&format!("\"message\":\"{what}\"")) && line.contains(id));
        let lines: Vec<Value> = lines
            .map(|line| serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap())
            .collect();
        (lines.len() == count).then_some(lines)
    })
    .await
}

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_caller_to_every_attempt() {
    let world = World::with_parameters([("TraceContext", "true"), ("RetrySchedule", "1")]).await;
    let receiver = Receiver::answering([500, 204, 204]).await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    let answer = world.post(&path, MESSAGE, &[("traceparent", CALLER)]).await;
    let id = answer.body["id"].as_str().unwrap().to_owned();
    let requests = receiver.wait_for(2).await;
    let accepted = &logged(&world, "accepted", &id, 1).await[0];
    let attempted = logged(&world, "attempted", &id, 2).await;
    assert_eq!(field(accepted, "parent_span_id"), "00f067aa0ba902b7");
    let mut spans = BTreeSet::from(["00f067aa0ba902b7", field(accepted, "span_id")]);
    for (attempt, request) in attempted.iter().zip(&requests) {
        assert_eq!(field(attempt, "parent_span_id"), field(accepted, "span_id"));
        let (trace, span) = (field(attempt, "trace_id"), field(attempt, "span_id"));
        assert_eq!(
            request.header("traceparent"),
            format!("00-{trace}-{span}-01")
        );
        assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
        spans.insert(span);
    }
    assert_eq!(spans.len(), 4, "each its own");
    // Without a caller's context, a message starts its own trace.
    let id = world.send(&application.id, MESSAGE).await;
    let request = &receiver.wait_for(3).await[2];
    let accepted = &logged(&world, "accepted", &id, 1).await[0];
    assert!(accepted.get("parent_span_id").is_none());
    let trace = field(accepted, "trace_id");
    assert!(request.header("traceparent").contains(trace));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_traced_unless_it_is_switched_on() {
    let world = World::start().await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await;
    world.endpoint(&application, &receiver).await;
    let path = format!("/api/v1/app/{}/msg", application.id);
    world.post(&path, MESSAGE, &[("traceparent", CALLER)]).await;
    let request = &receiver.wait_for(1).await[0];
    assert_eq!(request.header("traceparent"), "");
}

fn yaml(name: &str) -> Yaml {
    let path = format!("{}/../infra/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn untagged(yaml: &Yaml) -> &Yaml {
    match yaml {
        Yaml::Tagged(tagged) => &tagged.value,
        other => other,
    }
}

/// The mappings of a document that are metrics: those with a namespace.
fn metrics<'a>(yaml: &'a Yaml, found: &mut Vec<&'a Yaml>) {
    match untagged(yaml) {
        Yaml::Sequence(items) => items.iter().for_each(|item| metrics(item, found)),
        Yaml::Mapping(entries) => {
            if entries.contains_key("Namespace") {
                found.push(yaml);
            }
            entries.values().for_each(|value| metrics(value, found));
        }
        _ => {}
    }
}

fn names() -> BTreeSet<&'static str> {
    Metric::ALL.iter().map(|metric| metric.name()).collect()
}

#[test]
fn alarms_watch_metrics_that_there_are() {
    let alarms = yaml("alarms.yaml");
    let mut found = Vec::new();
    metrics(&alarms, &mut found);
    let of = |namespace: &str| -> BTreeSet<&str> {
        let metrics = found.iter().filter(|it| it["Namespace"] == namespace);
        metrics
            .map(|it| it["MetricName"].as_str().unwrap())
            .collect()
    };
    let ours = of(NAMESPACE);
    assert!(ours.is_subset(&names()), "{ours:?}");
    for needed in [
        "SchedulerLag",
        "TasksRepaired",
        "Attempts",
        "Attempts2xx",
        "TaskFaults",
    ] {
        assert!(ours.contains(needed), "{needed}");
    }
    for metric in found.iter().filter(|it| it["Namespace"] == NAMESPACE) {
        assert_eq!(metric["Dimensions"][0]["Name"], DIMENSION);
        let who = untagged(&metric["Dimensions"][0]["Value"])
            .as_str()
            .unwrap();
        let printed_by: &[&str] = match metric["MetricName"].as_str().unwrap() {
            "SchedulerLag" | "TasksRepaired" => &["SchedulerFunction"],
            "RequestFaults" | "TokensRefused" => &["IngestFunction", "ApiFunction"],
            _ => &["DispatcherFunction", "SlowDispatcherFunction"],
        };
        assert!(printed_by.contains(&who), "{metric:?}");
    }
    let sqs = [
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesVisible",
    ];
    assert_eq!(of("AWS/SQS"), BTreeSet::from(sqs));
}

/// An alarm that is still on because of the previous version would stop the deployment of its fix.
#[test]
fn the_guards_of_a_gradual_deployment_see_the_new_version_alone() {
    let alarms = yaml("alarms.yaml");
    let template = include_str!("../../../template.yaml");
    let guards: BTreeSet<_> = template
        .lines()
        .find_map(|line| line.trim().strip_prefix("Alarms: !If [HasAlarms, ["))
        .unwrap()
        .split("AlarmsStack.Outputs.")
        .skip(1)
        .map(|rest| rest.split([',', ']']).next().unwrap())
        .collect();
    assert_eq!(guards, ["NewVersionAlarm", "NewVersionFaultsAlarm"].into());
    for guard in guards {
        let output = untagged(&alarms["Outputs"][guard]["Value"]);
        let properties = &alarms["Resources"][output.as_str().unwrap()]["Properties"];
        let name = untagged(&properties["AlarmName"]).as_str().unwrap();
        let mut found = Vec::new();
        metrics(properties, &mut found);
        assert_eq!(found.len(), 4, "{guard}");
        for metric in found {
            let dimensions = metric["Dimensions"].as_sequence().unwrap();
            let version = dimensions.iter().find(|it| {
                let name = it["Name"].as_str().unwrap();
                name == VERSION || name == "ExecutedVersion"
            });
            let version = untagged(&version.unwrap()["Value"]).as_str().unwrap();
            assert!(version.ends_with("Version"), "{guard}: {version}");
            // Each version has its own alarm.
            assert!(name.contains(&format!("${{{version}}}")), "{guard}: {name}");
            let ours = metric["Namespace"] == NAMESPACE;
            let by_version = BY_VERSION.map(Metric::name);
            let metric = metric["MetricName"].as_str().unwrap();
            assert!(!ours || by_version.contains(&metric), "{metric}");
        }
    }
}

#[test]
fn alarms_say_what_to_do_and_operators_find_it_under_their_names() {
    let alarms = yaml("alarms.yaml");
    let guide = include_str!("../../../docs/operate.md");
    let resources = alarms["Resources"].as_mapping().unwrap();
    let mut count = 0;
    for (name, alarm) in resources {
        let name = name.as_str().unwrap();
        if alarm["Type"] == "AWS::CloudWatch::Alarm" {
            let name = name.strip_suffix("Alarm").unwrap();
            let says = alarm["Properties"]["AlarmDescription"].as_str().unwrap();
            assert!(
                says.ends_with(&format!("See docs/operate.md, {name}.")),
                "{says}"
            );
            assert!(
                guide.contains(&format!("| **{name}** |")),
                "{name} in docs/operate.md"
            );
            count += 1;
        }
    }
    assert_eq!(count, 15, "and ApiErrors in template.yaml");
    assert!(guide.contains("| **ApiErrors** |"));
}

/// The dashboard's body, with unresolved references.
fn dashboard() -> Value {
    let template = yaml("dashboard.yaml");
    let body = &template["Resources"]["Dashboard"]["Properties"]["DashboardBody"];
    serde_json::from_str(untagged(body).as_str().unwrap()).unwrap()
}

#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard = dashboard();
    let mut shown = BTreeSet::new();
    for widget in dashboard["widgets"].as_array().unwrap() {
        for metric in widget["properties"]["metrics"].as_array().unwrap() {
            if metric[0] == NAMESPACE {
                assert_eq!(metric[2], DIMENSION);
                shown.insert(metric[1].as_str().unwrap());
            }
        }
    }
    assert_eq!(shown, names());
}

#[test]
fn the_dashboards_widgets_do_not_overlap() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for widget in dashboard["widgets"].as_array().unwrap() {
        let [x, y, width, height] =
            ["x", "y", "width", "height"].map(|name| widget[name].as_u64().unwrap());
        assert!(x + width <= 24, "CloudWatch has 24 columns");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{}", widget["properties"]["title"]);
        }
    }
}
