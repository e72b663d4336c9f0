//! Reads the plain part of YAML, in which programs write large schedules.
//!
//! Plain are mappings, lists of scalars, scalars on one line, `{ }` and `[ ]`, and comments. Not
//! plain are anchors, aliases, tags, merges, escapes in quotes, texts of several lines, empty
//! values, lists of mappings, tabs, carriage returns, several documents, and whatever is wrong.
//!
//! A block that is not plain is a key of the file, or a key of such a key as an entry is, up to the
//! next line that is indented no deeper. The library reads that block alone. This is sound because
//! a block that is a mapping with one key by itself is one in its place too: no line of the block
//! is outside of that key, and only an anchor reaches from one block into another, so that a file
//! with a `&` in such a block is read by the library as a whole.
//!
//! Example: of three entries the second one has a text of two lines.
//!
//! ```text
//! jobs:
//!   a: { stack: s, job: j, cron: "0 1 * * *" }    read here
//!   b:                                            from here on
//!     stack: s
//!     args: >-
//!       one
//!       two                                       up to here by the library
//!   c: { stack: s, job: k, cron: "0 2 * * *" }    read here
//! ```

use std::borrow::Cow;

use super::super::tree::{NodeKind, Span, TreeKey, TreeNode};
use super::library;

/// Lists and mappings within each other that are read here: far fewer than the library admits.
const MAX_DEPTH: usize = 16;

/// The depth of the keys that may be blocks for the library: those of the file are at 1, those of
/// `jobs` at 2.
const BLOCKS: usize = 2;

/// Longest key in bytes. The library admits about a thousand characters up to the colon.
const MAX_KEY: usize = 256;

/// The tree of a text. `None`: the library has to read it.
pub(super) fn read(text: &str) -> Option<TreeNode<'_>> {
    if !text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) && !text.chars().all(is_plain) {
        return None;
    }
    u32::try_from(text.len()).ok()?;
    let mut reader = Reader { text, at: 0, indent: None, nodes: 0, given_up: false };
    reader.next_line();
    let root = match (reader.indent?, reader.byte()?) {
        (0, b'{') => {
            let root = reader.flow_map(1)?;
            reader.end_of_line()?;
            root
        }
        (0, _) => reader.map(0, 1)?,
        _ => return None,
    };
    (reader.indent.is_none() && reader.nodes <= library::MAX_NODES).then_some(root)
}

/// Returns true for a character that may stand in a plain text. Some others are line breaks or
/// invisible.
fn is_plain(c: char) -> bool {
    match c {
        '\n' | ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        c => c >= '\u{a0}',
    }
}

struct Reader<'s> {
    text: &'s str,
    /// The byte that is read next.
    at: usize,
    /// Blanks before the line whose content is read next. `None` at the end of the text.
    indent: Option<usize>,
    /// Keys, values, lists and mappings so far.
    nodes: usize,
    /// Set when the library has to read the whole text.
    given_up: bool,
}

/// The place in which a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// A line of its own, which the value ends with.
    Line,
    /// Brackets or braces.
    Flow,
}

