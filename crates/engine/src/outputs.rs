//! Names of a SELECT's outputs. DataFusion refuses an output that has the name of a column beside
//! it, and two of one name; here an output may have any, because what it is read by is decided
//! behind the plan. So each output gets a name of no text before the query is planned, and its own
//! again behind it.
//!
//! `view` and `service` plan through it.

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr};
use datafusion::sql::sqlparser::tokenizer::Location as Position;

use crate::parse::{ident_name, position};

/// What the names of outputs begin with in a plan; no text has it.
const PREFIX: char = '\u{1}';

/// The outputs of a query by the names that they were written with.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Each item; None for one that stands for several columns.
    names: Vec<Option<Name>>,
}

/// What an output is called, and where that stands.
#[derive(Debug)]
struct Name {
    name: String,
    at: Option<Position>,
}

impl Outputs {
    /// Give each output of `query` a name of its own.
    pub(crate) fn rename(query: &mut Query) -> Self {
        let mut names = Vec::new();
        if let SetExpr::Select(select) = query.body.as_mut() {
            for (index, item) in select.projection.iter_mut().enumerate() {
                names.push(renamed(item, index));
            }
        }
        Self { names }
    }

    /// The name with which the output that goes by `planned` in the plan was written.
    pub(crate) fn written(&self, planned: &str) -> String {
        let name = self.item(planned).map(|item| item.name.clone());
        name.unwrap_or_else(|| planned.to_owned())
    }

    /// Where that name stands.
    pub(crate) fn place(&self, planned: &str) -> Option<Position> {
        self.item(planned)?.at
    }

    fn item(&self, planned: &str) -> Option<&Name> {
        let index: usize = planned.strip_prefix(PREFIX)?.parse().ok()?;
        self.names.get(index)?.as_ref()
    }
}

fn renamed(item: &mut SelectItem, index: usize) -> Option<Name> {
    let placed = |alias: &Ident| Ident {
        value: format!("{PREFIX}{index}"),
        quote_style: Some('"'),
        span: alias.span,
    };
    match item {
        SelectItem::ExprWithAlias { alias, .. } => {
            let name = Name {
                name: ident_name(alias),
                at: position(alias.span),
            };
            *alias = placed(alias);
            Some(name)
        }
        SelectItem::UnnamedExpr(expr) => {
            let own = match &*expr {
                Expr::Identifier(own) => own.clone(),
                Expr::CompoundIdentifier(parts) => parts.last()?.clone(),
                _ => return None,
            };
            let alias = placed(&own);
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias,
            };
            Some(Name {
                name: ident_name(&own),
                at: position(own.span),
            })
        }
        _ => None,
    }
}
