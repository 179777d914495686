//! The registry of invariants: what holds whatever the input, the disk and the broker do. Each has
//! an id, one sentence, and places that check it by [`invariant!`](crate::invariant!). A broken one
//! is a defect of Forebay, never bad data: damaged bytes and wrong requests are typed errors.
//!
//! A check runs in every build. What a broken one does is decided by the process: without a hook
//! (tests, simulations) it panics where `debug_assertions` are on and is passed over where they are
//! off; a process that calls [`install`], as the binary does first of all, gets each violation
//! handed to its hook, which counts it in a metric, logs it once for each id and lets a command end
//! as a defect (`telemetry::invariants`). The hook is the
//! one global of this crate, as a panic hook is one: a check deep inside a fold has nobody to hand
//! a registry through.

use std::fmt;
use std::sync::OnceLock;

macro_rules! registry {
    ($($variant:ident $id:literal $sentence:literal;)+) => {
        /// Every invariant that code checks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Invariant {
            $(#[doc = $sentence] $variant,)+
        }

        impl Invariant {
            /// All of them, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its id: label of the metric, word of the log line.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)+ }
            }

            /// What holds, in one sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }
        }
    };
}

registry! {
    ShardInRange "shard_in_range" "a shard's number lies below the number of shards";
    RequestDoesNotPanic "request_does_not_panic" "a request is answered or refused, it never panics";
    OffsetsNeverFall "offsets_never_fall" "the next offset of a partition never falls";
    EpochsAscend "epochs_ascend" "each commit of a shard has the epoch after the one before";
    FoldRowsAscend "fold_rows_ascend" "the rows that a fold hands to a shard ascend and lie in its batch";
    OriginColumnsAgree "origin_columns_agree" "the columns that say where rows stand are equally long";
    ProgressCoversRows "progress_covers_rows" "an epoch's progress lies beyond every row that it folds";
    DirtyKeysPublished "dirty_keys_published" "every key that a commit touches is published by it";
    RowsGrouped "rows_grouped" "grouping the rows of a commit by key loses none";
    RowsMerged "rows_merged" "a row that is merged into a tile is new, or was there already";
    TileKeyRoundTrips "tile_key_round_trips" "the key of a tile on disk reads back as what it was made from";
    ColumnsAgree "columns_agree" "the columns of a block are equally long";
    ExpiryLeavesNone "expiry_leaves_none" "no tile below the floor is left in a tree that expired";
    RowsInWindow "rows_in_window" "the rows that a window counts lie inside it";
    SweepAscends "sweep_ascends" "each step of a sweep begins behind the one before";
    KeysSorted "keys_sorted" "the keys of a commit ascend and differ";
    KeyOfItsShard "key_of_its_shard" "a shard folds only keys that hash to it";
    PlacesAscend "places_ascend" "the rows of a tile ascend by time, partition and offset";
    TileInItsSpan "tile_in_its_span" "the rows of a tile lie in the span that its id names";
    ChildInsideParent "child_inside_parent" "the children of a branch lie in its span, in order";
    StubHasTiles "stub_has_tiles" "what stands for rows on disk names levels of its span, and at least one";
    StatesOfWhole "states_of_whole" "merged states are made of rows that are all in memory";
    RootsSorted "roots_sorted" "the roots of a key's tree ascend and differ";
    BlockRoundTrips "block_round_trips" "a block that was encoded has the rows, times and columns that went in";
    ExpiryBelowFloor "expiry_below_floor" "only rows below the floor expire";
    ExpiryKeepsNewest "expiry_keeps_newest" "a key whose rows expired still knows its newest event time";
    HorizonNeverFalls "horizon_never_falls" "the newest event time that a view has lost never falls";
    PresenceOnlyWithoutRows "presence_only_without_rows" "a key is forgotten only when it has no row and no state left";
    AnswerWithinItsSpan "answer_within_its_span" "a finished answer holds at the instant that it was computed for";
    NewestNotAfterRead "newest_not_after_read" "no event after the instant of a read is visible to it";
    AnswerRowsAsAsked "answer_rows_as_asked" "an answer has one row for each row of the request";
    CellFaultsAscend "cell_faults_ascend" "the cells of an answer that failed ascend by feature, then by row";
    PendingOnce "pending_once" "a pending score is queued once";
    PendingSequencesAscend "pending_sequences_ascend" "pending scores are numbered in the order of their commits";
    OutboxSequencesAscend "outbox_sequences_ascend" "outbox records to one topic are numbered in the order of their writes";
    OutboxHeadBehindTail "outbox_head_behind_tail" "the first record of the outbox lies at or before its end";
    OutboxByTopic "outbox_by_topic" "a publisher is given the records of its own deployment and topic alone";
    IndexesAgree "indexes_agree" "the indexes over the pending scores hold the same scores";
    TableMemory "table_memory" "the memory that the table counts is the sum over its entries";
    TableIndexed "table_indexed" "every entry of the table is found by its hash";
    HistoryAscends "history_ascends" "the epochs that the history keeps ascend";
    HistoryRestores "history_restores" "going back over the kept changes never raises an offset";
    DiskNotBehindReaders "disk_not_behind_readers" "what a reader saw is on disk, also after the store was reopened";
    ReservationsGivenBackOnce "reservations_given_back_once" "no part gives back more memory than it holds";
    MarksNeverFall "marks_never_fall" "the mark of a partition never falls";
    SupportIsShared "support_is_shared" "what supports a partition is no more than two of its source have";
    BoundCoversRows "bound_covers_rows" "a recorded bound covers the rows that it had an effect on";
    EventsAscend "events_ascend" "events that wait for an answer are kept in the order of their log";
    AnswersAhead "answers_ahead" "an answer counts as early only until its event is read";
    IntervalsApart "intervals_apart" "the intervals of a set of offsets neither overlap nor touch";
    RowsInLogOrder "rows_in_log_order" "the rows of a batch ascend by offset within each partition";
    RowsBelowReadTo "rows_below_read_to" "the reader stands beyond every row that it gives";
    EpochEndsOnce "epoch_ends_once" "an epoch that began is released once";
    ArchivedNotAhead "archived_not_ahead" "the archive has no more than was handed over to it";
    AppendStoresRows "append_stores_rows" "an append stores no more rows than it was given";
    RowsMoveMarks "rows_move_marks" "rows above the marks of a table move them";
    AppendCovered "append_covered" "the marks of a table cover an append that has landed";
    IngestTimeAscends "ingest_time_ascends" "each append has a later ingest time than the one before";
    FileHoldsItsRows "file_holds_its_rows" "an encoded file has the rows that its statistics count";
    GapBeginsBeforeItsEnd "gap_begins_before_its_end" "an accepted gap leaves out at least one offset";
    MergeJoinsFiles "merge_joins_files" "a merge puts one file in the place of several";
    TextEndsAtItsBytes "text_ends_at_its_bytes" "the last text of a column ends where its bytes do";
    OutcomePerScore "outcome_per_score" "each pending score of a chunk has one outcome";
    NotesAscend "notes_ascend" "notes on events without a prediction are numbered in the order of their writes";
    CountsNotNegative "counts_not_negative" "the counts of a state that is stored are not negative";
    SpecialsCounted "specials_counted" "the special values of a float state are among its values";
    NothingSumsToZero "nothing_sums_to_zero" "a stored sum of no finite value is zero";
    KeyEndsAscend "key_ends_ascend" "each key of a buffer ends at or behind the one before";
    DigestBelowNext "digest_below_next" "the record of which a digest is kept lies below the next offset";
    RunsAscend "runs_ascend" "runs of numbers ascend and lie apart";
    BoundsApart "bounds_apart" "the recorded bounds of a partition neither overlap nor fall";
    HoldBehindItsMark "hold_behind_its_mark" "a partition is held at a watermark that is not after its mark";
    NotesCoverEvents "notes_cover_events" "a note on events without a prediction covers at least one";
    FoldedHasRows "folded_has_rows" "a tile that was folded holds at least one row";
    LevelBelowEnd "level_below_end" "the level of a tile lies below the end of its key's tiles";
    PlacesFillHeader "places_fill_header" "the places of a block take the bytes that its header says";
    BlockTimesAsHeader "block_times_as_header" "the first and the last row of a block have the times of its header";
    FillFoldsItsView "fill_folds_its_view" "a fill folds rows of its own view alone";
    GapWithinLog "gap_within_log" "a gap that is proposed ends within the log";
    ReadOnlyWhatJoined "read_only_what_joined" "a partition is read only after its marks have joined";
    HeldIsLeftOut "held_is_left_out" "a source that is held back is not read";
    HoldKeptOnce "hold_kept_once" "of a partition at most one hold is kept beside the table of marks";
    StartWithinLog "start_within_log" "reading starts at or before the end of the log";
    OriginOfItsBatch "origin_of_its_batch" "each row of a batch stands in one of the batch's partitions";
    DecidedOnce "decided_once" "a partition is read, halted or left out by a gap, and only one of these";
    MarkPerShard "mark_per_shard" "no partition has more recorded marks than there are shards";
    AskedBeforeNow "asked_before_now" "what the reader has met was asked for before it met it";
    EverySourceDecided "every_source_decided" "each look at the logs decides on every source";
    OwnClusterRead "own_cluster_read" "a source is read only of the cluster that the state follows";
    OwnTopicRead "own_topic_read" "a source is read only of the topic that the state follows";
    PartitionsNeverFall "partitions_never_fall" "the partitions that a topic is known to have never become fewer";
    CutWhereItBegins "cut_where_it_begins" "a table is cut only where its beginning is noted";
    DroppedBelowDecided "dropped_below_decided" "what was dropped as a repeat lies below what was decided";
    ReleasesAscend "releases_ascend" "release times are kept by ascending offset, the newest always";
    BeginningNotedOnce "beginning_noted_once" "where a table begins in a partition is noted once";
    WritesByShard "writes_by_shard" "an epoch has at most one write for each shard";
    PublishedOnce "published_once" "each record that the broker has is cleared once";
    OutcomePerRecord "outcome_per_record" "each record that is published has one outcome";
    SettledAsAsked "settled_as_asked" "a chunk is settled with as many scores as it was asked with";
    RecordsKept "records_kept" "each record that is read becomes a row or a dead letter";
    FoldedOrLeftOut "folded_or_left_out" "a row of a batch is folded by a view or left out of it, never both";
    MarksCoverRows "marks_cover_rows" "an append of rows moves the marks of its table";
    ScanInRange "scan_in_range" "a scan gives only rows between its bounds";
    CutsReachEnds "cuts_reach_ends" "the cuts of a fill ascend, and the last one reaches the end of every shard";
    FillReachesItsEnd "fill_reaches_its_end" "a pass of a fill leaves nothing below its end";
    ReadsHaveASource "reads_have_a_source" "a partition that is read belongs to a source";
    DateRoundTrips "date_round_trips" "a date is that of the day that it was made from";
    VersionNeverFalls "version_never_falls" "the version of a table never falls";
    StatisticsOrdered "statistics_ordered" "the least value of a column in a file is not above its greatest";
    NullsAmongRows "nulls_among_rows" "a column has no more NULLs than rows";
    MergeKeepsOrder "merge_keeps_order" "the files of a merge follow one another in time";
    WaitingCounted "waiting_counted" "the labels and predictions that wait are as many as their join counts";
    FatesCounted "fates_counted" "a label leaves only a fate that it was counted in";
    ScopeInsideRun "scope_inside_run" "what a scope has of a run of offsets lies inside the run, in order";
    WindowsAscend "windows_ascend" "the windows of a monitor close and leave in the order of time";
    PartsMakeTheWhole "parts_make_the_whole" "the parts that something is cut into hold all of it, once";
    CountsAddUp "counts_add_up" "the counts of a report add up to what was looked at";
    BudgetKept "budget_kept" "what is chosen within a budget fits it";
    ReadsFromWhereAsked "reads_from_where_asked" "a reader gives no record below the offset that it was asked to read from";
    ReadsAreLeft "reads_are_left" "a partition that is read still has an offset to read";
    BoundNotRaised "bound_not_raised" "a bound within a bound reads no further than either";
    CutPerView "cut_per_view" "a row has one cut for each view";
    CutsDistinct "cuts_distinct" "each vector of applied offsets is kept once";
    CutIsThere "cut_is_there" "the cut that a row names is one of those that go with it";
    InstantPerRow "instant_per_row" "each row that is asked about has an instant";
    RowPerSpineRow "row_per_spine_row" "a training set has one row for each row of its spine";
    QuestionsInOrder "questions_in_order" "answers are kept in the order of their questions";
    HeldAsKept "held_as_kept" "monitors hold no more memory than they keep";
    CountedIsCovered "counted_is_covered" "what a monitor has counted is covered by what it checkpoints";
    SeriesOfItsVersion "series_of_its_version" "a row is counted for the series of its model version and role";
    OpenWindowsAhead "open_windows_ahead" "no window is open that the mark of a monitor has passed";
    RecordHasItsPlace "record_has_its_place" "a record that was read names its topic, its partition and its offset";
    TimeNeverFalls "time_never_falls" "the time since the start of a process never falls";
    QueueReadAscends "queue_read_ascends" "a queue is read in the order of its numbers, from where it was asked on";
    TransitionsAlternate "transitions_alternate" "the transitions of an alarm alternate, firing and resolved, and are numbered in that order";
    SweptFromTheOldest "swept_from_the_oldest" "the log of a table is deleted from its oldest entry on, never its newest";
    CommitOnTop "commit_on_top" "a commit gets a version after the one that it was built on";
    BeganWhereArchived "began_where_archived" "what begins beside ingest knows all that the archive has";
    OneSpanOpen "one_span_open" "of the spans that a deployment scores of a topic only the last is open";
    StateCanonical "state_canonical" "the state of an aggregate is in the one form that its rows have";
    SumLimbs "sum_limbs" "a fixed-point sum fits the limbs that its type allows";
}

