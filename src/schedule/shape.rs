//! The table of the keys of the schedule file: type, default, explanation and example of each.
//!
//! The keys that the validation knows, the nearest right key for a misspelt one, the JSON Schema
//! and the manual page of the file come from it. The defaults are those of `defaults`, which the
//! validation takes too.

mod values;

use std::collections::BTreeMap;

use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};

pub(super) use self::values::words;
use self::values::{
    CalendarNames, Cron, Dates, Day, Duration, Name, Names, Positive, Reserve, Template, Timezone, Uid,
};
use super::defaults::{
    DEFAULT_FACTOR, DEFAULT_LATE_AFTER, DEFAULT_QUOTA, DEFAULT_START_DEADLINE, DEFAULT_TIMEOUT, DEFAULT_URL,
    MOST_FACTOR, MOST_TIMES,
};
use super::duration::Compact;
use super::words::{MappingKey, Word};
use super::{ArgsIn, CatchUp, End, Format, Overlap, Priority, StackState, Trigger};

/// The JSON Schema of the schedule file.
pub fn json_schema() -> Schema {
    let mut schema = schemars::schema_for!(FileShape);
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

/// Declares a mapping of the file: for the schema a structure, whose comments are what an editor
/// shows beside a key, and for the validation its keys. `$of` is the mapping's name in messages.
macro_rules! mapping {
    ($keys:ident, $of:literal: $(
        $(#[$meta:meta])*
        struct $name:ident = $definition:literal {$(
            $(#[$field_meta:meta])*
            $field:ident: $type:ty $(=> $key:ident)?,
        )*}
    )+) => {
        $(
            #[derive(JsonSchema)]
            #[schemars(deny_unknown_fields, rename = $definition)]
            #[expect(dead_code, reason = "the shape is described, never filled")]
            $(#[$meta])*
            struct $name {$(
                $(#[$field_meta])*
                $field: $type,
            )*}
        )+

        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $keys {
            $($($($key,)?)*)+
        }

        impl Word for $keys {
            const ALL: &'static [(&'static str, Self)] =
                &[$($($((key(stringify!($field)), $keys::$key),)?)*)+];
        }

        impl MappingKey for $keys {
            const OF: &'static str = $of;

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// Returns the key that a field is named after, without the mark of a word of Rust: `for`.
const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// The keys of an entry, the mapping that has the most.
pub(super) const MOST_KEYS: usize = EntryKey::ALL.len();

fn written(duration: std::time::Duration) -> String {
    Compact(duration).to_string()
}

mapping! {
    FileKey, "the schedule file":

    /// What stackcron runs, and when.
    ///
    /// Keys at the top level that begin with `x-` are a place for YAML anchors, and mean nothing.
    #[schemars(
        title = "stackcron schedule",
        extend("required" = ["jobs"], "patternProperties" = { "^x-": { "description": "A place for YAML anchors." } })
    )]
    struct FileShape = "File" {
        /// The time zone of every entry that names none.
        #[schemars(extend("default" = "UTC"))]
        timezone: Timezone => Timezone,
        /// The API tokens, each with a quota of its own. An entry need not name its account where
        /// there is only one.
        #[schemars(extend("defaultSnippets" = [{
            "label": "an account",
            "body": { "${1:main}": { "token": { "credential": "${2:cloud66-token}" } } },
        }]))]
        accounts: Option<BTreeMap<Name, AccountShape>> => Accounts,
        /// Who is told how occurrences end. An entry names them under its own `notify`.
        #[schemars(extend("defaultSnippets" = [{
            "label": "a receiver",
            "body": { "${1:ops}": { "webhook": { "credential": "${2:ops-webhook}" }, "format": "${3:json}" } },
        }]))]
        notify: Option<BTreeMap<Name, ReceiverShape>> => Notify,
        /// Days and windows of time on which entries are not run. An entry names them under its own
        /// `not_on`.
        #[schemars(extend("defaultSnippets" = [
            { "label": "a list of days", "body": { "${1:holidays}": { "dates": ["${2:2026-12-25}"], "until": "${3:2026-12-31}" } } },
            { "label": "a window", "body": { "${1:freeze}": { "cron": "${2:0 18 * * FRI}", "for": "${3:62h}" } } },
            { "label": "a file", "body": { "${1:company}": { "file": "${2:holidays.ics}" } } },
        ]))]
        calendars: Option<BTreeMap<Name, CalendarShape>> => Calendars,
        /// What holds for every entry that does not say otherwise.
        defaults: PoliciesShape => Defaults,
        /// The entries by name.
        #[schemars(extend("defaultSnippets" = [{
            "label": "an entry",
            "body": { "${1:nightly-report}": { "stack": "${2:uid}", "job": "${3:uid}", "cron": "${4:30 1 * * *}" } },
        }]))]
        jobs: Option<BTreeMap<Name, EntryShape>> => Jobs,
    }
}

