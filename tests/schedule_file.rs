//! The schedule file through the library's public face: what is said about each mistake, and what
//! is never read.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use stackcron::schedule::duration::Compact;
use stackcron::schedule::render::Colour;
use stackcron::schedule::{
    self, Address, CatchUp, Code, Format, Loaded, Overlap, Priority, Rejected, Reserve, SecretUrl,
    StackState, TokenSource, Trigger,
};

/// One account, so that the entries under test have one.
const ACCOUNT: &str = "accounts: { main: { token: { env: T } } }\n";

fn parse(text: &str) -> Result<Loaded, Rejected> {
    schedule::parse("schedule.yaml", text)
}

fn accepted(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|rejected| panic!("expected a valid file\n{}", rejected.render(Colour::Never)))
}

fn rejected(text: &str) -> Rejected {
    match parse(text) {
        Err(rejected) => rejected,
        Ok(loaded) => panic!("expected an error, and this was accepted:\n{text}\n{:#?}", loaded.schedule),
    }
}

/// What people read about a text.
fn said(text: &str) -> String {
    rejected(text).render(Colour::Never)
}

fn codes(text: &str) -> Vec<Code> {
    rejected(text).diagnostics.iter().map(|d| d.code).collect()
}

/// A file with one entry, which has these lines beside its pair and its expression.
fn entry_with(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("{ACCOUNT}jobs:\n  a:\n    stack: s\n    job: j\n    cron: \"@daily\"\n{lines}")
}

fn account_with(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("accounts:\n  main:\n{lines}jobs: {{}}\n")
}

/// A file with an entry in each of these zones.
fn zones(names: &[&str]) -> String {
    let entry = |(number, zone)| {
        format!("  e{number}: {{ stack: s, job: j{number}, cron: '@daily', timezone: '{zone}' }}\n")
    };
    format!("{ACCOUNT}jobs:\n{}", names.iter().enumerate().map(entry).collect::<String>())
}

macro_rules! snapshots {
    ($($name:ident: $text:expr;)+) => {
        $(#[test]
        fn $name() {
            let text: String = $text.into();
            insta::with_settings!({ description => text.chars().take(1000).collect::<String>(), omit_expression => true }, {
                insta::assert_snapshot!(said(&text));
            });
        })+

        /// The texts of all these snapshots, by name.
        fn refused_examples() -> Vec<(&'static str, String)> {
            vec![$((stringify!($name), $text.into())),+]
        }
    };
}

