//! forebay-testkit.
