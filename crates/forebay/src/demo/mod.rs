//! `forebay demo`: the whole loop in one process. Plays the flights of 2013 at a chosen pace into
//! the embedded broker (or Apache Kafka), and shows what a server makes of them: features,
//! predictions, late labels, drift. The server's own parts do the work ([`crate::server`]); here
//! are the pace, the live view and the summary.

mod frame;
mod pace;
mod progress;
mod summary;
mod view;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::{ErrorKind, PortError};
use forebay_engine::{Catalog, DefinitionFile, read_definitions};
use forebay_kafka::{ClientSettings, Replayer, Topics};
use tokio::runtime::Handle;

use crate::cli::DemoArgs;
use crate::instant::{self, SystemClock};
use crate::replay::{Selection, Speed, Timeline};
use crate::server::app::App;
use crate::server::listeners::Listeners;
use crate::server::plannings::Caller;
use crate::server::{install_logs, runtime, stop_signal};
use crate::settings::{Broker, LogFormat, Settings};
use crate::terminal::{check_target, print};
use pace::Pace;
use progress::Watch;

/// How long the last events may take to come through.
const DRAIN_MAX: Duration = Duration::from_secs(120);
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// The archive of the demo appends this often, milliseconds.
const ARCHIVE_FLUSH_MS: u64 = 10_000;

/// Run it.
///
/// # Errors
/// Data, definitions, model, broker or an address are not usable; the text names it.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    let speed: Speed = args.speed.parse()?;
    let until_us = instant::parse(&args.until)?;
    let definitions = read_definitions(&args.sql)?;
    let catalog = Catalog::empty().plan(&definitions)?.catalog;
    if let Some(path) = &args.summary {
        check_target("--summary", path)?;
    }
    let sources: Vec<_> = catalog.sources().values().cloned().collect();
    let timeline = load(&args.data, &sources, until_us)?;
    let place = Place::new(args)?;
    let settings = settings(args, &place)?;
    install_logs(&settings)?;
    if let Some(bootstrap) = &args.bootstrap {
        refuse_used_topics(bootstrap, &catalog)?;
    }
    let runtime = runtime(&settings)?;
    let clock = Arc::new(SystemClock);
    let app = Arc::new(App::open(settings, clock, runtime.handle().clone())?);
    let demo = Demo {
        args,
        definitions,
        catalog,
        timeline,
        speed,
        place,
        interrupted: interruption(runtime.handle()),
        app: Arc::clone(&app),
    };
    let outcome = demo.show(runtime.handle());
    // Also after an error: what runs uses the runtime, which is gone behind this.
    let stopped = app.stop();
    let is_complete = outcome?;
    stopped?;
    Ok(if is_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is played, where, and by what.
struct Demo<'a> {
    args: &'a DemoArgs,
    definitions: Vec<DefinitionFile>,
    catalog: Catalog,
    timeline: Timeline,
    speed: Speed,
    place: Place,
    interrupted: Arc<AtomicBool>,
    app: Arc<App>,
}

