//! `forebay verify`: ask the running system for features at chosen instants, then recompute each
//! answer from the archive as of exactly the offsets that it had applied. Any difference of a bit
//! is a defect: of the online state, of the archive, or of one of the two lowerings of the same
//! SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use arrow_select::concat::concat_batches;
use async_trait::async_trait;
use forebay_core::cells::CellFault;
use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::limits::{REQUEST_MAX_ROWS, VERIFY_MAX_ROWS};
use forebay_core::memory::Reservation;
use forebay_core::ports::{
    Archive, At, CompiledService, FeatureAnswer, FeatureReader, PointInTime, ShardEpoch,
    StateReader,
};
use forebay_core::progress::Applied;
use forebay_core::source::SourceDef;
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::value::Value;
use forebay_core::view::ServiceSpec;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::error::TrainingError;
use crate::recompute::{Cuts, Recompute, Sorted, Tables, pick, reached, source_names};
use crate::report::{Reason, Side, VerifyReport};
use crate::sample::{self, Questions};

/// Rows of one read: small, so that an instant that is no longer kept is found in few steps.
const READ_ROWS: usize = 512;

/// Makes the archive catch up with what was applied when it was called.
#[async_trait]
pub trait ArchiveFlush: Send + Sync + std::fmt::Debug {
    /// Append all that was read so far.
    ///
    /// # Errors
    /// The archive cannot be written.
    async fn flush(&self) -> PortResult<()>;
}

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Keys and instants to compare; at most [`VERIFY_MAX_ROWS`].
    pub sample: usize,
    /// Decides which; the same seed over the same events asks the same.
    pub seed: u64,
    /// Ask this instead of sampling: the service's request columns and a time column (microseconds,
    /// UTC, no NULLs).
    pub spine: Option<(RecordBatch, String)>,
}

impl VerifyOptions {
    /// `sample` keys and instants, chosen by a fixed seed.
    #[must_use]
    pub fn sample(sample: usize) -> Self {
        Self {
            sample,
            seed: 1,
            spine: None,
        }
    }
}

/// The ports that a verification needs.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// Reads as requests do.
    pub reader: Arc<dyn FeatureReader>,
    /// Resolves epochs to offsets.
    pub online: Arc<dyn StateReader>,
    /// Recomputes.
    pub engine: Arc<dyn PointInTime>,
    /// Keeps the events.
    pub archive: Arc<dyn Archive>,
    /// The catalog's sources by name.
    pub sources: BTreeMap<String, Arc<SourceDef>>,
    /// How to make the archive catch up; without it, rows that it has not reached are not
    /// verifiable.
    pub flush: Option<Arc<dyn ArchiveFlush>>,
}

/// Answers to some of the questions, in their order.
struct Answers {
    questions: Questions,
    features: RecordBatch,
    /// Cells of them that failed, ascending by feature, then by row.
    faults: Vec<CellFault>,
    /// For each view, for each row.
    applied: Vec<Vec<Option<ShardEpoch>>>,
    /// What the answers hold of the process's memory, until they are compared.
    _memory: Vec<Reservation>,
}

impl Verifier {
    /// Verify `service`.
    ///
    /// # Errors
    /// Unknown service, no archived events, a port that fails. Values that differ are in the
    /// report.
    pub async fn verify(
        &self,
        service: &str,
        options: &VerifyOptions,
    ) -> Result<VerifyReport, TrainingError> {
        let compiled = self.reader.service(service)?;
        let spec = Arc::clone(compiled.spec());
        let mut report = VerifyReport {
            service: spec.name.clone(),
            service_version: spec.version,
            ..VerifyReport::default()
        };
        for questions in self.questions(&spec, options).await? {
            let (answers, too_old) = self.read(&compiled, questions).await?;
            if too_old > 0 {
                report.not_verifiable(Reason::TooOld, too_old);
            }
            if let Some(answers) = answers {
                self.check(&spec, &answers, &mut report).await?;
            }
        }
        Ok(report)
    }

