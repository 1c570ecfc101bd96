//! Ingest: accepts messages that are posted one by one (`POST /api/v1/app/{app_id}/msg`), in
//! batches (`…/msg/batch`), or sent to the messages queue.
//!
//! A message is accepted only after it is stored and one task per matching endpoint is queued.
//! [`handle`](Ingest::handle) tells the kinds of events apart, `requests` translates HTTP and `records` SQS,
//! `accept` decides, `reserve` lets repeated requests find their first message, `directory` finds
//! the application.

mod accept;
mod directory;
mod handle;
mod records;
mod requests;
mod reserve;
mod start;
mod submission;

use posthorn_contract::tokens::Tokens;
use posthorn_domain::trace::TraceParent;
use posthorn_publish::Publisher;
use posthorn_runtime::entropy;
use posthorn_store::Guards;

use crate::directory::Directory;

/// What ingest works with; built once per process.
#[derive(Debug)]
pub struct Ingest {
    tokens: Tokens,
    directory: Directory,
    guards: Guards,
    publisher: Publisher,
    traces: bool,
}

impl Ingest {
    /// The span of a message, if messages are traced; the sender's span becomes its parent.
    fn span(&self, caller: Option<TraceParent>) -> Option<TraceParent> {
        self.traces.then(|| match caller {
            Some(caller) => caller.child(entropy()),
            None => TraceParent::begin(entropy(), entropy()),
        })
    }
}
