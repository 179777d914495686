//! Watches the app while the replay runs and paints frames: a thread that reads counters twice a
//! second and the monitors every few seconds, since their statistics cost more. It decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay_core::prediction::Role;
use forebay_monitor::WindowState;

use super::frame::Frame;
use super::summary::drifted;
use super::view::View;
use crate::server::app::App;

const FRAME_EVERY: Duration = Duration::from_millis(500);
/// Frames between two looks at the monitors.
const MONITOR_FRAMES: u32 = 4;

/// The painting thread.
#[derive(Debug)]
pub(crate) struct Watch {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Start painting; `total` events are to come. Without a thread the demo runs blind.
    #[must_use]
    pub(crate) fn start(app: Arc<App>, total: u64) -> Self {
        let (sent, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, stopped) = (Arc::clone(&sent), Arc::clone(&stop));
        let spawned = std::thread::Builder::new()
            .name("view".to_owned())
            .spawn(move || paint(&app, total, &count, &stopped));
        Self {
            sent,
            stop,
            thread: spawned.ok(),
        }
    }

    /// One more event was sent.
    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Leave the last frame standing.
    pub(crate) fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                eprintln!("the live view has failed; the demo itself goes on");
            }
        }
    }
}

fn paint(app: &App, total: u64, sent: &AtomicU64, stopped: &AtomicBool) {
    let mut view = View::new(total);
    let mut frame = Frame {
        total,
        ..Frame::default()
    };
    let mut before = (Instant::now(), 0_u64, 0_u64);
    let mut number = 0_u32;
    loop {
        let last = stopped.load(Ordering::Relaxed);
        let feature_rows = counters(app, &mut frame, sent.load(Ordering::Relaxed));
        let passed = before.0.elapsed().as_secs_f64();
        if passed > 0.1 {
            frame.events_per_s = frame.read.saturating_sub(before.1) as f64 / passed;
            frame.feature_reads_per_s = feature_rows.saturating_sub(before.2) as f64 / passed;
            before = (Instant::now(), frame.read, feature_rows);
        }
        if last || number.is_multiple_of(MONITOR_FRAMES) {
            monitors(app, &mut frame);
        }
        number += 1;
        if last {
            view.finish(&frame);
            return;
        }
        view.show(&frame);
        std::thread::park_timeout(FRAME_EVERY);
    }
}

/// Fill what the pipeline counts; returns the rows of features read so far.
fn counters(app: &App, frame: &mut Frame, sent: u64) -> u64 {
    let status = app.status();
    let events = status
        .sources
        .iter()
        .filter(|(name, _)| !name.starts_with("predictions_"));
    let events: Vec<_> = events.map(|(_, source)| source).collect();
    frame.sent = sent;
    frame.read = events.iter().map(|s| s.rows).sum();
    frame.lag_records = events.iter().map(|s| s.lag_records).sum();
    frame.watermark_us = events.iter().filter_map(|s| s.watermark_us).min();
    frame.dead_letters = status.sources.values().map(|s| s.dead_letters).sum();
    frame.predictions = status.predictions;
    status.feature_rows
}

fn monitors(app: &App, frame: &mut Frame) {
    for report in app.reports() {
        for series in report.series.iter().filter(|s| s.role == Role::Live) {
            let mut closed = series
                .windows
                .iter()
                .filter(|w| w.state == WindowState::Closed);
            frame.windows = closed.clone().count();
            frame.drifted = closed.next_back().map(drifted).unwrap_or_default();
            if let Some(overall) = &series.overall {
                frame.labelled = overall.labelled;
                frame.auc = overall.auc;
            }
        }
    }
}
