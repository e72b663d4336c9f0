//! The tree of values that YAML or JSON text says, each with its place in the text.
//!
//! The tree holds the text's own words: a uid such as `007` or `1e10` is never turned into a
//! number, and a key that stands twice is there twice, so that the validation can name both places.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

/// A value and its place.
#[derive(Debug)]
pub(super) struct TreeNode<'s> {
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
    List(Vec<TreeNode<'s>>),
    /// A mapping in the file's order, with repeated keys.
    Map(Vec<(TreeKey<'s>, TreeNode<'s>)>),
}

/// A key as it was written, without its quotes.
#[derive(Debug)]
pub(super) struct TreeKey<'s>(pub Cow<'s, str>);

/// Bytes of the text. A file is far smaller than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start.try_into().unwrap_or(u32::MAX), end: end.try_into().unwrap_or(u32::MAX) }
    }

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
        Span::new(start.try_into().unwrap_or(usize::MAX), end.try_into().unwrap_or(usize::MAX))
    }
}

impl<'s> TreeNode<'s> {
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

    /// Number of keys, values, lists and mappings.
    pub fn count(&self) -> usize {
        1 + match &self.kind {
            NodeKind::List(items) => items.iter().map(TreeNode::count).sum(),
            NodeKind::Map(pairs) => pairs.iter().map(|(_, value)| 1 + value.count()).sum(),
            NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number | NodeKind::Text(_) => 0,
        }
    }

    /// Returns true for another tree of the same text that has the same values at the same places,
    /// and its words in the text where this one has.
    pub fn is_the_same(&self, other: &TreeNode<'_>) -> bool {
        let kinds = match (&self.kind, &other.kind) {
            (NodeKind::Null, NodeKind::Null) | (NodeKind::Number, NodeKind::Number) => true,
            (NodeKind::Bool(one), NodeKind::Bool(other)) => one == other,
            (NodeKind::Text(one), NodeKind::Text(other)) => are_the_same(one, other),
            (NodeKind::List(one), NodeKind::List(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_the_same(other))
            }
            (NodeKind::Map(one), NodeKind::Map(other)) => {
                one.len() == other.len()
                    && one.iter().zip(other).all(|((one_key, one), (other_key, other))| {
                        are_the_same(&one_key.0, &other_key.0) && one.is_the_same(other)
                    })
            }
            _ => false,
        };
        kinds && (self.at, self.used) == (other.at, other.used)
    }

    /// Moves all places. The depth of the tree is bounded by whoever made it.
    pub fn shift(&mut self, by: u32) {
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

impl TreeKey<'_> {
    /// Returns the byte range in the source. `None`: the text was written with escapes.
    pub fn place(&self, source: &str) -> Option<Range<usize>> {
        match &self.0 {
            Cow::Borrowed(text) => place(source, text),
            Cow::Owned(_) => None,
        }
    }
}

/// Returns true for words that are equal, and lie at the same place of the text or both elsewhere.
#[expect(clippy::ptr_arg, reason = "borrowed words are told from owned ones")]
fn are_the_same(one: &Cow<'_, str>, other: &Cow<'_, str>) -> bool {
    match (one, other) {
        (Cow::Borrowed(one), Cow::Borrowed(other)) => std::ptr::eq(*one, *other),
        (Cow::Owned(one), Cow::Owned(other)) => one == other,
        _ => false,
    }
}

/// Returns the byte range of a part of the source.
fn place(source: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(source.as_ptr().addr())?;
    let end = start + part.len();
    (source.get(start..end) == Some(part)).then_some(start..end)
}

impl<'de> Deserialize<'de> for TreeNode<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<NodeKind>::deserialize(deserializer)?;
        Ok(TreeNode {
            at: Span::of(spanned.defined),
            used: Span::of(spanned.referenced),
            kind: spanned.value,
        })
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

impl<'de> Deserialize<'de> for TreeKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyKey;

        impl<'de> Visitor<'de> for AnyKey {
            type Value = TreeKey<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<TreeKey<'de>, E> {
                Ok(TreeKey(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<TreeKey<'de>, E> {
                Ok(TreeKey(Cow::Owned(text.into())))
            }

            fn visit_string<E>(self, text: String) -> Result<TreeKey<'de>, E> {
                Ok(TreeKey(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(AnyKey)
    }
}
