//! Modules of one crate do not import one another in a circle: of two that do, neither can be read,
//! tested or moved alone. What both need goes to a third file. Circles that were there when the
//! rule came are counted in the ratchet, by crate.

use std::collections::VecDeque;

use crate::finding::Finding;
use crate::modules::Modules;
use crate::ratchet::Offence;

/// One offence for each crate with circles; its size is the number of modules in them.
pub(crate) fn offence(folder: &str, modules: &Modules) -> Option<Offence> {
    let mut left: Vec<usize> = (0..modules.names.len()).collect();
    let (mut size, mut circles, mut place) = (0, Vec::new(), None);
    while let Some(module) = left.first().copied() {
        let knot = knot(modules, module);
        left.retain(|other| *other != module && !knot.contains(other));
        if let Some(circle) = shortest(modules, &knot) {
            size += knot.len();
            place = place.or_else(|| modules.uses.get(&(circle[0], *circle.get(1)?)));
            circles.push(in_words(modules, &knot, &circle));
        }
    }
    let (file, line) = place?;
    let problem = format!(
        "modules import one another in a circle: {}",
        circles.join("; ")
    );
    Some(Offence {
        section: "circles",
        key: folder.to_owned(),
        size,
        finding: Finding::new(file, *line, problem, "put what both need into a third file"),
    })
}

/// The modules that `module` reaches and that reach it, itself among them.
fn knot(modules: &Modules, module: usize) -> Vec<usize> {
    let reached = |forward: bool| {
        let mut seen = vec![module];
        let mut at = 0;
        while let Some(from) = seen.get(at).copied() {
            at += 1;
            for (user, used) in modules.uses.keys() {
                let (a, b) = if forward {
                    (*user, *used)
                } else {
                    (*used, *user)
                };
                if a == from && !seen.contains(&b) {
                    seen.push(b);
                }
            }
        }
        seen
    };
    let back = reached(false);
    let mut knot: Vec<usize> = reached(true)
        .into_iter()
        .filter(|m| back.contains(m))
        .collect();
    knot.sort_unstable();
    knot
}

/// The shortest circle within a knot, its first module last again; None where it has one module.
fn shortest(modules: &Modules, knot: &[usize]) -> Option<Vec<usize>> {
    let circles = knot.iter().filter_map(|start| {
        let mut paths = VecDeque::from([vec![*start]]);
        let mut seen = Vec::new();
        while let Some(path) = paths.pop_front() {
            let last = *path.last()?;
            for (_, used) in modules.uses.keys().filter(|(user, _)| *user == last) {
                let longer = [path.as_slice(), &[*used]].concat();
                if used == start {
                    return Some(longer);
                }
                if knot.contains(used) && !seen.contains(used) {
                    seen.push(*used);
                    paths.push_back(longer);
                }
            }
        }
        None
    });
    circles.min_by_key(Vec::len)
}

fn in_words(modules: &Modules, knot: &[usize], circle: &[usize]) -> String {
    let steps = circle
        .iter()
        .zip(circle.iter().skip(1))
        .map(|(user, used)| {
            let line = modules
                .uses
                .get(&(*user, *used))
                .map_or(0, |(_, line)| *line);
            format!("{} (line {line}) -> ", modules.names[*user])
        });
    let steps: String = steps.collect();
    let last = circle
        .last()
        .map_or("", |last| modules.names[*last].as_str());
    let others: Vec<&str> = knot
        .iter()
        .filter(|module| !circle.contains(module))
        .map(|module| modules.names[*module].as_str())
        .collect();
    if others.is_empty() {
        return format!("{steps}{last}");
    }
    format!("{steps}{last}, and with them {}", others.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn found(files: &[(&str, &str)]) -> Option<Offence> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(file, text)| Source::new(&format!("crates/x/src/{file}"), text))
            .collect();
        offence("crates/x", &Modules::read("crates/x", &sources))
    }

    #[test]
    fn a_chain_is_no_circle() {
        let files = [
            (
                "lib.rs",
                "pub mod a;\npub mod b;\npub mod c;\npub use a::A;\n",
            ),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use crate::c::C;\n"),
            ("c.rs", "use std::fmt;\n"),
        ];
        assert!(found(&files).is_none());
    }

    #[test]
    fn a_circle_is_shown_by_its_shortest_way_and_all_its_modules_count() {
        let files = [
            ("lib.rs", "pub mod a;\npub mod b;\npub mod c;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use crate::c::C;\n\nuse crate::a::A;\n"),
            ("c.rs", "use crate::a::A;\n"),
        ];
        let offence = found(&files).expect("a circle");
        assert_eq!((offence.key.as_str(), offence.size), ("crates/x", 3));
        assert_eq!(
            offence.finding.to_string(),
            "crates/x/src/a.rs:1: modules import one another in a circle: a (line 1) -> b (line 3) -> a, and with \
             them c; put what both need into a third file"
        );
    }

    #[test]
    fn two_circles_of_one_crate_are_one_offence() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use crate::a::A;\n"),
            ("c.rs", "use crate::d::D;\n"),
            ("d.rs", "use super::c::C;\n"),
        ];
        let offence = found(&files).expect("two circles");
        assert_eq!(offence.size, 4);
        assert!(
            offence.finding.problem.contains("; c (line 1) -> d"),
            "{}",
            offence.finding
        );
    }
}
