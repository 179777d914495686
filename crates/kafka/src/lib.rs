//! forebay-kafka.
