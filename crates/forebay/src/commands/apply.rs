//! `forebay plan` and `forebay apply`: read the definitions of a folder, ask the server what they
//! change (and, for apply, to change it, while its steps are shown), print the difference. The
//! server decides; nothing is compiled here.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use forebay_engine::{Change, read_definitions};
use serde::{Deserialize, Serialize};

use super::diff;
use super::remote::Remote;
use crate::cli::DefinitionArgs;
use crate::terminal::{block_on, log_from, print};

/// Body of the server's actions `plan` and `apply`.
#[derive(Debug, Serialize)]
struct Definitions {
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    text: String,
}

/// Their answer.
#[derive(Debug, Deserialize)]
struct Changes {
    changes: Vec<Change>,
}

/// Show what applying would change.
pub(super) fn plan(args: &DefinitionArgs) -> Result<ExitCode> {
    log_from("warn")?;
    let body = read(&args.dir)?;
    let Changes { changes } = block_on(async {
        let remote = Remote::connect(&args.to.flight_addr).await?;
        remote.ask("plan", &body).await
    })?;
    print(&diff::render(&changes))?;
    if diff::changes_anything(&changes) {
        print(&format!(
            "nothing was applied; to apply it: forebay apply {}\n",
            args.dir.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Apply, and show what changed.
pub(super) fn apply(args: &DefinitionArgs) -> Result<ExitCode> {
    log_from("warn")?;
    let body = read(&args.dir)?;
    let answer: Changes = block_on(async {
        let remote = Remote::connect(&args.to.flight_addr).await?;
        remote.change("apply", &body).await
    })?;
    print(&diff::render(&answer.changes))?;
    Ok(ExitCode::SUCCESS)
}

fn read(dir: &Path) -> Result<Definitions> {
    let files = read_definitions(dir)?;
    Ok(Definitions {
        files: files
            .into_iter()
            .map(|file| File {
                path: file.path,
                text: file.text,
            })
            .collect(),
    })
}
