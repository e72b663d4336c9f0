//! Writes the diagnostics of `check` as SARIF 2.1.0, which code hosts show beside the lines of the
//! file.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::schedule::{Diagnostic, Severity};

/// Writes one log with one run.
pub(super) fn write(diagnostics: &[&Diagnostic], out: &mut impl Write) -> io::Result<()> {
    let rules: BTreeMap<String, Value> =
        diagnostics.iter().map(|diagnostic| (rule(diagnostic), json!({ "id": rule(diagnostic) }))).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "stackcron",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_values().collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": diagnostics.iter().map(|diagnostic| result(diagnostic)).collect::<Vec<_>>(),
        }],
    });
    serde_json::to_writer_pretty(&mut *out, &log)?;
    out.write_all(b"\n")
}

/// The code of a diagnostic, as JSON has it.
fn rule(diagnostic: &Diagnostic) -> String {
    let code = serde_json::to_value(diagnostic.code).ok();
    code.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn result(diagnostic: &Diagnostic) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut location = json!({ "artifactLocation": { "uri": uri(&diagnostic.path) } });
    if let Some(place) = &diagnostic.place {
        location["region"] = json!({ "startLine": place.line, "startColumn": place.column });
    }
    json!({
        "ruleId": rule(diagnostic),
        "level": level,
        "message": { "text": format!("{}\n{}", diagnostic.message, diagnostic.help) },
        "locations": [{ "physicalLocation": location }],
    })
}

/// A path as a reference: relative ones stay so, for a code host looks from the root of the
/// repository.
fn uri(path: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let encoded = percent_encoding::utf8_percent_encode(path, KEPT).to_string();
    match encoded.strip_prefix('/') {
        Some(absolute) => format!("file:///{absolute}"),
        None => encoded,
    }
}
