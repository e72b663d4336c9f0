//! The nouns that every part of the daemon shares. Nothing here needs a neighbour.

mod reason;
mod resolution;

pub use reason::{Reason, UnknownReason};
pub use resolution::Resolution;
