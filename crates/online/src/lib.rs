//! forebay-online.
