//! One version of a model, loaded: manifest, trees, encoder. Made only from a directory whose
//! digests agree and whose golden rows it reproduces, so every [`ModelVersion`] is READY.
//! Immutable; scoring takes `&self`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::thread;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use forebay_core::ErrorKind;
use forebay_core::limits::{
    MODEL_FILE_MAX_BYTES, MODEL_GOLDEN_MAX_BYTES, MODEL_MANIFEST_MAX_BYTES,
};
use forebay_core::view::ServiceSpec;
use sha2::{Digest, Sha256};

use super::features::{Columns, Encoder};
use super::golden::{Candidate, Golden};
use super::manifest::{MANIFEST_FILE, Manifest};
use super::scores::RawScores;
use crate::error::{InferError, Result};
use crate::forest::{BLOCK_ROWS, Forest};
use crate::xgboost::{Objective, XgboostModel};

/// Fewest rows that are worth a thread of their own.
const ROWS_PER_THREAD: usize = 2_048;

/// A model version that has reproduced its golden rows.
#[derive(Debug)]
pub struct ModelVersion {
    manifest: Manifest,
    /// sha256 of the manifest, which holds those of the files: the identity of the version's
    /// content.
    digest: String,
    objective: Objective,
    forest: Forest,
    encoder: Encoder,
}

/// A version directory whose files are read and checked but whose golden rows are not yet tried:
/// VERIFYING.
#[derive(Debug)]
pub struct Unverified {
    version: ModelVersion,
    golden: Vec<u8>,
}

impl Unverified {
    /// Read `directory`: digests, manifest, model file, features. This is LOADING.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(MANIFEST_FILE);
        let bytes = read_capped(&path, MODEL_MANIFEST_MAX_BYTES, "MODEL_MANIFEST_MAX_BYTES")?;
        let wrong = |what: String| InferError::Manifest {
            path: path.clone(),
            what,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8".to_owned()))?;
        let manifest = Manifest::parse(text).map_err(wrong)?;
        let mut model_bytes = Vec::new();
        let mut golden = Vec::new();
        for (name, expected) in &manifest.files {
            let content = if *name == manifest.golden_file {
                read_capped(
                    &directory.join(name),
                    MODEL_GOLDEN_MAX_BYTES,
                    "MODEL_GOLDEN_MAX_BYTES",
                )?
            } else {
                read_capped(
                    &directory.join(name),
                    MODEL_FILE_MAX_BYTES,
                    "MODEL_FILE_MAX_BYTES",
                )?
            };
            let found = sha256_hex(&content);
            if found != *expected {
                return Err(InferError::Digest {
                    file: name.clone(),
                    expected: expected.clone(),
                    found,
                });
            }
            if *name == manifest.model_file {
                model_bytes = content;
            } else if *name == manifest.golden_file {
                golden = content;
            }
        }
        let model = XgboostModel::from_json(&model_bytes)?;
        check_model(&manifest, &model).map_err(wrong)?;
        let forest = Forest::new(&model, manifest.iterations.0..manifest.iterations.1)?;
        let encoder = Encoder::new(&manifest);
        let digest = sha256_hex(&bytes);
        let version = ModelVersion {
            manifest,
            digest,
            objective: model.objective,
            forest,
            encoder,
        };
        Ok(Self { version, golden })
    }

    /// What was read.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.version.manifest
    }

    /// Reproduce the golden rows, one by one, all at once and in random parts. What comes back is
    /// READY.
    ///
    /// # Errors
    /// The first row that differs.
    pub fn verify(self) -> Result<ModelVersion> {
        let golden = Golden::read(&self.golden, &self.version.manifest.title())?;
        golden.verify(&self.version)?;
        Ok(self.version)
    }
}

/// What the manifest says of the model file is so.
fn check_model(manifest: &Manifest, model: &XgboostModel) -> std::result::Result<(), String> {
    if manifest.objective != model.objective.name() {
        return Err(format!(
            "objective {:?}, the model file has {:?}",
            manifest.objective,
            model.objective.name()
        ));
    }
    if manifest.iterations.1 > model.iterations() {
        return Err(format!(
            "iterations {:?}, the model file has {}",
            manifest.iterations,
            model.iterations()
        ));
    }
    if manifest.features.len() != model.features {
        return Err(format!(
            "{} features, the model file has {}",
            manifest.features.len(),
            model.features
        ));
    }
    for (index, feature) in manifest.features.iter().enumerate() {
        if let Some(name) = model
            .feature_names
            .get(index)
            .filter(|name| **name != feature.name)
        {
            return Err(format!(
                "feature {index} is {:?}, the model file calls it {name:?}",
                feature.name
            ));
        }
        let categorical = model.feature_types.get(index).is_some_and(|t| t == "c");
        if !feature.categories.is_empty() && !categorical {
            return Err(format!(
                "feature {:?} has categories, in the model file it is a number",
                feature.name
            ));
        }
    }
    Ok(())
}

