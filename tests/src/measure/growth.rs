//! What a message and a run of the scheduler cost as tables grow. Tables are filled with copies of
//! real rows, by the million.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, PutRequest, WriteRequest},
};
use futures_util::{StreamExt, stream};
use posthorn_domain::{
    id::{ApplicationId, EndpointId, MessageId},
    key::AppKey,
    shard::shard_of,
    timestamp::Timestamp,
};
use posthorn_local::StackOptions;
use posthorn_runtime::{entropy, now};
use posthorn_store::Scheduled;
use serde_json::json;

use super::{
    pending::{body, run},
    warm::{DISPATCHERS, INGEST, cpu},
};
use crate::{Receiver, World, until};

type Item = HashMap<String, AttributeValue>;

/// How much the tables hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    /// Applications of the organization.
    pub applications: usize,
    /// Stored messages of the measured application.
    pub messages: usize,
    /// Attempts that are scheduled for the coming day.
    pub pending: usize,
}

/// What things cost with that amount.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// How much the tables held.
    pub amount: Amount,
    /// The functions' AWS calls per message.
    pub calls: f64,
    /// Write units of a message.
    pub write_units: f64,
    /// Read units of a message.
    pub read_units: f64,
    /// CPU time of ingest and of the dispatchers per message.
    pub cpu: [Duration; 2],
    /// Read units of a run of the scheduler that finds nothing due.
    pub scheduler: f64,
}

/// How many messages are measured at each step.
const MESSAGES: usize = 300;

/// The most items of a BatchWriteItem (Amazon DynamoDB: BatchWriteItem).
const MAX_BATCH: usize = 25;

/// Attempts are scheduled at least this far ahead, so that no run reaches them.
const LATER: Duration = Duration::from_secs(7200);
const DAY: usize = 24 * 60;

/// Grows the tables of one stack step by step, and measures at each step.
pub async fn growth(steps: &[Amount], mut report: impl FnMut(Growth)) {
    let world = World::with_options(StackOptions {
        meter: true,
        parameters: [("LogLevel".to_owned(), "warn".to_owned())].into(),
        ..StackOptions::default()
    })
    .await;
    let receiver = Receiver::accepting().await;
    let application = world.application().await.id;
    let path = format!("/api/v1/app/{application}");
    let url = json!({ "url": receiver.url() });
    world
        .expect("POST", &format!("{path}/endpoint"), Some(url))
        .await;
    let rows = Rows::of(&world, &application).await;
    let mut there = Amount::default();
    for &amount in steps {
        rows.add_applications(amount.applications - there.applications)
            .await;
        rows.add_messages(amount.messages - there.messages).await;
        rows.add_pending(amount.pending - there.pending).await;
        there = amount;
        report(measure(&world, &receiver, &application, amount).await);
    }
}

async fn measure(world: &World, receiver: &Receiver, application: &str, amount: Amount) -> Growth {
    let send = async || {
        let wanted = receiver.received().len() + MESSAGES;
        for n in 0..MESSAGES {
            let message = json!({ "eventType": "a.b", "payload": { "n": n } });
            world.send(application, &message.to_string()).await;
        }
        receiver.wait_for(wanted).await;
    };
    let meter = world.stack.meter().unwrap();
    let deleted = async |wanted: u64| {
        until("the last deleted task", || async {
            let report = meter.report();
            (report.deleted >= wanted).then_some(report)
        })
        .await
    };
    let wanted = meter.report().deleted + MESSAGES as u64;
    send().await;
    deleted(wanted).await;
    meter.reset();
    let before = [cpu(world, &INGEST), cpu(world, &DISPATCHERS)];
    send().await;
    let report = deleted(MESSAGES as u64).await;
    let after = [cpu(world, &INGEST), cpu(world, &DISPATCHERS)];
    let each = |sum: f64| sum / MESSAGES as f64;
    let calls = report.calls.values().map(|count| *count as f64);
    Growth {
        amount,
        calls: each(calls.sum()),
        write_units: each(report.write_units),
        read_units: each(report.read_units),
        cpu: [0, 1].map(|n| (after[n] - before[n]) / u32::try_from(MESSAGES).unwrap()),
        scheduler: run(world, 0).await.read_units,
    }
}

/// Real rows, to copy.
struct Rows {
    client: Client,
    organization: String,
    application: ApplicationId,
    /// The application, and its copy in the organization's list.
    application_rows: [Item; 2],
    message: Item,
    shards: u16,
    due: posthorn_store::DueRows,
}

