//! Jobs over many messages, in the config table.

use posthorn_domain::{
    id::{JobId, OrganizationId},
    job::{JOB_LIFETIME, Job},
};

use crate::{
    Consistency, Page, Range, Slice, StoreError, Written,
    dynamo::{Item, Key, Table, entity, ttl},
};

/// Jobs of an organization.
#[derive(Clone, Debug)]
pub struct Jobs(pub(super) Table);

fn pk(organization: &OrganizationId) -> String {
    format!("{organization}#jobs")
}

fn item(organization: &OrganizationId, job: &Job) -> Result<Item, StoreError> {
    let mut item = Key::new(pk(organization), job.id.as_str()).with(job)?;
    item.extend([ttl(job.updated_at.plus(JOB_LIFETIME))]);
    Ok(item)
}

impl Jobs {
    /// A job.
    pub async fn get(
        &self,
        organization: &OrganizationId,
        id: &JobId,
    ) -> Result<Option<Job>, StoreError> {
        let key = Key::new(pk(organization), id.as_str());
        let item = self.0.get(key, Consistency::Strong).await?;
        item.map(entity).transpose()
    }

    /// Jobs in the order they were created. The page's `after` is a job's id.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        page: &Page,
    ) -> Result<Slice<Job>, StoreError> {
        self.0
            .slice(pk(organization), Range::prefix(JobId::PREFIX), page)
            .await
    }

    /// Stores a new job; an existing one with that id stays as it is.
    pub async fn create(&self, organization: &OrganizationId, job: &Job) -> Result<(), StoreError> {
        let put = self.0.put_new(item(organization, job)?)?;
        self.0.transact(vec![put]).await.map(|_| ())
    }

    /// Stores a job after a step; a conflict means that another copy of its task has already made
    /// the step.
    pub async fn step(
        &self,
        organization: &OrganizationId,
        after: &Job,
    ) -> Result<Written, StoreError> {
        let before = after.steps.saturating_sub(1);
        let put = self
            .0
            .put_over(item(organization, after)?, "steps", before)?;
        self.0.transact(vec![put]).await
    }
}
