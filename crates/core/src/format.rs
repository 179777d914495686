//! The formats of records, in one table: the name of each, its options, and what is said of it by
//! `CREATE SOURCE`. `engine` reads a source's format with it, `kafka` has a decoder for each entry
//! and opens it with the options. A new format is an entry here and a file there.
//!
//! An option has a default, so that a format can be written without any; what is given is checked
//! when the source is created, and never again.

use std::collections::BTreeMap;
use std::fmt;

/// An option of a format: `WITH (format = 'csv', delimiter = ';')`.
#[derive(Debug)]
pub struct FormatOption {
    /// Its name.
    pub name: &'static str,
    /// Its value where a source gives none.
    pub default: &'static str,
}

/// A format of records.
#[derive(Debug)]
pub struct Format {
    /// Its name in SQL.
    pub name: &'static str,
    /// Its options.
    pub options: &'static [FormatOption],
    /// Whether a record knows its columns by their places, so that their order in the source
    /// counts.
    pub positional: bool,
    /// Whether a record is text, which SQL can hold.
    pub text: bool,
    /// Whether a record can hold arrays.
    pub arrays: bool,
    /// What is wrong with the options, and the remedy.
    fault: fn(&SourceFormat) -> Option<String>,
}

/// All formats.
pub static FORMATS: [Format; 3] = [
    Format {
        name: "json",
        options: &[],
        positional: false,
        text: true,
        arrays: true,
        fault: |_| None,
    },
    Format {
        name: "csv",
        options: &[
            FormatOption {
                name: "delimiter",
                default: ",",
            },
            FormatOption {
                name: "quote",
                default: "\"",
            },
            FormatOption {
                name: "null",
                default: "",
            },
        ],
        positional: true,
        text: true,
        arrays: false,
        fault: csv_fault,
    },
    Format {
        name: "arrow",
        options: &[],
        positional: false,
        text: false,
        arrays: true,
        fault: |_| None,
    },
];

/// How the records of one source are encoded: a format and its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFormat {
    name: &'static str,
    /// Options that differ from their defaults.
    given: BTreeMap<&'static str, String>,
}

impl SourceFormat {
    /// JSON, one object a record.
    #[must_use]
    pub fn json() -> Self {
        Self {
            name: "json",
            given: BTreeMap::new(),
        }
    }

    /// The format `name` with the options `given`.
    ///
    /// # Errors
    /// There is no such format or option, or an option's value makes no sense: what to write.
    pub fn new<'a>(
        name: &str,
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let Some(format) = FORMATS.iter().find(|format| format.name == name) else {
            let known: Vec<String> = FORMATS.iter().map(|f| format!("'{}'", f.name)).collect();
            return Err(format!(
                "unknown format '{name}'; write format = {}",
                known.join(" or ")
            ));
        };
        let mut source = Self {
            name: format.name,
            given: BTreeMap::new(),
        };
        for (option, value) in given {
            let Some(known) = format.options.iter().find(|known| known.name == option) else {
                return Err(unknown_option(format, option));
            };
            if value != known.default {
                source.given.insert(known.name, value.to_owned());
            }
        }
        match (format.fault)(&source) {
            Some(fault) => Err(fault),
            None => Ok(source),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What the table says of it.
    #[must_use]
    pub fn format(&self) -> &'static Format {
        let found = FORMATS.iter().find(|format| format.name == self.name);
        found.expect("a format is made from the table")
    }

    /// The value of its option `name`.
    #[must_use]
    pub fn option(&self, name: &str) -> &str {
        let default = || self.format().options.iter().find(|o| o.name == name);
        match self.given.get(name) {
            Some(value) => value,
            None => default().map_or("", |option| option.default),
        }
    }

