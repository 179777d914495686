//! Every limit of Forebay, named, with its unit. The README's table repeats them; each has a test that reaches it.
//! Settings may lower most of them; nothing may raise them silently.

/// Definition file, bytes.
pub const DEFINITION_FILE_MAX_BYTES: usize = 1 << 20;
/// Text of one SQL statement, bytes.
pub const SQL_MAX_BYTES: usize = 64 << 10;
/// Tokens of one SQL statement.
pub const SQL_MAX_TOKENS: usize = 20_000;
/// Operators chained at one level of an SQL expression (a longer chain overflows the planner's stack).
pub const SQL_MAX_CHAINED_OPERATORS: usize = 256;
/// Branches of UNION and the like in one statement.
pub const SQL_MAX_SET_BRANCHES: usize = 64;
/// Columns of one source.
pub const SOURCE_MAX_COLUMNS: usize = 1_024;
/// Features of one view.
pub const VIEW_MAX_FEATURES: usize = 512;
/// Views in one catalog.
pub const CATALOG_MAX_VIEWS: usize = 1_024;
/// One Kafka record, key and value, bytes.
pub const EVENT_MAX_BYTES: usize = 1 << 20;
/// Nesting of one JSON event.
pub const EVENT_MAX_DEPTH: usize = 16;
/// Raw bytes that a dead letter keeps.
pub const DEAD_LETTER_PAYLOAD_MAX_BYTES: usize = 64 << 10;
/// How far an event's time may lie ahead of its Kafka record's time, microseconds.
pub const EVENT_FUTURE_MAX_US: i64 = 10 * 60 * 1_000_000;
/// Rows of one micro-batch.
pub const EPOCH_MAX_ROWS: usize = 8_192;
/// Encoded entity key, bytes.
pub const KEY_MAX_BYTES: usize = 1 << 10;
/// Rows of one read request.
pub const REQUEST_MAX_ROWS: usize = 10_000;
/// One request message, bytes.
pub const REQUEST_MAX_BYTES: usize = 4 << 20;
/// One response message, bytes.
pub const RESPONSE_MAX_BYTES: usize = 16 << 20;
/// Nesting of one JSON request.
pub const REQUEST_MAX_DEPTH: usize = 32;
/// Requests in flight on one DoExchange stream.
pub const EXCHANGE_MAX_IN_FLIGHT: usize = 256;
/// Streams of one connection.
pub const CONNECTION_MAX_STREAMS: u32 = 128;
/// Longest deadline a request may ask for, milliseconds.
pub const REQUEST_DEADLINE_MAX_MS: u64 = 60_000;
/// Rows of one training-set spine.
pub const SPINE_MAX_ROWS: usize = 50_000_000;
/// Shards of one deployment.
pub const SHARDS_MAX: u16 = 256;
/// Model file, bytes.
pub const MODEL_FILE_MAX_BYTES: usize = 256 << 20;
/// Trees of one model.
pub const MODEL_MAX_TREES: usize = 100_000;
/// Nodes of one tree.
pub const MODEL_MAX_NODES_PER_TREE: usize = 1 << 22;
/// Features of one model.
pub const MODEL_MAX_FEATURES: usize = 4_096;
/// Records waiting in the outbox of one shard before ingest pauses.
pub const OUTBOX_MAX_RECORDS: usize = 100_000;
/// Bins that a monitor keeps per column.
pub const MONITOR_MAX_BINS: usize = 512;
/// Predictions that wait for a label, per monitor.
pub const MONITOR_MAX_PENDING: usize = 10_000_000;
