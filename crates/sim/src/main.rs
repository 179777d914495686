//! `make sim`: plays seeds until so many are done or the time is over, and prints what failed with
//! the seed that plays it again. With a results file it goes on where the last run over the same
//! code stopped, and adds to its totals. Ends with 1 if any seed failed.

#![allow(
    clippy::disallowed_methods,
    reason = "it runs simulations beside one another, in real time"
)]

mod results;

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use forebay_sim::met::Met;
use forebay_sim::run::{Played, play};
use parking_lot::Mutex;
use results::Results;

const USAGE: &str = "usage: forebay-sim [--seeds N] [--seconds S] [--jobs J] [--seed SEED]
                   [--results FILE --code DIGEST --commit ID]

  --seeds N        play N seeds (default: 1000)
  --seconds S      stop after S seconds, whatever is left
  --jobs J         side by side (default: one for each core)
  --seed SEED      play this one alone, twice, and say what happened
  --results FILE   go on behind the seeds that FILE has for the same code, and add to it";

/// Every so many seeds one is played twice, and must make the same choices.
const TWICE_EVERY: u64 = 50;
/// After so many the results are saved: a run that is stopped keeps what it has done.
const PART: u64 = 1_000;

/// The command line.
struct Args {
    seeds: u64,
    time: Option<Duration>,
    jobs: u64,
    seed: Option<u64>,
    results: Option<PathBuf>,
    code: String,
    commit: String,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(args) => match run(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(words) => complain(&words),
        },
        Err(words) => complain(&format!("{words}\n{USAGE}")),
    }
}

fn complain(words: &str) -> ExitCode {
    eprintln!("forebay-sim: {words}");
    ExitCode::from(2)
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut args = Args {
        seeds: 1_000,
        time: None,
        jobs: cores as u64,
        seed: None,
        results: None,
        code: String::new(),
        commit: String::new(),
    };
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} lacks its value"))?;
        let number = || {
            let parsed = value.parse::<u64>();
            parsed.map_err(|_| format!("{flag} {value}: not a whole number"))
        };
        match flag.as_str() {
            "--seeds" => args.seeds = number()?,
            "--seconds" => args.time = Some(Duration::from_secs(number()?)),
            "--jobs" => args.jobs = number()?.max(1),
            "--seed" => args.seed = Some(number()?),
            "--results" => args.results = Some(value.into()),
            "--code" => args.code = value,
            "--commit" => args.commit = value,
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(args)
}

/// Whether nothing failed.
fn run(args: &Args) -> Result<bool, String> {
    if let Some(seed) = args.seed {
        return Ok(play_twice(seed));
    }
    let mut results = match &args.results {
        Some(file) => Results::of(file, &args.code)?,
        None => Results::default(),
    };
    let (began, mut played, mut failures) = (Instant::now(), 0, 0);
    let mut met = Met::default();
    let is_over = || args.time.is_some_and(|time| began.elapsed() >= time);
    while played < args.seeds && !is_over() {
        let (part, first) = (PART.min(args.seeds - played), results.next_seed);
        let part_began = Instant::now();
        let (count, failed) = play_all(args.jobs, first..first + part, &is_over, &mut met);
        results.add(count, &failed, part_began.elapsed(), &args.commit);
        if let Some(file) = &args.results {
            results.save(file)?;
        }
        played += count;
        failures += failed.len();
    }
    eprintln!(
        "{played} seeds in {:.1} s, {failures} failed; {} seeds over this code in all",
        began.elapsed().as_secs_f64(),
        results.seeds
    );
    eprintln!("{met}");
    Ok(failures == 0)
}

fn play_twice(seed: u64) -> bool {
    let (first, second) = (play(seed), play(seed));
    eprintln!("seed {seed}: {first:?}");
    if first != second {
        eprintln!("and the second time: {second:?}");
    }
    first == second && first.report.failure.is_none()
}

/// Play `seeds` until `is_over`; how many, and which failed, with words. What they have met is
/// added to `met`. Seeds are handed out in order, so those that were played are a run without
/// holes.
fn play_all(
    jobs: u64,
    seeds: Range<u64>,
    is_over: &(dyn Fn() -> bool + Sync),
    met: &mut Met,
) -> (u64, Vec<(u64, String)>) {
    let (first, next, failed) = (seeds.start, Mutex::new(seeds), Mutex::new(Vec::new()));
    let met = Mutex::new(met);
    let work = || {
        while !is_over() {
            let Some(seed) = next.lock().next() else {
                return;
            };
            let played = play(seed);
            met.lock().add(&played.met);
            if let Some(words) = judge(seed, played) {
                eprintln!("seed {seed}: {words}; play it again with --seed {seed}");
                failed.lock().push((seed, words));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner();
    failed.sort();
    (next.into_inner().start - first, failed)
}

/// Why `seed` fails, as `played`, if it does.
fn judge(seed: u64, played: Played) -> Option<String> {
    let passed = played.report.failure.is_none();
    if passed && seed.is_multiple_of(TWICE_EVERY) && play(seed) != played {
        return Some("it does not do the same twice".to_owned());
    }
    played.report.failure
}
