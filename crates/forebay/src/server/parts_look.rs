//! How the parts do that fail alone, as gauges: deployments, and appends to the archive's tables.
//! Looked at once a second from outside of them, so that one that hangs or has ended is seen too;
//! what goes takes its series with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_pipeline::{DeploymentState, DeploymentStatus, Pipeline, Waiting};
use forebay_telemetry::Metrics;

use super::app::App;

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct PartsLook {
    deployments: BTreeSet<String>,
    tables: BTreeSet<String>,
}

impl PartsLook {
    /// One look. While ingest is stopped for a change everything stays as it was.
    pub(super) fn look(&mut self, app: &App) {
        let running = {
            let running = app.running.lock();
            let pipeline = running.pipeline.as_ref();
            pipeline.map(|pipeline: &Pipeline| (pipeline.scoring(), pipeline.archiver()))
        };
        let Some((scoring, archiver)) = running else {
            return;
        };
        // A store that cannot be read says so where it is written.
        if let Ok(waiting) = scoring.waiting() {
            self.show_deployments(&app.metrics, &app.status().deployments, &waiting);
        }
        self.show_appends(&app.metrics, archiver.running());
    }

    fn show_deployments(
        &mut self,
        metrics: &Metrics,
        known: &BTreeMap<String, DeploymentStatus>,
        waiting: &BTreeMap<String, Waiting>,
    ) {
        let now: BTreeSet<String> = known.keys().cloned().collect();
        for gone in self.deployments.difference(&now) {
            for state in DeploymentState::ALL {
                metrics.deployment_state.remove([gone, state.label()]);
            }
            metrics.scores_pending.remove([gone]);
            metrics.score_oldest_wait.remove([gone]);
            metrics.outbox_pending.remove([gone]);
        }
        for (name, status) in known {
            for state in DeploymentState::ALL {
                let gauge = metrics.deployment_state.with([name, state.label()]);
                gauge.set(if status.state() == state { 1.0 } else { 0.0 });
            }
            let waiting = waiting.get(name).copied().unwrap_or_default();
            let pending = metrics.scores_pending.with([name]);
            pending.set(waiting.pending as f64);
            let oldest = metrics.score_oldest_wait.with([name]);
            oldest.set(waiting.oldest.as_secs_f64());
            let outbox = metrics.outbox_pending.with([name]);
            outbox.set(waiting.outbox as f64);
        }
        self.deployments = now;
    }

    fn show_appends(&mut self, metrics: &Metrics, running: BTreeMap<String, Duration>) {
        let now: BTreeSet<String> = running.keys().cloned().collect();
        for gone in self.tables.difference(&now) {
            metrics.append_running.remove([gone]);
        }
        for (table, age) in running {
            let gauge = metrics.append_running.with([&table]);
            gauge.set(age.as_secs_f64());
        }
        self.tables = now;
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::prediction::{Arm, Role};

    use super::*;

    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        let text = metrics.text().expect("encodes");
        let of_name = text.lines().filter(|line| line.starts_with(name));
        of_name.map(str::to_owned).collect()
    }

    #[test]
    fn what_waits_and_how_each_deployment_is_are_gauges_that_go_with_it() {
        let (metrics, mut look) = (Metrics::new().expect("metrics"), PartsLook::default());
        let arm = Arm {
            version: 1,
            role: Role::Live,
        };
        let status = DeploymentStatus {
            scoring: BTreeMap::from([(arm, "no model".to_owned())]),
            ..DeploymentStatus::default()
        };
        let waiting = Waiting {
            pending: 7,
            oldest: Duration::from_millis(1_500),
            outbox: 3,
        };
        let known = BTreeMap::from([("late".to_owned(), status)]);
        look.show_deployments(&metrics, &known, &[("late".to_owned(), waiting)].into());
        let label = "{deployment=\"late\"}";
        for (name, value) in [
            ("forebay_scores_pending", "7"),
            ("forebay_score_oldest_wait_seconds", "1.5"),
            ("forebay_outbox_pending_records", "3"),
        ] {
            assert_eq!(lines(&metrics, name), [format!("{name}{label} {value}")]);
        }
        assert_eq!(
            lines(&metrics, "forebay_deployment_state"),
            [
                "forebay_deployment_state{deployment=\"late\",state=\"retrying\"} 1",
                "forebay_deployment_state{deployment=\"late\",state=\"scoring\"} 0",
                "forebay_deployment_state{deployment=\"late\",state=\"suspended\"} 0",
            ]
        );
        look.show_deployments(&metrics, &BTreeMap::new(), &BTreeMap::new());
        for name in [
            "forebay_scores_pending",
            "forebay_score_oldest_wait_seconds",
            "forebay_outbox_pending_records",
            "forebay_deployment_state",
        ] {
            assert!(lines(&metrics, name).is_empty(), "{name}");
        }
    }

    #[test]
    fn an_append_that_does_not_end_is_seen_while_it_runs() {
        let (metrics, mut look) = (Metrics::new().expect("metrics"), PartsLook::default());
        let name = "forebay_archive_append_running_seconds";
        let running = BTreeMap::from([("rides".to_owned(), Duration::from_secs(40))]);
        look.show_appends(&metrics, running);
        let line = format!("{name}{{table=\"rides\"}} 40");
        assert_eq!(lines(&metrics, name), [line]);
        look.show_appends(&metrics, BTreeMap::new());
        assert!(lines(&metrics, name).is_empty());
    }
}
