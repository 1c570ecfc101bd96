//! What attempts say of their endpoint ([`posthorn_domain::health`]), written down.

use posthorn_domain::{
    application::Application,
    attempt::Outcome,
    endpoint::{DisabledReason, Endpoint},
    health::{Health, Verdict},
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
    /// nothing changes.
    pub(crate) async fn watch(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        outcome: &Outcome,
        started_at: Timestamp,
    ) -> Result<Health, Fault> {
        let health = endpoint.health;
        match health.after(outcome, started_at, now(), self.disable_after) {
            Verdict::AsBefore => Ok(health),
            Verdict::Changed(after) => {
                // When the endpoint changed meanwhile, another attempt notes it.
                self.note(task, endpoint, after).await?;
                Ok(after)
            }
            Verdict::Disable(reason, since) => {
                self.disable(task, reason, since).await?;
                Ok(health)
            }
        }
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
        let update = self
            .config()
            .update_endpoint(organization, application, endpoint, &after)
            .await?;
        Ok((update == Written::Yes).then_some(after))
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
                // Told again, as the task that disabled it may have ended before it told.
                let is_ours = before.disabled_reason == Some(reason);
                return if is_ours {
                    self.tell_of(task, application, before, since).await
                } else {
                    Ok(())
                };
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
