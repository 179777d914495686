//! Regular expressions whose time is bounded, not only linear in the text: a search takes at worst
//! the text's length times the size of the compiled pattern, which is no bound where both are
//! large. So a pattern knows its size, and does not search a text that is too long for it.
//! Functions of regular expressions, LIKE and SIMILAR TO search by it.

use forebay_core::fault::FaultKind;
use forebay_core::limits::{REGEX_MAX_BYTES, REGEX_MAX_WORK};
use regex::{Regex, RegexBuilder};

/// The size from which on a pattern's size is measured, bytes.
const LEAST_BYTES: usize = 4 << 10;

/// A compiled pattern, and how large it is.
#[derive(Debug, Clone)]
pub(crate) struct BoundedRegex {
    regex: Regex,
    /// A power of two, less than twice its size.
    bytes: usize,
}

impl BoundedRegex {
    /// The pattern of `builder`.
    ///
    /// # Errors
    /// It is none; it is larger than [`REGEX_MAX_BYTES`].
    pub(crate) fn build(builder: &mut RegexBuilder) -> Result<Self, regex::Error> {
        let mut bytes = LEAST_BYTES;
        loop {
            // One that is too small fails as soon as it is full.
            match builder.size_limit(bytes).build() {
                Ok(regex) => return Ok(Self { regex, bytes }),
                Err(regex::Error::CompiledTooBig(_)) if bytes < REGEX_MAX_BYTES => bytes *= 2,
                Err(error) => return Err(error),
            }
        }
    }

    /// The pattern, to search `text`.
    ///
    /// # Errors
    /// The text is too long for it.
    pub(crate) fn on(&self, text: &str) -> Result<&Regex, FaultKind> {
        if text.len().saturating_mul(self.bytes) > REGEX_MAX_WORK {
            return Err(FaultKind::Range);
        }
        Ok(&self.regex)
    }

    /// Groups of the pattern, with the whole.
    pub(crate) fn groups(&self) -> usize {
        self.regex.captures_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(pattern: &str) -> BoundedRegex {
        BoundedRegex::build(&mut RegexBuilder::new(pattern)).expect(pattern)
    }

    #[test]
    fn a_large_pattern_searches_no_long_text() {
        let small = built("^a+b");
        assert_eq!(small.bytes, LEAST_BYTES);
        let longest = "x".repeat(REGEX_MAX_WORK / LEAST_BYTES);
        assert!(small.on(&longest).is_ok());
        assert_eq!(small.on(&(longest + "x")).err(), Some(FaultKind::Range));
        let large = built("1[01]{1000}[c-z]");
        assert!(large.bytes > LEAST_BYTES, "{}", large.bytes);
        assert!(large.on("1010").is_ok());
        let text = "1".repeat(REGEX_MAX_WORK / large.bytes + 1);
        assert_eq!(large.on(&text).err(), Some(FaultKind::Range));
    }

    #[test]
    fn a_pattern_above_the_limit_is_refused() {
        let error = BoundedRegex::build(&mut RegexBuilder::new(r"\w{1000}{1000}")).err();
        assert!(
            matches!(error, Some(regex::Error::CompiledTooBig(limit)) if limit == REGEX_MAX_BYTES)
        );
    }
}
