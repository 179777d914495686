//! `[server]`: defaults, bounds, and how the listener of Flight is set up. Owns no key (those are
//! in [`super`], from which the pages are written) and starts nothing: `server` does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_core::limits::SERVING_THREADS_MAX;
use forebay_serve::FlightServerConfig;

use super::{STOP_WAITS_MAX_MS, Server, within};

/// Fewest `server.runtime_threads`.
const RUNTIME_THREADS_MIN: usize = 2;
/// Most `server.runtime_threads`.
const RUNTIME_THREADS_MAX: usize = 256;

impl Default for Server {
    fn default() -> Self {
        Self {
            data_dir: "forebay-data".into(),
            sql: PathBuf::new(),
            model_root: ".".into(),
            flight_addr: SocketAddr::from(([127, 0, 0, 1], 8815)),
            http_addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            flight_threads: 2,
            runtime_threads: 2,
            shutdown_grace_ms: 5_000,
            name: "forebay".into(),
        }
    }
}

impl Server {
    /// Refuse values that contradict limits.
    pub(super) fn validate(&self) -> Result<()> {
        within(
            "server.flight_threads",
            self.flight_threads,
            1,
            SERVING_THREADS_MAX,
        )?;
        within(
            "server.runtime_threads",
            self.runtime_threads,
            RUNTIME_THREADS_MIN,
            RUNTIME_THREADS_MAX,
        )?;
        within(
            "server.shutdown_grace_ms",
            self.shutdown_grace_ms,
            0,
            STOP_WAITS_MAX_MS,
        )?;
        ensure!(!self.name.is_empty(), "server.name is empty");
        Ok(())
    }

    /// How Flight listens. How many `connections` there may be follows from the descriptors that
    /// the system grants, so that no setting can promise more.
    pub(crate) fn flight(&self, connections: usize) -> FlightServerConfig {
        FlightServerConfig {
            address: self.flight_addr,
            threads: self.flight_threads,
            grace: Duration::from_millis(self.shutdown_grace_ms),
            connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reaches_the_listener() {
        let server = Server {
            flight_addr: SocketAddr::from(([127, 0, 0, 2], 7)),
            flight_threads: 3,
            shutdown_grace_ms: 11,
            ..Server::default()
        };
        server.validate().expect("within its bounds");
        let config = server.flight(13);
        assert_eq!(config.address, server.flight_addr);
        assert_eq!((config.threads, config.connections), (3, 13));
        assert_eq!(config.grace, Duration::from_millis(11));
        let (ours, theirs) = (
            Server::default().flight(1),
            FlightServerConfig::new(server.flight_addr),
        );
        assert_eq!(ours.grace, theirs.grace, "the default is the listener's");
    }
}
