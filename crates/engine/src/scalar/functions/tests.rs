//! Conformance of every function, made from the registry: each overload over every class of input,
//! whatever the cut of the batch, and each example.

mod classes;
mod examples;
mod limits;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_select::concat::concat;
use arrow_select::take::take;
use forebay_core::exact::CANONICAL_NAN;
use forebay_core::fault::FaultKind;

use self::classes::{classes, constants, takes_column};
use super::{all, function};
use crate::scalar::function::{Argument, Function, Overload, Type};
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// Rows of one call with three arguments or more.
const MANY_ROWS: usize = 600;
/// Rows whose arguments are tried as constants.
const CONSTANT_ROWS: usize = 24;

type Faults = Vec<(u32, FaultKind)>;

fn run(kernel: &dyn Kernel, columns: &[(ArrayRef, bool)], rows: usize) -> (ArrayRef, Faults) {
    let operands: Vec<_> = columns
        .iter()
        .map(|(array, constant)| Operand {
            array,
            constant: *constant,
        })
        .collect();
    let mut faults = RowFaults::default();
    let array = kernel.run(&operands, rows, &mut faults).expect("a result");
    (array, faults.iter().collect())
}

fn cut(columns: &[(ArrayRef, bool)], from: usize, rows: usize) -> Vec<(ArrayRef, bool)> {
    let cut = |(array, constant): &(ArrayRef, bool)| {
        let array = if *constant {
            Arc::clone(array)
        } else {
            array.slice(from, rows)
        };
        (array, *constant)
    };
    columns.iter().map(cut).collect()
}

fn types(overload: &Overload, arity: usize) -> Vec<Type> {
    let types = overload.arguments.iter().copied();
    types
        .chain(overload.rest.into_iter().cycle())
        .take(arity)
        .collect()
}

/// The columns of a call: all pairs of two classes, a spread of more.
fn columns(overload: &Overload, arity: usize) -> (Vec<ArrayRef>, usize) {
    let types = overload.arguments.iter().copied();
    let types: Vec<_> = types
        .chain(overload.rest.into_iter().cycle())
        .take(arity)
        .collect();
    let classes: Vec<_> = types.iter().map(|class| classes(*class)).collect();
    let rows = match classes.as_slice() {
        [] => 3,
        [a] => a.len(),
        [a, b] => a.len() * b.len(),
        _ => MANY_ROWS,
    };
    let mut state = 1_u32;
    let mut columns = Vec::new();
    for (index, class) in classes.iter().enumerate() {
        let length = u32::try_from(class.len()).expect("few");
        let rows = u32::try_from(rows).expect("few");
        let picks: UInt32Array = (0..rows)
            .map(|row| match (classes.len(), index) {
                (1, _) | (2, 0) => row % length,
                (2, _) => row / u32::try_from(classes[0].len()).expect("few"),
                _ => {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) % length
                }
            })
            .collect();
        columns.push(take(class, &picks, None).expect("picks within"));
    }
    (columns, rows)
}

/// Every way to give constants where the function asks for them.
fn bindings(function: &Function, overload: &Overload, arity: usize) -> Vec<Vec<Option<ArrayRef>>> {
    let mut bindings: Vec<Vec<Option<ArrayRef>>> = vec![Vec::new()];
    for (index, class) in types(overload, arity).into_iter().enumerate() {
        let choices = constants(function.name, index, class);
        let choices = match choices {
            None => vec![None],
            Some(choices) => {
                let column = takes_column(function.name, index).then_some(None);
                choices.into_iter().map(Some).chain(column).collect()
            }
        };
        bindings = bindings
            .into_iter()
            .flat_map(|before| {
                choices.iter().map(move |choice| {
                    let mut binding = before.clone();
                    binding.push(choice.clone());
                    binding
                })
            })
            .collect();
    }
    bindings
}

fn bind(overload: &Overload, constants: &[Option<ArrayRef>]) -> Result<Arc<dyn Kernel>, String> {
    let arguments: Vec<_> = constants
        .iter()
        .map(|constant| Argument {
            constant: constant.as_ref(),
        })
        .collect();
    (overload.bind)(&arguments)
}

fn same(a: &(ArrayRef, Faults), b: &(ArrayRef, Faults), what: &str) {
    assert_eq!(a.1, b.1, "{what}: faults");
    assert_eq!(a.0.to_data(), b.0.to_data(), "{what}: values");
}

fn joined(pieces: &[(ArrayRef, Faults)]) -> (ArrayRef, Faults) {
    let (mut arrays, mut faults, mut rows) = (Vec::new(), Vec::new(), 0);
    for (array, own) in pieces {
        faults.extend(own.iter().map(|(row, kind)| (row + rows, *kind)));
        rows += u32::try_from(array.len()).expect("few");
        arrays.push(array.as_ref());
    }
    (concat(&arrays).expect("one type"), faults)
}

fn conforms(function: &Function, overload: &Overload, arity: usize) {
    let (arrays, rows) = columns(overload, arity);
    let bindings = bindings(function, overload, arity);
    let mut failed = BTreeSet::new();
    for constants in &bindings {
        let what = format!("{}({constants:?})", function.name);
        let kernel = match bind(overload, constants) {
            Ok(kernel) => kernel,
            Err(why) => {
                failed.insert(why);
                continue;
            }
        };
        let columns: Vec<(ArrayRef, bool)> = arrays
            .iter()
            .zip(constants)
            .map(|(array, constant)| match constant {
                None => (Arc::clone(array), false),
                Some(constant) => (Arc::clone(constant), true),
            })
            .collect();
        let whole = run(kernel.as_ref(), &columns, rows);
        promised(overload, &whole, rows, &what);
        cuts(kernel.as_ref(), &columns, &whole, rows, &what);
        as_constants(overload, constants, &columns, &whole, rows, &what);
    }
    assert!(
        failed.len() < bindings.len(),
        "{}: {failed:?}",
        function.name
    );
}

