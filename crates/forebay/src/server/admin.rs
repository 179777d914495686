//! What the command line asks of a running server by Flight's DoAction: `plan`, `apply`, `rebuild`,
//! `verify`, `status`, `gap_list`, `gap_accept`, and what workers ask: `register_worker`,
//! `unregister_worker`. Bodies and answers are JSON. Reached from loopback only (`serve` sees to
//! it).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use forebay_control::Phase;
use forebay_core::memory::Part;
use forebay_core::time::Micros;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_engine::{Change, DefinitionFile};
use forebay_infer::{REGISTER_WORKER_ACTION, UNREGISTER_WORKER_ACTION};
use forebay_pipeline::PipelineStatus;
use forebay_serve::AdminPort;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app::App;
use super::blocking::blocking;
use super::plannings::Caller;
use super::{gaps, rebuild, verify};
use crate::explanation::with_tiles;

/// Body of `plan` and `apply`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefinitionsBody {
    files: Vec<FileBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionBody {
    statement: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBody {
    path: String,
    text: String,
}

/// The actions over one [`App`].
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) Arc<App>);

#[async_trait]
impl AdminPort for Admin {
    fn actions(&self) -> Vec<(String, String)> {
        [
            ("plan", "what applying definitions would change; JSON {\"files\": [{\"path\", \"text\"}]}"),
            ("apply", "apply definitions; the same body"),
            ("answer", "SHOW, DESCRIBE or EXPLAIN over the definitions in force; JSON {\"statement\"}"),
            ("rebuild", "make the state of a view, or of all views of a source, anew from the archive; JSON {\"name\"}"),
            (
                "verify",
                "compare served values with the archive, bit for bit, and the archive with the log; JSON {\"service\", \"sample\", \"predictions\", \"log_records\", \"max_unverified\"}",
            ),
            ("gap_list", "sources and partitions that are not read, and why; JSON"),
            ("gap_accept", "accept the gaps of a source; JSON {\"source\", \"partition\"}"),
            ("status", "counters, watermarks and monitors; JSON"),
            (REGISTER_WORKER_ACTION, "an inference worker is there; JSON"),
            (UNREGISTER_WORKER_ACTION, "an inference worker leaves; JSON"),
        ]
        .map(|(name, words)| (name.to_owned(), words.to_owned()))
        .to_vec()
    }

    async fn call(&self, action: &str, body: &[u8]) -> PortResult<Vec<u8>> {
        match action {
            "plan" | "apply" => self.definitions(action == "apply", body).await,
            "verify" => json_bytes(&verify::run(&self.0, parse(action, body)?).await?),
            "rebuild" => {
                let (app, body) = (Arc::clone(&self.0), parse(action, body)?);
                json_bytes(&blocking(move || rebuild::run(&app, &body)).await?)
            }
            "answer" => self.answer(body).await,
            "status" => self.status().await,
            "gap_list" => json_bytes(&gaps::list(&self.0)),
            "gap_accept" => {
                let (app, body) = (Arc::clone(&self.0), parse(action, body)?);
                json_bytes(&blocking(move || gaps::accept(&app, &body)).await?)
            }
            REGISTER_WORKER_ACTION | UNREGISTER_WORKER_ACTION => self.worker(action, body),
            other => Err(PortError::not_found(format!("there is no action {other}"))),
        }
    }
}

impl Admin {
    async fn definitions(&self, apply: bool, body: &[u8]) -> PortResult<Vec<u8>> {
        let body: DefinitionsBody = parse(if apply { "apply" } else { "plan" }, body)?;
        let files: Vec<DefinitionFile> = body
            .files
            .into_iter()
            .map(|f| DefinitionFile {
                path: f.path,
                text: f.text,
            })
            .collect();
        let app = Arc::clone(&self.0);
        // Dropped with this call, also where the caller leaves before the answer is there.
        let (caller, _here) = Caller::while_here();
        let changes: Vec<Change> = blocking(move || {
            if apply {
                app.apply(&files, &caller)
            } else {
                app.plan(&files, &caller)
            }
        })
        .await?;
        json_bytes(&json!({ "changes": changes }))
    }

    async fn answer(&self, body: &[u8]) -> PortResult<Vec<u8>> {
        let QuestionBody { statement } = parse("answer", body)?;
        let catalog = self.0.catalog();
        let answer = blocking(move || Ok(with_tiles(&catalog, catalog.answer(&statement)?)));
        json_bytes(&answer.await?)
    }

