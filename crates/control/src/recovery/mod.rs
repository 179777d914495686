//! What becomes of an ingest that has ended by itself: a shard that was refused for good, a defect.
//! What fails alone (a source, a table, a deployment) heals where it runs; here is only what no
//! part can be left out of. Ingest is started again with growing pauses ([`ends`]), as an apply
//! would; where that does not help the process ends with the reason, and its supervisor's restart
//! opens the state anew. Tables that a start had to set aside are looked at here too ([`mending`]).
//!
//! Decides when, on the clock that it is given; the server ([`RecoveryHost`]) does it.

mod ends;
mod host;
mod mending;

use std::time::Duration;

use forebay_core::ports::Runtime;
use forebay_core::{ErrorKind, PortError};

use ends::{Ends, STARTS_MAX};
pub use host::{Cause, RecoveryHost};
use mending::Mending;

use crate::table_looks::TableLooks;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Start ingest again whenever it has ended by itself, and once one of the tables that are set
/// aside can be used by what `looks` finds; why, once starts do not help.
pub async fn until_ingest_is_lost<H: RecoveryHost>(
    host: &H,
    looks: &TableLooks,
    runtime: &dyn Runtime,
) -> PortError {
    let (mut ends, mut mending) = (Ends::default(), Mending::default());
    loop {
        runtime.sleep(LOOK_EVERY).await;
        if host.is_changing() {
            continue;
        }
        let Some(why) = host.ended() else {
            if let Some(cause) = mended(host, looks, (&mut mending, runtime.elapsed())).await
                && let Err(error) = host.begin_anew(cause).await
            {
                return error;
            }
            continue;
        };
        let Some(pause) = ends.ended(runtime.elapsed()) else {
            let words = format!(
                "ingest has ended {STARTS_MAX} times after one another ({why}); mend what the words name and start the server again"
            );
            return PortError::new(ErrorKind::Unavailable, words);
        };
        tracing::warn!(
            reason = why,
            ?pause,
            "ingest has ended and is started again"
        );
        runtime.sleep(pause).await;
        if let Err(error) = host.begin_anew(Cause::Ended).await {
            return error;
        }
        if host.ended().is_none() {
            ends.runs(runtime.elapsed());
        }
    }
}

/// Look at the tables that are set aside, when that is due. Ingest of all others stands while it
/// begins anew, so that is asked for only once a table is open, and one whose rows could not be
/// read has given every row.
async fn mended<H: RecoveryHost>(
    host: &H,
    looks: &TableLooks,
    (mending, now): (&mut Mending, Duration),
) -> Option<Cause> {
    let (aside, sources) = host.aside();
    if !mending.is_due(aside.why.keys().cloned().collect(), now) {
        return None;
    }
    let common = looks.common();
    let unusable = looks.open(aside.to_open(sources, common)).await;
    let begins = aside.begins_anew(common, &unusable, |table| looks.is_whole(table));
    begins.then(|| {
        tracing::info!("a table that was set aside can be used again");
        Cause::Mended(aside)
    })
}

#[cfg(test)]
mod tests;
