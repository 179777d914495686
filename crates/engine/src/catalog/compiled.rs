//! What was compiled of an applied text, kept beside it: a start binds it and plans no SQL. A form
//! of another build, of another meaning of the text, or one that was edited is set aside, and the
//! text compiled again. `build` makes and reads them.

use forebay_core::digest::digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of what forms hold. One of another version is compiled anew from its text.
const COMPILED_FORMAT: u32 = 1;

/// A compiled definition as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compiled {
    format: u32,
    /// Digest of the definition, and of what it depends on, that it was compiled from.
    definition: String,
    /// JSON.
    form: String,
    /// Digest of all of this.
    check: String,
}

fn check(format: u32, definition: &str, form: &str) -> String {
    digest([format.to_string().as_str(), definition, form])
}

impl Compiled {
    /// `form`, compiled from what has the digest `definition`; None where it has none.
    pub(super) fn of<T: Serialize>(definition: &str, form: Option<T>) -> Option<Self> {
        let form = serde_json::to_string(&form?).ok()?;
        Some(Self {
            format: COMPILED_FORMAT,
            definition: definition.to_owned(),
            check: check(COMPILED_FORMAT, definition, &form),
            form,
        })
    }

    /// The form, if it is of this build and of `definition`.
    ///
    /// # Errors
    /// Why not, for a log.
    pub(super) fn read<T: DeserializeOwned>(&self, definition: &str) -> Result<T, String> {
        if self.format != COMPILED_FORMAT {
            return Err(format!("its compiled form has format {}", self.format));
        }
        if self.definition != definition {
            return Err("it means something else by now".to_owned());
        }
        if self.check != check(self.format, definition, &self.form) {
            return Err("its compiled form was edited".to_owned());
        }
        serde_json::from_str(&self.form).map_err(|e| format!("its compiled form: {e}"))
    }
}
