//! Why an expression is not taken, and what to write instead. Some refusals are made where only
//! DataFusion's error can leave (coercion of a call's arguments); they travel inside of its words,
//! between two control characters that no text has, and are taken out again where errors end.

use std::fmt;

use datafusion::error::DataFusionError;

use crate::patience::GivenUp;

const BEGIN: char = '\u{2}';
const BETWEEN: char = '\u{1f}';
const END: char = '\u{3}';

/// An expression that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A word of the text, where it stands.
    pub(crate) word: Option<String>,
    /// What is not taken, and what to write.
    pub(crate) message: String,
    /// Nobody waits for the answer any more: nothing is wrong with the text.
    pub(crate) given_up: Option<GivenUp>,
}

impl From<GivenUp> for Refusal {
    fn from(given_up: GivenUp) -> Self {
        Self {
            message: given_up.to_string(),
            given_up: Some(given_up),
            word: None,
        }
    }
}

impl Refusal {
    /// What stands nowhere in particular.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            word: None,
            message: message.into(),
            given_up: None,
        }
    }

    /// What stands at `word`.
    pub(crate) fn at(word: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            word: Some(word.into()),
            message: message.into(),
            given_up: None,
        }
    }

    /// The refusal that travels in `error`, if one does.
    pub(crate) fn within(error: &DataFusionError) -> Option<Self> {
        let words = error.to_string();
        let (_, rest) = words.split_once(BEGIN)?;
        let (word, rest) = rest.split_once(BETWEEN)?;
        let (message, _) = rest.split_once(END)?;
        Some(Self {
            word: (!word.is_empty()).then(|| word.to_owned()),
            message: message.to_owned(),
            given_up: None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Refusal> for DataFusionError {
    fn from(refusal: Refusal) -> Self {
        let word = refusal.word.unwrap_or_default();
        Self::Plan(format!("{BEGIN}{word}{BETWEEN}{}{END}", refusal.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_out_of_any_words_around_it() {
        let refusal = Refusal::at("lower", "lower takes VARCHAR; write CAST(..)");
        let inner = DataFusionError::from(refusal.clone());
        let outer = DataFusionError::Execution(format!("coercion failed with: {inner}; really"));
        assert_eq!(Refusal::within(&outer), Some(refusal));
        let plain = Refusal::new("nothing is there");
        assert_eq!(Refusal::within(&plain.clone().into()), Some(plain));
        assert_eq!(Refusal::within(&DataFusionError::Plan("x".into())), None);
    }
}
