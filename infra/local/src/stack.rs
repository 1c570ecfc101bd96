//! The whole stack, in one value.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    ACCOUNT, LogSink, REGION,
    aws::{Aws, AwsError, AwsOptions, Meter, Queues},
    binaries::{BuildError, build_binaries},
    event_source, front,
    lambda::{self, InvokeError, Pool, PoolOptions},
    schedule,
    template::{FunctionSpec, SourceSpec, Template, TemplateError},
};

/// The most processes of a function; Lambda allows 1,000 and more.
const MAX_PROCESSES: usize = 30;

/// The most batches of a queue that are handled concurrently on this machine.
const MAX_BATCHES: usize = 20;

/// How a stack runs.
#[derive(Clone, Debug, Default)]
pub struct StackOptions {
    /// The API's port; DynamoDB uses the next one, SQS the one after that. `None` uses free ports.
    pub port: Option<u16>,
    /// Where state is kept; `None` keeps it in memory.
    pub data: Option<PathBuf>,
    /// Whether to start without the state that is kept there.
    pub reset: bool,
    /// Values for the template's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Whether to count AWS calls and consumed capacity.
    pub meter: bool,
    /// More variables for the functions; they replace those of the same name.
    pub environment: BTreeMap<String, String>,
    /// Where the functions' output goes.
    pub log: LogSink,
}

/// Why the stack could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program uses the port.
    #[error("port {0} is taken: stop the program that uses it, or choose another with --port")]
    PortTaken(u16),
    /// A socket could not be opened.
    #[error("a socket could not be opened: {0}")]
    Io(#[from] io::Error),
    /// The template or a parameter is invalid.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The functions could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An emulated service could not be started.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The template names a binary that the workspace does not have.
    #[error("template.yaml names the binary `{0}`, which the workspace does not build")]
    NoBinary(String),
}

/// A running stack; dropping it ends everything.
#[derive(Debug)]
pub struct Stack {
    api_url: String,
    aws: Aws,
    pools: HashMap<String, Pool>,
    environments: BTreeMap<String, BTreeMap<String, String>>,
    more_environment: BTreeMap<String, String>,
    log: LogSink,
    _tasks: JoinSet<()>,
}

impl Stack {
    /// Builds the functions and starts everything that the template names.
    pub async fn start(options: StackOptions) -> Result<Self, StartError> {
        let port = |offset: u16| options.port.map_or(0, |port| port + offset);
        let api = bind(port(0)).await?;
        let (dynamodb, sqs) = (bind(port(1)).await?, bind(port(2)).await?);
        let runtime_api = bind(0).await?;
        let mut parameters = options.parameters;
        // The demo receiver and the tests' receivers use plain http.
        parameters
            .entry("AllowHttpEndpoints".to_owned())
            .or_insert_with(|| "true".to_owned());
        let template = Template::load(
            &parameters,
            &format!("http://{}/{ACCOUNT}", sqs.local_addr()?),
        )?;
        let binaries = build_binaries().await?;
        let aws = AwsOptions {
            dynamodb,
            sqs,
            data: options.data,
            reset: options.reset,
            meter: options.meter,
        };
        let mut stack = Self {
            api_url: format!("http://{}", api.local_addr()?),
            aws: Aws::start(&template, aws).await?,
            pools: HashMap::new(),
            environments: BTreeMap::new(),
            more_environment: options.environment,
            log: options.log,
            _tasks: JoinSet::new(),
        };
        let runtime_address = runtime_api.local_addr()?.to_string();
        for function in &template.functions {
            let executable = binaries.get(&function.binary);
            let executable =
                executable.ok_or_else(|| StartError::NoBinary(function.binary.clone()))?;
            stack.add(function, executable, &runtime_address);
        }
        stack._tasks.spawn(lambda::serve(
            runtime_api,
            stack.pools.clone().into_values(),
        ));
        stack.connect(&template, api);
        Ok(stack)
    }

    fn add(&mut self, function: &FunctionSpec, executable: &Path, runtime_api: &str) {
        let environment = self.function_environment(function);
        self.environments
            .insert(function.logical_id.clone(), environment.clone());
        let options = PoolOptions {
            name: function.logical_id.clone(),
            executable: executable.to_owned(),
            environment,
            timeout: function.timeout,
            max: MAX_PROCESSES,
            runtime_api: runtime_api.to_owned(),
            log: self.log.clone(),
        };
        self.pools
            .insert(function.logical_id.clone(), Pool::new(options));
    }

