//! The shape of the schedule file, from which its JSON Schema is made.
//!
//! The types mirror what `validate` reads, and their comments are what an editor shows beside a key. The tests hold
//! keys, words and defaults against the validation's own.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{CatchUp, Format, Overlap, Priority, Trigger, duration};

/// The JSON Schema of the schedule file.
pub fn json_schema() -> Schema {
    schemars::schema_for!(File)
}

/// What stackcron runs, and when.
///
/// Keys at the top level that begin with `x-` are a place for YAML anchors, and mean nothing.
#[derive(JsonSchema)]
#[schemars(
    title = "stackcron schedule",
    deny_unknown_fields,
    extend("required" = [], "patternProperties" = { "^x-": true })
)]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct File {
    /// The time zone of every entry that names none.
    #[schemars(extend("default" = "UTC"))]
    timezone: Timezone,
    /// The API tokens, each with a quota of its own. An entry need not name its account where there is only one.
    accounts: Option<BTreeMap<Name, Account>>,
    /// Who is told how occurrences end. An entry names them under its own `notify`.
    notify: Option<BTreeMap<Name, Receiver>>,
    /// What holds for every entry that does not say otherwise.
    defaults: Option<Policies>,
    /// The entries by name.
    jobs: Option<BTreeMap<Name, Entry>>,
}

/// One API token with a quota of its own.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["token"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Account {
    /// The base of the API's paths.
    #[schemars(url, regex(pattern = "^https?://[^?#@]+$"), extend("default" = "https://app.cloud66.com/api/3"))]
    url: String,
    /// Where the token is kept.
    token: Token,
    /// How long one request may take.
    #[schemars(extend("default" = "30s"))]
    timeout: Duration,
    /// What is believed of the quota until an answer's headers say otherwise.
    quota: Option<Quota>,
}

/// Where a token is kept: in one of three places.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum Token {
    /// A systemd credential: `LoadCredential=NAME:PATH` in the unit.
    Credential(#[schemars(regex(pattern = "^[^/]+$"), extend("examples" = ["cloud66-token"]))] String),
    /// An environment variable.
    Env(#[schemars(regex(pattern = "^[^=]+$"), extend("examples" = ["CLOUD66_TOKEN"]))] String),
    /// A file, of which the last newline is no part of the token.
    File(#[schemars(length(min = 1), extend("examples" = ["/etc/stackcron/token"]))] String),
}

/// An account's quota.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Quota {
    /// Requests in one window.
    #[schemars(range(min = 1), extend("default" = 3600))]
    limit: u32,
    /// The interval after which the count starts anew.
    #[schemars(extend("default" = "1h"))]
    window: Duration,
    /// What the schedule never uses, and leaves to people and CI on the same token: a number of requests, or a share.
    #[schemars(extend("default" = "5%"))]
    reserve: Reserve,
}

/// A stack/job pair, when it is due, and its policies.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["stack", "job", "cron"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Entry {
    /// The uid of the stack.
    stack: Uid,
    /// The uid of the job.
    job: Uid,
    /// When it is due: one expression, or a list of them.
    cron: Cron,
    #[schemars(flatten)]
    policies: Policies,
}

/// How entries behave.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = []))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Policies {
    /// The time zone in which the expressions are read. The file's where none is named.
    timezone: Timezone,
    /// One string, sent as `job_args` exactly as written.
    #[schemars(extend("examples" = ["--full '2 days'"]))]
    args: String,
    /// The account whose token starts the job. The only one where there is only one.
    account: Name,
    /// What to do while this entry's last action is unfinished.
    #[schemars(extend("default" = "allow"))]
    overlap: Overlap,
    /// Which occurrences are sent of those that wait because the daemon was down or the quota spent.
    #[schemars(extend("default" = "latest"))]
    catch_up: CatchUp,
    /// An occurrence that is not sent this long after it came due is missed.
    #[schemars(extend("default" = "1h"))]
    start_deadline: Duration,
    /// The entry's own delay is drawn from 0 to this, the same every time, so that periods stay exact.
    #[schemars(extend("default" = "0s"))]
    jitter: Duration,
    /// Who goes first when the quota is short.
    #[schemars(extend("default" = "normal"))]
    priority: Priority,
    /// An attempt whose outcome is unknown may be sent again.
    #[schemars(extend("default" = false))]
    idempotent: bool,
    /// Ask for the action until it has finished, and log how it did.
    #[schemars(extend("default" = true))]
    follow: bool,
    /// Send nothing; the occurrences are skipped.
    #[schemars(extend("default" = false))]
    paused: bool,
    /// The receivers that are told how its occurrences end: one, or a list. An empty list is nobody.
    notify: Names,
    /// Asked when the job has succeeded; with `/start` when it starts and `/fail` when it fails, is missed, rejected or
    /// unknown. As healthchecks.io and what is like it have it.
    ping: Address,
}

/// Who is told, by a webhook.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["webhook"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Receiver {
    /// The address that is posted to, or where it is kept.
    webhook: Address,
    /// What is posted.
    #[schemars(extend("default" = "json"))]
    format: Format,
    /// What it is told of: one word, or a list. All of them when absent.
    #[schemars(extend("default" = ["failed", "missed", "rejected", "unknown", "recovered"]))]
    on: On,
}

/// An address, or the place that keeps it as a token is kept.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum Address {
    Written(
        #[schemars(url, regex(pattern = "^https?://."), extend("examples" = ["https://hc-ping.com/your-uuid"]))]
        String,
    ),
    Kept(Token),
}