    /// The one character that its option `name` is; `\t` stands for a tab.
    ///
    /// # Errors
    /// It is not one printable ASCII character or a tab.
    pub fn character(&self, name: &str) -> Result<u8, String> {
        match self.option(name).as_bytes() {
            b"\\t" | b"\t" => Ok(b'\t'),
            [one @ b' '..=b'~'] => Ok(*one),
            _ => Err(format!(
                "{name} = '{}' must be one printable ASCII character, or '\\t' for a tab",
                self.option(name)
            )),
        }
    }
}

/// The format as `WITH (..)` has it, without what is the default: what digests are made of.
impl fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for (name, value) in &self.given {
            write!(f, ", {name} = '{}'", value.replace('\'', "''"))?;
        }
        Ok(())
    }
}

fn unknown_option(format: &Format, option: &str) -> String {
    let names: Vec<&str> = format.options.iter().map(|known| known.name).collect();
    let known = if names.is_empty() {
        "it has none".to_owned()
    } else {
        format!("its options: {}", names.join(", "))
    };
    let others = FORMATS
        .iter()
        .find(|other| other.options.iter().any(|known| known.name == option));
    let others = others.map_or_else(String::new, |other| {
        format!(" (format '{}' has it)", other.name)
    });
    format!(
        "format '{}' has no option {option}{others}; {known}",
        format.name
    )
}

fn csv_fault(format: &SourceFormat) -> Option<String> {
    let (delimiter, quote) = match (format.character("delimiter"), format.character("quote")) {
        (Ok(delimiter), Ok(quote)) => (delimiter, quote),
        (Err(fault), _) | (_, Err(fault)) => return Some(fault),
    };
    if delimiter == quote {
        return Some("delimiter and quote must differ; change one".to_owned());
    }
    if delimiter.is_ascii_alphanumeric() || quote.is_ascii_alphanumeric() {
        return Some(
            "delimiter and quote must be no letter and no digit; write ',' and '\"'".to_owned(),
        );
    }
    let null = format.option("null");
    let stops = |byte: &u8| [delimiter, quote, b'\r', b'\n'].contains(byte);
    null.as_bytes().iter().any(stops).then(|| {
        format!(
            "null = '{null}' must not contain the delimiter, the quote or a line break; write a word, as null = 'NULL'"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_has_the_options_that_it_is_given_and_defaults() {
        let csv = SourceFormat::new("csv", [("delimiter", "\\t"), ("quote", "\"")]).expect("good");
        assert_eq!((csv.name(), csv.option("null")), ("csv", ""));
        assert_eq!(csv.character("delimiter"), Ok(b'\t'));
        assert_eq!(csv.character("quote"), Ok(b'"'));
        assert_eq!(csv.to_string(), "csv, delimiter = '\\t'");
        assert!(csv.format().positional && csv.format().text);
        assert_eq!(SourceFormat::new("json", []), Ok(SourceFormat::json()));
        assert_eq!(SourceFormat::json().to_string(), "json");
        let quoted = SourceFormat::new("csv", [("quote", "'")]).expect("good");
        assert_eq!(quoted.to_string(), "csv, quote = ''''");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_to_write() {
        for (name, options, words) in [
            ("avro", vec![], "write format = 'json' or 'csv' or 'arrow'"),
            (
                "json",
                vec![("delimiter", ";")],
                "no option delimiter (format 'csv' has it); it has none",
            ),
            (
                "csv",
                vec![("header", "1")],
                "its options: delimiter, quote, null",
            ),
            (
                "csv",
                vec![("delimiter", "||")],
                "one printable ASCII character",
            ),
            ("csv", vec![("quote", "")], "one printable ASCII character"),
            (
                "csv",
                vec![("delimiter", "é")],
                "one printable ASCII character",
            ),
            ("csv", vec![("delimiter", "\"")], "must differ"),
            ("csv", vec![("delimiter", "x")], "no letter and no digit"),
            (
                "csv",
                vec![("null", "a,b")],
                "must not contain the delimiter",
            ),
        ] {
            let fault = SourceFormat::new(name, options).expect_err(words);
            assert!(fault.contains(words), "{fault}");
        }
    }
}