    async fn status(&self) -> PortResult<Vec<u8>> {
        let app = Arc::clone(&self.0);
        let damaged = app.archive.damaged();
        let answer = blocking(move || {
            let (status, phase) = (app.status(), app.life.phase());
            let sources: BTreeMap<&String, _> = status
                .sources
                .iter()
                .map(|(name, s)| {
                    let fields = json!({
                        "rows": s.rows,
                        "dead_letters": s.dead_letters,
                        "left_out": left_out_of(&status, name),
                        "lag_records": s.lag_records,
                        "watermark_us": s.watermark_us,
                        "state": s.state.label(),
                        "reason": s.state.reason(),
                        "code": s.state.code(),
                        "partitions": gaps::partitions(s),
                    });
                    (name, fields)
                })
                .collect();
            let deployments: BTreeMap<&String, _> = status
                .deployments
                .iter()
                .map(|(name, d)| {
                    let fields = json!({"state": d.state().label(), "reason": d.reason(), "pending": d.pending,
                                        "pending_bytes": d.pending_bytes, "in_flight": d.in_flight,
                                        "outbox": d.outbox, "oldest_us": d.oldest_us,
                                        "oldest_age_us": d.oldest_age_us, "predictions": d.predictions,
                                        "unscored": d.unscored, "without_offsets": d.without_offsets});
                    (name, fields)
                })
                .collect();
            Ok(json!({
                "rows": status.rows, "epochs": status.epochs, "late_rows": status.late_rows,
                "archived_rows": status.archived_rows, "predictions": status.predictions,
                "unscored": status.unscored, "repeats": status.repeats, "scores_waiting": status.scores_waiting,
                "failed": status.failed, "failing": status.failing, "sources": sources, "deployments": deployments, "monitors": app.reports(),
                "phase": phase_words(&phase), "change": change_under_way(&phase, app.clock.now_us()),
                "suspended": app.set_aside(),
                "damaged_files": damaged, "memory": memory_of(&app),
            }))
        })
        .await?;
        json_bytes(&answer)
    }

    fn worker(&self, action: &str, body: &[u8]) -> PortResult<Vec<u8>> {
        let registry = self.0.scorer.pool().registry();
        let answer = registry.handle_action(action, body, Instant::now())?;
        Ok(answer.to_vec())
    }
}

/// Of each view of `source` that leaves out rows their number.
fn left_out_of<'a>(status: &'a PipelineStatus, source: &str) -> BTreeMap<&'a str, u64> {
    let of_source = status.left_out.iter().filter(|((of, _), _)| of == source);
    of_source
        .map(|((_, view), rows)| (view.as_str(), *rows))
        .collect()
}

/// The limit, and what each part holds, may hold and was refused, as `status` says it.
fn memory_of(app: &App) -> Value {
    let parts = Part::ALL.map(|part| {
        let (budget, label) = (&app.budget, part.label());
        let fields = json!({"bytes": budget.used_bytes(part), "most_bytes": budget.most_bytes(part),
                            "refused": budget.refused(part)});
        (label, fields)
    });
    json!({ "limit_bytes": app.shares.limit, "parts": BTreeMap::from(parts) })
}

/// What the server does now, as `status` says it.
fn phase_words(phase: &Phase) -> String {
    match phase {
        Phase::Starting => "starting".to_owned(),
        Phase::Running => "running".to_owned(),
        Phase::Changing { step, rows, .. } => {
            let rows = rows.map(|(done, all)| format!(" ({done} of {all} rows)"));
            format!("changing: {step}{}", rows.unwrap_or_default())
        }
        Phase::Stopping => "stopping".to_owned(),
    }
}

/// The step of a change that is under way, for `forebay status`; None without one.
fn change_under_way(phase: &Phase, now_us: Micros) -> Option<Value> {
    let Phase::Changing {
        step,
        rows,
        since_us,
        ..
    } = phase
    else {
        return None;
    };
    let (done, expected) = rows.unzip();
    let elapsed_ms = now_us.saturating_sub(*since_us).max(0) / 1_000;
    Some(json!({"step": step, "rows": done, "expected_rows": expected, "elapsed_ms": elapsed_ms}))
}

fn parse<'a, T: Deserialize<'a>>(action: &str, body: &'a [u8]) -> PortResult<T> {
    serde_json::from_slice(body).map_err(|e| {
        PortError::with_source(
            ErrorKind::InvalidArgument,
            format!("the body of action {action} is not what it takes: {e}"),
            e,
        )
    })
}

fn json_bytes(value: &impl Serialize) -> PortResult<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|e| PortError::with_source(ErrorKind::Internal, "an answer cannot be encoded", e))
}
