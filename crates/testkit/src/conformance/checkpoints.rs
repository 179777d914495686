//! What monitors and the filter of repeats rely on: the blob of a name is the one that was saved
//! last, whole, and no name meets another.

use forebay_core::ports::Checkpoints;

/// Names that a file system, or SQL, might take for one another.
const NAMES: [&str; 9] = [
    "a", "A", "a/b", "a%2fb", "..", "a.new", "a b", "\u{e4}", "-",
];

/// Opens the same place anew: what one has saved another one loads.
pub type OpenCheckpoints<'a> = &'a dyn Fn() -> Box<dyn Checkpoints>;

/// Everything that [`Checkpoints`] promise, at a place where there are none yet.
///
/// # Panics
/// A promise is not kept.
pub fn checkpoints(open: OpenCheckpoints<'_>) {
    let saved = open();
    for name in NAMES {
        assert_eq!(saved.load(name).expect("readable"), None, "{name:?}");
        // The longer one first: of what is replaced nothing is left.
        saved.save(name, &[1; 100_000]).expect("saved");
        saved.save(name, name.as_bytes()).expect("replaced");
    }
    let later = open();
    for name in NAMES {
        let blob = later.load(name).expect("readable");
        assert_eq!(blob.as_deref(), Some(name.as_bytes()), "{name:?}");
    }
    later.save(NAMES[0], &[]).expect("replaced");
    let empty = saved.load(NAMES[0]).expect("readable");
    assert_eq!(empty.as_deref(), Some(&[][..]), "an empty blob is one");
}