impl Demo<'_> {
    /// Play the events and tell what came of them; false where some did not come through.
    fn show(&self, runtime: &Handle) -> Result<bool> {
        let app = &self.app;
        app.begin()?;
        app.apply(&self.definitions, &Caller::stays())?;
        app.answers();
        let listeners = Listeners::start(app)?;
        let started = Instant::now();
        eprintln!("{}", opening(app, &listeners, &self.timeline));
        let mut pace = Pace::new(app, predictions_per_event(&self.catalog));
        self.play(&mut pace)?;
        let summary = summary::Summary::of(app, &pace, started.elapsed())?;
        print(&format!("{}\n", summary.text()))?;
        if let Some(path) = &self.args.summary {
            std::fs::write(path, serde_json::to_vec_pretty(&summary)?)
                .with_context(|| format!("cannot write the summary to {}", path.display()))?;
        }
        let next = next_steps(self.args, app, &listeners, &self.place);
        print(&format!("{next}\n"))?;
        if self.args.serve && !self.is_interrupted() {
            eprintln!("serving; end with Ctrl-C");
            while !self.is_interrupted() {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        listeners.stop(runtime);
        Ok(summary.is_complete() || self.is_interrupted())
    }

    /// Play the events until all have come through, or for [`DRAIN_MAX`] longer.
    fn play(&self, pace: &mut Pace<'_>) -> Result<()> {
        let watch = Watch::start(Arc::clone(&self.app), self.timeline.len() as u64);
        let (timeline, interrupted) = (&self.timeline, &self.interrupted);
        play(&self.app, timeline, self.speed, pace, &watch, interrupted)?;
        let drained = pace.drain(DRAIN_MAX, DRAIN_POLL, interrupted);
        self.app.flush()?;
        watch.finish();
        if !drained {
            let why = if self.is_interrupted() {
                "interrupted"
            } else {
                "gave up waiting"
            };
            eprintln!("{why}: {} had come through", pace.standing());
        }
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// Becomes true when the process is told to stop.
fn interruption(runtime: &Handle) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    runtime.spawn(async move {
        if stop_signal().await.is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    interrupted
}

/// The events before `until_us`; that there is none is said with the range that there is.
fn load(data: &Path, sources: &[Arc<SourceDef>], until_us: Micros) -> Result<Timeline> {
    let timeline = Timeline::load(
        data,
        sources,
        Selection {
            until_us: Some(until_us),
            ..Selection::default()
        },
    )?;
    if timeline.len() == 0 {
        let (first, last) = Timeline::load(data, sources, Selection::default())?
            .span_us()
            .with_context(|| format!("the files in {} hold no event", data.display()))?;
        bail!(
            "--until {} leaves no event: those in {} go from {} to {}",
            instant::format(until_us),
            data.display(),
            instant::format(first),
            instant::format(last)
        );
    }
    Ok(timeline)
}

/// Predictions that one event of a source makes: one of each deployment on it, and one of each
/// shadow.
fn predictions_per_event(catalog: &Catalog) -> BTreeMap<String, u64> {
    let mut each = BTreeMap::new();
    for deployment in catalog.deployments().values() {
        let shadows = deployment
            .routes
            .iter()
            .filter(|route| route.shadow)
            .count();
        *each.entry(deployment.source.clone()).or_default() += 1 + shadows as u64;
    }
    each
}

/// The demo counts from empty topics: records of an earlier run would be read and scored as if this
/// one had sent them.
fn refuse_used_topics(bootstrap: &str, catalog: &Catalog) -> Result<()> {
    let topics = Topics::new(ClientSettings::new(bootstrap))?;
    let of_sources = catalog
        .sources()
        .values()
        .map(|source| source.topic.clone());
    let of_predictions = catalog.deployments().values().flat_map(|deployment| {
        let shadow = deployment.routes.iter().any(|route| route.shadow);
        std::iter::once(deployment.topic.clone())
            .chain(shadow.then(|| format!("{}.shadow", deployment.topic)))
    });
    let mut used = Vec::new();
    for topic in of_sources.chain(of_predictions) {
        let records = topics.records(&topic)?;
        if records > 0 {
            used.push(format!("{topic} ({records} records)"));
        }
    }
    ensure!(
        used.is_empty(),
        "the Kafka at {bootstrap} holds an earlier run: {}; the demo counts from empty topics, so delete these, or give a \
         --bootstrap without them (`make demo BROKER=kafka` starts one)",
        used.join(", ")
    );
    Ok(())
}

/// Where the demo keeps its data.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn new(args: &DemoArgs) -> Result<Self> {
        if let Some(path) = &args.data_dir {
            ensure!(
                !path.join("catalog.json").exists(),
                "{} holds an earlier run, whose broker is gone; give an empty --data-dir",
                path.display()
            );
            return Ok(Self::Kept(path.clone()));
        }
        let made = tempfile::Builder::new()
            .prefix("forebay-demo-")
            .tempdir()
            .context("cannot make a temporary directory")?;
        Ok(if args.keep {
            Self::Kept(made.keep())
        } else {
            Self::Temporary(made)
        })
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Kept(path) => path.clone(),
            Self::Temporary(dir) => dir.path().to_owned(),
        }
    }
}

fn settings(args: &DemoArgs, place: &Place) -> Result<Settings> {
    let mut settings = Settings::of_environment(None)?;
    settings.server.data_dir = place.path();
    settings.server.flight_addr = args.flight_addr;
    settings.server.http_addr = args.http_addr;
    settings.ingest.archive_flush_ms = ARCHIVE_FLUSH_MS;
    match &args.bootstrap {
        Some(bootstrap) => {
            settings.kafka.broker = Broker::Kafka;
            settings.kafka.bootstrap.clone_from(bootstrap);
            // The demo plays into topics of its own.
            settings.kafka.create_source_topics = true;
        }
        None => settings.kafka.broker = Broker::Embedded,
    }
    if std::env::var_os("FOREBAY_LOG_LEVEL").is_none() {
        // The live view owns the screen; what needs a person still shows.
        settings.log.level = "error".to_owned();
    }
    settings.log.format = LogFormat::Plain;
    settings.validate()?;
    Ok(settings)
}

fn play(
    app: &App,
    timeline: &Timeline,
    speed: Speed,
    pace: &mut Pace<'_>,
    watch: &Watch,
    interrupted: &AtomicBool,
) -> Result<()> {
    let kafka = &app.settings.kafka;
    let replayer = Replayer::new(kafka.producer(app.broker.client(), app.shares.unsent))?;
    let partitions = kafka.partitions;
    let pace = std::cell::RefCell::new(pace);
    let outcome = timeline.play(
        speed,
        |_| {
            ensure!(!interrupted.load(Ordering::Relaxed), Interrupted);
            if let Some(why) = app.status().failed {
                let words = format!("ingest has stopped: {why}");
                return Err(PortError::new(ErrorKind::Unavailable, words).into());
            }
            Ok(pace.borrow_mut().may_send())
        },
        |event| {
            let partition = event.partition(partitions);
            // Dated now: a broker would soon delete records of 2013.
            replayer.send(
                &event.source.topic,
                Some(partition),
                b"",
                &event.payload,
                None,
            )?;
            pace.borrow_mut().note(&event.source.name);
            watch.sent();
            Ok(())
        },
    );
    match outcome {
        Err(error) if error.is::<Interrupted>() => {}
        outcome => outcome?,
    }
    replayer.flush(DRAIN_MAX)?;
    Ok(())
}

/// A person has had enough.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

fn opening(app: &App, listeners: &Listeners, timeline: &Timeline) -> String {
    let events: Vec<String> = timeline
        .events_by_source()
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    let broker = if app.broker.is_embedded() {
        "in-process Kafka"
    } else {
        "Apache Kafka"
    };
    format!(
        "Forebay demo: {} of New York, 2013\n  broker {} at {}\n  features at grpc://{}  metrics at http://{}/metrics\n",
        events.join(", "),
        broker,
        app.broker.bootstrap(),
        listeners.flight_addr(),
        listeners.http_addr()
    )
}

fn next_steps(args: &DemoArgs, app: &App, listeners: &Listeners, place: &Place) -> String {
    let mut text = String::from("Try next\n");
    if args.serve {
        let flight = listeners.flight_addr();
        let newest = app
            .marks()
            .all()
            .values()
            .copied()
            .min()
            .map_or_else(|| "NOW".to_owned(), instant::format);
        text += &format!(
            "  forebay get delay_features origin=JFK dest=BOS carrier=B6 dep_delay=12 --at {newest} --flight-addr {flight}\n  \
               forebay verify delay_features --sample 10000 --predictions --flight-addr {flight}\n  \
               curl -s http://{}/metrics | grep forebay_monitor\n",
            listeners.http_addr()
        );
    } else {
        text += "  make demo ARGS=\"--serve\"                    stays up, for forebay get, forebay verify and pyarrow\n  \
                   make demo BROKER=kafka                       the same on Apache Kafka\n  \
                   make demo ARGS=\"--speed max --keep\"          as fast as it goes; keeps the Delta tables\n";
    }
    if let Place::Kept(path) = place {
        text += &format!(
            "  the data is in {} (Delta tables under offline/)\n",
            path.display()
        );
    }
    text
}
