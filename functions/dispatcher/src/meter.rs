//! What is known of one connection, and an attempt's use of it: how many bytes it may still read, what has come
//! over it, and what broke it.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use posthorn_domain::failure::{Failure, MAX_ANSWER_BYTES};

use crate::{classify::failure_of_io, head::Head};

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Bytes that may still be read.
    pub(crate) left: AtomicUsize,
    /// Attempts that use the connection now; above 1 with HTTP/2 only.
    users: AtomicUsize,
    /// Whether an attempt used it before.
    used: AtomicBool,
    /// Bytes of answers so far, TLS taken off.
    pub(crate) answered: AtomicUsize,
    pub(crate) spent: AtomicBool,
    broken: Mutex<Option<Failure>>,
    /// Of the answer to the request that was sent last; HTTP/1 only.
    head: Mutex<Head>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            left: AtomicUsize::new(MAX_ANSWER_BYTES),
            users: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            spent: AtomicBool::new(false),
            broken: Mutex::default(),
            head: Mutex::default(),
        }
    }
}

impl Meter {
    /// Keeps the first thing that broke the connection.
    pub(crate) fn note(&self, error: &io::Error) {
        let broken = self.broken.lock();
        let mut broken = broken.unwrap_or_else(PoisonError::into_inner);
        *broken = broken.or(failure_of_io(error));
    }

    pub(crate) fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt's use of a connection; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Use {
    meter: Arc<Meter>,
    is_reused: bool,
    answered_before: usize,
}

impl Use {
    /// Sets how many bytes the attempt may read. The first one on a connection has spent some on the handshake; those
    /// that share an HTTP/2 connection share their bytes, too.
    pub(crate) fn begin(meter: Arc<Meter>) -> Self {
        let is_reused = meter.used.swap(true, Relaxed);
        let others = meter.users.fetch_add(1, Relaxed);
        *meter.head() = Head::default();
        if is_reused {
            // What nobody reads any more is not kept.
            let left = if others == 0 {
                0
            } else {
                meter.left.load(Relaxed)
            };
            let most = (others + 1) * MAX_ANSWER_BYTES;
            meter
                .left
                .store((left + MAX_ANSWER_BYTES).min(most), Relaxed);
        }
        Self {
            is_reused,
            answered_before: meter.answered.load(Relaxed),
            meter,
        }
    }

    /// Whether it uses this connection.
    pub(crate) fn is_of(&self, meter: &Arc<Meter>) -> bool {
        Arc::ptr_eq(&self.meter, meter)
    }

    /// Whether an earlier attempt used the connection.
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Whether an earlier attempt used the connection, and nothing has come over it since.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_reused && self.meter.answered.load(Relaxed) == self.answered_before
    }

    /// Whether the bytes are used up.
    pub(crate) fn is_spent(&self) -> bool {
        self.meter.spent.load(Relaxed)
    }

    /// The status of an answer whose rest cannot be read, and what it says in `Retry-After`.
    pub(crate) fn told(&self) -> Option<(u16, Option<String>)> {
        let head = self.meter.head();
        let (status, retry_after) = head.told()?;
        Some((status, retry_after.map(str::to_owned)))
    }

    /// What broke the connection, as far as TLS and the socket know.
    pub(crate) fn broken(&self) -> Option<Failure> {
        let broken = self.meter.broken.lock();
        *broken.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.meter.users.fetch_sub(1, Relaxed);
    }
}
