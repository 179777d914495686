//! `forebay dead-letters replay`: letters that the definition in force takes are produced once
//! more. A first pass over the table decides what becomes of each (`decide`) and produces nothing;
//! then `log` says whether the log is their own, and a second pass sends them a group at a time:
//! sent, acknowledged by all replicas, noted (`notes`), and only then the next.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use forebay_core::time::Clock as _;
use forebay_kafka::{Record, RecordAgain, RecordDecoder, Reject, Republisher, UNSENT_MIN_BYTES};
use forebay_offline::StoredLetter;
use forebay_pipeline::left_out::Among;

use super::decide::{Allowed, Facts, Verdict, again, decide};
use super::log::check_own;
use super::notes::{Notes, Replayed};
use super::opened::{Extent, Opened};
use super::report::Report;
use super::select::Filter;
use crate::cli::DeadLettersReplayArgs;
use crate::commands::progress::{Progress, Step};
use crate::exit;
use crate::instant::{self, SystemClock};
use crate::terminal::{block_on, print};

/// Records that are sent and noted together: a crash between the two makes no more come twice.
const GROUP_MAX_RECORDS: usize = 256;
/// Bytes of them, roughly.
const GROUP_MAX_BYTES: usize = UNSENT_MIN_BYTES / 4;

/// Run the command.
pub(super) fn run(args: &DeadLettersReplayArgs) -> Result<ExitCode> {
    let places = places(&args.places)?;
    let (source, reason) = (args.source.as_ref(), args.reason.as_ref());
    let filter = Filter::of(source, reason, args.since.as_ref())?.at(places.clone());
    let opened = Opened::of(&args.archive)?;
    let allowed = Allowed {
        again: args.again,
        without_key: args.without_key,
    };
    let data_dir = &opened.settings.server.data_dir;
    let known = Replayed::of(data_dir)?;
    let step = Step::begin("judging dead letters by the definitions in force".to_owned());
    let mut report = block_on(planned(&opened, &filter, allowed, &known))?;
    step.done(&format!(
        "{} records can be produced once more",
        report.planned()
    ));
    if let (Some(source), true) = (source, report.is_empty()) {
        opened.source(source)?;
    }
    if !args.dry_run && report.planned() > 0 {
        let outcome = produce(&opened, &filter, allowed, &mut report);
        if let Err(error) = outcome {
            let produced = report.produced();
            return Err(error.context(format!(
                "stopped after {produced} of {} records, which are noted; run it again for the rest",
                report.planned()
            )));
        }
    }
    let source = source.map(String::as_str).unwrap_or_default();
    print(&report.text(args.dry_run, (source, &places)))?;
    Ok(match report.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::FOUND),
    })
}

/// `PARTITION OFFSET ..` as places.
fn places(numbers: &[i64]) -> Result<BTreeSet<(i32, i64)>> {
    let Some((partition, offsets)) = numbers.split_first() else {
        return Ok(BTreeSet::new());
    };
    let partition = i32::try_from(*partition);
    let partition = partition.with_context(|| format!("{} is no partition", numbers[0]))?;
    ensure!(
        !offsets.is_empty(),
        "give a partition and one or more offsets in it"
    );
    Ok(offsets.iter().map(|offset| (partition, *offset)).collect())
}

/// What becomes of each letter that `filter` means; produces nothing.
async fn planned(
    opened: &Opened,
    filter: &Filter,
    allowed: Allowed,
    known: &Replayed,
) -> Result<Report> {
    let mut report = Report::default();
    let see = |letter: StoredLetter| {
        if filter.takes(&letter) {
            let verdict = verdict(opened, &letter, allowed, known)?;
            report.plan(&letter, verdict);
        }
        Ok(())
    };
    opened
        .letters(Extent::Whole, &Among::default(), see)
        .await?;
    Ok(report)
}

/// What becomes of `letter` by the definitions in force, were it produced now.
pub(super) fn verdict(
    opened: &Opened,
    letter: &StoredLetter,
    allowed: Allowed,
    known: &Replayed,
) -> Result<Verdict> {
    let facts = Facts {
        source: opened
            .catalog
            .sources()
            .get(&letter.source)
            .map(AsRef::as_ref),
        is_own_topic: opened.writes(&letter.partition.topic),
        is_replayed: known.has(&letter.partition, letter.offset),
    };
    decide(letter, facts, allowed, |source| fault(source, letter))
}

