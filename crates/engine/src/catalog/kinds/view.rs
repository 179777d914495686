//! `CREATE FEATURE VIEW`: features of an entity over one source. Compiled over the source's
//! columns, and anew where those stand at other places.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Query;
use forebay_core::limits::CATALOG_MAX_VIEWS;
use forebay_core::ports::CompiledView as _;
use forebay_core::source::sql_name;
use serde_json::{Value as Json, json};

use super::clauses::{Clauses, Kind, Named, words_of};
use crate::catalog::answer::{Answer, AnswerTable, length, names, window};
use crate::catalog::build::{Builder, Identity, Meaning, Proof};
use crate::catalog::checks::refuse;
use crate::catalog::compiled::Compiled;
use crate::catalog::inner::{Entry, Inner};
use crate::catalog::references::Reference;
use crate::error::{EngineError, Result};
use crate::parse::{
    Definition, ObjectKind, Statement, ViewStatement, parse_query, refuse_clauses, relations,
};
use crate::service::REQUEST;
use crate::view::{SavedView, View, ViewIdentity};

pub(super) const KIND: Kind = Kind {
    kind: ObjectKind::View,
    words: &["FEATURE", "VIEW"],
    plural: "VIEWS",
    name: "feature view",
    clauses: |cursor, _| Ok(Definition::View(cursor.view()?)),
};

impl Clauses for ViewStatement {
    /// # Errors
    /// It reads more than one table, or none.
    fn references(&self, statement: &Statement) -> Result<Vec<Reference>> {
        let query = parse_query(&self.body)?;
        refuse_clauses(&statement.object(), &self.body, &query, false)?;
        let tables = relations(&query);
        let mut references = vec![Reference::of(ObjectKind::Entity, &self.entity, statement)];
        let mut tables = tables.into_iter();
        let (Some(source), None) = (tables.next(), tables.next()) else {
            let message = "a feature view reads one source; write FROM source, and join views in a feature service";
            return Err(EngineError::refused(
                self.body.locate(Some("FROM")),
                &statement.object(),
                message,
            ));
        };
        let at = self.body.locate(Some(&source));
        references.push(Reference {
            kind: ObjectKind::Source,
            name: source,
            at,
        });
        Ok(references)
    }

    fn calls_functions(&self) -> bool {
        true
    }

    fn query(&self, _statement: &Statement) -> Result<Option<Query>> {
        parse_query(&self.body).map(Some)
    }

    fn named(&self, _statement: &Statement, _inner: &Inner) -> Named {
        words_of(&self.body)
    }

    fn compile(
        &self,
        builder: &mut Builder<'_>,
        statement: &Statement,
        identity: &Identity,
        meaning: Meaning<'_>,
    ) -> Result<Option<Compiled>> {
        check_room(statement, &builder.after)?;
        let (source, entity) = builder.tables_of(statement, &self.entity)?;
        let id = identity
            .view_id
            .ok_or_else(|| EngineError::Internal("a view without an id".to_owned()))?;
        let of = ViewIdentity {
            id,
            name: statement.name.clone(),
            version: identity.version,
            digest: meaning.digest.to_owned(),
        };
        let restore = |_: &Builder<'_>, saved: SavedView| saved.restored(id, &source);
        let view = builder.restored_or(statement, meaning, restore, |builder| {
            View::compile(&builder.session, of, self, &source, &entity)
        })?;
        builder.proven(statement, Proof::of_view(&view))?;
        let compiled = Compiled::of(meaning.digest, view.saved());
        builder.after.insert_view(&statement.name, Arc::new(view));
        Ok(compiled)
    }

    fn take_over(&self, name: &str, from: &Inner, after: &mut Inner) {
        if let Some(view) = from.own_views.get(name) {
            after.insert_view(name, Arc::clone(view));
        }
    }

    fn moved(&self, entry: &Entry, from: &Inner, builder: &Builder<'_>) -> Result<Option<String>> {
        let (source, _) = builder.tables_of(&entry.statement, &self.entity)?;
        let view = from.own_views.get(&entry.state.name);
        let view = view.filter(|view| view.source().columns != source.columns);
        Ok(view.map(|view| view.definition().to_owned()))
    }

    fn describe(&self, name: &str, inner: &Inner) -> Answer {
        let view = inner.own_views.get(name);
        view.map_or_else(Answer::default, |view| told(view))
    }
}

fn check_room(statement: &Statement, inner: &Inner) -> Result<()> {
    if statement.name == REQUEST {
        let message = "services read the request by this name; give the view another one";
        return refuse(statement, message);
    }
    if inner.own_views.len() >= CATALOG_MAX_VIEWS {
        let message = format!(
            "a catalog has at most {CATALOG_MAX_VIEWS} feature views (CATALOG_MAX_VIEWS); drop some"
        );
        return Err(EngineError::Limit {
            at: statement.at.clone(),
            message,
        });
    }
    Ok(())
}

fn told(view: &View) -> Answer {
    let spec = view.spec();
    let features = view.features();
    let mut table = AnswerTable::new("features", &["name", "type", "aggregates"]);
    for (field, aggregates) in features.fields().iter().zip(view.aggregates()) {
        let read = aggregates.iter().map(|index| {
            let aggregate = &spec.aggregates[*index];
            format!("{} {}", aggregate.kind.name(), window(aggregate.window))
        });
        let read: Vec<String> = read.collect();
        table.rows.push(vec![
            json!(field.name()),
            json!(sql_name(field.data_type())),
            json!(read.join("; ")),
        ]);
    }
    Answer::of(
        [
            ("entity", json!(spec.entity)),
            ("key", json!(names(&spec.key))),
            ("source", json!(spec.source)),
            ("features", json!(features.fields().len())),
            (
                "ttl",
                spec.ttl_us.map_or(Json::Null, |ttl| json!(length(ttl))),
            ),
            ("id", json!(spec.id)),
        ],
        vec![AnswerTable::of_columns("key", &spec.key), table],
    )
}
