//! `defaults:` and `jobs:`, each entry with its pair, its expressions and its policies.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::defaults::DEFAULT_START_DEADLINE;
use super::super::diagnostic::Code;
use super::super::place::shown;
use super::super::report::{Problem, Reported};
use super::super::shape::{EntryKey, ExpectKey};
use super::super::tree::{NodeKind, TreeNode};
use super::super::words::{MappingKey, Word, nearest};
use super::super::{
    Account, CatchUp, CronError, Entry, EntryName, Expectation, Expression, JobUid, NameError, NotOn, Notify,
    Overlap, Priority, RetryPolicy, StackState, StackUid, Template,
};
use super::accounts::KnownAccounts;
use super::duplicates;
use super::receivers::Receivers;
use super::values::ExpectedValue;
use super::{Fields, KnownNames, Pair, Read, Root, Slot, Validator};

/// The help for a schedule that has no entries.
const NO_ENTRIES: &str = "list the entries under `jobs:`, or write `jobs: {}` for a schedule without entries";

/// The settings of an entry beside its stack, job and expressions.
#[derive(Clone)]
pub(super) struct Policies {
    account: Choice,
    timezone: TimeZone,
    args: EntryArguments,
    overlap: Overlap,
    catch_up: CatchUp,
    start_deadline: Duration,
    jitter: Duration,
    priority: Priority,
    idempotent: bool,
    follow: bool,
    paused: bool,
    retry: Option<Arc<RetryPolicy>>,
    stack_state: StackState,
    notify: Option<Arc<Notify>>,
    not_on: NotOn,
    expect: Option<Arc<Expectation>>,
}

/// The `job_args` of an entry.
#[derive(Clone)]
enum EntryArguments {
    None,
    Fixed(String),
    Template(Arc<Template>),
}

/// The account of an entry.
#[derive(Clone)]
enum Choice {
    Chosen(Arc<Account>),
    /// There are several accounts, and the entry names none.
    Open,
    Reported(Reported),
    /// The file has no account.
    None,
}

impl Choice {
    fn of(account: &Result<Arc<Account>, Reported>) -> Choice {
        match account {
            Ok(account) => Choice::Chosen(Arc::clone(account)),
            Err(reported) => Choice::Reported(*reported),
        }
    }
}

impl Policies {
    /// Returns the settings of an entry that names none, in a file without `defaults`.
    pub(super) fn of_file(timezone: TimeZone, accounts: &KnownAccounts) -> Policies {
        let account = match (accounts.unknown, accounts.only()) {
            (Some(reported), _) => Choice::Reported(reported),
            (None, Some(only)) => Choice::of(only),
            (None, None) if accounts.is_empty() => Choice::None,
            (None, None) => Choice::Open,
        };
        Policies {
            account,
            timezone,
            args: EntryArguments::None,
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            start_deadline: DEFAULT_START_DEADLINE,
            jitter: Duration::ZERO,
            priority: Priority::default(),
            idempotent: false,
            follow: true,
            paused: false,
            retry: None,
            stack_state: StackState::default(),
            notify: None,
            not_on: NotOn::default(),
            expect: None,
        }
    }
}

