//! The system's allocator, told to give back what is freed. By default glibc keeps an arena for
//! nearly every thread, and raises the size from which a block is mapped by itself with each large
//! block that is freed; after a burst of large batches and answers the process then holds half as
//! much again as it uses (measured: 384 MiB against 295 at a limit of 256). Nothing else is set
//! here, and other systems keep their own ways.

/// Blocks of this size and above are mapped by themselves, and go back when they are freed: batches
/// and answers, not keys.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM_BYTES: i32 = 256 << 10;
/// What may stay free at the end of an arena.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_FREE_BYTES: i32 = 1 << 20;
/// Fewest and most arenas; between them, one for each processor.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: (usize, usize) = (2, 8);

/// Set it, before there is a second thread. Variables such as `MALLOC_ARENA_MAX` are overridden.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back_what_is_freed() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = processors.clamp(ARENAS.0, ARENAS.1);
    let arenas = i32::try_from(arenas).expect("at most eight");
    // Refused only where a parameter is unknown; then it stays as it was.
    native::mallopt(native::ARENA_MAX, arenas);
    native::mallopt(native::MMAP_THRESHOLD, MAPPED_FROM_BYTES);
    native::mallopt(native::TRIM_THRESHOLD, KEPT_FREE_BYTES);
}

/// Set nothing.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back_what_is_freed() {}

/// `malloc.h` of glibc.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "the one call has no safe binding among our packages"
)]
mod native {
    pub(super) const TRIM_THRESHOLD: i32 = -1;
    pub(super) const MMAP_THRESHOLD: i32 = -3;
    pub(super) const ARENA_MAX: i32 = -8;

    // SAFETY: `int mallopt(int, int)` takes numbers alone, is in every glibc, and refuses what it
    // does not know.
    unsafe extern "C" {
        pub(super) safe fn mallopt(parameter: i32, value: i32) -> i32;
    }
}
