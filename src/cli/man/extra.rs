//! The parts of the manual pages that the arguments' definitions lack: examples, exit statuses,
//! files.

/// The parts that are particular to the page of one command.
pub(super) struct Extra {
    /// Its page, as `stackcron-why`.
    page: &'static str,
    /// Commands, each with what it does.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// Exit statuses with a meaning of their own.
    pub(super) exit: &'static [(u8, &'static str)],
    /// Related pages, besides those of the commands above and below.
    pub(super) see: &'static [&'static str],
}

/// The exit statuses of every command.
pub(super) const EXIT: &[(u8, &str)] = &[
    (2, "The arguments are wrong."),
    (78, "The schedule file, a token or a setting is wrong: to start again would not help."),
];

/// Files, each with the option that a command has which uses it. `None`: every command.
pub(super) const FILES: &[(Option<&str>, &str, &str)] = &[
    (None, "/etc/stackcron/schedule.yaml", "The schedule file, unless `--config` names another one."),
    (Some("state-dir"), "/var/lib/stackcron", "The state of the packaged service."),
    (
        Some("state-dir"),
        "~/.local/state/stackcron",
        "The state, where neither `--state-dir` nor systemd names another directory.",
    ),
    (
        Some("state-dir"),
        "journal.sqlite3",
        "In the state directory: claims, states, pauses, quotas and history.",
    ),
    (
        Some("state-dir"),
        "/run/stackcron/control.sock",
        "The socket over which the daemon is asked and steered; else in the state directory.",
    ),
    (
        Some("sandbox"),
        "/etc/stackcron/cloud66-token",
        "The token of the packaged service, handed over as a systemd credential.",
    ),
];

/// Variables, each with the option that a command has which heeds it.
pub(super) const ENVIRONMENT: &[(&str, &str, &str)] = &[
    ("state-dir", "STATE_DIRECTORY", "The state directory, as systemd sets it."),
    ("state-dir", "XDG_STATE_HOME", "The state is in `stackcron` below it, where nothing else says where."),
    ("journal", "PGPASSWORD", "The password of a shared journal."),
    ("sandbox", "CREDENTIALS_DIRECTORY", "Where systemd has put the tokens that are credentials."),
    ("sandbox", "HTTPS_PROXY, NO_PROXY", "The proxy to the API, and what goes past it."),
    ("sandbox", "SSL_CERT_FILE, SSL_CERT_DIR", "Other roots for TLS than those of the system."),
    ("online", "HTTPS_PROXY, NO_PROXY", "The proxy to the API, and what goes past it."),
    ("account", "HTTPS_PROXY, NO_PROXY", "The proxy to the API, and what goes past it."),
];

/// Variables that every command heeds.
pub(super) const COMMON_ENVIRONMENT: &[(&str, &str)] = &[
    ("NO_COLOR", "Text has no colours when this is set."),
    ("COLUMNS", "How wide text may be, where the output is no terminal."),
    ("TZDIR", "Another tz database than that of the system."),
];

const DONE: &[(u8, &str)] = &[(0, "Done."), (1, "Failed.")];

/// Returns the parts that are particular to a page.
pub(super) fn of(page: &str) -> &'static Extra {
    PAGES.iter().find(|extra| extra.page == page).unwrap_or(&PLAIN)
}

/// A command of which there is nothing particular to say.
static PLAIN: Extra = Extra { page: "", examples: &[], exit: DONE, see: &[] };

