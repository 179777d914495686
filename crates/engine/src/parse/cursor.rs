//! A place in one statement's tokens, and the small steps that every clause takes: a word, a name,
//! a list, a literal, an interval. Errors say what was expected, what stands there, and where.
//! Queries and expressions are sqlparser's, in the dialect of DataFusion; its work on one of them
//! is limited (`steps`), and so is the tree that it makes (`bounds`).

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location as Position, Span, Token, TokenWithSpan};
use forebay_core::limits::SQL_MAX_PARSER_STEPS;
use forebay_core::time::Micros;

use super::bounds;
use super::hints::parser_message;
use super::interval::{is_unit, parse_duration};
use super::steps::Steps;
use super::text::{QueryText, location, source_slice};
use super::windows;
use crate::error::{EngineError, Location, Result};
use crate::name;

/// The query in `body`, all of it.
pub(crate) fn parse_query(body: &QueryText) -> Result<ast::Query> {
    let mut cursor = Cursor::new(&body.file, "", body.tokens.clone());
    let mut query = cursor.parsed(|parser| parser.parse_query())?;
    cursor.end()?;
    bounds::check(&cursor.start(), &query)?;
    windows::write_out(&body.file, &mut query)?;
    Ok(*query)
}

/// `SELECT (expression) AS label FROM source`: so an expression is planned by the rules of a query.
pub(crate) fn label_query(expression: &QueryText, source: &str) -> Result<ast::Query> {
    let span = |token: Option<&TokenWithSpan>| token.map_or_else(Span::empty, |t| t.span);
    let (start, end) = (
        span(expression.tokens.first()),
        span(expression.tokens.last()),
    );
    let at = |span: Span| move |token: Token| TokenWithSpan { token, span };
    let head = [Token::make_keyword("SELECT"), Token::LParen].map(at(start));
    let tail = [
        Token::RParen,
        Token::make_keyword("AS"),
        Token::make_word("label", None),
        Token::make_keyword("FROM"),
        Token::make_word(source, Some('"')),
    ]
    .map(at(end));
    let tokens = head
        .into_iter()
        .chain(expression.tokens.iter().cloned())
        .chain(tail)
        .collect();
    parse_query(&QueryText {
        file: expression.file.clone(),
        tokens,
    })
}

/// `tokens` with each `interval` that begins no literal in quotes: sqlparser takes the bare word
/// for the beginning of one wherever it stands, also where a column of that name is meant.
fn intervals_named(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut named = tokens.to_vec();
    for (place, token) in named.iter_mut().enumerate() {
        let next = tokens.get(place + 1).map(|next| &next.token);
        let literal = matches!(next, Some(Token::SingleQuotedString(_) | Token::Number(..)));
        if let Token::Word(word) = &token.token
            && word.quote_style.is_none()
            && word.value.eq_ignore_ascii_case("INTERVAL")
            && !literal
        {
            token.token = Token::make_word("interval", Some('"'));
        }
    }
    named
}

