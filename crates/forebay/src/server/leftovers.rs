//! State of views beside the definitions: what no definition names is deleted, and definitions that
//! name what the state has never had are refused. `control` decides; here are its views.

use std::sync::Arc;

use anyhow::{Context, Result};
use forebay_control::{Leftovers, begin_states, delete_leftovers};
use forebay_engine::Catalog;

use super::app::App;
use super::catalog_file::catalog_path;

impl App {
    /// The state under the `saved` definitions, with which the server starts.
    pub(super) fn begin_states(&self, saved: &Catalog) -> Result<()> {
        let views = saved.views().values();
        let views: Vec<_> = views.map(|view| Arc::clone(view.spec())).collect();
        let file = catalog_path(&self.settings.server.data_dir);
        // A build that takes them again finds the state, and that it was not used meanwhile.
        let kept = saved.broken().filter_map(|broken| broken.view_id).collect();
        begin_states(self.store.as_ref(), &views, &kept)
            .with_context(|| format!("the definitions in {}", file.display()))
    }

    /// Delete the state that `catalog`, which is in force, does not name.
    pub(super) fn drop_leftovers(&self, catalog: &Catalog) -> Result<()> {
        let named = catalog.view_ids().collect();
        Ok(delete_leftovers(
            self.store.as_ref(),
            &named,
            Leftovers::All,
        )?)
    }
}
