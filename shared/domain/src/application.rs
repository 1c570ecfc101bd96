//! Applications: the customers of the SaaS.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    change::Change,
    error::FieldError,
    form::{MAX_ENTITY_BYTES, check_same, check_size},
    id::{ApplicationId, OrganizationId},
    key::LogKey,
    metadata,
    name::{DisplayName, Uid},
    rate::Rate,
    shard::DEFAULT_SHARDS,
    timestamp::Timestamp,
};

/// The uid of the built-in application that receives an organization's operational events.
pub const OPERATIONAL_UID: &str = "posthorn.operational";

/// An application, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Its id.
    pub id: ApplicationId,
    /// The customer's own id, unique in the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// A name for people.
    pub name: String,
    /// Messages per second to the whole application, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_rate: Option<u16>,
    /// The customer's own notes.
    #[serde(default, with = "crate::json_text")]
    pub metadata: BTreeMap<String, String>,
    /// The number of partitions that its messages are spread over; fixed when it is created.
    pub shards: u16,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whether its deletion has started: from then on it is not found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// The body that creates or replaces an application.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationIn {
    /// A name for people.
    pub name: DisplayName,
    /// The customer's own id; works wherever the id does.
    pub uid: Option<Uid>,
    /// Messages per second to the whole application.
    pub throttle_rate: Option<Rate>,
    /// The name of `throttleRate` in clients before 2.0.
    pub rate_limit: Option<Rate>,
    /// The customer's own notes.
    #[serde(default, deserialize_with = "metadata::read")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub metadata: BTreeMap<String, String>,
}

/// The body that changes some fields of an application.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationPatch {
    /// A name for people.
    #[serde(default)]
    #[schema(value_type = DisplayName)]
    pub name: Change<DisplayName>,
    /// The customer's own id; null removes it.
    #[serde(default)]
    #[schema(value_type = Option<Uid>)]
    pub uid: Change<Option<Uid>>,
    /// Messages per second; null removes the limit.
    #[serde(default)]
    #[schema(value_type = Option<Rate>)]
    pub throttle_rate: Change<Option<Rate>>,
    /// The name of `throttleRate` in clients before 2.0.
    #[serde(default)]
    #[schema(value_type = Option<Rate>)]
    pub rate_limit: Change<Option<Rate>>,
    /// The customer's own notes; replaces all of them.
    #[serde(default, deserialize_with = "metadata::read_change")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub metadata: Change<BTreeMap<String, String>>,
}

impl Application {
    /// The address of its messages.
    pub fn log(&self) -> LogKey<'_> {
        LogKey {
            application: &self.id,
            shards: self.shards,
        }
    }

    /// The built-in application of an organization: operators subscribe endpoints to it and receive
    /// the events of [`crate::operational`]. Its id is derived from the organization's, so it need
    /// not be looked up.
    pub fn operational(organization: &OrganizationId) -> Self {
        let created_at = Timestamp::from_millis(0);
        Self {
            id: ApplicationId::operational(organization),
            uid: Uid::try_from(OPERATIONAL_UID.to_owned()).ok(),
            name: "Operational events".to_owned(),
            throttle_rate: None,
            metadata: BTreeMap::new(),
            shards: DEFAULT_SHARDS,
            created_at,
            updated_at: created_at,
            deleted: false,
        }
    }
}

impl ApplicationIn {
    /// A new application.
    pub fn into_new(self, id: ApplicationId, now: Timestamp) -> Application {
        Application {
            id,
            uid: self.uid,
            name: self.name.into(),
            throttle_rate: self.throttle_rate.or(self.rate_limit).map(Rate::get),
            metadata: self.metadata,
            shards: DEFAULT_SHARDS,
            created_at: now,
            updated_at: now,
            deleted: false,
        }
    }

    /// A new application under the uid that a path names.
    ///
    /// # Errors
    /// When the body names another uid, or the uid is the built-in application's.
    pub fn under(
        self,
        uid: Uid,
        id: ApplicationId,
        now: Timestamp,
    ) -> Result<Application, FieldError> {
        if self.uid.as_ref().is_some_and(|own| *own != uid) {
            return Err(FieldError::body("uid", "must be the path's"));
        }
        let body = Self {
            uid: Some(uid),
            ..self
        };
        body.check()?;
        let new = body.into_new(id, now);
        check_size(&new, MAX_ENTITY_BYTES)?;
        Ok(new)
    }

    /// Checks that an application which a request brings along is the one that its path names.
    ///
    /// # Errors
    /// When its uid is missing or differs.
    pub fn check_brought(&self, named: &str) -> Result<(), FieldError> {
        match &self.uid {
            Some(uid) if uid.as_str() == named => Ok(()),
            Some(_) => Err(FieldError::body("uid", "must be the path's")),
            None => Err(FieldError::missing("uid")),
        }
    }

