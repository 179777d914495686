//! `forebay training-set`: the features of a service as of each row of a spine, as a Parquet file
//! with its manifest. Events come from a server's archive, or from Parquet files so that SQL can be
//! tried without a broker. No server is asked: it may run or not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use arrow_array::RecordBatch;
use arrow_schema::Schema;
use forebay_core::limits::LEFT_OUT_MAX_ROWS;
use forebay_core::memory::Budget;
use forebay_core::ports::{CompiledService, PointInTime, TableScan};
use forebay_core::time::Clock as _;
use forebay_core::view::ServiceSpec;
use forebay_core::{PortError, PortResult};
use forebay_engine::{BatchEngine, Catalog, ProbeEngine, read_definitions};
use forebay_offline::{DeltaArchive, ParquetFolder, ParquetRows, parquet_schema, read_parquet};
use forebay_training::training_set::{SpineBatches, TrainingTable};
use forebay_training::{
    AnsweredRows, OnError, StagedSet, TrainingManifest, TrainingSetRequest, archive_tables,
    build_training_set, errors_path, manifest_path, read_manifest,
};

use super::progress::Step;
use super::spill::Spill;
use crate::available::available_bytes;
use crate::cli::{self, Lowering, ServerArgs, TrainingSetArgs};
use crate::instant::SystemClock;
use crate::server::catalog_file;
use crate::settings::Settings;
use crate::settings::memory::command_pool_bytes;
use crate::terminal::{block_on, check_target, log_from, print};

/// What computes a set, and its name in the manifest.
fn engine_of(
    lowering: Lowering,
    catalog: Catalog,
    memory: &Arc<Budget>,
    origin: &Origin,
) -> (Box<dyn PointInTime>, &'static str) {
    let memory = Arc::clone(memory);
    match lowering {
        Lowering::Probe => (
            Box::new(ProbeEngine::new(catalog, memory)),
            concat!("forebay ", env!("CARGO_PKG_VERSION"), " probe"),
        ),
        Lowering::Batch => (
            Box::new(BatchEngine::new(catalog, memory, origin.spill())),
            concat!("forebay ", env!("CARGO_PKG_VERSION"), " batch"),
        ),
    }
}

/// Run the command.
pub(super) fn run(args: &TrainingSetArgs) -> Result<ExitCode> {
    log_from("warn")?;
    let started = Instant::now();
    let name = name_of(args)?;
    check_target("--out", &args.out)?;
    let (catalog, origin, settings) = Origin::open(args)?;
    let memory = Budget::whole(command_pool_bytes(&settings, available_bytes())?);
    let service = service_of(&catalog, &args.service, &origin)?;
    let spec = Arc::clone(service.spec());

    let step = Step::begin(format!(
        "computing {} features of {} as of {}",
        spec.features.len(),
        spec.name,
        args.time_column
    ));
    let (engine, engine_name) = engine_of(args.lowering, catalog, &memory, &origin);
    let again = args.again.as_deref().map(read_manifest).transpose()?;
    let mut out = Out::create(&args.out, &spec)?;
    let manifest = block_on(async {
        let request = TrainingSetRequest {
            name: &name,
            service: &spec,
            spine: spine_of(&args.spine)?,
            time_column: &args.time_column,
            tables: origin.tables(),
            cuts: origin.cuts(&spec).await?,
            again: again.as_ref(),
            on_error: match args.on_error {
                cli::OnError::Null => OnError::Null,
                cli::OnError::Fail => OnError::Fail,
            },
            memory: &memory,
            engine: engine_name,
            now_us: SystemClock.now_us(),
        };
        let mut take = |answered: &AnsweredRows| {
            out.write(answered)?;
            step.note(&format!("{} rows", out.written));
            Ok(())
        };
        Ok(build_training_set(engine.as_ref(), request, &mut take).await?)
    })?;
    out.finish(&manifest)?;
    step.done(&format!(
        "{} rows: {} and {}",
        manifest.rows,
        args.out.display(),
        manifest_path(&args.out).display()
    ));
    print(&format!(
        "{}: {} rows, {} features of {} version {} (fingerprint {}), digest {}, {:.1} s\n",
        args.out.display(),
        manifest.rows,
        spec.features.len(),
        spec.name,
        spec.version,
        spec.fingerprint,
        manifest.output_digest,
        started.elapsed().as_secs_f64()
    ))?;
    print(&shortfalls(&manifest, &args.out))?;
    Ok(ExitCode::SUCCESS)
}

