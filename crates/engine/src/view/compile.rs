//! From a matched plan to a [`ViewSpec`] and compiled programs: distinct argument columns, FILTERs
//! and partial states are kept once however many features read them; features become expressions
//! over aggregates, the key and the moment.

use arrow_schema::DataType;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit, when};
use datafusion::sql::sqlparser::tokenizer::Location as Position;
use forebay_core::aggregate::{AggregateKind, PartialSpec};
use forebay_core::limits::VIEW_MAX_FEATURES;
use forebay_core::source::Column;
use forebay_core::view::AggregateSpec;

use super::fold::{Fold, FoldPlan};
use super::matching::{Matched, match_plan};
use super::subject::{AGGREGATE, Subject, aggregate_column, refused};
use super::windows::Windowed;
use crate::error::{EngineError, Result, listed};
use crate::expression::{CAST_REMEDY, Input, Program, as_column, storable};
use crate::name;
use crate::nodes;
use crate::outputs::Outputs;
use crate::parse::{QueryText, parse_query, refuse_clauses};
use crate::scalar::{Lowering, Refusal, Slot, position_of};
use crate::session::{Session, Unplanned};

/// A view without its identity.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) key: Vec<usize>,
    pub(super) states: States,
    pub(super) fold: Fold,
    pub(super) features: Vec<Column>,
    /// For each feature the aggregates that it reads.
    pub(super) aggregates: Vec<Vec<usize>>,
    /// Over the key columns, the moment and the aggregates, in this order.
    pub(super) finish: Program,
}

/// Compile `subject`'s text.
///
/// # Errors
/// `Refused`, `Planning` or `Limit`, with the place.
pub(super) fn compile(session: &Session, subject: Subject<'_>) -> Result<Compiled> {
    let mut query = parse_query(subject.body)?;
    refuse_clauses(subject.object, subject.body, &query, false)?;
    if let Some((name, near)) = session.bare_aggregate(&query) {
        return subject.refuse_near(
            Some(&name),
            near,
            "an aggregate without OVER answers one row for the whole source; write it OVER (PARTITION BY key ORDER BY \
             event_time)",
        );
    }
    let outputs = Outputs::rename(&mut query);
    let tables = [(subject.source.name.clone(), subject.source.schema())];
    let plan = session
        .plan(query, &tables)
        .map_err(|e| planning_error(subject.object, subject.body, e))?;
    let matched = match_plan(session, subject, &plan, &outputs)?;
    let inputs: Vec<Input> = subject
        .source
        .columns
        .iter()
        .map(|c| Input::plain(&c.name, &c.data_type))
        .collect();
    let (mut states, values) = States::of(subject, &inputs, &matched.aggregates)?;
    let plan = FoldPlan {
        predicate: predicate(subject, &inputs, &matched)?,
        key: matched.key.clone(),
        guards: states.guards(),
        values,
    };
    let fold = Fold::of(subject.object, subject.source, plan);
    let post = Post::of(subject, &matched, &states)?;
    name_aggregates(&mut states.aggregates, &post);
    Ok(Compiled {
        key: matched.key,
        states,
        fold,
        features: post.features,
        aggregates: post.aggregates,
        finish: post.finish,
    })
}

/// A WHERE that is not simply true.
fn predicate(subject: Subject<'_>, inputs: &[Input], matched: &Matched) -> Result<Option<Program>> {
    let Some(predicate) = &matched.predicate else {
        return Ok(None);
    };
    let refused = |refusal| subject.refused(refusal);
    let mut lowering = Lowering::new(inputs).patient(subject.patience);
    let slot = lowering.condition(predicate).map_err(refused)?;
    if lowering.is_true(slot) {
        return Ok(None);
    }
    let program = Program::of(subject.object, lowering, &[slot]);
    program.map(Some).map_err(refused)
}

/// The cause of `error` without what was told around it.
fn cause(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => cause(inner),
        other => other,
    }
}

/// The place that DataFusion tells of `error`, if it tells one.
pub(crate) fn told_at(error: &DataFusionError) -> Option<Position> {
    match error {
        DataFusionError::Diagnostic(told, inner) => told
            .span
            .map(|span| Position {
                line: span.start.line,
                column: span.start.column,
            })
            .or_else(|| told_at(inner)),
        DataFusionError::Context(_, inner) => told_at(inner),
        _ => None,
    }
}

