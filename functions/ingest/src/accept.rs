//! The use case: store messages, queue their tasks, and let a repeated request find its first
//! message.

use std::{collections::HashSet, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use posthorn_contract::{ApiError, Refusal};
use posthorn_domain::message::Message;
use posthorn_publish::{Stored, Target};
use posthorn_queue::Unsent;
use posthorn_runtime::now;
use tokio::time::timeout;

use crate::{
    Ingest,
    reserve::Turn,
    submission::{LONGEST_PART, Reserved, Submission, exists},
};

/// How many messages of one call are written concurrently: each needs a connection.
const MAX_CONCURRENT: usize = 8;

/// How many tasks are queued together: about 20 MB with their payloads.
const MAX_TASKS: usize = 1000;

/// Time reserved after queueing tasks, to record for each message how it went.
const MARGIN: Duration = Duration::from_millis(1500);

/// A message that was accepted, now or by an earlier try, or why it was refused.
pub(crate) type Accepted = Result<Message, Refusal>;

/// The state of a message before its tasks are queued.
enum Step {
    /// An earlier try completed everything.
    Done(Message),
    /// Its tasks must still be queued, and its guards settled.
    Queue(Reserved, Stored),
}

impl Ingest {
    /// Accepts messages for one application: each succeeds or fails on its own, and their tasks are
    /// queued together. Messages that there is no time for are not started.
    pub(crate) async fn accept(
        &self,
        target: &Target,
        submissions: &[Submission],
    ) -> Vec<Accepted> {
        let mut accepted: Vec<Accepted> = Vec::new();
        for part in parts(submissions, target.endpoints.len()) {
            let is_late = |it: &Submission| now().plus(LONGEST_PART) > it.deadline;
            if !accepted.is_empty() && part.iter().any(is_late) {
                accepted.extend(part.iter().map(|_| Err(ApiError::Unavailable.into())));
            } else {
                accepted.extend(self.accept_part(target, part).await);
            }
        }
        accepted
    }

    async fn accept_part<'a>(
        &'a self,
        target: &'a Target,
        submissions: &'a [Submission],
    ) -> Vec<Accepted> {
        let start = |submission| self.store(target, submission).boxed();
        let started = in_order(submissions.iter().map(start).collect()).await;
        let tasks = started.iter().flatten().flat_map(Step::tasks);
        let deadline = submissions.iter().map(|it| it.deadline).min();
        let left = deadline.map_or(LONGEST_PART, |it| it.since(now()));
        let sent = timeout(
            left.saturating_sub(MARGIN),
            self.publisher.queue.send_each(tasks),
        )
        .await;
        let mut first = 0;
        let finish = |(step, submission): (Result<Step, Refusal>, &'a Submission)| {
            let next = first + step.as_ref().map_or(0, |step| step.tasks().len());
            let tasks = std::mem::replace(&mut first, next)..next;
            let fault = match &sent {
                Ok(Ok(())) => None,
                Ok(Err(unsent)) => fault(unsent, tasks),
                Err(late) => (!tasks.is_empty()).then(|| Refusal::fault(late)),
            };
            self.settle(target, submission, step, fault).boxed()
        };
        in_order(started.into_iter().zip(submissions).map(finish).collect()).await
    }

    /// Does everything for a message except queueing its tasks.
    async fn store(&self, target: &Target, submission: &Submission) -> Result<Step, Refusal> {
        let guards = submission.guards();
        let turn = self.reserve(target, submission, &guards).await?;
        let reservation = match turn {
            Turn::Accepted(earlier) => {
                let message = submission.message(target, &earlier);
                return Ok(Step::Done(message));
            }
            Turn::Continue(reservation) => reservation,
        };
        let reserved = Reserved {
            guards,
            reservation,
        };
        let message = submission.message(target, &reserved.reservation);
        let stored = self.publisher.store(target, message, submission.trace);
        match stored.await {
            Ok(stored) => Ok(Step::Queue(reserved, stored)),
            Err(error) => {
                self.abandon(target, submission, &reserved).await;
                Err(error.into())
            }
        }
    }

    /// Settles the guards of a message after its tasks were queued, or could not be.
    async fn settle(
        &self,
        target: &Target,
        submission: &Submission,
        step: Result<Step, Refusal>,
        fault: Option<Refusal>,
    ) -> Accepted {
        let (reserved, message) = match step? {
            Step::Done(message) => return Ok(message),
            Step::Queue(reserved, stored) => (reserved, stored.message),
        };
        if let Some(fault) = fault {
            self.abandon(target, submission, &reserved).await;
            return Err(fault);
        }
        let is_own = submission.made(&message);
        self.finish(target, submission, &reserved, is_own).await?;
        match is_own {
            true => Ok(message),
            false => Err(exists(&message.id).into()),
        }
    }
}

