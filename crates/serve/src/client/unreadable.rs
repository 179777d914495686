//! The one error for an answer that does not follow the protocol: the server is of another version,
//! or something stands between. Whatever reads answers refuses through here.

use forebay_core::ErrorKind;

use crate::error::ServeError;

/// The error for an answer that is not what the protocol says.
pub(super) fn unreadable(what: &str) -> ServeError {
    ServeError::Remote {
        kind: ErrorKind::Internal,
        message: format!(
            "the server's answer cannot be read: {what}; client and server should be of one version"
        ),
    }
}
