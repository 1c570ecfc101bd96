//! `--watch`: builds the functions again when their sources change, and replaces their processes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{Stack, binaries};

/// How often the sources are checked: a few hundred files.
const EVERY: Duration = Duration::from_millis(500);

const FOLDERS: [&str; 2] = ["functions", "shared"];

impl Stack {
    /// Watches the functions' sources for ever. A build that fails leaves the processes as they
    /// are.
    pub async fn watch(&self) {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let folders = FOLDERS.map(|folder| root.join(folder));
        let mut before = newest(&folders);
        loop {
            tokio::time::sleep(EVERY).await;
            let now = newest(&folders);
            if now == before {
                continue;
            }
            before = now;
            eprintln!("Sources have changed; building …");
            match binaries::rebuild().await {
                Ok(()) => {
                    self.replace_processes();
                    eprintln!("The new functions are running.");
                }
                Err(error) => eprintln!("{error}; the previous functions keep running"),
            }
        }
    }
}

/// The number of sources, and when the newest was written.
fn newest(folders: &[PathBuf]) -> (usize, Option<SystemTime>) {
    let mut sources = Vec::new();
    for folder in folders {
        // A folder that is being renamed right now is seen the next time.
        let _ = collect(folder, &mut sources);
    }
    (sources.len(), sources.into_iter().max())
}

fn collect(folder: &Path, sources: &mut Vec<SystemTime>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, sources)?;
        } else if path
            .extension()
            .is_some_and(|it| it == "rs" || it == "toml")
        {
            sources.push(entry.metadata()?.modified()?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_a_new_and_a_deleted_source_are_seen() {
        let folder = std::env::temp_dir().join(format!("posthorn-watch-{}", std::process::id()));
        let inner = folder.join("src");
        fs::create_dir_all(&inner).unwrap();
        let seen = || newest(std::slice::from_ref(&folder));
        fs::write(inner.join("a.rs"), "1").unwrap();
        let first = seen();
        fs::write(inner.join("notes.txt"), "1").unwrap();
        assert_eq!(seen(), first, "not a source");
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let file = fs::File::options()
            .write(true)
            .open(inner.join("a.rs"))
            .unwrap();
        file.set_modified(later).unwrap();
        let written = seen();
        assert_ne!(written, first);
        fs::write(inner.join("b.rs"), "1").unwrap();
        let added = seen();
        assert_ne!(added, written);
        fs::remove_file(inner.join("b.rs")).unwrap();
        assert_ne!(seen(), added);
        fs::remove_dir_all(folder).unwrap();
    }
}
