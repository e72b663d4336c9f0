//! Faults: what goes wrong, with which requests, and how a person writes it.
//!
//! ```text
//! KIND[=VALUE][:KEY=VALUE[,KEY=VALUE...]]        status=500:job=backup,times=3
//! ```
//!
//! | kind | what happens | took effect | counts against the quota |
//! |---|---|---|---|
//! | `status=N` | the status N with its documented body | no; `effect=first`: yes | yes |
//! | `not-implemented` | 503 that does not mean throttled | no | yes |
//! | `throttled` | 503 throttled though quota is left; `retry-after=TEXT` | no | yes |
//! | `429` | 429; `retry-after=TEXT` | no | yes |
//! | `redirect:to=URL` | 307 | no | yes |
//! | `html-502` | a proxy's page, without quota headers | no; `effect=first`: yes | only with `effect=first` |
//! | `close-before` | the connection is closed, nothing answered | no | no |
//! | `close-after` | the connection is closed, nothing answered | yes | yes |
//! | `reset-mid-body` | the head and half of the body, then a reset | yes | yes |
//! | `slow=DURATION` | the answer comes late; `effect=last`: so does the effect, even when the client has gone | yes | yes |
//! | `drip[=DURATION]` | the answer comes byte by byte, with this pause (1 ms) after each | yes | yes |
//! | `garbage` | the body is neither JSON nor text | yes | yes |
//! | `huge` | the body is JSON of over 1 MiB | yes | yes |
//! | `endless` | the body never ends | yes | yes |
//! | `bare` | the body lacks the `response` around it | yes | yes |
//! | `retyped` | numbers are strings and strings numbers, newer fields are there | yes | yes |
//! | `missing-fields` | of an action only the id is told | yes | yes |
//! | `no-headers` | the quota headers are absent | yes | yes |
//! | `odd-headers` | they are in odd case and not numbers | yes | yes |
//! | `warning` | `X-Cloud66-Warning` is there | yes | yes |
//! | `header-flood` | so are 2,000 more headers | yes | yes |
//!
//! Which requests: `on=run_now|actions|action|jobs|job|stacks|stack|any` (run_now when absent), `stack=UID`, `job=UID`; of
//! those, `every=N`, then `p=0.1` by the seed of the sandbox, then `times=N` at most. Several faults can meet one request.
//! A request that the spent quota refuses meets none but `html-502` and `close-before`, which stand before the quota.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::http::{Endpoint, Target};

/// Something that goes wrong with some requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// The call it goes wrong with; any when absent.
    pub on: Option<Endpoint>,
    /// The stack it goes wrong with; any when absent.
    pub stack: Option<String>,
    /// The job it goes wrong with; any when absent.
    pub job: Option<String>,
    /// Every how many of those requests. At least 1.
    pub every: u64,
    /// With which chance, 0 to 1.
    pub probability: f64,
    /// How many times at most.
    pub times: Option<u64>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A status with its documented body.
    Status(u16, Effect),
    /// 503 that does not mean throttled.
    NotImplemented,
    /// 503 throttled out of turn.
    Throttled(Option<RetryAfter>),
    /// 429.
    TooManyRequests(Option<RetryAfter>),
    /// 307 to this place.
    Redirect(String),
    /// A proxy's page.
    Html502(Effect),
    /// Closed, and nothing happened.
    CloseBefore,
    /// Closed, and it happened.
    CloseAfter,
    /// Head and half of the body, then a reset.
    ResetMidBody,
    /// Held back this long.
    Slow(Duration, Order),
    /// Byte by byte, with this pause after each.
    Drip(Duration),
    /// A body that cannot be read.
    Garbage,
    /// A body of over 1 MiB.
    Huge,
    /// A body without end.
    Endless,
    /// Without `response` around it.
    Bare,
    /// Other JSON types, more fields.
    Retyped,
    /// Of an action only the id.
    MissingFields,
    /// Without quota headers.
    NoHeaders,
    /// With quota headers that are not numbers.
    OddHeaders,
    /// With `X-Cloud66-Warning`.
    Warning,
    /// With 2,000 more headers.
    HeaderFlood,
}

/// The text of a `Retry-After` header: seconds, a date, or nonsense.
pub type RetryAfter = String;

/// Whether a request that is answered with a failure took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// It did not.
    #[default]
    None,
    /// It did.
    First,
}