/// What a set lacks, a line for each reason.
fn shortfalls(manifest: &TrainingManifest, out: &Path) -> String {
    let failed = (manifest.errors > 0).then(|| {
        let (cells, path) = (manifest.errors, errors_path(out));
        let path = path.display();
        format!(
            "{cells} values are NULL because their expression failed; {path} says where and why\n"
        )
    });
    let left_out = manifest.left_out.iter().map(|(view, rows)| {
        let at_least = if *rows < LEFT_OUT_MAX_ROWS as u64 {
            ""
        } else {
            "at least "
        };
        format!(
            "feature view {view} leaves out {at_least}{rows} events on which an expression of it fails\n"
        )
    });
    failed.into_iter().chain(left_out).collect()
}

/// The rows of the spine in `path`, read as they are taken.
fn spine_of(path: &Path) -> Result<SpineBatches<'static>> {
    // A file without rows has no batch, and yet its columns.
    let columns = RecordBatch::new_empty(parquet_schema(path)?);
    let columns = std::iter::once(Ok(columns));
    let rows = read_parquet(path, None)?;
    Ok(Box::new(columns.chain(rows)))
}

/// The files of the set.
struct Out<'a> {
    staged: StagedSet,
    service: &'a ServiceSpec,
    rows: Option<ParquetRows>,
    errors: Option<ParquetRows>,
    written: usize,
}

impl<'a> Out<'a> {
    fn create(path: &Path, service: &'a ServiceSpec) -> Result<Self> {
        Ok(Self {
            staged: StagedSet::create(path)?,
            service,
            rows: None,
            errors: None,
            written: 0,
        })
    }

    fn write(&mut self, answered: &AnsweredRows) -> PortResult<()> {
        let rows = described(&answered.rows, self.service)?;
        let file = match &mut self.rows {
            Some(file) => file,
            None => {
                let file = ParquetRows::begin(self.staged.rows_file()?, rows.schema())?;
                self.rows.insert(file)
            }
        };
        self.written += rows.num_rows();
        file.write(&rows)?;
        if answered.errors.num_rows() == 0 {
            return Ok(());
        }
        let file = match &mut self.errors {
            Some(file) => file,
            None => {
                let schema = answered.errors.schema();
                let file = ParquetRows::begin(self.staged.errors_file()?, schema)?;
                self.errors.insert(file)
            }
        };
        file.write(&answered.errors)
    }

    fn finish(self, manifest: &TrainingManifest) -> Result<()> {
        for file in [self.rows, self.errors] {
            file.map_or(Ok(()), ParquetRows::finish)?;
        }
        Ok(self.staged.finish(manifest)?)
    }
}

/// Where events come from.
#[derive(Debug)]
enum Origin {
    /// NAME.parquet in this folder.
    Files(ParquetFolder),
    /// The archive of a server, and where it spills.
    Archive(Box<DeltaArchive>, Spill),
}

impl Origin {
    fn open(args: &TrainingSetArgs) -> Result<(Catalog, Self, Settings)> {
        if let (Some(sql), Some(events)) = (&args.sql, &args.events) {
            ensure!(
                events.is_dir(),
                "--events {} is no folder; give one with a NAME.parquet a source",
                events.display()
            );
            let plan = Catalog::empty().plan(&read_definitions(sql)?)?;
            let files = Self::Files(ParquetFolder::new(events));
            return Ok((plan.catalog, files, Settings::of_environment(None)?));
        }
        let flags = ServerArgs {
            config: args.config.clone(),
            data_dir: args.data_dir.clone(),
            ..ServerArgs::default()
        };
        let settings = Settings::of(&flags)?;
        let archive = settings.archive_dir();
        // Opening an archive makes its directory, which would hide a wrong path.
        ensure!(
            archive.is_dir(),
            "there is no archive in {}; name a server's data directory with --data-dir or --config, or read files with \
             --sql and --events",
            settings.server.data_dir.display()
        );
        let catalog = catalog_file::load(&settings.server.data_dir)?;
        let owner = format!("training-set-{}", std::process::id());
        let names = settings.archive.of(&settings.server.name, owner);
        let archive = DeltaArchive::open(&archive, names, Arc::new(SystemClock))?;
        let spill = Spill::under(&settings.server.data_dir.join("spill"))?;
        let origin = Self::Archive(Box::new(archive), spill);
        Ok((catalog, origin, settings))
    }

