//! How a view is computed: what is kept of an event and of a key, which state each aggregate has
//! and how it merges, how far back each window reaches, and the steps from an event to a feature.
//! What a state takes is that of the state of no row; how rows lie in tiles is the store's
//! business, and the binary adds it.

use forebay_core::aggregate::{Leaving, Partial, PartialClass};
use forebay_core::ports::CompiledView as _;
use forebay_core::source::sql_name;
use forebay_core::view::{ViewSpec, Window};
use serde_json::{Value as Json, json};

use super::table::{Answer, AnswerTable};
use super::words::{length, window};
use crate::catalog::inner::Entry;
use crate::view::View;

/// How `view`, which `entry` defines, is computed.
pub(super) fn explain(view: &View, entry: &Entry) -> Answer {
    let spec = view.spec();
    let retention = spec.retention_us();
    let reach = retention.map_or_else(|| "for ever".to_owned(), length);
    let states: usize = spec
        .partials
        .iter()
        .map(|partial| state_bytes(&Partial::new(partial)))
        .sum();
    let facts = [
        ("view", json!(spec.name)),
        ("version", json!(entry.state.version)),
        ("entity", json!(spec.entity)),
        ("source", json!(spec.source)),
        ("reach", json!(reach)),
        (
            "ttl",
            spec.ttl_us.map_or(Json::Null, |ttl| json!(length(ttl))),
        ),
        ("state_bytes_per_node", json!(states)),
    ];
    Answer {
        facts: facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        tables: vec![windows(spec), aggregates(view), partials(spec), steps(view)],
    }
}

fn windows(spec: &ViewSpec) -> AnswerTable {
    let columns = ["window", "aggregates", "states", "kept"];
    let mut table = AnswerTable::new("windows", &columns);
    let mut done: Vec<Window> = Vec::new();
    for aggregate in &spec.aggregates {
        if done.contains(&aggregate.window) {
            continue;
        }
        done.push(aggregate.window);
        let of: Vec<_> = spec
            .aggregates
            .iter()
            .filter(|a| a.window == aggregate.window)
            .collect();
        let mut states: Vec<usize> = of.iter().map(|a| a.partial).collect();
        states.sort_unstable();
        states.dedup();
        let kept = match aggregate.window {
            Window::Lifetime => "rows of the reach, states of all before".to_owned(),
            Window::Range { preceding_us } => format!("rows of {}", length(preceding_us)),
        };
        table.rows.push(vec![
            json!(window(aggregate.window)),
            json!(of.len()),
            json!(states.len()),
            json!(kept),
        ]);
    }
    table
}

fn aggregates(view: &View) -> AnswerTable {
    let spec = view.spec();
    let columns = ["name", "function", "type", "window", "state", "features"];
    let mut table = AnswerTable::new("aggregates", &columns);
    let features = view.features();
    for (index, aggregate) in spec.aggregates.iter().enumerate() {
        let readers = view.aggregates().iter().enumerate();
        let readers = readers.filter(|(_, reads)| reads.contains(&index));
        let readers: Vec<&str> = readers
            .map(|(feature, _)| features.field(feature).name().as_str())
            .collect();
        table.rows.push(vec![
            json!(aggregate.name),
            json!(aggregate.kind.name()),
            json!(sql_name(&aggregate.data_type)),
            json!(window(aggregate.window)),
            json!(aggregate.partial),
            json!(readers.join(", ")),
        ]);
    }
    table
}

/// The distinct states, which several aggregates may share.
fn partials(spec: &ViewSpec) -> AnswerTable {
    let columns = ["state", "class", "argument", "filtered", "bytes", "merges"];
    let mut table = AnswerTable::new("states", &columns);
    for (number, partial) in spec.partials.iter().enumerate() {
        let types: Vec<String> = partial.argument_types.iter().map(sql_name).collect();
        table.rows.push(vec![
            json!(number),
            json!(format!("{:?}", partial.class)),
            json!(types.join(", ")),
            json!(partial.filter.is_some()),
            json!(state_bytes(&Partial::new(partial))),
            json!(merges(partial.class)),
        ]);
    }
    table
}

/// What a state takes in memory, bytes.
fn state_bytes(state: &Partial) -> usize {
    size_of::<Partial>() + state.heap_bytes()
}

/// How states of this class come together; whether a row can be taken out of one again.
fn merges(class: PartialClass) -> &'static str {
    match class.leaving() {
        Leaving::Retracted => "in any order; a row can be taken out",
        Leaving::Selected => "in any order, by the better row; no row can be taken out",
        Leaving::Rebuilt => "in any order; no row can be taken out",
    }
}

fn steps(view: &View) -> AnswerTable {
    let spec = view.spec();
    let source = view.source();
    let mut table = AnswerTable::new("steps", &["step", "what"]);
    let mut step = |name: &str, what: String| table.rows.push(vec![json!(name), json!(what)]);
    let read = view
        .reads()
        .iter()
        .map(|index| source.columns[*index].name.as_str());
    let read: Vec<&str> = read.collect();
    step(
        "scan",
        format!("{} of source {}", read.join(", "), source.name),
    );
    if view.is_filtered() {
        step("where", "rows on which WHERE is true".to_owned());
    }
    let (arguments, filters) = (spec.arguments.len(), spec.filters);
    step(
        "compute",
        format!("{arguments} arguments and {filters} FILTERs of each row"),
    );
    let key: Vec<&str> = spec.key.iter().map(|column| column.name.as_str()).collect();
    step(
        "key",
        format!(
            "by {}; a row with a NULL part counts for no key",
            key.join(", ")
        ),
    );
    step(
        "fold",
        format!(
            "into the key's tree over time: {} distinct states",
            spec.partials.len()
        ),
    );
    step(
        "merge",
        format!(
            "{} aggregates over {} windows",
            spec.aggregates.len(),
            windows(spec).rows.len()
        ),
    );
    step(
        "finish",
        format!(
            "{} features over aggregates, key and moment",
            view.features().fields().len()
        ),
    );
    let ttl = spec.ttl_us.map_or_else(String::new, |ttl| {
        format!(", or no event within {}", length(ttl))
    });
    step("presence", format!("NULL where the key has no event{ttl}"));
    table
}
