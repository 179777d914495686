//! `forebay get`: one entity's features from a running server. The server says what the service
//! asks for; the arguments become one typed row; the answer is printed with where each view stands
//! and how fresh it is.

mod columns;
mod render;

use std::process::ExitCode;

use anyhow::{Context, Result};
use forebay_serve::ReadOptions;

use self::render::Shown;
use super::remote::Remote;
use crate::cli::{GetArgs, Output};
use crate::instant;
use crate::terminal::{block_on, log_from, print};

/// Run the command.
pub(super) fn run(args: &GetArgs) -> Result<ExitCode> {
    log_from("warn")?;
    let values = columns::parse(&args.columns)?;
    let at_us = args
        .at
        .as_deref()
        .map(instant::parse)
        .transpose()
        .context("--at")?;
    let shown = block_on(async {
        let server = Remote::connect(&args.to.flight_addr).await?;
        let service = server.client().service(&args.service).await?;
        let row = columns::request_row(&service.name, &service.request, &values)?;
        let options = ReadOptions {
            at_us,
            version: service.version,
            fingerprint: service.fingerprint.clone(),
            with_status: true,
            with_event_time: true,
            ..ReadOptions::default()
        };
        let answer = server.client().get(&service.name, &row, &options).await?;
        Shown::new(&service, &answer)
    })?;
    print(&match args.output {
        Output::Table => shown.table(),
        Output::Json => shown.json(),
    })?;
    Ok(ExitCode::SUCCESS)
}