impl Rows {
    async fn of(world: &World, application: &str) -> Self {
        let body = json!({ "eventType": "a.b", "payload": { "invoice": "in_1", "amount": 4200 } });
        let id: MessageId = world
            .send(application, &body.to_string())
            .await
            .parse()
            .unwrap();
        let clients = world.aws().await;
        let client = clients.dynamodb;
        let get = async |table: &str, pk: String, sk: &str| {
            let get = client.get_item().table_name(table).consistent_read(true);
            let get = get
                .key("pk", AttributeValue::S(pk))
                .key("sk", AttributeValue::S(sk.to_owned()));
            get.send().await.unwrap().item
        };
        let organization = world.organization.clone();
        let application_rows = [
            get(
                "ConfigTable",
                format!("{organization}#{application}"),
                "app",
            )
            .await
            .unwrap(),
            get("ConfigTable", format!("{organization}#apps"), application)
                .await
                .unwrap(),
        ];
        let mut message = None;
        for shards in 1..=64 {
            let pk = format!("{application}#{}", shard_of(&id, shards));
            if let Some(found) = get("MessagesTable", pk, id.as_str()).await {
                message = Some((found, shards));
            }
        }
        let (message, _) = message.unwrap();
        let application: ApplicationId = application.parse().unwrap();
        let organization_id = organization.parse().unwrap();
        let found = clients
            .config
            .applications()
            .get(AppKey::new(&organization_id, &application))
            .await;
        Self {
            shards: found.unwrap().unwrap().shards,
            application,
            organization,
            application_rows,
            message,
            due: clients.schedule.due_rows(),
            client,
        }
    }

    async fn add_applications(&self, count: usize) {
        let row = |_| {
            let id = ApplicationId::new(now(), entropy()).to_string();
            let [own, listed] = self.application_rows.clone();
            [
                at(own, &format!("{}#{id}", self.organization), "app"),
                at(listed, &format!("{}#apps", self.organization), &id),
            ]
        };
        self.write("ConfigTable", (0..count).flat_map(row)).await;
    }

    /// Adds messages, spread over the last 30 days.
    async fn add_messages(&self, count: usize) {
        let row = |n: usize| {
            let age = Duration::from_secs((n % (30 * 86_400)) as u64 + 3600);
            let id = MessageId::new(now().minus(age), entropy());
            let shard = shard_of(&id, self.shards);
            let pk = format!("{}#{shard}", self.application);
            at(self.message.clone(), &pk, id.as_str())
        };
        self.write("MessagesTable", (0..count).map(row)).await;
    }

    /// Adds attempts, spread over a day that starts later: a real row for each minute, and copies
    /// of it.
    async fn add_pending(&self, count: usize) {
        if count == 0 {
            return;
        }
        let begin = now().plus(LATER);
        for minute in 0..DAY {
            let due = begin.plus(Duration::from_secs(60 * minute as u64));
            self.due.put(&scheduled(due)).await.unwrap();
        }
        let scan = self
            .client
            .scan()
            .table_name("ScheduleTable")
            .into_paginator()
            .items()
            .send();
        let rows: Vec<Item> = scan.collect::<Result<_, _>>().await.unwrap();
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|row| row.contains_key("b"))
            .collect();
        let copy = |n: usize| {
            let row = rows[n % rows.len()].clone();
            let (pk, sk) = (text(&row, "pk"), text(&row, "sk"));
            at(row, &pk, &format!("{sk}#{n}"))
        };
        self.write("ScheduleTable", (0..count).map(copy)).await;
    }

    async fn write(&self, table: &str, rows: impl Iterator<Item = Item>) {
        let mut rows = rows.peekable();
        let batches = std::iter::from_fn(|| {
            rows.peek()?;
            Some(rows.by_ref().take(MAX_BATCH).map(put).collect::<Vec<_>>())
        });
        let writes = batches.map(|batch| async move {
            let write = self.client.batch_write_item().request_items(table, batch);
            let left = write.send().await.unwrap().unprocessed_items;
            assert!(left.is_none_or(|left| left.is_empty()));
        });
        stream::iter(writes)
            .buffer_unordered(4)
            .collect::<Vec<()>>()
            .await;
    }
}

fn scheduled(due: Timestamp) -> Scheduled {
    let (endpoint, message) = (
        EndpointId::new(due, entropy()),
        MessageId::new(due, entropy()),
    );
    Scheduled {
        due,
        body: body(&endpoint, &message),
        endpoint,
        message,
    }
}

fn put(item: Item) -> WriteRequest {
    let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
    WriteRequest::builder().put_request(put).build()
}

fn at(mut item: Item, pk: &str, sk: &str) -> Item {
    for (name, value) in [("pk", pk), ("sk", sk)] {
        item.insert(name.to_owned(), AttributeValue::S(value.to_owned()));
    }
    item
}

fn text(item: &Item, name: &str) -> String {
    item[name].as_s().unwrap().clone()
}