    async fn questions(
        &self,
        spec: &ServiceSpec,
        options: &VerifyOptions,
    ) -> Result<Vec<Questions>, TrainingError> {
        if let Some((spine, time_column)) = &options.spine {
            return Ok(vec![questions_of_spine(spec, spine, time_column)?]);
        }
        if options.sample == 0 || options.sample > VERIFY_MAX_ROWS {
            return Err(TrainingError::Invalid(format!(
                "a sample has 1 to {VERIFY_MAX_ROWS} rows (VERIFY_MAX_ROWS)"
            )));
        }
        let names = source_names(spec);
        // Shares are rounded up, so the last source is asked for what is left.
        let share = options.sample.div_ceil(names.len().max(1));
        let mut left = options.sample;
        let mut all = Vec::new();
        for name in names {
            if left == 0 {
                break;
            }
            let source = self.sources.get(&name).cloned();
            let source = source.ok_or_else(|| {
                TrainingError::Invalid(format!("source `{name}` is not in the catalog"))
            })?;
            let applied = self.archive.snapshot(&name).await?.applied;
            let (tables, rows) = (self.archive.as_ref(), share.min(left));
            let seed = options.seed;
            let drawn = sample::questions(spec, &source, tables, &applied, rows, seed).await?;
            left -= drawn.as_ref().map_or(0, |questions| questions.at_us.len());
            all.extend(drawn);
        }
        if all.is_empty() {
            return Err(TrainingError::Invalid(format!(
                "no source of service `{}` has archived events yet; verify after the first flush",
                spec.name
            )));
        }
        Ok(all)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "reads of a whole table must not hold up the tasks that serve"
    )]
    /// Read all questions; those whose instant is no longer kept are counted and left out.
    async fn read(
        &self,
        service: &Arc<dyn CompiledService>,
        questions: Questions,
    ) -> Result<(Option<Answers>, u64), TrainingError> {
        let (reader, service) = (Arc::clone(&self.reader), Arc::clone(service));
        tokio::task::spawn_blocking(move || read_all(reader.as_ref(), service.as_ref(), &questions))
            .await?
    }

    async fn check(
        &self,
        spec: &ServiceSpec,
        answers: &Answers,
        report: &mut VerifyReport,
    ) -> Result<(), TrainingError> {
        let rows = answers.features.num_rows();
        let (cuts, resolved) = self.cuts(spec, answers);
        let mut tables = Tables::of(spec, self.archive.as_ref()).await?;
        let mut covered = reached(spec, &self.sources, &tables, &cuts, rows)?;
        if covered.contains(&Some(Reason::ArchiveBehind))
            && let Some(flush) = &self.flush
        {
            flush.flush().await?;
            tables = Tables::of(spec, self.archive.as_ref()).await?;
            covered = reached(spec, &self.sources, &tables, &cuts, rows)?;
        }
        let mut sorted = Sorted::default();
        for row in 0..rows {
            match (resolved[row], covered[row]) {
                (false, _) => sorted.refuse(Reason::EpochForgotten),
                (true, Some(reason)) => sorted.refuse(reason),
                (true, None) => sorted.verifiable.push(RowIndex::at(row).number()),
            }
        }
        sorted.check(rows);
        for (reason, rows) in &sorted.refused {
            report.not_verifiable(*reason, *rows);
        }
        if sorted.verifiable.is_empty() {
            return Ok(());
        }
        let Questions { request, at_us } = &answers.questions;
        let recompute = Recompute {
            service: spec,
            request,
            at_us,
            cuts: &cuts,
        };
        let recomputed = recompute
            .as_applied(self.engine.as_ref(), &tables, &sorted.verifiable)
            .await?;
        let served = pick(&answers.features, &sorted.verifiable)?;
        let at_us: Vec<Micros> = sorted
            .verifiable
            .iter()
            .map(|row| at_us[*row as usize])
            .collect();
        let faults = picked_faults(&answers.faults, &sorted.verifiable);
        let served = Side {
            features: &served,
            faults: &faults,
        };
        let recomputed = Side {
            features: &recomputed.features,
            faults: &recomputed.faults,
        };
        report.compare(served, recomputed, &at_us, |row| {
            key_of(request, sorted.verifiable[row] as usize)
        })
    }

    /// The offsets of every answer; false where the store has forgotten them. A NULL key had
    /// applied nothing.
    fn cuts(&self, spec: &ServiceSpec, answers: &Answers) -> (Cuts, Vec<bool>) {
        let mut cuts = Cuts::new(spec.views.len());
        let nothing = cuts.intern(&Arc::new(Applied::default()));
        let mut epochs: BTreeMap<ShardEpoch, Option<u32>> = BTreeMap::new();
        let mut resolved = Vec::with_capacity(answers.features.num_rows());
        for row in 0..answers.features.num_rows() {
            let mut known = true;
            let numbers: Vec<u32> = answers
                .applied
                .iter()
                .map(|view| {
                    let Some(epoch) = view[row] else {
                        return nothing;
                    };
                    let number = epochs.entry(epoch).or_insert_with(|| {
                        self.online
                            .applied_at(epoch)
                            .map(|applied| cuts.intern(&applied))
                    });
                    known &= number.is_some();
                    number.unwrap_or(nothing)
                })
                .collect();
            cuts.push(&numbers);
            resolved.push(known);
        }
        (cuts, resolved)
    }
}

/// Those of `faults` that are of `rows`, ascending, by their places among these.
fn picked_faults(faults: &[CellFault], rows: &[u32]) -> Vec<CellFault> {
    let picked = faults.iter().filter_map(|fault| {
        let row = rows.binary_search(&fault.row).ok()?;
        let row = RowIndex::at(row).number();
        Some(CellFault {
            row,
            ..fault.clone()
        })
    });
    picked.collect()
}

