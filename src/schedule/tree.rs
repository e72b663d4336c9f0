//! YAML or JSON text as a tree of values, each with its place in the text.
//!
//! The tree holds the text's own words: a uid such as `007` or `1e10` is never turned into a
//! number, and a key that stands twice is there twice, so that the validation can name both places.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::NonFiniteFloatPolicy;
use serde_yaml::{Budget, DuplicateKeyPolicy, Error, Location, Options, Spanned};

/// Keys, values, lists and mappings in a file. A million entries have ten million; a file made of
/// brackets alone has more, and would take gigabytes.
const MAX_NODES: usize = 16_000_000;

/// Values that aliases may add to the file's own, so that a few lines cannot expand to gigabytes.
const MAX_ALIASED: usize = 1_000_000;

/// Bytes of all scalars, those of aliases counted at each use.
const MAX_SCALAR_BYTES: usize = 256 << 20;

/// Lists and mappings within each other. The format needs five.
const MAX_DEPTH: usize = 32;

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node<'s> {
    /// The place at which the value is written.
    pub at: Span,
    /// The place at which the value is used: an alias's place, or `at`.
    pub used: Span,
    pub kind: NodeKind<'s>,
}

/// The kind of a value, by its look.
#[derive(Debug)]
pub(super) enum NodeKind<'s> {
    Null,
    Bool(bool),
    /// A number. Its digits are the text at its place.
    Number,
    Text(Cow<'s, str>),
    List(Vec<Node<'s>>),
    /// A mapping in the file's order, with repeated keys.
    Map(Vec<(Key<'s>, Node<'s>)>),
}

/// A key as it was written, without its quotes.
#[derive(Debug)]
pub(super) struct Key<'s>(pub Cow<'s, str>);

/// Bytes of the text. A file is far smaller than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The span, so many bytes further on.
    fn later(self, by: u32) -> Span {
        Span { start: self.start.saturating_add(by), end: self.end.saturating_add(by) }
    }

    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn of(location: Location) -> Span {
        let span = location.span();
        let start = span.byte_offset().unwrap_or(0);
        let end = start + span.byte_len().unwrap_or(0);
        Span { start: start.try_into().unwrap_or(u32::MAX), end: end.try_into().unwrap_or(u32::MAX) }
    }
}

/// Reads a part of a text. Aliases and `<<` are resolved. Places are those in the whole text.
pub(super) fn parse(whole: &str, part: Range<usize>) -> Result<Node<'_>, Error> {
    let by = u32::try_from(part.start).unwrap_or(u32::MAX);
    let text = whole.get(part).unwrap_or_default();
    let mut root: Node<'_> = serde_yaml::from_str_with_options(text, options())?;
    if by > 0 {
        root.shift(by);
    }
    Ok(root)
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_nodes = MAX_NODES;
    budget.max_events = 2 * MAX_NODES;
    budget.max_aliases = MAX_ALIASED;
    budget.max_anchors = MAX_ALIASED;
    budget.max_recorded_anchor_events = MAX_ALIASED;
    budget.max_merge_keys = MAX_ALIASED;
    budget.max_depth = MAX_DEPTH;
    budget.max_documents = 2;
    budget.max_total_scalar_bytes = MAX_SCALAR_BYTES;
    // Many entries may use one anchor for their policies, so the ratio is not limited.
    budget.enforce_alias_anchor_ratio = false;

    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = MAX_ALIASED;
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    // `1e400` is a number that does not fit, and its digits are kept all the same.
    options.non_finite_float_policy = NonFiniteFloatPolicy::PassThrough;
    // `no` and `on` are words, as YAML 1.2 and every editor's schema have it.
    options.strict_booleans = true;
    // An entry may be called `null`.
    options.null_as_string = true;
    options.with_snippet = false;
    options
}

impl<'s> Node<'s> {
    /// The words of a scalar as they were written, whatever they look like. `None` for nothing,
    /// lists and mappings.
    pub fn scalar<'a>(&'a self, source: &'s str) -> Option<&'a str> {
        match &self.kind {
            NodeKind::Text(text) => Some(text),
            NodeKind::Bool(_) | NodeKind::Number => source.get(self.at.range()),
            NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => None,
        }
    }

    /// The place of a part of a scalar. `None` where what was written differs from what it says, as
    /// with escapes.
    pub fn part(&self, source: &str, part: Range<usize>) -> Option<Range<usize>> {
        let base = match &self.kind {
            NodeKind::Text(Cow::Borrowed(text)) => place(source, text)?.start,
            NodeKind::Bool(_) | NodeKind::Number => self.at.range().start,
            _ => return None,
        };
        Some(base + part.start..base + part.end)
    }

    /// Moves all places. The depth of the tree is bounded by `MAX_DEPTH`.
    fn shift(&mut self, by: u32) {
        (self.at, self.used) = (self.at.later(by), self.used.later(by));
        match &mut self.kind {
            NodeKind::List(items) => items.iter_mut().for_each(|item| item.shift(by)),
            NodeKind::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| value.shift(by)),
            NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number | NodeKind::Text(_) => {}
        }
    }

    /// The value in a sentence: `expected text, found a list`.
    pub fn described(&self) -> &'static str {
        match &self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Bool(_) => "true or false",
            NodeKind::Number => "a number",
            NodeKind::Text(_) => "text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }
}

impl Key<'_> {
    /// Returns the byte range in the source. `None`: the text was written with escapes.
    pub fn place(&self, source: &str) -> Option<Range<usize>> {
        match &self.0 {
            Cow::Borrowed(text) => place(source, text),
            Cow::Owned(_) => None,
        }
    }
}

/// Returns the byte range of a part of the source.
fn place(source: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(source.as_ptr().addr())?;
    let end = start + part.len();
    (source.get(start..end) == Some(part)).then_some(start..end)
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<NodeKind>::deserialize(deserializer)?;
        Ok(Node { at: Span::of(spanned.defined), used: Span::of(spanned.referenced), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for NodeKind<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyKind;

        impl<'de> Visitor<'de> for AnyKind {
            type Value = NodeKind<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<NodeKind<'de>, E> {
                Ok(NodeKind::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<NodeKind<'de>, E> {
                Ok(NodeKind::Bool(value))
            }

            fn visit_i64<E>(self, _: i64) -> Result<NodeKind<'de>, E> {
                Ok(NodeKind::Number)
            }

            fn visit_u64<E>(self, _: u64) -> Result<NodeKind<'de>, E> {
                Ok(NodeKind::Number)
            }

            fn visit_f64<E>(self, _: f64) -> Result<NodeKind<'de>, E> {
                Ok(NodeKind::Number)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<NodeKind<'de>, E> {
                Ok(NodeKind::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<NodeKind<'de>, E> {
                Ok(NodeKind::Text(Cow::Owned(text.into())))
            }

            fn visit_string<E>(self, text: String) -> Result<NodeKind<'de>, E> {
                Ok(NodeKind::Text(Cow::Owned(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<NodeKind<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(NodeKind::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<NodeKind<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = access.next_entry()? {
                    pairs.push(pair);
                }
                Ok(NodeKind::Map(pairs))
            }
        }

        deserializer.deserialize_any(AnyKind)
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyKey;

        impl<'de> Visitor<'de> for AnyKey {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.into())))
            }

            fn visit_string<E>(self, text: String) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(AnyKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mapping's value by its key.
    fn get<'n, 's>(node: &'n Node<'s>, key: &str) -> &'n Node<'s> {
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
}
