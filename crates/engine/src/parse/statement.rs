//! What a parsed statement is: its kind, name, place and text, and its clauses as plain data.
//! Entities, models, deployments and monitors are complete here; views and services still carry
//! their SELECT as text and tokens.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use forebay_core::definition::{DeploymentDef, EntityDef, ModelDef, MonitorDef};
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::Micros;
use serde::{Deserialize, Serialize};

use super::text::QueryText;
use crate::error::Location;

/// Kinds of objects, in the order in which a catalog is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// `CREATE SOURCE`.
    Source,
    /// `CREATE ENTITY`.
    Entity,
    /// `CREATE FEATURE VIEW`.
    View,
    /// `CREATE FEATURE SERVICE`.
    Service,
    /// `CREATE MODEL`; its name is `name/version`.
    Model,
    /// `CREATE DEPLOYMENT`.
    Deployment,
    /// `CREATE MONITOR`.
    Monitor,
}

/// One statement of a file.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) kind: ObjectKind,
    pub(crate) name: String,
    pub(crate) at: Location,
    pub(crate) or_replace: bool,
    /// As written, without the semicolon.
    pub(crate) text: String,
    /// Tokens joined by one space, without comments: what digests are made of.
    pub(crate) canonical: String,
    pub(crate) definition: Definition,
}

impl Statement {
    /// Kind and name, for errors.
    pub(crate) fn object(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// The clauses of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Definition {
    Source(SourceDef),
    Entity(EntityDef),
    View(ViewStatement),
    Service(ServiceStatement),
    Model(ModelDef),
    Deployment(DeploymentDef),
    Monitor(MonitorStatement),
    Drop { if_exists: bool },
}

/// `CREATE FEATURE VIEW name ENTITY e [TTL INTERVAL ..] AS SELECT ..`.
#[derive(Debug, Clone)]
pub(crate) struct ViewStatement {
    pub(crate) entity: String,
    pub(crate) ttl_us: Option<Micros>,
    pub(crate) body: QueryText,
}

/// `CREATE FEATURE SERVICE name (request columns) AS SELECT ..`.
#[derive(Debug, Clone)]
pub(crate) struct ServiceStatement {
    pub(crate) request: Vec<Column>,
    pub(crate) body: QueryText,
}

/// `CREATE MONITOR`: what it says, and the expression of its label.
#[derive(Debug, Clone)]
pub(crate) struct MonitorStatement {
    pub(crate) def: MonitorDef,
    pub(crate) label: Option<QueryText>,
}

/// Tokens joined by one space, unquoted words in lower case, quotes inside of quotes doubled, so
/// that no two texts of different tokens have one; without the OR REPLACE that follows the first
/// token, which says how to apply a definition and is no part of it.
pub(crate) fn canonical_text(tokens: &[TokenWithSpan], or_replace: bool) -> String {
    let mut text = String::new();
    let skipped = if or_replace { 1..3 } else { 0..0 };
    for (_, token) in tokens
        .iter()
        .enumerate()
        .filter(|(index, _)| !skipped.contains(index))
    {
        if !text.is_empty() {
            text.push(' ');
        }
        push_canonical(&mut text, &token.token);
    }
    text
}

fn push_canonical(text: &mut String, token: &Token) {
    let (prefix, value, quote) = match token {
        Token::Word(word) => match word.quote_style {
            None => return text.push_str(&word.value.to_lowercase()),
            Some(quote) => ("", &word.value, quote),
        },
        Token::SingleQuotedString(value) => ("", value, '\''),
        Token::DoubleQuotedString(value) => ("", value, '"'),
        Token::NationalStringLiteral(value) => ("N", value, '\''),
        Token::EscapedStringLiteral(value) => ("E", value, '\''),
        Token::UnicodeStringLiteral(value) => ("U&", value, '\''),
        Token::HexStringLiteral(value) => ("X", value, '\''),
        Token::SingleQuotedByteStringLiteral(value) => ("B", value, '\''),
        Token::DoubleQuotedByteStringLiteral(value) => ("B", value, '"'),
        Token::SingleQuotedRawStringLiteral(value) => ("R", value, '\''),
        Token::DoubleQuotedRawStringLiteral(value) => ("R", value, '"'),
        // It cannot hold what ends it.
        other => return text.push_str(&other.to_string()),
    };
    text.push_str(prefix);
    text.push(quote);
    for char in value.chars() {
        if char == quote {
            text.push(quote);
        }
        text.push(char);
    }
    text.push(quote);
}
