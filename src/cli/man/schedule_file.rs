//! The manual page of the schedule file, from its schema.

use clap_mangen::roff::{Roff, bold};
use serde_json::{Map, Value};

use super::{ManPage, SCHEDULE_FILE, head, item, literal, marked, paragraphs, see_also};
use crate::schedule::shape;

/// The parts of the schema that have a section of their own, with its heading. Others, with one or
/// two keys, follow under their own names.
const SECTIONS: &[(&str, &str)] = &[
    ("Account", "ACCOUNTS"),
    ("Token", "TOKENS AND ADDRESSES"),
    ("Quota", "QUOTA"),
    ("Entry", "ENTRIES"),
    ("Ended", "AFTER"),
    ("Retry", "RETRY"),
    ("Backoff", "GROWING WAITS"),
    ("Expect", "EXPECT"),
    ("Receiver", "NOTIFY"),
    ("Calendar", "CALENDARS"),
];

/// The part of the schema whose keys are those of an entry.
const DEFAULTS: &str = "Policies";

const EXAMPLE: &str = include_str!("example.yaml");

pub(super) fn page() -> ManPage {
    let schema = shape::json_schema().to_value();
    let mut roff = head(SCHEDULE_FILE, '5', "which jobs of which Cloud 66 stacks run, and when");
    roff.control("SH", ["DESCRIPTION"]);
    paragraphs(
        &mut roff,
        "The schedule file is YAML, or JSON. A running daemon reads it when it changes, and on SIGHUP; a file with a \
         mistake changes nothing. `stackcron check` shows every mistake with its place and what to write instead, and \
         `stackcron schema` prints the definitions below for an editor.\n\n\
         Durations are written as `500ms`, `90s`, `5m`, `1h 30m` or `2d`. Names have up to 64 letters, digits, `.`, `_` \
         and `-`, and begin with a letter or a digit. Unknown and duplicate keys are errors.",
    );
    roff.control("SH", ["TOP LEVEL"]);
    keys(&mut roff, &schema, &schema);
    let parts = schema["$defs"].as_object().cloned().unwrap_or_default();
    let heading = |part: &str| SECTIONS.iter().find(|(known, _)| *known == part).map(|(_, heading)| *heading);
    let listed =
        SECTIONS.iter().filter_map(|(part, heading)| Some((parts.get(*part)?, (*heading).to_owned())));
    let others = parts.iter().filter(|(part, _)| heading(part).is_none() && *part != DEFAULTS);
    let others = others.map(|(part, shape)| (shape, part.to_uppercase()));
    for (part, heading) in listed.chain(others) {
        if part.get("properties").is_some() {
            roff.control("SH", [heading.as_str()]);
            paragraphs(&mut roff, part["description"].as_str().unwrap_or_default());
            keys(&mut roff, part, &schema);
        }
    }
    roff.control("SH", ["EXAMPLE"]);
    literal(&mut roff, EXAMPLE);
    roff.control("SH", ["FILES"]);
    item(&mut roff, vec![bold("/etc/stackcron/schedule.yaml")], "The schedule file of the packaged service.");
    let schema = "The schema of this file, for editors.";
    item(&mut roff, vec![bold("/usr/share/stackcron/schedule.schema.json")], schema);
    see_also(
        &mut roff,
        ["stackcron(1)", "stackcron-check(1)", "stackcron-next(1)", "stackcron-schema(1)", "crontab(5)"],
    );
    ManPage { name: SCHEDULE_FILE.to_owned(), section: '5', roff }
}

/// The keys of a part of the schema.
fn keys(roff: &mut Roff, part: &Value, schema: &Value) {
    let none = Map::new();
    let required: Vec<&str> =
        part["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, shape) in part["properties"].as_object().unwrap_or(&none) {
        let definition = referred(shape, schema);
        let mut description = shape["description"].as_str().unwrap_or_default().to_owned();
        if required.contains(&key.as_str()) {
            description += " Required.";
        }
        item(roff, vec![bold(key.as_str())], &description);
        words(roff, definition.unwrap_or(shape));
        let example = shape["examples"].get(0).or_else(|| definition?["examples"].get(0));
        let mut rest = Vec::new();
        if let Some(default) = shape.get("default") {
            rest.push(format!("Default: `{}`.", written(default)));
        }
        if let Some(example) = example {
            rest.push(format!("Example: `{key}: {}`", written(example)));
        }
        if !rest.is_empty() {
            roff.control("IP", []);
            roff.text(marked(&rest.join(" ")));
        }
    }
}

/// The part that a shape refers to.
fn referred<'s>(shape: &'s Value, schema: &'s Value) -> Option<&'s Value> {
    let name = shape["$ref"].as_str()?.strip_prefix("#/$defs/")?;
    schema["$defs"].get(name)
}

/// The words that a key takes, each with its meaning.
fn words(roff: &mut Roff, shape: &Value) {
    let Some(words) = shape["enum"].as_array() else { return };
    roff.control("RS", []);
    for (at, word) in words.iter().enumerate() {
        let meaning = shape["enumDescriptions"].get(at).and_then(Value::as_str).unwrap_or_default();
        item(roff, vec![bold(written(word))], meaning);
    }
    roff.control("RE", []);
}

/// A value as the schedule file has it, on one line.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) if plain(text) => text.clone(),
        Value::String(text) => format!("\"{text}\""),
        Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key}: {}", written(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Returns true when YAML reads a text without quotes as that text.
fn plain(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '%' | ' ');
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(inner)
        && !text.contains(": ")
        && !text.contains(" *")
}
