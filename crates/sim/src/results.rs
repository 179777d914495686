//! What was played so far over one state of the code, as a file: seeds, seconds, failures. A change
//! of the code that is judged begins the count anew; seeds that have ever failed stay in the file,
//! with the commit at which they did.

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
    /// Those that have failed over any state of the code, each failure once.
    found: Vec<Value>,
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
        let list = |name: &str| read[name].as_array().cloned().unwrap_or_default();
        results.found = list("found");
        if read["code"] == code {
            let number = |name: &str| read[name].as_u64().unwrap_or(0);
            results.next_seed = number("next_seed");
            results.seeds = number("seeds");
            results.seconds = read["seconds"].as_f64().unwrap_or(0.0);
            results.failed = list("failed");
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
        for (seed, words) in failed {
            let failure = json!({"seed": seed, "failure": words});
            self.failed.push(failure);
            let found = json!({"seed": seed, "commit": commit, "failure": words});
            if !self.found.contains(&found) {
                self.found.push(found);
            }
        }
    }

    pub(crate) fn save(&self, file: &Path) -> Result<(), String> {
        let shown = json!({
            "workload": "sim", "commit": self.commit, "code": self.code, "seeds": self.seeds,
            "next_seed": self.next_seed, "seconds": (self.seconds * 10.0).round() / 10.0,
            "failed": self.failed, "found": self.found,
        });
        let text = format!("{shown:#}\n");
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_has_failed_stays_in_the_file_when_the_code_is_mended() {
        let name = format!("forebay-sim-results-{}.json", std::process::id());
        let file = std::env::temp_dir().join(name);
        let played = |code: &str, commit: &str, failed: &[(u64, String)]| {
            let mut results = Results::of(&file, code).expect("a results file or none");
            results.add(10, failed, Duration::from_secs(1), commit);
            results.save(&file).expect("saved");
            let text = std::fs::read_to_string(&file).expect("readable");
            serde_json::from_str::<Value>(&text).expect("JSON")
        };
        let failure = [(7, "a row is gone".to_owned())];
        played("before", "c0ffee", &failure);
        let again = played("before", "c0ffee", &failure);
        assert_eq!(again["failed"].as_array().map(Vec::len), Some(2));
        let mended = played("mended", "5eed", &[]);
        std::fs::remove_file(&file).expect("it is there");
        assert_eq!(mended["failed"], json!([]));
        assert_eq!(mended["seeds"], 10);
        let found = json!({"seed": 7, "commit": "c0ffee", "failure": "a row is gone"});
        assert_eq!(mended["found"], json!([found]));
    }
}
