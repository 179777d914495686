//! `forebay rebuild`: ask the server to make the state of a view, or of all views of a source, anew
//! from the archive, show how far it is, and print what was made. The server does the work; a
//! command that is cut off stops nothing.

use std::process::ExitCode;

use anyhow::Result;
use serde::Deserialize;
use serde_json::json;

use super::remote::Remote;
use crate::cli::RebuildArgs;
use crate::terminal::{block_on, log_from, print};

#[derive(Debug, Deserialize)]
struct Answer {
    rebuilt: Vec<Rebuilt>,
}

#[derive(Debug, Deserialize)]
struct Rebuilt {
    view: String,
    version: u32,
    rows: u64,
}

/// Rebuild, and say what was made anew.
pub(super) fn run(args: &RebuildArgs) -> Result<ExitCode> {
    log_from("warn")?;
    let answer: Answer = block_on(async {
        let remote = Remote::connect(&args.to.flight_addr).await?;
        remote
            .change("rebuild", &json!({ "name": args.name }))
            .await
    })?;
    for made in &answer.rebuilt {
        print(&line(made))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(made: &Rebuilt) -> String {
    let Rebuilt {
        view,
        version,
        rows,
    } = made;
    format!("feature view {view} (version {version}) was made anew from {rows} archived rows\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_view_and_what_it_was_made_from() {
        let made = Rebuilt {
            view: "spending".to_owned(),
            version: 2,
            rows: 10,
        };
        assert_eq!(
            line(&made),
            "feature view spending (version 2) was made anew from 10 archived rows\n"
        );
    }
}
