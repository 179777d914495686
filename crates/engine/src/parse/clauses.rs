//! Clauses that several statements share: column lists with our types, option lists, and the head
//! of every statement (`CREATE [OR REPLACE] kind name`, `DROP kind [IF EXISTS] name`).

use arrow_schema::DataType;
use datafusion::sql::sqlparser::tokenizer::Token;
use forebay_core::domain::{Domain, TIME_DIGITS};
use forebay_core::source::{Column, EpochUnit, sql_name};
use forebay_core::time::timestamp_type;
use forebay_core::value::list_type;

use super::cursor::Cursor;
use super::grammar::all_behind;
use super::statement::{Definition, ObjectKind, Statement, canonical_text};
use super::text::source_slice;
use crate::catalog::Kind;
use crate::error::{EngineError, Location, Result};

/// A column of a source with what its type says beside where it is kept.
pub(super) struct SourceColumn {
    pub(super) column: Column,
    /// The unit of times that records give as integers.
    pub(super) unit: Option<EpochUnit>,
    /// What it admits of the column's `data_type`.
    pub(super) domain: Option<Domain>,
}

/// A type as it is written.
struct DeclaredType {
    data_type: DataType,
    domain: Option<Domain>,
}

/// The statements of a file, as errors list them.
fn statements() -> String {
    format!("{} or DROP", all_behind("CREATE", false))
}

/// `column` of a key or a request, whose values no domain judges, and which are no arrays.
fn wide(column: Column, domain: Option<Domain>, at: Location) -> Result<Column> {
    if column.data_type.is_nested() {
        let message = format!(
            "column {}: {} is of a source's columns and of features; keys and requests have no arrays: write a column \
             for each item, or one VARCHAR",
            column.name,
            sql_name(&column.data_type)
        );
        return Err(EngineError::Syntax { at, message });
    }
    let Some(domain) = domain else {
        return Ok(column);
    };
    let message = format!(
        "column {}: {domain} is of a source's columns, whose records it judges; write {}",
        column.name,
        domain.wide()
    );
    Err(EngineError::Syntax { at, message })
}

