//! Secrets Manager: GetSecretValue for the template's secrets.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
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
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(mut file) => {
            let value = generate();
            file.write_all(value.as_bytes())?;
            Ok(value)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut value = String::new();
            File::open(path)?.read_to_string(&mut value)?;
            Ok(value)
        }
        Err(error) => Err(error),
    }
}
