//! How a client reads: what an exchange fixes when it opens, and what each request may ask for.
//! Plain values; the client turns them into messages.

use std::time::Duration;

use forebay_core::time::Micros;

/// How to read. An exchange fixes the shape of its answers (`version`, `fingerprint`,
/// `with_status`, `with_event_time`) when it opens; the rest is for each request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Instant of the read; None is the present, as the server's clock has it.
    pub at_us: Option<Micros>,
    /// How long after its arrival the answer is still wanted.
    pub deadline: Option<Duration>,
    /// In an exchange: also send the offsets that each epoch had applied.
    pub full_applied: bool,
    /// Version of the service; 0 is the newest.
    pub version: u32,
    /// Refuse a service with another fingerprint; empty does not check.
    pub fingerprint: String,
    /// Add a column `<alias>__status` for each view.
    pub with_status: bool,
    /// Add a column `<alias>__event_time` for each view.
    pub with_event_time: bool,
}
