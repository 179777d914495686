//! What serving asks of the binary beside core's ports, one file each: where pushed events go, who
//! carries out administration, and what the watermarks are. All are optional but the watermarks.
//! They name types of core and arrow only, so that an adapter needs nothing of the transport.

mod admin;
mod sink;
mod watermarks;

pub use admin::AdminPort;
pub use sink::{EventSink, PushReceipt};
pub use watermarks::Watermarks;
