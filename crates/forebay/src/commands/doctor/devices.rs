//! Devices to score on, and why not on others. Asks the probe of `infer`, loads no model: a device
//! that is missing is a note and never a failure.

use forebay_infer::{DeviceReport, probe_devices};

use super::finding::Finding;

/// What the probe says.
pub(super) fn examine() -> Vec<Finding> {
    probe_devices().into_iter().map(of).collect()
}

/// A device that is not available is no failure: the CPU scores.
fn of(report: DeviceReport) -> Finding {
    let DeviceReport {
        device,
        available,
        reason,
    } = report;
    let text = format!("{device}: {reason}");
    if available {
        Finding::ok("device", text)
    } else {
        Finding::note("device", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_device_is_a_failure_and_each_has_its_reason() {
        let findings = examine();
        assert!(
            findings.len() >= 2 && findings.iter().all(|finding| !finding.is_failed()),
            "{findings:?}"
        );
        assert!(findings[0].text().starts_with("cpu: "), "{findings:?}");
        assert!(
            findings[1].text().len() > "gpu: ".len() + 10,
            "{findings:?}"
        );
    }
}
