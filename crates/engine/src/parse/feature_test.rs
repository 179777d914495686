//! `CREATE TEST`: events of sources, and what views and services answer at instants. Tests stand in
//! files of their own and are no definitions: `parse_file` refuses them, and what leaves here is
//! only words with their places. `crate::feature_test` looks the names up and gives the cells their
//! types.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::statement::ObjectKind;
use crate::error::{EngineError, Location, Result};

/// `CREATE TEST name GIVEN .. AT .. EXPECT ..`.
#[derive(Debug)]
pub(crate) struct TestStatement {
    pub(crate) name: String,
    pub(crate) at: Location,
    pub(crate) given: Vec<GivenClause>,
    pub(crate) expect: Vec<ExpectClause>,
}

/// `GIVEN source (columns) VALUES (..), ..` or `GIVEN source RECORDS '..', ..`.
#[derive(Debug)]
pub(crate) struct GivenClause {
    pub(crate) at: Location,
    pub(crate) source: String,
    pub(crate) what: GivenWords,
}

/// The events of one GIVEN.
#[derive(Debug)]
pub(crate) enum GivenWords {
    /// Rows.
    Values(Table),
    /// Records as they stand in the topic.
    Records(Vec<(Location, String)>),
}

/// `AT TIMESTAMP '..' EXPECT [FEATURE VIEW | FEATURE SERVICE] name (columns) VALUES (..), ..`.
#[derive(Debug)]
pub(crate) struct ExpectClause {
    pub(crate) at: Location,
    /// The text of the instant, and where it stands.
    pub(crate) instant: (Location, String),
    /// Where the words before the name say it.
    pub(crate) kind: Option<ObjectKind>,
    pub(crate) name: String,
    pub(crate) table: Table,
}

/// Named columns and rows of literals, as many in each row as there are columns.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<(Location, String)>,
    pub(crate) rows: Vec<(Location, Vec<Cell>)>,
}

/// One literal.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) at: Location,
    pub(crate) literal: Literal,
}

/// A literal as it is written; a column says what it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    /// Digits with their sign; also `NaN`, `Infinity` and `-Infinity`, written without quotes.
    Number(String),
    Text(String),
    /// `DATE '..'`.
    Date(String),
    /// `TIMESTAMP '..'`.
    Timestamp(String),
    /// `ARRAY[..]` of literals.
    Array(Vec<Literal>),
}

