//! Finds an application and its endpoints with one Query, even when it is named by its uid.
//!
//! Each process remembers which application a uid stands for. The Query returns the application
//! with its current uid, so an outdated entry is noticed and looked up again: a change applies to
//! the very next message.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use posthorn_contract::{ApiError, Refusal, application::ApplicationIn};
use posthorn_domain::{
    application::Application,
    endpoint::Endpoint,
    id::{ApplicationId, OrganizationId, Reference},
    key::AppKey,
    name::Uid,
    timestamp::Timestamp,
};
use posthorn_publish::Target;
use posthorn_runtime::entropy;
use posthorn_store::{Applications, Written};

/// How many uids a process remembers: about 2 MB.
const MAX_REMEMBERED: usize = 10_000;

type Found = (Application, Vec<Endpoint>);

/// Looks applications up.
#[derive(Debug)]
pub(crate) struct Directory {
    applications: Applications,
    uids: Mutex<HashMap<(OrganizationId, Uid), ApplicationId>>,
}

impl Directory {
    pub(crate) fn new(applications: Applications) -> Self {
        Self {
            applications,
            uids: Mutex::default(),
        }
    }

    /// The application that a sender names. If it does not exist, the first application that the
    /// messages bring along and that can be created.
    pub(crate) async fn target(
        &self,
        organization: &OrganizationId,
        reference: &Reference<ApplicationId>,
        brought: &[ApplicationIn],
        now: Timestamp,
    ) -> Result<Target, Refusal> {
        let mut found = match self.find(organization, reference).await? {
            Some(found) => Ok(found),
            None => Err(ApiError::NotFound("application").into()),
        };
        for body in brought {
            if !matches!(found, Err(Refusal::Caller(_))) {
                break;
            }
            let reference = reference.clone();
            found = self
                .create(organization, reference, body.clone(), now)
                .await;
        }
        let (application, endpoints) = found?;
        Ok(Target {
            organization: organization.clone(),
            application,
            endpoints,
        })
    }

    /// The application with that id or uid, and its endpoints.
    async fn find(
        &self,
        organization: &OrganizationId,
        reference: &Reference<ApplicationId>,
    ) -> Result<Option<Found>, Refusal> {
        let uid = match reference {
            Reference::Id(id) => return self.load(AppKey::new(organization, id)).await,
            Reference::Uid(uid) => uid,
        };
        if let Some(id) = self.remembered(organization, uid)
            && let Some(found) = self.load(AppKey::new(organization, &id)).await?
            && found.0.uid.as_ref() == Some(uid)
        {
            return Ok(Some(found));
        }
        let Some(id) = self.applications.by_uid(organization, uid).await? else {
            return Ok(None);
        };
        let found = self.load(AppKey::new(organization, &id)).await?;
        self.remember(organization, uid, id);
        Ok(found)
    }

    /// Creates the application that a message brings along, under the uid that the path names.
    async fn create(
        &self,
        organization: &OrganizationId,
        reference: Reference<ApplicationId>,
        body: ApplicationIn,
        now: Timestamp,
    ) -> Result<Found, Refusal> {
        let not_found = ApiError::NotFound("application");
        let Reference::Uid(uid) = reference else {
            return Err(not_found.into());
        };
        let new = body.under(uid.clone(), ApplicationId::new(now, entropy()), now);
        let new = new.map_err(|error| ApiError::from(error.within("application")))?;
        if self.applications.create(organization, &new).await? == Written::Yes {
            return Ok((new, Vec::new()));
        }
        // Another message created it first.
        let found = self.find(organization, &Reference::Uid(uid)).await?;
        found.ok_or(not_found.into())
    }

    async fn load(&self, app: AppKey<'_>) -> Result<Option<Found>, Refusal> {
        Ok(self.applications.with_endpoints(app).await?)
    }

    fn remembered(&self, organization: &OrganizationId, uid: &Uid) -> Option<ApplicationId> {
        let uids = self.uids.lock().unwrap_or_else(PoisonError::into_inner);
        uids.get(&(organization.clone(), uid.clone())).cloned()
    }

    fn remember(&self, organization: &OrganizationId, uid: &Uid, id: ApplicationId) {
        let mut uids = self.uids.lock().unwrap_or_else(PoisonError::into_inner);
        if uids.len() >= MAX_REMEMBERED {
            uids.clear();
        }
        uids.insert((organization.clone(), uid.clone()), id);
    }
}
