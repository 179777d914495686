//! The shape of a definition's SELECT, checked on its syntax tree: clauses that no definition may
//! have, or that the planner behind it would skip without a word, are refused here with their
//! place; the tables that it names are listed.
//!
//! Comes between the parser and `view`, `service` and `label`, which plan what passes. Knows no
//! catalog.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Visit, Visitor};

use super::text::QueryText;
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
    names.tables.difference(&names.own).cloned().collect()
}

#[derive(Default)]
struct Names {
    tables: BTreeSet<String>,
    own: BTreeSet<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        let own = query
            .with
            .iter()
            .flat_map(|with| &with.cte_tables)
            .map(|table| ident_name(&table.alias.name));
        self.own.extend(own);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &ast::TableFactor) -> ControlFlow<()> {
        if let ast::TableFactor::Table { name, .. } = table {
            self.tables
                .insert(plain_name(name).unwrap_or_else(|| name.to_string()));
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
        ControlFlow::Break(Refusal { word, message }) => Err(EngineError::refused(
            body.locate(word.as_deref()),
            object,
            message,
        )),
    }
}

/// A clause that is refused: the word that it begins with, and what to write instead.
struct Refusal {
    word: Option<String>,
    message: String,
}

struct Clauses {
    joins: bool,
}

const GROUP_BY: &str = "GROUP BY is not supported; write each aggregate as count(*) OVER (PARTITION BY key ORDER BY event_time)";
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
            message: (*message).to_owned(),
        }),
        None => ControlFlow::Continue(()),
    }
}

impl Visitor for Clauses {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<Refusal> {
        let limit = format!("LIMIT and FETCH have no meaning here: {ONE_ROW}; drop it");
        let order = format!("ORDER BY outside of OVER has no meaning here: {ONE_ROW}; drop it");
        first(&[
            (
                query.with.as_ref().is_some_and(|with| with.recursive),
                "RECURSIVE",
                "WITH RECURSIVE is not supported",
            ),
            (query.limit_clause.is_some(), "LIMIT", &limit),
            (query.fetch.is_some(), "FETCH", &limit),
            (query.order_by.is_some(), "ORDER", &order),
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
        let grouped = match &select.group_by {
            ast::GroupByExpr::All(_) => true,
            ast::GroupByExpr::Expressions(columns, modifiers) => {
                !columns.is_empty() || !modifiers.is_empty()
            }
        };
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
            (
                select.qualify.is_some(),
                "QUALIFY",
                "QUALIFY is not supported; write the condition as CASE in a feature",
            ),
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
            message,
        })
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Refusal> {
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
        ControlFlow::Break(Refusal {
            word: None,
            message: message.to_owned(),
        })
    }
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
        message: format!("{text} has no name; write AS name behind it"),
    })
}
