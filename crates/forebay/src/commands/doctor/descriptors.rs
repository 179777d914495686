//! How many files and connections a server may have open, and how it would divide them. Asks the
//! system and `server::descriptors`, changes no limit.

use super::finding::Finding;
use crate::server::descriptors::{Shares, allowed, shares};

const OBJECT: &str = "open files";

/// Look at the limit of this process with `shards` shards of state.
pub(super) fn examine(shards: u16) -> Finding {
    of(allowed(), shards)
}

fn of(limit: u64, shards: u16) -> Finding {
    match shares(limit, shards) {
        Ok(Shares {
            connections,
            shard_files,
        }) => {
            let files = shard_files.map_or_else(
                || "all files of the state".to_owned(),
                |files| format!("{files} files of each shard"),
            );
            let text = format!("room for {connections} connections a listener and {files}");
            Finding::ok(OBJECT, text)
        }
        Err(error) => Finding::failed(OBJECT, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_the_limit_are_told_and_one_that_is_too_low_is_a_failure() {
        let enough = of(1_024, 4);
        let text = "room for 256 connections a listener and 64 files of each shard";
        assert!(!enough.is_failed() && enough.text() == text, "{enough:?}");
        assert!(of(1 << 20, 4).text().ends_with("all files of the state"));
        let few = of(256, 4);
        assert!(
            few.is_failed() && few.text().contains("ulimit -Hn"),
            "{few:?}"
        );
    }
}
