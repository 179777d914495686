//! DoAction: what is asked once in a while. `health` and `services` are answered here; every other
//! action goes to the administration port that the binary gave, and only from loopback. An action
//! may take its time: it runs as the stream of its results, not as the call that opens it, which
//! has a time limit.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_flight::{Action, ActionType};
use bytes::Bytes;
use futures::TryFutureExt;
use serde_json::json;
use tonic::Status;

use super::get::service_json;
use super::shared::{Answers, Shared};
use crate::error::ServeError;
use crate::phase::Phase;

/// Bytes of one result message; a longer answer comes in several, to be joined.
const RESULT_MAX_BYTES: usize = 1 << 20;

const OWN: [(&str, &str); 2] = [
    ("health", "whether the server serves; JSON"),
    (
        "services",
        "the feature services with their request columns and features; JSON",
    ),
];

/// Every action that [`do_action`] knows.
pub(super) fn list(shared: &Shared) -> Vec<ActionType> {
    let own = OWN
        .iter()
        .map(|(name, description)| ((*name).to_owned(), (*description).to_owned()));
    let admin = shared
        .services
        .admin
        .iter()
        .flat_map(|admin| admin.actions());
    own.chain(admin)
        .map(|(r#type, description)| ActionType {
            r#type,
            description,
        })
        .collect()
}

/// Carry out one action; the stream is its results.
pub(super) fn do_action(
    shared: Arc<Shared>,
    peer: Option<SocketAddr>,
    action: Action,
) -> Answers<arrow_flight::Result> {
    let results = async move {
        let body = perform(&shared, peer, action).await?;
        Ok::<_, Status>(futures::stream::iter(split(&body).into_iter().map(Ok)))
    };
    Box::pin(results.try_flatten_stream())
}

async fn perform(
    shared: &Arc<Shared>,
    peer: Option<SocketAddr>,
    action: Action,
) -> Result<Bytes, Status> {
    match action.r#type.as_str() {
        "health" => {
            let phase = *shared.phase.borrow();
            let status = if phase == Phase::Serving {
                "serving"
            } else {
                "going_away"
            };
            Ok(
                json!({"status": status, "services": shared.services.reader.services().len()})
                    .to_string()
                    .into(),
            )
        }
        "services" => {
            let reader = shared.services.reader.as_ref();
            let services = reader
                .services()
                .into_iter()
                .filter_map(|name| reader.service(&name).ok());
            Ok(
                json!({"services": services.map(|s| service_json(s.as_ref())).collect::<Vec<_>>()})
                    .to_string()
                    .into(),
            )
        }
        _ => administer(shared, peer, action).await,
    }
}

async fn administer(
    shared: &Arc<Shared>,
    peer: Option<SocketAddr>,
    action: Action,
) -> Result<Bytes, Status> {
    let admin = shared.services.admin.as_ref().filter(|admin| {
        admin
            .actions()
            .iter()
            .any(|(name, _)| *name == action.r#type)
    });
    let Some(admin) = admin.map(Arc::clone) else {
        let known = list(shared)
            .into_iter()
            .map(|a| a.r#type)
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Status::unimplemented(format!(
            "there is no action {:?}; known actions: {known}",
            action.r#type
        )));
    };
    if !peer.is_some_and(|peer| peer.ip().is_loopback()) {
        return Err(Status::permission_denied(format!(
            "action {} is for the local operator; call it from the server's own machine",
            action.r#type
        )));
    }
    tracing::debug!(action = %action.r#type, body_bytes = action.body.len(), "administration");
    let name = action.r#type.clone();
    let answer = shared
        .on_control(async move { admin.call(&action.r#type, &action.body).await })
        .await;
    match answer {
        Some(answer) => answer
            .map(Bytes::from)
            .map_err(|error| ServeError::Port(error).to_status()),
        None => Err(Status::internal(format!(
            "action {name} was given up; see the server's log"
        ))),
    }
}

fn split(body: &Bytes) -> Vec<arrow_flight::Result> {
    if body.is_empty() {
        return vec![arrow_flight::Result::new(Bytes::new())];
    }
    (0..body.len())
        .step_by(RESULT_MAX_BYTES)
        .map(|from| {
            arrow_flight::Result::new(body.slice(from..body.len().min(from + RESULT_MAX_BYTES)))
        })
        .collect()
}
