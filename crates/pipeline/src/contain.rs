//! Contains panics: one row must not end a thread that all others wait for. A defect of ours is
//! then the fault of the rows it was met with, which are found by halving and given up, counted and
//! told, while the stream goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_core::{ErrorKind, PortError};

/// `call`, where a panic is an error of the data; `what` names it. The panic's own words are in the
/// log of the process. State behind `call` is as it was: everything here reads, and writes go
/// through stores that are atomic.
///
/// # Errors
/// Those of `call`, and its panic.
pub fn contain<T, E: From<PortError>>(
    what: &str,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        let words =
            format!("{what} panicked, which is a defect of Forebay: please report it with the log");
        tracing::error!("{words}");
        Err(PortError::new(ErrorKind::OutOfRange, words).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_data_and_anything_else_passes() {
        let error =
            contain::<(), PortError>("a try", || panic!("on purpose")).expect_err("it panicked");
        assert!(
            error.kind().is_of_the_data() && error.message().starts_with("a try panicked"),
            "{error}"
        );
        assert_eq!(
            contain::<_, PortError>("a try", || Ok(7)).expect("no panic"),
            7
        );
        let passed = contain::<(), _>("a try", || Err(PortError::internal("as it was")))
            .expect_err("its own");
        assert_eq!(passed.message(), "as it was");
    }
}
