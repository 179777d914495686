//! The action `rebuild`: the state of views is made anew from the archive. For the planner it is a
//! change to the same definitions with other states ([`Catalog::renewed`]), so that it is filled
//! beside ingest, switched and undone as any change is; until the switch reads are answered from
//! the state before, which a restart goes on with as well.
//!
//! [`Catalog::renewed`]: forebay_engine::Catalog::renewed

use anyhow::Result;
use forebay_core::{ErrorKind, PortError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app::App;
use super::suspended::Suspended;
use super::wiring::Binding;

/// Body of `rebuild`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RebuildBody {
    /// A view, or a source: then all views that read it.
    name: String,
}

/// A view whose state was made anew.
#[derive(Debug, Serialize)]
struct Rebuilt {
    view: String,
    version: u32,
    /// Archived rows that were read for it.
    rows: u64,
}

pub(super) fn run(app: &App, body: &RebuildBody) -> Result<Value> {
    let rebuilt = rebuild(app, &body.name)?;
    for Rebuilt { view, rows, .. } in &rebuilt {
        tracing::info!(view, rows, "the state of a view was made anew");
    }
    Ok(json!({ "rebuilt": rebuilt }))
}

/// Make the state of the views that `name` stands for anew.
fn rebuild(app: &App, name: &str) -> Result<Vec<Rebuilt>> {
    let _changing = app.alone_to_rebuild()?;
    let current = app.catalog();
    let views = current.views_of(name)?;
    if !app.is_ingesting() {
        app.start_again(&current);
    }
    if !app.is_ingesting() {
        let words = "ingest does not run, and a view is filled up to where it stands; the log says \
                     why: mend that, then rebuild";
        return Err(PortError::new(ErrorKind::FailedPrecondition, words).into());
    }
    let next = current.renewed(&views)?;
    // The definitions are in force: what of them was set aside stays aside, and nothing else.
    let wiring = app.bind(&next, Binding::Lenient)?;
    refuse_losses(&wiring.suspended, &app.suspended())?;
    let versions: Vec<(String, u32)> = views
        .iter()
        .map(|view| (view.clone(), next.views()[view].spec().version))
        .collect();
    let filled = app.switch((current, next), wiring, true)?;
    let rows = |view: &str| filled.get(view).copied().unwrap_or_default();
    let rebuilt = versions.into_iter().map(|(view, version)| Rebuilt {
        rows: rows(&view),
        view,
        version,
    });
    Ok(rebuilt.collect())
}

/// Refuse a rebuild that would set aside a model or monitor which works now.
fn refuse_losses(next: &[Suspended], now: &[Suspended]) -> Result<()> {
    let is_aside = |part: &&Suspended| now.iter().any(|known| known.is_same(part));
    let Some(Suspended { kind, name, reason }) = next.iter().find(|part| !is_aside(part)) else {
        return Ok(());
    };
    let words = format!(
        "{kind} {name} works and could not be opened again, so that a rebuild would set it aside: \
         {reason}; mend that, then rebuild"
    );
    Err(PortError::new(ErrorKind::FailedPrecondition, words).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebuild_that_would_set_aside_what_works_is_refused_with_the_reason() {
        let part = |name: &str| Suspended {
            kind: "model",
            name: name.to_owned(),
            reason: "its directory is gone".to_owned(),
        };
        assert!(refuse_losses(&[], &[part("m version 1")]).is_ok());
        assert!(refuse_losses(&[part("m version 1")], &[part("m version 1")]).is_ok());
        let both = [part("m version 1"), part("m version 2")];
        let error = refuse_losses(&both, &both[..1]).expect_err("version 2 works");
        let words = error.to_string();
        assert!(words.contains("model m version 2 works"), "{words}");
        assert!(words.contains("its directory is gone"), "{words}");
    }
}
