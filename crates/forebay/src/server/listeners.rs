//! The listeners of one process over one [`App`]: Arrow Flight with its administration, HTTP with
//! metrics and health, and the thread that keeps the metrics fresh. Flight drains first, so that
//! metrics and health are answered until the end.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use forebay_core::ports::StateReader;
use forebay_serve::{FlightServer, FlightServices, HttpConfig, HttpServer};

use tokio::runtime::Handle;

use super::admin::Admin;
use super::app::App;
use super::exposition::Exposition;

/// The listeners of one process.
#[derive(Debug)]
pub(crate) struct Listeners {
    flight: FlightServer,
    http: HttpServer,
    exposition: Exposition,
}

impl Listeners {
    /// Bind and serve.
    ///
    /// # Errors
    /// An address beyond loopback or in use.
    pub(crate) fn start(app: &Arc<App>) -> Result<Self> {
        let settings = &app.settings.server;
        let reader = Arc::<forebay_serve::ServiceReader>::clone(&app.reader);
        let mut services = FlightServices::new(
            reader,
            Arc::clone(&app.clock),
            Arc::clone(&app.metrics),
            Arc::clone(&app.budget),
        );
        let store: Arc<dyn StateReader> = Arc::<forebay_online::RocksStore>::clone(&app.store);
        services.gaps = Arc::<forebay_serve::LogGaps>::clone(&app.gaps);
        services.store = Some(store);
        services.sink = Some(Arc::<super::sink::TopicSink>::clone(&app.sink));
        services.admin = Some(Arc::new(Admin(Arc::clone(app))));
        let config = settings.flight(app.connections);
        let flight = {
            // On the runtime, so that administration runs there and never holds up a read.
            let _runtime = app.runtime.enter();
            FlightServer::start(config, services)?
        };
        let mut http_config = HttpConfig::new(
            settings.http_addr,
            app.reads.clone(),
            Arc::clone(&app.metrics),
        );
        http_config.ingest = app.ingest.clone();
        http_config.connections = app.connections;
        let http = app.runtime.block_on(HttpServer::start(http_config))?;
        let exposition = Exposition::start(Arc::clone(app))?;
        Ok(Self {
            flight,
            http,
            exposition,
        })
    }

    /// Where Flight listens.
    #[must_use]
    pub(crate) fn flight_addr(&self) -> SocketAddr {
        self.flight.local_addr()
    }

    /// Where HTTP listens.
    #[must_use]
    pub(crate) fn http_addr(&self) -> SocketAddr {
        self.http.local_addr()
    }

    /// Drain and stop.
    pub(crate) fn stop(self, runtime: &Handle) {
        runtime.block_on(self.flight.shutdown());
        runtime.block_on(self.http.shutdown());
        self.exposition.stop();
    }
}
