//! `forebay doctor`: what is in force, and whether what it names is there and works: broker, data
//! directory, definitions, ports, models, limits of the system, devices; or, with --topic, what a
//! source makes of its topic's records. Changes nothing. Each finding is one line; a failed one
//! says the remedy and makes the exit code 1.

mod descriptors;
mod devices;
mod directory;
mod finding;
mod memory;
mod models;
mod network;
mod topic;

use std::process::ExitCode;

use anyhow::{Context, Result};
use forebay_engine::{Catalog, read_definitions};

use self::finding::Finding;
use crate::cli::DoctorArgs;
use crate::exit;
use crate::server::catalog_file;
use crate::settings::Settings;
use crate::terminal::{block_on, log_from, print};

/// Run the command.
pub(super) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    // The client library's own complaints would only repeat the findings.
    log_from("off")?;
    let settings = Settings::of(&args.server)?;
    if let Some(name) = &args.topic {
        let (catalog, found) = definitions(&settings);
        if found.iter().any(Finding::is_failed) {
            print(&finding::render(&found))?;
            return Ok(code(true));
        }
        let (text, wrong) = topic::examine(&settings, &catalog, name, &args.sample)?;
        print(&text)?;
        return Ok(code(wrong));
    }
    let source = args.server.config.as_ref().map_or_else(
        || "the defaults".to_owned(),
        |path| path.display().to_string(),
    );
    let in_force = toml::to_string(&settings).context("settings are TOML")?;
    print(&format!(
        "# in force: {source}, then FOREBAY_* variables, then flags\n{in_force}\n"
    ))?;
    let findings = examine(&settings)?;
    print(&finding::render(&findings))?;
    Ok(code(findings.iter().any(Finding::is_failed)))
}

fn code(failed: bool) -> ExitCode {
    if failed {
        ExitCode::from(exit::FOUND)
    } else {
        ExitCode::SUCCESS
    }
}

fn examine(settings: &Settings) -> Result<Vec<Finding>> {
    let mut findings = directory::examine(&settings.server.data_dir);
    let (catalog, about_catalog) = definitions(settings);
    findings.extend(about_catalog);
    findings.extend(network::broker(settings, &catalog));
    findings.extend(block_on(async {
        Ok(network::listeners_and_workers(settings).await)
    })?);
    findings.extend(models::examine(&catalog, &settings.server.model_root));
    findings.push(descriptors::examine(settings.state.shards));
    findings.extend(devices::examine());
    findings.push(memory::examine(settings));
    Ok(findings)
}

/// The definitions that a server would start with, as far as they can be had.
fn definitions(settings: &Settings) -> (Catalog, Vec<Finding>) {
    let mut findings = Vec::new();
    let applied = match catalog_file::load(&settings.server.data_dir) {
        Ok(catalog) => catalog,
        Err(error) => {
            findings.push(Finding::failed("definitions", exit::words(&error)));
            Catalog::empty()
        }
    };
    for broken in applied.broken() {
        let text = format!(
            "{} {} cannot be used: {}",
            broken.kind, broken.name, broken.why
        );
        findings.push(Finding::failed("definitions", text));
    }
    let folder = &settings.server.sql;
    let catalog = if folder.as_os_str().is_empty() {
        applied
    } else {
        match read_definitions(folder).and_then(|files| applied.plan(&files)) {
            Ok(plan) => plan.catalog,
            Err(error) => {
                let error = anyhow::Error::from(error);
                findings.push(Finding::failed(
                    "definitions",
                    format!("server.sql {}: {}", folder.display(), exit::words(&error)),
                ));
                applied
            }
        }
    };
    if findings.is_empty() {
        let text = format!(
            "{} sources, {} views, {} services, {} models, {} deployments, {} monitors",
            catalog.sources().len(),
            catalog.views().len(),
            catalog.services().len(),
            catalog.models().len(),
            catalog.deployments().len(),
            catalog.monitors().len()
        );
        findings.push(if catalog.sources().is_empty() {
            Finding::note(
                "definitions",
                "none yet; give --sql DIR, or apply some to the running server",
            )
        } else {
            Finding::ok("definitions", text)
        });
    }
    (catalog, findings)
}
