//! Lists the files of one directory from a name on. A log is listed at each of its commits, for the
//! few entries behind a version, and [`LocalFileSystem`] makes a path of every name in it before it
//! compares: with 13,000 entries most of an append's time. Here names are compared as they are.

use std::fs;
use std::io::{Error as IoError, ErrorKind};
use std::path::Path as FilePath;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, Result};

use super::staged::{blocking, failed};

/// Files that are asked about at once.
const AT_ONCE: usize = 8;

/// The files below `prefix` whose paths come after `offset`, as of
/// [`ObjectStore::list_with_offset`] of `inner`.
pub(super) fn list_from(
    inner: &Arc<LocalFileSystem>,
    prefix: Option<&Path>,
    offset: &Path,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let all = inner.list_with_offset(prefix, offset);
    let Some((prefix, after)) = prefix.and_then(|prefix| Some((prefix, child(prefix, offset)?)))
    else {
        return all;
    };
    let (inner, prefix) = (Arc::clone(inner), prefix.clone());
    let listed = async move {
        let directory = inner.path_to_filesystem(&prefix)?;
        let names = blocking(move || {
            names_after(&directory, &after).map_err(|error| failed(&directory, &error))
        });
        Ok::<_, Error>(match names.await? {
            Some(names) => metadata_of(inner, prefix, names),
            None => all,
        })
    };
    stream::once(listed).try_flatten().boxed()
}

/// The name of `path`, which lies in the directory `prefix` itself.
fn child(prefix: &Path, path: &Path) -> Option<String> {
    let mut parts = path.prefix_match(prefix)?;
    let name = parts.next()?;
    parts.next().is_none().then(|| name.as_ref().to_owned())
}

/// The files in `directory` whose names come after `after`; none where there is no such directory.
/// None where it is not that simple: it holds a directory or a link, or a name that is written in
/// another way as a path.
fn names_after(directory: &FilePath, after: &str) -> Result<Option<Vec<String>>, IoError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Ok(None);
        };
        if is_staged(name) {
            continue;
        }
        if !is_plain(name) {
            return Ok(None);
        }
        if !entry.file_type()?.is_file() {
            return Ok(None);
        }
        if name > after {
            names.push(name.to_owned());
        }
    }
    Ok(Some(names))
}

fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether `name` is that of a file on its way to its name, which nobody lists.
fn is_staged(name: &str) -> bool {
    let number = name.split_once('#').map(|(_, number)| number);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The files `names` in `prefix`, but for those that are gone by now.
fn metadata_of(
    inner: Arc<LocalFileSystem>,
    prefix: Path,
    names: Vec<String>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let ask = move |name: String| {
        let (inner, location) = (Arc::clone(&inner), prefix.clone().join(name));
        async move {
            match inner.head(&location).await {
                Err(Error::NotFound { .. }) => Ok(None),
                found => found.map(Some),
            }
        }
    };
    let found = stream::iter(names).map(ask).buffered(AT_ONCE);
    found.try_filter_map(|found| async { Ok(found) }).boxed()
}
