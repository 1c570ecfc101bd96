//! The bodies of an application.

use std::collections::BTreeMap;

use posthorn_domain::{
    application::{Application, OPERATIONAL_UID, next_version},
    change::Change,
    error::FieldError,
    id::ApplicationId,
    metadata,
    name::{DisplayName, Uid},
    rate::Rate,
    shard::DEFAULT_SHARDS,
    timestamp::Timestamp,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::body::{MAX_ENTITY_BYTES, check_same, check_size};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse_body;

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
}
