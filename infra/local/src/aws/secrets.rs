//! Secrets Manager: GetSecretValue for the template's secrets.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use posthorn_runtime::entropy;
use serde_json::{Value, json};

/// Characters of a generated secret, as `PasswordLength` in the template.
const LENGTH: usize = 64;

/// The secrets by their ids, which are logical ids.
#[derive(Clone, Debug)]
pub(super) struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Reads the secrets from the data folder; makes the ones that are not there.
    pub(super) fn open(ids: &[String], data: Option<&Path>) -> io::Result<Self> {
        let secret = |id: &String| {
            let value = match data {
                None => generate(),
                Some(folder) => read_or_create(&folder.join(format!("secret-{id}")))?,
            };
            Ok((id.clone(), value))
        };
        ids.iter().map(secret).collect::<io::Result<_>>().map(Self)
    }

    /// GetSecretValue; `None` when there is no such secret.
    pub(super) fn get(&self, request: &Value) -> Option<Value> {
        let id = request["SecretId"].as_str()?;
        let value = self.0.get(id)?;
        Some(json!({ "Name": id, "ARN": id, "SecretString": value }))
    }
}

/// 64 letters and digits of 32 random bytes.
fn generate() -> String {
    let text: String = entropy::<{ LENGTH / 2 }>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    text
}

fn read_or_create(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        // Empty: the process ended before it was written, so nothing was signed with it.
        Ok(value) if value.is_empty() => create(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        read => read,
    }
}

fn create(path: &Path) -> io::Result<String> {
    let value = generate();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(value.as_bytes())?;
    Ok(value)
}
