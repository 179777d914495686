//! Turns a panic into an error of the batch: one row must not end a thread that all others wait
//! for. The caller bisects the batch, drops the offending rows (dead letter, counter, log line) and
//! continues with the rest.

use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_core::{ErrorKind, PortError};

/// Run `call` and return a panic in it as an error of the data; `what` names the call in that
/// error. The panic hook has logged the panic's own message. Unwinding leaves no half-made state:
/// the callers pass closures that only read, or that write through an atomic store.
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
