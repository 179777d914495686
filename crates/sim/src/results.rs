//! What was played so far over one state of the code, as a file: seeds, seconds, failures. A change
//! of the code that is judged begins the count anew.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Seeds that were played and failed over one state of the code.
#[derive(Debug, Default)]
pub(crate) struct Results {
    code: String,
    commit: String,
    pub(crate) next_seed: u64,
    pub(crate) seeds: u64,
    seconds: f64,
    failed: Vec<Value>,
}

impl Results {
    /// Those in `file`, if it has some over `code`.
    pub(crate) fn of(file: &Path, code: &str) -> Result<Self, String> {
        let mut results = Self {
            code: code.to_owned(),
            ..Self::default()
        };
        let Ok(text) = std::fs::read_to_string(file) else {
            return Ok(results);
        };
        let read: Value = serde_json::from_str(&text)
            .map_err(|error| format!("{} is no results file: {error}", file.display()))?;
        if read["code"] == code {
            let number = |name: &str| read[name].as_u64().unwrap_or(0);
            results.next_seed = number("next_seed");
            results.seeds = number("seeds");
            results.seconds = read["seconds"].as_f64().unwrap_or(0.0);
            results.failed = read["failed"].as_array().cloned().unwrap_or_default();
        }
        Ok(results)
    }

    /// `played` more seeds, of which these have `failed`.
    pub(crate) fn add(
        &mut self,
        played: u64,
        failed: &[(u64, String)],
        took: Duration,
        commit: &str,
    ) {
        commit.clone_into(&mut self.commit);
        self.next_seed += played;
        self.seeds += played;
        self.seconds += took.as_secs_f64();
        let failed = failed.iter();
        self.failed
            .extend(failed.map(|(seed, words)| json!({"seed": seed, "failure": words})));
    }

    pub(crate) fn save(&self, file: &Path) -> Result<(), String> {
        let shown = json!({
            "workload": "sim", "commit": self.commit, "code": self.code, "seeds": self.seeds,
            "next_seed": self.next_seed, "seconds": (self.seconds * 10.0).round() / 10.0,
            "failed": self.failed,
        });
        let text = format!("{shown:#}\n");
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
    }
}