/// The column that a text names and that is not there, and those that are.
pub(crate) fn missing_column(
    error: &DataFusionError,
) -> Option<(&datafusion::common::Column, String)> {
    let DataFusionError::SchemaError(schema, _) = cause(error) else {
        return None;
    };
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = schema.as_ref()
    else {
        return None;
    };
    let known: Vec<String> = valid_fields
        .iter()
        .map(|column| column.flat_name())
        .collect();
    Some((field, listed(&known)))
}

/// What DataFusion says, at the word that it says it about.
pub(crate) fn planning_error(
    object: &str,
    body: &QueryText,
    unplanned: impl Into<Unplanned>,
) -> EngineError {
    let Unplanned { error, near } = unplanned.into();
    if let Some(limit) = nodes::limit(&error, object, body) {
        return limit;
    }
    if let Some(refusal) = Refusal::within(&error) {
        return refused(object, body, refusal.near(near));
    }
    if let Some((column, known)) = missing_column(&error) {
        let message = format!("there is no column {}; known: {known}", column.flat_name());
        let own = position_of(&Expr::Column(column.clone())).or_else(|| told_at(&error));
        let at = body.locate_near(Some(&column.name), own.or(near));
        return EngineError::unknown(at, object, message);
    }
    let (word, plain) = plain_words(&error);
    let at = body.locate_near(word.as_deref(), told_at(&error).or(near));
    match plain {
        Some(message) => EngineError::refused(at, object, message),
        None => EngineError::planning(at, object, error),
    }
}

/// The word that `error` is about, and what it says in plain words, where that is known.
fn plain_words(error: &DataFusionError) -> (Option<String>, Option<String>) {
    use DataFusionError as E;
    let cause = cause(error);
    if let E::SchemaError(schema, _) = cause {
        return match schema.as_ref() {
            SchemaError::AmbiguousReference { field } => (
                Some(field.name.clone()),
                Some(format!(
                    "column {} is there more than once; write of which table: table.{}, or give one another name: AS name",
                    field.name, field.name
                )),
            ),
            SchemaError::FieldNotFound { field, .. } => (Some(field.name.clone()), None),
            SchemaError::DuplicateQualifiedField { name, .. }
            | SchemaError::DuplicateUnqualifiedField { name } => (
                Some(name.clone()),
                Some(format!(
                    "two columns of a subquery go by the name {name}; give each its own: AS name"
                )),
            ),
        };
    }
    let text = cause.to_string();
    let quoted = text.split('\'').nth(1).map(str::to_owned);
    let behind = |words: &str| {
        let (_, rest) = text.split_once(words)?;
        let end = rest.find([' ', '(', '.', ',']).unwrap_or(rest.len());
        Some(&rest[..end])
    };
    if let Some(name) = quoted.as_deref()
        && text.contains("failed to match any signature")
    {
        let given = behind("but received ").map_or("this type", sql_type);
        let message = format!(
            "{name} does not take an argument of type {given}; cast it: {name}(CAST(x AS INTEGER)), or count what is true: \
             count(*) FILTER (WHERE x)"
        );
        return (quoted, Some(message));
    }
    if let (Some(column), Some(given)) = (quoted.as_deref(), behind("returning "))
        && text.contains("non-boolean predicate")
    {
        let column = column.rsplit('.').next().unwrap_or(column);
        let message = format!(
            "{column} is {} where a condition (BOOLEAN) is expected; compare it with a value, as in {column} = {}",
            sql_type(given),
            if given == "Utf8" { "'yes'" } else { "1" }
        );
        return (Some(column.to_owned()), Some(message));
    }
    (quoted, None)
}

/// SQL's name of an Arrow type that DataFusion names.
fn sql_type(arrow: &str) -> &str {
    match arrow {
        "Boolean" => "BOOLEAN",
        "Int32" => "INTEGER",
        "Int64" => "BIGINT",
        "Float64" => "DOUBLE",
        "Utf8" => "VARCHAR",
        "Timestamp" => "TIMESTAMP",
        other => other,
    }
}

/// What the tiles of a view hold.
#[derive(Debug)]
pub(super) struct States {
    arguments: Vec<Slot>,
    pub(super) argument_types: Vec<DataType>,
    filters: Vec<Slot>,
    pub(super) partials: Vec<PartialSpec>,
    /// One for each of the matched aggregates.
    pub(super) aggregates: Vec<AggregateSpec>,
}

