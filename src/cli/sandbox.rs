//! `stackcron sandbox`: the look-alike of the Cloud 66 API alone.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{CommandEnd, listen, output};
use crate::sandbox::{
    DEFAULT_TOKEN, Deploys, Fault, LedgerRecord, Sandbox, SandboxJob, SandboxQuota, SandboxStack, Settings,
    Unknown, User, WindowKind,
};
use crate::schedule::{JobUid, NameError, StackUid, duration};

/// A job's uid, and its own cron.
type Example = (&'static str, Option<&'static str>);

/// The stacks that are there from the start, and their jobs.
const EXAMPLES: [(&str, &[Example]); 2] = [
    (
        "demo-web",
        &[
            ("nightly-report", Some("30 1 * * *")),
            ("send-digest", None),
            ("import-fails", None),
            ("reindex-slow", None),
            ("admin-forbidden", None),
        ],
    ),
    ("demo-api", &[("db-backup", None), ("clean-up", Some("*/72 * * * *"))]),
];

/// Arguments of `stackcron sandbox`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    /// Where to listen: an address with a port, or a port alone, which is on loopback. Port 0 is
    /// any free one.
    #[arg(long, value_name = "ADDR", value_parser = listen::parse, default_value = "127.0.0.1:8066")]
    listen: SocketAddr,

    /// Requests in one window.
    #[arg(long, value_name = "N", default_value_t = SandboxQuota::default().limit)]
    limit: u32,

    /// The quota's window.
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "1h")]
    window: Duration,

    /// Where a window begins: fixed (on the clock), first-request, or rolling.
    #[arg(long, value_name = "KIND", default_value_t)]
    window_kind: WindowKind,

    /// What goes wrong, as status=500:job=UID,times=3. May be given several times; --help lists all
    /// kinds.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,

    /// The token that is accepted.
    #[arg(long, value_name = "TOKEN", default_value = DEFAULT_TOKEN)]
    token: String,

    /// How long an action runs.
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "2s")]
    action_duration: Duration,
    /// Leave the records of jobs as they are when the jobs run: the vendor does not say whether a
    /// run moves them.
    #[arg(long)]
    still_records: bool,

    /// How long every answer is held back.
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "0s")]
    latency: Duration,

    /// Whether any stack and job that is named comes to be; with false, the examples are all there
    /// is.
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true"
    )]
    any: bool,

    /// A stack that deploys by the clock: web=5m/30m for 5 minutes from each half hour on. May be
    /// given several times.
    #[arg(long = "deploy", value_name = "STACK=D/D")]
    deploys: Vec<Deploys>,

    /// Print nothing about the requests that come. Otherwise each is a line on stderr.
    #[arg(long)]
    quiet: bool,

    /// Of the chances in p= of faults.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Every kind of fault with an example, and what steers a running sandbox.
const AFTER_HELP: &str = "\
Faults, each with an example:
  status=500:job=backup,times=3       the status with its documented body; effect=first: the job runs all the same
  not-implemented                     503 that does not mean throttled
  throttled:retry-after=30            503 throttled though quota is left
  429:every=10                        429; retry-after=TEXT
  redirect:to=http://127.0.0.1:1/     307
  html-502:p=0.1                      a proxy's page without quota headers; effect=first
  close-before:times=1                the connection is closed, and the job does not run
  close-after:p=0.1                   the connection is closed, and the job runs
  reset-mid-body                      half an answer, then a reset
  slow=5s:effect=last                 the answer comes late; effect=last: so does the run
  drip=1ms                            the answer comes byte by byte, with this pause after each
  garbage, huge, endless              a body that is no JSON, of over 1 MiB, or without end
  bare, retyped, missing-fields       a body in another of the shapes that have been seen
  no-headers, odd-headers             without quota headers, or with odd ones
  warning                             with X-Cloud66-Warning
  header-flood                        with 2,000 more headers
Which requests: on=run_now|actions|action|jobs|job|stacks|stack|ping|any (run_now when absent), stack=UID, job=UID;
of those every=N, then p=0.1, then times=N at most.

Pages that steer and show, without a token and outside the quota:
  GET  /_sandbox/ledger               every request; ?started=N waits for N runs
  GET  /_sandbox/actions              every run, with its job
  POST /_sandbox/use?user=NAME&n=N    requests of others, as demo@example.com
  POST /_sandbox/limit?user=NAME&n=N  another limit
  POST /_sandbox/faults?fault=...     replaces all faults
  POST /_sandbox/deploy?stack=UID&for=20s, /_sandbox/maintenance?stack=UID&for=20s";

/// Serves until SIGTERM or SIGINT.
pub fn run(args: Args) -> anyhow::Result<CommandEnd> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
        serve(args, async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
    })
}

