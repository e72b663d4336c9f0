//! The journal in a PostgreSQL database, shared by several daemons of which one leads.

mod address;
mod balance;
mod candidacy;
mod connection;
mod group;
mod history;
mod identity;
mod keeper;
mod lately;
mod lease;
mod member;
mod open;
mod presence;
mod rows;
mod schema;
#[cfg(test)]
pub(crate) mod tables;

pub use address::{Address, AddressError};
pub use history::read_history;
pub use lately::{read_lately, read_records};
pub use member::{Membership, News, Notice, Profile, Seat, Term};
pub use presence::{Member, members};
