//! Who scores: the workers that are configured or have registered for the model version, and this
//! process where there is none that answers. The choice is made for each batch: the first worker
//! takes over when it comes, this process when workers refuse, hang, or answer what no such model
//! answers, and a worker again once it has answered a probe. Where the settings leave scoring to
//! workers alone, the error says what they do, and the scoring stage waits.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::ports::{Scorer, Scores};
use forebay_infer::{LocalScorer, ModelId, WorkerInfo, WorkerPool};
use forebay_telemetry::Metrics;

/// Spreads batches over workers, or scores here.
#[derive(Debug, Clone)]
pub(crate) struct RoutedScorer {
    local: LocalScorer,
    pool: WorkerPool,
    /// Whether this process scores what no worker does.
    scores_here: bool,
    metrics: Arc<Metrics>,
}

impl RoutedScorer {
    /// `pool` while it has a worker that answers for a version, else `local` if `scores_here`.
    #[must_use]
    pub(crate) fn shared(
        local: LocalScorer,
        pool: WorkerPool,
        scores_here: bool,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            local,
            pool,
            scores_here,
            metrics,
        })
    }

    /// The pool, for registrations.
    #[must_use]
    pub(crate) fn pool(&self) -> &WorkerPool {
        &self.pool
    }

    /// Features for this version come from a service with this `fingerprint`: workers must agree on
    /// it and on the files that this process has loaded.
    pub(crate) fn expect(&self, model: &str, version: u32, fingerprint: &str) {
        let loaded = self.local.store().get(model, version).ok();
        // A version that could not be loaded here is set aside; only its service is known.
        let digest = loaded.as_ref().map_or("", |loaded| loaded.digest());
        self.pool.expect(model, version, fingerprint, digest);
    }

    /// Score what the workers have declined.
    async fn fall_back(
        &self,
        id: &ModelId,
        refused_by: &[String],
        features: RecordBatch,
    ) -> PortResult<Scores> {
        let rows = features.num_rows() as u64;
        let scores = self.local.score(&id.model, id.version, features).await?;
        let counter = &self.metrics.inference_fallback_rows;
        counter.with([&id.model]).add(rows);
        for worker in refused_by {
            self.pool.contradict(worker, id);
        }
        Ok(scores)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scorer for RoutedScorer {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        let id = ModelId::new(model, version);
        let workers = self.pool.registry().workers(Instant::now());
        if self.scores_here && !is_served(&workers, &id) {
            return self.local.score(model, version, features).await;
        }
        let asked = self.pool.score_or_decline(model, version, features.clone());
        match asked.await {
            Ok(scores) => Ok(scores),
            Err(declined) if self.scores_here => {
                self.fall_back(&id, &declined.refused_by, features).await
            }
            Err(declined) => Err(declined.error.into()),
        }
    }
}

