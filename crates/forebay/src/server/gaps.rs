//! The actions `gap_list` and `gap_accept`, and partitions as `status` shows them: the pipeline's
//! answers as JSON.

use anyhow::Result;
use forebay_pipeline::SourceStatus;
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::App;

/// Body of `gap_accept`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AcceptBody {
    source: String,
    #[serde(default)]
    partition: Option<i32>,
}

pub(super) fn list(app: &App) -> Value {
    let halted: Vec<Value> = app
        .halts()
        .into_iter()
        .map(|h| {
            json!({"source": h.source, "partition": h.partition, "from": h.from, "to": h.to,
                   "code": h.halt.code, "reason": h.halt.reason})
        })
        .collect();
    json!({ "halted": halted })
}

pub(super) fn accept(app: &App, body: &AcceptBody) -> Result<Value> {
    let accepted: Vec<Value> = app
        .accept_gaps(&body.source, body.partition)?
        .into_iter()
        .map(|a| {
            tracing::warn!(
                source = a.source,
                topic = a.topic,
                partition = a.gap.partition,
                from = a.gap.from,
                to = a.gap.to,
                "a gap was accepted: these offsets will never be read"
            );
            json!({"source": a.source, "topic": a.topic, "partition": a.gap.partition,
                   "from": a.gap.from, "to": a.gap.to})
        })
        .collect();
    Ok(json!({ "accepted": accepted }))
}

pub(super) fn partitions(status: &SourceStatus) -> Vec<Value> {
    let partitions = status.partitions.iter();
    partitions
        .map(|p| {
            json!({"partition": p.partition, "applied": p.applied, "last_stable": p.last_stable,
                   "lag": p.lag, "halted": p.halted.as_ref().map(|halt| &halt.reason),
                   "code": p.halted.as_ref().map(|halt| halt.code), "waiting": p.waiting})
        })
        .collect()
}
