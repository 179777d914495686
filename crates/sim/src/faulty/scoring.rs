//! What scoring asks, wrapped: the reader of features, the models, which may lie and panic beside
//! being away, and the ways to the topics of predictions, each of which may be away alone, and
//! where a send that is not acknowledged may have arrived.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::ports::{
    At, CompiledService, FeatureAnswer, FeatureReader, Publication, Publisher, Scorer, Scores,
};
use forebay_core::prediction::OutboxRecord;

use crate::faults::Effect::{None, Write};
use crate::faults::{Faults, Misdeed, Part};
use crate::world::SHADOWS_TOPIC;

/// A publisher, wrapped.
#[derive(Debug)]
pub struct FaultyPublisher<P> {
    inner: P,
    faults: Arc<Faults>,
}

/// Models, wrapped.
#[derive(Debug)]
pub struct FaultyScorer<S> {
    inner: S,
    faults: Arc<Faults>,
}

/// A reader of features, wrapped.
#[derive(Debug)]
pub struct FaultyReader<R> {
    inner: R,
    faults: Arc<Faults>,
}

impl<P> FaultyPublisher<P> {
    /// `inner` under `faults`.
    pub fn new(inner: P, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

impl<S> FaultyScorer<S> {
    /// `inner` under `faults`.
    pub fn new(inner: S, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

impl<R> FaultyReader<R> {
    /// `inner` under `faults`.
    pub fn new(inner: R, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

impl<P: Publisher> Publisher for FaultyPublisher<P> {
    fn publish(&self, records: &[&OutboxRecord], abandoned: &AtomicBool) -> Vec<Publication> {
        let act = || Ok(self.inner.publish(records, abandoned));
        let is_shadow = |record: &&OutboxRecord| record.topic == SHADOWS_TOPIC;
        let part = match records.iter().any(is_shadow) {
            true => Part::ShadowPublisher,
            false => Part::Publisher,
        };
        let outcome = self.faults.meet(part, Write, act);
        outcome.unwrap_or_else(|error| {
            let failed = || Publication::unknown(error.kind(), error.message());
            records.iter().map(|_| failed()).collect()
        })
    }
}

#[async_trait]
impl<S: Scorer> Scorer for FaultyScorer<S> {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        let rows = features.num_rows();
        let act = self.inner.score(model, version, features);
        let mut answer = self.faults.meet_async(Part::Scorer, None, act).await?;
        match self.faults.misdeed(rows) {
            Some(Misdeed::Lies { scores, margins }) => {
                answer.score.resize(scores, 0.0);
                answer.margin.resize(margins, 0.0);
            }
            // No hook is called: it would print each one.
            Some(Misdeed::Panics) => resume_unwind(Box::new("a model panics")),
            Option::None => {}
        }
        Ok(answer)
    }
}

impl<R: FeatureReader> FeatureReader for FaultyReader<R> {
    fn service(&self, name: &str) -> PortResult<Arc<dyn CompiledService>> {
        self.inner.service(name)
    }

    fn services(&self) -> Vec<String> {
        self.inner.services()
    }

    fn read(
        &self,
        service: &dyn CompiledService,
        request: &RecordBatch,
        at: At<'_>,
    ) -> PortResult<FeatureAnswer> {
        let act = || self.inner.read(service, request, at);
        self.faults.meet(Part::Reader, None, act)
    }
}
