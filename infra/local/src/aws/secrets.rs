//! Secrets Manager: GetSecretValue and PutSecretValue for the template's secrets.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use posthorn_runtime::entropy;
use serde_json::{Value, json};

/// The length of a generated secret in characters, as `PasswordLength` in the template.
const LENGTH: usize = 64;

/// The secrets by their ids, which are logical ids.
#[derive(Clone, Debug)]
pub(super) struct Secrets {
    values: Arc<Mutex<BTreeMap<String, Versions>>>,
    folder: Option<PathBuf>,
}

/// The versions of a secret that have a stage.
#[derive(Debug)]
struct Versions {
    current: String,
    previous: Option<String>,
}

impl Secrets {
    /// Reads the secrets from the data folder; creates missing ones.
    pub(super) fn open(ids: &[String], data: Option<&Path>) -> io::Result<Self> {
        let secret = |id: &String| {
            let name = file_name(id);
            let previous = data.map(|folder| fs::read_to_string(folder.join(old(&name))));
            let versions = Versions {
                current: open(&name, data)?,
                previous: previous.and_then(Result::ok),
            };
            Ok((id.clone(), versions))
        };
        let values = ids.iter().map(secret).collect::<io::Result<_>>()?;
        Ok(Self {
            values: Arc::new(Mutex::new(values)),
            folder: data.map(Path::to_owned),
        })
    }

    /// GetSecretValue; `None` when the secret or its version does not exist.
    pub(super) fn get(&self, request: &Value) -> Option<Value> {
        let id = request["SecretId"].as_str()?;
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = values.get(id)?;
        let value = match request["VersionStage"].as_str() {
            None | Some("AWSCURRENT") => &versions.current,
            Some("AWSPREVIOUS") => versions.previous.as_ref()?,
            Some(_) => return None,
        };
        Some(json!({ "Name": id, "ARN": id, "SecretString": value }))
    }

    /// PutSecretValue: the current value becomes the previous one.
    pub(super) fn put(&self, request: &Value) -> Option<io::Result<Value>> {
        let id = request["SecretId"].as_str()?;
        let value = request["SecretString"].as_str()?;
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = values.get_mut(id)?;
        let name = file_name(id);
        if let Some(folder) = &self.folder {
            let written = write(&folder.join(old(&name)), &versions.current)
                .and_then(|()| write(&folder.join(name), value));
            if let Err(error) = written {
                return Some(Err(error));
            }
        }
        let before = std::mem::replace(&mut versions.current, value.to_owned());
        versions.previous = Some(before);
        Some(Ok(
            json!({ "Name": id, "ARN": id, "VersionStages": ["AWSCURRENT"] }),
        ))
    }
}

fn file_name(id: &str) -> String {
    format!("secret-{id}")
}

/// The files of a secret in the data folder.
pub(super) fn files(id: &str) -> [String; 2] {
    let name = file_name(id);
    [old(&name), name]
}

fn old(name: &str) -> String {
    format!("{name}-previous")
}

/// A secret of the data folder; a new one when it is missing or there is no folder.
pub(super) fn open(name: &str, data: Option<&Path>) -> io::Result<String> {
    let Some(folder) = data else {
        return Ok(generate());
    };
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        // Empty: the process ended before the secret was written, so nothing was signed with it.
        Ok(value) if value.is_empty() => create(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(&path),
        read => read,
    }
}

/// 64 letters and digits from 32 random bytes.
fn generate() -> String {
    let bytes = entropy::<{ LENGTH / 2 }>();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn create(path: &Path) -> io::Result<String> {
    let value = generate();
    write(path, &value)?;
    Ok(value)
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(value.as_bytes())
}
