//! `forebay dead-letters`: the records that could not become rows of their source, and the rows
//! that a feature view leaves out: listed, shown, and, of the records, produced once more. It reads
//! the archive in the data directory, beside a running server or without one. What is listed is
//! chosen in `select`, what is replayed is decided in `decide`, and both are printed as the answers
//! to SHOW are.

mod decide;
mod forms;
mod left_out;
mod list;
mod log;
mod notes;
mod opened;
mod replay;
mod report;
mod select;
mod show;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::DeadLettersCommand;
use crate::terminal::log_from;

/// Carry out `command`.
pub(super) fn run(command: &DeadLettersCommand) -> Result<ExitCode> {
    log_from("warn")?;
    match command {
        DeadLettersCommand::List(args) => list::run(args),
        DeadLettersCommand::Show(args) => show::run(args),
        DeadLettersCommand::Replay(args) => replay::run(args),
    }
}
