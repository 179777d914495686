//! The limits of texts: each is reached and passed, and what lies beyond fails its row alone.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use forebay_core::fault::FaultKind;
use forebay_core::limits::{LEVENSHTEIN_MAX_CHARS, REGEX_MAX_BYTES, TEXT_MAX_BYTES};

use super::super::{function, regexp};
use super::{Faults, bind, run};
use crate::scalar::function::Type;

fn call(name: &str, arguments: &[ArrayRef], rows: usize) -> (ArrayRef, Faults) {
    let types: Vec<_> = arguments
        .iter()
        .map(|array| Type::of(array.data_type()))
        .collect();
    let function = function(name).expect("a function");
    let overload = function.overload(&types).expect("an overload");
    let kernel = bind(overload, &vec![None; arguments.len()]).expect("no constants");
    let columns: Vec<_> = arguments
        .iter()
        .map(|array| (Arc::clone(array), false))
        .collect();
    run(kernel.as_ref(), &columns, rows)
}

fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn integers(integers: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(integers.to_vec()))
}

#[test]
fn a_text_above_the_limit_fails_its_row_alone() {
    let limit = i64::try_from(TEXT_MAX_BYTES).expect("small");
    let counts = integers(&[limit, limit + 1, i64::MAX, 2]);
    let beyond = vec![(1, FaultKind::Range), (2, FaultKind::Range)];
    let ones = texts(&["x"; 4]);
    for (name, arguments) in [
        ("repeat", vec![Arc::clone(&ones), Arc::clone(&counts)]),
        ("lpad", vec![Arc::clone(&ones), Arc::clone(&counts)]),
        ("rpad", vec![Arc::clone(&ones), counts, Arc::clone(&ones)]),
    ] {
        let (array, faults) = call(name, &arguments, 4);
        assert_eq!(faults, beyond, "{name}");
        assert_eq!(
            (array.is_valid(0), array.is_valid(3)),
            (true, true),
            "{name}"
        );
    }
    let (full, one) = ("x".repeat(TEXT_MAX_BYTES), texts(&["", "x"]));
    let full = texts(&[&full, &full]);
    let over = vec![(1, FaultKind::Range)];
    assert_eq!(call("concat", &[Arc::clone(&full), one], 2).1, over);
    let by = texts(&["y", "yy"]);
    let (_, faults) = call("replace", &[Arc::clone(&full), texts(&["x"; 2]), by], 2);
    assert_eq!(faults, over);
    // The ligature is three bytes, three letters in upper case; the sharp s two, of two each.
    let sharp = texts(&[&"\u{149}".repeat(TEXT_MAX_BYTES / 2)]);
    assert_eq!(call("upper", &[sharp], 1).1, [(0, FaultKind::Range)]);
}

#[test]
fn levenshtein_takes_texts_up_to_its_limit() {
    let (at, beyond) = (
        "a".repeat(LEVENSHTEIN_MAX_CHARS),
        "a".repeat(LEVENSHTEIN_MAX_CHARS + 1),
    );
    let (array, faults) = call(
        "levenshtein",
        &[texts(&[&at, &beyond]), texts(&["b", "b"])],
        2,
    );
    assert_eq!(faults, [(1, FaultKind::Range)]);
    assert!(array.is_valid(0));
}

#[test]
fn a_pattern_that_is_too_large_is_refused() {
    let why = regexp::compile("[a-z]{100000}", "").expect_err("too large");
    assert!(why.contains(&REGEX_MAX_BYTES.to_string()), "{why}");
}

/// Rows of 1 MiB each: a column of 32-bit offsets holds 2,047 of them.
#[test]
#[ignore = "takes 2 GiB of memory"]
fn a_batch_of_too_much_text_is_an_error_and_no_panic() {
    let rows = 2_049;
    let limit = i64::try_from(TEXT_MAX_BYTES).expect("small");
    let function = function("repeat").expect("a function");
    let kernel = bind(&function.overloads[0], &[None, None]).expect("no constants");
    let (one, count) = (texts(&[&"x".repeat(1_024)]), integers(&[limit / 1_024]));
    let operands = [&one, &count].map(|array| crate::scalar::kernel::Operand {
        array,
        constant: true,
    });
    let mut faults = crate::scalar::kernel::RowFaults::default();
    let error = kernel
        .run(&operands, rows, &mut faults)
        .expect_err("too much");
    assert_eq!(error.kind(), forebay_core::ErrorKind::ResourceExhausted);
}
