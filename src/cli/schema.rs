//! `stackcron schema`: the JSON Schema of the schedule file, for an editor.

use super::{CommandEnd, output};
use crate::schedule::shape;

/// Prints the schema.
pub fn run() -> anyhow::Result<CommandEnd> {
    let mut text = serde_json::to_vec_pretty(&shape::json_schema())?;
    text.push(b'\n');
    output::print(&text)
}
