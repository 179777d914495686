//! The FROM clause of a feature service: `FROM request LEFT JOIN view AS alias USING (key) ..`.
//! Each join is a lookup of the view's row for the request's key at the request's moment, so
//! nothing but a left join on the whole key has a meaning.
//!
//! Reads the syntax tree alone. What leaves are lookups, and the same query with plain names in its
//! FROM, which `session` plans to find out what the SELECT's expressions mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use forebay_core::ports::CompiledView;
use forebay_core::source::Column;

use crate::error::{EngineError, Result, listed};
use crate::parse::{QueryText, ident_name, plain_name, position};
use crate::view::View;

/// Name of the request in FROM.
pub(crate) const REQUEST: &str = "request";

/// One view that a service reads.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    pub(super) alias: String,
    pub(super) view: Arc<View>,
    /// For each key column of the view its index among the request columns.
    pub(super) key_columns: Vec<usize>,
}

/// Of a table that has a row for each of the request: its columns that are the request's, by
/// their names there.
struct Columns {
    alias: String,
    columns: Vec<(String, usize)>,
}

/// The tables of a service's FROM.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Alias of the request.
    pub(super) request: String,
    pub(super) lookups: Vec<Lookup>,
}

/// What FROM may name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) object: &'a str,
    pub(super) body: &'a QueryText,
    pub(super) request: &'a [Column],
    pub(super) views: &'a BTreeMap<String, Arc<View>>,
}