snapshots! {
    bad_receivers: "notify:\n  -ops: {}\n  chat: { webhook: 5, format: teams, on: [failed, fixed] }\n  mail: mail@example.com\n  \
        late: { webhook: { env: A, file: B }, on: recovered }\n  deaf: { webhook: { }, on: [] }\n  odd: { url: https://example.com }\njobs: {}\n";
    bad_addresses: "notify:\n  a: { webhook: hooks.example.com/s3cret }\n  b: { webhook: ftp://example.com/s3cret }\n  \
        c: { webhook: { credential: a/s3cret } }\njobs: {}\n";
    bad_notify_of_an_entry: format!("notify: {{ ops: {{ webhook: https://h/x }} }}\n{}", entry_with("notify: [ops, opps, nobody]\nping: soon"));
    an_address_where_a_receiver_is_named: entry_with("notify: https://hooks.example.com/s3cret");
    unknown_key: entry_with("retries: 3");
    misspelt_key: entry_with("startDeadline: 1h\ncatch-up: all\ntz: UTC");
    misspelt_top_key: "acounts: {}\nJobs: {}\n";
    misspelt_required_key_is_not_missing_as_well: format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, corn: '@daily' }}\n");
    missing_keys: format!("{ACCOUNT}jobs:\n  a: {{ job: j }}\n  b:\n  c: {{ stack: s, job: j }}\n");
    duplicate_key: entry_with("paused: true\noverlap: skip\npaused: false");
    duplicate_entry_name: format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, cron: '@daily' }}\n  a: {{ stack: s, job: k, cron: '@daily' }}\n");
    duplicate_entry: format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, cron: '30 1 * * MON' }}\n  b: {{ stack: s, job: j, cron: ['@daily', '30  1 * * mon'] }}\n");
    an_expression_twice_in_a_list: format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, cron: ['30 1 * * *', '30 1 * * *'] }}\n");
    value_is_missing: entry_with("timezone:\nargs: ~");
    wrong_types: entry_with("args: 5\npaused: \"true\"\nfollow: yes\noverlap: [skip]\njitter: { s: 5 }");
    args_as_a_list: entry_with("args: [--full, 2 days]");
    a_template_with_fields_that_there_are_not: entry_with("args_template: \"--day {day} {datum} {date\"");
    a_template_that_is_no_text: entry_with("args_template: 5");
    bad_retries: format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, cron: '@daily', retry: {{ times: 1000, after: 10 }} }}\n  \
        b: {{ stack: s, job: k, cron: '@daily', retry: 3 }}\n  c: {{ stack: s, job: l, cron: '@daily', retry: {{ after: {{ factor: 0.5, most: 1h }} }} }}\n  \
        d: {{ stack: s, job: m, cron: '@daily', retry: {{ times: 2, after: 1m }}, follow: false }}\n");
    bad_chains: format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, after: aa }}\n  b: {{ stack: s, job: k, after: a }}\n  c: {{ stack: s, job: l, after: a }}\n  \
        d: {{ stack: s, job: m, after: {{ entry: f, on: often }} }}\n  e: {{ stack: s, job: n, cron: '@daily', after: b }}\n");
    chains_in_a_circle: format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, after: c }}\n  b: {{ stack: s, job: k, after: a }}\n  c: {{ stack: s, job: l, after: b }}\n  \
        d: {{ stack: s, job: m, after: d }}\n  e: {{ stack: s, job: n, cron: '@daily', follow: false }}\n  f: {{ stack: s, job: o, after: e }}\n");
    wrong_shapes: "accounts: 5\ndefaults: text\njobs:\n- a\n- b\n";
    entry_is_no_mapping: format!("{ACCOUNT}jobs:\n  a: \"@daily\"\n");
    root_is_a_list: "- a\n- b\n";
    unknown_words: entry_with("overlap: skipp\ncatch_up: some\npriority: 1\nstack_state: wait");
    bad_names: format!("{ACCOUNT}jobs:\n  -a: {{ stack: s, job: j, cron: '@daily' }}\n  b c: {{ stack: s t, job: '', cron: '@daily' }}\n");
    bad_durations: entry_with("jitter: 30\nstart_deadline: 1 hour");
    more_bad_durations: entry_with("jitter: 30m 1h\nstart_deadline: 0s");
    endless_durations: entry_with("jitter: 99999999999999999999s\nstart_deadline: 1.5h");
    unknown_timezone: entry_with("timezone: Europe/Londn");
    timezone_by_its_city: entry_with("timezone: new york");
    timezone_of_nowhere: entry_with("timezone: Middle/Earth");
    bad_cron: entry_with("").replace("@daily", "61 * * * *");
    bad_cron_in_a_list: entry_with("").replace("\"@daily\"", "['0 1 * * *', '0 25 * * *', '* * *']");
    bad_cron_unquoted: entry_with("").replace("\"@daily\"", "1 2 3 4 8");
    bad_cron_with_escapes: entry_with("").replace("@daily", "61\\t* * * *");
    cron_that_never_comes_due: entry_with("").replace("@daily", "0 0 30 2 *");
    empty_cron_list: entry_with("").replace("\"@daily\"", "[]");
    no_account: "jobs:\n  a: { stack: s, job: j, cron: '@daily' }\n  b: { stack: s, job: k, cron: '@daily' }\n";
    unknown_account: entry_with("account: mian");
    account_must_be_named: "accounts: { one: { token: { env: A } }, two: { token: { env: B } } }\njobs:\n  a: { stack: s, job: j, cron: '@daily' }\n";
    account_without_token: "accounts:\n  main:\n    timeout: 10s\njobs: {}\n";
    token_in_the_file: account_with("token: abcdef0123456789");
    token_in_two_places: account_with("token: { env: A, file: /b }");
    token_nowhere: account_with("token: {}");
    token_in_bad_places: "accounts:\n  a: { token: { credential: ../x } }\n  b: { token: { env: A=b } }\n  c: { token: { file: '' } }\njobs: {}\n";
    bad_urls: "accounts:\n  a: { token: { env: T }, url: ftp://example.com }\n  b: { token: { env: T }, url: app.cloud66.com }\n  c: { token: { env: T }, url: 'https://me:secret@example.com' }\n  d: { token: { env: T }, url: 'https://example.com/api?x=1' }\njobs: {}\n";
    bad_quota: account_with("token: { env: T }\nquota:\n  limit: 0\n  window: 0s\n  reserve: 101%");
    quoted_limit: account_with("token: { env: T }\nquota: { limit: \"3600\" }");
    reserve_of_everything: account_with("token: { env: T }\nquota: { limit: 100, reserve: 100 }");
    a_timeout_beyond_the_longest: account_with("token: { env: T }\ntimeout: 10m");
    bad_organization_and_place_of_args: account_with("token: { env: T }\norganization: acme\nargs_in: form");
    args_beyond_a_query: entry_with(&format!("args: \"{}\"", " ".repeat(1366)));
    args_beyond_a_body: entry_with(&format!("args: \"{}\"", "x".repeat(70_000))).replace("token: { env: T }", "token: { env: T }, args_in: body");
    zero_timeout: account_with("token: { env: T }\ntimeout: 0s");
    defaults_have_no_pair: format!("{ACCOUNT}defaults: {{ stack: s, cron: '@daily', overlap: skip }}\njobs: {{}}\n");
    a_value_behind_an_alias: format!("{ACCOUNT}x-p: &p {{ priority: urgent }}\njobs:\n  a: {{ <<: *p, stack: s, job: j, cron: '@daily' }}\n  b: {{ <<: *p, stack: s, job: k, cron: '@daily' }}\n");
    unquoted_star: format!("{ACCOUNT}jobs:\n  a:\n    stack: s\n    job: j\n    cron: */5 * * * *  # often\n");
    unquoted_stars: format!("{ACCOUNT}jobs:\n  a:\n    cron: * * * * *\n");
    unquoted_nickname: format!("{ACCOUNT}jobs:\n  a:\n    cron: @daily\n");
    unclosed_bracket: "accounts: { main: { token: { env: T }\njobs:\n";
    unclosed_quote: "timezone: \"UTC\njobs:\n";
    tabs: "jobs:\n\ta:\n\t\tstack: s\n";
    uneven_indentation: "jobs:\n  a:\n    stack: s\n   job: j\n";
    colon_in_a_value: "timezone: a: b\n";
    unknown_anchor: entry_with("args: *other");
    several_documents: "timezone: UTC\n---\ntimezone: UTC\n";
    key_that_is_a_list: "[a]: b\n";
    merge_of_no_mapping: "x-a: &a 5\ntimezone: UTC\n<<: *a\n";
    nul: "timezone: UTC\0\n";
    a_form_feed_in_a_quoted_value: entry_with("args: \"--full\u{c}\"");
    a_no_break_space_between_fields: entry_with("").replace("@daily", "0 1\u{a0}* * *");
    an_en_dash_in_a_range: entry_with("").replace("@daily", "0 1 * * 1\u{2013}5");
    each_unquoted_star_is_told: format!("{ACCOUNT}jobs:\n  a:\n    stack: s\n    job: j\n    cron: */5 * * * *\n  b: {{ stack: s, job: k, cron: */10 * * * * }}\n  c:\n    stack: s\n    job: l\n    cron: [\"0 1 * * *\", *\n  d:\n    cron: @daily # every day\n    stack: s\n    cron:\n    - * * * * *\n");
    abbreviations_of_zones: zones(&["PST", "JST", "IST", "XYZ", "pst", "CEST"]);
    offsets_as_zones: zones(&["GMT+5", "UTC-03:00", "+05:30", "-8", "GMT+0530", "UTC+20", "+00:00"]);
    zones_that_are_no_more: zones(&["US/Pacific-New", "Canada/East-Saskatchewan", "SystemV/EST5EDT"]);
    control_characters: "timezone: \"\\e[31mred\"\n\u{9b}31m: 1\n";
    nested_too_deeply: format!("jobs:\n  a: {}1{}\n", "[".repeat(100), "]".repeat(100));
    long_line: format!("timezone: UTC\nx: \"{}\"\njobs: {{}}\n", "x".repeat(1_000_000));
    long_line_of_json: format!("{{\"x-a\": \"{}\", \"jbos\": {{}}, \"x-b\": \"{}\"}}", "ü".repeat(500_000), "y".repeat(500_000));
    many_errors: MANY;
}

