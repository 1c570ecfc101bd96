//! Where the functions' output goes.

use std::sync::{Arc, Mutex, PoisonError};

/// A place for lines.
#[derive(Clone, Debug)]
pub enum LogSink {
    /// Standard error, as they come.
    Stderr,
    /// Memory: a test shows them when it fails.
    Kept(Arc<Mutex<Vec<String>>>),
}

impl Default for LogSink {
    fn default() -> Self {
        Self::Kept(Arc::default())
    }
}

impl LogSink {
    /// Takes a line of a function.
    pub(crate) fn write(&self, function: &str, line: &str) {
        let line = format!("[{function}] {line}");
        match self {
            Self::Stderr => eprintln!("{line}"),
            Self::Kept(lines) => lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line),
        }
    }

    /// The lines that were kept.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Stderr => Vec::new(),
            Self::Kept(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
