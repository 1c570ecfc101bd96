//! The processes of one function.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use posthorn_domain::timestamp::Timestamp;
use posthorn_runtime::{entropy, now};
use tokio::{process::Child, sync::oneshot, task::JoinSet};

use super::process;
use crate::{LogSink, fair_sleep::fair_sleep};

/// Why an invocation returned no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function answered with an error.
    #[error("the function failed: {0}")]
    Function(String),
    /// The process ended during the invocation.
    #[error("the process ended: {0}")]
    Exited(String),
    /// The function timed out; its process was killed.
    #[error("the task timed out after {0} seconds")]
    TimedOut(u64),
    /// The process could not be started.
    #[error("the process could not be started: {0}")]
    Start(String),
}

/// The settings of a pool.
#[derive(Debug)]
pub(crate) struct PoolOptions {
    /// The function's logical id; also its part of the Runtime API's path.
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) timeout: Duration,
    /// The most processes.
    pub(crate) max: usize,
    /// Host and port of the Runtime API.
    pub(crate) runtime_api: String,
    pub(crate) log: LogSink,
}

/// One function.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PoolOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_process: u64,
    /// Processes with lower numbers run an executable that was replaced.
    first_current: u64,
    processes: HashMap<u64, Process>,
    /// Processes that are waiting for an invocation.
    idle: VecDeque<(u64, oneshot::Sender<Invocation>)>,
    waiting: VecDeque<Invocation>,
    running: HashMap<u64, Running>,
    stopped: bool,
    invocations: u64,
    busy: Duration,
}

#[derive(Debug)]
struct Process {
    pid: Option<u32>,
    /// Dropping this kills the process.
    _kill: oneshot::Sender<()>,
    was_ready: bool,
}

#[derive(Debug)]
struct Running {
    id: String,
    reply: oneshot::Sender<Result<Bytes, InvokeError>>,
    started_at: Instant,
    /// Kills the process when the invocation takes too long; cancelled when this is dropped.
    _late: JoinSet<()>,
}

/// One event for the function, and where its result goes.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) id: String,
    pub(super) payload: Bytes,
    pub(super) deadline: Timestamp,
    reply: Option<oneshot::Sender<Result<Bytes, InvokeError>>>,
}

impl Pool {
    pub(crate) fn new(options: PoolOptions) -> Self {
        Self(Arc::new(Shared {
            options,
            state: Mutex::default(),
        }))
    }

    /// Invokes the function and waits for its result.
    pub async fn invoke(&self, payload: Bytes) -> Result<Bytes, InvokeError> {
        let (reply, result) = oneshot::channel();
        let id = entropy::<16>()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let invocation = Invocation {
            id,
            payload,
            deadline: now(),
            reply: Some(reply),
        };
        self.state().waiting.push_back(invocation);
        self.pump();
        result
            .await
            .unwrap_or_else(|_| Err(InvokeError::Exited("the local stack stopped".to_owned())))
    }

    /// How often the function has been invoked.
    pub fn invocations(&self) -> u64 {
        self.state().invocations
    }

    /// The total time of finished invocations, each in whole milliseconds as Lambda bills it.
    pub fn busy(&self) -> Duration {
        self.state().busy
    }

    /// The operating system's ids of the processes.
    pub fn process_ids(&self) -> Vec<u32> {
        self.state()
            .processes
            .values()
            .filter_map(|process| process.pid)
            .collect()
    }

    /// Kills every process; waiting and running invocations fail, and no process is started any
    /// more.
    pub(crate) fn stop(&self) {
        *self.state() = State {
            stopped: true,
            ..State::default()
        };
    }

