//! Which devices this process can score on, and why not on others. The CPU always can. For a GPU
//! the driver's library, the driver, the devices and their age are looked at; each thing that is
//! missing is a reason in words, never a crash.

mod cuda;

/// One device, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// `cpu`, `gpu:N`, or `gpu` when none could be listed.
    pub device: String,
    /// Whether this build scores on it.
    pub available: bool,
    /// What was found and, if it is not available, why and what would help.
    pub reason: String,
}

/// Look for devices. Takes milliseconds (a second on a machine whose GPUs are asleep); call it once
/// at start.
#[must_use]
pub fn probe_devices() -> Vec<DeviceReport> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = DeviceReport {
        device: "cpu".to_owned(),
        available: true,
        reason: format!("{cores} threads"),
    };
    let gpus = match cuda::list() {
        Ok(found) => found
            .into_iter()
            .enumerate()
            .map(|(ordinal, gpu)| report(ordinal, gpu))
            .collect(),
        Err(reason) => vec![DeviceReport {
            device: "gpu".to_owned(),
            available: false,
            reason,
        }],
    };
    std::iter::once(cpu).chain(gpus).collect()
}

fn report(ordinal: usize, gpu: Result<cuda::Gpu, String>) -> DeviceReport {
    /// Oldest compute capability that kernels are built for: Turing.
    const CAPABILITY_MIN: (i32, i32) = (7, 5);
    let reason = match gpu {
        Err(reason) => reason,
        Ok(gpu) => {
            let (major, minor) = gpu.capability;
            let driver = format!(
                "CUDA {}.{}",
                gpu.driver_version / 1000,
                gpu.driver_version % 1000 / 10
            );
            let found = format!(
                "{} (compute capability {major}.{minor}, driver for {driver})",
                gpu.name
            );
            if gpu.capability < CAPABILITY_MIN {
                format!("{found} is too old: kernels need 7.5 or newer; the CPU scores")
            } else {
                format!("{found} is usable, but this build has no CUDA kernels yet; the CPU scores")
            }
        }
    };
    DeviceReport {
        device: format!("gpu:{ordinal}"),
        available: false,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::{cuda, probe_devices, report};

    #[test]
    fn the_cpu_is_always_there_and_a_gpu_always_has_a_reason() {
        let reports = probe_devices();
        assert_eq!(
            (reports[0].device.as_str(), reports[0].available),
            ("cpu", true)
        );
        assert!(
            reports.len() >= 2,
            "a machine without a GPU has a report that says so"
        );
        for gpu in &reports[1..] {
            assert!(
                gpu.device.starts_with("gpu") && !gpu.available && gpu.reason.len() > 20,
                "{gpu:?}"
            );
        }
        // The probe is repeatable: whatever a first failure leaves behind does not change the
        // answer.
        assert_eq!(reports, probe_devices());
    }

    #[test]
    fn reports_name_the_device_and_what_is_missing() {
        let gpu = |capability| cuda::Gpu {
            name: "NVIDIA T".to_owned(),
            capability,
            driver_version: 12_080,
        };
        assert!(report(1, Ok(gpu((7, 0)))).reason.contains("too old"));
        let modern = report(0, Ok(gpu((9, 0))));
        assert!(
            modern.reason.contains("NVIDIA T") && modern.reason.contains("CUDA 12.8"),
            "{modern:?}"
        );
        assert_eq!(report(2, Err("gone".to_owned())).device, "gpu:2");
    }

    #[test]
    fn an_error_is_named_without_asking_the_library() {
        use cudarc::driver::{DriverError, sys::CUresult};
        // What a toolkit's stub of the driver answers; such a library may lack the call that
        // explains errors.
        let stub = || Err(DriverError(CUresult::CUDA_ERROR_STUB_LIBRARY));
        let reason = cuda::contained::<()>("cuInit", stub).err();
        assert_eq!(
            reason.as_deref(),
            Some("cuInit failed: CUDA_ERROR_STUB_LIBRARY")
        );
    }

    #[test]
    fn a_panic_inside_the_library_becomes_a_reason() {
        let reason = cuda::contained::<()>("look", || panic!("symbol cuNothing is missing")).err();
        assert_eq!(
            reason.as_deref(),
            Some("look failed: symbol cuNothing is missing")
        );
    }
}
