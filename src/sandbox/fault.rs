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
//! Which requests: `on=run_now|actions|action|jobs|job|stacks|stack|ping|any` (run_now when
//! absent), `stack=UID`, `job=UID`; of those, `every=N`, then `p=0.1` by the seed of the sandbox,
//! then `times=N` at most. Several faults can meet one request. A request that the spent quota
//! refuses meets none but `html-502` and `close-before`, which stand before the quota.

mod grammar;

use std::time::Duration;

use super::http::{Endpoint, RequestTarget};

pub use grammar::FaultError;

/// Something that goes wrong with some requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The kind of fault.
    pub kind: FaultKind,
    /// The call it goes wrong with; any when absent.
    pub on: Option<Endpoint>,
    /// The stack it goes wrong with; any when absent.
    pub stack: Option<String>,
    /// The job it goes wrong with; any when absent.
    pub job: Option<String>,
    /// Every how many of those requests. At least 1.
    pub every: u64,
    /// The chance that the fault strikes a request which meets its conditions: 0 to 1.
    pub probability: f64,
    /// The fault strikes at most this many times. `None`: without limit.
    pub times: Option<u64>,
}

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A status with its documented body.
    Status(u16, FaultEffect),
    /// 503 that does not mean throttled.
    NotImplemented,
    /// 503 throttled out of turn.
    Throttled(Option<RetryAfter>),
    /// 429.
    TooManyRequests(Option<RetryAfter>),
    /// 307 to this place.
    Redirect(String),
    /// A proxy's page.
    Html502(FaultEffect),
    /// Closed, and nothing happened.
    CloseBefore,
    /// Closed, and it happened.
    CloseAfter,
    /// Head and half of the body, then a reset.
    ResetMidBody,
    /// Held back this long.
    Slow(Duration, FaultOrder),
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
    /// An action is answered with its id alone.
    MissingFields,
    /// Without quota headers.
    NoHeaders,
    /// The quota headers hold words instead of numbers.
    OddHeaders,
    /// The answer carries `X-Cloud66-Warning`.
    Warning,
    /// The answer carries 2,000 more headers.
    HeaderFlood,
}

/// The text of a `Retry-After` header: seconds, a date, or nonsense.
pub type RetryAfter = String;

/// Tells whether a request that is answered with a failure took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultEffect {
    /// The request had no effect.
    #[default]
    None,
    /// It did.
    First,
}

/// Tells whether the effect comes before or after a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultOrder {
    /// The effect at once, the answer late.
    #[default]
    EffectFirst,
    /// Both late.
    EffectLast,
}

/// The place on a request's way at which a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultPlace {
    /// Before the API: the quota never hears of the request.
    Proxy,
    /// The API: the request has been counted against the quota.
    Api,
}

impl Fault {
    /// This kind, with every run_now.
    pub fn new(kind: FaultKind) -> Fault {
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

    pub(super) fn place(&self) -> FaultPlace {
        match self.kind {
            FaultKind::Html502(FaultEffect::None) | FaultKind::CloseBefore => FaultPlace::Proxy,
            _ => FaultPlace::Api,
        }
    }

    pub(super) fn selects(&self, target: &RequestTarget) -> bool {
        let matches = |wanted: &Option<String>, given: &Option<String>| wanted.is_none() || wanted == given;
        self.on.is_none_or(|endpoint| endpoint == target.endpoint)
            && matches(&self.stack, &target.stack)
            && matches(&self.job, &target.job)
    }
}