/// One trigger, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum On {
    One(Trigger),
    Several(#[schemars(length(min = 1))] Vec<Trigger>),
}

/// A type whose schema is written out.
macro_rules! plain {
    ($name:ident, $schema:tt) => {
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
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

plain!(Name, { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" });
plain!(Names, {
    "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string", "minLength": 1 } },
    ],
    "examples": ["ops", ["ops", "team-chat"]],
});
plain!(Duration, {
    "type": "string", "pattern": (duration::PATTERN), "examples": ["500ms", "90s", "5m", "1h 30m", "2d"],
});
plain!(Timezone, { "type": "string", "minLength": 1, "examples": ["Europe/London", "America/New_York", "UTC"] });
// An editor takes a uid of digits alone for a number. It is read as the text that it is.
plain!(Uid, {
    "anyOf": [{ "type": "string", "pattern": "^\\S+$" }, { "type": "number" }],
    "examples": ["5999b763474b0eafa5fafb64bff0ba80"],
});
plain!(Cron, {
    "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
    ],
    "examples": ["30 1 * * *", "*/15 * * * MON-FRI", "@daily", ["0 9 * * *", "0 17 * * *"]],
});
plain!(Reserve, {
    "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": (u32::MAX) },
        { "type": "string", "pattern": "^(\\d+\\.?\\d*|\\.\\d+)\\s*%$" },
    ],
    "examples": ["5%", 180],
});

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::super::words::{AccountKey, EntryKey, FileKey, Key, QuotaKey, ReceiverKey, TokenKey, Word};
    use super::*;

    fn schema() -> Value {
        json_schema().to_value()
    }

    fn properties(schema: &Value) -> &Map<String, Value> {
        schema["properties"].as_object().expect("an object has properties")
    }

    fn keys_of<K: Key>() -> Vec<&'static str> {
        K::ALL.iter().map(|(word, _)| *word).collect()
    }

    fn words_of<W: Word>() -> Vec<&'static str> {
        let mut words: Vec<_> = W::ALL.iter().map(|(word, _)| *word).collect();
        words.sort_unstable();
        words
    }

    #[test]
    fn the_schema_has_the_keys_of_the_validation() {
        let schema = schema();
        let defs = &schema["$defs"];
        let keys = |schema: &Value| properties(schema).keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&schema), keys_of::<FileKey>());
        assert_eq!(keys(&defs["Account"]), keys_of::<AccountKey>());
        assert_eq!(keys(&defs["Quota"]), keys_of::<QuotaKey>());
        assert_eq!(keys(&defs["Receiver"]), keys_of::<ReceiverKey>());
        assert_eq!(keys(&defs["Entry"]), keys_of::<EntryKey>());
        assert_eq!(
            keys(&defs["Policies"]),
            keys_of::<EntryKey>()[3..],
            "all but the first three have defaults"
        );
        let places = defs["Token"]["oneOf"].as_array().expect("one of several");
        assert_eq!(places.iter().flat_map(keys).collect::<Vec<_>>(), keys_of::<TokenKey>());
    }

    #[test]
    fn the_schema_has_the_words_of_the_validation() {
        let words = |name: &str| {
            let schema = schema();
            let choices = schema["$defs"][name]["oneOf"].as_array().expect("one of several");
            let mut words: Vec<String> =
                choices.iter().map(|choice| choice["const"].as_str().expect("a word").to_owned()).collect();
            words.sort_unstable();
            words
        };
        assert_eq!(words("Overlap"), words_of::<Overlap>());
        assert_eq!(words("CatchUp"), words_of::<CatchUp>());
        assert_eq!(words("Priority"), words_of::<Priority>());
        assert_eq!(words("Format"), words_of::<Format>());
        assert_eq!(words("Trigger"), words_of::<Trigger>());
    }

    /// The defaults of a definition, as a mapping of a schedule file.
    fn defaults(name: &str) -> Map<String, Value> {
        let schema = schema();
        let with_default =
            |(key, property): (&String, &Value)| Some((key.clone(), property.get("default")?.clone()));
        properties(&schema["$defs"][name]).iter().filter_map(with_default).collect()
    }

    #[test]
    fn what_the_schema_calls_a_default_is_one() {
        let bare = serde_json::json!({
            "accounts": { "main": { "token": { "env": "T" } } },
            "jobs": { "a": { "stack": "s", "job": "j", "cron": "@daily" } },
        });
        let mut spelt = bare.clone();
        spelt["timezone"] = properties(&schema())["timezone"]["default"].clone();
        spelt["defaults"] = defaults("Policies").into();
        let account = spelt["accounts"]["main"].as_object_mut().expect("an account");
        account.append(&mut defaults("Account"));
        account.insert("quota".into(), defaults("Quota").into());
        assert_eq!(spelt["defaults"].as_object().map(Map::len), Some(8), "{spelt}");

        let parsed = |value: Value| {
            let text = value.to_string();
            super::super::parse("s.json", &text)
                .map(|loaded| loaded.schedule.entries)
                .map_err(|e| e.to_string())
        };
        assert_eq!(parsed(spelt), parsed(bare));
    }

    #[test]
    fn every_key_is_explained() {
        let schema = schema();
        let defs = schema["$defs"].as_object().expect("definitions");
        let objects =
            [&schema].into_iter().chain(defs.values()).filter(|def| def.get("properties").is_some());
        for (key, property) in objects.flat_map(properties) {
            assert!(property["description"].is_string(), "`{key}` has a description");
        }
    }
}
