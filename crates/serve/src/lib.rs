//! Serving: the listeners and the protocols of Forebay.
//!
//! A request walks: [`runtime`] (one current-thread runtime a core, Arrow Flight over h2) ->
//! [`flight`] (tickets, exchanges, pushes, actions) -> `ticket` and `ipc` (untrusted bytes become
//! typed rows, behind caps) -> [`read`] (rows become features through core's ports) -> `answer`
//! (features become Arrow messages). [`http`] answers people and probes: metrics, health,
//! readiness. [`client`] is the other end, for the command line and the benchmarks.
//!
//! Nothing here knows an adapter: the binary hands over ports (see [`ports`]). No definition is
//! compiled, and no wall clock is read, on the way of a request but through the clock that was
//! handed over.

#![allow(
    clippy::disallowed_methods,
    reason = "listeners and deadlines of requests are of the real world"
)]

pub mod client;
pub mod error;
pub mod flight;
pub mod http;
mod phase;
pub mod ports;
pub mod read;
pub mod runtime;

mod accept;
pub mod answer;
mod cells;
mod columns;
mod failed;
mod gaps;
mod ipc;
mod receive;
mod recorder;
mod ticket;

pub use client::{Answer, FeatureExchange, FlightClient, ReadOptions, ServiceInfo};
pub use error::{ServeError, ServeResult};
pub use failed::{FailedCell, FailedCells};
pub use flight::FlightServices;
pub use gaps::{LogGap, LogGaps};
pub use http::{HttpConfig, HttpServer, Readiness};
pub use ports::{AdminPort, EventSink, PushReceipt, Watermarks};
pub use read::ServiceReader;
pub use runtime::{FlightServer, FlightServerConfig};
