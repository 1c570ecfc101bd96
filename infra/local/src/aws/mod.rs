//! The AWS services that the functions call, in this process: DynamoDB, SQS, Secrets Manager and
//! KMS, guarded by the template's policies.

mod dynamodb;
mod iam;
mod journal;
mod kms;
mod meter;
mod proxy;
mod queues;
mod secrets;
mod server;

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

pub use iam::Roles;
pub use meter::{Meter, MeterReport};
pub use queues::{Queues, Received};
use tokio::{net::TcpListener, task::JoinSet};

use crate::template::Template;

/// How the services run.
#[derive(Debug)]
pub struct AwsOptions {
    /// Where DynamoDB listens.
    pub dynamodb: TcpListener,
    /// Where SQS, Secrets Manager and KMS listen.
    pub sqs: TcpListener,
    /// Where state is kept; `None` keeps it in memory.
    pub data: Option<PathBuf>,
    /// Whether to start without the state that is kept there.
    pub reset: bool,
    /// Whether to count calls and consumed capacity.
    pub meter: bool,
}

/// Why a service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// The data folder or a socket could not be used.
    #[error("the data folder or a socket cannot be used: {0}")]
    Io(#[from] io::Error),
    /// Another stack uses the data folder; two would overwrite each other's journal.
    #[error("the folder {0} belongs to a running stack: stop it, or choose another with --data")]
    InUse(String),
    /// DynamoDB.
    #[error("DynamoDB: {0}")]
    DynamoDb(String),
    /// SQS.
    #[error("SQS: {0}")]
    Sqs(String),
}

/// The running services; dropping this value ends them.
#[derive(Debug)]
pub struct Aws {
    dynamodb_url: String,
    sqs_url: String,
    queues: Queues,
    meter: Option<Meter>,
    roles: Roles,
    _tasks: JoinSet<()>,
    _lock: Option<File>,
}

impl Aws {
    /// Starts the services and creates what the template names.
    pub async fn start(template: &Template, options: AwsOptions) -> Result<Self, AwsError> {
        let lock = options.data.as_deref().map(lock).transpose()?;
        if let Some(folder) = options.data.as_deref().filter(|_| options.reset) {
            reset(folder, template)?;
        }
        let mut tasks = JoinSet::new();
        let meter = options.meter.then(Meter::default);
        let port = options.sqs.local_addr()?.port();
        let queues = Queues::open(template, port, options.data.as_deref(), meter.clone()).await?;
        let secrets = secrets::Secrets::open(&template.secrets, options.data.as_deref())?;
        let dynamodb_url = url(&options.dynamodb)?;
        let database = dynamodb::open(template, options.data.as_deref())?;
        let kms = kms::Kms::open(&template.kms_keys, options.data.as_deref())?;
        let roles = Roles::new(&template.functions);
        let proxy = proxy::Proxy {
            database: database.clone(),
            roles: roles.clone(),
            meter: meter.clone(),
        };
        tasks.spawn(proxy::serve(options.dynamodb, proxy));
        tasks.spawn(dynamodb::expire(database));
        let sqs_url = url(&options.sqs)?;
        let services = server::Services {
            queues: queues.clone(),
            secrets,
            kms,
            roles: roles.clone(),
        };
        tasks.spawn(server::serve(options.sqs, services));
        Ok(Self {
            dynamodb_url,
            sqs_url,
            queues,
            meter,
            roles,
            _tasks: tasks,
            _lock: lock,
        })
    }

    /// DynamoDB's URL.
    pub fn dynamodb_url(&self) -> &str {
        &self.dynamodb_url
    }

    /// The URL of SQS, Secrets Manager and KMS.
    pub fn sqs_url(&self) -> &str {
        &self.sqs_url
    }

    /// The queues, for the event source.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// What the functions may do, and what they have done.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The meter, if counting was asked for.
    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_ref()
    }
}

fn url(listener: &TcpListener) -> io::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// Creates the data folder and locks it until the file is closed, at the latest when the process
/// ends.
fn lock(folder: &Path) -> Result<File, AwsError> {
    std::fs::create_dir_all(folder)?;
    let file = File::create(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AwsError::InUse(folder.display().to_string())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Removes the state that an earlier stack kept; other files in the folder stay.
fn reset(folder: &Path, template: &Template) -> io::Result<()> {
    let databases = ["", "-journal", "-shm", "-wal"].map(|end| format!("dynamodb.sqlite{end}"));
    let others = ["organization", "queues.jsonl", "queues.jsonl.new"].map(str::to_owned);
    let secrets = template.secrets.iter().flat_map(|id| secrets::files(id));
    let keys = template.kms_keys.iter().map(|id| kms::file(id));
    for name in databases
        .into_iter()
        .chain(others)
        .chain(secrets)
        .chain(keys)
    {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