/// Whether the effect comes before or after a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The effect at once, the answer late.
    #[default]
    EffectFirst,
    /// Both late.
    EffectLast,
}

/// Where a fault strikes on a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the API: the quota never hears of the request.
    Proxy,
    /// In the API: the request has been counted.
    Api,
}

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
    /// A kind without the value it needs, or with one it does not have, or a value that is not right.
    #[error("write `{key}={expected}`, not `{given}`")]
    BadValue {
        /// The kind or the key.
        key: String,
        /// As written.
        given: String,
        /// What can be written.
        expected: &'static str,
    },
    /// A kind that takes no value has one.
    #[error("`{0}` takes no value")]
    NoValueHere(String),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

const KINDS: [&str; 21] = [
    "status",
    "not-implemented",
    "throttled",
    "429",
    "redirect",
    "html-502",
    "close-before",
    "close-after",
    "reset-mid-body",
    "slow",
    "drip",
    "garbage",
    "huge",
    "endless",
    "bare",
    "retyped",
    "missing-fields",
    "no-headers",
    "odd-headers",
    "warning",
    "header-flood",
];

const KEYS: [&str; 9] = ["on", "stack", "job", "every", "p", "times", "effect", "retry-after", "to"];

/// The pause of `drip` when none is written.
const DRIP: Duration = Duration::from_millis(1);

const ENDPOINTS: [(&str, Endpoint); 7] = [
    ("run_now", Endpoint::RunNow),
    ("actions", Endpoint::Actions),
    ("action", Endpoint::Action),
    ("jobs", Endpoint::Jobs),
    ("job", Endpoint::Job),
    ("stacks", Endpoint::Stacks),
    ("stack", Endpoint::Stack),
];

impl Fault {
    /// This kind, with every run_now.
    pub fn new(kind: Kind) -> Fault {
        Fault {
            kind,
            on: Some(Endpoint::RunNow),
            stack: None,
            job: None,
            every: 1,
            probability: 1.0,
            times: None,
        }
    }

    pub(super) fn place(&self) -> Place {
        match self.kind {
            Kind::Html502(Effect::None) | Kind::CloseBefore => Place::Proxy,
            _ => Place::Api,
        }
    }

    pub(super) fn selects(&self, target: &Target) -> bool {
        let matches = |wanted: &Option<String>, given: &Option<String>| wanted.is_none() || wanted == given;
        self.on.is_none_or(|endpoint| endpoint == target.endpoint)
            && matches(&self.stack, &target.stack)
            && matches(&self.job, &target.job)
    }
}

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
        if let Kind::Redirect(to) = &fault.kind
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
            ("effect", Kind::Status(_, effect) | Kind::Html502(effect)) => match value {
                "none" => *effect = Effect::None,
                "first" => *effect = Effect::First,
                _ => return Err(bad_value(key, value, "none or effect=first")),
            },
            ("effect", Kind::Slow(_, order)) => match value {
                "first" => *order = Order::EffectFirst,
                "last" => *order = Order::EffectLast,
                _ => return Err(bad_value(key, value, "first or effect=last")),
            },
            ("retry-after", Kind::Throttled(after) | Kind::TooManyRequests(after)) => {
                *after = Some(header_value(key, value)?);
            }
            ("to", Kind::Redirect(to)) => *to = header_value(key, value)?,
            _ => {
                return Err(FaultError::UnknownKey {
                    kind: kind.to_owned(),
                    key: key.to_owned(),
                    nearest: nearest(key, &KEYS),
                });
            }
        }
        Ok(())
    }
}