impl Cursor<'_> {
    /// One whole statement.
    pub(super) fn statement(mut self) -> Result<Statement> {
        let at = self.here();
        let create = self.take_word("CREATE");
        if !create && !self.take_word("DROP") {
            return self.expected(&format!(
                "{} (queries, SHOW and EXPLAIN are no definitions)",
                statements()
            ));
        }
        let or_replace = create && self.take_word("OR") && {
            self.expect_words(&["REPLACE"])?;
            true
        };
        let kind = self.object_kind()?;
        let if_exists = !create && self.take_word("IF") && {
            self.expect_words(&["EXISTS"])?;
            true
        };
        self.refuse_if_not_exists()?;
        let mut name = self.name(&format!("the name of the {kind}"))?;
        let definition = if create {
            let definition = (Kind::of(kind).clauses)(&mut self, &name)?;
            if let Definition::Model(model) = &definition {
                name = format!("{name}/{}", model.version);
            }
            definition
        } else {
            if kind == ObjectKind::Model {
                self.expect_words(&["VERSION"])?;
                name = format!("{name}/{}", self.whole_number("the model's version")?);
            }
            Definition::Drop { if_exists }
        };
        self.end()?;
        let text = match (self.all_tokens().first(), self.all_tokens().last()) {
            (Some(first), Some(last)) => {
                source_slice(self.text, first.span.start, last.span.end).to_owned()
            }
            _ => String::new(),
        };
        Ok(Statement {
            kind,
            name,
            at,
            or_replace,
            text,
            canonical: canonical_text(self.all_tokens(), or_replace),
            definition,
        })
    }

    fn object_kind(&mut self) -> Result<ObjectKind> {
        if let Some(kind) = self.take_kind(false)? {
            return Ok(kind);
        }
        if self.is_word("TEST") {
            return Err(self.syntax(
                "a test is no definition; move it into a file of the folder tests beside the definitions, which \
                 forebay test runs",
            ));
        }
        self.expected(&statements())
    }

    /// `name TYPE [NOT NULL | NULL]`.
    pub(super) fn column(&mut self) -> Result<Column> {
        let at = self.here();
        let (column, domain) = self.column_of_any_type()?;
        wide(column, domain, at)
    }

    /// The same of a key, which has an equality.
    pub(super) fn key_column(&mut self) -> Result<Column> {
        let at = self.here();
        let (column, domain) = self.column_of_any_type()?;
        if column.data_type == DataType::Float64 {
            let (name, of) = (&column.name, domain.map_or("DOUBLE", |_| "REAL"));
            let message = format!(
                "key column {name} cannot be {of}: NaN and -0.0 have no one equality; write BIGINT or VARCHAR"
            );
            return Err(EngineError::Syntax { at, message });
        }
        wide(column, domain, at)
    }

    fn column_of_any_type(&mut self) -> Result<(Column, Option<Domain>)> {
        let (name, mut declared) = self.name_and_type()?;
        self.array_suffix(&name, &mut declared)?;
        if self.is_word("FROM") || self.peek() == &Token::LParen {
            return Err(self.syntax(format!(
                "column {name}: FROM EPOCH and (3) are of a source's columns, whose records give times as integers; \
                 write TIMESTAMP"
            )));
        }
        let column = self.nullable_column(name, declared.data_type)?;
        Ok((column, declared.domain))
    }

    /// The same of a source, whose TIMESTAMPs may say their digits and the unit of integers:
    /// `TIMESTAMP(3) FROM EPOCH MILLIS`.
    pub(super) fn source_column(&mut self) -> Result<SourceColumn> {
        let (name, mut declared) = self.name_and_type()?;
        let unit = self.time_type(&name, &mut declared)?;
        self.array_suffix(&name, &mut declared)?;
        let column = self.nullable_column(name, declared.data_type)?;
        if self.is_word("FROM") {
            return Err(self.syntax(format!(
                "column {}: FROM EPOCH stands behind TIMESTAMP; write TIMESTAMP FROM EPOCH MILLIS NOT NULL",
                column.name
            )));
        }
        Ok(SourceColumn {
            column,
            unit,
            domain: declared.domain,
        })
    }

    fn name_and_type(&mut self) -> Result<(String, DeclaredType)> {
        let name = self.column_name("a column's name")?;
        self.behind_column_name(&name)?;
        let declared = self.data_type(&name)?;
        Ok((name, declared))
    }

    /// `[(3)] [FROM EPOCH MILLIS]` behind a type.
    fn time_type(
        &mut self,
        column: &str,
        declared: &mut DeclaredType,
    ) -> Result<Option<EpochUnit>> {
        let at = self.here();
        let refuse = |message: String| {
            let message = format!("column {column}: {message}");
            Err(EngineError::Syntax {
                at: at.clone(),
                message,
            })
        };
        let precision = if self.take(&Token::LParen) {
            let precision = self.whole_number("how many digits of a second")?;
            self.expect(&Token::RParen)?;
            Some(precision)
        } else {
            None
        };
        if let Some(digits) = precision.filter(|digits| *digits < TIME_DIGITS) {
            declared.domain = Some(Domain::Time(digits));
        }
        if !self.take_word("FROM") {
            return match precision {
                Some(digits) if digits > TIME_DIGITS => refuse(format!(
                    "a TIMESTAMP has microseconds; write TIMESTAMP({TIME_DIGITS}), and TIMESTAMP FROM EPOCH NANOS \
                     where records count nanoseconds"
                )),
                _ => Ok(None),
            };
        }
        self.expect_words(&["EPOCH"])?;
        let found = EpochUnit::ALL
            .into_iter()
            .find(|unit| self.take_word(unit.word()));
        let Some(unit) = found else {
            return self.expected("SECONDS, MILLIS, MICROS or NANOS");
        };
        let word = unit.word();
        if declared.data_type != timestamp_type() {
            return refuse(format!(
                "FROM EPOCH is of a time; write TIMESTAMP FROM EPOCH {word}"
            ));
        }
        if precision.is_some_and(|precision| precision != unit.precision()) {
            let digits = unit.precision();
            return refuse(format!(
                "two units are said; write TIMESTAMP({digits}) FROM EPOCH {word}"
            ));
        }
        Ok(Some(unit))
    }

    /// `[]`, or ARRAY, behind the type of an array's items.
    fn array_suffix(&mut self, column: &str, declared: &mut DeclaredType) -> Result<()> {
        let is_array = |cursor: &Self| cursor.peek() == &Token::LBracket || cursor.is_word("ARRAY");
        if !is_array(self) {
            return Ok(());
        }
        if declared.data_type.is_nested() {
            return Err(self.array_of_arrays(column));
        }
        if !self.take_word("ARRAY") {
            self.expect(&Token::LBracket)?;
            if self.peek() != &Token::RBracket {
                return Err(self.syntax(format!(
                    "column {column}: an array has no declared length; write [] behind the type"
                )));
            }
            self.expect(&Token::RBracket)?;
        }
        declared.data_type = list_type(declared.data_type.clone());
        if is_array(self) {
            return Err(self.array_of_arrays(column));
        }
        Ok(())
    }

    /// `<VARCHAR>` behind ARRAY.
    fn array_of(&mut self, column: &str) -> Result<DeclaredType> {
        self.expect(&Token::Lt)?;
        let mut declared = self.data_type(column)?;
        if declared.data_type.is_nested() || self.peek() == &Token::LBracket {
            return Err(self.array_of_arrays(column));
        }
        if let Some(unit) = self.time_type(column, &mut declared)? {
            let word = unit.word();
            return Err(self.syntax(format!(
                "column {column}: FROM EPOCH {word} is of a TIMESTAMP that is no item of an array; write times of \
                 arrays as text"
            )));
        }
        self.expect(&Token::Gt)?;
        declared.data_type = list_type(declared.data_type);
        Ok(declared)
    }

    fn array_of_arrays(&self, column: &str) -> EngineError {
        self.syntax(format!(
            "column {column}: an array holds no arrays; write one array, or a VARCHAR of JSON text that json_get reads"
        ))
    }

    fn nullable_column(&mut self, name: String, data_type: DataType) -> Result<Column> {
        self.behind_type(&name)?;
        let nullable = if self.take_word("NOT") {
            self.expect_words(&["NULL"])?;
            false
        } else {
            self.take_word("NULL");
            true
        };
        self.behind_type(&name)?;
        Ok(Column {
            name,
            data_type,
            nullable,
        })
    }

    fn data_type(&mut self, column: &str) -> Result<DeclaredType> {
        const TYPES: &str = "VARCHAR, DOUBLE, BIGINT, INTEGER, BOOLEAN, DATE or TIMESTAMP";
        let Token::Word(word) = self.peek() else {
            return self.expected(&format!("the type of column {column}"));
        };
        if word.value.eq_ignore_ascii_case("ARRAY") {
            self.take_word("ARRAY");
            return self.array_of(column);
        }
        let (data_type, domain) = match word.value.to_ascii_uppercase().as_str() {
            "VARCHAR" | "TEXT" | "STRING" => (DataType::Utf8, None),
            "DOUBLE" => (DataType::Float64, None),
            "REAL" => (DataType::Float64, Some(Domain::Real)),
            "BIGINT" => (DataType::Int64, None),
            "INTEGER" | "INT" => (DataType::Int32, None),
            "SMALLINT" => (DataType::Int32, Some(Domain::SmallInt)),
            "BOOLEAN" | "BOOL" => (DataType::Boolean, None),
            "DATE" => (DataType::Date32, None),
            "TIMESTAMP" => (timestamp_type(), None),
            other => {
                return Err(self.syntax(format!(
                    "column {column}: type {other} is not supported; write {TYPES}"
                )));
            }
        };
        let is_varchar = word.value.eq_ignore_ascii_case("VARCHAR");
        let is_double = word.value.eq_ignore_ascii_case("DOUBLE");
        self.take_word(&word.value.clone());
        if is_double {
            self.take_word("PRECISION");
        }
        let mut declared = DeclaredType { data_type, domain };
        if is_varchar && self.take(&Token::LParen) {
            declared.domain = Some(Domain::Text(self.text_length(column)?));
            self.expect(&Token::RParen)?;
        }
        if self.peek() == &Token::LParen && declared.data_type != timestamp_type() {
            return Err(self.syntax(format!(
                "column {column}: this type has no length; write {TYPES}"
            )));
        }
        Ok(declared)
    }

    /// The `n` of VARCHAR(n).
    fn text_length(&mut self, column: &str) -> Result<u32> {
        let at = self.here();
        match self.whole_number("how many characters a text may have")? {
            0 => Err(EngineError::Syntax {
                at,
                message: format!(
                    "column {column}: VARCHAR(0) holds no text; write VARCHAR(1) or more"
                ),
            }),
            most => Ok(most),
        }
    }

    /// `WITH (key = 'value', ..)`, where it stands; unknown and repeated keys are refused.
    pub(super) fn options(&mut self, known: &[&str]) -> Result<Vec<(String, String)>> {
        if !self.take_word("WITH") {
            return Ok(Vec::new());
        }
        let mut options: Vec<(String, String)> = Vec::new();
        self.list(|cursor| {
            let at = cursor.here();
            let key = cursor.name("an option's name")?;
            if !known.contains(&key.as_str()) {
                let known = if known.is_empty() {
                    "there is none".to_owned()
                } else {
                    known.join(", ")
                };
                return Err(EngineError::Syntax {
                    at,
                    message: format!("unknown option {key}; known options: {known}"),
                });
            }
            if options.iter().any(|(k, _)| *k == key) {
                return Err(EngineError::Syntax {
                    at,
                    message: format!("option {key} is given twice; give it once"),
                });
            }
            cursor.expect(&Token::Eq)?;
            let value = cursor.string(&format!("the value of option {key}"))?;
            options.push((key, value));
            Ok(())
        })?;
        Ok(options)
    }
}