    /// Where what does not fit into memory goes; None: where the system keeps temporary files.
    fn spill(&self) -> Option<PathBuf> {
        match self {
            Self::Files(_) => None,
            Self::Archive(_, spill) => Some(spill.path().to_owned()),
        }
    }

    /// Where the events are read.
    fn tables(&self) -> &dyn TableScan {
        match self {
            Self::Archive(archive, _) => archive.as_ref(),
            Self::Files(folder) => folder,
        }
    }

    /// What is known of each table that `service` reads.
    async fn cuts(&self, service: &ServiceSpec) -> Result<BTreeMap<String, TrainingTable>> {
        let folder = match self {
            Self::Archive(archive, _) => {
                return Ok(archive_tables(archive.as_ref(), service).await?);
            }
            Self::Files(folder) => folder,
        };
        let mut cuts = BTreeMap::new();
        for source in service.views.iter().map(|view| &view.view.source) {
            let path = folder.path(source);
            ensure!(
                path.is_file(),
                "--events has no {}, which service '{}' reads; files are named after the sources",
                path.display(),
                service.name
            );
            cuts.insert(source.clone(), TrainingTable::default());
        }
        Ok(cuts)
    }
}

fn service_of(catalog: &Catalog, name: &str, origin: &Origin) -> Result<Arc<dyn CompiledService>> {
    if let Some(service) = catalog.services().get(name) {
        return Ok(Arc::clone(service));
    }
    let known: Vec<&str> = catalog.services().keys().map(String::as_str).collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let place = match origin {
        Origin::Files(_) => "the files of --sql define",
        Origin::Archive(..) => "the server's definitions have",
    };
    Err(PortError::not_found(format!(
        "there is no feature service '{name}'; {place}: {known}"
    ))
    .into())
}

/// `--name`, or the output's file name up to its ending.
fn name_of(args: &TrainingSetArgs) -> Result<String> {
    let stem = args
        .out
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    match (&args.name, stem) {
        (Some(name), _) if name.is_empty() => bail!("--name is empty"),
        (Some(name), _) => Ok(name.clone()),
        (None, Some(stem)) => Ok(stem),
        (None, None) => bail!("--out {} is no file name", args.out.display()),
    }
}

/// The rows with metadata that says, to whoever trains on them, which columns are features and of
/// what.
fn described(rows: &RecordBatch, service: &ServiceSpec) -> PortResult<RecordBatch> {
    let features: Vec<&str> = service
        .features
        .iter()
        .map(|feature| feature.name.as_str())
        .collect();
    for feature in &features {
        if rows.column_by_name(feature).is_none() {
            let words = format!("the training set has no feature {feature}");
            return Err(PortError::internal(words));
        }
    }
    let mut metadata = rows.schema_ref().metadata().clone();
    let names = serde_json::to_string(&features).map_err(internal)?;
    for (key, value) in [
        ("forebay.service", service.name.clone()),
        ("forebay.version", service.version.to_string()),
        ("forebay.fingerprint", service.fingerprint.clone()),
        ("forebay.features", names),
    ] {
        metadata.insert(key.to_owned(), value);
    }
    let schema = Schema::new_with_metadata(rows.schema_ref().fields().clone(), metadata);
    rows.clone().with_schema(Arc::new(schema)).map_err(internal)
}

fn internal(error: impl std::error::Error) -> PortError {
    PortError::internal(format!(
        "cannot describe the rows of a training set: {error}"
    ))
}
