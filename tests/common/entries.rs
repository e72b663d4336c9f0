//! Entries as the schedule file's defaults make them.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use stackcron::schedule::{
    Account, AccountName, ArgsIn, CatchUp, Entry, EntryName, Expression, JobUid, Overlap, Priority,
    QuotaSettings, Reserve, Shard, StackState, StackUid, TokenSource,
};

pub fn account() -> Arc<Account> {
    Arc::new(Account {
        name: AccountName::new("main").expect("a name"),
        url: "https://app.cloud66.com/api/3".parse().expect("an address"),
        token: TokenSource::Env("TOKEN".into()),
        timeout: Duration::from_secs(30),
        shard: Shard::Common,
        args_in: ArgsIn::Query,
        organization: None,
        quota: QuotaSettings {
            limit: 3600,
            window: Duration::from_secs(3600),
            reserve: Reserve::Percent(5.0),
        },
    })
}

/// An entry that is due by any of these expressions.
pub fn entry(name: &str, account: &Arc<Account>, zone: &TimeZone, cron: Vec<Expression>) -> Arc<Entry> {
    Arc::new(Entry {
        name: EntryName::new(name).expect("a name"),
        account: Arc::clone(account),
        stack: StackUid::new("stack").expect("a uid"),
        job: JobUid::new("job").expect("a uid"),
        cron: cron.into(),
        timezone: zone.clone(),
        after: None,
        retry: None,
        args: None,
        args_template: None,
        overlap: Overlap::Allow,
        catch_up: CatchUp::Latest,
        start_deadline: Duration::from_secs(3600),
        jitter: Duration::ZERO,
        priority: Priority::Normal,
        idempotent: false,
        follow: true,
        paused: false,
        stack_state: StackState::Ignore,
        notify: None,
        not_on: Box::default(),
        expect: None,
    })
}
