//! Arrows between our crates point down only: adapters never see one another, and what is written
//! against ports sees no adapter. So changing the pipeline rebuilds neither RocksDB nor DataFusion,
//! and a part can be replaced. The table is that of `crates/README.md`; both change together.

use crate::finding::Finding;
use crate::metadata::Metadata;

/// Each crate and which of ours it may use. `forebay` wires all of them.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("proto", &[]),
    ("telemetry", &["core"]),
    ("engine", &["core", "telemetry"]),
    ("kafka", &["core", "telemetry"]),
    ("online", &["core", "telemetry"]),
    ("offline", &["core", "telemetry"]),
    ("auth", &["core"]),
    ("console", &["core"]),
    ("pipeline", &["core", "telemetry"]),
    ("control", &["core", "telemetry", "pipeline", "monitor"]),
    ("training", &["core", "telemetry"]),
    ("monitor", &["core", "telemetry"]),
    ("serve", &["core", "proto", "telemetry", "auth"]),
    ("infer", &["core", "proto", "telemetry"]),
    ("testkit", &["core"]),
    (
        "sim",
        &["core", "telemetry", "pipeline", "control", "monitor"],
    ),
    ("xtask", &[]),
];
/// The binary, which may use every crate but those for tests.
const BINARY: &str = "forebay";
/// Crates that only tests may use.
const FOR_TESTS: [&str; 3] = ["testkit", "sim", "xtask"];

/// Arrows that the table does not have.
pub(crate) fn check(metadata: &Metadata) -> Vec<Finding> {
    let members = metadata.members();
    let folder_of = |name: &str| {
        members
            .iter()
            .find(|m| m.package.name == name)
            .map(|m| m.folder)
    };
    let mut findings = Vec::new();
    for member in &members {
        let allowed = ARROWS
            .iter()
            .find(|(folder, _)| *folder == member.folder)
            .map(|(_, allowed)| *allowed);
        if allowed.is_none() && member.folder != BINARY {
            findings.push(Finding::new(
                member.manifest,
                1,
                format!("crate '{}' is not on the map", member.folder),
                "give it a row in crates/README.md and in crates/xtask/src/rules/arrows.rs",
            ));
            continue;
        }
        for dependency in &member.package.dependencies {
            // Folders outside `crates/` are no members and no business of the map.
            let Some(target) = folder_of(&dependency.name) else {
                continue;
            };
            let for_tests = FOR_TESTS.contains(&target);
            let permitted = match allowed {
                _ if for_tests => {
                    target == "testkit" && (dependency.is_dev() || member.folder == "sim")
                        || target == "sim" && dependency.is_dev()
                }
                Some(allowed) => allowed.contains(&target),
                None => true,
            };
            if !permitted {
                findings.push(refusal(member.manifest, member.folder, target, for_tests));
            }
        }
    }
    findings
}

fn refusal(manifest: &str, from: &str, to: &str, for_tests: bool) -> Finding {
    let problem = format!("'{from}' must not use '{to}'");
    let remedy = if for_tests {
        "only dev-dependencies point at testkit and sim, and nothing at xtask".to_owned()
    } else {
        format!(
            "what both need belongs in core; what '{from}' asks of '{to}' is a port that forebay wires"
        )
    };
    Finding::new(manifest, 1, problem, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::workspace;

    const BASE: [&str; 5] = [
        "core:",
        "telemetry: forebay-core",
        "testkit: forebay-core",
        "xtask:",
        "kafka: forebay-core",
    ];

    fn found(line: &str) -> Vec<String> {
        let lines: Vec<&str> = BASE.into_iter().chain([line]).collect();
        check(&workspace(&lines))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn arrows_of_the_map_are_taken_and_others_named() {
        let fine = [
            "engine: forebay-core, forebay-telemetry, datafusion",
            "pipeline: forebay-core, dev forebay-testkit, dev tokio",
            "forebay: forebay-core, forebay-telemetry, forebay-kafka",
        ];
        for line in fine {
            assert_eq!(found(line), Vec::<String>::new(), "{line}");
        }
        let refused = [
            (
                "engine: forebay-kafka",
                "crates/engine/Cargo.toml:1: 'engine' must not use 'kafka'",
            ),
            ("pipeline: forebay-kafka", "'pipeline' must not use 'kafka'"),
            (
                "pipeline: dev forebay-kafka",
                "'pipeline' must not use 'kafka'",
            ),
            (
                "pipeline: forebay-testkit",
                "only dev-dependencies point at testkit and sim",
            ),
            (
                "forebay: forebay-testkit",
                "only dev-dependencies point at testkit and sim",
            ),
            ("forebay: dev xtask", "nothing at xtask"),
            ("attic: forebay-core", "'attic' is not on the map"),
        ];
        for (line, expected) in refused {
            let found = found(line);
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{line}: {found:?}"
            );
        }
    }
}