fn kind_of(name: &str, value: Option<&str>) -> Result<Kind, FaultError> {
    let duration = |value: &str| match super::duration(value) {
        Some(duration) => Ok(duration),
        None => Err(bad_value(name, value, "DURATION, as 500ms or 2s")),
    };
    Ok(match (name, value) {
        ("status", value) => {
            let value = value.unwrap_or("");
            match value.parse() {
                Ok(status @ 400..=599) => Kind::Status(status, Effect::default()),
                _ => return Err(bad_value(name, value, "N, from 400 to 599")),
            }
        }
        ("slow", value) => Kind::Slow(duration(value.unwrap_or(""))?, Order::default()),
        ("drip", None) => Kind::Drip(DRIP),
        ("drip", Some(value)) => Kind::Drip(duration(value)?),
        (name, Some(_)) if KINDS.contains(&name) => return Err(FaultError::NoValueHere(name.to_owned())),
        ("not-implemented", _) => Kind::NotImplemented,
        ("throttled", _) => Kind::Throttled(None),
        ("429", _) => Kind::TooManyRequests(None),
        ("redirect", _) => Kind::Redirect(String::new()),
        ("html-502", _) => Kind::Html502(Effect::default()),
        ("close-before", _) => Kind::CloseBefore,
        ("close-after", _) => Kind::CloseAfter,
        ("reset-mid-body", _) => Kind::ResetMidBody,
        ("garbage", _) => Kind::Garbage,
        ("huge", _) => Kind::Huge,
        ("endless", _) => Kind::Endless,
        ("bare", _) => Kind::Bare,
        ("retyped", _) => Kind::Retyped,
        ("missing-fields", _) => Kind::MissingFields,
        ("no-headers", _) => Kind::NoHeaders,
        ("odd-headers", _) => Kind::OddHeaders,
        ("warning", _) => Kind::Warning,
        ("header-flood", _) => Kind::HeaderFlood,
        _ => {
            return Err(FaultError::UnknownKind { given: name.to_owned(), nearest: nearest(name, &KINDS) });
        }
    })
}

/// The `KEY=VALUE` pairs. A piece without `=` continues the value before it: an HTTP date has a comma in it.
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
        None => Err(bad_value("on", value, "run_now, actions, action, jobs, job, stacks, stack or any")),
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

fn nearest(given: &str, words: &[&'static str]) -> Option<&'static str> {
    words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(given, word), *word))
        .filter(|(distance, word)| (1..=word.len().div_ceil(3)).contains(distance))
        .min()
        .map(|(_, word)| word)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys: Vec<String> = Vec::new();
        let mut key = |name: &str, value: &dyn fmt::Display| keys.push(format!("{name}={value}"));
        let kind = match &self.kind {
            Kind::Status(status, effect) => {
                if *effect == Effect::First {
                    key("effect", &"first");
                }
                &format!("status={status}")
            }
            Kind::Html502(effect) => {
                if *effect == Effect::First {
                    key("effect", &"first");
                }
                "html-502"
            }
            Kind::Slow(duration, order) => {
                if *order == Order::EffectLast {
                    key("effect", &"last");
                }
                &format!("slow={}ms", duration.as_millis())
            }
            Kind::Drip(pause) => &format!("drip={}ms", pause.as_millis()),
            Kind::Throttled(after) | Kind::TooManyRequests(after) => {
                if let Some(after) = after {
                    key("retry-after", after);
                }
                match self.kind {
                    Kind::Throttled(_) => "throttled",
                    _ => "429",
                }
            }
            Kind::Redirect(to) => {
                key("to", to);
                "redirect"
            }
            Kind::NotImplemented => "not-implemented",
            Kind::CloseBefore => "close-before",
            Kind::CloseAfter => "close-after",
            Kind::ResetMidBody => "reset-mid-body",
            Kind::Garbage => "garbage",
            Kind::Huge => "huge",
            Kind::Endless => "endless",
            Kind::Bare => "bare",
            Kind::Retyped => "retyped",
            Kind::MissingFields => "missing-fields",
            Kind::NoHeaders => "no-headers",
            Kind::OddHeaders => "odd-headers",
            Kind::Warning => "warning",
            Kind::HeaderFlood => "header-flood",
        };
        let on = ENDPOINTS.iter().find(|(_, endpoint)| Some(*endpoint) == self.on);
        match on {
            Some(("run_now", _)) => {}
            Some((name, _)) => key("on", name),
            None => key("on", &"any"),
        }
        if let Some(stack) = &self.stack {
            key("stack", stack);
        }
        if let Some(job) = &self.job {
            key("job", job);
        }
        if self.every > 1 {
            key("every", &self.every);
        }
        if self.probability < 1.0 {
            key("p", &self.probability);
        }
        if let Some(times) = self.times {
            key("times", &times);
        }
        f.write_str(kind)?;
        if !keys.is_empty() {
            write!(f, ":{}", keys.join(","))?;
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
            "drip=2ms",
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
                "write `on=run_now, actions, action, jobs, job, stacks, stack or any`, not `run`",
            ),
            ("429:retry-after=a\r\nb", "write `retry-after=TEXT, of printable ASCII`, not `a\r\nb`"),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }
}
