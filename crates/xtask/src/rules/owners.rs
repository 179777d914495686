//! Each heavy dependency has one owner, so that its compile time, its errors and its types stay in
//! one crate. What only a few crates may use is named here with them; `core` and `xtask` name
//! everything that they may use, because all of the others wait for them.

use crate::finding::Finding;
use crate::metadata::{Dependency, Metadata};

/// A package, or several that begin alike (`*`), and the crates that may use them.
type Owned = (&'static [&'static str], &'static [&'static str]);

/// Not even tests of other crates may use these.
const OWNED: &[Owned] = &[
    (&["datafusion", "datafusion-*", "sqlparser"], &["engine"]),
    (&["rdkafka", "rdkafka-sys"], &["kafka"]),
    (&["rocksdb", "librocksdb-sys"], &["online"]),
    (
        &[
            "deltalake",
            "deltalake-*",
            "buoyant_kernel*",
            "object_store",
        ],
        &["offline"],
    ),
    (&["cudarc"], &["infer"]),
    (&["prometheus", "tracing-subscriber"], &["telemetry"]),
    (&["tonic-prost-build", "protox"], &["proto"]),
    (
        &["hyper", "hyper-util", "tower", "tower-http", "socket2"],
        &["serve"],
    ),
    (&["clap", "indicatif", "humantime"], &["forebay"]),
    // A process has one allocator.
    (&["tikv-jemalloc*"], &["forebay"]),
    // Errors of libraries have types.
    (&["anyhow"], &["forebay", "xtask"]),
];

/// Tests of any crate may use these.
const SHARED: &[Owned] = &[
    // The listeners and their clients; `forebay` mounts and calls them.
    (&["tonic", "arrow-flight"], &["serve", "infer", "forebay"]),
    (
        &["prost", "tonic-prost"],
        &["proto", "serve", "infer", "forebay"],
    ),
    (&["axum"], &["serve", "forebay"]),
    // One reader and one writer of Parquet; others see batches.
    (&["parquet"], &["offline"]),
    // Settings and manifests.
    (&["toml"], &["forebay", "infer", "xtask"]),
    // `core`, `online`, `kafka` and `monitor` run on the threads of others and own no runtime.
    (
        &["tokio", "tokio-stream", "tokio-util"],
        &[
            "engine", "offline", "pipeline", "control", "training", "serve", "infer", "testkit",
            "sim", "forebay",
        ],
    ),
    // Calendars: time is microseconds everywhere else. The engine has the zones of `AT TIME ZONE`.
    (
        &["chrono"],
        &["engine", "offline", "monitor", "serve", "forebay"],
    ),
];

/// Crates that may use these packages and no others.
const CLOSED: &[(&str, &[&str])] = &[
    (
        "core",
        &[
            "arrow-array",
            "arrow-buffer",
            "arrow-schema",
            "arrow-select",
            "async-trait",
            "base64",
            "bytes",
            "futures-core",
            "serde",
            "serde_json",
            "smallvec",
            "thiserror",
            "xxhash-rust",
        ],
    ),
    ("xtask", &["anyhow", "serde", "serde_json", "toml"]),
];

/// Dependencies in crates that do not own them.
pub(crate) fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in metadata.members() {
        for dependency in &member.package.dependencies {
            if let Some((problem, remedy)) = judge(member.folder, dependency) {
                findings.push(Finding::new(member.manifest, 1, problem, remedy));
            }
        }
    }
    findings
}

fn judge(folder: &str, dependency: &Dependency) -> Option<(String, String)> {
    let name = dependency.name.as_str();
    let closed = CLOSED.iter().find(|(closed, _)| *closed == folder);
    if let Some((_, allowed)) = closed
        && !dependency.is_dev()
        && !allowed.contains(&name)
    {
        let problem = format!("'{folder}' must not use '{name}': every build waits for '{folder}'");
        return Some((problem, format!("it may use {}", allowed.join(", "))));
    }
    let shared = if dependency.is_dev() { &[] } else { SHARED };
    let (_, owners) = OWNED
        .iter()
        .chain(shared)
        .find(|(names, _)| names.iter().any(|n| matches(n, name)))?;
    if owners.contains(&folder) {
        return None;
    }
    let owners = owners
        .iter()
        .map(|owner| format!("'{owner}'"))
        .collect::<Vec<_>>()
        .join(", ");
    let problem = format!("'{folder}' must not use '{name}', which belongs to {owners}");
    Some((
        problem,
        "ask for it through a port of core, or give it another owner in rules/owners.rs".to_owned(),
    ))
}

/// Whether `name` is `pattern`, or begins like it before its `*`.
fn matches(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(name == pattern, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::workspace;

    #[test]
    fn the_owner_may_use_it_and_others_may_not() {
        let cases = [
            ("engine: datafusion, datafusion-common", None),
            (
                "pipeline: datafusion-common",
                Some("'datafusion-common', which belongs to 'engine'"),
            ),
            (
                "training: dev rocksdb",
                Some("'rocksdb', which belongs to 'online'"),
            ),
            ("monitor: tokio", Some("'tokio', which belongs to")),
            ("monitor: dev tokio, dev parquet", None),
            ("infer: tonic, cudarc", None),
            ("serve: cudarc", Some("'cudarc', which belongs to 'infer'")),
            (
                "kafka: anyhow",
                Some("'anyhow', which belongs to 'forebay', 'xtask'"),
            ),
            ("proto: prost, build protox", None),
            ("infer: build protox", Some("'protox'")),
            ("core: serde, dev proptest", None),
            ("core: futures", Some("every build waits for 'core'")),
            ("xtask: syn", Some("every build waits for 'xtask'")),
        ];
        for (line, expected) in cases {
            let found: Vec<String> = check(&workspace(&[line]))
                .iter()
                .map(ToString::to_string)
                .collect();
            match expected {
                None => assert_eq!(found, Vec::<String>::new(), "{line}"),
                Some(words) => assert!(
                    found.len() == 1 && found[0].contains(words),
                    "{line}: {found:?}"
                ),
            }
        }
    }
}
