//! Serving over loopback: real listeners over fakes of the ports, read through the crate's own
//! client and through plain Flight messages as other clients send them. Bad input is refused with a
//! typed error, and the server goes on.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod action;
mod bounds;
mod columns;
mod conformance;
mod exchange;
mod failed;
mod gaps;
mod get;
mod hostile;
mod http;
mod memory;
mod put;
mod pyarrow;
mod read;
mod receive;
mod shutdown;
mod times;
mod wire;
mod world;
