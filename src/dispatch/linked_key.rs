//! The identity of an occurrence that comes to its end, with what asked for it.

use crate::journal::{Key, Origin};

/// An occurrence that comes to its end.
#[derive(Clone, Debug)]
pub(super) struct LinkedKey {
    pub(super) key: Key,
    pub(super) origin: Origin,
}
