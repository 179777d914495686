//! At least eight checks of invariants in a thousand lines of code where bytes, offsets, order or
//! time are handled. There a fault shows late and far away: a mark that falls loses rows, a length
//! that lies reads them as others. What merely calls such code (command line, wording, SQL,
//! listeners, wiring) is not counted, so that nobody adds checks that cannot fail to fill a figure.
//!
//! Counted are lines with code, tests left out, against `invariant!`. Errors that are typed count
//! for nothing: bytes from outside and requests are judged by them, at any density.

use crate::finding::Finding;
use crate::source::{Source, words};

/// Checks that a thousand lines must have.
const CHECKS_PER_THOUSAND: usize = 8;

/// Code of one subject. Each group must have its share, so that none lives on another's checks.
struct Group {
    /// Its name in findings.
    name: &'static str,
    /// Files, and folders with all that is below them.
    places: &'static [&'static str],
}

const GROUPS: &[Group] = &[
    // What is stored and sent beyond the process: states, keys, frames.
    Group {
        name: "codecs of core",
        places: &[
            "crates/core/src/aggregate/order.rs",
            "crates/core/src/aggregate/partial.rs",
            "crates/core/src/aggregate/scalar.rs",
            "crates/core/src/aggregate/states",
            "crates/core/src/bytes.rs",
            "crates/core/src/checkpoint.rs",
            "crates/core/src/digest.rs",
            "crates/core/src/exact/codec.rs",
            "crates/core/src/key.rs",
        ],
    },
    // How far a partition was read, applied and answered.
    Group {
        name: "offsets",
        places: &[
            "crates/core/src/answered.rs",
            "crates/core/src/applied.rs",
            "crates/core/src/index.rs",
            "crates/core/src/offsets.rs",
            "crates/core/src/progress.rs",
            "crates/core/src/scope.rs",
            "crates/core/src/settlement.rs",
        ],
    },
    // Marks, bounds and holds: what decides when a row is too late.
    Group {
        name: "watermarks",
        places: &[
            "crates/core/src/watermark.rs",
            "crates/pipeline/src/watermark",
        ],
    },
    // Keys, records and blocks of rows on the disk of a shard.
    Group {
        name: "formats of the state",
        places: &[
            "crates/online/src/format.rs",
            "crates/online/src/format",
            "crates/online/src/rows",
        ],
    },
    // Epochs, tiles and queues: the order of a shard's writes, and what readers see of them.
    Group {
        name: "the state",
        places: &[
            "crates/online/src/commit.rs",
            "crates/online/src/draft.rs",
            "crates/online/src/expiry.rs",
            "crates/online/src/floor.rs",
            "crates/online/src/fold.rs",
            "crates/online/src/history.rs",
            "crates/online/src/key_state.rs",
            "crates/online/src/marks.rs",
            "crates/online/src/presence_expiry.rs",
            "crates/online/src/progress.rs",
            "crates/online/src/queue.rs",
            "crates/online/src/shard.rs",
            "crates/online/src/store.rs",
            "crates/online/src/sweep.rs",
            "crates/online/src/table.rs",
            "crates/online/src/tree.rs",
            "crates/online/src/window.rs",
        ],
    },
    // Where reading goes on, and what is a repeat.
    Group {
        name: "recovery",
        places: &[
            "crates/pipeline/src/beginnings.rs",
            "crates/pipeline/src/gaps.rs",
            "crates/pipeline/src/reads.rs",
            "crates/pipeline/src/recovery.rs",
            "crates/pipeline/src/repeats.rs",
            "crates/pipeline/src/score/release_times.rs",
            "crates/pipeline/src/score/released.rs",
        ],
    },
    // Looks at the logs: what is compared, decided and noted before a source is read.
    Group {
        name: "the watch",
        places: &[
            "crates/pipeline/src/board.rs",
            "crates/pipeline/src/prefix.rs",
            "crates/pipeline/src/watch.rs",
            "crates/pipeline/src/watch",
        ],
    },
    // From a batch to what each shard writes, and from there to scores and records, in order.
    Group {
        name: "epochs and queues",
        places: &[
            "crates/pipeline/src/admit.rs",
            "crates/pipeline/src/ingest.rs",
            "crates/pipeline/src/ingest/time.rs",
            "crates/pipeline/src/pending.rs",
            "crates/pipeline/src/prediction.rs",
            "crates/pipeline/src/score/bounded.rs",
            "crates/pipeline/src/score/lane.rs",
            "crates/pipeline/src/score/publish.rs",
            "crates/pipeline/src/score/settle.rs",
            "crates/pipeline/src/score/stage.rs",
            "crates/pipeline/src/settlements.rs",
            "crates/pipeline/src/shards.rs",
            "crates/pipeline/src/step.rs",
        ],
    },
    // Rows into the archive and, for a new view, out of it.
    Group {
        name: "archiving and fills",
        places: &[
            "crates/pipeline/src/archive.rs",
            "crates/pipeline/src/archive",
            "crates/pipeline/src/backfill.rs",
            "crates/control/src/fill/caught_up.rs",
            "crates/control/src/fill/rounds.rs",
        ],
    },
    // Training sets, and served values against recomputed ones: each row with its instant and cut.
    Group {
        name: "training sets and verification",
        places: &[
            "crates/training/src/bounded.rs",
            "crates/training/src/digest.rs",
            "crates/training/src/manifest.rs",
            "crates/training/src/predictions.rs",
            "crates/training/src/recompute.rs",
            "crates/training/src/report.rs",
            "crates/training/src/sample.rs",
            "crates/training/src/training_set.rs",
            "crates/training/src/verify.rs",
        ],
    },
    // Offsets of the archive against those of the log.
    Group {
        name: "the witness",
        places: &["crates/training/src/witness"],
    },
    // The monitors of a process: where they begin, what is counted, held and checkpointed, and the
    // words on their alarms.
    Group {
        name: "monitors beside ingest",
        places: &[
            "crates/control/src/alarms.rs",
            "crates/control/src/archived_tables.rs",
            "crates/control/src/beginning.rs",
            "crates/control/src/monitoring.rs",
        ],
    },
    // What a monitor counts, up to which offsets, and what waits for its label.
    Group {
        name: "monitors",
        places: &[
            "crates/monitor/src/binding.rs",
            "crates/monitor/src/binding",
            "crates/monitor/src/counts.rs",
            "crates/monitor/src/decided.rs",
            "crates/monitor/src/labels.rs",
            "crates/monitor/src/marks.rs",
            "crates/monitor/src/monitor.rs",
            "crates/monitor/src/series.rs",
            "crates/monitor/src/state.rs",
            "crates/monitor/src/window.rs",
        ],
    },
    // Appends, merges and scans of Delta tables, with the offsets in their log.
    Group {
        name: "the archive",
        places: &[
            "crates/offline/src/append.rs",
            "crates/offline/src/compact.rs",
            "crates/offline/src/dating.rs",
            "crates/offline/src/facts.rs",
            "crates/offline/src/file.rs",
            "crates/offline/src/log_files.rs",
            "crates/offline/src/marks.rs",
            "crates/offline/src/rows.rs",
            "crates/offline/src/scan",
            "crates/offline/src/statistics.rs",
            "crates/offline/src/sweep.rs",
            "crates/offline/src/table.rs",
        ],
    },
    // Records of the log in their order, and the columns that they become.
    Group {
        name: "the reader of the log",
        places: &[
            "crates/kafka/src/decode/columns.rs",
            "crates/kafka/src/decode/mod.rs",
            "crates/core/src/time_text.rs",
            "crates/kafka/src/inspector.rs",
            "crates/kafka/src/native/events.rs",
            "crates/kafka/src/reader",
        ],
    },
];

