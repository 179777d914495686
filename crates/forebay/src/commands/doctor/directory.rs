//! The data directory: is it there, can it be written, how much room is left.
//! Leaves nothing behind: the one file that it writes is gone when it returns.

use std::path::{Path, PathBuf};

use super::finding::Finding;

const OBJECT: &str = "data directory";
/// Free space below which a server is in danger.
const FREE_MIN_BYTES: u64 = 1 << 30;

/// Look at `dir`. Writes (and removes) one small file.
pub(super) fn examine(dir: &Path) -> Vec<Finding> {
    let shown = dir.display();
    if dir.exists() && !dir.is_dir() {
        return vec![Finding::failed(
            OBJECT,
            format!("{shown} is a file; give a folder with --data-dir"),
        )];
    }
    let nearest = nearest_existing(dir);
    let mut findings = Vec::new();
    match tempfile::Builder::new().prefix(".forebay-doctor").tempfile_in(&nearest) {
        Ok(_removed_when_dropped) if dir.is_dir() => findings.push(Finding::ok(OBJECT, format!("{shown} is writable"))),
        Ok(_removed_when_dropped) => {
            findings.push(Finding::note(OBJECT, format!("{shown} is not there yet; the server makes it")));
        }
        Err(error) => findings.push(Finding::failed(
            OBJECT,
            format!(
                "cannot write in {}: {error}; change its owner, or give another folder with --data-dir",
                nearest.display()
            ),
        )),
    }
    findings.push(match rustix::fs::statvfs(&nearest) {
        Ok(system) => free_space(&nearest, system.f_bavail.saturating_mul(system.f_frsize)),
        Err(error) => Finding::note(
            OBJECT,
            format!(
                "the free space of {} is not known: {error}",
                nearest.display()
            ),
        ),
    });
    findings
}

fn free_space(dir: &Path, bytes: u64) -> Finding {
    let mib = bytes >> 20;
    if bytes < FREE_MIN_BYTES {
        let text = format!(
            "only {mib} MiB are free in {}; make room, ingest pauses when the disk is full",
            dir.display()
        );
        return Finding::failed(OBJECT, text);
    }
    Finding::ok(OBJECT, format!("{mib} MiB are free"))
}

/// The directory itself or the nearest one above it that exists.
fn nearest_existing(dir: &Path) -> PathBuf {
    let found = dir
        .ancestors()
        .find(|ancestor| !ancestor.as_os_str().is_empty() && ancestor.is_dir());
    found.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_there_or_will_be_or_cannot_be() -> anyhow::Result<()> {
        let root = tempfile::tempdir()?;
        let found = examine(root.path());
        assert!(
            found[0].text().ends_with("is writable") && !found[0].is_failed(),
            "{found:?}"
        );
        assert!(found[1].text().contains("MiB"), "{found:?}");
        assert_eq!(
            std::fs::read_dir(root.path())?.count(),
            0,
            "nothing is left behind"
        );
        let found = examine(&root.path().join("a/b"));
        assert!(
            found[0].text().contains("not there yet") && !found[0].is_failed(),
            "{found:?}"
        );
        let file = root.path().join("file");
        std::fs::write(&file, "x")?;
        assert!(examine(&file)[0].is_failed());
        Ok(())
    }

    #[test]
    fn little_space_is_a_failure() {
        assert!(free_space(Path::new("d"), 5 << 20).is_failed());
        assert!(!free_space(Path::new("d"), 5 << 30).is_failed());
        assert_eq!(
            nearest_existing(Path::new("no/such/place")),
            PathBuf::from(".")
        );
    }
}
