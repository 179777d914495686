//! How a command says how far it is, on standard error: a bar on a terminal, else a line every few
//! seconds. Results never come this way.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

/// Least time between two lines when there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress over a known number of things.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    started: Instant,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// `total` things that are called `what`.
    #[must_use]
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let started = Instant::now();
        if !std::io::stderr().is_terminal() {
            return Self {
                what,
                total,
                started,
                shown: Shown::Lines { last: started },
            };
        }
        let template =
            "  {bar:40} {percent:>3}%  {human_pos}/{human_len} {msg}  {per_sec}, about {eta} left";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style).with_message(what);
        Self {
            what,
            total,
            started,
            shown: Shown::Bar(bar),
        }
    }

    /// `done` of them are done.
    pub(crate) fn at(&mut self, done: u64) {
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_position(done),
            Shown::Lines { last } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    eprintln!(
                        "{}",
                        line(self.what, done, self.total, self.started.elapsed())
                    );
                }
            }
        }
    }

    /// Take the bar away, whatever is done.
    pub(crate) fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// One line of progress.
fn line(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let percent = done as f64 * 100.0 / total.max(1) as f64;
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    format!("{percent:5.1}%  {done} of {total} {what}, {rate:.0}/s")
}

/// Say that a step of unknown length has begun; a spinner with the time that has passed, on a
/// terminal.
#[derive(Debug)]
pub(crate) struct Step {
    what: String,
    started: Instant,
    spinner: Option<ProgressBar>,
}

impl Step {
    /// Begin.
    #[must_use]
    pub(crate) fn begin(what: String) -> Self {
        let started = Instant::now();
        if !std::io::stderr().is_terminal() {
            eprintln!("{what} ...");
            return Self {
                what,
                started,
                spinner: None,
            };
        }
        let spinner = ProgressBar::new_spinner().with_message(what.clone());
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self {
            what,
            started,
            spinner: Some(spinner),
        }
    }

    /// How far it is, in words.
    pub(crate) fn note(&self, far: &str) {
        let line = format!("{}: {far}", self.what);
        match &self.spinner {
            Some(spinner) => spinner.set_message(line),
            None => eprintln!("{line}"),
        }
    }

    /// It is done: say what came out.
    pub(crate) fn done(self, outcome: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        eprintln!("{outcome} ({seconds:.1} s)");
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// What a server says of the step of a change that it is at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Phase {
    /// The step in words.
    step: String,
    /// Rows done, of a fill.
    rows: Option<u64>,
    /// Rows that it has to do, as far as they are known.
    expected_rows: Option<u64>,
    /// Since the step began.
    elapsed_ms: u64,
}

impl Phase {
    /// In one line: the step, and of a fill share, rate and what is left.
    fn line(&self) -> String {
        let (Some(done), Some(expected)) = (self.rows, self.expected_rows) else {
            return self.step.clone();
        };
        let elapsed = Duration::from_millis(self.elapsed_ms);
        let told = line("rows", done, expected, elapsed);
        let left = expected.saturating_sub(done) as f64;
        let seconds = left * elapsed.as_secs_f64() / done.max(1) as f64;
        let eta = (done > 0).then(|| format!(", about {seconds:.0} s left"));
        format!(
            "{}: {}{}",
            self.step,
            told.trim_start(),
            eta.unwrap_or_default()
        )
    }
}

/// Progress over the steps of a change that a server carries out: one line that is kept up to date
/// on a terminal, else a line for each step and every few seconds of a long one.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    shown: Option<(String, Instant)>,
    spinner: Option<ProgressBar>,
}

impl Phases {
    /// The server is at `phase`.
    pub(crate) fn at(&mut self, phase: &Phase) {
        if std::io::stderr().is_terminal() {
            let spinner = self.spinner.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
                let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
                let spinner = ProgressBar::new_spinner().with_style(style);
                spinner.enable_steady_tick(Duration::from_millis(100));
                spinner
            });
            spinner.set_message(phase.line());
        } else if self.is_due(&phase.step, Instant::now()) {
            eprintln!("{}", phase.line());
        }
    }

    /// Whether a line about `step` is due; it counts as shown then.
    fn is_due(&mut self, step: &str, now: Instant) -> bool {
        let shown = self.shown.as_ref();
        let recent = shown.is_some_and(|(known, at)| {
            known == step && now.saturating_duration_since(*at) < LINE_EVERY
        });
        if !recent {
            self.shown = Some((step.to_owned(), now));
        }
        !recent
    }
}

impl Drop for Phases {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_share_count_and_rate() {
        assert_eq!(
            line("events", 50, 200, Duration::from_secs(2)),
            " 25.0%  50 of 200 events, 25/s"
        );
        assert_eq!(
            line("events", 0, 0, Duration::ZERO),
            "  0.0%  0 of 0 events, 0/s"
        );
    }

    #[test]
    fn a_phase_says_share_rate_and_time_left_of_a_fill() {
        let phase = |rows: Option<(u64, u64)>| {
            let (rows, expected_rows) = rows.unzip();
            let step = "fill view v".to_owned();
            Phase {
                step,
                rows,
                expected_rows,
                elapsed_ms: 2_000,
            }
        };
        let cases = [
            (None, "fill view v"),
            (
                Some((50, 200)),
                "fill view v: 25.0%  50 of 200 rows, 25/s, about 6 s left",
            ),
            (Some((0, 200)), "fill view v: 0.0%  0 of 200 rows, 0/s"),
        ];
        for (rows, words) in cases {
            assert_eq!(phase(rows).line(), words);
        }
    }

    #[test]
    fn without_a_terminal_each_step_has_a_line_and_a_long_one_has_more() {
        let (mut phases, start) = (Phases::default(), Instant::now());
        let mut due =
            |step: &str, after_s: u64| phases.is_due(step, start + Duration::from_secs(after_s));
        assert!(due("stop ingest", 0));
        assert!(!due("stop ingest", 4));
        assert!(due("stop ingest", 5));
        assert!(due("fill view v", 6));
        assert!(!due("fill view v", 10));
    }
}
