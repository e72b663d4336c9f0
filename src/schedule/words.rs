//! The words of the schedule file: its keys, and the values that are one of a few words.

use super::{ArgsIn, CatchUp, End, Format, Overlap, Priority, StackState, Trigger};

/// A fixed set of words, each with what it means.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every word, in the order in which people are told of them.
    const ALL: &'static [(&'static str, Self)];

    /// The meaning of a word.
    fn of(text: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
    }

    /// Returns all words in a sentence: "`a`, `b`, `c`".
    fn listed() -> String {
        let words: Vec<String> = Self::ALL.iter().map(|(word, _)| format!("`{word}`")).collect();
        words.join(", ")
    }
}

/// A word that is a key of a mapping.
pub(super) trait Key: Word {
    /// The mapping's name in messages.
    const OF: &'static str;

    /// The key as it is written.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, key)| *key == self).map_or("", |(word, _)| word)
    }

    /// Returns the key's number, below [`MOST_KEYS`].
    fn index(self) -> usize;
}

/// The keys of an entry, the mapping that has the most.
pub(super) const MOST_KEYS: usize = EntryKey::ALL.len();

macro_rules! keys {
    ($(#[$doc:meta])* $name:ident, $of:literal: $($key:ident = $word:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($key),+ }

        impl Word for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, $name::$key)),+];
        }

        impl Key for $name {
            const OF: &'static str = $of;

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

keys! {
    /// The file itself.
    FileKey, "the schedule file":
    Timezone = "timezone", Accounts = "accounts", Notify = "notify", Calendars = "calendars",
    Defaults = "defaults", Jobs = "jobs",
}

keys! {
    /// One account.
    AccountKey, "an account":
    Url = "url", Token = "token", Timeout = "timeout", Quota = "quota", Shard = "shard",
    ArgsIn = "args_in", Organization = "organization",
}

keys! {
    /// Where a token is kept.
    TokenKey, "a token":
    Credential = "credential", Env = "env", File = "file",
}

keys! {
    /// An account's quota.
    QuotaKey, "a quota":
    Limit = "limit", Window = "window", Reserve = "reserve",
}

keys! {
    /// One entry, and the defaults of all.
    EntryKey, "an entry":
    Stack = "stack", Job = "job", Cron = "cron", After = "after", Timezone = "timezone", Args = "args", ArgsTemplate = "args_template", Account = "account",
    Overlap = "overlap", CatchUp = "catch_up", StartDeadline = "start_deadline", Jitter = "jitter",
    Priority = "priority", Idempotent = "idempotent", Follow = "follow", Paused = "paused", Retry = "retry",
    StackState = "stack_state", Notify = "notify", Ping = "ping", NotOn = "not_on", Expect = "expect",
}

keys! {
    /// How long an action takes.
    ExpectKey, "`expect`":
    AtLeast = "at_least", Within = "within",
}

keys! {
    /// Days and times on which entries are not run.
    CalendarKey, "a calendar":
    Dates = "dates", Cron = "cron", For = "for", Timezone = "timezone", File = "file", Until = "until",
}

keys! {
    /// How an entry's action is run again.
    RetryKey, "`retry`":
    Times = "times", After = "after",
}

keys! {
    /// A wait that grows.
    BackoffKey, "`after` of `retry`":
    First = "first", Factor = "factor", Most = "most",
}

keys! {
    /// The entry that another one follows.
    AfterKey, "`after`":
    Entry = "entry", On = "on",
}

keys! {
    /// Who is told.
    ReceiverKey, "a receiver":
    Webhook = "webhook", Format = "format", On = "on", LateAfter = "late_after",
}

impl Word for Format {
    const ALL: &'static [(&'static str, Self)] = &[("json", Format::Json), ("slack", Format::Slack)];
}

impl Word for Trigger {
    const ALL: &'static [(&'static str, Self)] = &[
        ("failed", Trigger::Failed),
        ("missed", Trigger::Missed),
        ("rejected", Trigger::Rejected),
        ("unknown", Trigger::Unknown),
        ("slow", Trigger::Slow),
        ("quick", Trigger::Quick),
        ("late", Trigger::Late),
        ("retried", Trigger::Retried),
        ("recovered", Trigger::Recovered),
    ];
}

impl Word for ArgsIn {
    const ALL: &'static [(&'static str, Self)] = &[("query", ArgsIn::Query), ("body", ArgsIn::Body)];
}

impl Word for Overlap {
    const ALL: &'static [(&'static str, Self)] =
        &[("allow", Overlap::Allow), ("skip", Overlap::Skip), ("queue", Overlap::Queue)];
}

impl Word for End {
    const ALL: &'static [(&'static str, Self)] =
        &[("success", End::Success), ("failure", End::Failure), ("end", End::End)];
}

impl Word for CatchUp {
    const ALL: &'static [(&'static str, Self)] =
        &[("none", CatchUp::None), ("latest", CatchUp::Latest), ("all", CatchUp::All)];
}

impl Word for StackState {
    const ALL: &'static [(&'static str, Self)] =
        &[("ignore", StackState::Ignore), ("hold", StackState::Hold), ("skip", StackState::Skip)];
}

impl Word for Priority {
    const ALL: &'static [(&'static str, Self)] =
        &[("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];
}

/// Keys of other schedulers, with the key that is meant here.
const ELSEWHERE: [(&str, &str); 14] = [
    ("organisation", "organization"),
    ("holidays", "calendars"),
    ("days", "dates"),
    ("duration", "for"),
    ("schedule", "cron"),
    ("crontab", "cron"),
    ("tz", "timezone"),
    ("zone", "timezone"),
    ("arguments", "args"),
    ("job_args", "args"),
    ("concurrency_policy", "overlap"),
    ("suspend", "paused"),
    ("entries", "jobs"),
    ("url", "webhook"),
];

/// The candidate that was most likely meant by a word, if any comes near.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // No candidate is half as long. A longer word would only cost time.
    if word.len() > 64 {
        return None;
    }
    let plain = plain(word);
    let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == plain).map(|(_, ours)| *ours);
    let mut best = None;
    for candidate in candidates {
        if elsewhere == Some(candidate) {
            return Some(candidate);
        }
        let distance = strsim::damerau_levenshtein(&plain, &self::plain(candidate));
        let near = distance <= (candidate.len() / 3).max(1) && distance < candidate.len();
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// `startDeadline`, `start-deadline` and `Start Deadline` are all `start_deadline`.
fn plain(word: &str) -> String {
    let mut plain = String::with_capacity(word.len() + 2);
    let mut after_small = false;
    for c in word.chars() {
        if c.is_uppercase() && after_small {
            plain.push('_');
        }
        after_small = c.is_lowercase();
        match c {
            '-' | ' ' => plain.push('_'),
            c => plain.extend(c.to_lowercase()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found() {
        let keys = || EntryKey::ALL.iter().map(|(word, _)| *word);
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
            assert_eq!(nearest(word, keys()), key, "{word}");
        }
    }

    #[test]
    fn each_key_has_a_number_of_its_own() {
        for (number, (word, key)) in EntryKey::ALL.iter().enumerate() {
            assert_eq!((key.index(), key.name()), (number, *word));
        }
    }
}