/// A file in which much is wrong.
const MANY: &str = r#"timezone: Europe/Londn
accounts:
  main:
    url: https://app.cloud66.com/api/3?x=1
    token: { credential: a, env: B }
    timeout: 30
    quota: { limit: 10, reserve: 150% }
  other:
    token: { env: OTHER }
default:
  overlap: skip
jobs:
  nightly-report:
    stack: 5999b763474b0eafa5fafb64bff0ba80
    job: 98ee5a9b93919d9b63bd5377636675bd
    cron: "30 25 * * *"
    account: mian
    args: 12
  weekly report:
    stack: 5999b763474b0eafa5fafb64bff0ba80
    cron: ["0 0 * * 9", "x * * * *"]
    account: main
    overlap: never
  nightly-report:
    stack: s
"#;

#[test]
fn what_stands_in_the_file_is_what_it_says() {
    let loaded = accepted(
        r#"
timezone: Europe/London
accounts:
  main:
    url: https://app.cloud66.com/api/3/
    token: { credential: cloud66-token }
    timeout: 10s
    quota: { limit: 1000, window: 30m, reserve: 50 }
  ci:
    token: { file: /run/token }
    quota: { reserve: 2.5% }
defaults:
  start_deadline: 30m
  account: main
jobs:
  nightly-report:
    stack: 5999b763474b0eafa5fafb64bff0ba80
    job: 98ee5a9b93919d9b63bd5377636675bd
    cron: "30 1 * * *"
    timezone: America/New_York
    args: "--full '2 days'"
    account: ci
    overlap: queue
    catch_up: all
    start_deadline: 1h 30m
    jitter: 5m
    priority: high
    idempotent: true
    follow: false
    paused: true
  plain:
    stack: s
    job: j
    cron: ["@daily", "0 12 * * *"]
"#,
    );
    assert_eq!(loaded.warnings, []);
    insta::assert_debug_snapshot!(loaded.schedule);
}

