//! From an error to what a shell sees: the exit code and the words on standard error. The kind that
//! an error of ours carries decides (`core`'s one mapping); words without a kind are about the call
//! itself, system errors about what they name.

use std::io::{self, Write as _};
use std::process::ExitCode;

use forebay_control::ChangeFailed;
use forebay_core::{ErrorKind, PortError};
use forebay_engine::EngineError;
use forebay_infer::InferError;
use forebay_monitor::MonitorError;
use forebay_offline::OfflineError;
use forebay_online::OnlineError;
use forebay_pipeline::PipelineError;
use forebay_serve::ServeError;
use forebay_telemetry::TelemetryError;
use forebay_telemetry::invariants::InvariantReport;
use forebay_training::TrainingError;

/// `verify`, `doctor` or `demo` found something wrong.
pub(crate) const FOUND: u8 = 1;
/// The call is wrong; also what the parser of the command line exits with.
const WRONG_CALL: u8 = 2;
/// Something outside failed.
const OUTSIDE: u8 = 3;
/// A defect of Forebay.
const DEFECT: u8 = 4;

/// The exit code of a command that failed with `error`: 2 the call is wrong, 3 something outside
/// failed, 4 a defect.
#[must_use]
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(number_of(error))
}

/// `code` of a command that has done its work, unless an invariant broke meanwhile: then what it
/// made is not to be trusted, and nobody else would say so.
#[must_use]
pub(crate) fn unless_broken(code: ExitCode, invariants: &InvariantReport) -> ExitCode {
    match invariants.words() {
        None => code,
        Some(words) => {
            eprintln!("forebay: {words}");
            ExitCode::from(DEFECT)
        }
    }
}

/// The same as a number. The outermost error that says whose fault it is decides; words alone are
/// about the call.
#[must_use]
pub(crate) fn number_of(error: &anyhow::Error) -> u8 {
    error.chain().find_map(fault_of).unwrap_or(WRONG_CALL)
}

/// The kind that the outermost error of ours in the chain carries.
#[must_use]
pub(crate) fn kind(error: &anyhow::Error) -> Option<ErrorKind> {
    error.chain().find_map(kind_of)
}

/// As a port's error: the kind of the outermost error that has one, each cause once.
#[must_use]
pub(crate) fn port_error(error: &anyhow::Error) -> PortError {
    PortError::new(
        kind(error).unwrap_or(ErrorKind::FailedPrecondition),
        words(error),
    )
}

/// End the process of a server that has stopped, with the words and the code of `outcome`, and run
/// no destructor of a static on the way. A task that is cut off, or that waits for a disk that
/// hangs, may hold the state and let go of it at any moment; RocksDB takes a static mutex when a
/// database closes, and aborts where the process has destroyed it. What was written is safe: the
/// system has it, as after `kill -9`.
pub(crate) fn at_once(outcome: anyhow::Result<()>) -> ! {
    let code = match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("forebay: {}", words(&error));
            number_of(&error)
        }
    };
    // Standard error has no buffer. Nobody is left to hear that standard output is gone.
    drop(io::stdout().flush());
    native::_exit(code.into())
}

/// `unistd.h` of POSIX.
#[allow(
    unsafe_code,
    reason = "the one call has no safe binding among our packages"
)]
mod native {
    // SAFETY: `void _exit(int)` takes a number alone and does not return.
    unsafe extern "C" {
        pub(super) safe fn _exit(status: i32) -> !;
    }
}

/// What failed and why, each cause once: errors at a port repeat the words of what they wrap, ours
/// say those of a library without its prefixes and in lower case.
#[must_use]
pub(crate) fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !says(&words, &cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
    }
    words
}

/// Whether `words` already say `cause`, or all of it that follows the names of errors at its
/// beginning.
fn says(words: &str, cause: &str) -> bool {
    let words = words.to_lowercase();
    // A library's words may go on over several lines; the first is what is repeated.
    let cause = cause
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_lowercase();
    let mut rest = cause.as_str();
    loop {
        if words.contains(rest) {
            return true;
        }
        match rest.split_once(": ") {
            Some((prefix, after)) if prefix.ends_with("error") || prefix.starts_with("error") => {
                rest = after
            }
            _ => return false,
        }
    }
}

/// What the error of a library or of the system says of whose fault it is.
fn fault_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(kind) = kind_of(cause) {
        return Some(kind.exit_code());
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return Some(code_of_io(error));
    }
    if cause.is::<tokio::task::JoinError>() {
        return Some(DEFECT);
    }
    cause.is::<tonic::transport::Error>().then_some(OUTSIDE)
}

fn kind_of(cause: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    macro_rules! first_of {
        ($($error:ty),+) => { None$(.or_else(|| cause.downcast_ref::<$error>().map(<$error>::kind)))+ };
    }
    first_of!(
        PortError,
        EngineError,
        ServeError,
        TrainingError,
        InferError,
        MonitorError,
        OfflineError,
        OnlineError,
        PipelineError,
        TelemetryError,
        ChangeFailed,
        forebay_kafka::Error
    )
}

/// A path that is not there or may not be used is the caller's; a disk or a network that fails is
/// not.
fn code_of_io(error: &io::Error) -> u8 {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound
        | Kind::PermissionDenied
        | Kind::AlreadyExists
        | Kind::InvalidInput
        | Kind::NotADirectory
        | Kind::IsADirectory => WRONG_CALL,
        _ => OUTSIDE,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn each_kind_has_its_code() {
        let port = |kind| anyhow!(PortError::new(kind, "words"));
        let io = |kind| anyhow!(io::Error::from(kind));
        let cases = [
            (anyhow!("speed 'fast' is no number"), 2),
            (port(ErrorKind::InvalidArgument), 2),
            (port(ErrorKind::NotFound), 2),
            (port(ErrorKind::Unavailable), 3),
            (port(ErrorKind::MaybeWritten), 3),
            (port(ErrorKind::DataLoss), 4),
            (port(ErrorKind::Internal), 4),
            (
                anyhow!(ServeError::Remote {
                    kind: ErrorKind::Unavailable,
                    message: "gone".into()
                }),
                3,
            ),
            (anyhow!(EngineError::NotFound("no service x".into())), 2),
            (anyhow!(TrainingError::Answer("short".into())), 4),
            (io(io::ErrorKind::NotFound), 2),
            (io(io::ErrorKind::StorageFull), 3),
        ];
        for (error, expected) in cases {
            assert_eq!(number_of(&error), expected, "{error:?}");
            assert_eq!(number_of(&error.context("while doing it")), expected);
        }
    }

    #[test]
    fn the_outermost_kind_decides_and_no_cause_is_said_twice() {
        let inner = PortError::internal("table x is damaged");
        let outer = PortError::with_source(ErrorKind::Unavailable, "table x is damaged", inner);
        let error = Err::<(), _>(outer)
            .context("cannot read the archive")
            .expect_err("failed");
        assert_eq!(number_of(&error), 3);
        assert_eq!(words(&error), "cannot read the archive: table x is damaged");
        for (ours, cause, expected) in [
            (
                "a.sql:1:2: view v: no field x",
                "Error during planning: No field x.",
                "a.sql:1:2: view v: no field x",
            ),
            (
                "view v: no field x",
                "Schema error: No field x. Valid fields are y",
                "view v: no field x: Schema error: No field x. Valid fields are y",
            ),
            (
                "cannot open f",
                "No such file",
                "cannot open f: No such file",
            ),
        ] {
            assert_eq!(words(&anyhow!(cause).context(ours)), expected);
        }
    }
}
