//! What cudarc is asked at start. The only module of the crate with `unsafe`, each block with its
//! proof.
//!
//! cudarc loads `libcuda` by name and panics where the library or a symbol is missing, so the
//! library is looked for first and every call into cudarc runs under `catch_unwind` (the workspace
//! never builds with `panic = "abort"`). Listing devices makes no context: memory of the GPU is not
//! touched.
#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
};
use cudarc::driver::{CudaContext, DriverError, result, sys};

/// One GPU.
#[derive(Debug, Clone)]
pub(super) struct Gpu {
    pub(super) name: String,
    /// Compute capability, major and minor.
    pub(super) capability: (i32, i32),
    /// CUDA version of the driver: 1000 * major + 10 * minor.
    pub(super) driver_version: i32,
}

/// The GPUs of this machine, each with its facts or why they cannot be had.
pub(super) fn list() -> Result<Vec<Result<Gpu, String>>, String> {
    // SAFETY: opens shared libraries by name, which runs their initialisers. The names are those of
    // the NVIDIA driver, searched along the loader's path, which whoever starts this process
    // controls as well as the binary itself.
    let present = contained("looking for libcuda", || {
        Ok(unsafe { sys::is_culib_present() })
    })?;
    if !present {
        return Err(
            "libcuda.so.1 not found: no NVIDIA driver on this machine, or not on the loader's path; the CPU scores"
                .to_owned(),
        );
    }
    let count = contained("cuInit", CudaContext::device_count)?;
    if count == 0 {
        return Err("the NVIDIA driver lists no device; the CPU scores".to_owned());
    }
    let driver_version = contained("cuDriverGetVersion", driver_version)?;
    Ok((0..count)
        .map(|ordinal| contained("reading the device", || gpu(ordinal, driver_version)))
        .collect())
}

fn driver_version() -> Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: the call writes one int through the pointer, which is that of a live local and not
    // kept.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    Ok(version)
}

fn gpu(ordinal: i32, driver_version: i32) -> Result<Gpu, DriverError> {
    let device = result::device::get(ordinal)?;
    // SAFETY: `device` comes from `device::get` above, as `get_attribute` asks.
    let major = unsafe {
        result::device::get_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
    }?;
    // SAFETY: as above.
    let minor = unsafe {
        result::device::get_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
    }?;
    Ok(Gpu {
        name: result::device::get_name(device)?,
        capability: (major, minor),
        driver_version,
    })
}

/// Run `call`; a panic or an error becomes a reason that names `what`.
pub(super) fn contained<T>(
    what: &str,
    call: impl FnOnce() -> Result<T, DriverError>,
) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        // The error's own Debug asks the library for words, and panics where it has none: only the
        // name is taken.
        Ok(Err(error)) => Err(format!("{what} failed: {:?}", error.0)),
        Err(panic) => Err(format!("{what} failed: {}", panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
}
