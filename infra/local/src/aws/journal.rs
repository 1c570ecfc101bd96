//! Keeps queued messages across restarts: the emulated queues live in memory.
//!
//! One JSON line per message sent or deleted and per queue purged, written before the call is
//! answered, so that even kill -9 loses none. On start, messages that were not deleted are sent
//! again with the rest of their delay. A message that had moved to a dead-letter queue comes back
//! in the queue it was first sent to, and receive counts start from zero.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions, rename},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

/// A message as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) queue: String,
    pub(super) body: String,
    pub(super) group: Option<String>,
    /// When it became, or becomes, visible; milliseconds since the epoch.
    pub(super) due: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Sent { id: String, message: Sent },
    Deleted { id: String },
    Purged { queue: String },
}

/// The open file.
#[derive(Debug)]
pub(super) struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal of a data folder. Returns the messages that are still queued, with their
    /// ids, in the order in which they are due.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<(String, Sent)>)> {
        let path = folder.join("queues.jsonl");
        let pending = read(&path)?;
        let fresh: PathBuf = folder.join("queues.jsonl.new");
        File::create(&fresh)?;
        // The old file stays until everything has been sent again, and so journaled: see `commit`.
        let file = OpenOptions::new().append(true).open(&fresh)?;
        Ok((
            Self {
                file: Mutex::new(file),
            },
            pending,
        ))
    }

    /// Replaces the old file with the new one, after the pending messages were sent again.
    pub(super) fn commit(folder: &Path) -> io::Result<()> {
        rename(folder.join("queues.jsonl.new"), folder.join("queues.jsonl"))
    }

    pub(super) fn sent(&self, id: &str, message: Sent) -> io::Result<()> {
        self.write(&Line::Sent {
            id: id.to_owned(),
            message,
        })
    }

    pub(super) fn deleted(&self, id: &str) -> io::Result<()> {
        self.write(&Line::Deleted { id: id.to_owned() })
    }

    pub(super) fn purged(&self, queue: &str) -> io::Result<()> {
        let queue = queue.to_owned();
        self.write(&Line::Purged { queue })
    }

    /// The newline comes first, so that an earlier line that a full disk or a crash cut off spoils
    /// only itself.
    fn write(&self, line: &Line) -> io::Result<()> {
        let text = format!("\n{}", serde_json::to_string(line)?);
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(text.as_bytes())
    }
}

fn read(path: &Path) -> io::Result<Vec<(String, Sent)>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut pending = BTreeMap::new();
    // A consumer may delete a message before its `sent` line is written.
    let mut deleted = BTreeSet::new();
    for line in text.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Sent { id, message }) => drop(pending.insert(id, message)),
            Ok(Line::Deleted { id }) => drop(deleted.insert(id)),
            Ok(Line::Purged { queue }) => {
                pending.retain(|_, message: &mut Sent| message.queue != queue);
            }
            // Empty, or cut off by a crash, perhaps within a character: that call was never
            // answered.
            Err(_) => {}
        }
    }
    pending.retain(|id, _| !deleted.contains(id));
    let mut pending: Vec<_> = pending.into_iter().collect();
    pending.sort_by_key(|(_, message)| message.due);
    Ok(pending)
}
