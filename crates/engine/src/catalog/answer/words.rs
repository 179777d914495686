//! Lengths of time and windows in words, for answers. Nothing reads them back: the exact numbers
//! are in the statement, which an answer has too.

use std::time::Duration;

use forebay_core::time::Micros;
use forebay_core::view::Window;

/// A length of time in words.
pub(in crate::catalog) fn length(micros: Micros) -> String {
    let length = Duration::from_micros(micros.unsigned_abs());
    let (seconds, rest) = (length.as_secs(), length.subsec_micros());
    let (count, unit) = match seconds {
        _ if rest > 0 => return format!("{} us", length.as_micros()),
        0 => return "0 s".to_owned(),
        _ if seconds % 86_400 == 0 => (seconds / 86_400, "days"),
        _ if seconds % 3_600 == 0 => (seconds / 3_600, "h"),
        _ if seconds % 60 == 0 => (seconds / 60, "min"),
        _ => (seconds, "s"),
    };
    match (count, unit) {
        (1, "days") => "1 day".to_owned(),
        _ => format!("{count} {unit}"),
    }
}

/// A window in words.
pub(in crate::catalog) fn window(window: Window) -> String {
    match window {
        Window::Lifetime => "over everything up to now".to_owned(),
        Window::Range { preceding_us } => format!("over {}", length(preceding_us)),
    }
}
