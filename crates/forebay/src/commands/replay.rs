//! `forebay replay`: the events of Parquet files become records of their sources' topics, in
//! event-time order, at a chosen pace. Topics that are missing are made. What is sent, and to which
//! partition, does not change from one replay to the next; a record's Kafka time is the present, so
//! that brokers keep old events as long as new ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use forebay_core::source::SourceDef;
use forebay_engine::{Catalog, read_definitions};
use forebay_kafka::{ClientSettings, ProducerSettings, Replayer, TopicStatus, Topics};

use super::progress::Progress;
use crate::cli::ReplayArgs;
use crate::instant;
use crate::replay::{Selection, Speed, Timeline};
use crate::terminal::{log_from, print};

/// How long records are gathered before they are sent: throughput matters here, not the delay of
/// one record.
const LINGER: Duration = Duration::from_millis(10);
/// How long the last records may take to be acknowledged.
const FLUSH_MAX: Duration = Duration::from_secs(120);
/// Events between two looks at the progress.
const SHOW_EVERY: u64 = 256;

/// Run the command.
pub(super) fn run(args: &ReplayArgs) -> Result<ExitCode> {
    log_from("warn")?;
    let speed: Speed = args.speed.parse().context("--speed")?;
    let selection = selection(args)?;
    ensure!(
        args.dir.is_dir(),
        "{} is no folder; give one with a NAME.parquet a source",
        args.dir.display()
    );
    let catalog = Catalog::empty()
        .plan(&read_definitions(&args.sql)?)?
        .catalog;
    let sources: Vec<Arc<SourceDef>> = catalog.sources().values().cloned().collect();
    ensure!(
        !sources.is_empty(),
        "the definitions in {} have no source",
        args.sql.display()
    );
    let timeline = Timeline::load(&args.dir, &sources, selection)?;
    let Some((first_us, last_us)) = timeline.span_us() else {
        print(&format!(
            "no event of {} is between --from and --until; nothing was sent\n",
            args.dir.display()
        ))?;
        return Ok(ExitCode::SUCCESS);
    };
    let client = ClientSettings::new(&args.bootstrap);
    let partitions = ensure_topics(&client, &timeline, &sources, args.partitions)?;
    eprintln!(
        "replaying {} events from {} to {} to {}",
        timeline.len(),
        instant::format(first_us),
        instant::format(last_us),
        args.bootstrap
    );
    let started = Instant::now();
    let sent = play(client, &timeline, speed, &partitions)?;
    print(&report(&sent, &partitions, started.elapsed()))?;
    Ok(ExitCode::SUCCESS)
}

fn selection(args: &ReplayArgs) -> Result<Selection> {
    let from_us = args
        .from
        .as_deref()
        .map(instant::parse)
        .transpose()
        .context("--from")?;
    let until_us = args
        .until
        .as_deref()
        .map(instant::parse)
        .transpose()
        .context("--until")?;
    if let (Some(from), Some(until)) = (from_us, until_us) {
        ensure!(
            from < until,
            "--from {} is not before --until {}",
            instant::format(from),
            instant::format(until)
        );
    }
    let shuffle = args.shuffle_within.unwrap_or_default();
    let shuffle_us = i64::try_from(shuffle.as_micros()).context("--shuffle-within is too long")?;
    Ok(Selection {
        from_us,
        until_us,
        shuffle_us,
        seed: args.seed,
    })
}

/// A topic and its partitions, by source.
type Targets<'a> = BTreeMap<&'a str, (&'a str, i32)>;

/// Make the topics that are missing, of the sources that have events.
fn ensure_topics<'a>(
    client: &ClientSettings,
    timeline: &Timeline,
    sources: &'a [Arc<SourceDef>],
    partitions: i32,
) -> Result<Targets<'a>> {
    let topics = Topics::new(client.clone())?;
    let events = timeline.events_by_source();
    let mut targets = Targets::new();
    for source in sources
        .iter()
        .filter(|source| events.contains_key(source.name.as_str()))
    {
        let found = match topics.ensure(&source.topic, partitions, 1)? {
            TopicStatus::Created => {
                eprintln!("made topic '{}' with {partitions} partitions", source.topic);
                partitions
            }
            TopicStatus::Existing { partitions } => {
                i32::try_from(partitions).context("too many partitions")?
            }
        };
        targets.insert(&source.name, (&source.topic, found));
    }
    Ok(targets)
}

