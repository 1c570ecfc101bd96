//! Jobs over many messages, in the config table.

use posthorn_domain::{
    id::{JobId, OrganizationId},
    job::{JOB_LIFETIME, Job},
};

use crate::{
    ConfigTable, Consistency, Page, Range, Slice, StoreError, Written,
    item::{Item, Key, entity, ttl},
};

fn pk(organization: &OrganizationId) -> String {
    format!("{organization}#jobs")
}

fn item(organization: &OrganizationId, job: &Job) -> Result<Item, StoreError> {
    let mut item = Key::new(pk(organization), job.id.as_str()).with(job)?;
    item.extend([ttl(job.updated_at.plus(JOB_LIFETIME))]);
    Ok(item)
}

impl ConfigTable {
    /// A job.
    pub async fn job(
        &self,
        organization: &OrganizationId,
        id: &JobId,
    ) -> Result<Option<Job>, StoreError> {
        let key = Key::new(pk(organization), id.as_str());
        let item = self.get(key, Consistency::Strong).await?;
        item.map(entity).transpose()
    }

    /// Jobs in the order they were created. The page's `after` is a job's id.
    pub async fn jobs(
        &self,
        organization: &OrganizationId,
        page: &Page,
    ) -> Result<Slice<Job>, StoreError> {
        self.slice(pk(organization), Range::prefix(JobId::PREFIX), page)
            .await
    }

    /// Stores a new job; an existing one with that id stays as it is.
    pub async fn create_job(
        &self,
        organization: &OrganizationId,
        job: &Job,
    ) -> Result<(), StoreError> {
        let put = self.put_new(item(organization, job)?)?;
        self.transact(vec![put]).await.map(|_| ())
    }

    /// Stores a job after a step; a conflict means that another copy of its task has already made
    /// the step.
    pub async fn step_job(
        &self,
        organization: &OrganizationId,
        after: &Job,
    ) -> Result<Written, StoreError> {
        let before = after.steps.saturating_sub(1);
        let put = self.put_over(item(organization, after)?, "steps", before)?;
        self.transact(vec![put]).await
    }
}
