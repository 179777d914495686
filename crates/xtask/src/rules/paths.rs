//! No file names a machine: no folder that exists on one computer alone, no package mirror. What a
//! script needs it finds from its own place or from a variable.

use crate::finding::Finding;
use crate::tree::TextFile;

/// Beginnings of absolute paths that are somebody's own, without the slash before them: this file
/// must not name them itself.
const FOLDERS: [&str; 4] = ["work", "root", "farm", "Users"];
/// Hosts of package mirrors, by what only their addresses hold.
const MIRRORS: [&str; 5] = [
    "artifactory",
    "devpi",
    "nexus/repository",
    "/simple/ --trusted-host",
    "goproxy.",
];

/// Machine paths and mirrors in one file.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    if file.path == "crates/xtask/src/rules/paths.rs" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if let Some(path) = machine_path(line, &FOLDERS) {
            let problem = format!("'{path}' is a folder of one machine");
            let remedy = "start from the script's own place, a setting or a variable";
            findings.push(Finding::new(&file.path, number + 1, problem, remedy));
        }
        if let Some(mirror) = MIRRORS.iter().find(|mirror| line.contains(*mirror)) {
            let problem = format!("'{mirror}' looks like a package mirror");
            findings.push(Finding::new(
                &file.path,
                number + 1,
                problem,
                "mirrors belong in the user's own settings",
            ));
        }
    }
    findings
}

/// The first absolute path in `line` that lies in one of `folders` or in somebody's home.
fn machine_path(line: &str, folders: &[&str]) -> Option<String> {
    line.match_indices('/').find_map(|(at, _)| {
        // `$HOME/root/`, `crates/root/` and `https://x/work/` are no absolute paths.
        let absolute =
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./})~*".contains(c));
        let rest = &line[at + 1..];
        let (first, after) = rest.split_once('/')?;
        let somebody = after.starts_with(|c: char| c.is_ascii_alphanumeric());
        let own = folders.contains(&first) || (first == "home" && somebody);
        (absolute && own).then(|| format!("/{first}/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_found_and_paths_of_a_project_are_not() {
        let found = [
            ("cd /barn/hay", Some("/barn/")),
            ("path = \"/attic/.cache\"", Some("/attic/")),
            ("see /home/ann/x", Some("/home/")),
            ("see (/barn/ann/x)", Some("/barn/")),
            ("cd $HOME/barn/x", None),
            ("crates/attic/x and ../barn/x", None),
            ("https://example.org/barn/x", None),
            ("${A}/attic/x", None),
            ("/home/$USER", None),
            ("the barnyard/engine", None),
            ("a/barn", None),
        ];
        for (line, expected) in found {
            let path = machine_path(line, &["barn", "attic"]);
            assert_eq!(path.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_finding_names_file_and_line() {
        let file = TextFile {
            path: "scripts/x".into(),
            text: "a\nindex = https://devpi.example.org\n".into(),
        };
        let found = check(&file);
        assert_eq!((found.len(), found[0].line), (1, 2));
        assert!(
            found[0].to_string().starts_with("scripts/x:2: 'devpi'"),
            "{}",
            found[0]
        );
    }
}
