//! A running server as a command sees it: one connection, questions in JSON with typed answers,
//! reads. What the server says is passed on as it is; whoever does not answer is named with the
//! remedy.

use anyhow::{Context, Result};
use forebay_serve::FlightClient;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    client: FlightClient,
    address: String,
}

impl Remote {
    /// Connect to the server at `address`, `HOST:PORT`.
    ///
    /// # Errors
    /// Nobody answers there.
    pub(super) async fn connect(address: &str) -> Result<Self> {
        Ok(Self {
            client: FlightClient::connect(address).await?,
            address: address.to_owned(),
        })
    }

    /// Ask `action` with `body`.
    ///
    /// # Errors
    /// What the server answers; an answer of another shape.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        action: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let answer = self
            .client
            .action(action, serde_json::to_vec(body)?)
            .await?;
        serde_json::from_slice(&answer).with_context(|| {
            format!(
                "the server at {} answers '{action}' in another form: is it of another version?",
                self.address
            )
        })
    }

    /// The connection, for reads.
    pub(super) fn client(&self) -> &FlightClient {
        &self.client
    }
}
