//! The state of the machine in a file. It has no RAM: the tables in it are made when somebody looks.

use crate::{agent::SavedAgents, machine::Machine};
use serde_json::{Value, json};

/// Writes the machine into the file of a URI.
pub(crate) fn write(machine: &Machine, arguments: &Value) -> Result<(), String> {
    let saved = machine.lock().agents.as_ref().map(|agents| agents.saved()).unwrap_or_default();
    let text = serde_json::to_vec(&saved).map_err(|why| why.to_string())?;
    std::fs::write(path(arguments)?, text).map_err(|why| why.to_string())
}

/// Reads the machine from it.
pub(crate) fn read(machine: &Machine, arguments: &Value) -> Result<(), String> {
    let text = std::fs::read(path(arguments)?).map_err(|why| why.to_string())?;
    let saved: SavedAgents = serde_json::from_slice(&text).map_err(|why| why.to_string())?;
    machine.lock().saved = Some(saved);
    Ok(())
}

/// Returns the answer to `query-migrate`.
pub(crate) fn progress(machine: &Machine) -> Value {
    match machine.lock().unsavable {
        true => json!({"status": "failed", "error-desc": "No space left on device"}),
        false => json!({"status": "completed"}),
    }
}

fn path(arguments: &Value) -> Result<&str, String> {
    let uri = arguments["uri"].as_str().unwrap_or_default();
    uri.strip_prefix("file:").ok_or_else(|| format!("{uri} is not the URI of a file"))
}
