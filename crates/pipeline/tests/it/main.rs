//! The pipeline over stand-ins in memory: what a restart at any write, an outage of any part, any
//! arrival order and any batch cuts leave behind must be what the log says, no more and no less.
//! One binary, since each link takes long.

#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod admission;
mod archived_log;
mod backfill;
mod beginnings;
mod cuts;
mod identity;
mod lag;
mod outages;
mod prefix;
mod recovery;
mod repeats;
mod restarts;
mod scores;
mod scoring_memory;
mod stage;
mod status;
mod suspension;
mod time;
mod topics;
mod versions;