/// Send everything and wait for the acknowledgements; events by source.
fn play(
    client: ClientSettings,
    timeline: &Timeline,
    speed: Speed,
    targets: &Targets<'_>,
) -> Result<BTreeMap<String, u64>> {
    let producer = Replayer::new(ProducerSettings {
        linger: LINGER,
        ..ProducerSettings::new(client)
    })?;
    let mut progress = Progress::new("events", timeline.len() as u64);
    let mut sent: BTreeMap<String, u64> = targets
        .keys()
        .map(|source| ((*source).to_owned(), 0))
        .collect();
    let mut done = 0;
    let played = timeline.play(
        speed,
        |_| Ok(true),
        |event| {
            let source = event.source.name.as_str();
            let (topic, partitions) = targets
                .get(source)
                .context("a source with events has a topic")?;
            producer.send(
                topic,
                Some(event.partition(*partitions)),
                &[],
                &event.payload,
                None,
            )?;
            if let Some(count) = sent.get_mut(source) {
                *count += 1;
            }
            done += 1;
            if done % SHOW_EVERY == 0 {
                progress.at(done);
            }
            Ok(())
        },
    );
    let acknowledged = played.and_then(|()| Ok(producer.flush(FLUSH_MAX)?));
    progress.finish();
    let acknowledged = acknowledged.with_context(|| {
        let acknowledged = producer.acknowledged();
        let remedy = if done == 0 {
            ""
        } else {
            "; replay into new topics"
        };
        format!("stopped after {done} events, {acknowledged} of them acknowledged{remedy}")
    })?;
    ensure!(
        acknowledged == done,
        "{acknowledged} of {done} events were acknowledged"
    );
    Ok(sent)
}

fn report(sent: &BTreeMap<String, u64>, targets: &Targets<'_>, took: Duration) -> String {
    let total: u64 = sent.values().sum();
    let mut out = String::new();
    for (source, events) in sent {
        let (topic, partitions) = targets.get(source.as_str()).copied().unwrap_or(("-", 0));
        writeln!(
            out,
            "{source:<20} {events:>10} events in topic {topic} ({partitions} partitions)"
        )
        .expect("a String takes any text");
    }
    let seconds = took.as_secs_f64();
    let rate = total as f64 / seconds.max(1e-9);
    writeln!(
        out,
        "{:<20} {total:>10} events acknowledged in {seconds:.1} s ({rate:.0}/s)",
        "all"
    )
    .expect("a String takes any text");
    out
}

#[cfg(test)]
mod tests {
    use forebay_kafka::EmbeddedBroker;

    use super::*;

    #[test]
    fn a_report_counts_each_source_and_all() {
        let sent = BTreeMap::from([("arrivals".to_owned(), 3), ("departures".to_owned(), 5)]);
        let targets = Targets::from([("arrivals", ("a.v1", 4)), ("departures", ("departures", 2))]);
        let text = report(&sent, &targets, Duration::from_secs(2));
        for part in [
            "3 events in topic a.v1 (4 partitions)",
            "8 events acknowledged in 2.0 s (4/s)",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn events_reach_the_topics_of_their_sources() -> Result<()> {
        let dir = tempfile::tempdir()?;
        crate::replay::tests::write(dir.path(), "a", &[30, 10, 50])?;
        crate::replay::tests::write(dir.path(), "b", &[20])?;
        let sources = [
            crate::replay::tests::source("a"),
            crate::replay::tests::source("b"),
        ];
        let timeline = Timeline::load(dir.path(), &sources, Selection::default())?;
        let broker = EmbeddedBroker::start()?;
        broker.create_topic("a", 2)?;
        broker.create_topic("b", 1)?;
        let client = ClientSettings::new(broker.bootstrap());
        let targets = ensure_topics(&client, &timeline, &sources, 4)?;
        assert_eq!(targets, Targets::from([("a", ("a", 2)), ("b", ("b", 1))]));
        let sent = play(client, &timeline, Speed::Max, &targets)?;
        assert_eq!(
            sent,
            BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)])
        );
        Ok(())
    }
}
