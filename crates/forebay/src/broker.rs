//! Which broker a process works with: a word of the settings and of the command line alike. How
//! each is started is the server's business.

use serde::{Deserialize, Serialize};

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Broker {
    /// A cluster at `bootstrap`.
    Kafka,
    /// In this process; forgets everything at its end.
    Embedded,
}
