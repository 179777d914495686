//! What the deployments have counted: predictions, those that name no offsets, and events that
//! ended without one.

use std::collections::BTreeMap;

use forebay_pipeline::DeploymentStatus;
use forebay_telemetry::Metrics;

use super::raise::raise;

pub(super) fn show(metrics: &Metrics, deployments: &BTreeMap<String, DeploymentStatus>) {
    for (name, deployment) in deployments {
        for ((version, role), sent) in &deployment.published {
            let version = version.to_string();
            let labels = [name.as_str(), version.as_str(), role.as_str()];
            raise(&metrics.predictions.with(labels), *sent);
        }
        for (reason, events) in &deployment.unscored {
            let labels = [name.as_str(), *reason];
            raise(&metrics.unscored_events.with(labels), *events);
        }
        let unnamed = metrics.predictions_without_offsets.with([name]);
        raise(&unnamed, deployment.without_offsets);
    }
}
