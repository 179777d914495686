//! A `pub` item of a crate is for others: production code of another crate names it, or it stands
//! in the signature of an item that is named. What only the crate itself uses is `pub(crate)`, and
//! the compiler then says when nobody does; what nobody uses goes. rustc cannot see this, because
//! each crate is an island of `pub` to it.
//!
//! A light reading by words of the crates that can reach the item: one that shares its name with
//! something else that they use passes.
//! Items that are public for tests alone stand in [`FOR_TESTS`], each with its reason; what was
//! found when the rule came is in the ratchet.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::Finding;
use crate::metadata::Metadata;
use crate::ratchet::Offence;
use crate::source::{Item, Source};

/// Crates whose items are for tests, or which nobody links.
const LEFT_OUT: [&str; 5] = [
    "crates/testkit",
    "crates/sim",
    "crates/xtask",
    "crates/forebay",
    "crates/proto",
];

/// `crate::item` and why it is public although no other crate's production code names it.
const FOR_TESTS: &[(&str, &str)] = &[
    (
        "crates/core::broken",
        "the macro `invariant!` names it in the code of every crate",
    ),
    (
        "crates/core::LATE",
        "a column of the archive that tests read back",
    ),
    (
        "crates/telemetry::family",
        "the parameter of a macro, which stands for the name",
    ),
    ("crates/kafka::set_down", "takes the embedded broker away"),
    (
        "crates/kafka::fail_produce",
        "lets the embedded broker refuse records",
    ),
    (
        "crates/kafka::PARTITION_MAX_BYTES",
        "how much a test must send to overrun it",
    ),
    (
        "crates/kafka::PARTITION_MAX_MESSAGE_SETS",
        "the other bound of the embedded broker",
    ),
    (
        "crates/kafka::RecordDecoder",
        "the benchmark's floor decodes and does nothing else",
    ),
    (
        "crates/infer::register_worker",
        "one registration without the task's clock",
    ),
    (
        "crates/offline::with_store",
        "an archive over a store with faults",
    ),
    (
        "crates/offline::DurableLocal",
        "the store that the one with faults wraps",
    ),
    (
        "crates/online::tiles_in_memory",
        "what expiry has left, which only a walk over all keys can tell",
    ),
    (
        "crates/online::t_min_us",
        "below which instant a read is refused, which tests ask for to read at its edge",
    ),
    (
        "crates/pipeline::encode_row",
        "a pending score whose key only an earlier version let pass",
    ),
    (
        "crates/serve::receive",
        "clients of an exchange with many requests in flight",
    ),
    (
        "crates/serve::exchange",
        "the Rust client of an exchange, for users and the tests",
    ),
    ("crates/serve::FeatureExchange", "what it gives"),
    ("crates/serve::Reply", "what an exchange is answered with"),
    (
        "crates/serve::SERVICE",
        "wire format: a name that clients read",
    ),
    (
        "crates/serve::VERSION",
        "wire format: a name that clients read",
    ),
    (
        "crates/serve::APPLIED",
        "wire format: a name that clients read",
    ),
    (
        "crates/serve::FINGERPRINT",
        "wire format: a name that clients read",
    ),
    (
        "crates/serve::AS_OF_US",
        "wire format: a name that clients read",
    ),
    (
        "crates/serve::WATERMARK_US",
        "wire format: a name that clients read",
    ),
    (
        "crates/serve::NEWEST_EVENT_TIME_US",
        "wire format: a name that clients read",
    ),
];
/// Limits are public by nature; `rules/reached.rs` asks for a test of each.
const LIMITS: &str = "crates/core/src/limits.rs";

/// Items that no other crate's production code uses.
pub(crate) fn offences(sources: &[Source], metadata: &Metadata) -> Vec<Offence> {
    let mut offences = Vec::new();
    for folder in super::folders(sources) {
        if LEFT_OUT.contains(&folder.as_str()) {
            continue;
        }
        let ours = format!("{folder}/src/");
        let inside = within(sources, &ours);
        let users = |with_dev: bool| {
            let users = metadata.users_of(&folder, with_dev).into_iter();
            users.map(|user| format!("{user}/"))
        };
        let of_users = |with_dev| users(with_dev).flat_map(|user| within(sources, &user));
        let used = of_users(false).flat_map(Source::production_words);
        let used: BTreeSet<&str> = used.collect();
        // Its own tests beside `src` are others too.
        let own = within(sources, &format!("{folder}/")).into_iter();
        let own = own.filter(|source| !source.path.starts_with(&ours));
        let tested = of_users(true).chain(own).flat_map(Source::all_words);
        let tested: BTreeSet<&str> = tested.collect();
        for (source, item) in dead(&inside, &used) {
            let key = format!("{folder}::{}", item.name);
            if FOR_TESTS.iter().any(|(name, _)| *name == key) {
                continue;
            }
            let (problem, remedy) = if tested.contains(item.name.as_str()) {
                (
                    format!("only tests use the public `{}`", item.name),
                    "use it, remove it with its tests, or test what is used",
                )
            } else {
                (
                    format!("no other crate uses the public `{}`", item.name),
                    "make it pub(crate), or remove it",
                )
            };
            offences.push(Offence {
                section: "unused",
                key,
                size: 1,
                finding: Finding::new(&source.path, item.line, problem, remedy),
            });
        }
    }
    offences
}