impl Cursor<'_> {
    /// One whole statement of a file of tests.
    pub(super) fn test(mut self) -> Result<TestStatement> {
        let at = self.here();
        if !self.take_word("CREATE") || !self.take_word("TEST") {
            return self.expected(
                "CREATE TEST (files of tests hold nothing else; definitions stand in the folder above)",
            );
        }
        let name = self.name("the name of the test")?;
        let mut given = Vec::new();
        while self.is_word("GIVEN") {
            given.push(self.given()?);
        }
        let mut expect = Vec::new();
        if !self.is_word("AT") {
            return self.expected("GIVEN source, or AT TIMESTAMP '..' EXPECT");
        }
        while self.take_word("AT") {
            self.take_word("TIMESTAMP");
            let instant = (self.here(), self.string("the instant")?);
            if !self.is_word("EXPECT") {
                return self.expected("EXPECT");
            }
            while self.is_word("EXPECT") {
                expect.push(self.expect_clause(&instant)?);
            }
        }
        if self.peek() != &Token::EOF {
            return self.expected("a comma and another row, EXPECT, AT, or the end of the test");
        }
        Ok(TestStatement {
            name,
            at,
            given,
            expect,
        })
    }

    fn given(&mut self) -> Result<GivenClause> {
        let at = self.here();
        self.expect_words(&["GIVEN"])?;
        let source = self.name("the source of the events")?;
        let what = if self.take_word("RECORDS") {
            GivenWords::Records(self.items(|cursor| {
                let at = cursor.here();
                Ok((at, cursor.string("a record")?))
            })?)
        } else if self.peek() == &Token::LParen {
            GivenWords::Values(self.table()?)
        } else {
            return self.expected("(columns) VALUES (..), or RECORDS '..'");
        };
        Ok(GivenClause { at, source, what })
    }

    fn expect_clause(&mut self, instant: &(Location, String)) -> Result<ExpectClause> {
        self.expect_words(&["EXPECT"])?;
        let kind = if !self.take_word("FEATURE") {
            None
        } else if self.take_word("VIEW") {
            Some(ObjectKind::View)
        } else if self.take_word("SERVICE") {
            Some(ObjectKind::Service)
        } else {
            return self.expected("VIEW or SERVICE");
        };
        let at = self.here();
        let name = self.name("the feature view or feature service")?;
        Ok(ExpectClause {
            at,
            instant: instant.clone(),
            kind,
            name,
            table: self.table()?,
        })
    }

    /// `(columns) VALUES (..), (..)`.
    fn table(&mut self) -> Result<Table> {
        let columns =
            self.list(|cursor| Ok((cursor.here(), cursor.column_name("a column's name")?)))?;
        self.expect_words(&["VALUES"])?;
        let width = columns.len();
        let rows = self.items(|cursor| {
            let at = cursor.here();
            let cells = cursor.list(Self::cell)?;
            if cells.len() == width {
                return Ok((at, cells));
            }
            let message = format!("the row has {} values for {width} columns", cells.len());
            Err(EngineError::Syntax { at, message })
        })?;
        Ok(Table { columns, rows })
    }

    /// `item, item, ..`.
    fn items<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.take(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `[item, item, ..]` behind ARRAY.
    fn array(&mut self) -> Result<Literal> {
        self.expect(&Token::LBracket)?;
        if self.take(&Token::RBracket) {
            return Ok(Literal::Array(Vec::new()));
        }
        let items = self.items(|cursor| {
            if cursor.is_word("ARRAY") {
                return cursor.expected("an item that is no array");
            }
            Ok(cursor.cell()?.literal)
        })?;
        self.expect(&Token::RBracket)?;
        Ok(Literal::Array(items))
    }

    fn cell(&mut self) -> Result<Cell> {
        const WHAT: &str =
            "a literal: NULL, TRUE, FALSE, a number, 'text', TIMESTAMP '..' or ARRAY[..]";
        let at = self.here();
        let negative = self.take(&Token::Minus);
        let is_signed = negative || self.take(&Token::Plus);
        let sign = if negative { "-" } else { "" };
        let token = self.peek().clone();
        let literal = match &token {
            Token::Number(digits, _) => Literal::Number(format!("{sign}{digits}")),
            Token::SingleQuotedString(text) if !is_signed => Literal::Text(text.clone()),
            Token::Word(word) if word.quote_style.is_none() => {
                match (word.value.to_ascii_uppercase().as_str(), is_signed) {
                    ("NULL", false) => Literal::Null,
                    ("TRUE", false) => Literal::Bool(true),
                    ("FALSE", false) => Literal::Bool(false),
                    ("NAN", false) => Literal::Number("NaN".to_owned()),
                    ("INFINITY", _) => Literal::Number(format!("{sign}Infinity")),
                    ("DATE", false) => {
                        self.expect_words(&["DATE"])?;
                        let text = self.string("the date")?;
                        return Ok(Cell {
                            at,
                            literal: Literal::Date(text),
                        });
                    }
                    ("TIMESTAMP", false) => {
                        self.expect_words(&["TIMESTAMP"])?;
                        let text = self.string("the instant")?;
                        return Ok(Cell {
                            at,
                            literal: Literal::Timestamp(text),
                        });
                    }
                    ("ARRAY", false) => {
                        self.expect_words(&["ARRAY"])?;
                        let literal = self.array()?;
                        return Ok(Cell { at, literal });
                    }
                    _ => return self.expected(WHAT),
                }
            }
            _ => return self.expected(WHAT),
        };
        self.take(&token);
        Ok(Cell { at, literal })
    }
}