/// Serves until `shutdown`. The first line on stdout says where, the second what token to use.
pub async fn serve(args: Args, shutdown: impl Future<Output = ()>) -> anyhow::Result<CommandEnd> {
    let listen = args.listen;
    let token = args.token.clone();
    let (watcher, mut requests) = mpsc::unbounded_channel();
    let watcher = (!args.quiet).then_some(watcher);
    let sandbox = Sandbox::start_watched(settings(args)?, watcher)
        .await
        .with_context(|| format!("cannot listen on {listen}; --listen 127.0.0.1:0 takes any free port"))?;
    output::print(format!("listening on {}\ntoken: {token}\n", sandbox.url()).as_bytes())?;
    let printing = async {
        while let Some(record) = requests.recv().await {
            // Nothing can be told of a stderr that is closed.
            let _ = writeln!(anstream::stderr(), "{}", line(&record));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = shutdown => {}
        () = printing => {}
    }
    sandbox.stop().await;
    Ok(CommandEnd::Done)
}

/// A request as a line for people.
fn line(record: &LedgerRecord) -> String {
    let time = record.at.strftime("%H:%M:%S%.3f");
    let status = record.status.map_or("no answer".to_owned(), |status| status.to_string());
    let mut line = format!("{time} {} {} {status}", record.method, record.path);
    if let Some(action) = record.action {
        line += &format!(", action {action}");
    }
    if let Some(remaining) = record.remaining {
        line += &format!(", {remaining} left");
    }
    if record.throttled {
        line += ", throttled";
    }
    if !record.faults.is_empty() {
        line += &format!(", fault {}", record.faults.join(" and "));
    }
    line
}

fn settings(args: Args) -> Result<Settings, NameError> {
    let mut user = User::new("demo@example.com", &args.token);
    user.quota = SandboxQuota { limit: args.limit, window: args.window, kind: args.window_kind };
    let mut stacks = Vec::new();
    for (uid, jobs) in EXAMPLES {
        let mut stack = SandboxStack::new(StackUid::new(uid)?);
        for (job, cron) in jobs {
            let job = SandboxJob::new(JobUid::new(job)?);
            stack = stack.job(SandboxJob { cron: cron.map(str::to_owned), ..job });
        }
        stacks.push(stack);
    }
    Ok(Settings {
        listen: args.listen,
        users: vec![user],
        stacks,
        unknown: if args.any { Unknown::Created } else { Unknown::NotFound },
        faults: args.faults,
        deploys: args.deploys,
        action_duration: args.action_duration,
        records_move: !args.still_records,
        latency: args.latency,
        seed: args.seed,
        ..Settings::default()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct SandboxCommand {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &str) -> Result<Settings, String> {
        let line = SandboxCommand::try_parse_from(std::iter::once("sandbox").chain(words.split_whitespace()))
            .map_err(|error| error.to_string())?;
        Ok(settings(line.args).expect("the examples have good uids"))
    }

    #[test]
    fn without_arguments_it_takes_any_stack_under_the_documented_quota() {
        let settings = parse("").expect("good arguments");
        assert_eq!(settings.unknown, Unknown::Created);
        assert_eq!(settings.users[0].quota, SandboxQuota::default());
        assert_eq!(settings.users[0].tokens[0].text, DEFAULT_TOKEN);
        assert_eq!(settings.stacks.len(), EXAMPLES.len());
    }

    #[test]
    fn every_argument_reaches_the_settings() {
        let words = "--listen 127.0.0.1:0 --limit 10 --window 5s --window-kind rolling --token t --any=false \
            --action-duration 1m --latency 3ms --seed 7 --fault status=500:times=1 --fault drip";
        let settings = parse(words).expect("good arguments");
        let quota = SandboxQuota { limit: 10, window: Duration::from_secs(5), kind: WindowKind::Rolling };
        assert_eq!(settings.users[0].quota, quota);
        assert_eq!(settings.users[0].tokens[0].text, "t");
        assert_eq!((settings.listen.port(), settings.seed), (0, 7));
        assert_eq!(settings.unknown, Unknown::NotFound);
        assert_eq!(settings.action_duration, Duration::from_secs(60));
        assert_eq!(settings.latency, Duration::from_millis(3));
        let faults: Vec<String> = settings.faults.iter().map(Fault::to_string).collect();
        assert_eq!(faults, ["status=500:times=1", "drip=1ms"]);
    }

    #[test]
    fn the_help_lists_every_kind_of_fault_with_examples_that_are_read() {
        let (faults, _) = AFTER_HELP.split_once("Which requests").expect("two parts");
        let mut kinds = BTreeSet::new();
        for line in faults.lines().skip(1) {
            let examples = line.trim().split("  ").next().expect("an example");
            for example in examples.split(", ") {
                let fault: Fault = example.parse().unwrap_or_else(|error| panic!("{example}: {error}"));
                kinds.insert(fault.to_string().split([':', '=']).next().map(str::to_owned));
            }
        }
        assert_eq!(kinds.len(), Fault::kinds().count(), "{kinds:?}");
    }

    #[test]
    fn a_wrong_fault_is_told_with_the_right_one() {
        let error = parse("--fault close-befor").expect_err("no such fault");
        assert!(error.contains("did you mean `close-before`?"), "{error}");
    }
}