mapping! {
    AccountKey, "an account":

    /// One API token with a quota of its own.
    #[schemars(extend("required" = ["token"]))]
    struct AccountShape = "Account" {
        /// The base of the API's paths.
        #[schemars(
            url,
            regex(pattern = "^https?://[^?#@]+$"),
            extend("default" = DEFAULT_URL, "examples" = [DEFAULT_URL])
        )]
        url: String => Url,
        /// Where the token is kept: `{ credential: NAME }`, `{ env: NAME }` or `{ file: PATH }`.
        /// Never the token itself.
        token: TokenShape => Token,
        /// How long one request may take: 5 minutes at most.
        #[schemars(extend("default" = written(DEFAULT_TIMEOUT), "examples" = ["10s", "30s", "1m"]))]
        timeout: Positive => Timeout,
        /// What is believed of the quota until an answer's headers say otherwise.
        quota: QuotaShape => Quota,
        /// Where several daemons share a journal: accounts of one shard are led by one of them, and
        /// other shards by others. Without it, an account belongs to the shard of all that name
        /// none.
        #[schemars(extend("examples" = ["east"]))]
        shard: Name => Shard,
        /// Where the `args` of its entries travel: in the query, as the vendor documents, or in a
        /// JSON body, as the vendor's client sends them, so that they are in no access log.
        #[schemars(extend("default" = ArgsIn::default().word()))]
        args_in: ArgsIn => ArgsIn,
        /// The number of an organisation, sent as `X-Account`: for a token whose user belongs to
        /// several.
        #[schemars(range(min = 1), extend("examples" = [1234]))]
        organization: u64 => Organization,
    }
}

mapping! {
    TokenKey, "a token":

    /// Where a token is kept: in one of three places.
    #[schemars(extend(
        "required" = [],
        "oneOf" = [{ "required": ["credential"] }, { "required": ["env"] }, { "required": ["file"] }],
    ))]
    struct TokenShape = "Token" {
        /// A systemd credential: `LoadCredential=NAME:PATH` in the unit.
        #[schemars(regex(pattern = r"^(?!\.{1,2}$)[^/]+$"), extend("examples" = ["cloud66-token"]))]
        credential: String => Credential,
        /// An environment variable.
        #[schemars(regex(pattern = "^[^=]+$"), extend("examples" = ["CLOUD66_TOKEN"]))]
        env: String => Env,
        /// A file, of which the last newline is no part of the token.
        #[schemars(length(min = 1), extend("examples" = ["/etc/stackcron/token"]))]
        file: String => File,
    }
}

mapping! {
    QuotaKey, "a quota":

    /// An account's quota.
    #[schemars(extend("required" = [], "type" = ["object", "null"]))]
    struct QuotaShape = "Quota" {
        /// Requests in one window.
        #[schemars(range(min = 1, max = 4_294_967_295_u32), extend("default" = DEFAULT_QUOTA.limit, "examples" = [3600, 3000]))]
        limit: u32 => Limit,
        /// The interval after which the count starts anew.
        #[schemars(extend("default" = written(DEFAULT_QUOTA.window), "examples" = ["1h", "30m"]))]
        window: Positive => Window,
        /// What the schedule never uses, and leaves to people and CI on the same token: a number of
        /// requests, or a share.
        #[schemars(extend("default" = "5%"))]
        reserve: Reserve => Reserve,
    }
}

