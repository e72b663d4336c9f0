//! The grammar of `--fault`: parsing and printing.

use std::fmt;
use std::mem::discriminant;
use std::str::FromStr;
use std::time::Duration;

use super::{Fault, FaultEffect, FaultKind, FaultOrder};
use crate::sandbox::http::Endpoint;
use crate::schedule::duration;

/// Text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The first word is no kind.
    #[error("`{given}` is no kind of fault{}", did_you_mean(*.nearest))]
    UnknownKind {
        /// As written.
        given: String,
        /// The kind that is written most like it.
        nearest: Option<&'static str>,
    },
    /// A key that no fault, or not this kind, has.
    #[error("`{kind}` has no `{key}`{}", did_you_mean(*.nearest))]
    UnknownKey {
        /// The kind.
        kind: String,
        /// As written.
        key: String,
        /// The key that is written most like it.
        nearest: Option<&'static str>,
    },
    /// A kind without the value it needs, or with one it does not have, or a value that is not
    /// right.
    #[error("write `{key}={expected}`, not `{given}`")]
    BadValue {
        /// The kind or the key.
        key: String,
        /// As written.
        given: String,
        /// The values that the key takes, for the error message.
        expected: &'static str,
    },
    /// A kind that takes no value has one.
    #[error("`{0}` takes no value")]
    NoValueHere(String),
}

impl Fault {
    /// The names of all kinds.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, _)| *name)
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

/// Every kind by its name, with what it is when nothing more is written.
static KINDS: [(&str, FaultKind); 21] = [
    ("status", FaultKind::Status(500, FaultEffect::None)),
    ("not-implemented", FaultKind::NotImplemented),
    ("throttled", FaultKind::Throttled(None)),
    ("429", FaultKind::TooManyRequests(None)),
    ("redirect", FaultKind::Redirect(String::new())),
    ("html-502", FaultKind::Html502(FaultEffect::None)),
    ("close-before", FaultKind::CloseBefore),
    ("close-after", FaultKind::CloseAfter),
    ("reset-mid-body", FaultKind::ResetMidBody),
    ("slow", FaultKind::Slow(Duration::ZERO, FaultOrder::EffectFirst)),
    ("drip", FaultKind::Drip(Duration::from_millis(1))),
    ("garbage", FaultKind::Garbage),
    ("huge", FaultKind::Huge),
    ("endless", FaultKind::Endless),
    ("bare", FaultKind::Bare),
    ("retyped", FaultKind::Retyped),
    ("missing-fields", FaultKind::MissingFields),
    ("no-headers", FaultKind::NoHeaders),
    ("odd-headers", FaultKind::OddHeaders),
    ("warning", FaultKind::Warning),
    ("header-flood", FaultKind::HeaderFlood),
];

static KEYS: [&str; 9] = ["on", "stack", "job", "every", "p", "times", "effect", "retry-after", "to"];

static ENDPOINTS: [(&str, Endpoint); 8] = [
    ("run_now", Endpoint::RunNow),
    ("actions", Endpoint::Actions),
    ("action", Endpoint::Action),
    ("jobs", Endpoint::Jobs),
    ("job", Endpoint::Job),
    ("stacks", Endpoint::Stacks),
    ("stack", Endpoint::Stack),
    ("ping", Endpoint::Ping),
];

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Fault, FaultError> {
        let (kind_text, keys_text) = text.split_once(':').unwrap_or((text, ""));
        let (kind_name, value) = match kind_text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (kind_text, None),
        };
        let mut fault = Fault::new(kind_of(kind_name, value)?);
        for (key, value) in pairs(keys_text) {
            fault.set(kind_name, key, &value)?;
        }
        if let FaultKind::Redirect(to) = &fault.kind
            && to.is_empty()
        {
            return Err(bad_value("redirect:to", "", "URL"));
        }
        Ok(fault)
    }
}

