use std::fmt::Write;

use proptest::prelude::*;

use super::super::tree::NodeKind;
use super::*;

/// A mapping's value by its key.
fn get<'n, 's>(node: &'n TreeNode<'s>, key: &str) -> &'n TreeNode<'s> {
    match &node.kind {
        NodeKind::Map(pairs) => &pairs.iter().find(|(k, _)| k.0 == key).expect(key).1,
        _ => panic!("{node:?} is no mapping"),
    }
}

#[test]
fn scalars_keep_their_words() {
    let source =
        "a: 007\nb: 1e10\nc: 5999763474000000\nd: 12345678901234567890123\ne: yes\nf: 'x'\ng: 1e400\n";
    let tree = parse(source, 0..source.len()).expect("a tree");
    for (key, words) in [
        ("a", "007"),
        ("b", "1e10"),
        ("c", "5999763474000000"),
        ("d", "12345678901234567890123"),
        ("e", "yes"),
        ("f", "x"),
        ("g", "1e400"),
    ] {
        assert_eq!(get(&tree, key).scalar(source), Some(words));
    }
}

#[test]
fn an_alias_has_two_places() {
    let source = "a: &x one\nb: *x\n";
    let tree = parse(source, 0..source.len()).expect("a tree");
    let b = get(&tree, "b");
    assert_eq!((&source[b.at.range()], &source[b.used.range()]), ("one", "*x"));
}

#[test]
fn a_merge_gives_way_to_the_keys_beside_it() {
    let source = "base: &x { a: 1, b: 2 }\nuse:\n  <<: *x\n  a: 3\n";
    let tree = parse(source, 0..source.len()).expect("a tree");
    let merged = get(&tree, "use");
    assert_eq!(get(merged, "a").scalar(source), Some("3"));
    assert_eq!(get(merged, "b").scalar(source), Some("2"));
}

#[test]
fn repeated_keys_are_kept() {
    let tree = parse("a: 1\na: 2\n", 0..10).expect("a tree");
    assert!(matches!(tree.kind, NodeKind::Map(pairs) if pairs.len() == 2), "both are there");
}

#[test]
fn a_part_of_a_quoted_scalar_has_a_place() {
    let source = "cron: \"61 * * * *\"\n";
    let tree = parse(source, 0..source.len()).expect("a tree");
    let part = get(&tree, "cron").part(source, 0..2).expect("a place");
    assert_eq!(&source[part], "61");
    let escaped = "cron: \"61\\t* * * *\"\n";
    let tree = parse(escaped, 0..escaped.len()).expect("a tree");
    assert_eq!(get(&tree, "cron").part(escaped, 0..2), None);
}

/// Reads a text as the daemon does, and asserts that the library makes the same of it. True when
/// the plain reader has read it.
fn agrees(text: &str) -> bool {
    let Some(tree) = plain::read(text) else { return false };
    match library::read(text, 0) {
        Ok(other) => {
            assert!(tree.is_the_same(&other), "of {text:?}:\n{tree:?}, and by the library\n{other:?}");
        }
        Err(error) => panic!("the library refuses {text:?}: {error}"),
    }
    true
}

#[test]
fn what_programs_write_is_read_without_the_library() {
    for text in [
        "accounts: { main: { token: { env: T }, quota: { limit: 10, reserve: 5% } } }\njobs: {}\n",
        "# A comment\n\ntimezone: Europe/London # and one more\ndefaults:\n  follow: false\n  retry: { times: 2, after: 10m }\n",
        "jobs:\n  a:\n    stack: 5999b763474b0eafa5fafb64bff0ba80\n    job: 007\n    cron: \"*/5 * * * *\"\n",
        "jobs:\n  a: { stack: s, job: j, cron: ['0 1 * * *', \"0 2 * * *\"] }\n\n  'b':\n    not_on: []\n",
        "jobs:\n    a:\n      cron:\n      - 0 1 * * *\n      - '@daily'\n      args: --full '2 days' # of it\n",
        "jobs:\n  a:\n    cron:\n        - 0 1 * * *\n    # between\n    args: C:\\dir\n    url: http://a/b?c#d\n",
        "{\n  \"jobs\": {\n    \"a\": {\"stack\": \"s\", \"job\": 12,\n \"cron\": [\"@daily\"\n] } }\n}\n",
        "a:\n  a: { b: 1,\n  b: 2 }\n  c: 1\n",
        "jobs:\n  a: { args: 'ä # \"ö\" \\ & *', job: 1e400, paused: true, stack: null }",
    ] {
        assert!(agrees(text), "{text:?} is plain");
    }
}

#[test]
fn a_block_that_is_not_plain_leaves_the_others_to_the_plain_reader() {
    for block in [
        "  b:\n    args: |+\n      # one\n\n      two\n\n",
        "  b:\n    args: \"with \\\" in it\"\n",
        "  b:\n    args: it goes\n      on and on\n",
        "  b:\n",
        "  \"b\": {\n    a: 'it''s'\n  }\n",
        "  b:\n  - c: 1\n    d: 2\n  -\n  - x\n",
        "  b: !!str 12\n",
        "  b: -5\n",
    ] {
        assert!(
            agrees(&format!("a:\n  a: 1\n{block}  c: 2\n\n# end\nd: [1]\n")),
            "{block:?} is a block among others"
        );
        assert!(agrees(&format!("a:\n  a: 1\n{block}")), "{block:?} is the last block");
    }
}

