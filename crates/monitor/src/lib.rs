//! forebay-monitor.
