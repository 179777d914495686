//! `CREATE SOURCE`, `CREATE ENTITY`, `CREATE FEATURE VIEW`: what events look like, whose features
//! they feed, and the views over them.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::Token;
use forebay_core::definition::EntityDef;
use forebay_core::format::{FORMATS, SourceFormat};
use forebay_core::limits::{
    EVENT_FUTURE_MAX_US, IDLE_TIMEOUT_US, SOURCE_MAX_COLUMNS, SOURCE_TIME_OPTION_MAX_US,
};
use forebay_core::source::{Column, SourceDef, sql_name};
use forebay_core::time::{HOUR_US, Micros, SECOND_US, timestamp_type};

use super::clauses::SourceColumn;
use super::cursor::Cursor;
use super::interval::parse_duration;
use super::statement::ViewStatement;
use crate::error::{EngineError, Location, Result};
use crate::name;

/// Refuse columns of arrays where records of the source's format hold none.
fn no_arrays(name: &str, columns: &[Column], format: &SourceFormat, at: &Location) -> Result<()> {
    let array = columns.iter().find(|column| column.data_type.is_nested());
    let Some(array) = array.filter(|_| !format.format().arrays) else {
        return Ok(());
    };
    let message = format!(
        "source {name}: column {} is {}, which records of format '{}' cannot hold; write format = 'json' or 'arrow'",
        array.name,
        sql_name(&array.data_type),
        format.name()
    );
    Err(EngineError::Syntax {
        at: at.clone(),
        message,
    })
}

/// Options of every source; its format may have more.
const SOURCE_OPTIONS: [&str; 5] = [
    "connector",
    "topic",
    "format",
    "idle_timeout",
    "event_future_max",
];

impl Cursor<'_> {
    /// Behind the name: `(columns, WATERMARK FOR c AS c - INTERVAL ..) WITH (..)`.
    pub(crate) fn source(&mut self, name: &str) -> Result<SourceDef> {
        let start = self.here();
        if let Some(fault) = name::source_fault(name) {
            return Err(EngineError::Syntax {
                at: self.place(self.index().saturating_sub(1)),
                message: format!("the name of the source {fault}"),
            });
        }
        let (mut columns, mut epoch_units) = (Vec::new(), BTreeMap::new());
        let mut domains = BTreeMap::new();
        let mut watermark: Option<(String, Micros, Location)> = None;
        self.list(|cursor| {
            if cursor.is_word("WATERMARK") {
                let at = cursor.here();
                if watermark.is_some() {
                    return Err(cursor.syntax("a source has one watermark; drop the second"));
                }
                let (column, delay_us) = cursor.watermark()?;
                watermark = Some((column, delay_us, at));
            } else {
                let at = cursor.here();
                let SourceColumn {
                    column,
                    unit,
                    domain,
                } = cursor.source_column()?;
                epoch_units.extend(unit.map(|unit| (column.name.clone(), unit)));
                domains.extend(domain.map(|domain| (column.name.clone(), domain)));
                columns.push((at, column));
            }
            Ok(())
        })?;
        different_in_any_case(&columns)?;
        let columns = distinct_columns(columns)?;
        if columns.len() > SOURCE_MAX_COLUMNS {
            let message = format!(
                "source {name} has {} columns, more than {SOURCE_MAX_COLUMNS} (SOURCE_MAX_COLUMNS); leave some out",
                columns.len()
            );
            return Err(EngineError::Limit { at: start, message });
        }
        let Some((column, watermark_delay_us, at)) = watermark else {
            let message = format!(
                "source {name} has no event time; add WATERMARK FOR column AS column - INTERVAL '1' MINUTE to its \
                 columns"
            );
            return Err(EngineError::Syntax { at: start, message });
        };
        let time_column = time_column(&columns, &column, &at)?;
        let options = self.source_options(name)?;
        no_arrays(name, &columns, &options.format, &start)?;
        Ok(SourceDef {
            name: name.to_owned(),
            columns,
            time_column,
            watermark_delay_us,
            idle_timeout_us: options.idle_timeout_us,
            event_future_max_us: options.event_future_max_us,
            topic: options.topic,
            format: options.format,
            epoch_units,
            domains,
        })
    }

    /// `WATERMARK FOR c AS c - INTERVAL ..` (or `AS c`: no delay).
    fn watermark(&mut self) -> Result<(String, Micros)> {
        self.expect_words(&["WATERMARK", "FOR"])?;
        let column = self.column_name("the event-time column")?;
        self.expect_words(&["AS"])?;
        let at = self.here();
        let same = self.column_name("the event-time column")?;
        if same != column {
            let message = format!(
                "the watermark for {column} must be computed from it: AS {column} - INTERVAL '..' .."
            );
            return Err(EngineError::Syntax { at, message });
        }
        let delay_us = if self.take(&Token::Minus) {
            self.interval()?
        } else {
            0
        };
        Ok((column, delay_us))
    }

    fn source_options(&mut self, name: &str) -> Result<SourceOptions> {
        let at = self.here();
        let of_formats = FORMATS.iter().flat_map(|format| format.options);
        let known: Vec<&str> = SOURCE_OPTIONS
            .into_iter()
            .chain(of_formats.map(|option| option.name))
            .collect();
        let options = self.options(&known)?;
        let value = |key: &str| {
            options
                .iter()
                .find(|(k, _)| k == key)
                .map(|(_, v)| v.as_str())
        };
        let refuse = |message: String| {
            Err(EngineError::Syntax {
                at: at.clone(),
                message,
            })
        };
        match value("connector") {
            Some("kafka") => {}
            Some(other) => {
                return refuse(format!(
                    "unknown connector '{other}'; write connector = 'kafka'"
                ));
            }
            None => {
                return refuse(format!(
                    "source {name} needs WITH (connector = 'kafka', topic = '..', format = 'json')"
                ));
            }
        }
        let of_format = options
            .iter()
            .filter(|(key, _)| !SOURCE_OPTIONS.contains(&key.as_str()));
        let of_format = of_format.map(|(key, value)| (key.as_str(), value.as_str()));
        let format = match SourceFormat::new(value("format").unwrap_or("json"), of_format) {
            Ok(format) => format,
            Err(fault) => return refuse(fault),
        };
        let topic = value("topic").unwrap_or(name);
        if let Some(fault) = name::topic_fault(topic, "") {
            return refuse(fault);
        }
        let time = |key: &str, default: Micros| match value(key) {
            Some(text) => time_option(key, text, &at),
            None => Ok(default),
        };
        Ok(SourceOptions {
            topic: topic.to_owned(),
            format,
            idle_timeout_us: time("idle_timeout", IDLE_TIMEOUT_US)?,
            event_future_max_us: time("event_future_max", EVENT_FUTURE_MAX_US)?,
        })
    }

    /// Behind the name: `(key columns)`.
    pub(crate) fn entity(&mut self, name: &str) -> Result<EntityDef> {
        if matches!(self.tokens(self.index(), self.index() + 2), [a, b] if a.token == Token::LParen && b.token == Token::RParen)
        {
            return Err(self.syntax(format!(
                "entity {name} has no key; for features of everything bring a column with one value in each event: \
                 CREATE ENTITY {name} (everything VARCHAR)"
            )));
        }
        let columns = self.list(|cursor| Ok((cursor.here(), cursor.key_column()?)))?;
        Ok(EntityDef {
            name: name.to_owned(),
            key: distinct_columns(columns)?,
        })
    }

    /// Behind the name: `ENTITY e [TTL INTERVAL ..] AS SELECT ..`.
    pub(crate) fn view(&mut self) -> Result<ViewStatement> {
        self.expect_words(&["ENTITY"])?;
        let entity = self.name("the entity that the view belongs to")?;
        let ttl_us = if self.take_word("TTL") {
            Some(self.interval()?)
        } else {
            None
        };
        self.options(&[])?;
        if self.peek() == &Token::Comma {
            return Err(self.syntax(
                "a view belongs to one entity; write an entity whose key has the columns of both, or a view for each",
            ));
        }
        self.expect_words(&["AS"])?;
        Ok(ViewStatement {
            entity,
            ttl_us,
            body: self.query()?,
        })
    }
}

