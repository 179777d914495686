//! What the HTTP listener says when it does not answer as asked: a status, a stable code and words,
//! as JSON. Every handler and guard refuses through here.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error as JSON.
pub(super) fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({"error": code, "message": message}))).into_response()
}
