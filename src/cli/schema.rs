//! `stackcron schema`: the JSON Schema of the schedule file.