mapping! {
    EntryKey, "an entry":

    /// A stack/job pair, when it is due, and its policies.
    #[schemars(extend(
        "required" = ["stack", "job"],
        "oneOf" = [{ "required": ["cron"] }, { "required": ["after"] }],
    ))]
    struct EntryShape = "Entry" {
        /// The uid of the stack.
        stack: Uid => Stack,
        /// The uid of the job.
        job: Uid => Job,
        /// When it is due: one expression in quotes, or a list of them: minute, hour, day of the
        /// month, month, day of the week; with six fields the seconds come first. `@daily` and its
        /// like are short for one.
        cron: Cron => Cron,
        /// Instead of `cron`: due when the action of this entry has ended with success, or as `on`
        /// says. Its occurrences have the scheduled instants of that entry.
        #[schemars(extend("examples" = ["nightly-report", { "entry": "nightly-report", "on": "failure" }]))]
        after: AfterShape => After,
        #[schemars(flatten)]
        policies: PoliciesShape,
    }

    /// How entries behave.
    #[schemars(extend("required" = [], "type" = ["object", "null"]))]
    struct PoliciesShape = "Policies" {
        /// The time zone in which the expressions are read. The file's where none is named.
        timezone: Timezone => Timezone,
        /// One string, sent as `job_args` exactly as written.
        #[schemars(extend("examples" = ["--full '2 days'"]))]
        args: String => Args,
        /// Instead of `args`: one string with fields that each occurrence fills in the entry's
        /// zone: `{scheduled_at}`, `{date}`, `{time}`, `{unix}` and `{entry}`. `{{` is a brace.
        #[schemars(extend("examples" = ["--day {date}"]))]
        args_template: Template => ArgsTemplate,
        /// The account whose token starts the job, by its name under `accounts`. The only one where
        /// there is only one.
        account: Name => Account,
        /// What to do while this entry's last action is unfinished.
        #[schemars(extend("default" = Overlap::default().word()))]
        overlap: Overlap => Overlap,
        /// Which occurrences are sent of those that wait because the daemon was down or the quota
        /// spent.
        #[schemars(extend("default" = CatchUp::default().word()))]
        catch_up: CatchUp => CatchUp,
        /// An occurrence that is not sent this long after it came due is missed.
        #[schemars(extend("default" = written(DEFAULT_START_DEADLINE), "examples" = ["10m", "1h", "1h 30m", "2d"]))]
        start_deadline: Positive => StartDeadline,
        /// The entry's own delay is drawn from 0 to this, the same every time, so that periods stay
        /// exact.
        #[schemars(extend("default" = "0s", "examples" = ["30s", "5m", "1h"]))]
        jitter: Duration => Jitter,
        /// Who goes first when the quota is short.
        #[schemars(extend("default" = Priority::default().word()))]
        priority: Priority => Priority,
        /// An attempt whose outcome is unknown may be sent again.
        #[schemars(extend("default" = false))]
        idempotent: bool => Idempotent,
        /// Ask for the action until it has finished, and log how it did.
        #[schemars(extend("default" = true))]
        follow: bool => Follow,
        /// Send nothing; the occurrences are skipped.
        #[schemars(extend("default" = false))]
        paused: bool => Paused,
        /// Run the action again when it ended without success. `follow` needed.
        #[schemars(extend("examples" = [{ "times": 2, "after": "10m" }]))]
        retry: RetryShape => Retry,
        /// What to do while the stack deploys or is in maintenance, or the job is paused in Cloud
        /// 66.
        #[schemars(extend("default" = StackState::default().word()))]
        stack_state: StackState => StackState,
        /// The receivers that are told how its occurrences end: one, or a list. An empty list is
        /// nobody.
        notify: Names => Notify,
        /// Asked when the job has succeeded; with `/start` when it starts and `/fail` when it
        /// fails, is missed, rejected or unknown. As healthchecks.io and what is like it have it.
        #[schemars(extend("examples" = ["https://hc-ping.com/your-uuid"]))]
        ping: AddressShape => Ping,
        /// Calendars, by their names under `calendars`: one, or a list. An occurrence that falls on
        /// one of them is skipped. An empty list is none.
        not_on: CalendarNames => NotOn,
        /// How long an action takes when all is well. `action.quick` tells when one ends sooner,
        /// `action.slow` while one runs longer; nothing is stopped. `follow` is needed.
        expect: ExpectShape => Expect,
    }
}

mapping! {
    ExpectKey, "`expect`":

    /// How long an action takes when all is well.
    #[schemars(extend(
        "required" = [],
        "anyOf" = [{ "required": ["at_least"] }, { "required": ["within"] }],
    ))]
    struct ExpectShape = "Expect" {
        /// One that ends sooner has done less than it should.
        #[schemars(extend("examples" = ["10s"]))]
        at_least: Positive => AtLeast,
        /// One that runs longer is slow.
        #[schemars(extend("examples" = ["30m"]))]
        within: Positive => Within,
    }
}

mapping! {
    CalendarKey, "a calendar":

    /// Days and times on which the entries that name it are not run: a list of days, a window that
    /// opens again and again, or a file.
    #[schemars(extend(
        "required" = [],
        "oneOf" = [{ "required": ["dates"] }, { "required": ["cron", "for"] }, { "required": ["file"] }],
    ))]
    struct CalendarShape = "Calendar" {
        /// Days and ranges of days, whole ones in the zone of each entry: one, or a list.
        dates: Dates => Dates,
        /// When a window opens: one expression in quotes, or a list of them.
        cron: Cron => Cron,
        /// How long the window stays open, in elapsed time.
        #[schemars(extend("examples" = ["62h", "90m", "2d"]))]
        r#for: Positive => For,
        /// The time zone in which the expressions of the window are read. The file's where none is
        /// named.
        timezone: Timezone => Timezone,
        /// A file with a date or a range of dates a line, `#` before comments; or an iCalendar
        /// file, whose name ends in `.ics`. Beside the schedule file unless the path is absolute.
        #[schemars(length(min = 1), extend("examples" = ["holidays.txt", "holidays.ics"]))]
        file: String => File,
        /// The last day that the list is kept for. `check`, the log and `status` warn from thirty
        /// days before.
        until: Day => Until,
    }
}