/// What `WITH (..)` of a source says.
struct SourceOptions {
    topic: String,
    format: SourceFormat,
    idle_timeout_us: Micros,
    event_future_max_us: Micros,
}

/// The time that an option of a source declares, as `'30 s'`.
fn time_option(key: &str, text: &str, at: &Location) -> Result<Micros> {
    let refuse = |message: String| {
        Err(EngineError::Syntax {
            at: at.clone(),
            message,
        })
    };
    match parse_duration(text, None) {
        Ok(time_us) if (SECOND_US..=SOURCE_TIME_OPTION_MAX_US).contains(&time_us) => Ok(time_us),
        Ok(_) => refuse(format!(
            "{key} = '{text}' must be from 1 second to {} hours (SOURCE_TIME_OPTION_MAX_US)",
            SOURCE_TIME_OPTION_MAX_US / HOUR_US
        )),
        Err(why) => refuse(format!("{key}: {why}; write {key} = '30 s'")),
    }
}

/// The archive finds columns by their names in any case.
fn different_in_any_case(columns: &[(Location, Column)]) -> Result<()> {
    for (index, (at, column)) in columns.iter().enumerate() {
        let lower = column.name.to_lowercase();
        let same = |(_, other): &&(Location, Column)| {
            other.name != column.name && other.name.to_lowercase() == lower
        };
        if let Some((_, other)) = columns[..index].iter().find(same) {
            let message = format!(
                "columns {} and {} differ in case only, and the archive keeps one of them; rename one",
                other.name, column.name
            );
            return Err(EngineError::Syntax {
                at: at.clone(),
                message,
            });
        }
    }
    Ok(())
}

/// Columns without their places, after the check that no name is given twice.
pub(super) fn distinct_columns(columns: Vec<(Location, Column)>) -> Result<Vec<Column>> {
    let mut distinct: Vec<Column> = Vec::with_capacity(columns.len());
    for (at, column) in columns {
        if distinct.iter().any(|c| c.name == column.name) {
            let message = format!("column {} is declared twice; rename one", column.name);
            return Err(EngineError::Syntax { at, message });
        }
        distinct.push(column);
    }
    Ok(distinct)
}

fn time_column(columns: &[Column], name: &str, at: &Location) -> Result<usize> {
    let refuse = |message: String| {
        Err(EngineError::Syntax {
            at: at.clone(),
            message,
        })
    };
    let Some(index) = columns.iter().position(|c| c.name == name) else {
        return refuse(format!(
            "the watermark's column {name} is not among the source's columns; declare it"
        ));
    };
    let column = &columns[index];
    if column.data_type != timestamp_type() || column.nullable {
        return refuse(format!(
            "the event-time column {name} must be TIMESTAMP NOT NULL; declare it so"
        ));
    }
    Ok(index)
}
