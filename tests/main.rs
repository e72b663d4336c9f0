//! All tests of the binary and of the library's public face, in one program: they wait more than
//! they work, and so wait side by side. `cargo test --test all reload::` runs those of `reload.rs`.

/// What takes longest begins ahead of the rest, which fills the time that it waits: the order is
/// that of the names.
#[path = "."]
mod ahead {
    mod answers;
    mod backfill;
    mod control;
    mod links;
    mod log_reader;
    mod notify;
    mod once;
    mod postgres;
    mod postgres_soak;
    mod quota_binary;
}
mod args_template;
mod attention;
mod audit;
mod calendars;
mod check;
mod client;
mod clock;
mod commands;
mod common;
mod cron_vectors;
mod daemon;
mod directory;
mod docs;
mod echoed_args;
mod expect;
mod forecast;
mod fronts;
mod history;
mod hostile;
mod identity;
mod import;
mod journal;
mod journal_lately;
mod journal_move;
mod lints;
mod metrics;
mod monitoring;
mod networks;
mod neighbours;
mod no_repeat;
mod nights;
mod online;
mod page;
mod quota_simulation;
mod refusals;
mod rehearse;
mod reload;
mod sandbox_api;
mod sandbox_run;
mod schedule_file;
mod stack_state;
mod systemd;
mod terminal;
mod timetable_properties;
mod tz_database;
mod why;