    /// Checks the rules that the types cannot express.
    ///
    /// # Errors
    /// When the uid is the built-in application's, or both names of the rate are given and differ.
    pub fn check(&self) -> Result<(), FieldError> {
        check_same(
            ("throttleRate", self.throttle_rate.as_ref()),
            ("rateLimit", self.rate_limit.as_ref()),
        )?;
        check_uid(self.uid.as_ref())
    }

    /// The application that replaces an earlier one.
    pub fn over(self, before: &Application, now: Timestamp) -> Application {
        Application {
            shards: before.shards,
            created_at: before.created_at,
            updated_at: next_version(before.updated_at, now),
            ..self.into_new(before.id.clone(), now)
        }
    }
}

/// The built-in application's uid is taken in every organization, and a uid that looks like an id
/// could never be found.
fn check_uid(uid: Option<&Uid>) -> Result<(), FieldError> {
    if uid.is_some_and(|uid| uid.as_str().starts_with(ApplicationId::PREFIX)) {
        return Err(FieldError::body(
            "uid",
            "must not begin with `app_`, as ids do",
        ));
    }
    if uid.is_some_and(|uid| uid.as_str() == OPERATIONAL_UID) {
        return Err(FieldError::body(
            "uid",
            "belongs to the built-in application",
        ));
    }
    Ok(())
}

impl ApplicationPatch {
    /// Checks the rules that the types cannot express.
    ///
    /// # Errors
    /// When the uid is the built-in application's, or both names of the rate are given and differ.
    pub fn check(&self) -> Result<(), FieldError> {
        check_same(
            ("throttleRate", self.throttle_rate.new_value()),
            ("rateLimit", self.rate_limit.new_value()),
        )?;
        match &self.uid {
            Change::Set(uid) => check_uid(uid.as_ref()),
            Change::Keep => Ok(()),
        }
    }

    /// The application after the change.
    pub fn over(self, before: Application, now: Timestamp) -> Application {
        let rate = before.throttle_rate.map(Rate::stored);
        let rate = self.throttle_rate.over(self.rate_limit.over(rate));
        Application {
            name: self.name.over(DisplayName::stored(before.name)).into(),
            uid: self.uid.over(before.uid),
            throttle_rate: rate.map(Rate::get),
            metadata: self.metadata.over(before.metadata),
            updated_at: next_version(before.updated_at, now),
            ..before
        }
    }
}

/// The time of a change. It is also the version that a write is conditional on, so it advances even
/// within a millisecond.
pub(crate) fn next_version(before: Timestamp, now: Timestamp) -> Timestamp {
    now.max(before.plus(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::parse_body;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn acme() -> Application {
        let body = br#"{"name":"Acme","uid":"acme","throttleRate":5,"metadata":{"a":"b"}}"#;
        let body: ApplicationIn = parse_body(body).unwrap();
        body.into_new(ApplicationId::new(NOW, [1; 15]), NOW)
    }

    fn patched(body: &str) -> Application {
        parse_body::<ApplicationPatch>(body.as_bytes())
            .unwrap()
            .over(acme(), NOW)
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let before = acme();
        let same = patched("{}");
        assert_eq!(
            Application {
                updated_at: NOW,
                ..same.clone()
            },
            before
        );
        assert!(same.updated_at > before.updated_at, "a version of its own");
        let after = patched(r#"{"uid":null,"throttleRate":null,"name":"New","metadata":{}}"#);
        assert_eq!((after.uid, after.throttle_rate), (None, None));
        assert_eq!((after.name.as_str(), after.metadata.len()), ("New", 0));
    }

    #[test]
    fn every_field_names_itself_when_it_is_wrong() {
        for (field, body) in [
            ("name", r#"{"name":null}"#),
            ("name", r#"{"name":" "}"#),
            ("uid", r#"{"uid":"a b"}"#),
            ("throttleRate", r#"{"throttleRate":0}"#),
            ("metadata", r#"{"metadata":5}"#),
        ] {
            let error = parse_body::<ApplicationPatch>(body.as_bytes()).unwrap_err();
            assert_eq!(error.loc, ["body", field], "{body}");
        }
    }

    #[test]
    fn the_operational_application_follows_from_the_organization() {
        let organization = OrganizationId::new(NOW, [1; 15]);
        let application = Application::operational(&organization);
        assert_eq!(application, Application::operational(&organization));
        assert_eq!(application.id.as_str()[4..], organization.as_str()[4..]);
        assert_eq!(application.uid.unwrap().as_str(), OPERATIONAL_UID);
    }
}
