//! The modules of one crate and which of them uses which: read from `use` declarations and from
//! paths inside code. A light reading, as in `source`: it knows files, inline modules, `use` trees
//! and re-exports, and no macros.
//!
//! A re-export (`pub use`) is a sign on a door and no use: whoever goes through it uses the module
//! behind. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, is_word};

/// One crate.
#[derive(Debug)]
pub(crate) struct Modules {
    /// Names by number: `aggregate::codec`; the root is `lib` or `main`.
    pub(crate) names: Vec<String>,
    /// Uses, by (user, used): file and line of the first.
    pub(crate) uses: BTreeMap<(usize, usize), (String, usize)>,
}

/// A path in the code of one module.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    segments: Vec<String>,
    /// Name it is known by where it stands: the last segment, or what follows `as`.
    alias: String,
    at: usize,
}

struct Module<'a> {
    path: Vec<String>,
    source: &'a Source,
    reexports: Vec<Path>,
    used: Vec<Path>,
}

impl Modules {
    /// The modules of the crate in `folder` (`crates/core`), from all sources.
    pub(crate) fn read(folder: &str, sources: &[Source]) -> Self {
        let root = format!("{folder}/src/");
        let mut modules: Vec<Module<'_>> = sources
            .iter()
            .filter(|source| !source.is_test(1))
            .filter_map(|source| {
                let path = module_path(source.path.strip_prefix(&root)?)?;
                Some(Module {
                    path,
                    source,
                    reexports: Vec::new(),
                    used: Vec::new(),
                })
            })
            .collect();
        let known: BTreeSet<Vec<String>> = modules.iter().map(|m| m.path.clone()).collect();
        for module in &mut modules {
            read_paths(module, &known);
        }
        let mut uses = BTreeMap::new();
        for (user, module) in modules.iter().enumerate() {
            for path in &module.used {
                let Some(used) = resolve(&modules, &path.segments, 0) else {
                    continue;
                };
                let line = module.source.line_of(path.at);
                if used != user {
                    uses.entry((user, used))
                        .or_insert_with(|| (module.source.path.clone(), line));
                }
            }
        }
        let name = |m: &Module<'_>| match m.path.as_slice() {
            [] => if m.source.path.ends_with("main.rs") {
                "main"
            } else {
                "lib"
            }
            .to_owned(),
            path => path.join("::"),
        };
        Self {
            names: modules.iter().map(name).collect(),
            uses,
        }
    }
}

/// `a/b.rs` and `a/b/mod.rs` are `a::b`; `lib.rs` and `main.rs` the root.
fn module_path(file: &str) -> Option<Vec<String>> {
    let stem = file.strip_suffix(".rs")?;
    let mut path: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    } else if path == ["lib"] || path == ["main"] {
        path.clear();
    }
    Some(path)
}