/// What `source` finds wrong with `letter`, were it produced now.
fn fault(source: &SourceDef, letter: &StoredLetter) -> Result<Option<Reject>> {
    let mut decoder = RecordDecoder::new(source, source.event_future_max_us)?;
    let record = Record {
        key: letter.key.as_deref(),
        payload: letter.payload.as_deref(),
        kafka_time_us: Some(SystemClock.now_us()),
        broker_time: false,
    };
    Ok(decoder.push(&record).err())
}

/// Produce what is planned, and note it in `report`.
fn produce(opened: &Opened, filter: &Filter, allowed: Allowed, report: &mut Report) -> Result<()> {
    let notes = Notes::hold(&opened.settings.server.data_dir)?;
    notes.check_room(report.planned())?;
    for source in report.sources() {
        block_on(check_own(opened, opened.source(source)?))?;
    }
    let kafka = &opened.settings.kafka;
    let producer = kafka.producer(opened.client()?, UNSENT_MIN_BYTES);
    let mut group = Group {
        republisher: Republisher::new(producer)?,
        notes,
        records: Vec::new(),
        letters: Vec::new(),
        bytes: 0,
        progress: Progress::new("records", report.planned()),
        report,
    };
    let sent = block_on(opened.letters(Extent::Whole, &Among::default(), |letter| {
        if !filter.takes(&letter) {
            return Ok(());
        }
        // Judged again, by what has been noted meanwhile too.
        match verdict(opened, &letter, allowed, &group.notes.replayed)? {
            Verdict::Replay => group.add(&letter),
            Verdict::Leave(..) => Ok(()),
        }
    }));
    let sent = sent.and_then(|()| group.send());
    group.progress.finish();
    sent
}

/// Records that are sent together.
struct Group<'a> {
    republisher: Republisher,
    notes: Notes,
    records: Vec<RecordAgain>,
    /// Where each of them stands, with its source.
    letters: Vec<(TopicPartition, i64, String)>,
    bytes: usize,
    progress: Progress,
    report: &'a mut Report,
}

impl Group<'_> {
    fn add(&mut self, letter: &StoredLetter) -> Result<()> {
        let record = again(letter);
        self.bytes += record.payload.len() + record.key.as_ref().map_or(0, Vec::len);
        self.records.push(record);
        let (place, source) = (letter.partition.clone(), letter.source.clone());
        self.letters.push((place, letter.offset, source));
        match self.records.len() < GROUP_MAX_RECORDS && self.bytes < GROUP_MAX_BYTES {
            true => Ok(()),
            false => self.send(),
        }
    }

    /// Send what is there, and note what the broker has of it, also where some of it failed.
    fn send(&mut self) -> Result<()> {
        let outcomes = self.republisher.publish(&self.records);
        let (mut done, mut failed) = (Vec::new(), None);
        for (letter, outcome) in self.letters.drain(..).zip(outcomes) {
            match outcome {
                Ok(()) => done.push(letter),
                Err(error) => failed = failed.or(Some((letter, error))),
            }
        }
        self.records.clear();
        self.bytes = 0;
        let places = done
            .iter()
            .map(|(place, offset, _)| (place.clone(), *offset));
        let at = instant::format(SystemClock.now_us());
        self.notes.add(&places.collect::<Vec<_>>(), &at)?;
        for (_, _, source) in &done {
            self.report.produce(source);
        }
        self.progress.at(self.report.produced());
        match failed {
            None => Ok(()),
            Some(((place, offset, source), error)) => Err(error).with_context(|| {
                format!(
                    "the dead letter {source} {} {offset} was not produced",
                    place.partition
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_partition_and_offsets_in_it() -> Result<()> {
        assert_eq!(places(&[])?, BTreeSet::new());
        assert_eq!(places(&[3, 7, 8])?, BTreeSet::from([(3, 7), (3, 8)]));
        let error = places(&[1 << 40, 7]).expect_err("no partition");
        assert!(error.to_string().contains("1099511627776"), "{error}");
        assert!(places(&[3]).is_err());
        Ok(())
    }
}