/// The faults of answers that follow one another.
fn joined_faults(answers: &[FeatureAnswer]) -> Vec<CellFault> {
    let mut first = 0;
    let mut joined = Vec::new();
    for answer in answers {
        joined.extend(answer.faults.iter().map(|fault| CellFault {
            row: RowIndex::at(first + fault.row as usize).number(),
            ..fault.clone()
        }));
        first += answer.features.num_rows();
    }
    joined.sort_by_key(|fault| (fault.column, fault.row));
    joined
}

/// The request and its values at `row`.
pub(crate) fn key_of(
    request: &RecordBatch,
    row: usize,
) -> Result<Vec<(String, Value)>, TrainingError> {
    let value = |(field, column): (&Arc<arrow_schema::Field>, &arrow_array::ArrayRef)| {
        Ok((field.name().clone(), Value::from_array(column, row)?))
    };
    request
        .schema()
        .fields()
        .iter()
        .zip(request.columns())
        .map(value)
        .collect()
}

fn questions_of_spine(
    spec: &ServiceSpec,
    spine: &RecordBatch,
    time_column: &str,
) -> Result<Questions, TrainingError> {
    if spine.num_rows() > VERIFY_MAX_ROWS {
        return Err(TrainingError::Invalid(format!(
            "a spine to verify has at most {VERIFY_MAX_ROWS} rows (VERIFY_MAX_ROWS)"
        )));
    }
    let index = |name: &str| {
        let found = spine.schema().index_of(name);
        found.map_err(|_| TrainingError::Invalid(format!("the spine has no column `{name}`")))
    };
    let times = spine.column(index(time_column)?);
    if times.data_type() != &timestamp_type() || times.null_count() > 0 {
        return Err(TrainingError::Invalid(format!(
            "column `{time_column}` of the spine must be a timestamp in microseconds, UTC, without NULLs"
        )));
    }
    let columns = spec
        .request
        .iter()
        .map(|column| index(&column.name))
        .collect::<Result<Vec<_>, _>>()?;
    let request = spine
        .project(&columns)
        .map_err(TrainingError::arrow("take the request columns"))?;
    Ok(Questions {
        request,
        at_us: times
            .as_primitive::<TimestampMicrosecondType>()
            .values()
            .to_vec(),
    })
}

fn read_all(
    reader: &dyn FeatureReader,
    service: &dyn CompiledService,
    questions: &Questions,
) -> Result<(Option<Answers>, u64), TrainingError> {
    let rows = questions.request.num_rows();
    let mut kept: Vec<u32> = Vec::with_capacity(rows);
    let mut answers: Vec<FeatureAnswer> = Vec::new();
    let step = READ_ROWS.min(REQUEST_MAX_ROWS);
    let mut waiting: Vec<(usize, usize)> = (0..rows)
        .step_by(step)
        .map(|from| (from, (from + step).min(rows)))
        .collect();
    // Answers must stay in the order of their questions: take spans from the front.
    waiting.reverse();
    let mut too_old = 0;
    while let Some((from, to)) = waiting.pop() {
        let request = questions.request.slice(from, to - from);
        match reader.read(service, &request, At::PerRow(&questions.at_us[from..to])) {
            Ok(answer) => {
                kept.extend((from..to).map(|row| RowIndex::at(row).number()));
                answers.push(answer);
            }
            Err(error) if error.kind() == ErrorKind::OutOfRange && to - from > 1 => {
                let middle = from + (to - from) / 2;
                waiting.push((middle, to));
                waiting.push((from, middle));
            }
            Err(error) if error.kind() == ErrorKind::OutOfRange => too_old += 1,
            Err(error) => return Err(error.into()),
        }
    }
    let Some(schema) = answers.first().map(|a| a.features.schema()) else {
        return Ok((None, too_old));
    };
    let features = concat_batches(&schema, answers.iter().map(|a| &a.features))
        .map_err(TrainingError::arrow("join the answers"))?;
    let views = service.spec().views.len();
    let applied = (0..views)
        .map(|v| {
            answers
                .iter()
                .flat_map(|a| a.applied[v].iter().copied())
                .collect()
        })
        .collect();
    check_kept(&kept, too_old, rows);
    let request = pick(&questions.request, &kept)?;
    let at_us = kept
        .iter()
        .map(|row| questions.at_us[*row as usize])
        .collect();
    if features.num_rows() != kept.len() {
        return Err(PortError::internal("the reader answered with another number of rows").into());
    }
    Ok((
        Some(Answers {
            questions: Questions { request, at_us },
            features,
            faults: joined_faults(&answers),
            applied,
            _memory: answers.into_iter().map(|answer| answer.memory).collect(),
        }),
        too_old,
    ))
}

/// Each of `rows` questions has an answer, in their order, or is too old.
fn check_kept(kept: &[u32], too_old: u64, rows: usize) {
    invariant!(
        QuestionsInOrder,
        kept.is_sorted_by(|a, b| a < b),
        "{} questions were kept out of order",
        kept.len()
    );
    invariant!(
        CountsAddUp,
        kept.len() as u64 + too_old == rows as u64,
        "{} answers, {too_old} too old, {rows} questions",
        kept.len()
    );
}
