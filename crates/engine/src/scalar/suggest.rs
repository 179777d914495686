//! What to write for a function that there is not: clocks and chance by name, names of other
//! systems and the nearest name by `functions`.

use super::forms::Form;
use super::functions::instead::{instead, nearest_function};
use super::refusal::Refusal;

/// Functions whose value is no function of the data.
const CLOCKS: &[&str] = &[
    "now",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "today",
    "random",
    "rand",
    "uuid",
    "gen_random_uuid",
    "input_file_name",
];

/// What a function is refused with.
pub(super) fn unknown_function(name: &str) -> Refusal {
    if CLOCKS.contains(&name) {
        return Refusal::at(
            name,
            format!(
                "function '{name}' is no function of the data, so that its value could not be computed again; use the \
                 event-time column, or a request column that brings the value"
            ),
        );
    }
    let form = || {
        let mut forms = Form::ALL.into_iter().map(Form::name);
        forms.find(|form| form.len() > 3 && one_letter_apart(form, name))
    };
    let remedy = match (instead(name), form().or_else(|| nearest_function(name))) {
        (Some(remedy), _) => remedy.to_owned(),
        (None, Some(near)) => format!("did you mean {near}?"),
        (None, None) => "docs/functions.md lists all".to_owned(),
    };
    Refusal::at(name, format!("there is no function {name}; {remedy}"))
}

/// Whether one letter more or less makes one of them the other.
fn one_letter_apart(a: &str, b: &str) -> bool {
    let (long, short) = if a.len() > b.len() { (a, b) } else { (b, a) };
    long.len() == short.len() + 1
        && (0..long.len()).any(|left_out| {
            let kept = long.char_indices().filter(|(i, _)| *i != left_out);
            kept.map(|(_, char)| char).eq(short.chars())
        })
}
