//! forebay-serve.
