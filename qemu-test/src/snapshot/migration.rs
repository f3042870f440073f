//! What saving and restoring have in common: QEMU's migration, to and from a pipe.

use std::time::Duration;

use serde_json::json;

use crate::Machine;
use crate::error::{Error, Result};
use crate::qmp::{Command, EventFilter};

/// The name under which QEMU gets our end of the pipe.
pub(super) const FD: &str = "qemu-test-state";

/// How long the state may take. It is small: the RAM is not in it.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn uri() -> String {
    format!("fd:{FD}")
}

/// Says how it is to be done, on either side.
pub(super) fn prepare(vm: &Machine) -> Result<()> {
    let on = |capability: &str| json!({ "capability": capability, "state": true });
    let capabilities = json!({ "capabilities": [on("events"), on("x-ignore-shared")] });
    vm.command(Command::new("migrate-set-capabilities").arguments(capabilities))
        .map(drop)
}

/// Waits until it is done.
pub(super) fn completed(vm: &Machine) -> Result<()> {
    let end = |status: &str| EventFilter::new("MIGRATION").data(json!({ "status": status }));
    let event = vm.wait_event(EventFilter::any([end("completed"), end("failed")]), LIMIT)?;
    if event.data["status"] == "completed" {
        return Ok(());
    }
    let why = vm.command("query-migrate")?["error-desc"]
        .as_str()
        .map(str::to_owned);
    Err(Error::other(
        why.unwrap_or_else(|| "QEMU does not say why it failed".to_owned()),
    ))
}
