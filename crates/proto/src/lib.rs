//! forebay-proto.