/// The JSON Schema, as an editor uses it.
fn schema() -> jsonschema::Validator {
    let schema = schedule::shape::json_schema().to_value();
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("it is a schema: {error}"));
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("it is a schema: {error}"))
}

/// A text as an editor sees it: `None` where it is no YAML, or has a key twice.
fn yaml(text: &str) -> Option<serde_json::Value> {
    let mut yaml: serde_yaml_09::Value = serde_yaml_09::from_str(text).ok()?;
    yaml.apply_merge().ok()?;
    serde_json::to_value(yaml).ok()
}

#[test]
fn the_schema_takes_the_files_in_config() {
    let schema = schema();
    let mut files = 0;
    for file in fs::read_dir("config").expect("config") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "yaml") && schedule::load(&path).is_ok() {
            let text = fs::read_to_string(&path).expect("its text");
            let errors: Vec<_> =
                schema.iter_errors(&yaml(&text).expect("YAML")).map(|e| e.to_string()).collect();
            assert_eq!(errors, [""; 0], "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 2, "there are schedule files in config");
}

/// What is wrong in these examples a schema cannot say: it knows neither other places of the file,
/// nor the tz database of the machine, nor when an expression comes due.
const BEYOND_A_SCHEMA: &[&str] = &[
    "chains_in_a_circle",
    "a_no_break_space_between_fields",
    "abbreviations_of_zones",
    "zones_that_are_no_more",
    "duplicate_entry",
    "unknown_timezone",
    "timezone_of_nowhere",
    "bad_cron",
    "bad_cron_with_escapes",
    "bad_cron_unquoted",
    "cron_that_never_comes_due",
    "no_account",
    "unknown_account",
    "account_must_be_named",
    "reserve_of_everything",
    "a_timeout_beyond_the_longest",
    "args_beyond_a_query",
    "args_beyond_a_body",
];

#[test]
fn the_schema_refuses_every_example_that_a_schema_can_refuse() {
    let schema = schema();
    let mut refused = 0;
    for (name, text) in refused_examples() {
        let Some(value) = yaml(&text) else { continue };
        let beyond = BEYOND_A_SCHEMA.contains(&name);
        assert_eq!(
            schema.is_valid(&value),
            beyond,
            "{name}:\n{}",
            text.chars().take(500).collect::<String>()
        );
        refused += usize::from(!beyond);
    }
    assert!(refused > 30, "most of the examples are within a schema's reach: {refused}");
}

#[test]
fn uids_stay_the_text_they_are() {
    for uid in [
        "007",
        "1e10",
        "5999763474000000",
        "0x1F",
        "true",
        "1_000",
        "12345678901234567890123456789012",
        "1.50",
    ] {
        let loaded =
            accepted(&format!("{ACCOUNT}jobs:\n  1: {{ stack: {uid}, job: {uid}, cron: '@daily' }}\n"));
        let entry = &loaded.schedule.entries[0];
        assert_eq!((entry.stack.as_str(), entry.job.as_str(), entry.name.as_str()), (uid, uid, "1"));
    }
}

#[test]
fn a_truncated_file_is_no_empty_schedule() {
    for text in [
        "",
        "\n",
        "\u{feff}",
        "# only a comment\n",
        "null\n",
        "~",
        "---\n",
        "jobs:\n",
        "---\njobs:\n...\n",
        "{}",
        ACCOUNT,
    ] {
        assert_eq!(codes(text), [Code::MissingKey], "{text:?}");
        assert!(said(text).contains("write `jobs: {}`"), "{text:?}: {}", said(text));
    }
    for text in ["jobs: {}\n", "{\"jobs\":{}}", "---\njobs: {}\n...\n"] {
        assert!(accepted(text).schedule.entries.is_empty(), "{text:?} has no entries");
    }
}

#[test]
fn the_installed_file_is_valid_and_runs_nothing() {
    let installed = schedule::load(Path::new("config/schedule.yaml")).expect("the installed file is valid");
    assert_eq!((installed.schedule.entries.len(), installed.warnings.len()), (0, 0));
}

#[test]
fn the_installed_file_with_its_comment_signs_removed_says_the_defaults() {
    let text = fs::read_to_string("config/schedule.yaml").expect("the installed file");
    let key = |line: &str| {
        let line = line.trim_start();
        line.starts_with("#  ") || (line.starts_with('#') && !line.starts_with("# "))
    };
    let body =
        text.lines().skip_while(|line| line.starts_with("# ") || *line == "#" || line.starts_with("#  "));
    let spelt: String =
        body.map(|line| if key(line) { line.replacen('#', "", 1) } else { line.into() } + "\n").collect();
    let spelt = spelt.replace("jobs: {}", "jobs:");
    let spelt = accepted(&spelt).schedule;
    let bare = accepted(
        "accounts: { main: { token: { credential: cloud66-token }, organization: 1234, shard: east } }\n\
         notify: { ops: { webhook: { credential: ops-webhook } } }\n\
         jobs:\n  nightly-report:\n    stack: 5999b763474b0eafa5fafb64bff0ba80\n    job: 98ee5a9b93919d9b63bd5377636675bd\n    \
         cron: 30 1 * * *\n    timezone: Europe/London\n    args: \"--full '2 days'\"\n    \
         notify: ops\n    ping: https://hc-ping.com/your-uuid\n",
    );
    assert_eq!(spelt.accounts, bare.schedule.accounts);
    assert_eq!(spelt.entries, bare.schedule.entries);
}

#[test]
fn a_template_takes_the_place_of_args_and_the_file_is_told_so() {
    let loaded = accepted(&entry_with("args: x\nargs_template: \"{date}\""));
    let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["`args` is not sent: `args_template` takes its place"]);
    let entry = &loaded.schedule.entries[0];
    assert_eq!((&entry.args, entry.args_template.is_some()), (&None, true));
}

