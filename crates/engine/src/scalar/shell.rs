//! What DataFusion's planner sees of functions, special forms and casts: names, which arguments
//! they take and what comes out. It never evaluates one.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::forms::Form;
use super::function::{Function, Type};
use super::functions;
use super::refusal::Refusal;

const CAST: &str = "_forebay_cast_";
const TRY_CAST: &str = "_forebay_try_cast_";

/// Types that values can be cast to.
const CAST_TARGETS: [(Type, &str); 7] = [
    (Type::Boolean, "boolean"),
    (Type::Integer, "integer"),
    (Type::BigInt, "bigint"),
    (Type::Double, "double"),
    (Type::Text, "varchar"),
    (Type::Date, "date"),
    (Type::Timestamp, "timestamp"),
];

/// The name of the call that stands for a cast.
pub(super) fn cast_name(to: Type, trying: bool) -> Option<String> {
    let (_, name) = CAST_TARGETS.iter().find(|(of, _)| *of == to)?;
    let prefix = if trying { TRY_CAST } else { CAST };
    Some(format!("{prefix}{name}"))
}

/// The cast that a call of `name` stands for.
pub(super) fn cast_of(name: &str) -> Option<(Type, bool)> {
    let (rest, trying) = match name.strip_prefix(TRY_CAST) {
        Some(rest) => (rest, true),
        None => (name.strip_prefix(CAST)?, false),
    };
    let (of, _) = CAST_TARGETS.iter().find(|(_, name)| *name == rest)?;
    Some((*of, trying))
}

/// What a shell stands for.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Function(&'static Function),
    Form(Form),
    Cast(Type),
}

/// A function as DataFusion's planner knows it.
#[derive(Debug)]
struct Shell {
    name: String,
    aliases: Vec<String>,
    subject: Subject,
    signature: Signature,
}

impl PartialEq for Shell {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Shell {}

impl Hash for Shell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// All that a text may call, by each of its names.
pub(crate) fn shells() -> HashMap<String, Arc<ScalarUDF>> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut shells = Vec::new();
    for function in functions::all() {
        shells.push(Shell::new(
            function.name.to_owned(),
            owned(function.aliases),
            Subject::Function(function),
        ));
    }
    for form in Form::ALL {
        shells.push(Shell::new(
            form.name().to_owned(),
            owned(form.aliases()),
            Subject::Form(form),
        ));
    }
    for (to, _) in CAST_TARGETS {
        for name in [false, true].map(|trying| cast_name(to, trying)) {
            let name = name.expect("it is one of the targets");
            shells.push(Shell::new(name, Vec::new(), Subject::Cast(to)));
        }
    }
    let mut named = HashMap::new();
    for shell in shells {
        let names: Vec<String> = shell
            .aliases
            .iter()
            .cloned()
            .chain([shell.name.clone()])
            .collect();
        let shell = Arc::new(ScalarUDF::new_from_impl(shell));
        named.extend(names.into_iter().map(|name| (name, Arc::clone(&shell))));
    }
    named
}

impl Shell {
    fn new(name: String, aliases: Vec<String>, subject: Subject) -> Self {
        Self {
            name,
            aliases,
            subject,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    fn types(&self, types: &[DataType]) -> Result<Vec<Option<Type>>, Refusal> {
        types
            .iter()
            .map(|data_type| match data_type {
                DataType::Null => Ok(None),
                data_type => planned(data_type).map(Some).ok_or_else(|| {
                    let name = &self.name;
                    let shown = if cast_of(name).is_some() { "CAST" } else { name };
                    Refusal::at(
                        shown,
                        format!("{shown} does not take a value of type {data_type}; cast it first: CAST(.. AS DOUBLE)"),
                    )
                }),
            })
            .collect()
    }
}

/// The type that is meant by one of DataFusion's.
pub(super) fn planned(data_type: &DataType) -> Option<Type> {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => Some(Type::Text),
        DataType::Timestamp(..) => Some(Type::Timestamp),
        DataType::Duration(_) => Some(Type::Duration),
        DataType::Interval(_) => Some(Type::Interval),
        // What DataFusion says of NULLs among the items does not count.
        DataType::List(item) => planned(item.data_type())?.list(),
        data_type => Type::of(data_type),
    }
}

fn arrow(of: Option<Type>) -> DataType {
    of.map_or(DataType::Null, Type::arrow)
}

impl ScalarUDFImpl for Shell {
    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let given = self.types(types)?;
        let coerced: Vec<Option<Type>> = match self.subject {
            Subject::Cast(_) => given,
            Subject::Form(form) => form.coerced(&given)?,
            Subject::Function(function) => {
                let overload = function
                    .overload(&given)
                    .ok_or_else(|| misfit(function, &given))?;
                let wanted = overload.arguments.iter().copied();
                let wanted = wanted.chain(overload.rest.into_iter().cycle());
                wanted.take(given.len()).map(Some).collect()
            }
        };
        Ok(coerced.into_iter().map(arrow).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let given = self.types(types)?;
        Ok(match self.subject {
            Subject::Cast(to) => to.arrow(),
            Subject::Form(form) => {
                let coerced = form.coerced(&given)?;
                arrow(form.result(&coerced))
            }
            Subject::Function(function) => {
                let overload = function
                    .overload(&given)
                    .ok_or_else(|| misfit(function, &given))?;
                overload.result.arrow()
            }
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let first = args.scalar_arguments.first().copied().flatten();
        let first = first.and_then(|value| value.try_as_str().flatten());
        let data_type = match self.subject {
            // The type may follow from what is asked for.
            Subject::Function(function) => {
                let given = self.types(&types)?;
                let function = functions::called(function.name, first).unwrap_or(function);
                let overload = function
                    .overload(&given)
                    .ok_or_else(|| misfit(function, &given))?;
                overload.result.arrow()
            }
            _ => self.return_type(&types)?,
        };
        Ok(Arc::new(Field::new(&self.name, data_type, true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} was to be evaluated by the planner", self.name)
    }
}

/// `function` does not take arguments of these types.
pub(super) fn misfit(function: &Function, given: &[Option<Type>]) -> Refusal {
    let list = |types: &[&str]| format!("({})", types.join(", "));
    let given: Vec<&str> = given
        .iter()
        .map(|of| of.map_or("NULL", Type::sql))
        .collect();
    let takes: Vec<String> = function
        .overloads
        .iter()
        .map(|overload| {
            let mut types: Vec<&str> = overload.arguments.iter().map(|of| of.sql()).collect();
            let rest = overload.rest.map(|of| format!("{} ..", of.sql()));
            types.extend(rest.as_deref());
            list(&types)
        })
        .collect();
    let name = function.name;
    Refusal::at(
        name,
        format!(
            "{name} takes {}, not {}; cast what differs: CAST(.. AS type)",
            takes.join(" or "),
            list(&given)
        ),
    )
}
