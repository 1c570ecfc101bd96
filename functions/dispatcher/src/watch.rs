//! What attempts say of their endpoint: since when it fails, and when that is too long.

use posthorn_domain::{
    application::Application,
    attempt::Outcome,
    endpoint::{DisabledReason, Endpoint, Health},
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
    /// Notes what an attempt says of its endpoint. Costs nothing while nothing changes.
    pub(crate) async fn watch(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        outcome: &Outcome,
        started_at: Timestamp,
    ) -> Result<(), Fault> {
        match endpoint.health(outcome, started_at, self.disable_after) {
            Health::AsBefore => Ok(()),
            Health::FailsSince(since) => self.note(task, endpoint, Some(since)).await,
            Health::Recovered => self.note(task, endpoint, None).await,
            Health::Disable(reason, since) => self.disable(task, reason, since).await,
        }
    }

    /// Writes down since when an endpoint fails. When it changed meanwhile, another attempt does.
    async fn note(
        &self,
        task: &Task,
        endpoint: &Endpoint,
        failing_since: Option<Timestamp>,
    ) -> Result<(), Fault> {
        let after = Endpoint {
            failing_since,
            revision: endpoint.revision + 1,
            ..endpoint.clone()
        };
        let Task {
            organization,
            application,
            ..
        } = task;
        self.config()
            .update_endpoint(organization, application, endpoint, &after)
            .await?;
        Ok(())
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
