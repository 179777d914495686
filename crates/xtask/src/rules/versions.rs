//! One version of each heavy package. Two versions of Arrow do not understand one another's arrays,
//! two of tokio have two runtimes, two of rustls two sets of trust, and each costs minutes of
//! compile time. `deny.toml` says the same to cargo-deny; this rule runs where that is not
//! installed.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::Finding;
use crate::metadata::Metadata;

/// Packages, or beginnings of names (`*`), that may be there once.
const ONCE: &[&str] = &[
    "arrow",
    "arrow-*",
    "parquet",
    "datafusion",
    "datafusion-*",
    "deltalake",
    "deltalake-*",
    "buoyant_kernel",
    "object_store",
    "sqlparser",
    "tonic",
    "tonic-*",
    "prost",
    "prost-*",
    "rustls",
    "openssl",
    "tokio",
    "tokio-*",
    "hyper",
    "hyper-util",
    "h2",
    "axum",
    "axum-core",
    "rdkafka",
    "rdkafka-sys",
    "rocksdb",
    "librocksdb-sys",
    "zstd-sys",
    "cudarc",
    "tikv-jemalloc-sys",
];

/// Packages of [`ONCE`] that are there more than once.
pub(crate) fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        if ONCE.iter().any(|once| {
            once.strip_suffix('*')
                .map_or(*once == package.name, |start| {
                    package.name.starts_with(start)
                })
        }) {
            versions
                .entry(&package.name)
                .or_default()
                .insert(&package.version);
        }
    }
    let twice = versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1);
    twice
        .map(|(name, versions)| {
            let versions: Vec<&str> = versions.into_iter().collect();
            let (problem, list) = (
                format!("'{name}' is there in {} versions", versions.len()),
                versions.join(" and "),
            );
            let remedy =
                format!("`cargo tree -i {name}` shows who brings {list}; move them to one");
            Finding::new("Cargo.lock", 1, problem, remedy)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::workspace;

    #[test]
    fn a_second_version_of_a_heavy_package_is_found_and_of_a_small_one_is_not() {
        let metadata = workspace(&[
            "arrow-array 59.3.2",
            "arrow-array 58.0.0",
            "arrow-schema 59.3.2",
            "itertools 0.13.0",
            "itertools 0.14.0",
            "tokio 1.54.1",
            "hyperx 1.0.0",
            "hyperx 2.0.0",
        ]);
        let found: Vec<String> = check(&metadata).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "Cargo.lock:1: 'arrow-array' is there in 2 versions; `cargo tree -i arrow-array` shows who brings 58.0.0 and \
              59.3.2; move them to one"
            ]
        );
    }
}
