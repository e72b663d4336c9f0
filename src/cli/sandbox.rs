//! `stackcron sandbox`: the look-alike of the Cloud 66 API alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::{Status, listen, output};
use crate::sandbox::{DEFAULT_TOKEN, Fault, Job, Quota, Sandbox, Settings, Stack, Unknown, User, WindowKind};
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
pub struct Args {
    /// Where to listen: an address with a port, or a port alone, which is on loopback. Port 0 is any free one.
    #[arg(long, value_name = "ADDR", value_parser = listen::parse, default_value = "127.0.0.1:8066")]
    listen: SocketAddr,

    /// Requests in one window.
    #[arg(long, value_name = "N", default_value_t = Quota::default().limit)]
    limit: u32,

    /// The quota's window.
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "1h")]
    window: Duration,

    /// Where a window begins: fixed (on the clock), first-request, or rolling.
    #[arg(long, value_name = "KIND", default_value_t)]
    window_kind: WindowKind,

    /// What goes wrong, as status=500:job=UID,times=3. May be given several times.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,

    /// The token that is accepted.
    #[arg(long, value_name = "TOKEN", default_value = DEFAULT_TOKEN)]
    token: String,

    /// How long an action runs.
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "2s")]
    action_duration: Duration,

    /// How long every answer is held back.
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "0s")]
    latency: Duration,

    /// Whether any stack and job that is named comes to be; with false, the examples are all there is.
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

    /// Of the chances in p= of faults.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Serves until SIGTERM or SIGINT.
pub fn run(args: Args) -> anyhow::Result<Status> {
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
pub async fn serve(args: Args, shutdown: impl Future<Output = ()>) -> anyhow::Result<Status> {
    let listen = args.listen;
    let token = args.token.clone();
    let sandbox = Sandbox::start(settings(args)?)
        .await
        .with_context(|| format!("cannot listen on {listen}; --listen 127.0.0.1:0 takes any free port"))?;
    output::print(format!("listening on {}\ntoken: {token}\n", sandbox.url()).as_bytes())?;
    shutdown.await;
    sandbox.stop().await;
    Ok(Status::Done)
}

fn settings(args: Args) -> Result<Settings, NameError> {
    let mut user = User::new("demo@example.com", &args.token);
    user.quota = Quota { limit: args.limit, window: args.window, kind: args.window_kind };
    let mut stacks = Vec::new();
    for (uid, jobs) in EXAMPLES {
        let mut stack = Stack::new(StackUid::new(uid)?);
        for (job, cron) in jobs {
            let job = Job::new(JobUid::new(job)?);
            stack = stack.job(Job { cron: cron.map(str::to_owned), ..job });
        }
        stacks.push(stack);
    }
    Ok(Settings {
        listen: args.listen,
        users: vec![user],
        stacks,
        unknown: if args.any { Unknown::Created } else { Unknown::NotFound },
        faults: args.faults,
        action_duration: args.action_duration,
        latency: args.latency,
        seed: args.seed,
        ..Settings::default()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &str) -> Result<Settings, String> {
        let line = Line::try_parse_from(std::iter::once("sandbox").chain(words.split_whitespace()))
            .map_err(|error| error.to_string())?;
        Ok(settings(line.args).expect("the examples have good uids"))
    }

    #[test]
    fn without_arguments_it_takes_any_stack_under_the_documented_quota() {
        let settings = parse("").expect("good arguments");
        assert_eq!(settings.unknown, Unknown::Created);
        assert_eq!(settings.users[0].quota, Quota::default());
        assert_eq!(settings.users[0].tokens[0].text, DEFAULT_TOKEN);
        assert_eq!(settings.stacks.len(), EXAMPLES.len());
    }

    #[test]
    fn every_argument_reaches_the_settings() {
        let words = "--listen 127.0.0.1:0 --limit 10 --window 5s --window-kind rolling --token t --any=false \
            --action-duration 1m --latency 3ms --seed 7 --fault status=500:times=1 --fault drip";
        let settings = parse(words).expect("good arguments");
        let quota = Quota { limit: 10, window: Duration::from_secs(5), kind: WindowKind::Rolling };
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
    fn a_wrong_fault_is_told_with_the_right_one() {
        let error = parse("--fault close-befor").expect_err("no such fault");
        assert!(error.contains("did you mean `close-before`?"), "{error}");
    }
}
