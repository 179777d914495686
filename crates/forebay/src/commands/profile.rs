//! `forebay profile`: what a training set looked like and how the model scored it, as the reference
//! that a monitor compares with. Rows come from the training set's file (`training_file`), scores
//! from the model version itself; the profile goes beside the model, and its digest into the
//! training set's manifest.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use forebay_core::memory::Budget;
use forebay_core::time::Micros;
use forebay_infer::{MANIFEST_FILE, ModelVersion};
use forebay_monitor::{CalibrationWindows, ReferenceProfile, build_profile_of};
use forebay_training::TrainingManifest;
use forebay_training::manifest_path;

use super::progress::Step;
use super::training_file::{ScoredFile, TrainingFile};
use crate::available::available_bytes;
use crate::cli::ProfileArgs;
use crate::instant;
use crate::server::references::profile_path;
use crate::settings::Settings;
use crate::settings::memory::command_pool_bytes;
use crate::terminal::{log_from, print};

/// Longest name of a reference, bytes: it becomes part of a file's name.
const NAME_MAX_BYTES: usize = 128;
/// Calibration windows below which a false-alarm rate is to be taken with salt.
const WINDOWS_ADVISED: usize = 20;

/// Run the command.
pub(super) fn run(args: &ProfileArgs) -> Result<ExitCode> {
    log_from("warn")?;
    check_name(&args.name)?;
    let settings = Settings::of_environment(args.config.as_deref())?;
    settings.validate()?;
    let min_rows = settings.monitor.options().min_rows;
    let until_us = args
        .until
        .as_deref()
        .map(instant::parse)
        .transpose()
        .context("--until")?;
    let window_us = Micros::try_from(args.window.as_micros()).context("--window is too long")?;
    ensure!(
        window_us > 0,
        "--window is 0; give the monitor's, such as 7d"
    );
    ensure!(
        args.model.join(MANIFEST_FILE).is_file(),
        "--model {} has no {MANIFEST_FILE}; give the directory of one version, such as models/late_arrival/1",
        args.model.display()
    );

    let memory = Budget::whole(command_pool_bytes(&settings, available_bytes())?);
    let step = Step::begin(format!("reading {}", args.training_set.display()));
    let file = TrainingFile::open(&args.training_set, &args.time_column, until_us)?;
    let object = file.object();
    let (all, rows) = file.count()?;
    step.done(&format!("{object}: {all} rows, {rows} of them profiled"));
    ensure!(
        rows > 0,
        "{object} has no row before --until; nothing to profile"
    );

    let step = Step::begin(format!(
        "scoring {rows} rows with the model in {}",
        args.model.display()
    ));
    let model = ModelVersion::load(&args.model)
        .with_context(|| format!("model in {}", args.model.display()))?;
    let scored = file.scored(&model, rows, &memory)?;
    step.done(&format!("scored with {}", model.manifest().title()));

    let step = Step::begin("counting".to_owned());
    let profile = counted(args, &scored, &model, (window_us, min_rows), &memory)?;
    ensure!(
        windows(&profile) > 0 || profile.rows < min_rows,
        "no full --window of {} in {object} has the {min_rows} rows that a monitor asks for (monitor.min_rows): no \
         threshold can be calibrated; give a training set longer than the window, or, where its windows have too few \
         rows, a longer one, which is then that of CREATE MONITOR",
        humantime::format_duration(args.window)
    );
    let path = profile_path(&args.model, &args.name);
    if !args.replace {
        refuse_another(&path, &profile)?;
    }
    write_whole(&path, &profile.to_json()?)?;
    note_in_manifest(&args.training_set, &profile.digest)?;
    step.done(&format!("wrote {}", path.display()));
    print(&report(&path, &profile))?;
    Ok(ExitCode::SUCCESS)
}

/// The profile of the scored rows, calibrated on windows of the monitor's length that have as many
/// rows as a monitor asks for.
fn counted(
    args: &ProfileArgs,
    scored: &ScoredFile<'_>,
    model: &ModelVersion,
    (window_us, min_rows): (Micros, u64),
    memory: &Arc<Budget>,
) -> Result<ReferenceProfile> {
    let features: Vec<&str> = model
        .manifest()
        .features
        .iter()
        .map(|feature| feature.name.as_str())
        .collect();
    let calibration = CalibrationWindows {
        time_column: &args.time_column,
        window_us,
        min_rows,
    };
    Ok(build_profile_of(
        &args.name,
        scored,
        &features,
        Some(scored.score_column()),
        Some(calibration),
        memory,
    )?)
}