/// Groups with too few checks, and places that are not there (a file that moved would leave the
/// rule without a word).
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    GROUPS
        .iter()
        .flat_map(|group| of_group(group, sources))
        .collect()
}

fn of_group(group: &Group, sources: &[Source]) -> Vec<Finding> {
    let (mut lines, mut checks, mut findings) = (0, 0, Vec::new());
    for place in group.places {
        let mut found = false;
        for source in sources.iter().filter(|source| is_at(source, place)) {
            found = true;
            lines += code_lines(source);
            checks += checks_of(source);
        }
        if !found {
            findings.push(Finding::new(
                *place,
                1,
                format!("nothing is there, and the group '{}' counts it", group.name),
                "name where the code is now in crates/xtask/src/rules/checked.rs",
            ));
        }
    }
    let wanted = (lines * CHECKS_PER_THOUSAND).div_ceil(1_000);
    if checks < wanted {
        let problem = format!(
            "the group '{}' has {checks} checks in {lines} lines; {wanted} are wanted",
            group.name
        );
        let remedy = "check what holds there whatever the input (core/src/invariant.rs), where a fault would break it";
        findings.push(Finding::new(group.places[0], 1, problem, remedy));
    }
    findings
}

/// Whether `source` is the file `place`, or lies in that folder.
fn is_at(source: &Source, place: &str) -> bool {
    let rest = source.path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn code_lines(source: &Source) -> usize {
    let lines = source.code_lines();
    lines
        .filter(|(number, line)| !source.is_test(*number) && !line.trim().is_empty())
        .count()
}

fn checks_of(source: &Source) -> usize {
    let called = words(source.code(), "invariant")
        .filter(|at| source.code()[*at..].starts_with("invariant!("));
    called
        .filter(|at| !source.is_test(source.line_of(*at)))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Group = Group {
        name: "g",
        places: &["crates/a/src/b.rs", "crates/a/src/c"],
    };

    fn findings(checks: usize, lines: usize) -> Vec<Finding> {
        let check = "    invariant!(A, b, \"c\");\n".repeat(checks);
        let other = "    d();\n".repeat(lines - checks - 2);
        let tests = "#[cfg(test)]\nmod tests {\n    fn f() { invariant!(A, b, \"c\"); }\n}\n";
        let text = format!("//! invariant!(\n\nfn f() {{\n{check}{other}}}\n{tests}");
        let sources = [
            Source::new("crates/a/src/b.rs", &text),
            Source::new("crates/a/src/c/d.rs", "//! Nothing.\n"),
            Source::new("crates/a/src/cc.rs", &"d();\n".repeat(5_000)),
        ];
        of_group(&GROUP, &sources)
    }

    #[test]
    fn eight_in_a_thousand_lines_are_enough_and_seven_are_not() {
        assert!(findings(8, 1_000).is_empty());
        let found = findings(7, 1_000);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].problem,
            "the group 'g' has 7 checks in 1000 lines; 8 are wanted"
        );
        assert_eq!(findings(8, 1_001).len(), 1, "a part of one more counts");
    }

    #[test]
    fn a_place_that_is_gone_is_told() {
        let found = of_group(&GROUP, &[Source::new("crates/a/src/b.rs", "")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "crates/a/src/c");
    }
}
