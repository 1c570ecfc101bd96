//! Whether a task's attempt may be made now. One that may not goes back into the queue, and no
//! attempt is spent on it.

use std::time::Duration;

use posthorn_domain::{
    endpoint::Endpoint,
    health::{Admission, Health, Lane, MIN_PAUSE},
    rate::{Pace, Timing},
    timestamp::Timestamp,
};
use posthorn_queue::Task;
use posthorn_runtime::{
    jitter,
    metrics::{Metric, count},
    now,
};

use crate::{Dispatcher, batch::Time, deliver::Fault};

/// How often a task is put back before its attempt is made although its endpoint is paused: so that
/// every delivery comes to its end, and no task goes round for ever. (Lambda's own guard stops such a
/// loop after about 16 rounds; the template switches it off, as retries are such rounds.) It still waits
/// for a slot, but one that missed its slot again is sent at once.
pub(crate) const MAX_HOPS: u16 = 16;

/// Tasks that wait for the same moment come within this part of their wait behind it, and within
/// this time at least.
const SPREAD: f64 = 0.2;
const MIN_SPREAD: Duration = Duration::from_secs(2);

impl Dispatcher {
    /// The task and its endpoint when the attempt may be made; `None` when the task is back in the
    /// queue.
    pub(crate) async fn admit(
        &self,
        task: Task,
        endpoint: Endpoint,
        time: Time,
    ) -> Result<Option<(Task, Endpoint)>, Fault> {
        let health = endpoint.health;
        let is_patient = task.hops < MAX_HOPS;
        let admission = health.admit(now());
        if let Admission::Wait(until) = admission
            && is_patient
        {
            self.put_back(task, health.lane(), spread(until), None)
                .await?;
            return Ok(None);
        }
        if task.lane == Lane::Fast && health.lane() == Lane::Slow {
            // Without its payload: it may wait for long there, and the payload be expunged meanwhile.
            let task = Task {
                lane: Lane::Slow,
                payload: None,
                ..task
            };
            self.queue().send_after(&task, 0).await?;
            return Ok(None);
        }
        if !time.is_enough(self.sender.longest()) && is_patient {
            self.put_back(task, health.lane(), now(), None).await?;
            return Ok(None);
        }
        let Some(task) = self.keep_pace(task, &endpoint).await? else {
            return Ok(None);
        };
        match admission {
            Admission::Probe(probing) => self.claim(task, endpoint, probing).await,
            Admission::Go | Admission::Wait(_) => Ok(Some((task, endpoint))),
        }
    }

    /// The task with its slot at an endpoint with a rate, when that is near enough to wait for it
    /// here; otherwise the task waits in the queue.
    pub(crate) async fn keep_pace(
        &self,
        task: Task,
        endpoint: &Endpoint,
    ) -> Result<Option<Task>, Fault> {
        let Some(rate) = endpoint.throttle_rate else {
            return Ok(Some(Task { slot: None, ..task }));
        };
        let at = |slot| Pace::at(slot, now(), task.lane);
        let held = task.slot.map(|slot| (slot, at(slot)));
        let (slot, timing) = match held {
            // Who comes too late again and again is no burden to the endpoint.
            Some((_, Timing::Missed)) if task.hops >= MAX_HOPS => return Ok(Some(task)),
            Some((_, Timing::Missed)) | None => {
                let Some(slot) = self.reserve(endpoint, Pace::new(rate), task.lane).await? else {
                    self.put_back(task, Lane::Slow, now(), None).await?;
                    return Ok(None);
                };
                (slot, at(slot))
            }
            Some(held) => held,
        };
        if let Timing::Later(at) = timing {
            // A task that waits for a slot would hold up the other tasks of the fast lane.
            self.put_back(task, Lane::Slow, at, Some(slot)).await?;
            return Ok(None);
        }
        let slot = Some(slot);
        Ok(Some(Task { slot, ..task }))
    }

    /// The next slot within reach of a task in this lane; `None` when only the slow lane can.
    async fn reserve(
        &self,
        endpoint: &Endpoint,
        pace: Pace,
        lane: Lane,
    ) -> Result<Option<Timestamp>, Fault> {
        if let Some(slot) = self.slots.take(&endpoint.id, now()) {
            return Ok(Some(slot));
        }
        let out_of_reach = Pace::out_of_reach(lane);
        let first = self
            .slot_rows
            .reserve(&endpoint.id, pace, out_of_reach, now())
            .await?;
        if let Some(first) = first {
            self.slots.keep(&endpoint.id, first, pace);
        }
        Ok(first)
    }

    /// Makes this attempt the one that finds out whether a paused endpoint works again.
    async fn claim(
        &self,
        task: Task,
        endpoint: Endpoint,
        probing: Health,
    ) -> Result<Option<(Task, Endpoint)>, Fault> {
        match self.note(&task, &endpoint, probing).await? {
            Some(claimed) => Ok(Some((task, claimed))),
            None if task.hops >= MAX_HOPS => Ok(Some((task, endpoint))),
            None => {
                let soon = spread(now().plus(MIN_PAUSE));
                self.put_back(task, endpoint.health.lane(), soon, None)
                    .await?;
                Ok(None)
            }
        }
    }

    /// Back into the queue until it is due; the task's next way through is a hop.
    pub(crate) async fn put_back(
        &self,
        task: Task,
        lane: Lane,
        due: Timestamp,
        slot: Option<Timestamp>,
    ) -> Result<(), Fault> {
        count(Metric::TasksPutBack, 1);
        tracing::debug!(msg_id = %task.message, endpoint_id = %task.endpoint, hops = task.hops, due = %due.to_rfc3339(), "put back");
        let task = Task {
            lane,
            ..task.put_back(slot)
        };
        self.send_at(task, due).await
    }
}

/// A moment behind another one, for tasks that would come together.
fn spread(due: Timestamp) -> Timestamp {
    let range = due.since(now()).mul_f64(SPREAD).max(MIN_SPREAD);
    due.plus(range.mul_f64(jitter()))
}