#[test]
fn json_is_a_schedule_file_too() {
    let text = r#"{"accounts":{"main":{"token":{"env":"T"}}},"jobs":{"a":{"stack":"007","job":"j","cron":"@daily","paused":true}}}"#;
    let entry = &accepted(text).schedule.entries[0];
    assert_eq!((entry.stack.as_str(), entry.paused), ("007", true));
}

#[test]
fn anchors_and_merges_work() {
    let loaded = accepted(&format!(
        "{ACCOUNT}x-nightly: &nightly {{ stack: s, overlap: skip, priority: low }}\njobs:\n  \
         a: {{ <<: *nightly, job: j, cron: '@daily' }}\n  \
         b: {{ <<: *nightly, job: k, cron: '@daily', priority: high }}\n"
    ));
    let [a, b] = &loaded.schedule.entries[..] else {
        panic!("two entries, not {:?}", loaded.schedule.entries);
    };
    assert_eq!((a.overlap, a.priority), (Overlap::Skip, Priority::Low));
    assert_eq!((b.overlap, b.priority), (Overlap::Skip, Priority::High), "its own key goes before");
}

#[test]
fn one_anchor_serves_thousands_of_entries() {
    let mut text = format!("{ACCOUNT}x-p: &p {{ overlap: skip }}\njobs:\n");
    for number in 0..5_000 {
        text += &format!("  e{number}: {{ <<: *p, stack: s, job: j{number}, cron: '@daily' }}\n");
    }
    let entries = accepted(&text).schedule.entries;
    assert_eq!(entries.len(), 5_000);
    assert!(entries.iter().all(|entry| entry.overlap == Overlap::Skip), "each has the anchor's policy");
}

#[test]
fn a_byte_order_mark_and_dos_lines_are_no_matter() {
    let text = format!("\u{feff}{}", entry_with("paused: true").replace('\n', "\r\n"));
    assert!(accepted(&text).schedule.entries[0].paused);
    let place = |text: &str| {
        let rejected = rejected(text);
        let place = rejected.diagnostics[0].place.clone().expect("a place");
        (place.line, place.column, place.text)
    };
    let wrong = format!("\u{feff}{}", entry_with("pausd: true").replace('\n', "\r\n"));
    assert_eq!(place(&wrong), (7, 5, "    pausd: true".into()));
}

#[test]
fn the_same_pair_with_other_args_or_in_another_zone_is_another_entry() {
    let jobs = [
        "a: { stack: s, job: j, cron: '0 9 * * *' }",
        "b: { stack: s, job: j, cron: '0 9 * * *', args: x }",
        "c: { stack: s, job: j, cron: '0 9 * * *', timezone: Asia/Tokyo }",
        "d: { stack: s, job: j, cron: '0 10 * * *' }",
        "e: { stack: s, job: k, cron: '0 9 * * *' }",
    ];
    let text = format!("{ACCOUNT}jobs:\n  {}\n", jobs.join("\n  "));
    assert_eq!(accepted(&text).schedule.entries.len(), jobs.len());
}

#[test]
fn what_is_wrong_with_an_account_is_not_said_of_its_entries() {
    let text = "accounts: { main: { token: { env: T }, timeout: 5 } }\n\
                jobs:\n  a: { stack: s, job: j, cron: '@daily' }\n  b: { stack: s, job: k, cron: '@daily', account: main }\n";
    assert_eq!(codes(text), [Code::BadDuration]);
    assert_eq!(
        codes(&format!("accounts: 5\n{}", &text[text.find("jobs").expect("jobs")..])),
        [Code::WrongType]
    );
}