impl Scope<'_> {
    fn refuse<T>(&self, word: &str, message: impl Into<String>) -> Result<T> {
        Err(EngineError::refused(
            self.body.locate(Some(word)),
            self.object,
            message,
        ))
    }

    /// Read the FROM of `query`, and make its joins cross joins: their conditions have been read.
    pub(super) fn tables(&self, query: &mut ast::Query) -> Result<Tables> {
        let mut with = query.with.take();
        let queries = with.iter_mut().flat_map(|with| &mut with.cte_tables);
        let mut queries: Vec<(String, &mut ast::Cte)> = queries
            .map(|own| (ident_name(&own.alias.name), own))
            .collect();
        let mut tables = Tables::default();
        self.read(query, &mut queries, &mut tables)?;
        if let Some((name, own)) = queries.first() {
            let message = format!("query {name} of WITH is not read in FROM; drop it");
            let at = self
                .body
                .locate_near(Some(name), position(own.alias.name.span));
            return Err(EngineError::refused(at, self.object, message));
        }
        query.with = with;
        Ok(tables)
    }

    /// Read the FROM of `query` into `tables`: the request, or a query over it, and joins. Gives
    /// the request's columns that its outputs are.
    fn read(
        &self,
        query: &mut ast::Query,
        queries: &mut Vec<(String, &mut ast::Cte)>,
        tables: &mut Tables,
    ) -> Result<Columns> {
        if query.with.is_some() {
            return self.refuse(
                "WITH",
                "WITH inside of a query is not supported; write one WITH before all",
            );
        }
        let ast::SetExpr::Select(select) = query.body.as_mut() else {
            return self.refuse(
                "SELECT",
                "write SELECT .. FROM request LEFT JOIN view AS alias USING (key)",
            );
        };
        if select.selection.is_some() {
            let message = "WHERE would take rows of the request away, which each get an answer; write the condition as CASE";
            return self.refuse("WHERE", message);
        }
        let [from] = select.from.as_mut_slice() else {
            return self.refuse(
                "FROM",
                "write FROM request LEFT JOIN view AS alias USING (key)",
            );
        };
        let columns = self.request(&mut from.relation, queries, tables)?;
        let mut read = columns;
        for join in &mut from.joins {
            if let ast::TableFactor::Table { name, .. } = &join.relation
                && let Some(table) = plain_name(name)
                && queries.iter().any(|(own, _)| *own == table)
            {
                let message = format!(
                    "{table} is a query of WITH, and joins are of feature views alone; make it a feature view"
                );
                return self.refuse(&table, message);
            }
            let lookup = self.lookup(&read, join)?;
            let taken = |other: &Lookup| other.alias == lookup.alias;
            if [REQUEST, &read.alias].contains(&lookup.alias.as_str())
                || tables.lookups.iter().any(taken)
            {
                let alias = &lookup.alias;
                return self.refuse(
                    alias,
                    format!("two tables go by the name {alias}; give each its own: AS name"),
                );
            }
            tables.lookups.push(lookup);
            join.join_operator = ast::JoinOperator::CrossJoin(ast::JoinConstraint::None);
        }
        read.columns = outputs(select, &read);
        Ok(read)
    }

    /// What FROM begins with.
    fn request(
        &self,
        relation: &mut ast::TableFactor,
        queries: &mut Vec<(String, &mut ast::Cte)>,
        tables: &mut Tables,
    ) -> Result<Columns> {
        if let ast::TableFactor::Derived {
            subquery,
            alias: Some(alias),
            ..
        } = relation
            && alias.columns.is_empty()
        {
            let inner = self.read(subquery, queries, tables)?;
            return Ok(Columns {
                alias: ident_name(&alias.name),
                ..inner
            });
        }
        let (name, alias) = self.table(relation)?;
        if let Some(place) = queries.iter().position(|(own, _)| *own == name) {
            let (_, own) = queries.remove(place);
            let inner = self.read(&mut own.query, queries, tables)?;
            return Ok(Columns { alias, ..inner });
        }
        if name != REQUEST {
            return self.refuse(
                &name,
                format!("it reads from {name}; write FROM request LEFT JOIN {name} USING (key)"),
            );
        }
        tables.request.clone_from(&alias);
        let own = self.request.iter().enumerate();
        Ok(Columns {
            alias,
            columns: own.map(|(index, c)| (c.name.clone(), index)).collect(),
        })
    }

    /// Name and alias of a table.
    fn table(&self, factor: &ast::TableFactor) -> Result<(String, String)> {
        let ast::TableFactor::Table { name, alias, .. } = factor else {
            return self.refuse(
                "FROM",
                "a subquery in FROM is not supported; make it a feature view and join that",
            );
        };
        // A name of several parts is no view's, so that it is unknown.
        let table = plain_name(name).unwrap_or_else(|| name.to_string());
        if let Some(alias) = alias.as_ref().filter(|alias| !alias.columns.is_empty()) {
            return self.refuse(
                &alias.name.value,
                "columns cannot be renamed in FROM; rename them in SELECT: x AS name",
            );
        }
        let alias = alias
            .as_ref()
            .map_or_else(|| table.clone(), |alias| ident_name(&alias.name));
        Ok((table, alias))
    }

    fn lookup(&self, read: &Columns, join: &ast::Join) -> Result<Lookup> {
        let (name, alias) = self.table(&join.relation)?;
        let Some(view) = self.views.get(&name) else {
            let message = format!(
                "there is no feature view {name}; known feature views: {}",
                listed(self.views.keys())
            );
            return Err(EngineError::unknown(
                self.body.locate(Some(&name)),
                self.object,
                message,
            ));
        };
        let write = || {
            format!(
                "write LEFT JOIN {name} AS {alias} USING ({})",
                key_names(view)
            )
        };
        let constraint = match &join.join_operator {
            ast::JoinOperator::Left(constraint) | ast::JoinOperator::LeftOuter(constraint)
                if !join.global =>
            {
                constraint
            }
            _ => {
                let message = format!(
                    "{name} is not left-joined, so that request rows could get lost; {}",
                    write()
                );
                return self.refuse(&name, message);
            }
        };
        let pairs = match constraint {
            ast::JoinConstraint::Using(columns) => columns
                .iter()
                .map(|column| plain_name(column).map(|name| (name.clone(), name)))
                .collect::<Option<Vec<_>>>(),
            ast::JoinConstraint::On(condition) => equalities(condition, &read.alias, &alias),
            ast::JoinConstraint::Natural | ast::JoinConstraint::None => None,
        };
        let Some(pairs) = pairs else {
            let message = format!("{name} is not joined on the key of its entity; {}", write());
            return self.refuse(&name, message);
        };
        let key_columns = self.key_columns(view, &pairs, read, &write())?;
        Ok(Lookup {
            alias,
            view: Arc::clone(view),
            key_columns,
        })
    }

    /// For each key column of `view` the request column that `pairs` (request column, key column)
    /// give it.
    fn key_columns(
        &self,
        view: &View,
        pairs: &[(String, String)],
        read: &Columns,
        write: &str,
    ) -> Result<Vec<usize>> {
        let spec = view.spec();
        let entity = format!("entity {} has the key ({})", spec.entity, key_names(view));
        for (_, key) in pairs {
            if !spec.key.iter().any(|column| column.name == *key) {
                let message = format!(
                    "{key} is no key column of feature view {}: {entity}; {write}",
                    spec.name
                );
                return self.refuse(key, message);
            }
        }
        if pairs.len() != spec.key.len() {
            let message = format!(
                "feature view {} is joined on a part of its key: {entity}; {write}",
                spec.name
            );
            return self.refuse(&spec.name, message);
        }
        let mut key_columns = Vec::with_capacity(spec.key.len());
        for key in &spec.key {
            let Some((column, _)) = pairs.iter().find(|(_, name)| *name == key.name) else {
                let message = format!(
                    "feature view {} is joined on a column twice: {entity}; {write}",
                    spec.name
                );
                return self.refuse(&spec.name, message);
            };
            let known = read.columns.iter().find(|(name, _)| name == column);
            let Some((_, index)) = known else {
                let names = read.columns.iter().map(|(name, _)| name);
                let message = format!(
                    "the request has no column {column}; it has: {}",
                    listed(names)
                );
                return Err(EngineError::unknown(
                    self.body.locate(Some(column)),
                    self.object,
                    message,
                ));
            };
            let index = *index;
            let found = &self.request[index].data_type;
            if *found != key.data_type {
                let message = format!(
                    "request column {column} is {found}, key column {} of entity {} is {}; declare both alike",
                    key.name, spec.entity, key.data_type
                );
                return self.refuse(column, message);
            }
            key_columns.push(index);
        }
        Ok(key_columns)
    }
}

