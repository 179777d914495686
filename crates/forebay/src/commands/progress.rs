//! How a command says how far it is, on standard error: a bar on a terminal, else a line every few
//! seconds. Results never come this way.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

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
                started,
                spinner: None,
            };
        }
        let spinner = ProgressBar::new_spinner().with_message(what);
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self {
            started,
            spinner: Some(spinner),
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
}
