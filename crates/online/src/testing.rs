//! Specs for this crate's unit tests.

use forebay_core::aggregate::{AggregateKind, PartialClass, PartialSpec};
use forebay_core::source::Column;
use forebay_core::time::Micros;
use forebay_core::view::{AggregateSpec, ViewId, ViewSpec, Window};

use arrow_schema::DataType;

/// `count(*)` over one range window.
pub(crate) fn view_spec(id: ViewId, preceding_us: Micros) -> ViewSpec {
    ViewSpec {
        id,
        name: format!("view_{id}"),
        version: 1,
        entity: "entity".into(),
        source: "events".into(),
        key: vec![Column {
            name: "k".into(),
            data_type: DataType::Int64,
            nullable: false,
        }],
        arguments: vec![],
        filters: 0,
        partials: vec![PartialSpec {
            class: PartialClass::Count,
            argument: None,
            argument_type: None,
            filter: None,
        }],
        aggregates: vec![AggregateSpec {
            name: "n".into(),
            kind: AggregateKind::Count,
            data_type: DataType::Int64,
            partial: 0,
            window: Window::Range { preceding_us },
        }],
        ttl_us: None,
        digest: format!("digest-{id}"),
    }
}
