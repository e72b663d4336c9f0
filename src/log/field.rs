//! How a value of an event becomes a field of the log: for tracing, and in JSON without it.

use std::fmt;

use jiff::Timestamp;
use tracing::Value;
use tracing::field::display;

use crate::occurrence::{Reason, Resolution};
use crate::schedule::{AccountName, CalendarName, EntryName, JobUid, ReceiverName, StackUid};

/// A value that an event may carry.
pub(super) trait Field {
    /// The value in the form that tracing records.
    fn value(&self) -> impl Value + '_;

    /// The value as a JSON line has it.
    fn json(&self) -> serde_json::Value;
}

/// Which time through its instant an occurrence is of: 0 unless the clock was set back. A line has
/// it only where it is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass(u32);

impl Pass {
    /// The field's name. A line of an occurrence of the first pass has no field of this name, not
    /// even null.
    pub(super) const NAME: &str = "pass";

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

impl Field for Pass {
    fn value(&self) -> impl Value + '_ {
        Some(self.0).filter(|&number| number > 0)
    }

    fn json(&self) -> serde_json::Value {
        Some(self.0).filter(|&number| number > 0).into()
    }
}

/// A value that few lines have. A line without the value has no field of that name, not even null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seldom<T>(pub Option<T>);

/// The names of the fields that few lines have.
pub(super) const SELDOM: [&str; 4] = [Pass::NAME, "retry_of", "retry", "retry_at"];

impl<T: Field> Field for Seldom<T> {
    fn value(&self) -> impl Value + '_ {
        self.0.value()
    }

    fn json(&self) -> serde_json::Value {
        self.0.json()
    }
}

macro_rules! recorded_as_is {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn value(&self) -> impl Value + '_ {
                *self
            }

            fn json(&self) -> serde_json::Value {
                (*self).into()
            }
        }
    )*};
}

recorded_as_is!(u64, i64, u32, u16, usize, bool, &'static str);

macro_rules! recorded_as_word {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn value(&self) -> impl Value + '_ {
                self.as_str()
            }

            fn json(&self) -> serde_json::Value {
                self.as_str().into()
            }
        }
    )*};
}

recorded_as_word!(Reason, Resolution);

macro_rules! recorded_as_text {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn value(&self) -> impl Value + '_ {
                display(self)
            }

            fn json(&self) -> serde_json::Value {
                self.to_string().into()
            }
        }
    )*};
}

recorded_as_text!(EntryName, AccountName, CalendarName, ReceiverName, StackUid, JobUid);

/// An instant as a line has it: with six digits of its fraction, so that all have one length. One
/// without a fraction, as `scheduled_at` is, looks as in the records of the commands.
struct Instant(Timestamp);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanosecond() == 0 { write!(f, "{}", self.0) } else { write!(f, "{:.6}", self.0) }
    }
}

impl Field for Timestamp {
    fn value(&self) -> impl Value + '_ {
        display(Instant(*self))
    }

    fn json(&self) -> serde_json::Value {
        Instant(*self).to_string().into()
    }
}

impl Field for String {
    fn value(&self) -> impl Value + '_ {
        self.as_str()
    }

    fn json(&self) -> serde_json::Value {
        self.as_str().into()
    }
}

impl<T: Field> Field for Option<T> {
    fn value(&self) -> impl Value + '_ {
        self.as_ref().map(T::value)
    }

    fn json(&self) -> serde_json::Value {
        self.as_ref().map_or(serde_json::Value::Null, T::json)
    }
}
