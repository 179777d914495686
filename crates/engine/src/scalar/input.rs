//! The columns that expressions read, by the names that DataFusion's planner gives them. Whoever
//! compiles expressions lists them; code knows them by their place in the list.

use arrow_schema::DataType;
use datafusion::common::{Column, TableReference};
use forebay_core::time::timestamp_type;

/// How the moment of a request reads.
pub(super) const MOMENT: &str = "request_time()";

/// A column that expressions may name.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) relation: Option<TableReference>,
    pub(crate) name: String,
    pub(crate) data_type: DataType,
}

impl Input {
    /// A column without a table's name before it.
    pub(crate) fn plain(name: &str, data_type: &DataType) -> Self {
        Self {
            relation: None,
            name: name.to_owned(),
            data_type: data_type.clone(),
        }
    }

    /// A column of `relation`.
    pub(crate) fn of(relation: &str, name: &str, data_type: &DataType) -> Self {
        let relation = Some(TableReference::bare(relation));
        Self {
            relation,
            name: name.to_owned(),
            data_type: data_type.clone(),
        }
    }

    /// The moment as of which a request is answered. No column has its name: it is a call.
    pub(crate) fn moment() -> Self {
        Self::plain(MOMENT, &timestamp_type())
    }

    pub(super) fn is_moment(&self) -> bool {
        self.relation.is_none() && self.name == MOMENT
    }

    pub(crate) fn is(&self, column: &Column) -> bool {
        self.name == column.name && self.relation == column.relation
    }
}
