//! Named windows written out: `OVER w`, `OVER (w ORDER BY ..)` and `WINDOW b AS (a RANGE ..)`
//! become the windows that they mean by the rules of SQL, and the WINDOW clause goes. What refines
//! a window takes its PARTITION BY, and may add ORDER BY and a frame where it has none; anything
//! else is refused, because it would count other rows than are written.
//!
//! `cursor` calls it on every query right after the parser, so that references, planning and all
//! lowerings see one meaning.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, Query, Select, Visit, VisitMut, Visitor,
    VisitorMut, WindowSpec, WindowType,
};
use forebay_core::limits::EXPRESSION_MAX_NODES;

use super::query::ident_name;
use super::text::location;
use crate::error::{EngineError, Result};

/// Write the windows of `query`, which stands in `file`, out.
///
/// # Errors
/// `Syntax`, at the name of the window that cannot be meant.
pub(super) fn write_out(file: &str, query: &mut Query) -> Result<()> {
    let mut selects = Selects {
        left: EXPRESSION_MAX_NODES,
    };
    let ControlFlow::Break(Fault { name, kind }) = query.visit(&mut selects) else {
        return Ok(());
    };
    let at = location(file, name.span.start);
    Err(match kind {
        Kind::Meaningless(message) => EngineError::Syntax { at, message },
        Kind::TooLong => EngineError::Limit {
            at,
            message: format!(
                "the windows of this statement have more than {EXPRESSION_MAX_NODES} expressions when they are written \
                 out (EXPRESSION_MAX_NODES); name fewer columns in PARTITION BY, or split the statement"
            ),
        },
    })
}

/// A window that cannot be meant.
struct Fault {
    name: Ident,
    kind: Kind,
}

enum Kind {
    Meaningless(String),
    /// A short text can stand for many copies of a long window.
    TooLong,
}

impl Fault {
    fn new(name: &Ident, message: impl Into<String>) -> Self {
        Self {
            name: name.clone(),
            kind: Kind::Meaningless(message.into()),
        }
    }
}

/// Writes out the windows of each SELECT, the inner ones first.
struct Selects {
    /// How many expressions may still be copied.
    left: usize,
}

impl VisitorMut for Selects {
    type Break = Fault;

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Fault> {
        let mut named = Named {
            windows: Vec::new(),
            left: &mut self.left,
        };
        for definition in std::mem::take(&mut select.named_window) {
            if let Err(fault) = named.add(definition) {
                return ControlFlow::Break(fault);
            }
        }
        VisitMut::visit(&mut select.projection, &mut Calls { named })
    }
}

/// A window of a WINDOW clause, written out.
struct Window {
    name: String,
    spec: WindowSpec,
    /// How many expressions it has.
    size: usize,
}

struct Named<'a> {
    windows: Vec<Window>,
    left: &'a mut usize,
}

impl Named<'_> {
    fn add(&mut self, definition: NamedWindowDefinition) -> Result<(), Fault> {
        let NamedWindowDefinition(name, window) = definition;
        let own = ident_name(&name);
        if self.windows.iter().any(|other| other.name == own) {
            let message = format!("window {own} is defined twice; give each its own name");
            return Err(Fault::new(&name, message));
        }
        let spec = match window {
            NamedWindowExpr::NamedWindow(other) => self.copy(&other)?,
            NamedWindowExpr::WindowSpec(spec) => self.refined(spec)?,
        };
        let mut size = Size(1);
        // The visitor never breaks.
        let _continue = spec.visit(&mut size);
        self.windows.push(Window {
            name: own,
            spec,
            size: size.0,
        });
        Ok(())
    }

    /// The window `name`, counted.
    fn copy(&mut self, name: &Ident) -> Result<WindowSpec, Fault> {
        let wanted = ident_name(name);
        let found = self.windows.iter().find(|window| window.name == wanted);
        let window = found.ok_or_else(|| {
            let known: Vec<&str> = self.windows.iter().map(|w| w.name.as_str()).collect();
            let known = match known.as_slice() {
                [] => "there is none before it".to_owned(),
                known => format!("known: {}", known.join(", ")),
            };
            Fault::new(
                name,
                format!(
                    "there is no window {wanted}; {known}; write WINDOW {wanted} AS (PARTITION BY key ORDER BY \
                     event_time) behind FROM"
                ),
            )
        })?;
        *self.left = self.left.checked_sub(window.size).ok_or_else(|| Fault {
            name: name.clone(),
            kind: Kind::TooLong,
        })?;
        Ok(window.spec.clone())
    }

    /// `spec` with what the window that it names has.
    fn refined(&mut self, mut spec: WindowSpec) -> Result<WindowSpec, Fault> {
        let Some(name) = spec.window_name.take() else {
            return Ok(spec);
        };
        let base = self.copy(&name)?;
        let own = ident_name(&name);
        let refuse = |message: String| Err(Fault::new(&name, message));
        if !spec.partition_by.is_empty() {
            return refuse(format!(
                "window {own} says by what its rows are partitioned, and ({own} PARTITION BY ..) would say it again; \
                 drop {own}, or drop PARTITION BY"
            ));
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return refuse(format!(
                "window {own} has an ORDER BY, and ({own} ORDER BY ..) would give it another; drop this ORDER BY"
            ));
        }
        if base.window_frame.is_some() {
            return refuse(format!(
                "window {own} has a frame, so that nothing can be added to it; write OVER {own} without brackets, or \
                 the whole window"
            ));
        }
        spec.partition_by = base.partition_by;
        if spec.order_by.is_empty() {
            spec.order_by = base.order_by;
        }
        Ok(spec)
    }
}

/// Counts expressions.
struct Size(usize);

impl Visitor for Size {
    type Break = ();

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

/// Writes out the windows of calls.
struct Calls<'a> {
    named: Named<'a>,
}

impl VisitorMut for Calls<'_> {
    type Break = Fault;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Fault> {
        let Expr::Function(call) = expr else {
            return ControlFlow::Continue(());
        };
        let written = match call.over.take() {
            None => return ControlFlow::Continue(()),
            Some(WindowType::NamedWindow(name)) => self.named.copy(&name),
            Some(WindowType::WindowSpec(spec)) => self.named.refined(spec),
        };
        match written {
            Ok(written) => call.over = Some(WindowType::WindowSpec(written)),
            Err(fault) => return ControlFlow::Break(fault),
        }
        ControlFlow::Continue(())
    }
}
