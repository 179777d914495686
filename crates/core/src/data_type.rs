//! Arrow types in what is kept as JSON: by the words that Arrow shows and reads them by. For
//! `#[serde(with = "forebay_core::data_type")]`; [`list`] is the same for several.

use arrow_schema::DataType;
use serde::{Deserialize, Deserializer, Serializer};

fn read<E: serde::de::Error>(text: &str) -> Result<DataType, E> {
    text.parse()
        .map_err(|e| E::custom(format!("'{text}' is no type: {e}")))
}

/// Write `data_type`.
///
/// # Errors
/// Those of `serializer`.
pub fn serialize<S: Serializer>(data_type: &DataType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(data_type)
}

/// Read a type.
///
/// # Errors
/// Those of `deserializer`; the text is no type.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataType, D::Error> {
    read(&String::deserialize(deserializer)?)
}

/// Lists of types.
pub mod list {
    use arrow_schema::DataType;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Write `types`.
    ///
    /// # Errors
    /// Those of `serializer`.
    pub fn serialize<S: Serializer>(types: &[DataType], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(types.iter().map(ToString::to_string))
    }

    /// Read types.
    ///
    /// # Errors
    /// Those of `deserializer`; a text is no type.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<DataType>, D::Error> {
        let texts = Vec::<String>::deserialize(d)?;
        texts.iter().map(|text| super::read(text)).collect()
    }
}