#[test]
fn receivers_are_named_once_for_all_and_by_each_entry() {
    let file = |entries: &str| {
        format!(
            "{ACCOUNT}notify:\n  ops: {{ webhook: {{ env: OPS }}, on: failed }}\n  chat: {{ webhook: https://h/x, format: slack }}\n\
             defaults: {{ notify: ops, ping: https://h/p }}\njobs:\n{entries}"
        )
    };
    let loaded = accepted(&file(
        "  a: { stack: s, job: a, cron: '@daily' }\n  b: { stack: s, job: b, cron: '@daily', notify: [chat, ops, chat] }\n  \
           c: { stack: s, job: c, cron: '@daily', notify: [], ping: { file: /p } }\n",
    ));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let told = |entry: usize| {
        let notify = loaded.schedule.entries[entry].notify.as_ref().expect("it tells somebody");
        let names: Vec<String> = notify.receivers.iter().map(|receiver| receiver.name.to_string()).collect();
        (names.join(" "), notify.ping.clone())
    };
    let ping = Some(Address::Written(SecretUrl::new("https://h/p").expect("an address")));
    assert_eq!(told(0), ("ops".into(), ping.clone()));
    assert_eq!(told(1), ("chat ops".into(), ping));
    assert_eq!(told(2), (String::new(), Some(Address::Kept(TokenSource::File("/p".into())))));
    let ops = &loaded.schedule.entries[0].notify.as_ref().expect("it tells somebody").receivers[0];
    assert_eq!((ops.format, &ops.on[..]), (Format::Json, &[Trigger::Failed][..]));

    let unnamed = accepted(&file("  a: { stack: s, job: a, cron: '@daily' }\n")).warnings;
    assert_eq!(unnamed.iter().map(|w| w.code).collect::<Vec<_>>(), [Code::UnusedReceiver]);
    assert!(unnamed[0].message.contains("`chat`"), "{}", unnamed[0].message);
}

#[test]
fn plain_http_is_a_warning_except_on_loopback() {
    let warnings = |url: &str| {
        let text = account_with(&format!("token: {{ env: T }}\nurl: {url}"));
        accepted(&text).warnings.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(warnings("http://api.example.com/api/3"), [Code::PlainHttp]);
    for url in
        ["http://127.0.0.1:8066/api/3", "http://localhost:1", "'http://[::1]:1/'", "https://example.com"]
    {
        assert_eq!(warnings(url), [], "{url}");
    }
}

#[test]
fn a_token_is_never_in_a_message() {
    let secret = "c0ffee-s3cret";
    for text in [
        account_with(&format!("token: {secret}")),
        account_with(&format!("token: {{ credential: a/{secret} }}")),
        account_with(&format!("token: {{ env: CLOUD66_TOKEN={secret} }}")),
        format!("accounts: {{ main: {{ timeout: 5, token: {secret} }} }}"),
        account_with(&format!("token: {{ env: T }}\nurl: https://me:{secret}@example.com")),
        account_with(&format!("token: {{ env: T }}\nurl: https://me:{secret}@:1")),
        format!("notify: {{ ops: {{ webhook: 'https://h/{secret}', on: 5 }} }}"),
        format!("notify: {{ ops: {{ webhook: 'h/{secret}' }} }}"),
        format!("notify: {{ ops: 'https://h/{secret}' }}"),
        format!("notify: {{ ops: {{ url: 'https://h/{secret}' }} }}"),
        entry_with(&format!("notify: https://h/{secret}")),
        entry_with(&format!("ping: https://h/{secret}\nnotify: nobody")),
        entry_with(&format!("ping: {{ env: PING={secret} }}")),
    ] {
        let rejected = rejected(&text);
        let shown = format!("{rejected}\n{}", rejected.render(Colour::Never));
        assert!(!shown.contains(secret), "{shown}");
        for diagnostic in &rejected.diagnostics {
            let record = serde_json::to_string(&diagnostic.record()).expect("a record");
            assert!(!record.contains(secret), "{record}");
        }
    }
}

#[test]
fn an_alias_bomb_ends_in_an_error() {
    let mut bomb = String::from("x-0: &a0 [lol]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb += &format!("x-{level}: &a{level} [{list}]\n");
    }
    assert_eq!(codes(&bomb), [Code::TooLarge]);

    let long = "y".repeat(1 << 17);
    let uses = "- *a\n".repeat(2_100);
    assert_eq!(
        codes(&format!("x-a: &a \"{long}\\n\"\nx-b:\n{uses}")),
        [Code::TooLarge],
        "few values of much text"
    );
}

#[test]
fn a_file_of_brackets_ends_in_an_error() {
    for text in ["[".repeat(1 << 20), "- ".repeat(1 << 20), "{a: ".repeat(1 << 18), "? ".repeat(1 << 18)] {
        assert!(matches!(codes(&text)[..], [Code::TooLarge | Code::Syntax]), "{}…", &text[..8]);
    }
}

#[test]
fn of_very_many_errors_a_hundred_are_shown() {
    let text: String = (0..20_000).map(|number| format!("k{number}:\n")).collect();
    let rejected = rejected(&text);
    assert_eq!((rejected.errors(), rejected.cut), (10_000, true));
    let shown = rejected.render(Colour::Never);
    assert_eq!(shown.matches("is no key of").count(), 100);
    assert!(
        shown.ends_with("and 9900 more; the rest of the file was not looked at\n\n"),
        "{}",
        &shown[shown.len() - 200..]
    );
}

#[test]
fn colours_come_only_when_asked_for() {
    let rejected = rejected(MANY);
    assert!(!rejected.render(Colour::Never).contains('\u{1b}'));
    assert!(rejected.render(Colour::Always).contains('\u{1b}'));
}

/// Loads a path that leads to no schedule, and gives the code and the message.
fn refused(path: &Path) -> (Code, String) {
    let rejected = schedule::load(path).expect_err("nothing to load");
    let [diagnostic] = &rejected.diagnostics[..] else {
        panic!("one diagnostic, not {:?}", rejected.diagnostics);
    };
    assert!(!diagnostic.help.is_empty(), "{diagnostic} comes with help");
    let shown = rejected.render(Colour::Never);
    assert!(shown.contains(&*path.to_string_lossy()), "the path is named in\n{shown}");
    (diagnostic.code, diagnostic.message.clone())
}

#[test]
fn a_path_that_leads_to_no_file_is_a_clear_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("none.yaml");
    assert_eq!(refused(&missing), (Code::Unreadable, "there is no such file".into()));
    let none = "no file of the directory has a name that ends in `.yaml`";
    assert_eq!(refused(dir.path()), (Code::Unreadable, none.into()));
    assert_eq!(refused(Path::new("/dev/zero")), (Code::Unreadable, "this is no regular file".into()));

    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success(), "a FIFO is made");
    assert_eq!(refused(&fifo), (Code::Unreadable, "this is no regular file".into()));
}

