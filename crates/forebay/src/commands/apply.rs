//! `forebay plan` and `forebay apply`: read the definitions of a folder, ask the server what they
//! change (and, for apply, to change it), print the difference. The server decides; nothing is
//! compiled here.

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
    let changes = ask(args, "plan")?;
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
    print(&diff::render(&ask(args, "apply")?))?;
    Ok(ExitCode::SUCCESS)
}

fn ask(args: &DefinitionArgs, action: &str) -> Result<Vec<Change>> {
    log_from("warn")?;
    let body = read(&args.dir)?;
    block_on(async {
        let answer: Changes = Remote::connect(&args.to.flight_addr)
            .await?
            .ask(action, &body)
            .await?;
        Ok(answer.changes)
    })
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
