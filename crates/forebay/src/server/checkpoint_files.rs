//! Checkpoints as files of the data directory, one a name. Written whole to a file beside it,
//! synced, and renamed over it, so that a crash leaves the old one or the new one; what is in them
//! is their owners'. Also which events each deployment scores, which is kept the same way.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use forebay_core::checkpoint::{self, Opened};
use forebay_core::ports::Checkpoints;
use forebay_core::progress::Applied;
use forebay_core::scope::ScoringScopes;
use forebay_core::{ErrorKind, PortError, PortResult};

const SCOPES: &str = "scoring-scopes";
const SCOPES_KIND: [u8; 4] = *b"FBSC";

/// The files.
#[derive(Debug)]
pub(crate) struct CheckpointFiles {
    folder: PathBuf,
}

impl CheckpointFiles {
    /// Those of `data_dir`.
    ///
    /// # Errors
    /// Their folder cannot be made.
    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let folder = data_dir.join("checkpoints");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// A name in SQL may hold anything; a file name may not.
    fn path(&self, name: &str) -> PathBuf {
        let mut file = String::with_capacity(name.len() + 5);
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => file.push(char::from(byte)),
                _ => file += &format!("%{byte:02x}"),
            }
        }
        self.folder.join(file + ".ckpt")
    }
}

impl Checkpoints for CheckpointFiles {
    fn load(&self, name: &str) -> PortResult<Option<Vec<u8>>> {
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    fn save(&self, name: &str, blob: &[u8]) -> PortResult<()> {
        let path = self.path(name);
        let write = || -> std::io::Result<()> {
            let fresh = path.with_extension("new");
            let mut file = File::create(&fresh)?;
            file.write_all(blob)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| failed("write", &path, error))
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> PortError {
    let words = format!("cannot {what} {}", path.display());
    PortError::with_source(ErrorKind::Unavailable, words, error)
}

/// Which events each deployment scores from now on, where only `current` (deployment and topic of
/// its source) do and `applied` was read. Saved before it is returned, hence before any of those
/// events is read.
///
/// A file that is missing or damaged says nothing of the past: no prediction is waited for of
/// events that were read before now.
///
/// # Errors
/// The disk fails.
pub(crate) fn change_scopes(
    files: &CheckpointFiles,
    current: &[(&str, &str)],
    applied: &Applied,
) -> Result<ScoringScopes> {
    let frame = files.load(SCOPES)?;
    let mut scopes = frame.as_deref().and_then(read_scopes).unwrap_or_else(|| {
        if frame.is_some() {
            tracing::warn!(
                "the record of which events are scored is damaged; monitors wait for predictions \
                 of new events alone"
            );
        }
        ScoringScopes::default()
    });
    if scopes.change(current, applied) {
        let frame = checkpoint::seal(SCOPES_KIND, 0, &serde_json::to_vec(&scopes)?);
        files.save(SCOPES, &frame)?;
    }
    Ok(scopes)
}

fn read_scopes(frame: &[u8]) -> Option<ScoringScopes> {
    match checkpoint::open(SCOPES_KIND, 0, frame) {
        Opened::Payload(payload) => serde_json::from_slice(payload).ok(),
        Opened::Other(_) | Opened::Damaged => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_replaced_whole_and_names_do_not_meet() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let files = CheckpointFiles::open(dir.path())?;
        for name in ["a", "A", "a/b", "a%2fb", "\u{e4}"] {
            assert_eq!(files.load(name)?, None, "{name}");
            files.save(name, b"old")?;
            files.save(name, name.as_bytes())?;
        }
        for name in ["a", "A", "a/b", "a%2fb", "\u{e4}"] {
            assert_eq!(files.load(name)?.as_deref(), Some(name.as_bytes()));
        }
        Ok(())
    }

    #[test]
    fn scopes_outlive_a_restart_and_damage_only_forgets_the_past() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let files = CheckpointFiles::open(dir.path())?;
        let current = [("d", "events")];
        let scopes = change_scopes(&files, &current, &Applied::default())?;
        assert!(scopes.of("d", "events", 0).contains(0));
        let again = CheckpointFiles::open(dir.path())?;
        assert_eq!(
            change_scopes(&again, &current, &Applied::default())?,
            scopes
        );
        files.save(SCOPES, b"damaged")?;
        assert_eq!(
            change_scopes(&files, &current, &Applied::default())?,
            scopes
        );
        Ok(())
    }
}