#[test]
fn a_file_beyond_the_limit_is_refused_unread() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("large.yaml");
    let file = fs::File::create(&path).expect("a file");
    file.set_len(300 << 20).expect("a sparse file of 300 MiB");
    assert_eq!(refused(&path), (Code::TooLarge, "the file is larger than 256 MiB".into()));
}

#[test]
fn bytes_that_are_no_text_are_a_clear_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bytes.yaml");
    let place = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("a file");
        let rejected = schedule::load(&path).expect_err("no text");
        let diagnostic = rejected.diagnostics[0].clone();
        let place = diagnostic.place.expect("a place");
        (diagnostic.code, diagnostic.message, place.line, place.column)
    };
    assert_eq!(
        place(b"timezone: UTC\nx-\xc3\xa9: \xff\xfe\n"),
        (Code::NotText, "the byte 0xFF is no UTF-8".into(), 2, 6)
    );
    assert_eq!(
        place(b"\xef\xbb\xbftimezone: U\0TC\n"),
        (Code::NotText, "a NUL byte, which no text has".into(), 1, 12)
    );
    assert_eq!(place(b"t\0i\0").0, Code::NotText);
}

/// What a generated entry says.
#[derive(Clone, Debug)]
struct Said {
    stack: String,
    job: String,
    minute: u8,
    args: Option<String>,
    overlap: Overlap,
    catch_up: CatchUp,
    deadline_s: u64,
    priority: Priority,
    stack_state: StackState,
    flags: [bool; 3],
}

fn anything_said() -> impl Strategy<Value = Said> {
    let policies = (
        prop::sample::select(vec![Overlap::Allow, Overlap::Skip, Overlap::Queue]),
        prop::sample::select(vec![CatchUp::None, CatchUp::Latest, CatchUp::All]),
        prop::sample::select(vec![Priority::High, Priority::Normal, Priority::Low]),
        prop::sample::select(vec![StackState::Ignore, StackState::Hold, StackState::Skip]),
        1..1_000_000u64,
        any::<[bool; 3]>(),
    );
    ("[0-9a-f]{1,32}", "[0-9e]{1,20}", 0..60u8, prop::option::of("\\PC{0,20}"), policies).prop_map(
        |(stack, job, minute, args, (overlap, catch_up, priority, stack_state, deadline_s, flags))| Said {
            stack,
            job,
            minute,
            args,
            overlap,
            catch_up,
            deadline_s,
            priority,
            stack_state,
            flags,
        },
    )
}

