//! What a server tells of its services: names, versions, request columns, features and views, from
//! the JSON of its `services` action, with the column types of the rest of the program.

use arrow_schema::DataType;
use forebay_core::source::Column;
use forebay_core::time::timestamp_type;
use forebay_core::value::list_type;
use serde::Deserialize;

use super::unreadable::unreadable;
use crate::error::ServeResult;

/// A feature service of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Name.
    pub name: String,
    /// Version that is served.
    pub version: u32,
    /// Its fingerprint.
    pub fingerprint: String,
    /// What a request carries.
    pub request: Vec<Column>,
    /// What an answer holds.
    pub features: Vec<Column>,
    /// The views that it reads.
    pub views: Vec<ViewInfo>,
}

/// A view inside a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ViewInfo {
    /// Its alias in the service: `<alias>__status` and `<alias>__event_time` are the columns about
    /// it.
    pub alias: String,
    /// The view's name.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// The source that it reads.
    pub source: String,
}

#[derive(Deserialize)]
struct Listing {
    services: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    version: u32,
    fingerprint: String,
    request: Vec<ListedColumn>,
    features: Vec<ListedColumn>,
    views: Vec<ViewInfo>,
}

#[derive(Deserialize)]
struct ListedColumn {
    name: String,
    r#type: String,
    nullable: bool,
}

/// Read the answer of the action `services`.
pub(super) fn parse_services(answer: &[u8]) -> ServeResult<Vec<ServiceInfo>> {
    let listing: Listing = serde_json::from_slice(answer)
        .map_err(|error| unreadable(&format!("the list of services: {error}")))?;
    listing.services.into_iter().map(service).collect()
}

fn service(listed: Listed) -> ServeResult<ServiceInfo> {
    Ok(ServiceInfo {
        name: listed.name,
        version: listed.version,
        fingerprint: listed.fingerprint,
        request: listed
            .request
            .into_iter()
            .map(column)
            .collect::<ServeResult<_>>()?,
        features: listed
            .features
            .into_iter()
            .map(column)
            .collect::<ServeResult<_>>()?,
        views: listed.views,
    })
}

fn scalar_type(words: &str) -> Option<DataType> {
    Some(match words {
        "BOOLEAN" => DataType::Boolean,
        "INTEGER" => DataType::Int32,
        "BIGINT" => DataType::Int64,
        "DOUBLE" => DataType::Float64,
        "VARCHAR" => DataType::Utf8,
        "DATE" => DataType::Date32,
        "TIMESTAMP" => timestamp_type(),
        _ => return None,
    })
}

fn column(listed: ListedColumn) -> ServeResult<Column> {
    let words = listed.r#type.as_str();
    let data_type = match words.strip_suffix("[]") {
        Some(item) => scalar_type(item).map(list_type),
        None => scalar_type(words),
    };
    let data_type = data_type.ok_or_else(|| {
        unreadable(&format!(
            "column {} has the unknown type {words}",
            listed.name
        ))
    })?;
    Ok(Column {
        name: listed.name,
        data_type,
        nullable: listed.nullable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_with_its_types_and_an_unknown_type_is_named() {
        let listing = r#"{"services":[{"name":"s","version":2,"fingerprint":"ab",
            "request":[{"name":"origin","type":"VARCHAR","nullable":false}],
            "features":[{"name":"n","type":"BIGINT","nullable":true},{"name":"at","type":"TIMESTAMP","nullable":true}],
            "views":[{"alias":"t","view":"traffic","version":3,"source":"departures"}]}]}"#;
        let services = parse_services(listing.as_bytes()).expect("well formed");
        assert_eq!(
            services[0].request,
            [Column {
                name: "origin".into(),
                data_type: DataType::Utf8,
                nullable: false
            }]
        );
        assert_eq!(services[0].features[1].data_type, timestamp_type());
        assert_eq!(
            (services[0].version, services[0].views[0].view.as_str()),
            (2, "traffic")
        );
        let arrays = listing.replace("BIGINT", "VARCHAR[]");
        let services = parse_services(arrays.as_bytes()).expect("well formed");
        let found = &services[0].features[0].data_type;
        assert_eq!(*found, list_type(DataType::Utf8));
        let strange = listing.replace("BIGINT", "MAP");
        let error = parse_services(strange.as_bytes()).expect_err("unknown type");
        assert!(
            error
                .to_string()
                .contains("column n has the unknown type MAP"),
            "{error}"
        );
        assert!(parse_services(b"[]").is_err());
    }
}
