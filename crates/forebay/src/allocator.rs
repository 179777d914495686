//! The allocator of the whole process, RocksDB and the Kafka client included: jemalloc, told to
//! keep little of what is freed. Why this one, and what others cost:
//! docs/decisions/0015-one-allocator.md.

#![allow(
    unsafe_code,
    reason = "jemalloc reads its settings from a symbol of this name"
)]

/// Whose memory Rust's own is; C and C++ get theirs by the names `malloc` and `free`.
#[global_allocator]
static PROCESS: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's settings at the start of the process; the variable `MALLOC_CONF` is read after them.
///
/// * `narenas`: threads share eight heaps. By default there are four for each processor, and each
///   keeps free pages of its own.
/// * `dirty_decay_ms`, `muzzy_decay_ms`: free pages go back to the system within 100 ms and for
///   good, so that a burst of batches and answers does not stay resident (default: 10 s).
/// * `background_thread`: they also go back while nothing is allocated.
// SAFETY: jemalloc declares `const char *malloc_conf`. A reference to an array is such a pointer;
// its bytes end with a zero and live as long as the process.
#[unsafe(export_name = "malloc_conf")]
pub(crate) static SETTINGS: &[u8; 69] =
    b"narenas:8,dirty_decay_ms:100,muzzy_decay_ms:0,background_thread:true\0";

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    /// The value of a setting, of the type that jemalloc's manual gives for it.
    fn setting<T: Default>(name: &CStr) -> T {
        let (mut value, mut bytes) = (T::default(), size_of::<T>());
        // SAFETY: the name ends with a zero, and jemalloc writes nothing where `bytes` is not the
        // size of the setting.
        let failed = unsafe {
            tikv_jemalloc_sys::mallctl(
                name.as_ptr(),
                (&raw mut value).cast(),
                &mut bytes,
                std::ptr::null_mut(),
                0,
            )
        };
        assert_eq!((failed, bytes), (0, size_of::<T>()), "{name:?}");
        value
    }

    #[test]
    fn the_process_runs_on_the_settings() {
        assert_eq!(setting::<u32>(c"opt.narenas"), 8);
        assert_eq!(setting::<isize>(c"opt.dirty_decay_ms"), 100);
        assert_eq!(setting::<isize>(c"opt.muzzy_decay_ms"), 0);
        assert_eq!(setting::<u8>(c"background_thread"), 1);
    }
}
