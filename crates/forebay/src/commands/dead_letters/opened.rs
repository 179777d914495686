//! What the commands work with: the settings, definitions and archive of a data directory, its
//! table of dead letters as a stream, and how the log is reached. Nothing here writes.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{CompiledView, Scan, TableScan as _};
use forebay_core::source::SourceDef;
use forebay_core::source::meta;
use forebay_core::tables::DEAD_LETTER_TABLE;
use forebay_core::time::Micros;
use forebay_core::{ErrorKind, PortError};
use forebay_engine::Catalog;
use forebay_kafka::{ClientSettings, ReaderSettings};
use forebay_offline::dead_letter::letter_column as column;
use forebay_offline::{DeltaArchive, StoredLetter, stored_letters};
use forebay_pipeline::left_out::Among;
use futures::TryStreamExt as _;

use crate::available::available_bytes;
use crate::cli::{ArchiveArgs, ServerArgs};
use crate::instant::SystemClock;
use crate::server::catalog_file;
use crate::settings::memory::command_pool_bytes;
use crate::settings::{Broker, Settings};

/// Letters that are taken out of a batch at once: each may have a value of its limit.
const AT_ONCE: usize = 64;
/// Columns that say which letter it is, and why it is one.
const FACTS: [&str; 8] = [
    column::SOURCE,
    meta::TOPIC,
    meta::PARTITION,
    meta::OFFSET,
    meta::KAFKA_TIME,
    meta::INGEST_TIME,
    column::REASON,
    column::DETAIL,
];
/// Further columns that say what was produced.
const RECORD: [&str; 4] = [column::KEY, column::HEADERS, column::PAYLOAD, column::CUT];

/// How much of each letter is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Place, reason, key and headers.
    Named,
    /// All of it.
    Whole,
}

/// A data directory.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) settings: Settings,
    pub(super) catalog: Catalog,
    pub(super) archive: DeltaArchive,
    pub(super) memory: Arc<Budget>,
}

impl Opened {
    /// The one that `args` name.
    ///
    /// # Errors
    /// Settings that are refused; there is no archive, or its definitions cannot be read.
    pub(super) fn of(args: &ArchiveArgs) -> Result<Self> {
        let flags = ServerArgs {
            config: args.config.clone(),
            data_dir: args.data_dir.clone(),
            bootstrap: args.bootstrap.clone(),
            ..ServerArgs::default()
        };
        let settings = Settings::of(&flags)?;
        let root = settings.archive_dir();
        // Opening an archive makes its directory, which would hide a wrong path.
        ensure!(
            root.is_dir(),
            "there is no archive in {}; name a server's data directory with --data-dir or --config",
            settings.server.data_dir.display()
        );
        let owner = format!("dead-letters-{}", std::process::id());
        let names = settings.archive.of(&settings.server.name, owner);
        Ok(Self {
            catalog: catalog_file::load(&settings.server.data_dir)?,
            archive: DeltaArchive::open(&root, names, Arc::new(SystemClock))?,
            memory: Budget::whole(command_pool_bytes(&settings, available_bytes())?),
            settings,
        })
    }

    /// Show `see` the letters `among` those of the table, as stored by the time of the call, one
    /// after the other.
    ///
    /// # Errors
    /// Of `see`; the table cannot be read.
    pub(super) async fn letters(
        &self,
        extent: Extent,
        among: &Among,
        mut see: impl FnMut(StoredLetter) -> Result<()>,
    ) -> Result<()> {
        let more = match extent {
            Extent::Named => &RECORD[..2],
            Extent::Whole => &RECORD[..],
        };
        let scan = Scan {
            from: among.from.clone(),
            below: among.below.clone(),
            ..Scan::columns(FACTS.iter().chain(more).copied())
        };
        let scan = scan.drawing(&self.memory, Part::PointInTime);
        let mut rows = match self.archive.scan(DEAD_LETTER_TABLE, scan).await {
            Ok(rows) => rows,
            // A server makes the table when it first starts.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        while let Some(batch) = rows.try_next().await? {
            for from in (0..batch.num_rows()).step_by(AT_ONCE) {
                let some = batch.slice(from, AT_ONCE.min(batch.num_rows() - from));
                stored_letters(&some)?.into_iter().try_for_each(&mut see)?;
            }
        }
        Ok(())
    }

    /// The source `name` of the definitions in force.
    ///
    /// # Errors
    /// There is none; names those that there are.
    pub(super) fn source(&self, name: &str) -> Result<&Arc<SourceDef>> {
        let sources = self.catalog.sources();
        let known = || known(sources.keys());
        let found = sources.get(name);
        found.ok_or_else(|| {
            let words = format!(
                "there is no source '{name}', and no dead letter of it; the sources are: {}",
                known()
            );
            PortError::not_found(words).into()
        })
    }

    /// The view `name` of the definitions in force.
    ///
    /// # Errors
    /// There is none; names those that there are.
    pub(super) fn view(&self, name: &str) -> Result<&Arc<dyn CompiledView>> {
        let views = self.catalog.views();
        views.get(name).ok_or_else(|| {
            let known = known(views.keys());
            let words = format!("there is no feature view '{name}'; the views are: {known}");
            PortError::not_found(words).into()
        })
    }

    /// Whether Forebay itself writes `topic`: a deployment's predictions go there.
    pub(super) fn writes(&self, topic: &str) -> bool {
        let of_deployments = self
            .catalog
            .deployments()
            .values()
            .map(|d| d.topic.as_str());
        let own = topic.strip_suffix(".shadow").unwrap_or(topic);
        of_deployments
            .into_iter()
            .any(|written| written == topic || written == own)
    }

    /// How clients reach the log.
    ///
    /// # Errors
    /// It is one inside of a server.
    pub(super) fn client(&self) -> Result<ClientSettings> {
        let kafka = &self.settings.kafka;
        if kafka.broker == Broker::Embedded {
            bail!(
                "the embedded broker lives inside its server; give --bootstrap of a Kafka cluster"
            );
        }
        Ok(kafka.client(&kafka.bootstrap))
    }

    /// How the log is read.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(super) fn reader(&self) -> Result<ReaderSettings> {
        Ok(ReaderSettings::new(self.client()?))
    }
}

/// When the record of a letter was written, or, where Kafka does not say, when it was stored.
pub(super) fn moment(letter: &StoredLetter) -> Option<Micros> {
    letter.kafka_time_us.or(letter.ingest_time_us)
}

fn known<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}