/// Whether any of `workers` may be asked for `id`: one that registered says what it has, one from
/// the settings is asked.
fn is_served(workers: &[WorkerInfo], id: &ModelId) -> bool {
    workers.iter().any(|worker| {
        worker
            .models
            .as_ref()
            .is_none_or(|models| models.contains(id))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use arrow_array::{ArrayRef, Float64Array};
    use arrow_schema::DataType;
    use forebay_core::ErrorKind;
    use forebay_core::limits::{SCORING_CALL_MAX_MS, WORKER_ANSWER_MAX_MS, WORKERS_ASK_MAX_MS};
    use forebay_infer::{ModelStore, PoolOptions, WorkerRegistry};
    use forebay_testkit::conformance::scorer::{self as suite, ScoredModel};
    use tokio::net::TcpListener;

    use super::*;

    /// Rows of the golden model that the tests score with.
    fn rows(count: usize) -> RecordBatch {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/infer/squarederror/1");
        let version = forebay_infer::ModelVersion::load(&path).expect("a golden model");
        let columns = version.manifest().features.iter().map(|feature| {
            let nulls: Float64Array = vec![None::<f64>; count].into();
            let column: ArrayRef = Arc::new(nulls);
            let column = arrow_cast::cast(&column, &feature.data_type).expect("nulls of any type");
            (feature.name.clone(), column, true)
        });
        RecordBatch::try_from_iter_with_nullable(columns).expect("one length")
    }

    const MODEL: &str = "squarederror";

    /// A scorer whose only worker is at `address`, and what it counts.
    fn scorer(address: &str, scores_here: bool) -> (Arc<RoutedScorer>, Arc<Metrics>) {
        let models = ModelStore::new();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/infer");
        let id = ModelId::new(MODEL, 1);
        models
            .load(&path.join(MODEL).join("1"), &id)
            .expect("a golden model");
        let registry = WorkerRegistry::new();
        registry.add_static(address).expect("an address");
        let options = PoolOptions {
            answer_timeout: Duration::from_millis(300),
            connect_timeout: Duration::from_millis(300),
            ..PoolOptions::default()
        };
        let runtime = tokio::runtime::Handle::current();
        let pool = WorkerPool::new(Arc::new(registry), runtime, options);
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let local = LocalScorer::new(Arc::new(models));
        let scorer = RoutedScorer::shared(local, pool, scores_here, Arc::clone(&metrics));
        (scorer, metrics)
    }

    /// An address at which nobody listens.
    async fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        listener.local_addr().expect("an address").to_string()
    }

    #[tokio::test]
    async fn this_process_scores_at_once_while_its_only_worker_is_dead_or_hangs() {
        // Connections are accepted by the kernel and nobody reads them.
        let mute = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let hangs = mute.local_addr().expect("an address").to_string();
        for address in [nobody().await, hangs] {
            let (scorer, metrics) = scorer(&address, true);
            let start = Instant::now();
            for _ in 0..20 {
                let scores = scorer.score(MODEL, 1, rows(50)).await.expect("scored here");
                assert_eq!(scores.score.len(), 50);
            }
            let took = start.elapsed();
            assert!(took < Duration::from_secs(2), "{address}: {took:?}");
            let counted = metrics.inference_fallback_rows.with([MODEL]).value();
            assert_eq!(counted, 1_000, "{address}");
            // A row's own fault stays one.
            let error = scorer.score(MODEL, 9, rows(1)).await.expect_err("unknown");
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    }

    #[tokio::test]
    async fn a_routed_scorer_keeps_the_promises_without_its_worker() {
        let (routed, _) = scorer(&nobody().await, true);
        let numbered: Float64Array = (0..7).map(f64::from).map(Some).collect();
        let numbered: ArrayRef = Arc::new(numbered);
        let (mut columns, schema) = (rows(7).columns().to_vec(), rows(7).schema());
        let number = schema
            .fields()
            .iter()
            .position(|f| *f.data_type() == DataType::Float64);
        columns[number.expect("a column of numbers")] = numbered;
        let model = ScoredModel {
            known: (MODEL, 1),
            unknown: &[(MODEL, 4_711), ("no_such_model", 1)],
            features: RecordBatch::try_new(schema, columns).expect("as before"),
        };
        suite::scorer(routed.as_ref(), &model).await;
    }

    #[tokio::test]
    async fn where_only_workers_may_score_the_error_says_what_they_do() {
        let address = nobody().await;
        let (scorer, metrics) = scorer(&address, false);
        for _ in 0..3 {
            let error = scorer.score(MODEL, 1, rows(5)).await.expect_err("nobody");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.kind().is_retriable() && !error.kind().is_of_the_data());
            assert!(error.message().contains(&address), "{error}");
        }
        assert_eq!(metrics.inference_fallback_rows.with([MODEL]).value(), 0);
    }

    #[test]
    fn a_question_to_workers_leaves_this_process_time_within_the_stages_deadline() {
        let options = PoolOptions::default();
        let ms = |limit: u64| Duration::from_millis(limit);
        assert_eq!(options.answer_timeout, ms(WORKER_ANSWER_MAX_MS));
        assert_eq!(options.deadline, ms(WORKERS_ASK_MAX_MS));
        assert!(options.answer_timeout <= options.deadline);
        assert!(options.deadline * 2 <= ms(SCORING_CALL_MAX_MS));
    }

    #[test]
    fn a_worker_is_asked_for_the_versions_that_it_has() {
        let (old, new) = (ModelId::new("late", 1), ModelId::new("late", 2));
        let worker = |models| WorkerInfo {
            address: "127.0.0.1:9000".to_owned(),
            models,
        };
        let of_old = [worker(Some(Vec::new())), worker(Some(vec![old.clone()]))];
        assert!(is_served(&of_old, &old));
        assert!(
            !is_served(&of_old, &new),
            "a new version is scored here until a worker has it"
        );
        assert!(is_served(&[worker(None)], &new));
        assert!(!is_served(&[], &old));
    }
}