impl Fault {
    fn set(&mut self, kind: &str, key: &str, value: &str) -> Result<(), FaultError> {
        let positive = || match value.parse::<u64>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(bad_value(key, value, "N, a whole number from 1")),
        };
        match (key, &mut self.kind) {
            ("on", _) => self.on = on(value)?,
            ("stack", _) => self.stack = Some(value.to_owned()),
            ("job", _) => self.job = Some(value.to_owned()),
            ("every", _) => self.every = positive()?,
            ("times", _) => self.times = Some(positive()?),
            ("p", _) => match value.parse() {
                Ok(chance) if (0.0..=1.0).contains(&chance) => self.probability = chance,
                _ => return Err(bad_value(key, value, "CHANCE, a number from 0 to 1")),
            },
            ("effect", FaultKind::Status(_, effect) | FaultKind::Html502(effect)) => match value {
                "none" => *effect = FaultEffect::None,
                "first" => *effect = FaultEffect::First,
                _ => return Err(bad_value(key, value, "none or effect=first")),
            },
            ("effect", FaultKind::Slow(_, order)) => match value {
                "first" => *order = FaultOrder::EffectFirst,
                "last" => *order = FaultOrder::EffectLast,
                _ => return Err(bad_value(key, value, "first or effect=last")),
            },
            ("retry-after", FaultKind::Throttled(after) | FaultKind::TooManyRequests(after)) => {
                *after = Some(header_value(key, value)?);
            }
            ("to", FaultKind::Redirect(to)) => *to = header_value(key, value)?,
            _ => {
                return Err(FaultError::UnknownKey {
                    kind: kind.to_owned(),
                    key: key.to_owned(),
                    nearest: nearest(key, KEYS),
                });
            }
        }
        Ok(())
    }
}

fn kind_of(name: &str, value: Option<&str>) -> Result<FaultKind, FaultError> {
    let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) else {
        return Err(FaultError::UnknownKind {
            given: name.to_owned(),
            nearest: nearest(name, KINDS.iter().map(|(known, _)| *known)),
        });
    };
    let mut kind = kind.clone();
    match (&mut kind, value) {
        (FaultKind::Status(status, _), value) => {
            let value = value.unwrap_or("");
            match value.parse() {
                Ok(number @ 400..=599) => *status = number,
                _ => return Err(bad_value(name, value, "N, from 400 to 599")),
            }
        }
        (FaultKind::Drip(_), None) => {}
        (FaultKind::Slow(duration, _) | FaultKind::Drip(duration), value) => {
            let value = value.unwrap_or("");
            *duration =
                duration::parse(value).map_err(|_| bad_value(name, value, "DURATION, as 500ms or 2s"))?;
        }
        (_, None) => {}
        (_, Some(_)) => return Err(FaultError::NoValueHere(name.to_owned())),
    }
    Ok(kind)
}

/// The `KEY=VALUE` pairs. A piece without `=` continues the value before it: an HTTP date has a
/// comma in it.
fn pairs(text: &str) -> Vec<(&str, String)> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for piece in text.split(',') {
        match (piece.split_once('='), pairs.last_mut()) {
            (Some((key, value)), _) => pairs.push((key.trim(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(piece);
            }
            (None, None) if piece.is_empty() => {}
            (None, None) => pairs.push((piece.trim(), String::new())),
        }
    }
    pairs
}

fn on(value: &str) -> Result<Option<Endpoint>, FaultError> {
    if value == "any" {
        return Ok(None);
    }
    match ENDPOINTS.iter().find(|(name, _)| *name == value) {
        Some(&(_, endpoint)) => Ok(Some(endpoint)),
        None => {
            Err(bad_value("on", value, "run_now, actions, action, jobs, job, stacks, stack, ping or any"))
        }
    }
}

fn header_value(key: &str, value: &str) -> Result<String, FaultError> {
    if value.is_empty() || value.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        return Err(bad_value(key, value, "TEXT, of printable ASCII"));
    }
    Ok(value.to_owned())
}

fn bad_value(key: &str, given: &str, expected: &'static str) -> FaultError {
    FaultError::BadValue { key: key.to_owned(), given: given.to_owned(), expected }
}

