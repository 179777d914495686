//! From the settings to the options of the online store. Every option comes from a setting, so that
//! none can be reached from code alone: the struct is written out without a default. `app` opens the
//! store with it; the settings were validated before.

use std::num::NonZeroU32;

use forebay_online::OnlineOptions;

use crate::settings::Settings;

/// The options that the settings ask for.
pub(crate) fn online_options(settings: &Settings) -> OnlineOptions {
    let state = &settings.state;
    OnlineOptions {
        shards: state.shards,
        history_us: settings.history_us(),
        table_bytes: state.hot_table_mib << 20,
        cache_bytes: state.cache_mib << 20,
        write_buffer_bytes: state.write_buffer_mib << 20,
        applied_kept_epochs: state.kept_epochs,
        background_threads: state.background_threads,
        background_write_bytes_per_second: NonZeroU32::new(
            state.background_write_mib_per_second << 20,
        ),
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::time::HOUR_US;

    use super::*;

    #[test]
    fn the_defaults_of_the_settings_are_those_of_the_store_but_for_the_history() {
        let settings = Settings::default();
        let expected = OnlineOptions {
            history_us: 168 * HOUR_US,
            ..OnlineOptions::default()
        };
        assert_eq!(online_options(&settings), expected);
    }

    #[test]
    fn every_setting_reaches_its_option() {
        let mut settings = Settings::default();
        settings.state.hot_table_mib = 7;
        settings.state.kept_epochs = 9;
        settings.state.background_threads = 3;
        settings.state.background_write_mib_per_second = 5;
        let options = online_options(&settings);
        assert_eq!(options.table_bytes, 7 << 20);
        assert_eq!(
            (options.applied_kept_epochs, options.background_threads),
            (9, 3)
        );
        let rate = options.background_write_bytes_per_second;
        assert_eq!(rate.map(NonZeroU32::get), Some(5 << 20));
    }
}