static PAGES: &[Extra] = &[
    Extra {
        page: "stackcron",
        examples: &[
            (
                "stackcron run --sandbox --config /usr/share/doc/stackcron/examples/demo.yaml",
                "See the whole thing run, with no account and no network:",
            ),
            ("stackcron check && stackcron next", "Is the schedule file right, and what is due next?"),
            ("sudo stackcron status --watch", "Does the daemon fire, what waits and why, what went wrong?"),
        ],
        exit: DONE,
        see: &["systemctl(1)", "journalctl(1)", "crontab(5)"],
    },
    Extra {
        page: "stackcron-run",
        examples: &[
            (
                "stackcron run --sandbox --listen 127.0.0.1:9066",
                "Fire the schedule at a look-alike of the API, and serve the status page:",
            ),
            (
                "stackcron run --journal postgres://stackcron@db.example/stackcron",
                "Share one journal with other machines: one fires, the others stand by.",
            ),
        ],
        exit: &[(0, "Stopped in order, by SIGTERM or SIGINT."), (1, "Failed.")],
        see: &["stackcron-status(1)", "stackcron-sandbox(1)", "systemd.exec(5)"],
    },
    Extra {
        page: "stackcron-check",
        examples: &[
            ("stackcron check --online", "Does Cloud 66 have every stack and job of the schedule?"),
            (
                "stackcron check --strict --format sarif schedule.yaml > findings.sarif",
                "In a pipeline, with warnings as errors, for a code host:",
            ),
        ],
        exit: &[(0, "All is well, or there are warnings alone."), (1, "The API could not be asked.")],
        see: &["stackcron-next(1)", "stackcron-jobs(1)"],
    },
    Extra {
        page: "stackcron-next",
        examples: &[
            (
                "stackcron next nightly-report --from tomorrow --count 5",
                "The next five runs of an entry, from tomorrow on:",
            ),
            ("stackcron next --from 2026-10-25 --until 2026-10-26", "A day on which the clocks change:"),
        ],
        exit: DONE,
        see: &["stackcron-why(1)", "stackcron-forecast(1)"],
    },
    Extra {
        page: "stackcron-why",
        examples: &[
            ("stackcron why nightly-report --at 01:30", "Why did it run then, or why not?"),
            ("stackcron why nightly-report", "What became of the last occurrence, and when is the next one?"),
        ],
        exit: &[(0, "Done."), (1, "No journal tells what became of the occurrence.")],
        see: &["stackcron-history(1)", "stackcron-next(1)"],
    },
    Extra {
        page: "stackcron-forecast",
        examples: &[(
            "stackcron forecast --from tomorrow --suggest",
            "Does tomorrow fit the quota, and if not, which minutes are quieter?",
        )],
        exit: &[
            (0, "Done; with `--strict`, all of it fits."),
            (1, "With `--strict`: something does not fit."),
        ],
        see: &["stackcron-rehearse(1)"],
    },
    Extra {
        page: "stackcron-rehearse",
        examples: &[
            ("stackcron rehearse --from 2026-10-25 --until 2026-10-26 --quiet", "What does a day come to?"),
            (
                "stackcron rehearse --from today --until tomorrow --fault status=503:p=0.1",
                "The log of a day on which one request in ten is answered with 503:",
            ),
        ],
        exit: DONE,
        see: &["stackcron-forecast(1)", "stackcron-sandbox(1)"],
    },
    Extra {
        page: "stackcron-fire",
        examples: &[
            (
                "stackcron fire nightly-report --args \"--full\"",
                "Run an entry now, with other arguments, and wait until it has started:",
            ),
            ("stackcron fire nightly-report --no-wait", "Claim it, and do not wait:"),
        ],
        exit: &[
            (0, "An action has started; with `--no-wait`, the run is claimed."),
            (1, "It did not start, or not yet: what waits stays claimed."),
        ],
        see: &["stackcron-history(1)", "stackcron-status(1)"],
    },
    Extra {
        page: "stackcron-history",
        examples: &[
            ("stackcron history nightly-report --since yesterday", "What became of the runs of an entry?"),
            ("stackcron history --stats", "How often, how well, how long and how late does each entry run?"),
        ],
        exit: DONE,
        see: &["stackcron-why(1)", "stackcron-audit(1)"],
    },
    Extra {
        page: "stackcron-status",
        examples: &[
            ("stackcron status --watch", "Look on:"),
            ("stackcron status --strict", "For a script: is anything wrong now?"),
        ],
        exit: &[
            (0, "A daemon answered; with `--strict`, nothing is wrong."),
            (1, "No daemon answered; with `--strict`: something is wrong."),
        ],
        see: &["stackcron-history(1)", "stackcron-why(1)"],
    },
    Extra {
        page: "stackcron-pause",
        examples: &[
            (
                "stackcron pause 'nightly-*' --until 06:00 --note 'the database moves'",
                "Skip several entries until six o'clock:",
            ),
            (
                "stackcron pause --stack shop --for 2h --yes",
                "Skip all entries of a stack for two hours, without being asked:",
            ),
        ],
        exit: DONE,
        see: &["stackcron-resume(1)", "stackcron-status(1)"],
    },
    Extra {
        page: "stackcron-resume",
        examples: &[("stackcron resume 'nightly-*'", "Let several entries go on:")],
        exit: DONE,
        see: &["stackcron-pause(1)"],
    },
    Extra {
        page: "stackcron-jobs",
        examples: &[
            ("stackcron jobs shop", "Which jobs does a stack have?"),
            ("stackcron jobs --account main shop --yaml", "The same as entries to paste under `jobs:`"),
        ],
        exit: DONE,
        see: &["stackcron-import(1)", "stackcron-check(1)"],
    },
    Extra {
        page: "stackcron-audit",
        examples: &[(
            "stackcron audit --from yesterday",
            "Did everything run that the schedule says, once and on time?",
        )],
        exit: &[
            (0, "Everything ran, or was skipped."),
            (1, "An occurrence was missed, lost or ran twice, or nobody knows whether it ran."),
        ],
        see: &["stackcron-history(1)", "stackcron-why(1)"],
    },
    Extra {
        page: "stackcron-backfill",
        examples: &[(
            "stackcron backfill nightly-report --from yesterday --until today --dry-run",
            "What would be fired of a day that did not run?",
        )],
        exit: DONE,
        see: &["stackcron-audit(1)", "stackcron-fire(1)"],
    },
    Extra {
        page: "stackcron-import",
        examples: &[
            ("crontab -l | stackcron import - --stack shop", "One's own crontab as entries:"),
            ("whenever | stackcron import - --stack shop", "What the gem `whenever` prints:"),
        ],
        exit: DONE,
        see: &["stackcron-jobs(1)", "crontab(5)"],
    },
    Extra {
        page: "stackcron-journal",
        examples: &[(
            "stackcron journal move --to postgres://stackcron@db.example/stackcron",
            "From a file to a database:",
        )],
        exit: DONE,
        see: &["stackcron-run(1)"],
    },
    Extra {
        page: "stackcron-journal-move",
        examples: &[
            (
                "stackcron journal move --to postgres://stackcron@db.example/stackcron",
                "From the file in the state directory to a database:",
            ),
            (
                "stackcron journal move --journal postgres://stackcron@db.example/stackcron --to /var/lib/stackcron",
                "And back:",
            ),
        ],
        exit: DONE,
        see: &["stackcron-run(1)"],
    },
    Extra {
        page: "stackcron-sandbox",
        examples: &[
            ("stackcron sandbox --limit 100 --window 1m", "A look-alike of the API with a small quota:"),
            (
                "stackcron sandbox --fault close-after:p=0.1 --seed 7",
                "One answer in ten is lost after the job has started:",
            ),
        ],
        exit: DONE,
        see: &["stackcron-run(1)", "stackcron-rehearse(1)"],
    },
    Extra {
        page: "stackcron-schema",
        examples: &[(
            "stackcron schema > schedule.schema.json",
            "For an editor that completes and explains keys:",
        )],
        exit: DONE,
        see: &[],
    },
    Extra {
        page: "stackcron-completions",
        examples: &[(
            "stackcron completions bash > ~/.local/share/bash-completion/completions/stackcron",
            "For bash, where the package did not install them:",
        )],
        exit: DONE,
        see: &[],
    },
    Extra {
        page: "stackcron-man",
        examples: &[
            ("stackcron man why | man -l -", "Read the page of a command without installing it:"),
            ("stackcron man --directory /usr/local/share/man/man1", "Write every page into a directory:"),
        ],
        exit: DONE,
        see: &["man(1)"],
    },
];
