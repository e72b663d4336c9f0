//! Words of the schedule file: a fixed set of them, and which one a misspelt word was meant to be.

/// A fixed set of words, each with what it means.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every word, in the order in which people are told of them.
    const ALL: &'static [(&'static str, Self)];

    /// The meaning of a word.
    fn of(text: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
    }

    /// The word as it is written.
    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, meaning)| *meaning == self).map_or("", |(word, _)| word)
    }

    /// Returns all words in a sentence: "`a`, `b`, `c`".
    fn listed() -> String {
        let words: Vec<String> = Self::ALL.iter().map(|(word, _)| format!("`{word}`")).collect();
        words.join(", ")
    }
}

/// A word that is a key of a mapping.
pub(super) trait MappingKey: Word {
    /// The mapping's name in messages.
    const OF: &'static str;

    /// Returns the key's number, below `MOST_KEYS`.
    fn index(self) -> usize;
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