impl States {
    /// Of `windows`, and what computes arguments, then FILTERs, over `inputs`.
    fn of(subject: Subject<'_>, inputs: &[Input], windows: &[Windowed]) -> Result<(Self, Program)> {
        let mut lowering = Lowering::new(inputs).patient(subject.patience);
        let mut states = Self {
            arguments: Vec::new(),
            argument_types: Vec::new(),
            filters: Vec::new(),
            partials: Vec::new(),
            aggregates: Vec::new(),
        };
        for window in windows {
            states.add(subject, &mut lowering, window)?;
        }
        let outputs: Vec<Slot> = states
            .arguments
            .iter()
            .chain(&states.filters)
            .copied()
            .collect();
        let values = Program::of(subject.object, lowering, &outputs)
            .map_err(|refusal| subject.refused(refusal))?;
        Ok((states, values))
    }

    /// How many FILTERs there are.
    pub(super) fn filters(&self) -> usize {
        self.filters.len()
    }

    /// For each argument the FILTERs of the aggregates that take it.
    fn guards(&self) -> Vec<Vec<Option<usize>>> {
        let mut guards = vec![Vec::new(); self.arguments.len()];
        for partial in &self.partials {
            for argument in &partial.arguments {
                if !guards[*argument].contains(&partial.filter) {
                    guards[*argument].push(partial.filter);
                }
            }
        }
        guards
    }

    fn add(
        &mut self,
        subject: Subject<'_>,
        lowering: &mut Lowering<'_>,
        window: &Windowed,
    ) -> Result<()> {
        let refused = |refusal| subject.refused(refusal);
        let kind = window.kind;
        let mut filter = window.filter.clone();
        let (mut slots, mut argument_types) = (Vec::new(), Vec::new());
        for expr in &window.arguments {
            let typed = lowering.lower(expr).map_err(refused)?;
            match storable(typed.of) {
                Some(kept) => {
                    slots.push(typed.slot);
                    argument_types.push(kept);
                }
                None if kind == AggregateKind::Count => {
                    // Whether it is NULL is all that counts.
                    filter = Some(where_present(subject, filter, expr)?);
                }
                None => {
                    let (name, found) = (kind.name(), typed.sql());
                    let message =
                        format!("{name} does not take an argument of type {found}; {CAST_REMEDY}");
                    return subject.refuse_near(Some(name), position_of(expr), message);
                }
            }
        }
        let near = window.arguments.first().and_then(position_of);
        let planned = match kind.plan(&argument_types) {
            Ok(planned) => planned,
            Err(error) => return subject.refuse_near(Some(kind.name()), near, error.message()),
        };
        let arguments = slots.into_iter().zip(&argument_types);
        let arguments = arguments.map(|(slot, data_type)| self.argument(slot, data_type));
        let arguments = arguments.collect();
        let filter = match filter {
            None => None,
            Some(filter) => {
                let slot = lowering.condition(&filter).map_err(refused)?;
                // A FILTER that is simply true is none.
                (!lowering.is_true(slot)).then(|| place(&mut self.filters, slot))
            }
        };
        let partial = place(
            &mut self.partials,
            PartialSpec {
                class: planned.class,
                arguments,
                argument_types,
                filter,
                keep: kind.keep(),
            },
        );
        let name = format!("{}_{}", kind.name(), self.aggregates.len() + 1);
        self.aggregates.push(AggregateSpec {
            name,
            kind,
            data_type: planned.data_type,
            partial,
            window: window.window,
        });
        Ok(())
    }

    /// The column of an argument.
    fn argument(&mut self, slot: Slot, data_type: &DataType) -> usize {
        let index = place(&mut self.arguments, slot);
        if index == self.argument_types.len() {
            self.argument_types.push(data_type.clone());
        }
        index
    }
}

/// The condition that `filter` holds and `expr` is not NULL.
fn where_present(subject: Subject<'_>, filter: Option<Expr>, expr: &Expr) -> Result<Expr> {
    let present = expr.clone().is_not_null();
    match filter {
        // Behind a FILTER that is NULL nothing is looked at; behind AND it would be.
        Some(filter) => when(filter, present)
            .otherwise(lit(false))
            .map_err(|e| planning_error(subject.object, subject.body, e)),
        None => Ok(present),
    }
}

/// The index of `item`, which is added where it is new.
fn place<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items
        .iter()
        .position(|other| *other == item)
        .unwrap_or_else(|| {
            items.push(item);
            items.len() - 1
        })
}

/// The features as expressions.
struct Post {
    features: Vec<Column>,
    /// For each feature the column that it is, if it is one.
    plain: Vec<Option<datafusion::common::Column>>,
    /// For each feature the aggregates that it reads.
    aggregates: Vec<Vec<usize>>,
    finish: Program,
}

