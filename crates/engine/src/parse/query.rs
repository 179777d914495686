//! The shape of a definition's SELECT, checked on its syntax tree: clauses that no definition may
//! have, or that the planner behind it would skip without a word, are refused here with their
//! place; the tables that it names are listed.
//!
//! Comes between the parser and `view`, `service` and `label`, which plan what passes. Knows no
//! catalog.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Spanned, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::{Location as Position, Span};

use super::hints::{instead_of_window, is_window_function};
use super::text::{QueryText, position};
use crate::error::{EngineError, Result};

/// An identifier as SQL reads it: lower case unless quoted.
pub(crate) fn ident_name(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_lowercase()
    }
}

/// The one part of a plain name.
pub(crate) fn plain_name(name: &ast::ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(ident_name),
        _ => None,
    }
}

/// Names of the tables that `query` reads, without those of its own WITH clauses.
pub(crate) fn relations(query: &ast::Query) -> BTreeSet<String> {
    let mut names = Names::default();
    // The visitor never breaks.
    let _continue = query.visit(&mut names);
    names.tables
}

#[derive(Default)]
struct Names {
    tables: BTreeSet<String>,
    queries: Vec<With>,
}

/// The WITH clause of a query that is being visited: its queries come first and see those before
/// them, but not their own names.
struct With {
    names: Vec<String>,
    seen: usize,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        let own = query
            .with
            .iter()
            .flat_map(|with| &with.cte_tables)
            .map(|table| ident_name(&table.alias.name));
        self.queries.push(With {
            names: own.collect(),
            seen: 0,
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<()> {
        self.queries.pop();
        if let Some(outer) = self.queries.last_mut() {
            outer.seen = (outer.seen + 1).min(outer.names.len());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &ast::TableFactor) -> ControlFlow<()> {
        if let ast::TableFactor::Table { name, .. } = table {
            let name = plain_name(name).unwrap_or_else(|| name.to_string());
            let own = |with: &With| with.names[..with.seen].contains(&name);
            if !self.queries.iter().any(own) {
                self.tables.insert(name);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Refuse what a definition's SELECT may not have. `joins`: whether it may join.
///
/// # Errors
/// `Refused`, with the place of the clause.
pub(crate) fn refuse_clauses(
    object: &str,
    body: &QueryText,
    query: &ast::Query,
    joins: bool,
) -> Result<()> {
    match query.visit(&mut Clauses { joins }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(EngineError::refused(
            body.locate_near(refusal.word.as_deref(), refusal.near),
            object,
            refusal.message,
        )),
    }
}

/// A clause that is refused: the word that it begins with, and what to write instead.
struct Refusal {
    word: Option<String>,
    /// Where what is refused stands, or near it.
    near: Option<Position>,
    message: String,
}

impl Refusal {
    fn at(span: Span, message: impl Into<String>) -> Self {
        Self {
            word: None,
            near: position(span),
            message: message.into(),
        }
    }
}

struct Clauses {
    joins: bool,
}

const GROUP_BY: &str = "GROUP BY is not supported; write each aggregate as count(*) OVER (PARTITION BY key ORDER BY event_time)";
const NEWEST: &str =
    "the newest value of a key is last_value(x) OVER (PARTITION BY key ORDER BY event_time) AS x";
const ONE_ROW: &str = "a definition answers one row for each key and moment";

/// Clauses that the parser takes from other systems.
fn other_dialects(select: &ast::Select) -> ControlFlow<Refusal> {
    let spread = [
        (!select.cluster_by.is_empty(), "CLUSTER"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE"),
        (!select.sort_by.is_empty(), "SORT"),
    ];
    let spread = spread.iter().find(|(found, _)| *found);
    first(&[
        (select.top.is_some(), "TOP", "TOP is not supported; drop it"),
        (
            select.into.is_some(),
            "INTO",
            "SELECT INTO is not supported; drop INTO",
        ),
        (
            !select.lateral_views.is_empty(),
            "LATERAL",
            "LATERAL VIEW is not supported; drop it",
        ),
        (
            select.prewhere.is_some(),
            "PREWHERE",
            "PREWHERE is not supported; write WHERE",
        ),
        (
            !select.connect_by.is_empty(),
            "CONNECT",
            "CONNECT BY is not supported; drop it",
        ),
        (
            spread.is_some(),
            spread.map_or("", |(_, word)| word),
            "CLUSTER BY, DISTRIBUTE BY and SORT BY are not supported; drop them",
        ),
    ])
}

/// Break with the first refusal whose condition holds.
fn first(refusals: &[(bool, &str, &str)]) -> ControlFlow<Refusal> {
    match refusals.iter().find(|(found, _, _)| *found) {
        Some((_, word, message)) => ControlFlow::Break(Refusal {
            word: Some((*word).to_owned()),
            near: None,
            message: (*message).to_owned(),
        }),
        None => ControlFlow::Continue(()),
    }
}

impl Visitor for Clauses {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<Refusal> {
        if let ast::SetExpr::Select(select) = query.body.as_ref()
            && let Some(ast::Distinct::On(columns)) = &select.distinct
        {
            let near = columns.first().map_or_else(Span::empty, Spanned::span);
            return ControlFlow::Break(Refusal {
                word: Some("DISTINCT".to_owned()),
                ..Refusal::at(
                    near,
                    format!("SELECT DISTINCT ON has no meaning here: {ONE_ROW}; {NEWEST}"),
                )
            });
        }
        if let Some(order) = &query.order_by {
            return ControlFlow::Break(Refusal {
                word: Some("ORDER".to_owned()),
                ..Refusal::at(
                    order.span(),
                    format!("ORDER BY outside of OVER has no meaning here: {ONE_ROW}; drop it"),
                )
            });
        }
        let limit = format!("LIMIT and FETCH have no meaning here: {ONE_ROW}; drop it");
        first(&[
            (
                query.with.as_ref().is_some_and(|with| with.recursive),
                "RECURSIVE",
                "WITH RECURSIVE is not supported",
            ),
            (query.limit_clause.is_some(), "LIMIT", &limit),
            (query.fetch.is_some(), "FETCH", &limit),
            (
                !query.locks.is_empty() || query.for_clause.is_some(),
                "FOR",
                "FOR .. is not supported; drop it",
            ),
            (
                query.settings.is_some(),
                "SETTINGS",
                "SETTINGS is not supported; drop it",
            ),
            (
                query.format_clause.is_some(),
                "FORMAT",
                "FORMAT is not supported; drop it",
            ),
            (
                !query.pipe_operators.is_empty(),
                "|>",
                "pipe operators are not supported; write a plain SELECT",
            ),
            (
                matches!(query.body.as_ref(), ast::SetExpr::SetOperation { .. }),
                "SELECT",
                "UNION, INTERSECT and EXCEPT are not supported; write one definition for each part",
            ),
            (
                !matches!(
                    query.body.as_ref(),
                    ast::SetExpr::Select(_)
                        | ast::SetExpr::Query(_)
                        | ast::SetExpr::SetOperation { .. }
                ),
                "VALUES",
                "a definition is a SELECT; write SELECT .. FROM ..",
            ),
        ])
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<Refusal> {
        if let Some(refusal) = table_functions(select) {
            return ControlFlow::Break(refusal);
        }
        let (grouped, by) = match &select.group_by {
            ast::GroupByExpr::All(_) => (true, None),
            ast::GroupByExpr::Expressions(columns, modifiers) => (
                !columns.is_empty() || !modifiers.is_empty(),
                columns
                    .iter()
                    .find(|by| matches!(by, ast::Expr::Function(_))),
            ),
        };
        if let Some(by) = by {
            return ControlFlow::Break(Refusal {
                word: Some("GROUP".to_owned()),
                ..Refusal::at(by.span(), grouped_by(by))
            });
        }
        let qualify =
            format!("QUALIFY is not supported; {NEWEST}, another condition is a CASE in a feature");
        let distinct = format!("SELECT DISTINCT has no meaning here: {ONE_ROW}; drop DISTINCT");
        let joined = select.from.len() > 1 || select.from.iter().any(|from| !from.joins.is_empty());
        first(&[
            (grouped, "GROUP", GROUP_BY),
            (select.distinct.is_some(), "DISTINCT", &distinct),
            (
                select.having.is_some(),
                "HAVING",
                "HAVING is not supported; write the condition as CASE in a feature",
            ),
            (select.qualify.is_some(), "QUALIFY", &qualify),
            (
                select.from.is_empty(),
                "SELECT",
                "FROM is missing; name the source or the request that it reads",
            ),
            (
                joined && !self.joins,
                if select.from.len() > 1 {
                    "FROM"
                } else {
                    "JOIN"
                },
                "a feature view reads one source; write a view for the other source and join the two views in a \
                 feature service",
            ),
        ])?;
        other_dialects(select)?;
        select
            .projection
            .iter()
            .find_map(unnamed)
            .map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn pre_visit_table_factor(&mut self, table: &ast::TableFactor) -> ControlFlow<Refusal> {
        let plain = match table {
            ast::TableFactor::Table {
                name: _,
                alias,
                args: None,
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
            } => {
                with_hints.is_empty()
                    && partitions.is_empty()
                    && index_hints.is_empty()
                    && alias.as_ref().is_none_or(|alias| alias.at.is_none())
            }
            ast::TableFactor::Derived {
                lateral: false,
                sample: None,
                ..
            } => true,
            _ => false,
        };
        if plain {
            return ControlFlow::Continue(());
        }
        let message =
            format!("FROM {table} is not supported; write a plain name: FROM name [AS alias]");
        ControlFlow::Break(Refusal {
            word: Some("FROM".to_owned()),
            ..Refusal::at(table.span(), message)
        })
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Refusal> {
        if let Some(length) = computed_length(expr) {
            let message = format!(
                "the length of a frame is one literal, not {length}; write it out, as in INTERVAL '2' HOUR"
            );
            return ControlFlow::Break(Refusal {
                word: Some("INTERVAL".to_owned()),
                ..Refusal::at(length.span(), message)
            });
        }
        let subquery = match expr {
            ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => {
                true
            }
            ast::Expr::AnyOp { right, .. } | ast::Expr::AllOp { right, .. } => {
                matches!(right.as_ref(), ast::Expr::Subquery(_))
            }
            _ => false,
        };
        if !subquery {
            return ControlFlow::Continue(());
        }
        let message = "a subquery in an expression is not supported; make it a feature view of its own and join it in \
        a \
                       feature service";
        ControlFlow::Break(Refusal::at(expr.span(), message))
    }
}

/// The length of a frame of `expr` that is no literal.
fn computed_length(expr: &ast::Expr) -> Option<&ast::Expr> {
    let ast::Expr::Function(call) = expr else {
        return None;
    };
    let Some(ast::WindowType::WindowSpec(spec)) = &call.over else {
        return None;
    };
    let frame = spec.window_frame.as_ref()?;
    let mut bounds = std::iter::once(&frame.start_bound).chain(&frame.end_bound);
    bounds.find_map(|bound| match bound {
        ast::WindowFrameBound::Preceding(Some(length))
        | ast::WindowFrameBound::Following(Some(length)) => match length.as_ref() {
            ast::Expr::Interval(_) | ast::Expr::Value(_) | ast::Expr::UnaryOp { .. } => None,
            computed => Some(computed),
        },
        _ => None,
    })
}

/// The refusal of a computed output without a name.
fn unnamed(item: &ast::SelectItem) -> Option<Refusal> {
    let ast::SelectItem::UnnamedExpr(expr) = item else {
        return None;
    };
    if matches!(
        expr,
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_)
    ) {
        return None;
    }
    let word = match expr {
        ast::Expr::Function(function) => function.name.0.first().map(ToString::to_string),
        _ => None,
    };
    let text: String = expr.to_string().chars().take(60).collect();
    Some(Refusal {
        word,
        ..Refusal::at(
            expr.span(),
            format!("{text} has no name; write AS name behind it"),
        )
    })
}

/// What a GROUP BY with a function in it is refused with: it is meant as a window.
fn grouped_by(by: &ast::Expr) -> String {
    format!(
        "GROUP BY {by} is not supported: windows end with the moment that is asked for; write each aggregate as \
         count(*) OVER (PARTITION BY key ORDER BY event_time RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW)"
    )
}

/// The refusal of what makes rows in FROM.
fn table_functions(select: &ast::Select) -> Option<Refusal> {
    let joined = select
        .from
        .iter()
        .flat_map(|from| from.joins.iter().map(|join| &join.relation));
    let mut tables = select.from.iter().map(|from| &from.relation).chain(joined);
    tables.find_map(|table| match table {
        ast::TableFactor::UNNEST { .. } => Some(Refusal {
            word: Some("UNNEST".to_owned()),
            ..Refusal::at(
                table.span(),
                "UNNEST makes several rows of one event and is not supported; write one event for each element",
            )
        }),
        ast::TableFactor::Table {
            name,
            args: Some(_),
            ..
        } if is_window_function(&name.to_string()) => {
            Some(Refusal::at(name.span(), instead_of_window(&name.to_string())))
        }
        _ => None,
    })
}
