//! SQS ↔ domain: messages from the messages queue, whose senders were authorised by IAM.
//!
//! The id of a message is derived from its record's id, so a record that is received again is the
//! same message, and needs no guard.

use std::collections::BTreeMap;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use posthorn_contract::{
    ApiError, Refusal,
    body::parse_body,
    message::{MessageIn, NewMessage},
};
use posthorn_domain::{
    error::FieldError,
    id::{ApplicationId, MessageId, OrganizationId, Reference},
    timestamp::Timestamp,
};
use posthorn_publish::Target;
use posthorn_runtime::{
    caught,
    metrics::{Metric, count},
    now,
};
use serde::Deserialize;

use crate::{
    Ingest,
    requests::{check, note},
    submission::Submission,
};

/// The body of a record.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordIn {
    /// The organization of the application.
    organization: OrganizationId,
    /// The application's id or uid.
    app_id: String,
    /// The message, as the body of `/api/v1/app/{app_id}/msg`.
    message: MessageIn,
}

/// A record after parsing.
struct Sent {
    organization: OrganizationId,
    application: Reference<ApplicationId>,
    message: NewMessage,
}

/// An application as records name it: organization and `appId`.
type Address = (String, String);

impl Ingest {
    /// Processes a batch of records and returns those that SQS must deliver again: those that
    /// failed here, and those that are refused, which reach the dead-letter queue that way instead
    /// of being lost. Records of one application share its look-up and the requests that queue
    /// their tasks.
    pub(crate) async fn handle_records(
        &self,
        event: SqsEvent,
        deadline: Timestamp,
    ) -> SqsBatchResponse {
        let mut failed = Vec::new();
        let mut groups: BTreeMap<Address, Vec<(&SqsMessage, Sent)>> = BTreeMap::new();
        for record in &event.records {
            match parsed(record).await {
                Ok(body) => {
                    let address = (body.organization.to_string(), body.application.to_string());
                    groups.entry(address).or_default().push((record, body));
                }
                Err(refusal) => failed.extend(refused(record, refusal)),
            }
        }
        let groups = groups.into_values();
        let groups = groups.map(|group| self.handle_group(group, deadline));
        failed.extend(join_all(groups).await.into_iter().flatten());
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed;
        response
    }

    /// Accepts records of one application. Together first; if that panics, one by one, so that what panics
    /// fails alone: a record that is handled twice is the same message.
    async fn handle_group(
        &self,
        group: Vec<(&SqsMessage, Sent)>,
        deadline: Timestamp,
    ) -> Vec<BatchItemFailure> {
        let records: Vec<_> = group.iter().map(|(record, _)| *record).collect();
        if let Ok(failed) = caught(self.accept_records(group, deadline)).await {
            return failed;
        }
        let alone = records.into_iter().map(async |record| {
            let accepted = async {
                let body = parsed(record).await?;
                Ok(caught(self.accept_records(vec![(record, body)], deadline)).await?)
            };
            let done: Result<_, Refusal> = accepted.await;
            done.unwrap_or_else(|refusal| refused(record, refusal).into_iter().collect())
        });
        join_all(alone).await.into_iter().flatten().collect()
    }

    async fn accept_records(
        &self,
        group: Vec<(&SqsMessage, Sent)>,
        deadline: Timestamp,
    ) -> Vec<BatchItemFailure> {
        let (records, bodies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let target = match self.find(&bodies).await {
            Ok(target) => target,
            Err(refusal) => {
                let app_id = bodies.first().map(|it| it.application.to_string());
                tracing::warn!(app_id, "records of an application are refused");
                let each = records.into_iter();
                return each
                    .filter_map(|record| refused(record, refusal.clone()))
                    .collect();
            }
        };
        let submissions = records.iter().zip(bodies);
        let submissions: Vec<_> = submissions
            .map(|(record, body)| self.submission(record, body.message, deadline))
            .collect();
        let accepted = self.accept(&target, &submissions).await;
        let mut failed = Vec::new();
        for ((accepted, submission), record) in accepted.into_iter().zip(&submissions).zip(records)
        {
            match accepted {
                Ok(message) => note(&message, submission.trace, None),
                Err(refusal) => failed.extend(refused(record, refusal)),
            }
        }
        failed
    }

    async fn find(&self, bodies: &[Sent]) -> Result<Target, Refusal> {
        let first = bodies.first().ok_or(ApiError::NotFound("application"))?;
        let brought = bodies
            .iter()
            .filter_map(|it| it.message.application.clone());
        let brought: Vec<_> = brought.collect();
        self.directory
            .target(&first.organization, &first.application, &brought, now())
            .await
    }

    fn submission(
        &self,
        record: &SqsMessage,
        message: NewMessage,
        deadline: Timestamp,
    ) -> Submission {
        let id = record.message_id.as_deref().unwrap_or_default();
        let at = sent_at(record);
        Submission {
            message,
            idempotency_key: None,
            request_hash: String::new(),
            id: MessageId::caused_by(id, at),
            at,
            deadline,
            trace: self.span(None),
        }
    }
}

/// A record, read; if that panics, it fails alone.
async fn parsed(record: &SqsMessage) -> Result<Sent, Refusal> {
    Ok(caught(async { read(record) }).await??)
}

fn read(record: &SqsMessage) -> Result<Sent, ApiError> {
    let body: RecordIn = parse_body(record.body.as_deref().unwrap_or_default().as_bytes())?;
    let application = body
        .app_id
        .parse()
        .map_err(|error| FieldError::body("appId", format!("{error}")))?;
    let message = check(body.message, &application).map_err(|error| error.within("message"))?;
    Ok(Sent {
        organization: body.organization,
        application,
        message,
    })
}

/// When the record was sent: the same time however often it is received.
fn sent_at(record: &SqsMessage) -> Timestamp {
    let millis = record.attributes.get("SentTimestamp");
    let millis = millis.and_then(|text| text.parse().ok());
    millis.map_or_else(now, Timestamp::from_millis)
}

/// Logs why a record was refused. `None` for a record that is done nevertheless, because its event
/// was accepted before.
fn refused(record: &SqsMessage, refusal: Refusal) -> Option<BatchItemFailure> {
    let id = record.message_id.as_deref().unwrap_or_default();
    match &refusal {
        Refusal::Caller(ApiError::Conflict(reason)) => {
            tracing::info!(
                record = id,
                reason,
                "an event that was accepted was sent again"
            );
            return None;
        }
        Refusal::Caller(ApiError::Unavailable) => {
            tracing::info!(
                record = id,
                "a record will be received again: there was no time for it, or its event is being processed"
            );
        }
        Refusal::Caller(error) => {
            let reason = error.body();
            tracing::warn!(
                record = id,
                reason,
                "a record of the messages queue is refused"
            );
        }
        Refusal::Fault(reason) => {
            count(Metric::RequestFaults, 1);
            tracing::error!(record = id, reason, "a record will be received again");
        }
    }
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id.to_owned();
    Some(failure)
}