/// The word most like the given one, if it is like one at all.
fn nearest(given: &str, words: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(given, word), word))
        .filter(|(distance, word)| (1..=word.len().div_ceil(3)).contains(distance))
        .min()
        .map(|(_, word)| word)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(_, kind)| discriminant(kind) == discriminant(&self.kind));
        f.write_str(name.map_or("", |(name, _)| name))?;
        let mut keys: Vec<(&str, String)> = Vec::new();
        match &self.kind {
            FaultKind::Status(status, _) => write!(f, "={status}")?,
            FaultKind::Slow(duration, _) | FaultKind::Drip(duration) => {
                write!(f, "={}ms", duration.as_millis())?
            }
            _ => {}
        }
        match &self.kind {
            FaultKind::Status(_, FaultEffect::First) | FaultKind::Html502(FaultEffect::First) => {
                keys.push(("effect", "first".into()))
            }
            FaultKind::Slow(_, FaultOrder::EffectLast) => keys.push(("effect", "last".into())),
            FaultKind::Throttled(Some(after)) | FaultKind::TooManyRequests(Some(after)) => {
                keys.push(("retry-after", after.clone()));
            }
            FaultKind::Redirect(to) => keys.push(("to", to.clone())),
            _ => {}
        }
        match self.on {
            Some(Endpoint::RunNow) => {}
            None => keys.push(("on", "any".into())),
            Some(on) => {
                let name = ENDPOINTS.iter().find(|(_, endpoint)| *endpoint == on);
                keys.extend(name.map(|(name, _)| ("on", (*name).to_owned())));
            }
        }
        keys.extend(self.stack.clone().map(|stack| ("stack", stack)));
        keys.extend(self.job.clone().map(|job| ("job", job)));
        if self.every > 1 {
            keys.push(("every", self.every.to_string()));
        }
        if self.probability < 1.0 {
            keys.push(("p", self.probability.to_string()));
        }
        keys.extend(self.times.map(|times| ("times", times.to_string())));
        for (place, (key, value)) in keys.iter().enumerate() {
            let before = if place == 0 { ':' } else { ',' };
            write!(f, "{before}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Fault>().expect_err("no fault").to_string()
    }

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for text in [
            "status=500",
            "status=504:effect=first,stack=S1,job=J1,times=3",
            "not-implemented:on=any",
            "throttled:retry-after=30",
            "429:retry-after=Wed, 21 Oct 2026 07:28:00 GMT,times=1",
            "redirect:to=http://127.0.0.1:9/x,every=2",
            "html-502:effect=first",
            "close-before:every=3,p=0.25",
            "close-after",
            "reset-mid-body",
            "slow=1500ms:effect=last,on=actions",
            "drip=2ms:on=ping",
            "garbage",
            "huge",
            "endless:on=action",
            "bare",
            "retyped:on=jobs",
            "missing-fields",
            "no-headers",
            "odd-headers",
            "warning",
            "header-flood:on=stacks",
        ] {
            let fault: Fault = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn a_wrong_fault_says_what_to_write() {
        for (text, expected) in [
            ("", "`` is no kind of fault"),
            ("close-befor", "`close-befor` is no kind of fault; did you mean `close-before`?"),
            ("status", "write `status=N, from 400 to 599`, not ``"),
            ("status=200", "write `status=N, from 400 to 599`, not `200`"),
            ("garbage=1", "`garbage` takes no value"),
            ("slow=soon", "write `slow=DURATION, as 500ms or 2s`, not `soon`"),
            ("garbage:tims=3", "`garbage` has no `tims`; did you mean `times`?"),
            ("garbage:effect=first", "`garbage` has no `effect`"),
            ("garbage:times=0", "write `times=N, a whole number from 1`, not `0`"),
            ("garbage:p=2", "write `p=CHANCE, a number from 0 to 1`, not `2`"),
            ("slow=1s:effect=none", "write `effect=first or effect=last`, not `none`"),
            ("redirect", "write `redirect:to=URL`, not ``"),
            (
                "garbage:on=run",
                "write `on=run_now, actions, action, jobs, job, stacks, stack, ping or any`, not `run`",
            ),
            ("429:retry-after=a\r\nb", "write `retry-after=TEXT, of printable ASCII`, not `a\r\nb`"),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }
}