/// The sources below `folder`, which ends with a slash.
fn within<'a>(sources: &'a [Source], folder: &str) -> Vec<&'a Source> {
    let is_within = |source: &&Source| source.path.starts_with(folder);
    sources.iter().filter(is_within).collect()
}

/// Public items of `inside` that neither `used` names nor a signature of a used one.
fn dead<'a>(inside: &[&'a Source], used: &BTreeSet<&str>) -> Vec<(&'a Source, Item)> {
    let mut items: Vec<(&Source, Item)> = Vec::new();
    for source in inside.iter().filter(|source| source.path != LIMITS) {
        items.extend(
            source
                .public_items()
                .into_iter()
                .map(|item| (*source, item)),
        );
    }
    let mut alive: BTreeSet<String> = items
        .iter()
        .filter(|(_, item)| used.contains(item.name.as_str()))
        .map(|(_, item)| item.name.clone())
        .collect();
    let mut signatures: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, item) in &items {
        let words = item.signature.iter().map(String::as_str);
        signatures.entry(&item.name).or_default().extend(words);
    }
    let mut todo: Vec<String> = alive.iter().cloned().collect();
    while let Some(name) = todo.pop() {
        for word in signatures.get(name.as_str()).into_iter().flatten() {
            if signatures.contains_key(word) && alive.insert((*word).to_owned()) {
                todo.push((*word).to_owned());
            }
        }
    }
    items.retain(|(_, item)| !alive.contains(&item.name));
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::workspace;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        let crates = workspace(&["a:", "b: forebay-a", "c:", "testkit: forebay-a"]);
        let offences = offences(&sources, &crates);
        offences
            .iter()
            .map(|o| format!("{}: {}", o.key, o.finding.problem))
            .collect()
    }

    #[test]
    fn an_item_is_used_by_another_crate_or_by_the_signature_of_one_that_is() {
        let a = "pub fn used(a: Argument) -> Answer { helper() }\npub fn helper() {}\npub fn dead() {}\n\
                 pub struct Argument { pub part: Part }\npub struct Part;\npub enum Answer { Of(Inner) }\n\
                 pub struct Inner;\npub(crate) fn own() {}\nimpl Inner { pub fn method(&self) {} }\n";
        let files = [
            ("crates/a/src/lib.rs", a),
            ("crates/b/src/lib.rs", "fn f() { used() }\n"),
        ];
        assert_eq!(
            found(&files),
            [
                "crates/a::helper: no other crate uses the public `helper`",
                "crates/a::dead: no other crate uses the public `dead`",
                "crates/a::method: no other crate uses the public `method`",
            ]
        );
    }

    #[test]
    fn the_same_word_in_a_crate_that_cannot_reach_the_item_is_no_use() {
        let files = [
            ("crates/a/src/lib.rs", "pub fn close() {}\n"),
            ("crates/c/src/lib.rs", "fn f() { close() }\n"),
        ];
        assert_eq!(
            found(&files),
            ["crates/a::close: no other crate uses the public `close`"]
        );
    }

    #[test]
    fn tests_are_no_use() {
        let files = [
            ("crates/a/src/lib.rs", "pub fn dead() {}\n"),
            ("crates/a/tests/it/main.rs", "fn f() { dead() }\n"),
            (
                "crates/b/src/lib.rs",
                "#[cfg(test)]\nmod tests { fn f() { dead() } }\n// dead\n",
            ),
            ("crates/testkit/src/lib.rs", "pub fn nobody() {}\n"),
        ];
        assert_eq!(
            found(&files),
            ["crates/a::dead: only tests use the public `dead`"]
        );
    }
}
