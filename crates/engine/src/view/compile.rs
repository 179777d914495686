//! From a matched plan to a [`ViewSpec`] and compiled programs: distinct argument columns, FILTERs
//! and partial states are kept once however many features read them; features become expressions
//! over aggregates, the key and the moment.

use datafusion::common::{DFSchema, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use forebay_core::aggregate::{AggregateKind, PartialSpec};
use forebay_core::limits::VIEW_MAX_FEATURES;
use forebay_core::source::Column;
use forebay_core::view::AggregateSpec;

use super::fold::{Fold, FoldPlan};
use super::matching::{Matched, match_plan};
use super::subject::{AGGREGATE, Subject, aggregate_column};
use super::windows::Windowed;
use crate::error::{EngineError, Result, listed};
use crate::expression::{
    CAST_REMEDY, Input, Program, as_column, cast_to, schema_of, storable, type_of,
};
use crate::name;
use crate::nodes;
use crate::parse::{QueryText, parse_query, refuse_clauses};
use crate::session::Session;

/// A view without its identity.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) plan: LogicalPlan,
    pub(super) key: Vec<usize>,
    pub(super) states: States,
    pub(super) fold: Fold,
    /// Features, and for each its column in the plan's output.
    pub(super) features: Vec<Column>,
    pub(super) feature_outputs: Vec<usize>,
    /// Over the key columns, the moment and the aggregates, in this order.
    pub(super) finish: Program,
}

/// Compile `subject`'s text.
///
/// # Errors
/// `Refused`, `Planning` or `Limit`, with the place.
pub(super) fn compile(session: &Session, subject: Subject<'_>) -> Result<Compiled> {
    let query = parse_query(subject.body)?;
    refuse_clauses(subject.object, subject.body, &query, false)?;
    let tables = [(subject.source.name.clone(), subject.source.schema())];
    let plan = session
        .plan(query, &tables)
        .map_err(|e| planning_error(subject.object, subject.body, e))?;
    let matched = match_plan(session, subject, &plan)?;
    let mut states = States::of(session, subject, &matched.aggregates)?;
    let plan_of_fold = FoldPlan {
        predicate: predicate(&matched),
        key: &matched.key,
        arguments: &states.arguments,
        filters: &states.filters,
    };
    let fold = Fold::compile(session, subject.object, subject.source, &plan_of_fold)
        .map_err(|e| planning_error(subject.object, subject.body, e))?;
    let post = Post::of(session, subject, &matched, &states)?;
    let finish = Program::compile(session, subject.object, &post.inputs, &post.expressions)
        .map_err(|e| planning_error(subject.object, subject.body, e))?;
    name_aggregates(&mut states.aggregates, &post);
    Ok(Compiled {
        plan,
        key: matched.key,
        states,
        fold,
        features: post.features,
        feature_outputs: post.outputs,
        finish,
    })
}

/// A WHERE that is not simply true.
fn predicate(matched: &Matched) -> Option<&Expr> {
    let always = |e: &&Expr| {
        matches!(
            e,
            Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(true)), _)
        )
    };
    matched.predicate.as_ref().filter(|e| !always(e))
}

/// The cause of `error` without what was told around it.
fn cause(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => cause(inner),
        other => other,
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
    error: DataFusionError,
) -> EngineError {
    use DataFusionError as E;
    if let Some(limit) = nodes::limit(&error, object, body) {
        return limit;
    }
    if let Some((column, known)) = missing_column(&error) {
        let message = format!("there is no column {}; known: {known}", column.flat_name());
        return EngineError::unknown(body.locate(Some(&column.name)), object, message);
    }
    let cause = cause(&error);
    let word = match cause {
        E::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, .. }
            | SchemaError::AmbiguousReference { field } => Some(field.name.clone()),
            SchemaError::DuplicateQualifiedField { name, .. }
            | SchemaError::DuplicateUnqualifiedField { name } => Some(name.clone()),
        },
        // A quoted name.
        other => other.to_string().split('\'').nth(1).map(str::to_owned),
    };
    EngineError::planning(body.locate(word.as_deref()), object, error)
}

/// What the tiles of a view hold.
#[derive(Debug)]
pub(super) struct States {
    pub(super) arguments: Vec<Expr>,
    pub(super) argument_types: Vec<arrow_schema::DataType>,
    pub(super) filters: Vec<Expr>,
    pub(super) partials: Vec<PartialSpec>,
    /// One for each of the matched aggregates.
    pub(super) aggregates: Vec<AggregateSpec>,
}

impl States {
    fn of(session: &Session, subject: Subject<'_>, windows: &[Windowed]) -> Result<Self> {
        let inputs: Vec<Input> = subject
            .source
            .columns
            .iter()
            .map(|c| Input::plain(&c.name, &c.data_type))
            .collect();
        let schema =
            schema_of(&inputs).map_err(|e| planning_error(subject.object, subject.body, e))?;
        let mut states = Self {
            arguments: Vec::new(),
            argument_types: Vec::new(),
            filters: Vec::new(),
            partials: Vec::new(),
            aggregates: Vec::new(),
        };
        for window in windows {
            states.add(session, subject, &schema, window)?;
        }
        Ok(states)
    }