impl Post {
    fn of(subject: Subject<'_>, matched: &Matched, states: &States) -> Result<Self> {
        let refused = |refusal| subject.refused(refusal);
        let inputs = inputs_of_post(subject, matched, states);
        let mut lowering = Lowering::new(&inputs).patient(subject.patience);
        let (mut features, mut plain, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        let mut aggregates = Vec::new();
        for ((name, expr), place) in matched.outputs.iter().zip(&matched.places) {
            check_columns(subject, &inputs, expr)?;
            if is_identity(subject, matched, name, expr) {
                continue;
            }
            check_name(
                subject,
                (name, place.or_else(|| position_of(expr))),
                &features,
            )?;
            let typed = lowering.lower(expr).map_err(refused)?;
            let Some(kept) = storable(typed.of) else {
                let found = typed.sql();
                return subject.refuse(
                    Some(name),
                    format!("feature {name} is of type {found}; {CAST_REMEDY}"),
                );
            };
            slots.push(typed.slot);
            plain.push(as_column(expr).cloned());
            let columns = expr.column_refs();
            let read = |index: &usize| columns.contains(&aggregate_column(*index));
            aggregates.push((0..states.aggregates.len()).filter(read).collect());
            features.push(Column {
                name: name.clone(),
                data_type: kept,
                nullable: true,
            });
        }
        if features.is_empty() {
            return subject.refuse(None, "it selects no feature; select an aggregate AS name");
        }
        if features.len() > VIEW_MAX_FEATURES {
            let message = format!(
                "{} has {} features, more than {VIEW_MAX_FEATURES} (VIEW_MAX_FEATURES); split it",
                subject.object,
                features.len()
            );
            return Err(EngineError::Limit {
                at: subject.body.locate(None),
                message,
            });
        }
        let finish = Program::of(subject.object, lowering, &slots).map_err(refused)?;
        Ok(Self {
            features,
            plain,
            aggregates,
            finish,
        })
    }
}

/// The key columns, the moment and the aggregates.
fn inputs_of_post(subject: Subject<'_>, matched: &Matched, states: &States) -> Vec<Input> {
    let source = subject.source;
    let row = matched.key.iter().copied().chain([source.time_column]);
    let row = row
        .map(|i| &source.columns[i])
        .map(|c| Input::plain(&c.name, &c.data_type));
    let of_aggregate = |(index, aggregate): (usize, &AggregateSpec)| {
        Input::of(AGGREGATE, &index.to_string(), &aggregate.data_type)
    };
    row.chain(states.aggregates.iter().enumerate().map(of_aggregate))
        .collect()
}

/// Beside aggregates only the key and the event time have a value where there is no event.
fn check_columns(subject: Subject<'_>, inputs: &[Input], expr: &Expr) -> Result<()> {
    for column in expr.column_refs() {
        if !inputs.iter().any(|input| input.is(column)) {
            let name = &column.name;
            let message = format!(
                "column {name} has no value between events; select last_value({name}) OVER (PARTITION BY key ORDER BY \
                 event_time) AS {name}"
            );
            let near = position_of(&Expr::Column(column.clone()));
            return subject.refuse_near(Some(name), near, message);
        }
    }
    Ok(())
}

/// Whether the output is a key column or the event time under its own name: it says which row this
/// is.
fn is_identity(subject: Subject<'_>, matched: &Matched, name: &str, expr: &Expr) -> bool {
    let Some(column) = as_column(expr).filter(|column| column.relation.is_none()) else {
        return false;
    };
    let is = |index: usize| subject.source.columns[index].name == column.name;
    let mut key = matched.key.iter().zip(&subject.entity.key);
    (name == column.name && is(subject.source.time_column))
        || key.any(|(i, k)| is(*i) && k.name == name)
}

fn check_name(
    subject: Subject<'_>,
    (name, near): (&str, Option<Position>),
    before: &[Column],
) -> Result<()> {
    if let Some(fault) = name::fault(name) {
        return subject.refuse_near(Some(name), near, format!("feature {fault}; rename it"));
    }
    if before.iter().any(|column| column.name == name) {
        let message = format!("two features go by the name {name}; give each its own: AS name");
        return subject.refuse_near(Some(name), near, message);
    }
    Ok(())
}

/// Aggregates that are selected as they are go by the feature's name.
fn name_aggregates(aggregates: &mut [AggregateSpec], post: &Post) {
    for (index, aggregate) in aggregates.iter_mut().enumerate() {
        let column = aggregate_column(index);
        let position = post
            .plain
            .iter()
            .position(|plain| plain.as_ref() == Some(&column));
        if let Some(position) = position {
            aggregate.name.clone_from(&post.features[position].name);
        }
    }
}
