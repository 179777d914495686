//! forebay-infer.
