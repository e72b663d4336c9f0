//! The values that an event may carry, and the form that each has in a line of the log.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::occurrence::{Reason, Resolution};
use crate::schedule::{AccountName, CalendarName, EntryName, JobUid, ReceiverName, StackUid};

/// A value that an event may carry.
pub(super) trait LogField {
    /// The value as a line has it. `None`: the line has no such field, not even null.
    fn json(&self) -> Option<Value>;
}

/// Which time through its instant an occurrence is of: 0 unless the clock was set back. A line has
/// it only where it is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass(u32);

impl Pass {
    /// The number that the occurrence's key has.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl From<u32> for Pass {
    fn from(number: u32) -> Pass {
        Pass(number)
    }
}

/// Writes the words that follow an instant in a sentence. In the first pass there are none.
impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            number => write!(f, " in pass {number}"),
        }
    }
}

impl LogField for Pass {
    fn json(&self) -> Option<Value> {
        (self.0 > 0).then(|| self.0.into())
    }
}

/// A value that few lines have. A line without the value has no field of that name, not even null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seldom<T>(pub Option<T>);

impl<T: LogField> LogField for Seldom<T> {
    fn json(&self) -> Option<Value> {
        self.0.as_ref().and_then(T::json)
    }
}

impl<T: LogField> LogField for Option<T> {
    fn json(&self) -> Option<Value> {
        Some(self.as_ref().and_then(T::json).unwrap_or_default())
    }
}

/// An instant has six digits of its fraction, so that all have one length. One without a fraction,
/// as `scheduled_at` is, looks as in the records of the commands.
impl LogField for Timestamp {
    fn json(&self) -> Option<Value> {
        let text = if self.subsec_nanosecond() == 0 { self.to_string() } else { format!("{self:.6}") };
        Some(text.into())
    }
}

macro_rules! fields {
    (|$value:ident| $json:expr, $($type:ty),*) => {$(
        impl LogField for $type {
            fn json(&self) -> Option<Value> {
                let $value = self;
                Some($json.into())
            }
        }
    )*};
}

fields!(|value| *value, u64, i64, u32, u16, usize, bool, &'static str);
fields!(|value| value.as_str(), String, Reason, Resolution);
fields!(|value| value.as_str(), EntryName, AccountName, CalendarName, ReceiverName, StackUid, JobUid);
