//! `CREATE FEATURE SERVICE`: what one request is answered with, of the features of views. It holds
//! the views that it joins, and is compiled anew where one of them is.

use std::ptr;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Query;
use forebay_core::ports::{CompiledService as _, CompiledView};
use forebay_core::source::sql_name;
use serde_json::json;

use super::clauses::{Clauses, Kind};
use crate::catalog::answer::{Answer, AnswerTable, names};
use crate::catalog::build::{Builder, Identity, Meaning, Proof};
use crate::catalog::compiled::Compiled;
use crate::catalog::inner::{Entry, Inner};
use crate::catalog::references::Reference;
use crate::error::Result;
use crate::parse::{
    Definition, ObjectKind, ServiceStatement, Statement, parse_query, refuse_clauses, relations,
};
use crate::service::{REQUEST, SavedService, Service, ServiceIdentity};
use crate::session::plain_schema;

pub(super) const KIND: Kind = Kind {
    kind: ObjectKind::Service,
    words: &["FEATURE", "SERVICE"],
    plural: "SERVICES",
    name: "feature service",
    clauses: |cursor, _| Ok(Definition::Service(cursor.service()?)),
};

impl Clauses for ServiceStatement {
    fn references(&self, statement: &Statement) -> Result<Vec<Reference>> {
        let query = parse_query(&self.body)?;
        refuse_clauses(&statement.object(), &self.body, &query, true)?;
        let views = relations(&query)
            .into_iter()
            .filter(|table| table != REQUEST);
        let named = |view: String| Reference {
            kind: ObjectKind::View,
            at: self.body.locate(Some(&view)),
            name: view,
        };
        Ok(views.map(named).collect())
    }

    fn calls_functions(&self) -> bool {
        true
    }

    fn query(&self, _statement: &Statement) -> Result<Option<Query>> {
        parse_query(&self.body).map(Some)
    }

    fn compile(
        &self,
        builder: &mut Builder<'_>,
        statement: &Statement,
        identity: &Identity,
        meaning: Meaning<'_>,
    ) -> Result<Option<Compiled>> {
        let of = ServiceIdentity {
            name: statement.name.clone(),
            version: identity.version,
            digest: builder.meaning(statement)?,
        };
        let columns = self.request.iter();
        let request = plain_schema(columns.map(|c| (c.name.clone(), c.data_type.clone())));
        let known = of.clone();
        let restore = |builder: &Builder<'_>, saved: SavedService| {
            saved.restored(known, &builder.after.own_views)
        };
        let service = builder.restored_or(statement, meaning, restore, |builder| {
            Service::compile(&builder.session, of, self, &builder.after.own_views)
        })?;
        builder.proven(statement, Proof::of_service(&service, &request))?;
        let compiled = Compiled::of(meaning.digest, service.saved());
        builder
            .after
            .insert_service(&statement.name, Arc::new(service));
        Ok(compiled)
    }

    fn take_over(&self, name: &str, from: &Inner, after: &mut Inner) {
        if let Some(service) = from.own_services.get(name) {
            after.insert_service(name, Arc::clone(service));
        }
    }

    fn moved(&self, entry: &Entry, from: &Inner, builder: &Builder<'_>) -> Result<Option<String>> {
        let is_new = |view: &Arc<dyn CompiledView>| {
            let now = builder.after.own_views.get(&view.spec().name);
            now.is_none_or(|now| !ptr::addr_eq(Arc::as_ptr(now), Arc::as_ptr(view)))
        };
        let service = from.own_services.get(&entry.state.name);
        let service = service.filter(|service| service.views().iter().any(is_new));
        Ok(service.map(|_| entry.state.digest.clone()))
    }

    fn describe(&self, name: &str, inner: &Inner) -> Answer {
        let service = inner.own_services.get(name);
        service.map_or_else(Answer::default, |service| told(service))
    }
}

fn told(service: &Service) -> Answer {
    let spec = service.spec();
    let mut views = AnswerTable::new("views", &["alias", "view", "version", "by"]);
    for binding in &spec.views {
        let by = binding
            .key_columns
            .iter()
            .map(|index| &spec.request[*index]);
        views.rows.push(vec![
            json!(binding.alias),
            json!(binding.view.name),
            json!(binding.view.version),
            json!(names(by)),
        ]);
    }
    let mut features = AnswerTable::new("features", &["name", "type", "reads"]);
    for (feature, reads) in spec.features.iter().zip(service.reads()) {
        let read = reads.iter().map(|read| {
            let of = service.views()[read.view].features();
            format!(
                "{}.{}",
                spec.views[read.view].alias,
                of.field(read.feature).name()
            )
        });
        let read: Vec<String> = read.collect();
        features.rows.push(vec![
            json!(feature.name),
            json!(sql_name(&feature.data_type)),
            json!(read.join(", ")),
        ]);
    }
    let joined: Vec<&str> = spec.views.iter().map(|b| b.view.name.as_str()).collect();
    Answer::of(
        [
            ("request", json!(names(&spec.request))),
            ("views", json!(joined.join(", "))),
            ("features", json!(spec.features.len())),
            ("fingerprint", json!(spec.fingerprint)),
        ],
        vec![
            AnswerTable::of_columns("request", &spec.request),
            views,
            features,
        ],
    )
}
