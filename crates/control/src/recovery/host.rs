//! The server around recovery, as a port: what it tells of ingest and of its tables, and how it
//! begins ingest anew. The loop decides when; the server says whether it has come about.

use forebay_core::PortResult;

use crate::aside::{Aside, WantedTable};

/// Why ingest is to begin anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It has ended by itself.
    Ended,
    /// Of these, which were set aside, a table can be used again.
    Mended(Aside),
}

/// What recovery asks of the server.
pub trait RecoveryHost: Sync {
    /// Whether somebody changes the definitions: that starts ingest itself, or reports why not.
    fn is_changing(&self) -> bool;

    /// Why ingest has ended by itself; None where it runs, and where it stands for a table that
    /// every source needs.
    fn ended(&self) -> Option<String>;

    /// What is set aside, and those of the tables that are sources'.
    fn aside(&self) -> (Aside, Vec<WantedTable>);

    /// Begin ingest anew, unless somebody changes the definitions, or `cause` holds no more by now.
    /// Whether that came about, [`Self::ended`] tells.
    ///
    /// # Errors
    /// The start could not be tried.
    fn begin_anew(&self, cause: Cause) -> impl Future<Output = PortResult<()>> + Send;
}
