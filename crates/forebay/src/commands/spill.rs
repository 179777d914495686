//! A folder for what a command does not hold in memory: one for each run, removed with it. What a
//! killed run has left is removed by the next one, which knows by a lock that nobody uses it any
//! more. Another run beside it is never touched.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Held while folders are made and swept, so that none is taken for a left one before its lock is
/// held.
const MAKING: &str = "making.lock";
/// The lock of a run, inside its folder.
const IN_USE: &str = "in-use.lock";

/// The folder of this run.
#[derive(Debug)]
pub(super) struct Spill {
    path: PathBuf,
    /// Locked as long as this process lives.
    _in_use: File,
}

impl Spill {
    /// A new one under `root`; those that nobody uses any more are removed.
    ///
    /// # Errors
    /// A folder or a lock cannot be made.
    pub(super) fn under(root: &Path) -> Result<Self> {
        let made = Self::make(root);
        made.with_context(|| format!("cannot keep temporary files in {}", root.display()))
    }

    fn make(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let making = File::create(root.join(MAKING))?;
        making.lock()?;
        sweep(root)?;
        let mut number = 0_u32;
        let path = loop {
            let path = root.join(format!("run-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                // Another run of this process, or what a killed one of its number has left.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        };
        let in_use = File::create(path.join(IN_USE))?;
        in_use.lock()?;
        Ok(Self {
            path,
            _in_use: in_use,
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            tracing::warn!(%error, %path, "temporary files are left; the next run removes them");
        }
    }
}

/// Remove the folders of runs that have ended.
fn sweep(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() && is_left(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Its own run may remove it at the same time.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether nobody holds the lock of `folder`. One without a lock was left before it was used.
fn is_left(folder: &Path) -> bool {
    match File::open(folder.join(IN_USE)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(root: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(root).expect("a folder");
        let paths = entries.map(|entry| entry.expect("readable").path());
        paths.filter(|path| path.is_dir()).collect()
    }

    #[test]
    fn what_a_killed_run_has_left_is_removed_and_what_another_one_uses_is_not() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().join("spill");
        let running = Spill::under(&root).expect("made");
        // As a kill leaves it: files, and a lock that nobody holds.
        let killed = root.join("run-1-0");
        fs::create_dir(&killed).expect("made");
        fs::write(killed.join(IN_USE), "").expect("written");
        fs::write(killed.join("rows.arrow"), "rows").expect("written");
        let unlocked = root.join("run-2-0");
        fs::create_dir(&unlocked).expect("made");
        let next = Spill::under(&root).expect("made");
        assert!(!killed.exists() && !unlocked.exists());
        let mut expected = [running.path().to_owned(), next.path().to_owned()];
        let mut found = folders(&root);
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        drop((running, next));
        assert!(folders(&root).is_empty());
    }
}
