//! Every limit of Forebay, named, with its unit. `docs/limits.md` is written from this file, and
//! `xtask` asks for a test that names each. Settings may lower most of them; nothing may raise
//! them silently.

/// Definition file, bytes.
pub const DEFINITION_FILE_MAX_BYTES: usize = 1 << 20;
/// Events that one feature test gives, and rows that it expects, each.
pub const FEATURE_TEST_MAX_ROWS: usize = 4_096;
/// Text of one SQL statement, bytes.
pub const SQL_MAX_BYTES: usize = 64 << 10;
/// Tokens of one SQL statement.
pub const SQL_MAX_TOKENS: usize = 20_000;
/// Operators chained at one level of an SQL expression (a longer chain overflows the planner's
/// stack).
pub const SQL_MAX_CHAINED_OPERATORS: usize = 256;
/// Brackets and CASEs open at one place of an SQL statement (the parser calls itself for each).
pub const SQL_MAX_NESTING: usize = 32;
/// Operators and keywords of one SQL statement that may nest in one another, counted before it is
/// parsed: no tree that the parser makes is deeper.
pub const SQL_MAX_NESTED_TOKENS: usize = 1_024;
/// Depth of one SQL expression, operations.
pub const SQL_MAX_DEPTH: usize = 300;
/// Queries of one SQL statement: itself, those of WITH, and those in FROM.
pub const SQL_MAX_QUERIES: usize = 64;
/// Operands that the parser begins for one SQL text, those of readings that it gives up too.
pub const SQL_MAX_PARSER_STEPS: usize = 100_000;
/// Nodes of all expressions of one definition, at any step of its planning.
pub const EXPRESSION_MAX_NODES: usize = 50_000;
/// How long a server plans definitions before it gives up, milliseconds.
pub const PLAN_MAX_MS: u64 = 10_000;
/// Plannings of one server under way at once, those that are given up and have not ended yet too;
/// more are refused.
pub const PLANNINGS_MAX: usize = 4;
/// Branches of UNION and the like in one statement.
pub const SQL_MAX_SET_BRANCHES: usize = 64;
/// Name of an object, a column or a feature, bytes.
pub const NAME_MAX_BYTES: usize = 255;
/// Bytes of the name of a table in the archive, and so of a source.
pub const TABLE_NAME_MAX_BYTES: usize = 128;
/// Name of a Kafka topic, bytes (Kafka's own limit).
pub const TOPIC_NAME_MAX_BYTES: usize = 249;
/// Columns of one source.
pub const SOURCE_MAX_COLUMNS: usize = 1_024;
/// Features of one view.
pub const VIEW_MAX_FEATURES: usize = 512;
/// Items of one value of an array type.
pub const ARRAY_MAX_ITEMS: usize = 1_024;
/// Greatest `n` of an `array_agg(x, n)`.
pub const ARRAY_AGG_MAX_ITEMS: usize = 256;
/// Different values that a `count(DISTINCT x)` counts for one key; of more it has no value.
pub const DISTINCT_MAX_VALUES: usize = 1_024;
/// Buckets of one `approx_quantile`'s state; with more of them they become wider.
pub const QUANTILE_MAX_BUCKETS: usize = 4_096;
/// Views in one catalog.
pub const CATALOG_MAX_VIEWS: usize = 1_024;
/// One Kafka record, key and value, bytes.
pub const EVENT_MAX_BYTES: usize = 1 << 20;
/// Nesting of one JSON event.
pub const EVENT_MAX_DEPTH: usize = 16;
/// Columns of one record of format 'arrow', those too that its source does not name.
pub const ARROW_RECORD_MAX_FIELDS: usize = 4_096;
/// Raw bytes that a dead letter keeps.
pub const DEAD_LETTER_PAYLOAD_MAX_BYTES: usize = 64 << 10;
/// Bytes of its record's key that a dead letter keeps.
pub const DEAD_LETTER_KEY_MAX_BYTES: usize = 16 << 10;
/// Names and values of its record's headers that a dead letter keeps, bytes: the first headers that
/// fit.
pub const DEAD_LETTER_HEADERS_MAX_BYTES: usize = 16 << 10;
/// Dead letters, and rows left out of a view, that one list shows; all are counted.
pub const DEAD_LETTERS_LIST_MAX: usize = 10_000;
/// Dead letters of a data directory that are remembered as replayed; no more are replayed then.
pub const REPLAYED_MAX_RECORDS: usize = 1_000_000;
/// How far an event's time may lie ahead of its Kafka record's time, and of what moves a watermark,
/// where a source declares no `event_future_max`, microseconds.
pub const EVENT_FUTURE_MAX_US: i64 = 10 * 60 * 1_000_000;
/// How far an event's time that a record gives as an integer of no declared unit may lie from its
/// Kafka record's time, microseconds (10 years): beyond it the unit is another one.
pub const INTEGER_TIME_DISTANCE_MAX_US: i64 = 3_650 * 24 * 60 * 60 * 1_000_000;
/// How long a partition without a record to read holds its source back, where the source declares
/// no `idle_timeout`, microseconds.
pub const IDLE_TIMEOUT_US: i64 = 30 * 1_000_000;
/// How long a partition that never had a record holds its source back at most, microseconds.
pub const EMPTY_IDLE_TIMEOUT_US: i64 = 5 * 1_000_000;
/// Longest `idle_timeout` and `event_future_max` that a source may declare, microseconds.
pub const SOURCE_TIME_OPTION_MAX_US: i64 = 24 * 60 * 60 * 1_000_000;
/// How often the ingest time that bounds watermarks moves on, microseconds: one recorded bound
/// covers all rows of a partition that are read meanwhile.
pub const PRESENT_STEP_US: i64 = 10 * 1_000_000;
/// Rows of one micro-batch.
pub const EPOCH_MAX_ROWS: usize = 8_192;
/// Encoded entity key, bytes.
pub const KEY_MAX_BYTES: usize = 1 << 10;
/// Rows of one read request.
pub const REQUEST_MAX_ROWS: usize = 10_000;
/// One request message, bytes.
pub const REQUEST_MAX_BYTES: usize = 4 << 20;
/// One request message that takes nothing of the memory limit; a larger one is reserved before it
/// is read, bytes.
pub const MESSAGE_FREE_BYTES: usize = 8 << 10;
/// One response message, bytes.
pub const RESPONSE_MAX_BYTES: usize = 16 << 20;
/// Text of one view in one answer, all its messages together, bytes.
pub const ANSWER_MAX_BYTES: usize = 256 << 20;
/// Nesting of one JSON request.
pub const REQUEST_MAX_DEPTH: usize = 32;
/// Requests in flight on one DoExchange stream.
pub const EXCHANGE_MAX_IN_FLIGHT: usize = 256;
/// Requests of many rows under way at once on one DoExchange stream; at the bound the stream is not
/// read.
pub const EXCHANGE_MAX_LARGE_IN_FLIGHT: usize = 4;
/// Requests of many rows under way at once on one listener; more are refused.
pub const LARGE_READS_MAX: usize = 64;
/// Verifications under way at once; more are refused.
pub const VERIFICATIONS_MAX: usize = 16;
/// Rows that a view leaves out which a training set counts; further ones are not counted.
pub const LEFT_OUT_MAX_ROWS: usize = 1_000_000;
/// Cells without a value that an answer names; of further ones it has the number.
pub const ANSWER_FAULTS_MAX: usize = 64;
/// Newest rows of an archived source on which a new view is tried while it is planned.
pub const TRIAL_MAX_ROWS: usize = 4_096;
/// Rows that one verification compares.
pub const VERIFY_MAX_ROWS: usize = 100_000;
/// How long a stream may stay open before its first message, milliseconds.
pub const FIRST_MESSAGE_MAX_MS: u64 = 10_000;
/// Connections of one listener; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Files and sockets that the process must be allowed to have open (`ulimit -n`, hard): fewer leave
/// no room for connections beside state and broker.
pub const DESCRIPTORS_MIN: u64 = 512;
/// Streams of one connection.
pub const CONNECTION_MAX_STREAMS: u32 = 128;
/// Headers of one request, bytes.
pub const HEADERS_MAX_BYTES: u32 = 16 << 10;
/// How long the headers of one HTTP request may take, milliseconds.
pub const HEADERS_MAX_MS: u64 = 10_000;
/// Threads that serve one gRPC listener.
pub const SERVING_THREADS_MAX: usize = 64;
/// Longest deadline a request may ask for, milliseconds.
pub const REQUEST_DEADLINE_MAX_MS: u64 = 60_000;
/// Spine rows of one question for values as of their instants.
pub const SPINE_MAX_ROWS: usize = 50_000_000;
/// Rows of a training set's spine that are held and answered at a time, fewer where memory is
/// short; a spine may have any number.
pub const SPINE_CHUNK_ROWS: usize = 1 << 20;
/// Shards of one deployment.
pub const SHARDS_MAX: u16 = 256;
/// Moves of single partitions that one shard remembers, to tell what an earlier epoch had applied;
/// the oldest epochs are forgotten above it.
pub const APPLIED_HISTORY_MAX_CHANGES: usize = 1 << 17;
/// Threads that flush and compact one shard.
pub const BACKGROUND_THREADS_MAX: u16 = 64;
/// Model file, bytes.
pub const MODEL_FILE_MAX_BYTES: usize = 256 << 20;
/// Trees of one model.
pub const MODEL_MAX_TREES: usize = 100_000;
/// Nodes of one tree.
pub const MODEL_MAX_NODES_PER_TREE: usize = 1 << 22;
/// Features of one model.
pub const MODEL_MAX_FEATURES: usize = 4_096;
/// Splits on the longest path of one tree.
pub const MODEL_MAX_DEPTH: usize = 1_024;
/// Greatest version of a model: predictions carry it in an INTEGER column.
pub const MODEL_VERSION_MAX: u32 = 2_147_483_647;
/// Manifest of a model version, bytes.
pub const MODEL_MANIFEST_MAX_BYTES: usize = 4 << 20;
/// Golden rows of a model version, bytes.
pub const MODEL_GOLDEN_MAX_BYTES: usize = 64 << 20;
/// Fewest golden rows with which a model version becomes READY.
pub const MODEL_GOLDEN_MIN_ROWS: usize = 256;
/// Model versions loaded in one process.
pub const MODELS_MAX: usize = 256;
/// Rows of one batch that a worker scores; bigger ones are split.
pub const WORKER_BATCH_MAX_ROWS: usize = 8_192;
/// One message between server and worker, bytes.
pub const WORKER_MESSAGE_MAX_BYTES: usize = 64 << 20;
/// Rows in flight on one stream to a worker.
pub const WORKER_CREDIT_ROWS: usize = 65_536;
/// How long one worker may take for one batch before it counts as failed, milliseconds, where
/// `inference.worker_answer_timeout_ms` says nothing else.
pub const WORKER_ANSWER_MAX_MS: u64 = 5_000;
/// How long the workers together may take for one request before this process scores it,
/// milliseconds, where `inference.workers_timeout_ms` says nothing else: well within
/// [`SCORING_CALL_MAX_MS`], so that time is left for that.
pub const WORKERS_ASK_MAX_MS: u64 = 10_000;
/// Rows of the question to a worker that has failed.
pub const WORKER_PROBE_ROWS: usize = 64;
/// Workers that one server knows.
pub const WORKERS_MAX: usize = 1_024;
/// One registration of a worker, bytes.
pub const WORKER_REGISTRATION_MAX_BYTES: usize = 64 << 10;
/// One prediction's Kafka record, key, value and headers, bytes: under what a broker takes of
/// itself (1,048,588).
pub const PREDICTION_MAX_BYTES: usize = 960 << 10;
/// Records of one deployment that wait for one topic before it scores no more for that.
pub const OUTBOX_MAX_RECORDS: usize = 100_000;
/// Pending scores of one version of a deployment in one role on disk before it is suspended (about
/// 100 bytes of memory each).
pub const PENDING_SCORES_MAX_RECORDS: u64 = 1_000_000;
/// The same, bytes.
pub const PENDING_SCORES_MAX_BYTES: u64 = 1 << 30;
/// Scores of one request to a model.
pub const SCORING_CHUNK_MAX_ROWS: usize = 4_096;
/// The pending scores of one request, bytes: a few records more may be read before it ends.
pub const SCORING_CHUNK_MAX_BYTES: usize = 8 << 20;
/// Records that one deployment sends to one topic at once, bytes: a few more may be read.
pub const PUBLISH_MAX_BYTES: usize = 8 << 20;
/// Records that one deployment sends to one topic at once after a try that failed, until one
/// passes: the client's queue is one for all topics, and what it holds for a topic that takes
/// nothing is no room for the others.
pub const PUBLISH_PROBE_MAX_RECORDS: usize = 16;
/// Requests of one deployment that a version of a model is asked for at once in one role, where
/// `inference.concurrent_calls` says nothing else: a version in both roles is asked for up to twice
/// as many.
pub const SCORING_CHUNKS_MAX: usize = 4;
/// How long one request to a model may take, milliseconds, where `inference.call_timeout_ms` says
/// nothing else.
pub const SCORING_CALL_MAX_MS: u64 = 30_000;
/// How long a version that is new on a route lets what waits for the version before go first,
/// milliseconds; it waits for none whose model fails.
pub const ROUTE_CHANGE_WAIT_MAX_MS: u64 = 5_000;
/// How long a stop waits for scores and predictions under way, milliseconds.
pub const SCORING_DRAIN_MAX_MS: u64 = 5_000;
/// How long what stops ingest waits for one append to the archive, milliseconds: one that hangs is
/// left behind, and its rows are read again.
pub const ARCHIVE_DRAIN_MAX_MS: u64 = 5_000;
/// How far a pending score's event may lie behind its source's watermark while its model cannot be
/// asked or its topic takes nothing, microseconds of event time: what its features need is kept as
/// long.
pub const PENDING_SCORE_MAX_AGE_US: i64 = 7 * 86_400 * 1_000_000;
/// Bins that a monitor keeps per column.
pub const MONITOR_MAX_BINS: usize = 512;
/// Predictions that wait for a label, per monitor.
pub const MONITOR_MAX_PENDING: usize = 10_000_000;
/// Columns that a monitor watches, the score among them.
pub const MONITOR_MAX_COLUMNS: usize = 512;
/// Values of a categorical column that have a bin of their own.
pub const MONITOR_MAX_CATEGORIES: usize = 100;
/// Further values of a categorical column that a reference lists, to tell OTHER from UNSEEN.
pub const MONITOR_MAX_OTHER_VALUES: usize = 65_536;
/// Length of a category with a bin of its own, bytes.
pub const MONITOR_MAX_CATEGORY_BYTES: usize = 256;
/// Windows of the reference that a threshold is calibrated on.
pub const MONITOR_MAX_CALIBRATION_WINDOWS: u32 = 10_000;
/// (Model version, role) pairs that a monitor keeps apart.
pub const MONITOR_MAX_SERIES: usize = 64;
/// Closed windows that a monitor keeps for one series, those without rows counted too; older ones
/// live on in the totals alone.
pub const MONITOR_MAX_WINDOWS: usize = 512;
/// Panes of windows that are still open, for one series.
pub const MONITOR_MAX_OPEN_PANES: usize = 4_096;
/// Labels that wait for a prediction, per monitor.
pub const MONITOR_MAX_PENDING_LABELS: usize = 10_000_000;
/// Predictions, and labels, that share one join key.
pub const MONITOR_MAX_PER_KEY: usize = 1_024;
/// Offsets between two records of one partition that are taken without asking the broker whether
/// its log reaches so far: more than any transaction or compaction leaves out at once.
pub const LOG_OFFSET_JUMP_MAX: i64 = 1 << 20;
/// Records that one look at the log reads again to compare them with what was applied; the others
/// have their turn at the next looks.
pub const LOG_DIGESTS_PER_LOOK: usize = 64;
/// Gaps of one topic that the state remembers.
pub const LOG_GAPS_MAX: usize = 1_024;
/// Rows that another writer has mixed, sorted at once for a scan that nobody is charged for, bytes.
pub const SORTED_SCAN_MAX_BYTES: usize = 256 << 20;
/// Files that the archive joins into one at a time.
pub const ARCHIVE_MERGE_MAX_FILES: usize = 256;
/// Bytes of the files that the archive joins into one at a time.
pub const ARCHIVE_MERGE_MAX_BYTES: u64 = 128 << 20;
/// Longest time for which the archive keeps what it has replaced, hours: no longer is known what
/// was replaced when.
pub const ARCHIVE_RETENTION_MAX_HOURS: u64 = 168;
/// How far the machine's clock may be from the newest date in the archive at a start, days, where
/// `archive.clock_gap_max_days` says nothing else: no row is dated by a clock that is further away.
pub const ARCHIVE_CLOCK_GAP_MAX_DAYS: u32 = 30;
/// How far a step may take the machine's clock while the process runs, minutes, for rows to be
/// dated by it and files to be deleted by their age: by the time that has passed nobody needs to
/// believe more.
pub const ARCHIVE_CLOCK_STEP_MAX_MINUTES: u32 = 10;
/// Archived rows, over all new views, that a fill may leave for the time in which ingest stands.
pub const FILL_REST_MAX_ROWS: u64 = 4_096;
/// Rounds beside ingest in which a fill must have come so far; then the change is refused.
pub const FILL_ROUNDS_MAX: usize = 32;
/// Files of one version of a model.
pub const MODEL_FILES_MAX: usize = 64;
/// Address that a worker announces, bytes.
pub const WORKER_ADDRESS_MAX_BYTES: usize = 256;
/// One text that a scalar function makes, bytes: a longer one is an error of its row.
pub const TEXT_MAX_BYTES: usize = 1 << 20;
/// Each text that `levenshtein` compares, characters: the time it takes grows with the square.
pub const LEVENSHTEIN_MAX_CHARS: usize = 1_024;
/// A compiled regular expression, bytes.
pub const REGEX_MAX_BYTES: usize = 1 << 20;
/// What one search by a regular expression may take: bytes of the text times bytes of the compiled
/// expression.
pub const REGEX_MAX_WORK: usize = 1 << 32;
