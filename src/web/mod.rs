//! What `--listen` serves, for reading only: the status page, the records of the commands as JSON,
//! a calendar, and what monitoring asks for.
//!
//! A request goes through `server` (bounded connections), `guard` (who may ask, and how) and
//! `routes`, which knows each path. Answers of the API are made once for all who ask within a
//! second or so (`cache`), off the threads that fire, and carry an ETag (`answer`). The records are
//! those that the commands print, made by the code of the commands.

mod address;
mod answer;
mod assets;
mod audit;
mod cache;
mod calendar;
mod entries;
mod guard;
mod history;
mod log;
mod query;
mod quota;
mod routes;
mod samples;
mod schedule;
mod script;
mod server;
mod site;
mod status;

pub use address::WebAddress;
pub use guard::HostName;
pub use server::WebServer;
pub use site::Site;
