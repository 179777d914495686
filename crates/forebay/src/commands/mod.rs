//! The commands of the binary, one file each. A command reads its arguments, asks the parts, prints
//! its result to standard output and its progress to standard error, and says with its exit code
//! how it went (`crate::exit`). The long-running ones live elsewhere: `crate::server` and
//! `crate::demo`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Command;

mod apply;
mod dead_letters;
mod diff;
mod doctor;
mod feature_tests;
mod functions;
mod gap;
mod get;
mod profile;
mod progress;
mod question;
mod rebuild;
mod remote;
mod replay;
mod spill;
#[cfg(test)]
mod tests;
mod training_file;
mod training_set;
mod verify;
mod worker;

/// Carry out `command`.
///
/// # Errors
/// Of the command; `crate::exit` makes text and code of them.
pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Server(args) => crate::server::run(&args),
        Command::Demo(args) => crate::demo::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Plan(args) => apply::plan(&args),
        Command::Apply(args) => apply::apply(&args),
        Command::Get(args) => get::run(&args),
        Command::TrainingSet(args) => training_set::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Test(args) => feature_tests::run(&args),
        Command::Show(args) => question::run("SHOW", &args),
        Command::Describe(args) => question::run("DESCRIBE", &args),
        Command::Explain(args) => question::run("EXPLAIN", &args),
        Command::Functions(args) => functions::run(&args),
        Command::Rebuild(args) => rebuild::run(&args),
        Command::DeadLetters(args) => dead_letters::run(&args.command),
        Command::Gap(args) => gap::run(&args.command),
    }
}
