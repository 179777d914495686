//! Rust types of the messages in `/proto`, generated at build time; nothing else lives here.
//!
//! `flight.proto` holds what travels in tickets, descriptors and `app_metadata` on the feature
//! port, `worker.proto` what the server and an inference worker exchange. The meaning of every
//! field is in those files.

/// Package `forebay.v1`.
#[allow(
    missing_docs,
    clippy::all,
    reason = "generated from /proto, whose comments are the documentation"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/forebay.v1.rs"));
}
