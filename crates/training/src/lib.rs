//! forebay-training.
