//! Where a machine that is launched now belongs.

use std::path::Path;
use std::sync::Arc;

use super::alone::Alone;
use super::context;
use crate::artifacts::{self, RunDir, TestPath};
use crate::error::Result;
use crate::machine::Home;

/// The test that runs, or a home of its own with its files below `artifact_dir`.
pub(super) fn find(artifact_dir: Option<&Path>) -> Result<Arc<dyn Home>> {
    if let Some(context) = context::current() {
        return Ok(context);
    }
    let root = artifact_dir.map_or_else(artifacts::root, Path::to_owned);
    let run = RunDir::create(&root, &TestPath::of_this_thread())?;
    Ok(Arc::new(Alone::new(run)))
}
