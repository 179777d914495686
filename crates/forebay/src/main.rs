//! The `forebay` binary: parse the command line, run the command, turn its outcome into an exit
//! code. Commands are in [`commands`], the server in [`server`], the demo in [`demo`].

#![allow(
    clippy::disallowed_methods,
    reason = "the binary is where the real world is handed in"
)]

#[cfg(target_os = "linux")]
mod allocator;
mod available;
mod broker;
mod cli;
mod commands;
mod demo;
mod exit;
mod explanation;
mod instant;
mod replay;
mod server;
mod settings;
mod steady_clock;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use forebay_telemetry::invariants::InvariantReport;

fn main() -> ExitCode {
    let invariants = InvariantReport::of_process();
    match commands::run(cli::Cli::parse().command) {
        Ok(code) => exit::unless_broken(code, invariants),
        Err(error) => {
            eprintln!("forebay: {}", exit::words(&error));
            exit::code_of(&error)
        }
    }
}
