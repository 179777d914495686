//! Examples, read by a reader that knows literals and calls and nothing else, and run by the
//! kernels themselves.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow_cast::cast;
use arrow_cast::parse::parse_interval_month_day_nano;
use arrow_schema::DataType;
use chrono::DateTime;
use forebay_core::time::timestamp_type;

use super::super::called;
use super::{bind, run};
use crate::scalar::function::{Example, Type};
use crate::scalar::kernel::Operand;
use crate::scalar::operators::array_of;

/// What the example's call gives, where that is not what it says.
pub(super) fn wrong(example: &Example) -> Option<String> {
    let Example { call, value } = example;
    match Reader::of(call).whole() {
        Err(_) if *value == "error" => None,
        Err(why) => Some(format!("{call}: {why}")),
        Ok(given) => {
            let same = *value != "error" && {
                let wanted = Reader::of(value).whole().expect("a literal");
                let wanted = cast(&wanted, given.data_type()).expect("of the result's type");
                given.to_data() == wanted.to_data()
            };
            (!same).then(|| format!("{call} gives {given:?}"))
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    fn whole(mut self) -> Result<ArrayRef, String> {
        let value = self.value();
        if value.is_ok() {
            assert_eq!(self.rest.trim(), "", "{}", self.text);
        }
        value
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            None => false,
            Some(rest) => {
                self.rest = rest;
                true
            }
        }
    }

    fn expect(&mut self, token: &str) {
        assert!(
            self.take(token),
            "{}: {token} before {:?}",
            self.text,
            self.rest
        );
    }

    fn while_(&mut self, within: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest.find(|char| !within(char)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> String {
        self.expect("'");
        let mut text = String::new();
        loop {
            let (before, rest) = self.rest.split_once('\'').expect("a closing quote");
            text.push_str(before);
            self.rest = rest;
            if !rest.starts_with('\'') {
                return text;
            }
            text.push('\'');
            self.rest = rest.get(1..).expect("a quote");
        }
    }

    fn value(&mut self) -> Result<ArrayRef, String> {
        let rest = self.rest.trim_start();
        if rest.starts_with('\'') {
            return Ok(Arc::new(StringArray::from(vec![self.quoted()])));
        }
        if rest.starts_with(|char: char| char.is_ascii_digit() || char == '-') {
            return Ok(self.number());
        }
        let word = self.while_(|char| char.is_alphanumeric() || char == '_');
        match word {
            "NULL" => Ok(new_null_array(&DataType::Null, 1)),
            "true" | "false" => Ok(Arc::new(BooleanArray::from(vec![word == "true"]))),
            "DATE" => {
                let days = forebay_core::date::parse(&self.quoted()).expect("a date");
                Ok(Arc::new(Date32Array::from(vec![days])))
            }
            "TIMESTAMP" => {
                let text = self.quoted();
                let time = DateTime::parse_from_rfc3339(&text).expect("RFC 3339");
                let array = TimestampMicrosecondArray::from(vec![time.timestamp_micros()]);
                Ok(Arc::new(array.with_data_type(timestamp_type())))
            }
            "INTERVAL" => {
                let text = self.quoted();
                let interval = parse_interval_month_day_nano(&text).expect("an interval");
                Ok(Arc::new(IntervalMonthDayNanoArray::from(vec![interval])))
            }
            "ARRAY" => self.array(),
            "CAST" => {
                self.expect("(");
                let value = self.value()?;
                self.expect("AS");
                let class = match self.while_(char::is_alphanumeric) {
                    "DOUBLE" => Type::Double,
                    "BIGINT" => Type::BigInt,
                    "VARCHAR" => Type::Text,
                    "DATE" => Type::Date,
                    other => panic!("{other}"),
                };
                self.expect(")");
                Ok(cast(&value, &class.arrow()).expect("a cast"))
            }
            name => self.call(name),
        }
    }

    fn array(&mut self) -> Result<ArrayRef, String> {
        let mut items = Vec::new();
        self.expect("[");
        loop {
            items.push(self.value()?);
            if !self.take(",") {
                break;
            }
        }
        self.expect("]");
        let class = items.iter().find_map(|item| Type::of(item.data_type()));
        let class = class.expect("an item with a type");
        let items: Vec<ArrayRef> = items
            .iter()
            .map(|item| cast(item, &class.arrow()).expect("items of one type"))
            .collect();
        let operands: Vec<_> = items.iter().map(Operand::constant).collect();
        array_of(class.list().expect("arrays of it"), &operands, 1).map_err(|e| e.to_string())
    }

    fn number(&mut self) -> ArrayRef {
        let digits = self.while_(|char| char.is_ascii_digit() || "-.e".contains(char));
        match digits.parse::<i64>() {
            Ok(integer) => Arc::new(Int64Array::from(vec![integer])) as ArrayRef,
            Err(_) => {
                let float: f64 = digits.parse().expect("a number");
                Arc::new(Float64Array::from(vec![float]))
            }
        }
    }

    fn call(&mut self, name: &str) -> Result<ArrayRef, String> {
        let mut arguments = Vec::new();
        self.expect("(");
        if !self.take(")") {
            loop {
                arguments.push(self.value()?);
                if !self.take(",") {
                    break;
                }
            }
            self.expect(")");
        }
        let types: Vec<_> = arguments
            .iter()
            .map(|array| Type::of(array.data_type()))
            .collect();
        let first = arguments
            .first()
            .and_then(|array| array.as_string_opt::<i32>());
        let first = first.map(|text| text.value(0));
        let function = called(name, first).unwrap_or_else(|| panic!("no function {name}"));
        let overload = function
            .overload(&types)
            .unwrap_or_else(|| panic!("{}: no overload for {types:?}", self.text));
        let wanted = overload.arguments.iter().copied();
        let wanted = wanted.chain(overload.rest.into_iter().cycle());
        let arguments: Vec<_> = arguments
            .iter()
            .zip(wanted)
            .map(|(array, class)| cast(array, &class.arrow()).expect("widened"))
            .collect();
        let constants: Vec<_> = arguments.iter().cloned().map(Some).collect();
        let kernel = bind(overload, &constants)?;
        let operands: Vec<_> = arguments.into_iter().map(|array| (array, true)).collect();
        let (array, faults) = run(kernel.as_ref(), &operands, 1);
        match faults.first() {
            None => Ok(array),
            Some((_, kind)) => Err(kind.to_string()),
        }
    }
}

/// The reader itself reads what examples use.
#[test]
fn literals_are_read() {
    let read = |text| Reader::of(text).whole().expect("a value");
    assert_eq!(read("'it''s'").as_string::<i32>().value(0), "it's");
    assert_eq!(read("-7").as_primitive::<Int64Type>().value(0), -7);
    assert_eq!(read("-2.5").as_primitive::<Float64Type>().value(0), -2.5);
    assert!(
        read("CAST('NaN' AS DOUBLE)")
            .as_primitive::<Float64Type>()
            .value(0)
            .is_nan()
    );
    assert_eq!(read("NULL").len(), 1);
}
