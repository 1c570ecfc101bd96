//! What attempts say of their endpoint ([`posthorn_domain::health`]), written down.

use std::time::Duration;

use posthorn_domain::{
    application::Application,
    endpoint::Endpoint,
    health::{Admission, DisabledReason, Health, Observation, Verdict},
    operational::{EndpointData, OperationalEvent},
    timestamp::Timestamp,
};
use posthorn_queue::Task;
use posthorn_runtime::{
    metrics::{Metric, count},
    now,
};
use posthorn_store::{Consistency, Tries, Written};
use tokio::{time::timeout, try_join};

use crate::{
    Dispatcher,
    deliver::{Fault, MAX_MERGES},
};

/// What an attempt says is noted on whatever others wrote meanwhile.
const MERGES: Tries = Tries::at_once(MAX_MERGES);

/// How long it may take to note how an endpoint fares: the attempt is still to be recorded.
const LONGEST_WATCH: Duration = Duration::from_secs(3);

impl Dispatcher {
    /// Notes what an attempt says of its endpoint; gives how it then fares. Costs nothing while
    /// nothing changes. A fault is no reason not to record the attempt: the next one notes the same.
    pub(crate) async fn watch(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        attempt: Observation<'_>,
    ) -> Health {
        if attempt.outcome.is_success() {
            self.memory.succeeded(&endpoint.id, attempt.ended_at);
        }
        let watch = timeout(LONGEST_WATCH, self.try_watch(task, endpoint, attempt));
        match watch.await.unwrap_or(Err(Fault::OutOfTime)) {
            Ok(health) => health,
            Err(error) => {
                tracing::warn!(endpoint_id = %endpoint.id, %error, "how an endpoint fares could not be noted");
                endpoint.health
            }
        }
    }

    async fn try_watch(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        attempt: Observation<'_>,
    ) -> Result<Health, Fault> {
        let health = endpoint.health;
        match health.after(attempt, self.disable_after) {
            Verdict::AsBefore => Ok(health),
            Verdict::Changed(after)
                if !attempt.outcome.is_success()
                    && self.memory.is_needless(endpoint, after, attempt.ended_at) =>
            {
                Ok(health)
            }
            Verdict::Changed(after) => {
                let noted = self.note(task, endpoint, after).await?;
                if noted.is_none() && attempt.outcome.is_success() {
                    // Nothing else may come that could tell that it works again.
                    self.note_success(task, endpoint, attempt).await?;
                }
                Ok(after)
            }
            Verdict::Disable(reason, since) => {
                self.disable(task, endpoint, reason, since).await?;
                Ok(health)
            }
        }
    }

    /// Notes a success at an endpoint that changed meanwhile. A pause that was set while the attempt
    /// was under way stands, and so does whatever is known of another URL.
    async fn note_success(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        attempt: Observation<'_>,
    ) -> Result<(), Fault> {
        let noted = MERGES.until(|| self.try_note_success(task, endpoint, attempt));
        noted.await?.ok_or(Fault::Contention)
    }

    /// `None` when the endpoint changed again.
    async fn try_note_success(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        attempt: Observation<'_>,
    ) -> Result<Option<()>, Fault> {
        let found = self.read_endpoint(task, Consistency::Strong).await?;
        let Some(found) = found.filter(|found| found.url == endpoint.url) else {
            return Ok(Some(()));
        };
        let verdict = found.health.after(attempt, self.disable_after);
        let Verdict::Changed(health) = verdict else {
            return Ok(Some(()));
        };
        let is_paused = matches!(found.health.admit(now()), Admission::Wait(_));
        if is_paused && !found.health.probing {
            return Ok(Some(()));
        }
        let written = self.write_health(task, &found, health).await?;
        Ok(written.map(|_| ()))
    }

    /// Notes that an endpoint keeps dispatchers waiting; gives it as it then is when that was new.
    /// A fault is no reason to give the attempt up that is under way.
    pub(crate) async fn slow_down(&self, task: &Task, endpoint: &Endpoint) -> Option<Endpoint> {
        let slowed = endpoint.health.slowed(now())?;
        match self.note(task, endpoint, slowed).await {
            Ok(noted) => noted,
            Err(error) => {
                tracing::warn!(endpoint_id = %endpoint.id, %error, "it could not be noted that an endpoint is slow");
                None
            }
        }
    }

    /// Writes down how an endpoint fares; `None` when it changed meanwhile.
    pub(crate) async fn note(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        health: Health,
    ) -> Result<Option<Endpoint>, Fault> {
        if !self.memory.is_first(endpoint, now()) {
            return Ok(None);
        }
        let written = self.write_health(task, endpoint, health).await;
        if written.is_err() {
            self.memory.forget(&endpoint.id);
        }
        written
    }

    async fn write_health(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        health: Health,
    ) -> Result<Option<Endpoint>, Fault> {
        let after = Endpoint {
            health,
            revision: endpoint.revision + 1,
            ..endpoint.clone()
        };
        let put = self.endpoints.put(task.app_key(), &after);
        Ok((put.await? == Written::Yes).then_some(after))
    }

    /// Disables an endpoint and tells operators.
    async fn disable(
        &self,
        task: &Task,
        attempted: &Endpoint,
        reason: DisabledReason,
        since: Timestamp,
    ) -> Result<(), Fault> {
        let disable = || self.try_disable(task, attempted, reason, since);
        MERGES.until(disable).await?.ok_or(Fault::Contention)
    }

    /// `None` when the endpoint changed meanwhile.
    async fn try_disable(
        &self,
        task: &Task,
        attempted: &Endpoint,
        reason: DisabledReason,
        since: Timestamp,
    ) -> Result<Option<()>, Fault> {
        let (app, endpoint) = (task.app_key(), task.endpoint_key());
        let (application, found) = try_join!(
            self.applications().get(app),
            self.endpoints.get(endpoint, Consistency::Strong),
        )?;
        let (Some(application), Some(before)) = (application, found) else {
            return Ok(Some(()));
        };
        // Another URL, or a success in between, is another story.
        let is_same = before.url == attempted.url
            && (reason == DisabledReason::Gone || before.health.failing_since == Some(since));
        if !is_same {
            return Ok(Some(()));
        }
        let Some(after) = before.disable(reason, now()) else {
            // Another attempt did, and tells.
            return Ok(Some(()));
        };
        let update = self.endpoints.update(app, &before, &after);
        if update.await? != Written::Yes {
            return Ok(None);
        }
        count(Metric::EndpointsDisabled, 1);
        tracing::warn!(endpoint_id = %endpoint.id, ?reason, "disabled");
        self.notify_disabled(task, application, after, since)
            .await?;
        Ok(Some(()))
    }

    async fn notify_disabled(
        &self,
        task: &Task,
        application: Application,
        endpoint: Endpoint,
        since: Timestamp,
    ) -> Result<(), Fault> {
        if task.app_key().is_operational() {
            return Ok(());
        }
        let data = EndpointData::new(&application, &endpoint).failing_since(since);
        let event = OperationalEvent::EndpointDisabled(data);
        let cause = format!("{}#{}", endpoint.id, endpoint.revision);
        let at = endpoint.updated_at;
        self.publisher
            .notify_operators(&task.organization, &event, at, &cause)
            .await?;
        Ok(())
    }
}
