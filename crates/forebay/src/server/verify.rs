//! The action `verify`: served values against values recomputed from the archive, and the archive
//! against the log. The two halves and the judgement are `training`'s; here they get what this
//! server has. Nothing is changed, and the log is read by a client of its own that commits nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use forebay_control::furthest;
use forebay_core::definition::ModelDef;
use forebay_core::memory::Part;
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_engine::{Catalog, ProbeEngine};
use forebay_kafka::FETCHED_MIN_BYTES;
use forebay_offline::DeltaArchive;
use forebay_online::RocksStore;
use forebay_pipeline::archive::DEAD_LETTER_TABLE;
use forebay_pipeline::gaps::GAP_TABLE;
use forebay_pipeline::watermark::table::MARKS_TABLE;
use forebay_training::{
    ArchiveFlush, OwnTables, UNVERIFIED_MAX_SHARE, Verifier, VerifyOptions, VerifyReport,
    WITNESS_RECORDS, Witness, WitnessReport, WitnessedSource, failures,
};
use serde::{Deserialize, Serialize};

use super::app::App;
use super::blocking::blocking;
use super::wiring::prediction_table;

/// The archive's tables that are no source's.
const OWN_TABLES: OwnTables<'_> = OwnTables {
    letters: DEAD_LETTER_TABLE,
    gaps: GAP_TABLE,
    others: &[MARKS_TABLE, SETTLEMENT_TABLE],
};

/// Body of `verify`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    service: String,
    #[serde(default = "default_sample")]
    sample: usize,
    #[serde(default)]
    predictions: bool,
    /// Records of the log to read of each source.
    #[serde(default = "default_log_records")]
    log_records: u64,
    /// Share that may stay unverified.
    #[serde(default = "default_max_unverified")]
    max_unverified: f64,
}

fn default_sample() -> usize {
    1_000
}

fn default_log_records() -> u64 {
    WITNESS_RECORDS
}

fn default_max_unverified() -> f64 {
    UNVERIFIED_MAX_SHARE
}

/// Answer of `verify`.
#[derive(Debug, Serialize)]
pub(super) struct VerifyAnswer {
    /// Nothing failed.
    clean: bool,
    /// Why it failed, one line each.
    failures: Vec<String>,
    report: VerifyReport,
    /// The archive against the log.
    witness: WitnessReport,
    /// The first differences, in words.
    differences: Vec<String>,
}

/// Makes the archive catch up, for a verification.
#[derive(Debug)]
struct Flush(Arc<App>);

#[async_trait]
impl ArchiveFlush for Flush {
    async fn flush(&self) -> PortResult<()> {
        let app = Arc::clone(&self.0);
        blocking(move || app.flush()).await
    }
}

