//! Who carries out administration. Serving knows neither the actions nor their bodies: it lists
//! what the binary offers and passes bytes both ways.

use std::fmt::Debug;

use async_trait::async_trait;
use forebay_core::PortResult;

/// Administration, for the command line: `plan`, `apply`, `verify`, `status` and what else the
/// binary offers. Reached by Flight's DoAction, from loopback only.
#[async_trait]
pub trait AdminPort: Send + Sync + Debug {
    /// Names and one-sentence descriptions of the actions, for listings.
    fn actions(&self) -> Vec<(String, String)>;

    /// Carry out `action` with `body` (JSON unless the action says otherwise) and return its
    /// answer.
    ///
    /// # Errors
    /// Unknown action (`NotFound`), a malformed body (`InvalidArgument`), or what the action runs
    /// into.
    async fn call(&self, action: &str, body: &[u8]) -> PortResult<Vec<u8>>;
}
