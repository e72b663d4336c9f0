//! How a value of an event becomes a field of the log: for tracing, and in JSON without it.

use jiff::Timestamp;
use tracing::Value;
use tracing::field::display;

use crate::schedule::{AccountName, CalendarName, EntryName, JobUid, ReceiverName, StackUid};

/// A value that an event may carry.
pub(super) trait Field {
    /// The value in the form that tracing records.
    fn value(&self) -> impl Value + '_;

    /// The value as a JSON line has it.
    fn json(&self) -> serde_json::Value;
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

recorded_as_text!(EntryName, AccountName, CalendarName, ReceiverName, StackUid, JobUid, Timestamp);

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