    fn function_environment(&self, function: &FunctionSpec) -> BTreeMap<String, String> {
        let lambda = [
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            // These identify the function: its role's policies apply here, too.
            (
                "AWS_ACCESS_KEY_ID",
                self.aws.roles().access_key(Some(&function.logical_id)),
            ),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.aws.dynamodb_url()),
            ("AWS_ENDPOINT_URL_SQS", self.aws.sqs_url()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.aws.sqs_url()),
            ("AWS_ENDPOINT_URL_KMS", self.aws.sqs_url()),
            // Lambda has no profiles. A profile on this machine may ask for FIPS, which the SDK
            // would refuse.
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_LAMBDA_FUNCTION_NAME", &function.logical_id),
            (
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                &function.memory_mb.to_string(),
            ),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            (
                "AWS_LAMBDA_LOG_GROUP_NAME",
                &format!("/aws/lambda/{}", function.logical_id),
            ),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            // The only setting that a deployment never has: it allows receivers on this machine.
            ("ALLOW_SUBNETS", "127.0.0.0/8,::1/128"),
        ];
        let lambda = lambda.map(|(name, value)| (name.to_owned(), value.to_owned()));
        function
            .environment
            .clone()
            .into_iter()
            .chain(lambda)
            .chain(self.more_environment.clone())
            .collect()
    }

    /// Starts what invokes the functions: the HTTP API, the queues and the schedule.
    fn connect(&mut self, template: &Template, api: TcpListener) {
        let mut routes = Vec::new();
        for function in &template.functions {
            let Some(pool) = self.pools.get(&function.logical_id).cloned() else {
                continue;
            };
            routes.extend(
                function
                    .routes
                    .iter()
                    .map(|route| (route.clone(), pool.clone())),
            );
            for source in &function.sources {
                let source = SourceSpec {
                    max_concurrency: source.max_concurrency.min(MAX_BATCHES),
                    ..source.clone()
                };
                let queues = self.aws.queues().clone();
                let poll = event_source::poll(queues, source, pool.clone());
                self._tasks.spawn(poll);
            }
            if let Some(every) = function.schedule {
                let name = function.logical_id.clone();
                self._tasks.spawn(schedule::run(pool, name, every));
            }
        }
        self._tasks.spawn(front::serve(api, routes));
    }

    /// The base URL of the API.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The emulated services.
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The queues.
    pub fn queues(&self) -> &Queues {
        self.aws.queues()
    }

    /// The meter, when counting was asked for.
    pub fn meter(&self) -> Option<&Meter> {
        self.aws.meter()
    }

    /// Invokes a function by its logical id, as `aws lambda invoke` does.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value, InvokeError> {
        let pool = self
            .pools
            .get(function)
            .ok_or_else(|| InvokeError::Start(format!("no function `{function}`")))?;
        let result = pool.invoke(Bytes::from(event.to_string())).await?;
        serde_json::from_slice(&result).map_err(|error| InvokeError::Function(error.to_string()))
    }

    /// How often each function was invoked, by logical id.
    pub fn invocations(&self) -> BTreeMap<String, u64> {
        let pools = self.pools.iter();
        pools
            .map(|(name, pool)| (name.clone(), pool.invocations()))
            .collect()
    }

    /// The total time of each function's invocations, by logical id; each invocation is rounded to
    /// whole milliseconds.
    pub fn busy(&self) -> BTreeMap<String, Duration> {
        let pools = self.pools.iter();
        pools
            .map(|(name, pool)| (name.clone(), pool.busy()))
            .collect()
    }

    /// Replaces the processes of all functions with new ones.
    pub(crate) fn replace_processes(&self) {
        self.pools.values().for_each(Pool::replace_processes);
    }

    /// The operating system's ids of a function's processes.
    pub fn process_ids(&self, function: &str) -> Vec<u32> {
        self.pools
            .get(function)
            .map(Pool::process_ids)
            .unwrap_or_default()
    }

    /// The environment of a function's processes; `None` merges those of all functions.
    pub fn environment(&self, function: Option<&str>) -> BTreeMap<String, String> {
        let wanted = self
            .environments
            .iter()
            .filter(|(name, _)| function.is_none_or(|function| function == *name));
        wanted
            .flat_map(|(_, environment)| environment.clone())
            .collect()
    }

    /// What the functions printed, if the log is kept.
    pub fn logs(&self) -> Vec<String> {
        self.log.lines()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for pool in self.pools.values() {
            pool.stop();
        }
    }
}

async fn bind(port: u16) -> Result<TcpListener, StartError> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(StartError::PortTaken(port)),
        Err(error) => Err(error.into()),
    }
}