/// Which columns of the request the outputs of `select` are, by their names.
fn outputs(select: &ast::Select, read: &Columns) -> Vec<(String, usize)> {
    let find = |name: &str| read.columns.iter().find(|(own, _)| own == name);
    let of = |expr: &ast::Expr| match expr {
        ast::Expr::Identifier(name) => find(&ident_name(name)).map(|(_, index)| *index),
        ast::Expr::CompoundIdentifier(_) => {
            let (table, name) = qualified(expr)?;
            let (_, index) = find(&name).filter(|_| table == read.alias)?;
            Some(*index)
        }
        _ => None,
    };
    let mut columns = Vec::new();
    for item in &select.projection {
        match item {
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                columns.extend(of(expr).map(|index| (ident_name(alias), index)));
            }
            ast::SelectItem::UnnamedExpr(expr) => {
                let name = match expr {
                    ast::Expr::Identifier(name) => Some(ident_name(name)),
                    other => qualified(other).map(|(_, name)| name),
                };
                columns.extend(name.zip(of(expr)));
            }
            ast::SelectItem::Wildcard(_) => columns.extend(read.columns.iter().cloned()),
            ast::SelectItem::QualifiedWildcard(
                ast::SelectItemQualifiedWildcardKind::ObjectName(table),
                _,
            ) if plain_name(table).as_ref() == Some(&read.alias) => {
                columns.extend(read.columns.iter().cloned());
            }
            _ => {}
        }
    }
    columns
}

fn key_names(view: &View) -> String {
    let names: Vec<&str> = view
        .spec()
        .key
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    names.join(", ")
}

/// `ON request.a = alias.k AND ..` as (a, k); None for anything else.
fn equalities(condition: &ast::Expr, request: &str, alias: &str) -> Option<Vec<(String, String)>> {
    match condition {
        ast::Expr::Nested(inner) => equalities(inner, request, alias),
        ast::Expr::BinaryOp {
            left,
            op: ast::BinaryOperator::And,
            right,
        } => {
            let mut pairs = equalities(left, request, alias)?;
            pairs.extend(equalities(right, request, alias)?);
            Some(pairs)
        }
        ast::Expr::BinaryOp {
            left,
            op: ast::BinaryOperator::Eq,
            right,
        } => {
            let (left, right) = (qualified(left)?, qualified(right)?);
            match (left.0.as_str(), right.0.as_str()) {
                (l, r) if l == request && r == alias => Some(vec![(left.1, right.1)]),
                (l, r) if l == alias && r == request => Some(vec![(right.1, left.1)]),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `table.column`.
fn qualified(expr: &ast::Expr) -> Option<(String, String)> {
    match expr {
        ast::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, column] => Some((ident_name(table), ident_name(column))),
            _ => None,
        },
        _ => None,
    }
}