/// What a process does with a violation: called for each one, with the id and the words of the
/// place that found it.
pub type Hook = Box<dyn Fn(Invariant, fmt::Arguments<'_>) + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Hand each violation to `hook` from now on instead of panicking. The first call counts; returns
/// whether this was it.
pub fn install(hook: Hook) -> bool {
    HOOK.set(hook).is_ok()
}

/// A check found `invariant` broken: what [`invariant!`](crate::invariant!) calls.
///
/// # Panics
/// Without a hook in a build with `debug_assertions`.
#[cold]
#[track_caller]
pub fn broken(invariant: Invariant, words: fmt::Arguments<'_>) {
    match HOOK.get() {
        Some(hook) => hook(invariant, words),
        None if cfg!(debug_assertions) => panic!(
            "invariant {} is broken: {}; here {words}",
            invariant.id(),
            invariant.sentence()
        ),
        None => {}
    }
}

/// Check an invariant of the registry: `invariant!(OffsetsNeverFall, new >= old, "{old} to
/// {new}")`. The words are formatted only when it is broken; they never hold a key or a feature
/// value.
#[macro_export]
macro_rules! invariant {
    ($id:ident, $condition:expr, $($words:tt)+) => {
        if !$condition {
            $crate::invariant::broken($crate::invariant::Invariant::$id, format_args!($($words)+));
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_and_are_labels() {
        let ids: HashSet<&str> = Invariant::ALL.iter().map(|i| i.id()).collect();
        assert_eq!(ids.len(), Invariant::ALL.len());
        for invariant in Invariant::ALL {
            let is_label = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(invariant.id().chars().all(is_label), "{invariant:?}");
            assert!(!invariant.sentence().is_empty(), "{invariant:?}");
        }
    }

    #[test]
    #[should_panic(expected = "invariant offsets_never_fall is broken")]
    fn a_broken_one_panics_without_a_hook() {
        let (old, new) = (5, 4);
        invariant!(OffsetsNeverFall, new >= old, "{old} became {new}");
    }
}