impl<'s> Validator<'s, '_> {
    pub(super) fn defaults(&mut self, slot: Slot<'_, 's>, base: Policies, known: KnownNames<'_>) -> Policies {
        let Slot::Given((_, node)) = slot else {
            return base;
        };
        let Ok(fields) = self.fields::<EntryKey>(node, "`defaults`") else {
            return base;
        };
        for key in [EntryKey::Stack, EntryKey::Job, EntryKey::Cron, EntryKey::After] {
            if let Slot::Given(pair) = fields.slot(key) {
                let message = format!("`{}` has no default", key.word());
                let help = "write it into each entry under `jobs`";
                self.error(Code::UnknownKey, self.key_span(pair), message, help);
            }
        }
        self.policies(&fields, &base, known)
    }

    pub(super) fn jobs(
        &mut self,
        slots: &[Slot<'_, 's>],
        roots: &[Root<'s>],
        base: &Policies,
        known: KnownNames<'_>,
    ) -> Vec<Arc<Entry>> {
        let accounts = known.accounts;
        if slots.iter().all(|slot| matches!(slot, Slot::Absent)) {
            self.no_jobs(roots);
            return Vec::new();
        }
        let mut pairs: Vec<Pair<'_, 's>> = Vec::new();
        // A fault of `jobs` in one file leaves the entries of that file unknown.
        let mut all_known = true;
        for slot in slots {
            let jobs = match slot {
                Slot::Given(jobs) => *jobs,
                Slot::Absent => continue,
                Slot::Reported(_) => {
                    all_known = false;
                    continue;
                }
            };
            if matches!(jobs.1.kind, NodeKind::Null) {
                self.error(Code::MissingKey, self.key_span(jobs), "`jobs` has no value".into(), NO_ENTRIES);
                all_known = false;
                continue;
            }
            let Ok(of_file) = self.pairs(&jobs.1, "`jobs`") else {
                all_known = false;
                continue;
            };
            if pairs.is_empty() && !of_file.is_empty() && accounts.is_empty() && accounts.unknown.is_none() {
                self.no_accounts(jobs);
            }
            pairs.extend(of_file);
        }
        let mut entries = Vec::with_capacity(pairs.len());
        let mut places = Vec::with_capacity(pairs.len());
        self.each_name(pairs.iter().copied(), |this, pair| {
            if let Ok(entry) = this.entry(pair, base, known) {
                entries.push(Arc::new(entry));
                places.push(pair);
            }
        });
        if all_known {
            self.chains(&pairs, &entries, &places);
        }
        for again in duplicates::find(&entries) {
            self.duplicate_entry(&again, &entries, &places);
        }
        entries
    }

    /// A file that was truncated, or that is being written, must not be taken for an empty
    /// schedule.
    fn no_jobs(&mut self, roots: &[Root<'s>]) {
        // Reading stops once the report is full.
        if self.report.is_full() {
            return;
        }
        let (span, message) = match roots.first().map(|root| &root.node.kind) {
            Some(_) if roots.len() > 1 => (None, "`jobs` is missing in all of its files"),
            None | Some(NodeKind::Null) => {
                (None, "the file says nothing: it is empty, or has comments alone")
            }
            // A file that was cut off ends in such a value.
            _ => {
                let end = self.source.trim_end().len();
                (Some(end..end), "`jobs` is missing")
            }
        };
        let help = NO_ENTRIES.into();
        self.report.error(Problem {
            code: Code::MissingKey,
            span,
            message: message.into(),
            help,
            related: None,
        });
    }

    fn no_accounts(&mut self, jobs: Pair<'_, 's>) {
        let help = "say where the token is kept:\n\
            accounts:\n  \
              main:\n    \
                token: { credential: cloud66-token }";
        let message = "there are jobs, and no account to run them".into();
        self.error(Code::BadAccount, self.key_span(jobs), message, help);
    }

    fn entry(&mut self, pair: Pair<'_, 's>, base: &Policies, known: KnownNames<'_>) -> Result<Entry, ()> {
        let (key, node) = pair;
        let name = EntryName::new(&key.0).map_err(|error| {
            let help = "write a name such as `nightly-report`";
            self.error(Code::BadName, self.key_span(pair), error.to_string(), help)
        });
        let fields = self.fields::<EntryKey>(node, EntryKey::OF).map_err(drop)?;
        let stack = self.value(fields.slot(EntryKey::Stack), |this, node| this.uid(node, StackUid::new));
        let job = self.value(fields.slot(EntryKey::Job), |this, node| this.uid(node, JobUid::new));
        let cron = self.value(fields.slot(EntryKey::Cron), Self::expressions);
        let after = self.value(fields.slot(EntryKey::After), Self::after);
        if let (Slot::Given(cron), Slot::Given(after)) =
            (fields.slot(EntryKey::Cron), fields.slot(EntryKey::After))
        {
            self.report.error(Problem {
                code: Code::DuplicateKey,
                span: Some(self.key_span(after)),
                message: "`cron` and `after` stand here both".into(),
                help: "remove one of the two: an entry is due by the clock, or when another one has ended"
                    .into(),
                related: Some((self.key_span(cron), "the other one".into())),
            });
        }
        // An entry that comes after another one needs no expression.
        let cron = match (cron, &after) {
            (Read::Absent, Read::Good(_)) => Read::Good(Arc::default()),
            (Read::Absent, Read::Reported(reported)) => Read::Reported(*reported),
            (cron, _) => cron,
        };
        self.missing(pair, &stack, &job, &cron);
        let policies = self.policies(&fields, base, known);
        let account = self.chosen(pair, &policies.account, known.accounts);
        let (Read::Good(stack), Read::Good(job), Read::Good(cron)) = (stack, job, cron) else {
            return Err(());
        };
        let stack = self.shared.stack(stack);
        let (name, account) = (name.map_err(drop)?, account.ok_or(())?);
        let place = |key| match fields.slot(key) {
            Slot::Given((_, node)) => Ok(node.at),
            Slot::Absent | Slot::Reported(_) => Err(()),
        };
        let (args, args_template) = match policies.args {
            EntryArguments::None => (None, None),
            EntryArguments::Fixed(args) => (Some(args), None),
            EntryArguments::Template(template) => (None, Some(template)),
        };
        let (stack_at, job_at) = (place(EntryKey::Stack)?, place(EntryKey::Job)?);
        self.places.entry(self.key_span(pair), stack_at, job_at);
        let entry = Entry {
            name,
            account,
            stack,
            job,
            cron,
            after: match after {
                Read::Good(after) => Some(after),
                Read::Absent | Read::Reported(_) => None,
            },
            timezone: policies.timezone,
            args,
            args_template,
            overlap: policies.overlap,
            catch_up: policies.catch_up,
            start_deadline: policies.start_deadline,
            jitter: policies.jitter,
            priority: policies.priority,
            idempotent: policies.idempotent,
            follow: policies.follow,
            paused: policies.paused,
            retry: policies.retry,
            stack_state: policies.stack_state,
            notify: policies.notify,
            not_on: policies.not_on,
            // An inherited `expect` has no meaning for an entry that is not followed.
            expect: policies.expect.filter(|_| policies.follow),
        };
        // A filled template has the same length at every instant, but for a few bytes.
        let template = entry.args_template.as_ref();
        let rendered = template.map(|template| template.render(&entry, Timestamp::UNIX_EPOCH));
        if let Some(args) = entry.args.as_ref().or(rendered.as_ref()) {
            let key = if rendered.is_some() { EntryKey::ArgsTemplate } else { EntryKey::Args };
            self.length_of_args(pair, fields.slot(key), args, &entry.account)?;
        }
        Ok(entry)
    }

    /// Names all that an entry lacks at once.
    fn missing(
        &mut self,
        pair: Pair<'_, 's>,
        stack: &Read<StackUid>,
        job: &Read<JobUid>,
        cron: &Read<Arc<[Expression]>>,
    ) {
        let required = [
            (matches!(stack, Read::Absent), "`stack`"),
            (matches!(job, Read::Absent), "`job`"),
            (matches!(cron, Read::Absent), "`cron`"),
        ];
        let missing: Vec<&str> = required.iter().filter(|(absent, _)| *absent).map(|(_, key)| *key).collect();
        let Some((last, before)) = missing.split_last() else {
            return;
        };
        let missing = match before {
            [] => (*last).into(),
            _ => format!("{} and no {last}", before.join(", no ")),
        };
        let message = format!("`{}` has no {missing}", shown(&pair.0.0));
        let help = "an entry names a `stack` and a `job` by their uids, and when it is due: `cron: \"30 1 * * *\"`, or `after: ENTRY`";
        self.error(Code::MissingKey, self.key_span(pair), message, help);
    }

    fn policies(
        &mut self,
        fields: &Fields<'_, 's, EntryKey>,
        base: &Policies,
        KnownNames { accounts, receivers, calendars }: KnownNames<'_>,
    ) -> Policies {
        let slot = |key| fields.slot(key);
        let account = match self.value(slot(EntryKey::Account), |this, node| this.named(node, accounts)) {
            Read::Absent => base.account.clone(),
            Read::Good(account) => Choice::Chosen(account),
            Read::Reported(reported) => Choice::Reported(reported),
        };
        let timezone = match self.value(slot(EntryKey::Timezone), Self::timezone) {
            Read::Good(timezone) => timezone,
            Read::Absent | Read::Reported(_) => base.timezone.clone(),
        };
        let args = self.arguments(slot(EntryKey::Args), slot(EntryKey::ArgsTemplate), &base.args);
        let notify = self.notify(slot(EntryKey::Notify), slot(EntryKey::Ping), base, receivers);
        let not_on =
            match self.value(slot(EntryKey::NotOn), |this, node| this.named_calendars(node, calendars)) {
                Read::Good(not_on) => not_on,
                Read::Absent | Read::Reported(_) => base.not_on.clone(),
            };
        let follow = self.value(slot(EntryKey::Follow), Self::flag).unwrap_or(base.follow);
        let expect = match self.value(slot(EntryKey::Expect), Self::expectation) {
            Read::Good(expect) => Some(Arc::new(expect)),
            Read::Absent | Read::Reported(_) => base.expect.clone(),
        };
        if let (Slot::Given(pair), false) = (slot(EntryKey::Expect), follow) {
            let message = "how long an action takes is not known where it is not followed".into();
            let help = "remove `follow: false`, or remove `expect`";
            self.error(Code::BadExpectation, self.key_span(pair), message, help);
        }
        Policies {
            account,
            timezone,
            args,
            overlap: self.value(slot(EntryKey::Overlap), Self::word).unwrap_or(base.overlap),
            catch_up: self.value(slot(EntryKey::CatchUp), Self::word).unwrap_or(base.catch_up),
            start_deadline: self
                .value(slot(EntryKey::StartDeadline), Self::span_of_time)
                .unwrap_or(base.start_deadline),
            jitter: self.value(slot(EntryKey::Jitter), Self::duration).unwrap_or(base.jitter),
            priority: self.value(slot(EntryKey::Priority), Self::word).unwrap_or(base.priority),
            idempotent: self.value(slot(EntryKey::Idempotent), Self::flag).unwrap_or(base.idempotent),
            follow,
            paused: self.value(slot(EntryKey::Paused), Self::flag).unwrap_or(base.paused),
            retry: self.value(slot(EntryKey::Retry), Self::retry).unwrap_or_else(|| base.retry.clone()),
            stack_state: self.value(slot(EntryKey::StackState), Self::word).unwrap_or(base.stack_state),
            notify,
            not_on,
            expect,
        }
    }

    /// Reads the run time of an action when all is well.
    fn expectation(&mut self, node: &TreeNode<'s>) -> Result<Expectation, Reported> {
        const HELP: &str = "write `expect: { at_least: 10s, within: 30m }`, or one of the two";
        let fields = self.fields::<ExpectKey>(node, ExpectKey::OF)?;
        let mut read = |key| match self.value(fields.slot(key), Self::span_of_time) {
            Read::Good(duration) => Ok(Some(duration)),
            Read::Absent => Ok(None),
            Read::Reported(reported) => Err(reported),
        };
        let (at_least, within) = (read(ExpectKey::AtLeast), read(ExpectKey::Within));
        let expectation = Expectation { at_least: at_least?, within: within? };
        match expectation {
            Expectation { at_least: None, within: None } => {
                Err(self.error_in(node, None, Code::MissingKey, "`expect` expects nothing".into(), HELP))
            }
            Expectation { at_least: Some(least), within: Some(within) } if least >= within => {
                let message = "no action takes at least this long and ends within that time".into();
                Err(self.error_in(
                    node,
                    None,
                    Code::BadDuration,
                    message,
                    "let `at_least` be shorter than `within`",
                ))
            }
            expectation => Ok(expectation),
        }
    }

    /// Whom an entry tells. What it shares with the defaults is held once for all entries.
    fn notify(
        &mut self,
        notify: Slot<'_, 's>,
        ping: Slot<'_, 's>,
        base: &Policies,
        receivers: &Receivers,
    ) -> Option<Arc<Notify>> {
        let named = self.value(notify, |this, node| this.named_receivers(node, receivers));
        let ping = self.value(ping, Self::address);
        if let (Read::Absent, Read::Absent) = (&named, &ping) {
            return base.notify.clone();
        }
        let base = base.notify.as_deref().cloned().unwrap_or_default();
        let ping = match ping {
            Read::Good(ping) => Some(ping),
            Read::Absent | Read::Reported(_) => base.ping,
        };
        let notify = Notify { receivers: named.unwrap_or(base.receivers), ping };
        (notify != Notify::default()).then(|| Arc::new(notify))
    }

    /// A uid as the text it is, whatever it looks like.
    fn uid<T>(&mut self, node: &TreeNode<'s>, new: fn(&str) -> Result<T, NameError>) -> Result<T, Reported> {
        let text = self.scalar(node, ExpectedValue("a uid"))?;
        new(text).map_err(|error| {
            let help = "write the uid as Cloud 66 shows it, such as `5999b763474b0eafa5fafb64bff0ba80`";
            self.error_in(node, None, Code::BadName, error.to_string(), help)
        })
    }

    /// The expressions of an entry. Their places are kept, in the order of the file.
    fn expressions(&mut self, node: &TreeNode<'s>) -> Result<Arc<[Expression]>, Reported> {
        if matches!(node.kind, NodeKind::List(_)) {
            return self.each_expression(node, Self::expression_of_entry).map(Arc::from);
        }
        let text = self.scalar(node, ExpectedValue("a cron expression"))?;
        let expressions = self.shared.expression(text).map_err(|error| self.bad_expression(node, error))?;
        self.places.expression(node, self.source);
        Ok(expressions)
    }

    /// The expressions at which the window of a calendar opens.
    pub(super) fn window_opens(&mut self, node: &TreeNode<'s>) -> Result<Box<[Expression]>, Reported> {
        self.each_expression(node, Self::expression)
    }

    fn each_expression(
        &mut self,
        node: &TreeNode<'s>,
        read: fn(&mut Self, &TreeNode<'s>) -> Result<Expression, Reported>,
    ) -> Result<Box<[Expression]>, Reported> {
        let NodeKind::List(items) = &node.kind else {
            return read(self, node).map(|expression| [expression].into());
        };
        if items.is_empty() {
            let message = "an empty list never comes due".into();
            return Err(self.error_in(node, None, Code::BadCron, message, "write at least one expression"));
        }
        // Every item is read before the first failure counts, so that all faults are reported.
        let read: Vec<_> = items.iter().map(|item| read(self, item)).collect();
        read.into_iter().collect()
    }

    fn expression(&mut self, node: &TreeNode<'s>) -> Result<Expression, Reported> {
        let text = self.scalar(node, ExpectedValue("a cron expression"))?;
        Expression::parse(text).map_err(|error| self.bad_expression(node, error))
    }

    fn bad_expression(&mut self, node: &TreeNode<'s>, error: CronError) -> Reported {
        self.error_in(node, Some(error.span), Code::BadCron, error.message, error.help)
    }

    fn expression_of_entry(&mut self, node: &TreeNode<'s>) -> Result<Expression, Reported> {
        let expression = self.expression(node)?;
        self.places.expression(node, self.source);
        Ok(expression)
    }

    /// Either of both keys stands in place of whichever the defaults have.
    fn arguments(
        &mut self,
        args: Slot<'_, 's>,
        template: Slot<'_, 's>,
        base: &EntryArguments,
    ) -> EntryArguments {
        if let (Slot::Given(args), Slot::Given(template)) = (args, template) {
            self.report.warning(Problem {
                code: Code::DuplicateKey,
                span: Some(self.key_span(args)),
                message: "`args` is not sent: `args_template` takes its place".into(),
                help: "remove one of the two: `args` is sent exactly as written, `args_template` has its fields filled"
                    .into(),
                related: Some((self.key_span(template), "the template".into())),
            });
        }
        let fixed = self.value(args, |this, node| this.text(node, EntryKey::Args));
        let template = self.value(template, |this, node| {
            let text = this.text(node, EntryKey::ArgsTemplate)?;
            Template::parse(&text).map_err(|error| {
                this.error_in(node, Some(error.span), Code::BadTemplate, error.message, error.help)
            })
        });
        match (fixed, template) {
            (_, Read::Good(template)) => EntryArguments::Template(Arc::new(template)),
            (Read::Good(args), _) => EntryArguments::Fixed(args),
            _ => base.clone(),
        }
    }

    fn text(&mut self, node: &TreeNode<'s>, key: EntryKey) -> Result<String, Reported> {
        let words = node.scalar(self.source).unwrap_or_default();
        let help = match &node.kind {
            NodeKind::Text(text) => return Ok(text.to_string()),
            NodeKind::Number | NodeKind::Bool(_) => {
                format!("put it in quotes: `{}: \"{}\"`", key.word(), shown(words))
            }
            _ if key == EntryKey::ArgsTemplate => {
                "`args_template` is one string: `args_template: \"--day {date}\"`".into()
            }
            _ => "`args` is one string, sent exactly as written: `args: \"--full '2 days'\"`".into(),
        };
        Err(self.unwanted(node, ExpectedValue("text"), help))
    }

    /// Reports arguments that are longer than their account can send. `slot` is the entry's own
    /// `args`.
    fn length_of_args(
        &mut self,
        pair: Pair<'_, 's>,
        slot: Slot<'_, 's>,
        args: &str,
        account: &Account,
    ) -> Result<(), ()> {
        let Err(error) = account.args_in.admits(args) else {
            return Ok(());
        };
        let span = match slot {
            Slot::Given((_, node)) => node.at.range(),
            // The arguments are those of `defaults`.
            Slot::Absent | Slot::Reported(_) => self.key_span(pair),
        };
        self.error(Code::ArgsTooLong, span, error.to_string(), error.help());
        Err(())
    }

    /// The account that a value names.
    fn named(&mut self, node: &TreeNode<'s>, accounts: &KnownAccounts) -> Result<Arc<Account>, Reported> {
        let name = self.scalar(node, ExpectedValue("the name of an account"))?;
        if let Some(reported) = accounts.unknown {
            return Err(reported);
        }
        if let Some(account) = accounts.get(name) {
            return account.clone();
        }
        let help = match nearest(name, accounts.names()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("define it under `accounts`{}", among(accounts)),
        };
        let message = format!("`{}` is no account of this file", shown(name));
        Err(self.error_in(node, None, Code::BadAccount, message, help))
    }

    fn chosen(
        &mut self,
        pair: Pair<'_, 's>,
        choice: &Choice,
        accounts: &KnownAccounts,
    ) -> Option<Arc<Account>> {
        match choice {
            Choice::Chosen(account) => Some(Arc::clone(account)),
            Choice::Reported(_) | Choice::None => None,
            Choice::Open => {
                let message = format!("`{}` names no account, and there are several", shown(&pair.0.0));
                let help = format!("add `account:`, here or under `defaults`{}", among(accounts));
                self.error(Code::BadAccount, self.key_span(pair), message, help);
                None
            }
        }
    }

    fn duplicate_entry(
        &mut self,
        again: &duplicates::DuplicateUse,
        entries: &[Arc<Entry>],
        places: &[Pair<'_, 's>],
    ) {
        let (this, other) = (&entries[again.entry], &entries[again.of]);
        let expression = shown(again.expression);
        let (message, help, related) = if again.entry == again.of {
            let message = format!("`{}` has `{expression}` twice", this.name);
            (message, "remove one of the two", None)
        } else {
            let message = format!(
                "`{}` runs the same job of the same stack on `{expression}` as `{}`",
                this.name, other.name
            );
            let other: Range<usize> = self.key_span(places[again.of]);
            let help = "remove one of the two, or tell them apart by `args` or `cron`";
            (message, help, Some((other, "the other one".into())))
        };
        self.report.error(Problem {
            code: Code::DuplicateEntry,
            span: Some(self.key_span(places[again.entry])),
            message,
            help: help.into(),
            related,
        });
    }
}

/// The accounts that there are, to end a sentence with. Long lists are cut.
fn among(accounts: &KnownAccounts) -> String {
    let names: Vec<String> = accounts.names().take(8).map(|name| format!("`{}`", shown(name))).collect();
    match names.len() {
        0 => String::new(),
        _ => format!(" (there is {})", names.join(", ")),
    }
}
