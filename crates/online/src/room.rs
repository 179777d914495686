//! Whether there is what opening a shard needs: room on its disk, and file descriptors. Found out
//! by trying, before the shard is closed for it; `heal` decides by the answers.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// File that tells whether the directory takes new ones, and its size, bytes: what opening writes
/// at most, beside what the WALs hold.
const PROBE_FILE: &str = "probe.tmp";
const PROBE_BYTES: usize = 1 << 20;
const WAL_EXTENSION: &str = "log";
/// Descriptors beyond the files of a shard that opening it needs: new files, directories, a lock.
const DESCRIPTORS_SPARE: usize = 16;

/// Whether `shard` takes new files, and has room for what opening it writes: the tables of what the
/// WALs hold.
pub(crate) fn takes_files(shard: &Path) -> bool {
    let free = rustix::fs::statvfs(shard).map(|disk| disk.f_bavail * disk.f_frsize);
    if free.is_ok_and(|free| free < wal_bytes(shard) + PROBE_BYTES as u64) {
        return false;
    }
    let path = shard.join(PROBE_FILE);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&path);
    written.and(removed).is_ok()
}

/// Size of the WALs, bytes.
fn wal_bytes(shard: &Path) -> u64 {
    let files = std::fs::read_dir(shard).into_iter().flatten().flatten();
    let is_wal = |name: &OsStr| Path::new(name).extension() == Some(OsStr::new(WAL_EXTENSION));
    files
        .filter(|file| is_wal(&file.file_name()))
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

/// Whether the process may open so many `files` more and some to spare: found out by opening them,
/// since nothing else holds the number against all that is open.
pub(crate) fn has_descriptors(shard: &Path, files: usize) -> bool {
    let opened: Result<Vec<_>, _> = (0..files + DESCRIPTORS_SPARE)
        .map(|_| File::open(shard))
        .collect();
    opened.is_ok()
}
