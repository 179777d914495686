//! Calls: casts that a text asks for, the special forms, and the functions of the table, whose
//! kernels are bound to their constant arguments here.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use datafusion::logical_expr::Expr;
use forebay_core::limits::ARRAY_MAX_ITEMS;

use super::binary::no_order;
use super::{Lowered, Lowering, Typed};
use crate::scalar::forms::Form;
use crate::scalar::function::Type;
use crate::scalar::functions;
use crate::scalar::operation::Operation;
use crate::scalar::operators::Extreme;
use crate::scalar::refusal::Refusal;
use crate::scalar::shell::{cast_of, misfit};
use crate::scalar::suggest::unknown_function;

impl Lowering<'_> {
    /// The call of `name`.
    pub(super) fn call(&mut self, name: &str, args: &[Expr]) -> Lowered {
        let mut typed = Vec::with_capacity(args.len());
        for arg in args {
            typed.push(self.lower(arg)?);
        }
        if let Some((to, trying)) = cast_of(name) {
            let [value] = typed.as_slice() else {
                return Err(Refusal::new("a cast is of one value"));
            };
            return self.cast(*value, to, trying);
        }
        match Form::of(name) {
            Some(form) => self.form(form, &typed),
            None => self.called(name, &typed),
        }
    }

    fn form(&mut self, form: Form, args: &[Typed]) -> Lowered {
        form.check_count(args.len())?;
        let texts: Vec<&str> = args.iter().map(|arg| self.text(*arg).as_ref()).collect();
        let text = format!("{}({})", form.name(), texts.join(", "));
        match form {
            Form::Nvl2 => return self.nvl2(args, &text),
            Form::RequestTime => return self.moment(),
            Form::MakeArray => return self.array(args),
            _ => {}
        }
        let Some(of) = self.common(form.name(), args)? else {
            return Ok(args[0]);
        };
        let mut slots = Vec::with_capacity(args.len());
        for arg in args {
            slots.push(self.implied(*arg, Some(of))?.slot);
        }
        if matches!(of, Type::List(_)) && matches!(form, Form::Greatest | Form::Least) {
            return Err(no_order(&text));
        }
        if matches!(of, Type::Duration | Type::Interval)
            && !matches!(form, Form::Coalesce | Form::Nvl)
        {
            return Err(Refusal::at(
                form.name(),
                format!(
                    "{text}: {} is not for intervals; write CASE with a comparison",
                    form.name()
                ),
            ));
        }
        let extreme = match form {
            Form::Greatest => Extreme::Greatest,
            Form::Least => Extreme::Least,
            Form::NullIf => return self.operation(Operation::NullIf, slots, of, &text),
            Form::Coalesce | Form::Nvl | Form::Nvl2 | Form::RequestTime | Form::MakeArray => {
                let slot = self.builder.coalesce(slots, of, &text)?;
                return Ok(Typed::new(slot, of));
            }
        };
        self.operation(Operation::Extreme(extreme), slots, of, &text)
    }

    /// `ARRAY[a, b, ..]`.
    fn array(&mut self, args: &[Typed]) -> Lowered {
        let texts: Vec<&str> = args.iter().map(|arg| self.text(*arg).as_ref()).collect();
        let text = format!("ARRAY[{}]", texts.join(", "));
        let refuse = |message: String| Err(Refusal::at("ARRAY", message));
        if args.len() > ARRAY_MAX_ITEMS {
            return refuse(format!(
                "ARRAY has {} items, more than {ARRAY_MAX_ITEMS} (ARRAY_MAX_ITEMS); write fewer",
                args.len()
            ));
        }
        let Some(item) = self.common("ARRAY", args)? else {
            return refuse(format!(
                "{text} does not say of what type its items are; cast one: CAST(NULL AS VARCHAR)"
            ));
        };
        let Some(of) = item.list() else {
            return refuse(format!(
                "{text}: there are no arrays of {}; write an array of values that are kept",
                item.sql()
            ));
        };
        let mut slots = Vec::with_capacity(args.len());
        for arg in args {
            slots.push(self.implied(*arg, Some(item))?.slot);
        }
        self.operation(Operation::Array(of), slots, of, &text)
    }

    /// `nvl2(a, b, c)`: b where a is not NULL, else c.
    fn nvl2(&mut self, args: &[Typed], text: &str) -> Lowered {
        let [condition, then, otherwise] = args else {
            return Err(Refusal::new("nvl2 takes three arguments"));
        };
        let Some(of) = self.common("nvl2", &[*then, *otherwise])? else {
            return Ok(*then);
        };
        let then = self.implied(*then, Some(of))?.slot;
        let otherwise = self.implied(*otherwise, Some(of))?.slot;
        let reads = format!("{} IS NOT NULL", super::operand(self.text(*condition)));
        let present = Operation::IsNull { negated: true };
        let when = self.operation(present, vec![condition.slot], Type::Boolean, &reads)?;
        let arms = vec![(when.slot, then)];
        let slot = self.builder.case(arms, Some(otherwise), of, text)?;
        Ok(Typed::new(slot, of))
    }

    /// The text that `typed` is, if it is a constant.
    fn constant_text(&self, typed: Typed) -> Option<&str> {
        let array = self.builder.constant(typed.slot)?.as_string_opt::<i32>()?;
        array.is_valid(0).then(|| array.value(0))
    }

    /// A function of the table.
    pub(super) fn called(&mut self, name: &str, args: &[Typed]) -> Lowered {
        let first = args.first().and_then(|arg| self.constant_text(*arg));
        let Some(function) = functions::called(name, first) else {
            return Err(unknown_function(name));
        };
        let types: Vec<Option<Type>> = args.iter().map(|arg| arg.of).collect();
        let Some(overload) = function.overload(&types) else {
            return Err(misfit(function, &types));
        };
        let wanted = overload
            .arguments
            .iter()
            .copied()
            .chain(overload.rest.into_iter().cycle());
        let texts: Vec<&str> = args.iter().map(|arg| self.text(*arg).as_ref()).collect();
        let text = format!("{}({})", function.name, texts.join(", "));
        let mut slots = Vec::with_capacity(args.len());
        for (arg, wanted) in args.iter().zip(wanted) {
            slots.push(self.implied(*arg, Some(wanted))?.slot);
        }
        let operation = Operation::function(function.name, overload);
        let slot = self
            .builder
            .call(operation, slots, overload.result, &text)
            .map_err(|refusal| Refusal::at(function.name, refusal.message))?;
        Ok(Typed::new(slot, overload.result))
    }
}
