//! Definition files: all `*.sql` of a folder, in the order of their names. The catalog takes texts,
//! so that a client can read files here and have them applied elsewhere.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};

use forebay_core::limits::DEFINITION_FILE_MAX_BYTES;

use crate::error::{EngineError, Result};

/// A file of definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionFile {
    /// Its path as errors and changes name it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// All `*.sql` files of a folder, by name.
///
/// # Errors
/// The folder or a file cannot be read, or there is no such file.
pub fn read_definitions(dir: &Path) -> Result<Vec<DefinitionFile>> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: Error| EngineError::File {
            path,
            source: Box::new(source),
        }
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        if path.extension().is_some_and(|extension| extension == "sql") && path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let none = Error::new(ErrorKind::NotFound, "there is no file that ends in .sql");
        return Err(failed(dir)(none));
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = read(&path).map_err(failed(&path))?;
            Ok(DefinitionFile {
                path: path.display().to_string(),
                text,
            })
        })
        .collect()
}

/// The text, or its beginning where it is over the limit: the parser refuses it then.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let limit = DEFINITION_FILE_MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    match String::from_utf8(bytes) {
        Ok(whole) => text.push_str(&whole),
        // A cut in the middle of a character.
        Err(cut) if cut.as_bytes().len() as u64 == limit => {
            text.push_str(&String::from_utf8_lossy(cut.as_bytes()))
        }
        Err(_) => return Err(Error::new(ErrorKind::InvalidData, "the file is not UTF-8")),
    }
    Ok(text)
}
