//! forebay-telemetry.