fn written(entries: &[Said]) -> String {
    let mut text = format!("{ACCOUNT}jobs:\n");
    for (number, said) in entries.iter().enumerate() {
        let word = |value: String| value.to_lowercase();
        // The uids are written plain on purpose: many look like numbers.
        text += &format!("  e{number}:\n    stack: {}\n    job: {}-{number}\n", said.stack, said.job);
        text += &format!("    cron: {} 1 * * *\n", said.minute);
        if let Some(args) = &said.args {
            // A JSON string is a YAML string.
            text += &format!("    args: {}\n", serde_json::Value::from(args.as_str()));
        }
        text += &format!("    overlap: {}\n", word(format!("{:?}", said.overlap)));
        text += &format!("    catch_up: {}\n", word(format!("{:?}", said.catch_up)));
        text += &format!("    priority: {}\n", word(format!("{:?}", said.priority)));
        text += &format!("    stack_state: {}\n", word(format!("{:?}", said.stack_state)));
        text +=
            &format!("    start_deadline: {}\n", Compact(std::time::Duration::from_secs(said.deadline_s)));
        let [idempotent, follow, paused] = said.flags;
        text += &format!("    idempotent: {idempotent}\n    follow: {follow}\n    paused: {paused}\n");
    }
    text
}

proptest! {
    #[test]
    fn a_written_schedule_fits_the_schema(entries in prop::collection::vec(anything_said(), 1..5)) {
        let value = yaml(&written(&entries)).expect("YAML");
        let errors: Vec<_> = schema().iter_errors(&value).map(|error| error.to_string()).collect();
        prop_assert_eq!(errors, [""; 0], "{}", value);
    }

    #[test]
    fn a_written_schedule_reads_as_what_was_written(entries in prop::collection::vec(anything_said(), 1..20)) {
        let read = accepted(&written(&entries)).schedule.entries;
        prop_assert_eq!(read.len(), entries.len());
        for (number, (read, said)) in read.iter().zip(&entries).enumerate() {
            prop_assert_eq!(read.name.as_str(), format!("e{number}"));
            prop_assert_eq!(read.stack.as_str(), &said.stack);
            prop_assert_eq!(read.job.as_str(), format!("{}-{number}", said.job));
            prop_assert_eq!(read.cron[0].as_str(), format!("{} 1 * * *", said.minute));
            prop_assert_eq!(&read.args, &said.args);
            prop_assert_eq!((read.overlap, read.catch_up, read.priority), (said.overlap, said.catch_up, said.priority));
            prop_assert_eq!(read.stack_state, said.stack_state);
            prop_assert_eq!(read.start_deadline.as_secs(), said.deadline_s);
            prop_assert_eq!([read.idempotent, read.follow, read.paused], said.flags);
        }
    }

    #[test]
    fn no_text_panics(text in "(\\PC|[ \n\t\r:\\[\\]{}'\"&*#|>?-]){0,200}") {
        let _ = parse(&text).map_err(|rejected| rejected.render(Colour::Never));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&String::from_utf8_lossy(&bytes)).map_err(|rejected| rejected.render(Colour::Never));
    }

    /// Bytes of a real file changed: nearer to what people write than noise is.
    #[test]
    fn no_damaged_file_panics(at in any::<prop::sample::Index>(), length in 0..10usize, patch in "\\PC{0,5}") {
        let chars: Vec<char> = MANY.chars().collect();
        let at = at.index(chars.len());
        let rest = chars.iter().skip(at + length);
        let text: String = chars[..at].iter().copied().chain(patch.chars()).chain(rest.copied()).collect();
        let _ = parse(&text).map_err(|rejected| rejected.render(Colour::Always));
    }
}

#[test]
fn a_token_and_a_reserve_are_read_in_each_form() {
    let first = |lines: &str| accepted(&account_with(lines)).schedule.accounts[0].clone();
    assert_eq!(first("token: { env: T }").token, TokenSource::Env("T".into()));
    assert_eq!(first("token: { credential: c }").token, TokenSource::Credential("c".into()));
    assert_eq!(first("token: { file: /t }").token, TokenSource::File("/t".into()));
    assert_eq!(first("token: { env: T }\nquota: { reserve: 7 }").quota.reserve, Reserve::Requests(7));
    assert_eq!(first("token: { env: T }\nquota: { reserve: 2.5% }").quota.reserve, Reserve::Percent(2.5));
    assert_eq!(
        first("token: { env: T }\nurl: https://x.example/api/3//").url.as_str(),
        "https://x.example/api/3"
    );
}

#[test]
fn ten_thousand_warnings_lose_no_entry() {
    let accounts: String = (0..10_500)
        .map(|n| format!("  a{n}: {{ url: 'http://api{n}.example.com', token: {{ env: T }} }}\n"))
        .collect();
    let jobs = "  last: { stack: s, job: j, cron: '@daily', account: a10499 }\n";
    let file = format!("accounts:\n{accounts}jobs:\n{jobs}");
    let loaded = stackcron::schedule::parse("s.yaml", &file).expect("warnings refuse nothing");
    assert_eq!((loaded.schedule.accounts.len(), loaded.schedule.entries.len()), (10_500, 1));
}
