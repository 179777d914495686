//! The online store as the server sees it: from the settings to its options, and from its health to
//! the end of the process. Every option comes from a setting, so that none can be reached from code
//! alone: the struct is written out without a default. `app` opens the store with it; the settings
//! were validated before.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use forebay_core::ports::{StateHealth, StoreHealth};
use forebay_core::{ErrorKind, PortError};
use forebay_online::OnlineOptions;

use crate::settings::Settings;
use crate::settings::memory::Shares;

/// The options that the settings ask for, with `shard_files` of each shard open at once.
pub(crate) fn online_options(
    settings: &Settings,
    shares: &Shares,
    shard_files: Option<NonZeroU16>,
) -> OnlineOptions {
    let state = &settings.state;
    OnlineOptions {
        shards: state.shards,
        history_us: settings.history_us(),
        table_bytes: shares.hot_table,
        cache_bytes: shares.cache,
        write_buffer_bytes: shares.write_buffer,
        applied_kept_epochs: state.kept_epochs,
        background_threads: state.background_threads,
        background_write_bytes_per_second: NonZeroU32::new(
            state.background_write_mib_per_second << 20,
        ),
        open_files_max: shard_files,
    }
}

/// How often the health of the store is looked at.
const HEALTH_POLL: Duration = Duration::from_secs(1);

/// Wait until a part of the state will not be written again by this process. A restart opens it
/// anew, or says what is damaged; staying half alive would only hide it.
pub(crate) async fn until_lost(store: &dyn StateHealth) -> PortError {
    loop {
        if let Some(error) = loss(store.health()) {
            return error;
        }
        tokio::time::sleep(HEALTH_POLL).await;
    }
}

/// What ends the process.
fn loss(health: StoreHealth) -> Option<PortError> {
    let StoreHealth::Lost { why } = health else {
        return None;
    };
    let words = format!(
        "the state cannot be written any more ({why}); check the disk of the data directory and start the server again"
    );
    Some(PortError::new(ErrorKind::Unavailable, words))
}

#[cfg(test)]
mod tests {
    use forebay_core::time::HOUR_US;

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_store_but_for_the_history_and_the_hot_table() {
        let settings = Settings::default();
        let shares = Shares::of(&settings, 8 << 30).expect("enough");
        let expected = OnlineOptions {
            history_us: 168 * HOUR_US,
            table_bytes: shares.hot_table,
            ..OnlineOptions::default()
        };
        assert_eq!(online_options(&settings, &shares, None), expected);
    }

    #[test]
    fn only_a_lost_state_ends_the_process_and_says_why() {
        let why = || "shard 3: no".to_owned();
        assert!(loss(StoreHealth::Well).is_none());
        assert!(loss(StoreHealth::Troubled { why: why() }).is_none());
        let error = loss(StoreHealth::Lost { why: why() }).expect("it ends");
        assert_eq!(error.kind().exit_code(), 3, "something outside");
        assert!(error.message().contains(&why()), "{error}");
    }

    #[test]
    fn every_setting_reaches_its_option() {
        let mut settings = Settings::default();
        settings.state.hot_table_mib = 7;
        settings.state.kept_epochs = 9;
        settings.state.background_threads = 3;
        settings.state.background_write_mib_per_second = 5;
        let shares = Shares::of(&settings, 8 << 30).expect("enough");
        let options = online_options(&settings, &shares, NonZeroU16::new(40));
        assert_eq!(options.table_bytes, 7 << 20);
        assert_eq!(
            (options.applied_kept_epochs, options.background_threads),
            (9, 3)
        );
        let rate = options.background_write_bytes_per_second;
        assert_eq!(rate.map(NonZeroU32::get), Some(5 << 20));
        assert_eq!(options.open_files_max.map(NonZeroU16::get), Some(40));
    }
}