impl<'s> Reader<'s> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn byte_after(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at + 1).copied()
    }

    fn skip_blanks(&mut self) {
        while self.byte() == Some(b' ') {
            self.at += 1;
        }
    }

    fn skip_to_break(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    }

    /// Goes on from the beginning of a line to the next content, past comments and empty lines.
    fn next_line(&mut self) {
        loop {
            let start = self.at;
            self.skip_blanks();
            match self.byte() {
                None => {
                    self.indent = None;
                    return;
                }
                Some(b'\n') => self.at += 1,
                Some(b'#') => {
                    self.skip_to_break();
                    self.at += 1;
                    self.at = self.at.min(self.text.len());
                }
                Some(_) => {
                    self.indent = Some(self.at - start);
                    return;
                }
            }
        }
    }

    /// Ends a line behind a value, with or without a comment, and goes on to the next content.
    fn end_of_line(&mut self) -> Option<()> {
        self.skip_blanks();
        match self.byte() {
            None | Some(b'\n') => {}
            Some(b'#') if self.text.as_bytes()[self.at - 1] == b' ' => self.skip_to_break(),
            Some(_) => return None,
        }
        self.at = (self.at + 1).min(self.text.len());
        self.next_line();
        Some(())
    }

    fn node(&mut self, start: usize, end: usize, kind: NodeKind<'s>) -> TreeNode<'s> {
        self.nodes += 1;
        let at = Span::new(start, end);
        TreeNode { at, used: at, kind }
    }

    /// A mapping whose keys are indented by so many blanks. `depth` is 1 for that of the file.
    fn map(&mut self, indent: usize, depth: usize) -> Option<TreeNode<'s>> {
        let start = self.at;
        let mut pairs = Vec::new();
        loop {
            let (at, nodes) = (self.at, self.nodes);
            let pair = match self.pair(indent, depth) {
                Some(pair) => pair,
                None if depth <= BLOCKS => {
                    (self.at, self.nodes) = (at, nodes);
                    self.block(indent, depth)?
                }
                None => return None,
            };
            pairs.push(pair);
            if self.indent != Some(indent) {
                return Some(self.node(start, start, NodeKind::Map(pairs)));
            }
        }
    }

    /// A key on a line of its own and its value, up to the next line that is indented no deeper.
    fn pair(&mut self, indent: usize, depth: usize) -> Option<(TreeKey<'s>, TreeNode<'s>)> {
        let key = self.key()?;
        self.skip_blanks();
        let value = match self.byte() {
            None | Some(b'\n' | b'#') => {
                self.end_of_line()?;
                let below = self.indent?;
                let is_list = self.byte() == Some(b'-') && self.byte_after() == Some(b' ');
                match below {
                    _ if depth >= MAX_DEPTH => return None,
                    below if is_list && below >= indent => self.list(below, below == indent, depth + 1)?,
                    below if below > indent => self.map(below, depth + 1)?,
                    _ => return None,
                }
            }
            Some(_) => {
                let value = self.value(Within::Line, depth + 1)?;
                self.end_of_line()?;
                value
            }
        };
        (self.indent <= Some(indent)).then_some((key, value))
    }

    /// A key up to the blank or the line break behind its colon.
    fn key(&mut self) -> Option<TreeKey<'s>> {
        let bytes = self.text.as_bytes();
        let quote = self.byte().filter(|byte| matches!(byte, b'"' | b'\''));
        let start = self.at + usize::from(quote.is_some());
        let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let length = bytes[start..].iter().position(|byte| !is_of_key(byte))?;
        let end = start + length;
        let begins = bytes.get(start).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if !begins || length > MAX_KEY {
            return None;
        }
        let mut colon = end;
        if let Some(quote) = quote {
            if bytes.get(end) != Some(&quote) {
                return None;
            }
            colon += 1;
        }
        if bytes.get(colon) != Some(&b':') || !matches!(bytes.get(colon + 1), None | Some(b' ' | b'\n')) {
            return None;
        }
        self.at = colon + 1;
        self.nodes += 1;
        Some(TreeKey(Cow::Borrowed(&self.text[start..end])))
    }

    /// A list whose dashes are indented by so many blanks. The dashes of one that is not indented
    /// stand under the list's own key.
    fn list(&mut self, indent: usize, under_key: bool, depth: usize) -> Option<TreeNode<'s>> {
        let mut start = self.at;
        let mut items = Vec::new();
        while self.indent == Some(indent) && self.byte() == Some(b'-') && self.byte_after() == Some(b' ') {
            self.at += 1;
            self.skip_blanks();
            if under_key && items.is_empty() {
                // The library has the list there.
                start = self.at;
            }
            items.push(self.value(Within::Line, depth + 1)?);
            self.end_of_line()?;
        }
        let ends = match under_key {
            true => self.indent <= Some(indent),
            false => self.indent < Some(indent),
        };
        ends.then(|| self.node(start, start, NodeKind::List(items)))
    }

    /// A value that begins here and stands on this line, but for brackets and braces.
    fn value(&mut self, within: Within, depth: usize) -> Option<TreeNode<'s>> {
        match self.byte()? {
            b'{' => self.flow_map(depth),
            b'[' => self.flow_list(depth),
            quote @ (b'"' | b'\'') => self.quoted(quote),
            _ => self.scalar(within),
        }
    }

    /// A text in quotes, without escapes.
    fn quoted(&mut self, quote: u8) -> Option<TreeNode<'s>> {
        let start = self.at;
        let rest = &self.text.as_bytes()[start + 1..];
        let escape = if quote == b'"' { b'\\' } else { quote };
        let length = rest.iter().position(|&byte| byte == quote || byte == b'\n' || byte == escape)?;
        let is_doubled = quote == b'\'' && rest.get(length + 1) == Some(&quote);
        if rest[length] != quote || is_doubled {
            return None;
        }
        let end = start + 1 + length;
        self.at = end + 1;
        let text = NodeKind::Text(Cow::Borrowed(&self.text[start + 1..end]));
        Some(self.node(start, end + 1, text))
    }

    /// A scalar without quotes.
    fn scalar(&mut self, within: Within) -> Option<TreeNode<'s>> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        match self.byte()? {
            b'-' if !matches!(
                self.byte_after(),
                None | Some(b' ' | b'\n' | b',' | b'[' | b']' | b'{' | b'}')
            ) => {}
            b'-' | b'?' | b':' | b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|'
            | b'>' | b'%' | b'@' | b'`' | b'=' | b'<' | b'\n' | b' ' => return None,
            _ => {}
        }
        let mut at = start;
        loop {
            match bytes.get(at) {
                None | Some(b'\n') => break,
                Some(b'#') if bytes[at - 1] == b' ' => break,
                Some(b':') if !bytes.get(at + 1).is_some_and(u8::is_ascii_graphic) => return None,
                Some(b',' | b']' | b'}') if within == Within::Flow => break,
                Some(b'[' | b'{' | b':') if within == Within::Flow && !is_address(&bytes[at..]) => {
                    return None;
                }
                Some(_) => at += 1,
            }
        }
        self.at = at;
        let text = self.text[start..at].trim_end_matches(' ');
        let kind = kind(text)?;
        Some(self.node(start, start + text.len(), kind))
    }

    /// A mapping in braces.
    fn flow_map(&mut self, depth: usize) -> Option<TreeNode<'s>> {
        let start = self.at;
        let mut pairs = Vec::new();
        self.open(depth)?;
        while self.byte()? != b'}' {
            let key = self.key()?;
            self.skip_blanks();
            pairs.push((key, self.value(Within::Flow, depth + 1)?));
            self.separator(b'}')?;
        }
        self.at += 1;
        Some(self.node(start, start + 1, NodeKind::Map(pairs)))
    }

    /// A list in brackets.
    fn flow_list(&mut self, depth: usize) -> Option<TreeNode<'s>> {
        let start = self.at;
        let mut items = Vec::new();
        self.open(depth)?;
        while self.byte()? != b']' {
            items.push(self.value(Within::Flow, depth + 1)?);
            self.separator(b']')?;
        }
        self.at += 1;
        Some(self.node(start, start + 1, NodeKind::List(items)))
    }

    fn open(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.skip_breaks()?;
        (depth <= MAX_DEPTH).then_some(())
    }

    /// Goes past the comma behind an item, if it is not the last one.
    fn separator(&mut self, close: u8) -> Option<()> {
        self.skip_breaks()?;
        match self.byte()? {
            b',' => {
                self.at += 1;
                self.skip_breaks()
            }
            byte => (byte == close).then_some(()),
        }
    }

    /// Skips blanks and line breaks within brackets. A line that begins like the mark of a document
    /// is not plain.
    fn skip_breaks(&mut self) -> Option<()> {
        loop {
            self.skip_blanks();
            if self.byte() != Some(b'\n') {
                return Some(());
            }
            self.at += 1;
            if matches!(self.byte(), Some(b'-' | b'.')) {
                return None;
            }
        }
    }

    /// A key and its value that are not plain, by the library.
    fn block(&mut self, indent: usize, depth: usize) -> Option<(TreeKey<'s>, TreeNode<'s>)> {
        if self.given_up {
            return None;
        }
        self.given_up = true;
        let begins = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'"' | b'\'');
        if !self.byte().is_some_and(begins) {
            return None;
        }
        let start = self.at - indent;
        let mut last_line = self.at;
        self.skip_to_break();
        loop {
            self.at = (self.at + 1).min(self.text.len());
            self.next_line();
            match self.indent {
                // A bracket ends what began in the block.
                Some(deeper) if deeper > indent || matches!(self.byte(), Some(b'}' | b']')) => {}
                Some(below) if below == indent && self.byte() == Some(b'-') => {}
                _ => break,
            }
            last_line = self.at;
            self.skip_to_break();
        }
        // With the blanks of the line behind the block: the library counts them as part of a text
        // that they end.
        let text = &self.text[start..self.at];
        // An anchor is known in the blocks below, and what `<<` merges is counted for the file.
        if text.contains('&') || text.contains("<<") {
            return None;
        }
        // The library has an empty text elsewhere at the end of a file than before another line.
        let last_line = self.text[last_line..].lines().next().unwrap_or_default();
        if last_line.starts_with(['|', '>']) || last_line.contains(" |") || last_line.contains(" >") {
            return None;
        }
        let mut node = library::read(text, depth - 1).ok()?;
        node.shift(u32::try_from(start).ok()?);
        self.nodes += node.count();
        let NodeKind::Map(pairs) = node.kind else { return None };
        let [pair] = <[_; 1]>::try_from(pairs).ok()?;
        self.given_up = false;
        Some(pair)
    }
}

/// Returns true where a colon is that of `http://`.
fn is_address(rest: &[u8]) -> bool {
    rest.starts_with(b"://")
}

/// The kind of a scalar without quotes, by its look. `None`: the library decides.
fn kind(text: &str) -> Option<NodeKind<'_>> {
    let words = NodeKind::Text(Cow::Borrowed(text));
    let bytes = text.as_bytes();
    match bytes {
        [] => None,
        [b'0'..=b'9', ..] => {
            let is_radix = matches!(bytes, [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]);
            if is_radix || bytes.contains(&b'_') {
                return None;
            }
            // The library takes it for a number too, however many digits there are.
            Some(if text.parse::<f64>().is_ok() { NodeKind::Number } else { words })
        }
        [b'+' | b'-', b'0'..=b'9' | b'.', ..] | [b'.', ..] | [b'~'] => None,
        _ => Some(match text {
            "null" | "Null" | "NULL" => NodeKind::Null,
            "true" | "True" | "TRUE" => NodeKind::Bool(true),
            "false" | "False" | "FALSE" => NodeKind::Bool(false),
            _ => words,
        }),
    }
}