mapping! {
    RetryKey, "`retry`":

    /// How often, and when, an action that ended without success is run again.
    #[schemars(extend("required" = ["times"]))]
    struct RetryShape = "Retry" {
        /// Repetitions at most. 0 switches off what the defaults have.
        #[schemars(range(min = 0, max = MOST_TIMES), extend("examples" = [2]))]
        times: u32 => Times,
        /// From the end of a run to the next one; or a wait that grows.
        #[schemars(extend("examples" = ["10m", { "first": "1m", "factor": 2, "most": "1h" }]))]
        after: Wait => After,
    }
}

mapping! {
    BackoffKey, "`after` of `retry`":

    /// A wait that grows.
    #[schemars(extend("required" = ["first"]))]
    struct BackoffShape = "Backoff" {
        /// Before the first repetition.
        first: Positive => First,
        /// Each further wait is so many times as long as the one before.
        #[schemars(range(min = 1.0, max = MOST_FACTOR), extend("default" = DEFAULT_FACTOR))]
        factor: f64 => Factor,
        /// No wait is longer.
        most: Positive => Most,
    }
}

mapping! {
    AfterKey, "`after`":

    /// The entry that another one follows, and which of its ends.
    #[schemars(extend("required" = ["entry"]))]
    struct EndedShape = "Ended" {
        /// The name of the entry.
        #[schemars(extend("examples" = ["nightly-report"]))]
        entry: Name => Entry,
        /// Which of its ends.
        #[schemars(extend("default" = End::default().word()))]
        on: End => On,
    }
}

mapping! {
    ReceiverKey, "a receiver":

    /// Who is told, by a webhook.
    #[schemars(extend("required" = ["webhook"]))]
    struct ReceiverShape = "Receiver" {
        /// The address that is posted to, or where it is kept.
        #[schemars(extend("examples" = [{ "credential": "ops-webhook" }]))]
        webhook: AddressShape => Webhook,
        /// What is posted.
        #[schemars(extend("default" = Format::default().word()))]
        format: Format => Format,
        /// What it is told of: one word, or a list. All of them when absent.
        #[schemars(extend("default" = Trigger::DEFAULT.map(Trigger::word)))]
        on: On => On,
        /// How late an occurrence starts that it is told of as `late`.
        #[schemars(extend("default" = written(DEFAULT_LATE_AFTER), "examples" = ["1m", "10m"]))]
        late_after: Positive => LateAfter,
    }
}

/// A wait, or one that grows.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum Wait {
    Fixed(Positive),
    Growing(BackoffShape),
}

/// The entry that another one follows, by its name, or with which of its ends.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "After")]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum AfterShape {
    Success(Name),
    On(EndedShape),
}

/// An address, or the place that keeps it as a token is kept.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Address")]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum AddressShape {
    Written(
        #[schemars(url, regex(pattern = "^https?://."), extend("examples" = ["https://hc-ping.com/your-uuid"]))]
        String,
    ),
    Kept(TokenShape),
}

/// One trigger, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the shape is described, never filled")]
enum On {
    One(Trigger),
    Several(#[schemars(length(min = 1))] Vec<Trigger>),
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::super::words::nearest;
    use super::*;

    fn schema() -> Value {
        json_schema().to_value()
    }

    fn properties(schema: &Value) -> &Map<String, Value> {
        schema["properties"].as_object().expect("an object has properties")
    }

    fn keys_of<K: MappingKey>() -> Vec<&'static str> {
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
        let keys = |name: &str| properties(&schema["$defs"][name]).keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys("Calendar"), keys_of::<CalendarKey>());
        assert_eq!(keys("Entry"), keys_of::<EntryKey>());
        assert_eq!(keys("Policies"), keys_of::<EntryKey>()[4..], "all but the first four have defaults");
    }

    #[test]
    fn each_key_has_a_number_of_its_own() {
        for (number, (word, key)) in EntryKey::ALL.iter().enumerate() {
            assert_eq!((key.index(), key.word()), (number, *word));
        }
    }

    #[test]
    fn the_nearest_key_is_found() {
        for (word, key) in [
            ("crn", Some("cron")),
            ("corn", Some("cron")),
            ("startDeadline", Some("start_deadline")),
            ("catch-up", Some("catch_up")),
            ("Stack", Some("stack")),
            ("tz", Some("timezone")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys_of::<EntryKey>()), key, "{word}");
        }
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
