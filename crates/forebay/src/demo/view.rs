//! The live view of the demo: repaints a few lines and a bar on a terminal, prints a line every few
//! seconds otherwise. Frames come from `frame`, finished; nothing is measured or counted here.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::frame::Frame;

/// How often a line is printed when there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Where frames go.
#[derive(Debug)]
pub(crate) enum View {
    /// A terminal.
    Live {
        /// The bar over all events.
        bar: ProgressBar,
        /// One bar without a bar for each line.
        lines: Vec<ProgressBar>,
        /// Keeps them together.
        all: MultiProgress,
    },
    /// A file or a pipe.
    Plain {
        /// When the last line was printed.
        printed: Option<Instant>,
    },
}

impl View {
    /// For the standard error stream as it is.
    #[must_use]
    pub(crate) fn new(total: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Plain { printed: None };
        }
        let all = MultiProgress::new();
        let line = ProgressStyle::with_template("  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let lines = (0..Frame::default().lines().len())
            .map(|_| all.add(ProgressBar::new_spinner().with_style(line.clone())))
            .collect();
        let style = ProgressStyle::with_template(
            "  {bar:50} {percent:>3}%  {elapsed_precise} (about {eta} left)",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = all.add(ProgressBar::new(total).with_style(style));
        Self::Live { bar, lines, all }
    }

    /// Show `frame`.
    pub(crate) fn show(&mut self, frame: &Frame) {
        match self {
            Self::Live { bar, lines, .. } => {
                for (line, text) in lines.iter().zip(frame.lines()) {
                    line.set_message(text);
                }
                bar.set_position(frame.sent);
            }
            Self::Plain { printed } => {
                if printed.is_none_or(|at| at.elapsed() >= PLAIN_EVERY) {
                    *printed = Some(Instant::now());
                    eprintln!("{}", frame.line());
                }
            }
        }
    }

    /// Leave the last frame standing.
    pub(crate) fn finish(&self, frame: &Frame) {
        match self {
            Self::Live { bar, lines, all } => {
                // An interrupted demo stays where it was: only what is whole is shown as whole.
                lines.iter().for_each(ProgressBar::abandon);
                bar.set_position(frame.sent);
                bar.abandon();
                // Nothing to say when the terminal has gone away.
                let _gone = all.println("");
            }
            Self::Plain { .. } => eprintln!("{}", frame.line()),
        }
    }
}
