//! The server around recovery, as a port: what it tells of ingest and of its tables, and what it
//! does to bring them back. The loop decides when; the server says whether it has come about.

use std::collections::BTreeSet;

use forebay_core::PortResult;

/// What recovery asks of the server.
pub trait RecoveryHost: Sync {
    /// Whether somebody changes the definitions: that starts ingest itself, or reports why not.
    fn is_changing(&self) -> bool;

    /// Why ingest has ended by itself; None where it runs, and where it stands for a table that
    /// every source needs.
    fn ended(&self) -> Option<String>;

    /// Names of the tables that are set aside.
    fn aside(&self) -> BTreeSet<String>;

    /// Look at the tables that are set aside, and begin ingest anew where one can be used again.
    ///
    /// # Errors
    /// The look could not be made; a table that still cannot be used is none.
    fn mend(&self) -> impl Future<Output = PortResult<()>> + Send;

    /// Begin ingest anew where it has ended by itself. Whether that came about, [`Self::ended`]
    /// tells.
    ///
    /// # Errors
    /// The start could not be tried.
    fn heal(&self) -> impl Future<Output = PortResult<()>> + Send;
}
