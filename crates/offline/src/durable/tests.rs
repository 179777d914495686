//! The durable store against the promises of an object store: create is exclusive, overwrite
//! replaces, nothing staged is listed or left, parts land at their offsets whatever order they are
//! awaited in.

use std::fs;
use std::path::Path as FilePath;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::*;

fn location(directory: &FilePath, name: &str) -> Path {
    Path::from_absolute_path(directory.join(name)).expect("an absolute path")
}

fn names(directory: &FilePath) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("readable")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn create_is_exclusive_and_overwrite_replaces() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = DurableLocal::new();
    let at = location(directory.path(), "deep/er/entry.json");
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    store
        .put_opts(&at, PutPayload::from_static(b"one"), create.clone())
        .await
        .expect("new");
    let again = store
        .put_opts(&at, PutPayload::from_static(b"two"), create)
        .await;
    assert!(
        matches!(again, Err(Error::AlreadyExists { .. })),
        "{again:?}"
    );
    assert_eq!(
        &store
            .get(&at)
            .await
            .expect("there")
            .bytes()
            .await
            .expect("bytes")[..],
        b"one"
    );
    store
        .put(&at, PutPayload::from_static(b"three"))
        .await
        .expect("replaced");
    assert_eq!(
        &store
            .get(&at)
            .await
            .expect("there")
            .bytes()
            .await
            .expect("bytes")[..],
        b"three"
    );
    assert_eq!(names(&directory.path().join("deep/er")), ["entry.json"]);
}

#[tokio::test]
async fn a_staged_file_of_a_crash_is_neither_listed_nor_in_the_way() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a#0"), b"torn").expect("written");
    let store = DurableLocal::new();
    store
        .put(
            &location(directory.path(), "a"),
            PutPayload::from_static(b"whole"),
        )
        .await
        .expect("put");
    let prefix = Path::from_absolute_path(directory.path()).expect("absolute");
    let listed: Vec<ObjectMeta> = store
        .list(Some(&prefix))
        .try_collect()
        .await
        .expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].size, 5);
}

#[tokio::test]
async fn where_too_many_staged_files_lie_beside_a_name_deleting_them_frees_it() {
    let directory = tempfile::tempdir().expect("a directory");
    for number in 0..staged::STAGED_MAX {
        let path = directory.path().join(format!("a#{number}"));
        fs::File::create(path).expect("made");
    }
    let store = DurableLocal::new();
    let at = location(directory.path(), "a");
    let put = || store.put(&at, PutPayload::from_static(b"whole"));
    let refused = put().await.expect_err("no name is free").to_string();
    let remedy = "delete those whose names end in `#<n>`";
    assert!(refused.contains(remedy), "{refused}");
    for name in names(directory.path()) {
        if name.contains('#') {
            fs::remove_file(directory.path().join(name)).expect("removed");
        }
    }
    put().await.expect("put");
    assert_eq!(names(directory.path()), ["a"]);
}

#[tokio::test]
async fn parts_awaited_backwards_make_the_same_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = DurableLocal::new();
    let at = location(directory.path(), "parts");
    let mut upload = store.put_multipart(&at).await.expect("started");
    let first = upload.put_part(PutPayload::from_static(b"abc"));
    let second = upload.put_part(PutPayload::from_static(b"defg"));
    second.await.expect("written");
    first.await.expect("written");
    assert_eq!(names(directory.path()), ["parts#0"]);
    upload.complete().await.expect("complete");
    assert_eq!(
        &store
            .get(&at)
            .await
            .expect("there")
            .bytes()
            .await
            .expect("bytes")[..],
        b"abcdefg"
    );
    assert!(upload.complete().await.is_err());
    let mut dropped = store
        .put_multipart(&location(directory.path(), "other"))
        .await
        .expect("started");
    dropped
        .put_part(PutPayload::from_static(b"x"))
        .await
        .expect("written");
    dropped.abort().await.expect("aborted");
    drop(dropped);
    assert_eq!(names(directory.path()), ["parts"]);
}

/// What `store` lists of `prefix` from `offset` on, in order.
async fn listed(store: &dyn ObjectStore, prefix: &Path, offset: &Path) -> Vec<ObjectMeta> {
    let files = store.list_with_offset(Some(prefix), offset);
    let mut files: Vec<_> = files.try_collect().await.expect("listed");
    files.sort_by(|a, b| a.location.cmp(&b.location));
    files
}

#[tokio::test]
async fn files_from_a_name_on_are_those_that_the_local_file_system_lists() {
    let log = [
        "00.json",
        "01.json",
        "02.checkpoint.parquet",
        "02.json",
        "02.json#7",
        "_last",
    ];
    let (nested, spaced) = (["00.json", "deep/01.json"], ["00.json", "0 1.json"]);
    let half_staged = ["00.json", "02#x.json"];
    for files in [&log[..], &nested, &spaced, &half_staged, &[]] {
        let directory = tempfile::tempdir().expect("a directory");
        for name in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, name).expect("written");
        }
        let prefix = Path::from_absolute_path(directory.path()).expect("an absolute path");
        let (store, plain) = (DurableLocal::new(), LocalFileSystem::new());
        let gone = prefix.clone().join("gone");
        for prefix in [prefix, gone] {
            let names = ["00", "00.json", "02", "02.json", "zz"];
            let mut offsets: Vec<Path> = names.map(|name| prefix.clone().join(name)).into();
            offsets.extend([prefix.clone(), prefix.clone().join("deep").join("00")]);
            for offset in offsets {
                let expected = listed(&plain, &prefix, &offset).await;
                let found = listed(&store, &prefix, &offset).await;
                assert_eq!(found, expected, "{files:?} from {offset}");
            }
        }
    }
}