    fn add(
        &mut self,
        session: &Session,
        subject: Subject<'_>,
        schema: &DFSchema,
        window: &Windowed,
    ) -> Result<()> {
        let kind = window.kind;
        let mut filter = window.filter.clone();
        let mut argument = None;
        if let Some(expr) = &window.argument {
            let found = type_of(session, expr, schema)
                .map_err(|e| planning_error(subject.object, subject.body, e))?;
            match storable(&found) {
                Some(kept) => argument = Some((cast_to(expr.clone(), &found, &kept), kept)),
                None if kind == AggregateKind::Count => {
                    // Whether it is NULL is all that counts.
                    let present = expr.clone().is_not_null();
                    filter = Some(match filter {
                        Some(filter) => filter.and(present),
                        None => present,
                    });
                }
                None => {
                    let name = kind.name();
                    let message =
                        format!("{name} does not take an argument of type {found}; {CAST_REMEDY}");
                    return subject.refuse(Some(name), message);
                }
            }
        }
        let argument_type = argument.as_ref().map(|(_, data_type)| data_type.clone());
        let planned = kind.partial_class(argument_type.as_ref());
        let planned =
            planned.and_then(|class| Ok((class, kind.output_type(argument_type.as_ref())?)));
        let (class, data_type) = match planned {
            Ok(planned) => planned,
            Err(error) => return subject.refuse(Some(kind.name()), error.message()),
        };
        let argument = argument.map(|(expr, data_type)| {
            let index = place(&mut self.arguments, expr);
            if index == self.argument_types.len() {
                self.argument_types.push(data_type);
            }
            index
        });
        let filter = filter.map(|expr| place(&mut self.filters, expr));
        let partial = place(
            &mut self.partials,
            PartialSpec {
                class,
                argument,
                argument_type,
                filter,
            },
        );
        let name = format!("{}_{}", kind.name(), self.aggregates.len() + 1);
        self.aggregates.push(AggregateSpec {
            name,
            kind,
            data_type,
            partial,
            window: window.window,
        });
        Ok(())
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
    inputs: Vec<Input>,
    expressions: Vec<Expr>,
    features: Vec<Column>,
    outputs: Vec<usize>,
}

impl Post {
    fn of(
        session: &Session,
        subject: Subject<'_>,
        matched: &Matched,
        states: &States,
    ) -> Result<Self> {
        let source = subject.source;
        let row = matched.key.iter().copied().chain([source.time_column]);
        let mut inputs: Vec<Input> = row
            .map(|i| &source.columns[i])
            .map(|c| Input::plain(&c.name, &c.data_type))
            .collect();
        let of_aggregate = |(index, aggregate): (usize, &AggregateSpec)| {
            Input::of(AGGREGATE, &index.to_string(), &aggregate.data_type)
        };
        inputs.extend(states.aggregates.iter().enumerate().map(of_aggregate));
        let schema =
            schema_of(&inputs).map_err(|e| planning_error(subject.object, subject.body, e))?;
        let mut post = Self {
            inputs,
            expressions: Vec::new(),
            features: Vec::new(),
            outputs: Vec::new(),
        };
        for (output, (name, expr)) in matched.outputs.iter().enumerate() {
            post.check_columns(subject, expr)?;
            if is_identity(subject, matched, name, expr) {
                continue;
            }
            check_name(subject, name)?;
            let found = type_of(session, expr, &schema)
                .map_err(|e| planning_error(subject.object, subject.body, e))?;
            let Some(kept) = storable(&found) else {
                return subject.refuse(
                    Some(name),
                    format!("feature {name} is of type {found}; {CAST_REMEDY}"),
                );
            };
            post.expressions.push(cast_to(expr.clone(), &found, &kept));
            post.features.push(Column {
                name: name.clone(),
                data_type: kept,
                nullable: true,
            });
            post.outputs.push(output);
        }
        if post.features.is_empty() {
            return subject.refuse(None, "it selects no feature; select an aggregate AS name");
        }
        if post.features.len() > VIEW_MAX_FEATURES {
            let message = format!(
                "{} has {} features, more than {VIEW_MAX_FEATURES} (VIEW_MAX_FEATURES); split it",
                subject.object,
                post.features.len()
            );
            return Err(EngineError::Limit {
                at: subject.body.locate(None),
                message,
            });
        }
        Ok(post)
    }

    /// Beside aggregates only the key and the event time have a value where there is no event.
    fn check_columns(&self, subject: Subject<'_>, expr: &Expr) -> Result<()> {
        for column in expr.column_refs() {
            if !self
                .inputs
                .iter()
                .any(|input| input.relation == column.relation && input.name == column.name)
            {
                let name = &column.name;
                let message = format!(
                    "column {name} has no value between events; select last_value({name}) OVER (PARTITION BY key \
                     ORDER BY \
                     event_time) AS {name}"
                );
                return subject.refuse(Some(name), message);
            }
        }
        Ok(())
    }
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

fn check_name(subject: Subject<'_>, name: &str) -> Result<()> {
    if let Some(fault) = name::fault(name) {
        return subject.refuse(Some(name), format!("feature {fault}; rename it"));
    }
    if subject.entity.key.iter().any(|column| column.name == name) {
        let message = format!(
            "feature {name} has the name of a key column of entity {}; rename it",
            subject.entity.name
        );
        return subject.refuse(Some(name), message);
    }
    Ok(())
}

/// Aggregates that are selected as they are go by the feature's name.
fn name_aggregates(aggregates: &mut [AggregateSpec], post: &Post) {
    for (index, aggregate) in aggregates.iter_mut().enumerate() {
        let column = aggregate_column(index);
        let position = post
            .expressions
            .iter()
            .position(|expr| as_column(expr) == Some(&column));
        if let Some(position) = position {
            aggregate.name.clone_from(&post.features[position].name);
        }
    }
}
