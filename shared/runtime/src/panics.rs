//! Panics: work that panics fails alone. Its neighbours in the same invocation go on, and so does the process.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;

/// A piece of work that panicked, and what it said.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(String);

/// Does a piece of work, and tells whether it panicked. What it shares with others must bear being left in the
/// middle of a change: locks here are taken whether they are poisoned or not.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|panic| Panicked(said(&*panic)))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_is_told_from_what_does_not() {
        assert_eq!(caught(async { 1 }).await.ok(), Some(1));
        let number = 7;
        let told = caught(async move { panic!("at {number}") }).await;
        let told: Result<(), _> = told;
        assert_eq!(told.unwrap_err().to_string(), "panicked: at 7");
        let told: Result<(), _> = caught(async { panic!("plain") }).await;
        assert_eq!(told.unwrap_err().to_string(), "panicked: plain");
        let told: Result<(), _> = caught(async { std::panic::panic_any(7) }).await;
        assert_eq!(told.unwrap_err().to_string(), "panicked: no message");
    }
}
