//! The journal in a PostgreSQL database, shared by several daemons of which one leads.
//!
//! A claim is a row, unique by (scheduled_at, entry), with the number of the term in which it was
//! made. A commit whose connection broke leaves open whether it was: to ask again is right, since a
//! claim with one's own number that nothing was made of counts as new, and a move that was made
//! changes nothing.

mod address;
mod balance;
mod election_state;
mod connection;
mod group;
mod history;
mod identity;
mod elector;
mod lately;
mod lease;
mod member;
mod open;
mod presence;
mod rows;
mod schema;
mod sighting;
mod statements;
#[cfg(test)]
pub(crate) mod tables;
mod term;
mod transfer;

pub use address::{PostgresAddress, PostgresAddressError};
pub use history::{planned_until, read_history, read_in_force};
pub use lately::{last_ends, read_lately, read_pauses, read_records};
pub(super) use member::summary;
pub use member::{Membership, ShardHandle};
pub use presence::{Member, members};
pub use sighting::{LastLeader, Leadership, Leads};
pub use term::{LeadershipChange, MemberEvent, Profile, Term};
pub(super) use transfer::{IdleDatabase, in_use};
