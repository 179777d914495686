//! The one place that sets DataFusion up: our types for SQL's, our aggregates for the inexact
//! ones, the analyzer, and of scalar functions nothing but the shells of `scalar`. Plans text
//! that `parse` checked; `view`, `service` and `label` match the plans and compile expressions.
//! DataFusion finds out names and types; it rewrites no expression and evaluates none.
//!
//! Planning is synchronous, over tables that the caller names, and runs on a thread with a large
//! stack (`catalog::planner`): a plan is a deep tree, and neither a plan nor an expression ever
//! crosses an await. Before each step it asks whether to go on.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{TableReference, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::functions_aggregate::planner::AggregateFunctionPlanner;
use datafusion::functions_window::planner::WindowFunctionPlanner;
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, Spanned};
use datafusion::sql::sqlparser::tokenizer::Location as Position;
use forebay_core::time::timestamp_type;

use crate::functions::{aggregate_functions, planned_name};
use crate::nodes;
use crate::parse::position;
use crate::patience::{GivenUp, Patience};
use crate::scalar::{Operators, bare_aggregate, desugar, shells};

/// DataFusion, set up. Cheap to share, nothing in it changes.
#[derive(Clone)]
pub(crate) struct Session {
    state: Arc<SessionState>,
    functions: Arc<HashMap<String, Arc<ScalarUDF>>>,
    planners: Arc<[Arc<dyn ExprPlanner>]>,
    /// Of who waits for what is planned; None where nothing is.
    patience: Option<Arc<Patience>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new() -> Self {
        let mut config = SessionConfig::new()
            .with_target_partitions(1)
            .with_information_schema(false);
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        config.options_mut().execution.time_zone = Some("UTC".to_owned());
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_aggregate_functions(aggregate_functions())
            .with_type_planner(Arc::new(OurTypes))
            .with_optimizer_rules(Vec::new())
            .build();
        let functions = Arc::new(shells());
        let planners: [Arc<dyn ExprPlanner>; 3] = [
            Arc::new(Operators::new(Arc::clone(&functions))),
            Arc::new(AggregateFunctionPlanner),
            Arc::new(WindowFunctionPlanner),
        ];
        Self {
            state: Arc::new(state),
            functions,
            planners: Arc::new(planners),
            patience: None,
        }
    }

    /// The same, to plan for as long as `patience` says.
    pub(crate) fn with_patience(&self, patience: &Arc<Patience>) -> Self {
        Self {
            patience: Some(Arc::clone(patience)),
            ..self.clone()
        }
    }

    /// Whether to go on planning.
    ///
    /// # Errors
    /// Nobody waits any more, or the time is over.
    pub(crate) fn goes_on(&self) -> Result<(), GivenUp> {
        self.patience
            .as_ref()
            .map_or(Ok(()), |patience| patience.ask())
    }

    /// How long planning may go on; None: for ever.
    pub(crate) fn patience(&self) -> Option<&Arc<Patience>> {
        self.patience.as_ref()
    }

    /// A context over the same functions and rules, to run plans in `environment`.
    pub(crate) fn context(&self, environment: Arc<RuntimeEnv>) -> SessionContext {
        let state = SessionStateBuilder::new_from_existing(self.state.as_ref().clone())
            .with_runtime_env(environment)
            .build();
        SessionContext::new_with_state(state)
    }

    /// The checked plan of `query` over `tables`.
    ///
    /// # Errors
    /// What DataFusion or `scalar` do not take, with the output that it is in.
    pub(crate) fn plan(
        &self,
        query: ast::Query,
        tables: &[(String, SchemaRef)],
    ) -> Result<LogicalPlan, Unplanned> {
        let whole = query.clone();
        self.planned(query, tables).map_err(|error| Unplanned {
            near: self.culprit(&whole, tables, &error),
            error,
        })
    }

    /// Where the output of `query` begins that alone gives `error`. Nothing else in the text is
    /// known to DataFusion where it says that a type does not fit.
    fn culprit(
        &self,
        query: &ast::Query,
        tables: &[(String, SchemaRef)],
        error: &DataFusionError,
    ) -> Option<Position> {
        let ast::SetExpr::Select(select) = query.body.as_ref() else {
            return None;
        };
        let words = error.to_string();
        let fails = |item: ast::SelectItem| {
            let mut alone = query.clone();
            if let ast::SetExpr::Select(select) = alone.body.as_mut() {
                select.projection = vec![item];
            }
            let planned = self.planned(alone, tables);
            planned.is_err_and(|error| error.to_string() == words)
        };
        let one = ast::Expr::Value(ast::Value::Null.into());
        // It is in FROM or in WHERE.
        if select.projection.is_empty() || fails(ast::SelectItem::UnnamedExpr(one)) {
            return None;
        }
        let mut items = select.projection.iter();
        let item = items.find(|item| self.goes_on().is_ok() && fails((*item).clone()))?;
        position(item.span())
    }

