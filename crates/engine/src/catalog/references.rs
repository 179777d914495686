//! What a statement names: the objects that must be there before it, in the order in which they
//! count into its digest. Read from the parsed statement alone; the catalog looks them up and
//! refuses what is not there.

use crate::error::{EngineError, Location, Result};
use crate::parse::{
    Definition, ObjectKind, ServiceStatement, Statement, parse_query, refuse_clauses, relations,
};
use crate::service::REQUEST;

/// A name that a statement uses, and where.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) kind: ObjectKind,
    pub(super) name: String,
    pub(super) at: Location,
}

/// The references of `statement`.
///
/// # Errors
/// A view that reads more than one table, or none.
pub(super) fn references(statement: &Statement) -> Result<Vec<Reference>> {
    let at = || statement.at.clone();
    let named = |kind, name: &str| Reference {
        kind,
        name: name.to_owned(),
        at: at(),
    };
    Ok(match &statement.definition {
        Definition::Source(_) | Definition::Entity(_) | Definition::Drop { .. } => Vec::new(),
        Definition::View(view) => {
            let query = parse_query(&view.body)?;
            refuse_clauses(&statement.object(), &view.body, &query, false)?;
            let tables = relations(&query);
            let mut references = vec![named(ObjectKind::Entity, &view.entity)];
            let mut tables = tables.into_iter();
            let (Some(source), None) = (tables.next(), tables.next()) else {
                let message = "a feature view reads one source; write FROM source, and join views in a feature service";
                return Err(EngineError::refused(
                    view.body.locate(Some("FROM")),
                    &statement.object(),
                    message,
                ));
            };
            let at = view.body.locate(Some(&source));
            references.push(Reference {
                kind: ObjectKind::Source,
                name: source,
                at,
            });
            references
        }
        Definition::Service(service) => checked(statement, service)?
            .into_iter()
            .filter(|table| table != REQUEST)
            .map(|view| Reference {
                kind: ObjectKind::View,
                at: service.body.locate(Some(&view)),
                name: view,
            })
            .collect(),
        Definition::Model(model) => vec![named(ObjectKind::Service, &model.service)],
        Definition::Deployment(deployment) => {
            let version = |version: u32| format!("{}/{version}", deployment.model);
            let models = deployment
                .routes
                .iter()
                .map(|route| named(ObjectKind::Model, &version(route.version)));
            std::iter::once(named(ObjectKind::Source, &deployment.source))
                .chain(models)
                .collect()
        }
        Definition::Monitor(monitor, _) => monitor
            .labels
            .iter()
            .map(|labels| named(ObjectKind::Source, &labels.source))
            .collect(),
    })
}

/// The tables of a service's query, whose clauses are those that a service may have.
fn checked(
    statement: &Statement,
    service: &ServiceStatement,
) -> Result<std::collections::BTreeSet<String>> {
    let query = parse_query(&service.body)?;
    refuse_clauses(&statement.object(), &service.body, &query, true)?;
    Ok(relations(&query))
}
