//! What attempts say of their endpoint ([`posthorn_domain::health`]), written down.

use posthorn_domain::{
    application::Application,
    endpoint::{DisabledReason, Endpoint},
    health::{Experience, Health, Verdict},
    id::ApplicationId,
    operational::{EndpointData, OperationalEvent},
    timestamp::Timestamp,
};
use posthorn_queue::Task;
use posthorn_runtime::now;
use posthorn_store::{Consistency, Written};
use tokio::try_join;

use crate::{
    Dispatcher,
    deliver::{Fault, MAX_MERGES},
};

impl Dispatcher {
    /// Notes what an attempt says of its endpoint; gives how it then fares. Costs nothing while
    /// nothing changes. A fault is no reason not to record the attempt: the next one notes the same.
    pub(crate) async fn watch(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        attempt: Experience<'_>,
    ) -> Health {
        if attempt.outcome.is_success() {
            self.memory.succeeded(&endpoint.id, attempt.ended_at);
        }
        match self.try_watch(task, endpoint, attempt).await {
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
        attempt: Experience<'_>,
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
                    self.recover(task, attempt).await?;
                }
                Ok(after)
            }
            Verdict::Disable(reason, since) => {
                self.disable(task, reason, since).await?;
                Ok(health)
            }
        }
    }

    /// Notes a success at an endpoint that changed meanwhile.
    async fn recover(&self, task: &Task, attempt: Experience<'_>) -> Result<(), Fault> {
        let found = self.read_endpoint(task, Consistency::Strong).await?;
        if let Some(endpoint) = found
            && let Verdict::Changed(after) = endpoint.health.after(attempt, self.disable_after)
        {
            self.note(task, &endpoint, after).await?;
        }
        Ok(())
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
        if !self.memory.is_first(endpoint) {
            return Ok(None);
        }
        let after = Endpoint {
            health,
            revision: endpoint.revision + 1,
            ..endpoint.clone()
        };
        let Task {
            organization,
            application,
            ..
        } = task;
        let put = self
            .config()
            .put_endpoint(organization, application, &after);
        match put.await {
            Ok(written) => Ok((written == Written::Yes).then_some(after)),
            Err(error) => {
                self.memory.forget(&endpoint.id);
                Err(error.into())
            }
        }
    }

    /// Disables an endpoint and tells operators.
    async fn disable(
        &self,
        task: &Task,
        reason: DisabledReason,
        since: Timestamp,
    ) -> Result<(), Fault> {
        let Task {
            organization,
            application: id,
            endpoint,
            ..
        } = task;
        for _ in 0..MAX_MERGES {
            let (application, found) = try_join!(
                self.config().application(organization, id),
                self.config()
                    .endpoint(organization, id, endpoint, Consistency::Strong),
            )?;
            let (Some(application), Some(before)) = (application, found) else {
                return Ok(());
            };
            let Some(after) = before.disable(reason, now()) else {
                // Another attempt did, and tells.
                return Ok(());
            };
            let update = self
                .config()
                .update_endpoint(organization, id, &before, &after);
            if update.await? == Written::Yes {
                tracing::warn!(endpoint_id = %endpoint, ?reason, "disabled");
                return self.tell_of(task, application, after, since).await;
            }
        }
        Err(Fault::Contention)
    }

    async fn tell_of(
        &self,
        task: &Task,
        application: Application,
        endpoint: Endpoint,
        since: Timestamp,
    ) -> Result<(), Fault> {
        if application.id == ApplicationId::operational(&task.organization) {
            return Ok(());
        }
        let data = EndpointData::new(&application, &endpoint).failing_since(since);
        let event = OperationalEvent::EndpointDisabled(data);
        let cause = format!("{}#{}", endpoint.id, endpoint.revision);
        let at = endpoint.updated_at;
        self.publisher
            .tell(&task.organization, &event, at, &cause)
            .await?;
        Ok(())
    }
}