impl ModelVersion {
    /// Read and verify `directory` in one go.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(directory: &Path) -> Result<Self> {
        Unverified::read(directory)?.verify()
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// sha256 of its manifest, hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its trees.
    #[must_use]
    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    /// Refuse `service` unless it is the one that this version was made for: its features are there
    /// with their types, and the fingerprints agree where the manifest has one.
    ///
    /// # Errors
    /// A missing or mistyped feature by name; both fingerprints.
    pub(crate) fn check_service(&self, service: &ServiceSpec) -> Result<()> {
        if self.manifest.service.name != service.name {
            let what = format!(
                "made for service {}, asked to read {}",
                self.manifest.service.name, service.name
            );
            return Err(InferError::Features {
                model: self.manifest.title(),
                what,
            });
        }
        let fields: Vec<Field> = service
            .features
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.clone(), true))
            .collect();
        self.check_schema(&Schema::new(fields))?;
        self.check_fingerprint(&service.fingerprint)
    }

    /// Refuse a schema that lacks a feature or has it with another type.
    ///
    /// # Errors
    /// As said, by name.
    pub(crate) fn check_schema(&self, schema: &Schema) -> Result<()> {
        self.encoder.check(schema)
    }

    /// Refuse another fingerprint than the manifest's; an empty one on either side is not compared.
    ///
    /// # Errors
    /// Names both.
    pub(crate) fn check_fingerprint(&self, fingerprint: &str) -> Result<()> {
        let expected = &self.manifest.service.fingerprint;
        if expected.is_empty() || fingerprint.is_empty() || expected == fingerprint {
            return Ok(());
        }
        Err(InferError::Fingerprint {
            model: self.manifest.model.clone(),
            version: self.manifest.version,
            expected: expected.clone(),
            found: fingerprint.to_owned(),
        })
    }

    /// Refuse another digest than its own; an empty one is not compared.
    ///
    /// # Errors
    /// Names both.
    pub(crate) fn check_digest(&self, digest: &str) -> Result<()> {
        if digest.is_empty() || digest == self.digest {
            return Ok(());
        }
        let (model, version) = (&self.manifest.model, self.manifest.version);
        Err(InferError::worker(
            ErrorKind::AlreadyExists,
            format!(
                "{model} version {version} has digest {} here, and {digest} was asked for: give both the same version directory",
                self.digest
            ),
        ))
    }

    /// Score the rows of `batch`, which has the model's features among its columns, with up to
    /// `threads` threads. The bits of a row do not depend on the batch or on the threads.
    ///
    /// # Errors
    /// A missing or mistyped feature; a NULL that the manifest refuses.
    pub fn score(&self, batch: &RecordBatch, threads: usize) -> Result<RawScores> {
        let columns = self.encoder.columns(batch)?;
        let rows = columns.rows();
        let mut scores = RawScores {
            margin: vec![0.0; rows],
            score: vec![0.0; rows],
        };
        let parts = threads.clamp(1, (rows / ROWS_PER_THREAD).max(1));
        let part_rows = rows
            .div_ceil(parts)
            .next_multiple_of(BLOCK_ROWS)
            .max(BLOCK_ROWS);
        let pieces = scores
            .margin
            .chunks_mut(part_rows)
            .zip(scores.score.chunks_mut(part_rows))
            .enumerate();
        if parts == 1 {
            for (index, (margin, score)) in pieces {
                self.score_part(&columns, index * part_rows, margin, score)?;
            }
            return Ok(scores);
        }
        let columns = &columns;
        thread::scope(|scope| {
            let running: Vec<_> = pieces
                .map(|(index, (margin, score))| {
                    scope.spawn(move || self.score_part(columns, index * part_rows, margin, score))
                })
                .collect();
            running.into_iter().try_for_each(|part| {
                // A panic goes on in whoever asked.
                part.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(scores)
    }

    fn score_part(
        &self,
        columns: &Columns<'_>,
        first: usize,
        margin: &mut [f32],
        score: &mut [f32],
    ) -> Result<()> {
        let width = self.encoder.width();
        let mut block = vec![0.0f32; BLOCK_ROWS.min(margin.len()) * width];
        for (index, (margin, score)) in margin
            .chunks_mut(BLOCK_ROWS)
            .zip(score.chunks_mut(BLOCK_ROWS))
            .enumerate()
        {
            let block = &mut block[..margin.len() * width];
            columns.fill(first + index * BLOCK_ROWS, block)?;
            self.forest.margins(block, margin);
            for (score, margin) in score.iter_mut().zip(margin.iter()) {
                *score = self.objective.score(*margin);
            }
        }
        Ok(())
    }

    /// For each row of `batch` and each tree the number of the leaf that the row reaches, as the
    /// model file numbers them.
    ///
    /// # Errors
    /// As [`ModelVersion::score`].
    pub(crate) fn leaves(&self, batch: &RecordBatch) -> Result<Vec<Vec<u32>>> {
        let columns = self.encoder.columns(batch)?;
        let mut row = vec![0.0f32; self.encoder.width()];
        (0..columns.rows())
            .map(|index| {
                columns.fill(index, &mut row)?;
                Ok(self.forest.leaves(&row))
            })
            .collect()
    }
}

impl Candidate for ModelVersion {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn seed(&self) -> &str {
        &self.digest
    }

    fn scores(&self, rows: &RecordBatch) -> Result<RawScores> {
        self.score(rows, 1)
    }

    fn leaves(&self, rows: &RecordBatch) -> Result<Vec<Vec<u32>>> {
        Self::leaves(self, rows)
    }
}

/// The whole file, or an error when it is longer than `limit`.
fn read_capped(path: &Path, limit: usize, name: &'static str) -> Result<Vec<u8>> {
    let failed = |source| InferError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > limit {
        return Err(InferError::limit(
            format!("{} is too long", path.display()),
            name,
            limit,
        ));
    }
    Ok(bytes)
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String does not fail.
            write!(hex, "{byte:02x}").expect("a String takes any text");
            hex
        })
}