/// The next token of one statement.
pub(crate) struct Cursor<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    tokens: Vec<TokenWithSpan>,
    next: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `tokens`, which stand in `text` of `file`.
    pub(crate) fn new(file: &'a str, text: &'a str, tokens: Vec<TokenWithSpan>) -> Self {
        Self {
            file,
            text,
            tokens,
            next: 0,
        }
    }

    /// What `parse` makes of the tokens from here on; the cursor stands behind it.
    fn parsed<T>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<T> {
        let steps = Steps::default();
        let rest = intervals_named(&self.tokens[self.next..]);
        let mut parser = Parser::new(&steps).with_tokens_with_locations(rest);
        let parsed = parse(&mut parser);
        let behind = self.next + parser.index();
        match parsed {
            Ok(parsed) => {
                self.next = behind.min(self.tokens.len());
                Ok(parsed)
            }
            Err(_) if steps.are_over() => Err(EngineError::Limit {
                at: self.here(),
                message: format!(
                    "the parser ends without an answer after {SQL_MAX_PARSER_STEPS} operands \
                     (SQL_MAX_PARSER_STEPS): something is wrong deep inside brackets; compute the \
                     inner part in a subquery, where its error is found"
                ),
            }),
            Err(error) => Err(self.parser_error(&error, behind)),
        }
    }

    /// Place of the first token.
    fn start(&self) -> Location {
        self.place(0)
    }

    pub(super) fn place(&self, index: usize) -> Location {
        let token = self.tokens.get(index).or_else(|| self.tokens.last());
        token.map_or_else(Location::default, |t| location(self.file, t.span.start))
    }

    /// Tokens from number `start` to number `end`, and all of them.
    pub(super) fn tokens(&self, start: usize, end: usize) -> &[TokenWithSpan] {
        &self.tokens[start.min(self.tokens.len())..end.min(self.tokens.len())]
    }

    pub(super) fn all_tokens(&self) -> &[TokenWithSpan] {
        &self.tokens
    }

    /// Number of the next token.
    pub(super) fn index(&self) -> usize {
        self.next
    }

    /// Place of the next token, or of the last one at the end.
    pub(super) fn here(&self) -> Location {
        self.place(self.next)
    }

    pub(super) fn peek(&self) -> &Token {
        self.tokens
            .get(self.index())
            .map_or(&Token::EOF, |t| &t.token)
    }

    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len());
    }

    pub(super) fn syntax(&self, message: impl Into<String>) -> EngineError {
        EngineError::Syntax {
            at: self.here(),
            message: message.into(),
        }
    }

    pub(super) fn expected<T>(&self, what: &str) -> Result<T> {
        let found = match self.peek() {
            Token::EOF => "the statement ends".to_owned(),
            token => format!("found {token}"),
        };
        Err(self.syntax(format!("expected {what}, {found}")))
    }

    /// Whether `word` stands next (unquoted, any case).
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    /// Step over `word` if it stands next.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    /// Step over all of `words`.
    pub(super) fn expect_words(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.take_word(word) {
                return self.expected(word);
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<()> {
        if self.take(token) {
            Ok(())
        } else {
            self.expected(&token.to_string())
        }
    }

    /// A name: lower case unless quoted, as DataFusion has it.
    pub(super) fn name(&mut self, what: &str) -> Result<String> {
        self.named(what, name::fault)
    }

    /// The name of a column, by the rule for columns.
    pub(super) fn column_name(&mut self, what: &str) -> Result<String> {
        self.named(what, name::column_fault)
    }

    fn named(&mut self, what: &str, fault: fn(&str) -> Option<String>) -> Result<String> {
        let name = match self.peek() {
            Token::Word(word) if word.quote_style.is_some() => word.value.clone(),
            Token::Word(word) => word.value.to_lowercase(),
            _ => return self.expected(what),
        };
        if let Some(fault) = fault(&name) {
            return Err(self.syntax(format!("{what} {fault}")));
        }
        self.advance();
        Ok(name)
    }

    /// `( item, item, .. )`.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(&Token::LParen)?;
        let mut items = vec![item(self)?];
        while self.take(&Token::Comma) {
            items.push(item(self)?);
        }
        self.expect(&Token::RParen)?;
        Ok(items)
    }

    /// `( column, column, .. )`.
    pub(super) fn column_names(&mut self, what: &str) -> Result<Vec<String>> {
        self.list(|cursor| cursor.column_name(what))
    }

    pub(super) fn string(&mut self, what: &str) -> Result<String> {
        match self.peek() {
            Token::SingleQuotedString(value) => {
                let value = value.clone();
                self.advance();
                Ok(value)
            }
            _ => self.expected(&format!("{what} in single quotes")),
        }
    }

    pub(super) fn number(&mut self, what: &str) -> Result<f64> {
        let value = match self.peek() {
            Token::Number(digits, _) => digits.parse::<f64>().ok().filter(|v| v.is_finite()),
            _ => None,
        };
        let Some(value) = value else {
            return self.expected(what);
        };
        self.advance();
        Ok(value)
    }

    pub(super) fn whole_number(&mut self, what: &str) -> Result<u32> {
        let value = match self.peek() {
            Token::Number(digits, _) => digits.parse::<u32>().ok(),
            _ => None,
        };
        let Some(value) = value else {
            return self.expected(&format!("{what}, a whole number"));
        };
        self.advance();
        Ok(value)
    }

    /// `INTERVAL '30' MINUTE` or `INTERVAL '1 hour 30 minutes'`, in microseconds, not negative.
    pub(super) fn interval(&mut self) -> Result<Micros> {
        let start = self.here();
        self.expect_words(&["INTERVAL"])?;
        let quantity = match self.peek() {
            Token::SingleQuotedString(text) => text.clone(),
            Token::Number(digits, _) => digits.clone(),
            _ => return self.expected("a quantity like '30'"),
        };
        self.advance();
        let unit = match self.peek() {
            Token::Word(word) if is_unit(&word.value) => Some(word.value.to_uppercase()),
            Token::Word(word) if quantity.parse::<f64>().is_ok() => {
                return self.expected(&format!(
                    "a unit after '{quantity}', not {word}: SECOND, MINUTE, HOUR, DAY"
                ));
            }
            _ => None,
        };
        if unit.is_some() {
            self.advance();
        }
        let mut field = unit;
        if let Some(from) = &field
            && self.take_word("TO")
        {
            let to = self.name("the last unit")?.to_uppercase();
            field = Some(format!("{from} TO {to}"));
        }
        parse_duration(&quantity, field.as_deref())
            .map_err(|message| EngineError::Syntax { at: start, message })
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<()> {
        let before = self.tokens(self.next.saturating_sub(1), self.next);
        let is_filter = matches!(before, [token] if matches!(&token.token, Token::Word(w) if w.value.eq_ignore_ascii_case("FILTER")));
        match self.peek() {
            Token::EOF => Ok(()),
            Token::LParen if is_filter => Err(self.syntax(
                "FILTER stands before OVER; write count(*) FILTER (WHERE condition) OVER (..)",
            )),
            _ => self.expected("the end of the statement"),
        }
    }

    /// The rest of the statement, which must be a query.
    pub(super) fn query(&mut self) -> Result<QueryText> {
        let start = self.index();
        let at = self.here();
        let query = self.parsed(|parser| parser.parse_query())?;
        self.end()?;
        bounds::check(&at, &query)?;
        Ok(QueryText {
            file: self.file.to_owned(),
            tokens: self.tokens(start, self.tokens.len()).to_vec(),
        })
    }

    /// An expression: its text as written and its tokens.
    pub(super) fn expression(&mut self) -> Result<(String, QueryText)> {
        let start = self.index();
        let at = self.here();
        let expr = self.parsed(|parser| parser.parse_expr())?;
        bounds::check(&at, &expr)?;
        let tokens = self.tokens(start, self.index()).to_vec();
        let text = match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => {
                source_slice(self.text, first.span.start, last.span.end).to_owned()
            }
            _ => String::new(),
        };
        Ok((
            text,
            QueryText {
                file: self.file.to_owned(),
                tokens,
            },
        ))
    }

    /// sqlparser's words, with its place where it names one, else where it stopped.
    fn parser_error(&self, error: &ParserError, behind: usize) -> EngineError {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => {
                "the SQL is nested more than 50 levels deep; compute the inner part in a subquery of a view, or in a \
                 view that a service joins"
                    .into()
            }
        };
        let (message, place) = match text.rsplit_once(" at Line: ") {
            Some((message, place)) => (message.to_owned(), parse_place(place)),
            None => (text, None),
        };
        let stopped = || self.place(behind);
        let at = place.map_or_else(stopped, |position| location(self.file, position));
        EngineError::Syntax {
            at,
            message: parser_message(&message, self.all_tokens()),
        }
    }
}

fn parse_place(text: &str) -> Option<Position> {
    let (line, column) = text.split_once(", Column: ")?;
    let column = column.trim_end_matches(|c: char| !c.is_ascii_digit());
    Some(Position {
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}
