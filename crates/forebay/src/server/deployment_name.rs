//! `deployment` in the data directory: the `server.name` that the archive's transaction ids carry.
//! Under another name nothing in the archive would count as appended, and every row would be there
//! twice; so another name is refused before a table is opened.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::catalog_file::write_whole;

const FILE: &str = "deployment";

/// Take `data_dir` for the deployment `name`, or refuse the name when it has another one.
///
/// # Errors
/// It has another name; the file cannot be read or written.
pub(super) fn claim(data_dir: &Path, name: &str) -> Result<()> {
    let path = data_dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(known) => {
            ensure!(
                known == name,
                "{} belongs to the deployment '{known}', and server.name is '{name}': its archive would hold every \
                 row twice; set server.name = \"{known}\", or give another --data-dir",
                data_dir.display()
            );
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_whole(&path, name.as_bytes())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_is_refused_with_the_one_to_go_back_to_and_that_one_is_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        claim(dir.path(), "first").expect("a new directory");
        claim(dir.path(), "first").expect("its own name");
        let refused = claim(dir.path(), "other").expect_err("another name");
        let words = refused.to_string();
        assert!(words.contains("server.name = \"first\""), "{words}");
        claim(dir.path(), "first").expect("the remedy that the words name");
    }
}