/// Number of the module that `path`, from the crate's root, leads to.
fn resolve(modules: &[Module<'_>], path: &[String], depth: usize) -> Option<usize> {
    const DEPTH_MAX: usize = 8;
    let find = |path: &[String]| modules.iter().position(|m| m.path == path);
    let known = (0..=path.len())
        .rev()
        .find(|n| find(&path[..*n]).is_some())?;
    let module = find(&path[..known])?;
    let Some(item) = path.get(known).filter(|_| depth < DEPTH_MAX) else {
        return Some(module);
    };
    let through = |segments: &[String]| resolve(modules, segments, depth + 1);
    let reexports = &modules[module].reexports;
    if let Some(reexport) = reexports.iter().find(|reexport| reexport.alias == *item) {
        return through(&reexport.segments);
    }
    let mut globs = reexports.iter().filter(|reexport| reexport.alias == "*");
    let found = globs.find_map(|glob| {
        let target = through(&glob.segments)?;
        modules[target].source.declares(item).then_some(target)
    });
    Some(found.unwrap_or(module))
}

/// Fill in what `module` re-exports and uses.
fn read_paths(module: &mut Module<'_>, known: &BTreeSet<Vec<String>>) {
    let code = module.source.code();
    let mut at = 0;
    while let Some((start, word)) = next_word(code, at) {
        at = start + word.len();
        let is_use = word == "use" && code[at..].starts_with(char::is_whitespace);
        let begin = if is_use { at } else { start };
        let joined = code[..start].ends_with("::") || code[..start].ends_with('.');
        if !is_use && (joined || !code[at..].starts_with("::")) {
            continue;
        }
        if module.source.is_test(module.source.line_of(start)) {
            continue;
        }
        let base = [module.path.clone(), inline(code, start)].concat();
        let (paths, end) = tree(code, begin, &[]);
        let absolute = paths.into_iter().filter_map(|path| {
            let segments = absolute(&base, &path.segments, known)?;
            Some(Path { segments, ..path })
        });
        let before = code[..start].trim_end();
        let public = is_use && (before.ends_with("pub") || before.ends_with(')'));
        let into = if public {
            &mut module.reexports
        } else {
            &mut module.used
        };
        into.extend(absolute);
        at = end.max(at);
    }
}

/// `segments` as written in module `base`, from the crate's root; None where they leave the crate.
fn absolute(
    base: &[String],
    segments: &[String],
    known: &BTreeSet<Vec<String>>,
) -> Option<Vec<String>> {
    let (first, rest) = segments.split_first()?;
    let mut from = match first.as_str() {
        "crate" => Vec::new(),
        "self" => base.to_vec(),
        "super" => base.split_last()?.1.to_vec(),
        name => {
            let child = [base, &[name.to_owned()]].concat();
            return known.contains(&child).then(|| [base, segments].concat());
        }
    };
    for segment in rest {
        if segment == "super" {
            from.pop();
        } else if segment != "*" && segment != "self" {
            from.push(segment.clone());
        }
    }
    Some(from)
}

/// Names of the inline modules around byte `at`, outermost first.
fn inline(code: &str, at: usize) -> Vec<String> {
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut depth = 0_usize;
    let mut opening: Option<String> = None;
    let mut from = 0;
    for (offset, c) in code[..at].char_indices() {
        match c {
            '{' => {
                if let Some(name) = opening.take() {
                    names.push((name, depth));
                }
                depth += 1;
            }
            '}' => {
                depth = depth.saturating_sub(1);
                names.retain(|(_, opened)| *opened < depth);
            }
            ';' => opening = None,
            'm' if offset >= from
                && code[offset..].starts_with("mod ")
                && !code[..offset].ends_with(is_word) =>
            {
                let name = code[offset + 4..].chars().take_while(|c| is_word(*c));
                let name: String = name.collect();
                from = offset + 4 + name.len();
                opening = Some(name);
            }
            _ => {}
        }
    }
    names.into_iter().map(|(name, _)| name).collect()
}

/// The next word that does not begin with a digit.
fn next_word(code: &str, from: usize) -> Option<(usize, &str)> {
    let start = from + code[from..].find(|c: char| c.is_alphabetic() || c == '_')?;
    if code[..start].ends_with(is_word) {
        let skip = code[start..].find(|c| !is_word(c))?;
        return next_word(code, start + skip);
    }
    let length = code[start..]
        .find(|c| !is_word(c))
        .unwrap_or(code.len() - start);
    Some((start, &code[start..start + length]))
}

/// All paths of the tree at `at`, each with `prefix` before it, and where the tree ends.
fn tree(code: &str, at: usize, prefix: &[String]) -> (Vec<Path>, usize) {
    let mut segments = prefix.to_vec();
    let mut at = skip_space(code, at);
    let start = at;
    loop {
        let rest = &code[at..];
        if rest.starts_with('{') {
            return branches(code, at + 1, &segments);
        }
        if rest.starts_with('*') {
            let path = Path {
                segments,
                alias: "*".to_owned(),
                at: start,
            };
            return (vec![path], at + 1);
        }
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if length == 0 {
            break;
        }
        segments.push(rest[..length].to_owned());
        at += length;
        if code[at..].starts_with("::") {
            at = skip_space(code, at + 2);
        } else {
            break;
        }
    }
    let mut alias = segments.last().cloned().unwrap_or_default();
    let after = skip_space(code, at);
    if let Some(rest) = code[after..].strip_prefix("as ") {
        alias = rest.chars().take_while(|c| is_word(*c)).collect();
        at = after + 3 + alias.len();
    }
    if alias == "self" {
        segments.pop();
        alias = segments.last().cloned().unwrap_or_default();
    }
    (
        vec![Path {
            segments,
            alias,
            at: start,
        }],
        at,
    )
}

/// The trees between braces, from one past the opening one.
fn branches(code: &str, from: usize, prefix: &[String]) -> (Vec<Path>, usize) {
    let (mut paths, mut at) = (Vec::new(), from);
    loop {
        at = skip_space(code, at);
        match code[at..].chars().next() {
            None => return (paths, at),
            Some('}') => return (paths, at + 1),
            Some(',') => at += 1,
            Some(c) => {
                let (more, end) = tree(code, at, prefix);
                paths.extend(more);
                at = end.max(at + c.len_utf8());
            }
        }
    }
}

fn skip_space(code: &str, at: usize) -> usize {
    let rest = &code[at..];
    at + (rest.len() - rest.trim_start().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(file, text)| Source::new(&format!("crates/x/src/{file}"), text))
            .collect();
        let modules = Modules::read("crates/x", &sources);
        let name = |at: usize| modules.names[at].clone();
        let uses = modules.uses.iter();
        uses.map(|((user, used), (_, line))| format!("{} -> {}:{line}", name(*user), name(*used)))
            .collect()
    }

    #[test]
    fn uses_are_found_in_trees_and_in_code() {
        let found = read(&[
            ("lib.rs", "mod a;\nmod b;\npub use a::A;\n"),
            (
                "a.rs",
                "use crate::b::{c::{C, D}, B as E};\nuse std::fmt;\n",
            ),
            ("b/mod.rs", "pub mod c;\nfn f() { super::a::g(); }\n"),
            ("b/c.rs", "fn f() -> crate::A { x.b::<u8>() }\n"),
        ]);
        assert_eq!(
            found,
            ["a -> b:1", "a -> b::c:1", "b -> a:2", "b::c -> a:1"]
        );
    }

    #[test]
    fn a_re_export_is_seen_through_and_is_no_use() {
        let found = read(&[
            ("lib.rs", "mod a;\nmod b;\n"),
            (
                "a/mod.rs",
                "mod c;\nmod d;\npub(crate) use c::C;\npub(crate) use d::*;\n",
            ),
            ("a/c.rs", "pub(crate) struct C;\n"),
            ("a/d.rs", "pub(crate) struct D;\nuse super::E;\n"),
            ("b.rs", "use crate::a::{C, D};\n"),
        ]);
        assert_eq!(found, ["a::d -> a:2", "b -> a::c:1", "b -> a::d:1"]);
    }

    #[test]
    fn a_parent_that_calls_its_child_uses_it() {
        let found = read(&[
            (
                "lib.rs",
                "mod a;\nfn f() { a::g(); y.a::<u8>(); b::a::g(); }\n",
            ),
            ("a.rs", "use super::f;\n"),
        ]);
        assert_eq!(found, ["lib -> a:2", "a -> lib:1"]);
    }

    #[test]
    fn tests_and_the_insides_of_inline_modules_are_read_as_what_they_are() {
        let found = read(&[
            ("lib.rs", "mod a;\nmod b;\n"),
            (
                "a.rs",
                "pub mod m {\n    use super::X;\n}\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n",
            ),
            (
                "b.rs",
                "use crate::a::m::Y;\n#[cfg(test)]\nuse crate::a::Z;\n",
            ),
            ("b/tests.rs", "use crate::a::Z;\n"),
        ]);
        assert_eq!(found, ["b -> a:1"]);
    }

    #[test]
    fn unfinished_code_is_read_to_its_end() {
        for text in [
            "use",
            "use ",
            "use crate::",
            "use crate::{",
            "use crate::{a",
            "use a as ",
            "é::é{",
        ] {
            assert!(read(&[("lib.rs", text)]).is_empty(), "{text}");
        }
    }
}