    fn planned(
        &self,
        mut query: ast::Query,
        tables: &[(String, SchemaRef)],
    ) -> Result<LogicalPlan> {
        desugar(&mut query, &|name| self.is_aggregate(name))?;
        let provider = Tables::new(self, tables);
        let planner =
            SqlToRel::new_with_options(&provider, parser_options(self.state.config_options()));
        self.goes_on()?;
        let plan = planner.sql_statement_to_plan(ast::Statement::Query(Box::new(query)))?;
        nodes::check(&plan)?;
        self.goes_on()?;
        let options = self.state.config_options();
        let plan = self
            .state
            .analyzer()
            .execute_and_check(plan, options, |_, _| {})?;
        nodes::check(&plan)?;
        Ok(plan)
    }

    /// Whether `name` is an aggregate or another function over a window.
    fn is_aggregate(&self, name: &str) -> bool {
        self.aggregate(name).is_some() || self.state.window_functions().contains_key(name)
    }

    /// The first aggregate of `query` that has no window, and where it stands.
    pub(crate) fn bare_aggregate(&self, query: &ast::Query) -> Option<(String, Option<Position>)> {
        let (name, span) = bare_aggregate(query, &|name| self.aggregate(name).is_some())?;
        Some((name, position(span)))
    }

    /// The aggregate function that goes by `name` in SQL.
    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        let functions = self.state.aggregate_functions();
        functions.get(planned_name(name).as_str()).cloned()
    }
}

/// With the place of each column in the text.
fn parser_options(options: &ConfigOptions) -> ParserOptions {
    ParserOptions::from(&options.sql_parser).with_collect_spans(true)
}

/// Why a query has no plan.
#[derive(Debug)]
pub(crate) struct Unplanned {
    pub(crate) error: DataFusionError,
    /// The output that it is in, where it is in one.
    pub(crate) near: Option<Position>,
}

impl From<DataFusionError> for Unplanned {
    fn from(error: DataFusionError) -> Self {
        Self { error, near: None }
    }
}

/// A schema of unqualified columns, all nullable: what compiled expressions run over.
pub(crate) fn plain_schema(fields: impl IntoIterator<Item = (String, DataType)>) -> SchemaRef {
    Arc::new(Schema::new(
        fields
            .into_iter()
            .map(|(name, data_type)| Field::new(name, data_type, true))
            .collect::<Vec<_>>(),
    ))
}

/// SQL's type names as our types: `TIMESTAMP` is microseconds in UTC, `VARCHAR` is `Utf8`.
#[derive(Debug)]
struct OurTypes;

impl TypePlanner for OurTypes {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            ast::DataType::Timestamp(_, _) => timestamp_type(),
            ast::DataType::Varchar(None) | ast::DataType::Text | ast::DataType::String(None) => {
                DataType::Utf8
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

/// The tables and functions that a text may name.
struct Tables<'a> {
    session: &'a Session,
    tables: HashMap<String, Arc<dyn TableSource>>,
}

impl<'a> Tables<'a> {
    fn new(session: &'a Session, tables: &[(String, SchemaRef)]) -> Self {
        let tables = tables
            .iter()
            .map(|(name, schema)| {
                let source: Arc<dyn TableSource> =
                    Arc::new(LogicalTableSource::new(Arc::clone(schema)));
                (name.clone(), source)
            })
            .collect();
        Self { session, tables }
    }
}

impl ContextProvider for Tables<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(name.table()) {
            Some(table) if name.schema().is_none() => Ok(Arc::clone(table)),
            _ => {
                let mut known: Vec<&str> = self.tables.keys().map(String::as_str).collect();
                known.sort_unstable();
                plan_err!(
                    "table {name} is not known here; known: {}",
                    known.join(", ")
                )
            }
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.session.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(OurTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.session.functions.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.session.aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.session.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.session.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.session.functions.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.session
            .state
            .aggregate_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.session
            .state
            .window_functions()
            .keys()
            .cloned()
            .collect()
    }
}