/// Verify.
pub(super) async fn run(app: &Arc<App>, body: VerifyBody) -> PortResult<VerifyAnswer> {
    let _under_way = app.verifications.begin()?;
    let catalog = app.catalog();
    let tables = prediction_tables(&catalog, &body.service);
    let read = read_sources(&catalog, &body.service);
    let verifier = Verifier {
        reader: Arc::new(app.reader.drawing_as(Part::PointInTime)),
        online: Arc::<RocksStore>::clone(&app.store),
        sources: catalog.sources().clone(),
        engine: Arc::new(ProbeEngine::new(catalog, Arc::clone(&app.budget))),
        archive: Arc::<DeltaArchive>::clone(&app.archive),
        flush: Some(Arc::new(Flush(Arc::clone(app)))),
    };
    // Before the archive catches up: it reaches at least this.
    let applied = furthest(app.store.as_ref());
    Flush(Arc::clone(app)).flush().await?;
    let compared = if body.predictions {
        verify_tables(&verifier, &tables, &body).await
    } else {
        let options = VerifyOptions::sample(body.sample);
        let compared = verifier.verify(&body.service, &options).await;
        compared.map_err(PortError::from)
    };
    // A damaged file is what the witness tells with its name; anything else ends the question here.
    let (report, damage) = match compared {
        Ok(report) => (report, None),
        Err(error) if error.kind() == ErrorKind::DataLoss => {
            (VerifyReport::default(), Some(error.to_string()))
        }
        Err(error) => return Err(error),
    };
    let witnessed: Vec<WitnessedSource> = {
        let running = app.running.lock();
        let wanted = |s: &&WitnessedSource| {
            read.contains(&s.source.name) || (body.predictions && tables.contains(&s.source.name))
        };
        running.sources.iter().filter(wanted).cloned().collect()
    };
    let witness = Witness {
        archive: Arc::<DeltaArchive>::clone(&app.archive),
        notes: Arc::<RocksStore>::clone(&app.store),
        // Counters of its own: what is read again here was counted when it was ingested.
        log: app
            .broker
            .log(app.broker.client(), &Arc::default(), FETCHED_MIN_BYTES)
            .map_err(|e| crate::exit::port_error(&e))?,
        inspector: app
            .broker
            .inspector()
            .map_err(|e| crate::exit::port_error(&e))?,
        applied,
        records: body.log_records,
    };
    let runtime = app.runtime.clone();
    let testimony = blocking(move || -> Result<_> {
        Ok(runtime.block_on(witness.testify(&witnessed, OWN_TABLES))?)
    });
    let mut witness = testimony.await?;
    witness.damaged.extend(damage);
    let failures = failures(&report, &witness, body.max_unverified);
    Ok(VerifyAnswer {
        clean: failures.is_empty(),
        failures,
        differences: report.mismatches.iter().map(ToString::to_string).collect(),
        report,
        witness,
    })
}

/// Names of the sources that the views of `service` read.
fn read_sources(catalog: &Catalog, service: &str) -> BTreeSet<String> {
    let service = catalog.services().get(service);
    let views = service
        .into_iter()
        .flat_map(|service| &service.spec().views);
    views.map(|view| view.view.source.clone()).collect()
}

/// Tables of what deployments published with the features of `service`, live and in the shadow.
fn prediction_tables(catalog: &Catalog, service: &str) -> Vec<String> {
    let mut tables = Vec::new();
    for def in catalog.deployments().values() {
        // Two versions of a model may read different services; a deployment routes to those of one.
        let of_service = def.routes.iter().any(|route| {
            let routed = |m: &&ModelDef| m.name == def.model && m.version == route.version;
            catalog
                .models()
                .iter()
                .find(routed)
                .is_some_and(|m| m.service == service)
        });
        let Some(service) = catalog.services().get(service).filter(|_| of_service) else {
            continue;
        };
        let roles = [false, true]
            .into_iter()
            .filter(|shadow| def.routes.iter().any(|r| r.shadow == *shadow));
        tables.extend(roles.map(|shadow| prediction_table(def, shadow, service.spec())));
    }
    tables
}

/// Verify predictions of all `tables`, drawn from each alike.
async fn verify_tables(
    verifier: &Verifier,
    tables: &[String],
    body: &VerifyBody,
) -> PortResult<VerifyReport> {
    let mut all: Option<VerifyReport> = None;
    for (done, table) in tables.iter().enumerate() {
        let drawn = all.as_ref().map_or(0, |report| report.rows);
        let drawn = usize::try_from(drawn).expect("no more is drawn than was asked for");
        let share = body
            .sample
            .saturating_sub(drawn)
            .div_ceil(tables.len() - done);
        if done > 0 && share == 0 {
            break;
        }
        let report = verifier
            .verify_predictions(table, &body.service, share, true)
            .await
            .map_err(PortError::from)?;
        match &mut all {
            None => all = Some(report),
            Some(all) => all.absorb(report),
        }
    }
    all.ok_or_else(|| {
        PortError::invalid(format!(
            "no deployment scores with the features of service {}",
            body.service
        ))
    })
}