    /// Replaces the processes with new ones, which run the current executable. Idle ones end at
    /// once, busy ones after their invocation.
    pub(crate) fn replace_processes(&self) {
        let mut state = self.state();
        state.first_current = state.next_process + 1;
        for (process, _) in std::mem::take(&mut state.idle) {
            state.processes.remove(&process);
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.options.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives waiting invocations to idle processes, and starts processes for the others.
    fn pump(&self) {
        let mut state = self.state();
        if state.stopped {
            state.waiting.clear();
            return;
        }
        while let Some(invocation) = state.waiting.pop_front() {
            // The most recently used process: its memory is still in the processor's caches.
            match state.idle.pop_back() {
                Some((process, ready)) => self.assign(&mut state, process, ready, invocation),
                None => {
                    state.waiting.push_front(invocation);
                    break;
                }
            }
        }
        let starting = state
            .processes
            .values()
            .filter(|process| !process.was_ready)
            .count();
        let wanted = state.waiting.len().saturating_sub(starting);
        let room = self.0.options.max.saturating_sub(state.processes.len());
        for _ in 0..wanted.min(room) {
            self.start(&mut state);
        }
    }

    fn assign(
        &self,
        state: &mut State,
        process: u64,
        ready: oneshot::Sender<Invocation>,
        mut invocation: Invocation,
    ) {
        let Some(reply) = invocation.reply.take() else {
            return;
        };
        let id = invocation.id.clone();
        invocation.deadline = now().plus(self.0.options.timeout);
        match ready.send(invocation) {
            Ok(()) => {
                state.invocations += 1;
                let mut late = JoinSet::new();
                late.spawn(self.clone().end_late(process, id.clone()));
                state.running.insert(
                    process,
                    Running {
                        id,
                        reply,
                        started_at: Instant::now(),
                        _late: late,
                    },
                );
            }
            // The process died while it was idle.
            Err(mut invocation) => {
                invocation.reply = Some(reply);
                state.waiting.push_front(invocation);
            }
        }
    }

    async fn end_late(self, process: u64, id: String) {
        let timeout = self.0.options.timeout;
        fair_sleep(timeout).await;
        let mut state = self.state();
        if state
            .running
            .get(&process)
            .is_some_and(|running| running.id == id)
        {
            state.processes.remove(&process);
            if let Some(running) = state.running.remove(&process) {
                let _ = running
                    .reply
                    .send(Err(InvokeError::TimedOut(timeout.as_secs())));
            }
        }
    }

    /// Kills a process that never asks for an invocation; otherwise the invocation it was started
    /// for would hang.
    async fn end_silent(self, process: u64) {
        let timeout = self.0.options.timeout;
        fair_sleep(timeout).await;
        self.give_up_start(process, InvokeError::TimedOut(timeout.as_secs()));
    }

    /// Kills a process that is not ready, and fails the invocation that it was started for. Its
    /// entry is removed, so that its exit does not fail a second invocation.
    fn give_up_start(&self, process: u64, error: InvokeError) {
        let mut state = self.state();
        let is_starting = state
            .processes
            .get(&process)
            .is_some_and(|process| !process.was_ready);
        if is_starting {
            state.processes.remove(&process);
            fail_one(&mut state, error);
        }
    }

    fn start(&self, state: &mut State) {
        state.next_process += 1;
        let process = state.next_process;
        match process::command(&self.0.options, process).spawn() {
            Ok(child) => {
                let (kill, killed) = oneshot::channel();
                let pid = child.id();
                state.processes.insert(
                    process,
                    Process {
                        pid,
                        _kill: kill,
                        was_ready: false,
                    },
                );
                tokio::spawn(self.clone().watch(process, child, killed));
                tokio::spawn(self.clone().end_silent(process));
            }
            Err(error) => {
                let error = format!("{}: {error}", self.0.options.executable.display());
                fail_one(state, InvokeError::Start(error));
            }
        }
    }

    /// Follows a process to its end.
    async fn watch(self, process: u64, mut child: Child, killed: oneshot::Receiver<()>) {
        process::follow_output(&self.0.options, child.stdout.take());
        process::follow_output(&self.0.options, child.stderr.take());
        let status = tokio::select! {
            status = child.wait() => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            _ = killed => {
                let _ = child.kill().await;
                "ended by the local stack".to_owned()
            }
        };
        self.ended(process, &status);
    }

    fn ended(&self, process: u64, status: &str) {
        let mut state = self.state();
        let was_ready = state
            .processes
            .remove(&process)
            .is_none_or(|process| process.was_ready);
        state.idle.retain(|(idle, _)| *idle != process);
        match state.running.remove(&process) {
            Some(running) => drop(
                running
                    .reply
                    .send(Err(InvokeError::Exited(status.to_owned()))),
            ),
            // It could not even start. Its invocation fails; otherwise new processes would be
            // started for ever.
            None if !was_ready => fail_one(&mut state, InvokeError::Exited(status.to_owned())),
            None => {}
        }
        drop(state);
        self.pump();
    }

    /// Waits for the next invocation for a process; `None` when the process is unknown.
    pub(super) async fn next(&self, process: u64) -> Option<Invocation> {
        let (ready, invocation) = oneshot::channel();
        {
            let mut state = self.state();
            if process < state.first_current {
                state.processes.remove(&process);
            }
            state.processes.get_mut(&process)?.was_ready = true;
            state.idle.retain(|(idle, _)| *idle != process);
            state.idle.push_back((process, ready));
        }
        self.pump();
        invocation.await.ok()
    }

    /// Accepts a process's result of an invocation.
    pub(super) fn complete(&self, process: u64, id: &str, result: Result<Bytes, InvokeError>) {
        let mut state = self.state();
        if state
            .running
            .get(&process)
            .is_some_and(|running| running.id == id)
            && let Some(running) = state.running.remove(&process)
        {
            let millis = running.started_at.elapsed().as_secs_f64() * 1000.0;
            state.busy += Duration::from_secs_f64(millis.ceil() / 1000.0);
            let _ = running.reply.send(result);
        }
    }

    /// Accepts a process's report that it cannot start.
    pub(super) fn fail_start(&self, process: u64, reason: String) {
        self.give_up_start(process, InvokeError::Function(reason));
    }
}

fn fail_one(state: &mut State, error: InvokeError) {
    if let Some(reply) = state
        .waiting
        .pop_front()
        .and_then(|mut invocation| invocation.reply.take())
    {
        let _ = reply.send(Err(error));
    }
}