/// The type, a NULL for each fault, one NaN.
fn promised(overload: &Overload, (array, faults): &(ArrayRef, Faults), rows: usize, what: &str) {
    assert_eq!(array.data_type(), &overload.result.arrow(), "{what}");
    assert_eq!(array.len(), rows, "{what}");
    for (row, _) in faults {
        assert!(
            array.is_null(usize::try_from(*row).expect("a row")),
            "{what}: {row}"
        );
    }
    if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
        for float in floats.iter().flatten().filter(|float| float.is_nan()) {
            assert_eq!(float.to_bits(), CANONICAL_NAN.to_bits(), "{what}");
        }
    }
}

/// Halves, single rows and no row give what the whole batch gives.
fn cuts(
    kernel: &dyn Kernel,
    columns: &[(ArrayRef, bool)],
    whole: &(ArrayRef, Faults),
    rows: usize,
    what: &str,
) {
    let half = rows / 2;
    let halves = [
        run(kernel, &cut(columns, 0, half), half),
        run(kernel, &cut(columns, half, rows - half), rows - half),
    ];
    same(&joined(&halves), whole, &format!("{what} in halves"));
    let single = |row| run(kernel, &cut(columns, row, 1), 1);
    let singles: Vec<_> = (0..rows).map(single).collect();
    same(&joined(&singles), whole, &format!("{what} row by row"));
    let (empty, faults) = run(kernel, &cut(columns, 0, 0), 0);
    assert_eq!((empty.len(), faults.len()), (0, 0), "{what} of nothing");
    assert_eq!(empty.data_type(), whole.0.data_type(), "{what} of nothing");
}

/// An argument that is a constant gives what a column of it gives, whether `bind` sees it or not.
fn as_constants(
    overload: &Overload,
    constants: &[Option<ArrayRef>],
    columns: &[(ArrayRef, bool)],
    whole: &(ArrayRef, Faults),
    rows: usize,
    what: &str,
) {
    let step = (rows / CONSTANT_ROWS).max(1);
    for row in (0..rows).step_by(step) {
        let wanted = joined(&[(whole.0.slice(row, 1), of_row(&whole.1, row))]);
        let mut bound = constants.to_vec();
        let mut operands = cut(columns, row, 1);
        for index in 0..operands.len() {
            operands[index].1 = true;
            let array = Arc::clone(&operands[index].0);
            bound[index] = Some(array);
            let what = format!("{what}, row {row}, argument {index} constant");
            let unbound = bind(overload, constants).expect("bound before");
            same(&run(unbound.as_ref(), &operands, 1), &wanted, &what);
            // A constant that bind refuses is one that can never give a value.
            match bind(overload, &bound) {
                Ok(kernel) => same(&run(kernel.as_ref(), &operands, 1), &wanted, &what),
                Err(why) => assert!(wanted.0.is_null(0), "{what}: {why}"),
            }
        }
    }
}

fn of_row(faults: &Faults, row: usize) -> Faults {
    let row = u32::try_from(row).expect("a row");
    let own = faults.iter().filter(|(at, _)| *at == row);
    own.map(|(_, kind)| (0, *kind)).collect()
}

#[test]
fn every_function_conforms_over_every_class_of_input() {
    let mut overloads = 0;
    for function in all() {
        for overload in function.overloads {
            overloads += 1;
            conforms(function, overload, overload.arguments.len());
            if overload.rest.is_some() {
                conforms(function, overload, overload.arguments.len() + 2);
            }
        }
    }
    assert!(overloads > 100, "{overloads}");
}

#[test]
fn every_example_gives_its_value() {
    for function in all() {
        assert!(
            !function.examples.is_empty(),
            "{}: no example",
            function.name
        );
    }
    let examples = all().flat_map(|function| function.examples);
    let wrong: Vec<_> = examples.filter_map(examples::wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique_and_every_function_says_what_it_does() {
    let mut names = BTreeSet::new();
    for own in all() {
        for name in [&own.name].into_iter().chain(own.aliases) {
            assert!(names.insert(*name), "{name} twice");
            assert_eq!(*name, name.to_lowercase());
            assert!(function(name).is_some_and(|found| found.name == own.name));
        }
        assert!(own.summary.ends_with('.'), "{}: one sentence", own.name);
        assert!(!own.overloads.is_empty(), "{}", own.name);
        let floats = own
            .overloads
            .iter()
            .any(|overload| overload.arguments.contains(&Type::Double));
        assert!(
            !floats || !own.rules.float.is_empty(),
            "{}: NaN and -0.0",
            own.name
        );
        let Function { rules, .. } = own;
        assert!(!rules.null.is_empty(), "{}", own.name);
    }
}

/// A function that can fail says so, and one that says so does.
#[test]
fn faults_are_as_the_rules_say() {
    for own in all() {
        let mut fails = false;
        for overload in own.overloads {
            let arity = overload.arguments.len();
            let (arrays, rows) = columns(overload, arity);
            for constants in bindings(own, overload, arity) {
                let Ok(kernel) = bind(overload, &constants) else {
                    continue;
                };
                let columns: Vec<_> = arrays
                    .iter()
                    .zip(&constants)
                    .map(|(array, constant)| match constant {
                        None => (Arc::clone(array), false),
                        Some(constant) => (Arc::clone(constant), true),
                    })
                    .collect();
                fails |= !run(kernel.as_ref(), &columns, rows).1.is_empty();
            }
        }
        assert!(!fails || !own.rules.fault.is_empty(), "{} fails", own.name);
    }
}
