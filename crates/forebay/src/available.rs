//! How much memory this process may use: the smallest limit of its control groups (version 2, else
//! 1) and the machine's memory. Read once, at start; what cannot be read limits nothing.

use std::path::Path;

/// Where processes and the machine are described.
const PROC: &str = "/proc";
/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";
/// What is assumed where the system says nothing, bytes.
const UNKNOWN_BYTES: usize = 2 << 30;

/// What this process may use, bytes.
pub(crate) fn available_bytes() -> usize {
    available_under(Path::new(PROC), Path::new(GROUPS))
}

fn available_under(proc: &Path, groups: &Path) -> usize {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let machine = machine_bytes(&read(&proc.join("meminfo")));
    let of_groups = read(&proc.join("self/cgroup"));
    let limits = of_groups
        .lines()
        .filter_map(group_of)
        .flat_map(|(below, file, path)| {
            // A limit of any group above holds, too.
            let chain: Vec<_> = Path::new(path.trim_start_matches('/'))
                .ancestors()
                .collect();
            let at = |folder: &Path| read(&groups.join(below).join(folder).join(file));
            chain.into_iter().map(at).collect::<Vec<_>>()
        })
        .filter_map(|text| text.trim().parse().ok());
    limits.chain(machine).min().unwrap_or(UNKNOWN_BYTES)
}

/// `MemTotal`, in kilobytes in the file.
fn machine_bytes(meminfo: &str) -> Option<usize> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: usize = total.trim().trim_end_matches("kB").trim().parse().ok()?;
    kilobytes.checked_mul(1_024)
}

/// Of a line of `/proc/self/cgroup` that is about memory: folder of the hierarchy, name of the file
/// with the limit, path of the group.
fn group_of(line: &str) -> Option<(&'static str, &'static str, &str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    match controllers {
        "" => Some(("", "memory.max", path)),
        some if some.split(',').any(|one| one == "memory") => {
            Some(("memory", "memory.limit_in_bytes", path))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    #[test]
    fn the_smallest_limit_holds() {
        let cases: [(&[(&str, &str)], usize); 5] = [
            (&[], UNKNOWN_BYTES),
            (
                &[("proc/meminfo", "MemTotal:        4 kB\nMemFree: 1 kB\n")],
                4_096,
            ),
            (
                &[
                    ("proc/meminfo", "MemTotal: 4 kB\n"),
                    ("proc/self/cgroup", "0::/pod/box\n"),
                    ("groups/pod/box/memory.max", "max\n"),
                    ("groups/pod/memory.max", "3000\n"),
                ],
                3_000,
            ),
            (
                &[
                    ("proc/meminfo", "MemTotal: 4 kB\n"),
                    ("proc/self/cgroup", "0::/\n"),
                    ("groups/memory.max", "2000\n"),
                ],
                2_000,
            ),
            (
                &[
                    ("proc/meminfo", "MemTotal: 4 kB\n"),
                    ("proc/self/cgroup", "5:cpu,memory:/box\n4:pids:/box\n"),
                    ("groups/memory/box/memory.limit_in_bytes", "1000\n"),
                    (
                        "groups/memory/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                ],
                1_000,
            ),
        ];
        for (files, expected) in cases {
            let root = tempfile::tempdir().expect("a folder");
            for (file, text) in files {
                write(root.path(), file, text);
            }
            let found = available_under(&root.path().join("proc"), &root.path().join("groups"));
            assert_eq!(found, expected, "{files:?}");
        }
    }

    #[test]
    fn this_system_says_how_much_it_has() {
        assert!(available_bytes() > 1 << 20);
    }
}