/// Splits messages into parts that are accepted together: without too many tasks, and without two
/// messages of the same event, because the second depends on the result of the first.
fn parts(submissions: &[Submission], endpoints: usize) -> Vec<&[Submission]> {
    let most = (MAX_TASKS / endpoints.max(1)).max(1);
    let (mut parts, mut first, mut events) = (Vec::new(), 0, HashSet::new());
    for (index, submission) in submissions.iter().enumerate() {
        let event = submission.message.event_id.as_ref();
        let is_new = event.is_none_or(|event| events.insert(event));
        if index > first && (index - first == most || !is_new) {
            parts.push(&submissions[first..index]);
            first = index;
            events = event.into_iter().collect();
        }
    }
    parts.push(&submissions[first..]);
    parts
}

/// Runs a few futures concurrently and keeps their order.
async fn in_order<T>(all: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(all).buffered(MAX_CONCURRENT).collect().await
}

fn fault(unsent: &Unsent, tasks: std::ops::Range<usize>) -> Option<Refusal> {
    let is_sent = unsent.tasks.range(tasks).next().is_none();
    (!is_sent).then(|| Refusal::fault(&unsent.error))
}

impl Step {
    fn tasks(&self) -> &[posthorn_queue::Task] {
        match self {
            Self::Done(_) => &[],
            Self::Queue(_, stored) => &stored.tasks,
        }
    }
}

#[cfg(test)]
mod tests {
    use posthorn_contract::message::MessageIn;
    use posthorn_domain::{id::MessageId, timestamp::Timestamp};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn submission(event: &str) -> Submission {
        let event = if event.is_empty() {
            String::new()
        } else {
            format!(r#","eventId":"{event}""#)
        };
        let text = format!(r#"{{"eventType":"a","payload":{{}}{event}}}"#);
        Submission {
            message: serde_json::from_str::<MessageIn>(&text)
                .unwrap()
                .check()
                .unwrap(),
            idempotency_key: None,
            request_hash: String::new(),
            id: MessageId::new(NOW, [0; 15]),
            at: NOW,
            deadline: NOW,
            trace: None,
        }
    }

    fn sizes(events: &[&str], endpoints: usize) -> Vec<usize> {
        let submissions: Vec<_> = events.iter().map(|event| submission(event)).collect();
        let parts = parts(&submissions, endpoints);
        parts.into_iter().map(<[Submission]>::len).collect()
    }

    #[test]
    fn a_part_has_a_thousand_tasks_at_most() {
        assert_eq!(sizes(&[""; 100], 0), [100]);
        assert_eq!(sizes(&[""; 100], 10), [100]);
        assert_eq!(sizes(&[""; 100], 11), [90, 10]);
        assert_eq!(sizes(&[""; 4], 500), [2, 2]);
        assert_eq!(sizes(&[""; 3], 2000), [1, 1, 1]);
    }

    #[test]
    fn an_event_is_in_a_part_once() {
        assert_eq!(sizes(&["a", "b", "a", "b", "c", "c"], 1), [2, 3, 1]);
    }
}
