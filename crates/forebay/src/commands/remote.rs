//! A running server as a command sees it: one connection, questions in JSON with typed answers,
//! reads. What the server says is passed on as it is; whoever does not answer is named with the
//! remedy.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_serve::FlightClient;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::progress::{Phase, Phases};

/// Time between two looks at a change that is under way; one that is shorter shows nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a look may take.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// What is read of `status`.
#[derive(Debug, Deserialize)]
struct Status {
    change: Option<Phase>,
}

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

    /// Ask `action`, which changes the definitions or their state and may take long: meanwhile its
    /// steps are shown on standard error, as `status` tells them.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        action: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let mut phases = Phases::default();
        let mut answer = pin!(self.ask(action, body));
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                () = sleep(LOOK_EVERY) => {}
            }
            // A look that fails says nothing of the change, whose own answer is waited for.
            let status = timeout(LOOK_MAX, self.ask::<Status>("status", &json!({}))).await;
            if let Ok(Ok(Status {
                change: Some(phase),
            })) = status
            {
                phases.at(&phase);
            }
        }
    }

    /// The connection, for reads.
    pub(super) fn client(&self) -> &FlightClient {
        &self.client
    }
}