#[test]
fn what_reaches_beyond_its_block_is_left_to_the_library() {
    for text in [
        "a:\n  a: &x 1\n  b: *x\n",
        "a:\n  a: \"begins\n  b: and ends\"\n  c: 1\n",
        "a:\n  a: |\n  b: 2\n",
        "a:\n  a: 1\n---\nb: 2\n",
        "a:\n  a: 1\n b: 2\n",
        "a:\n  a: x # y\n    z\n",
        "a:\n\tb: 1\n",
        "a: 1\r\nb: 2\r\n",
        "%YAML 1.2\n---\na: 1\n",
        "a: b: c\n",
        "",
        "# nothing\n",
        "- a\n",
    ] {
        assert!(!agrees(text), "{text:?} is not plain");
    }
}

/// Parts of files, of which each proptest makes texts.
const PARTS: &[&str] = &[
    "jobs:\n",
    "  a:\n",
    "  b:\n",
    "    ",
    "  ",
    " ",
    "\n",
    "\n\n",
    "stack: s1\n",
    "job: j1",
    "cron: ",
    "args: ",
    "a",
    "b: ",
    "c",
    ":",
    ": ",
    ",",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "{ ",
    " }",
    "[ ",
    " ]",
    "- ",
    "-",
    "? ",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!t ",
    "|\n",
    ">-\n",
    "|+\n",
    "|1\n",
    "\"",
    "'",
    "''",
    "\\\"",
    "\\",
    "\\n",
    "~",
    "null",
    "true",
    "False",
    "yes",
    "---\n",
    "...\n",
    "#",
    " # ",
    "é",
    "\u{202e}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\t",
    "\r\n",
    "0",
    "7",
    "1e5",
    "0x1f",
    "1_000",
    "-5",
    "+1",
    ".5",
    ".inf",
    "-.nan",
    "nan",
    "inf",
    "5999b763474b0eafa5fafb64bff0ba80",
    "'0 1 * * *'",
    "\"*/5 * * * *\"",
    "@daily",
    "`",
    "%",
    "=",
    "http://a/b?c#d",
    "12:30",
    "--x",
    "<",
];

/// Values behind a key, of which some are plain.
const VALUES: &[&str] = &[
    "s1",
    "'0 1 * * *'",
    "\"*/5 * * * *\"",
    "{ token: { env: T } }",
    "[a, 'b', \"c\"]",
    "1h 30m",
    "5%",
    "x y z",
    "true",
    "12",
    "007",
    "0.5",
    "null",
    "~",
    "",
    "{}",
    "[]",
    "a # comment",
    "'#'",
    "#",
    "\"a\\tb\"",
    "'it''s'",
    "|\n      literal: text\n      # in it",
    ">-\n      folded\n\n      text",
    "\n      nested: 1\n      more: { a: b }",
    "\n      - one\n      - 'two'",
    "\n    - one\n    - two",
    "plain text\n      that goes on",
    "\"quoted text\n      that goes on\"",
    "{ a: b,\n      c: d }",
    "[a,\n    b\n  ]",
    "&x 1",
    "*x",
    "!!str 1",
    "-5",
    "1_000",
    "- x",
    "a: b",
    "{a: b}",
    "{ 'a': b, \"c\":d }",
];

fn made_of(numbers: &[usize]) -> String {
    numbers.iter().map(|number| PARTS[number % PARTS.len()]).collect()
}

/// A file of entries with some of the keys, at one of the depths that people indent by.
fn entries(keys: &[(usize, usize, bool)]) -> String {
    let mut text = String::from("accounts: { main: { token: { env: T } } }\njobs:\n");
    for (number, (key, value, ends_entry)) in keys.iter().enumerate() {
        if number == 0 || *ends_entry {
            let _ = writeln!(text, "  e{number}:");
        }
        let _ = writeln!(text, "    k{key}: {}", VALUES[value % VALUES.len()]);
    }
    text
}

proptest! {
    #[test]
    fn both_readers_make_the_same_of_words(numbers in prop::collection::vec(0..PARTS.len(), 0..40)) {
        agrees(&made_of(&numbers));
        agrees(&format!("jobs:\n  a:\n    b: {}", made_of(&numbers)));
    }

    #[test]
    fn both_readers_make_the_same_of_files(
        keys in prop::collection::vec((0..9usize, 0..VALUES.len(), any::<bool>()), 0..12),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3usize, 0..PARTS.len()), 0..3),
    ) {
        let mut text = entries(&keys);
        agrees(&text);
        for (at, removed, part) in edits {
            let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let from = at.index(starts.len());
            let to = (from + removed).min(starts.len() - 1);
            text.replace_range(starts[from]..starts[to], PARTS[part]);
            agrees(&text);
        }
    }
}