/// A name that SQL can quote and a file can have.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.chars().all(plain) {
        bail!(
            "'{name}' is no name of a reference; use up to {NAME_MAX_BYTES} letters, digits, '_', '-' and '.'"
        );
    }
    Ok(())
}

/// A reference is what scores were measured against: it is not overwritten by another one in
/// passing.
fn refuse_another(path: &Path, profile: &ReferenceProfile) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let old = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let old = match ReferenceProfile::from_json(&old) {
        Ok(old) if old.digest == profile.digest => return Ok(()),
        Ok(old) => format!("is there with digest {}", old.digest),
        Err(_) => "is there and cannot be read".to_owned(),
    };
    bail!(
        "{} {old}, the new profile has digest {}; give it another name, or --replace",
        path.display(),
        profile.digest
    );
}

/// The whole file or none of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let unfinished = path.with_extension("json.unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A training set that has a manifest says there which profile was made from it.
fn note_in_manifest(training_set: &Path, digest: &str) -> Result<()> {
    let path = manifest_path(training_set);
    if !path.is_file() {
        eprintln!(
            "{} has no manifest: it was not made by forebay training-set",
            training_set.display()
        );
        return Ok(());
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut manifest = TrainingManifest::decode(&text)?;
    manifest.profile_digest = Some(digest.to_owned());
    write_whole(&path, manifest.encode().as_bytes())
}

/// Calibration windows of the column that has most.
fn windows(profile: &ReferenceProfile) -> usize {
    profile
        .columns
        .iter()
        .map(|column| column.calibration.len())
        .max()
        .unwrap_or(0)
}

fn report(path: &Path, profile: &ReferenceProfile) -> String {
    let windows = windows(profile);
    let mut text = format!(
        "{}: {} rows, {} columns and the score, {windows} calibration windows, digest {}\n",
        path.display(),
        profile.rows,
        profile.columns.len().saturating_sub(1),
        profile.digest
    );
    if windows == 0 {
        text.push_str("note: too few rows to calibrate a threshold; thresholds will be those of theory alone\n");
    } else if windows < WINDOWS_ADVISED {
        text.push_str(&format!(
            "note: with fewer than {WINDOWS_ADVISED} windows a false alarm rate is approximate; a longer training set or a \
             shorter --window calibrates better\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_array::{ArrayRef, RecordBatch, TimestampMillisecondArray};

    use super::*;
    use crate::commands::tests::written;

    #[test]
    fn a_reference_is_calibrated_on_windows_with_as_many_rows_as_a_monitor_asks_for() -> Result<()>
    {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/infer");
        let model = ModelVersion::load(&golden.join("squarederror/1"))?;
        let at = TimestampMillisecondArray::from_iter_values([3_000, 1_000, 2_000, 4_000]);
        let at: ArrayRef = Arc::new(at);
        let mut columns = vec![("at".to_owned(), Arc::clone(&at), true)];
        for feature in &model.manifest().features {
            let nulls = arrow_array::new_null_array(&feature.data_type, at.len());
            columns.push((feature.name.clone(), nulls, true));
        }
        let folder = tempfile::tempdir()?;
        let path = written(&folder, &RecordBatch::try_from_iter_with_nullable(columns)?)?;
        let file = TrainingFile::open(&path, "at", None)?;
        let memory = Budget::whole(1 << 20);
        let scored = file.scored(&model, at.len(), &memory)?;
        let args = ProfileArgs {
            name: "q1".to_owned(),
            training_set: path.clone(),
            model: golden,
            time_column: "at".to_owned(),
            until: None,
            window: Duration::from_secs(1),
            config: None,
            replace: false,
        };
        let calibrated = |min_rows: u64| -> Result<usize> {
            let profile = counted(&args, &scored, &model, (1_000_000, min_rows), &memory)?;
            Ok(windows(&profile))
        };
        assert_eq!((calibrated(1)?, calibrated(2)?), (3, 0));
        Ok(())
    }

    #[test]
    fn names_that_no_file_can_have_are_refused() {
        for wrong in ["", "../x", "a b", "a/b", &"x".repeat(129)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        assert!(check_name("late_arrival-2013.q1").is_ok());
    }
}
