//! Arrow types in what is kept as JSON: by the words that Arrow shows and reads them by. The
//! functions are for `#[serde(with = "..")]` here, [`list`] for several types; [`KeptType`] is for
//! other crates.

use arrow_schema::DataType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A type that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptType(pub DataType);

impl Serialize for KeptType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for KeptType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

pub(crate) fn serialize<S: Serializer>(
    data_type: &DataType,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(data_type)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<DataType, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.parse();
    parsed.map_err(|e| serde::de::Error::custom(format!("'{text}' is no type: {e}")))
}

/// Lists of types.
pub(crate) mod list {
    use arrow_schema::DataType;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::KeptType;

    pub(crate) fn serialize<S: Serializer>(
        types: &[DataType],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(types.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<DataType>, D::Error> {
        let kept = Vec::<KeptType>::deserialize(deserializer)?;
        Ok(kept.into_iter().map(|kept| kept.0).collect())
    }
}
