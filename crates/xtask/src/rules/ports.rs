//! A port asks for what its callers need and says nothing of who answers: no method has a body that
//! an adapter, or a wrapper with faults, could pass by, and no path crosses. Each has its own file,
//! so that a reader finds the contract and no more. And each port of core has a suite of checks, in
//! the file of its own name, that every implementation runs: a promise that nothing checks is kept
//! by the first adapter alone. (Those of serving have one adapter each, in the binary; `testkit`
//! sees core alone.)

use crate::finding::Finding;
use crate::source::{Source, Trait, words};

/// Where the ports are, one file each.
const PORTS: &str = "crates/core/src/ports/";
/// Where the ports of serving are, one file each, without suites.
const PORTS_OF_SERVING: &str = "crates/serve/src/ports/";
/// Where their suites are, of the same names.
const SUITES: &str = "crates/testkit/src/conformance/";

/// Ports whose suite is part of another one.
const WITHIN: [(&str, &str); 1] = [
    // A store is all of its roles.
    ("online", "mod"),
];

/// The one file with several: what the three kinds of a definition compile to.
const TOGETHER: &str = "crates/core/src/ports/compiled.rs";

/// Names of places on a disk.
const PLACES: [&str; 4] = ["Path", "PathBuf", "OsStr", "OsString"];

/// Ports that share a file, without a suite, with a body, or with a path.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let suites: Vec<&str> = sources.iter().filter_map(suite).collect();
    let ports = sources.iter().filter(|source| is_port(source));
    ports.flat_map(|port| of_port(port, &suites)).collect()
}

fn is_port(source: &Source) -> bool {
    let folders = [PORTS, PORTS_OF_SERVING];
    folders.iter().any(|folder| source.path.starts_with(folder))
        && !source.public_traits().is_empty()
}

/// Name of the suite that `source` is.
fn suite(source: &Source) -> Option<&str> {
    source.path.strip_prefix(SUITES)?.strip_suffix(".rs")
}

fn of_port(port: &Source, suites: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let file = port.path.trim_start_matches(PORTS).trim_end_matches(".rs");
    let within = WITHIN.iter().find(|(name, _)| *name == file);
    let home = within.map_or(file, |(_, home)| home);
    let traits = port.public_traits();
    if let ([_, second, ..], true) = (traits.as_slice(), port.path != TOGETHER) {
        findings.push(Finding::new(
            &port.path,
            second.line,
            format!("`{}` is the second port of its file", second.name),
            "give it a file of its own name",
        ));
    }
    if port.path.starts_with(PORTS) && !suites.contains(&home) {
        findings.push(Finding::new(
            &port.path,
            traits.first().map_or(1, |port| port.line),
            format!("port `{file}` has no suite of checks"),
            format!("write {SUITES}{home}.rs: a case for each promise of its comments; every implementation runs it"),
        ));
    }
    for function in port.functions() {
        let inside = |port: &&Trait| (port.line..=port.last_line).contains(&function.line);
        if let Some(port_trait) = traits.iter().find(inside) {
            findings.push(Finding::new(
                &port.path,
                function.line,
                format!("`{}::{}` has a body", port_trait.name, function.name),
                "a wrapper that forgets it would pass by what it wraps: ask each adapter for it, or make it a function",
            ));
        }
    }
    for place in PLACES {
        for at in words(port.code(), place) {
            let line = port.line_of(at);
            if !port.is_test(line) {
                findings.push(Finding::new(
                    &port.path,
                    line,
                    format!("a port names a `{place}`"),
                    "where things lie is the adapter's own: ask for them by name",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(port: &str, suites: &[&str]) -> Vec<(String, usize, String)> {
        let mut sources = vec![Source::new(port, PORT)];
        sources.extend(
            suites
                .iter()
                .map(|suite| Source::new(suite, "//! Checks.\n")),
        );
        let findings = check(&sources).into_iter();
        findings.map(|f| (f.file, f.line, f.problem)).collect()
    }

    const PORT: &str = "//! A port.\n/// A.\npub trait Reads: Send {\n    /// B.\n    fn read(&self);\n}\n\
                        /// C.\npub struct D;\nimpl D {\n    fn e(&self) {}\n}\n";

    #[test]
    fn a_port_has_a_suite_of_its_name_or_is_part_of_another_one() {
        let suite = |name: &str| format!("{SUITES}{name}.rs");
        let port = |name: &str| format!("{PORTS}{name}.rs");
        let without = found(&port("reads"), &[&suite("writes")]);
        assert_eq!(without.len(), 1);
        assert_eq!(
            (without[0].1, without[0].2.as_str()),
            (3, "port `reads` has no suite of checks")
        );
        assert!(found(&port("reads"), &[&suite("reads")]).is_empty());
        assert!(found(&port("online"), &[&suite("mod")]).is_empty());
        assert_eq!(found(&port("online"), &[&suite("online")]).len(), 1);
        assert!(found("crates/core/src/reads.rs", &[]).is_empty(), "no port");
    }

    #[test]
    fn a_port_of_serving_needs_no_suite_but_a_file_of_its_own() {
        let path = format!("{PORTS_OF_SERVING}a.rs");
        assert!(found(&path, &[]).is_empty());
        let twice = format!("{PORT}/// F.\npub trait Writes {{\n    fn write(&self);\n}}\n");
        let found = check(&[Source::new(&path, &twice)]).into_iter();
        assert_eq!(
            found.map(|f| (f.line, f.problem)).collect::<Vec<_>>(),
            [(13, "`Writes` is the second port of its file".to_owned())]
        );
        assert!(
            check(&[
                Source::new(TOGETHER, &twice),
                Source::new(&format!("{SUITES}compiled.rs"), "//! Checks.\n")
            ])
            .is_empty()
        );
    }

    #[test]
    fn a_method_with_a_body_and_a_path_are_refused() {
        let text = "//! A port.\nuse std::path::Path;\npub trait Reads {\n    fn read(&self) -> u8;\n    \
                    fn twice(&self) -> u8 {\n        2 * self.read()\n    }\n}\nfn helper() {}\n\
                    #[cfg(test)]\nmod tests {\n    fn f(p: PathBuf) {}\n}\n";
        let sources = [
            Source::new(&format!("{PORTS}a.rs"), text),
            Source::new(&format!("{SUITES}a.rs"), "//! Checks.\n"),
        ];
        let found = check(&sources).into_iter().map(|f| (f.line, f.problem));
        let expected = [
            (5, "`Reads::twice` has a body".to_owned()),
            (2, "a port names a `Path`".to_owned()),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
