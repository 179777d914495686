//! Checkpoints as files of the data directory, one a name. Written whole to a file beside it,
//! synced, and renamed over it, so that a crash leaves the old one or the new one; what is in them
//! is their owners'.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use forebay_core::ports::Checkpoints;
use forebay_core::{ErrorKind, PortError, PortResult};

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

#[cfg(test)]
mod tests {
    use forebay_testkit::conformance::checkpoints;

    use super::*;

    #[test]
    fn checkpoints_in_files_keep_the_promises() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let open = || CheckpointFiles::open(dir.path()).expect("a folder");
        checkpoints::checkpoints(&|| Box::new(open()));
        Ok(())
    }

    #[test]
    fn a_save_that_fails_leaves_the_checkpoint_before_it() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let files = CheckpointFiles::open(dir.path())?;
        files.save("a", b"before")?;
        let in_the_way = files.path("a").with_extension("new");
        std::fs::create_dir(&in_the_way)?;
        let error = files.save("a", b"after").expect_err("no file can be made");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(files.load("a")?.as_deref(), Some(&b"before"[..]));
        std::fs::remove_dir(in_the_way)?;
        files.save("a", b"after")?;
        assert_eq!(files.load("a")?.as_deref(), Some(&b"after"[..]));
        Ok(())
    }
}
