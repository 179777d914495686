//! forebay-offline.
