//! `forebay gap list` and `forebay gap accept`: what keeps sources and partitions from being read,
//! and the way past offsets that a log lost or that nobody can read. The server decides; a gap that
//! is accepted is noted in its state and archive.

use std::process::ExitCode;

use anyhow::Result;
use serde::Deserialize;
use serde_json::json;

use super::remote::Remote;
use crate::cli::{GapAcceptArgs, GapCommand, ServerAddress};
use crate::terminal::{block_on, log_from, print};

#[derive(Debug, Deserialize)]
struct Halted {
    halted: Vec<Halt>,
}

#[derive(Debug, Deserialize)]
struct Halt {
    source: String,
    partition: Option<i32>,
    from: Option<i64>,
    to: Option<i64>,
    code: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    accepted: Vec<Gap>,
}

#[derive(Debug, Deserialize)]
struct Gap {
    topic: String,
    partition: i32,
    from: i64,
    to: i64,
}

/// Carry out `command`.
pub(super) fn run(command: &GapCommand) -> Result<ExitCode> {
    log_from("warn")?;
    match command {
        GapCommand::List(to) => list(to),
        GapCommand::Accept(args) => accept(args),
    }
}

fn list(to: &ServerAddress) -> Result<ExitCode> {
    let found: Halted = block_on(async {
        let remote = Remote::connect(&to.flight_addr).await?;
        remote.ask("gap_list", &json!({})).await
    })?;
    if found.halted.is_empty() {
        print("every source is read\n")?;
    }
    for halt in &found.halted {
        print(&line(halt))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line: what is halted, the offsets that are missing where they are known, and why.
fn line(halt: &Halt) -> String {
    let place = halt.partition.map_or_else(
        || halt.source.clone(),
        |partition| format!("{}/{partition}", halt.source),
    );
    let offsets = match (halt.from, halt.to) {
        (Some(from), Some(to)) => format!("offsets {from} to {}: ", to - 1),
        (Some(from), None) => format!("from offset {from} on: "),
        _ => String::new(),
    };
    format!("{place}  {offsets}{} [{}]\n", halt.reason, halt.code)
}

fn accept(args: &GapAcceptArgs) -> Result<ExitCode> {
    let body = json!({ "source": args.place.source, "partition": args.place.partition });
    let done: Accepted = block_on(async {
        let remote = Remote::connect(&args.to.flight_addr).await?;
        remote.ask("gap_accept", &body).await
    })?;
    for gap in &done.accepted {
        print(&format!(
            "{}-{}: offsets {} to {} will never be read; reading goes on at {}\n",
            gap.topic,
            gap.partition,
            gap.from,
            gap.to - 1,
            gap.to
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_place_and_the_missing_offsets() {
        let halt = |partition, from, to| Halt {
            source: "rides".into(),
            partition,
            from,
            to,
            code: "gap".into(),
            reason: "why".into(),
        };
        assert_eq!(
            line(&halt(Some(2), Some(5), Some(9))),
            "rides/2  offsets 5 to 8: why [gap]\n"
        );
        assert_eq!(
            line(&halt(Some(2), Some(5), None)),
            "rides/2  from offset 5 on: why [gap]\n"
        );
        assert_eq!(line(&halt(None, None, None)), "rides  why [gap]\n");
    }
}
