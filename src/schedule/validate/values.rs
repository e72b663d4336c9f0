//! Single values: texts, words, durations, numbers, zones.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::super::diagnostic::Code;
use super::super::duration;
use super::super::place::shown;
use super::super::report::Reported;
use super::super::tree::{NodeKind, TreeNode};
use super::super::words::{Word, nearest};
use super::{Validator, zones};

/// A sentence that says what a value should have been.
pub(super) struct ExpectedValue(pub &'static str);

impl<'s> Validator<'s, '_> {
    /// The words of a scalar, whatever they look like.
    pub(super) fn scalar<'n>(
        &mut self,
        node: &'n TreeNode<'s>,
        wanted: ExpectedValue,
    ) -> Result<&'n str, Reported> {
        match node.scalar(self.source) {
            Some(words) => Ok(words),
            None => Err(self.unwanted(node, wanted, "write it as one value, without brackets or dashes")),
        }
    }

    pub(super) fn flag(&mut self, node: &TreeNode<'s>) -> Result<bool, Reported> {
        let help = match &node.kind {
            NodeKind::Bool(value) => return Ok(*value),
            NodeKind::Text(text) if text == "true" || text == "false" => {
                format!("write `{text}` without quotes")
            }
            NodeKind::Text(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => "write `true`".into(),
                "no" | "off" | "n" => "write `false`".into(),
                _ => "write `true` or `false`".into(),
            },
            _ => "write `true` or `false`".into(),
        };
        Err(self.unwanted(node, ExpectedValue("`true` or `false`"), help))
    }

    /// One of a few words.
    pub(super) fn word<W: Word>(&mut self, node: &TreeNode<'s>) -> Result<W, Reported> {
        let word = self.scalar(node, ExpectedValue("one of a few words"))?;
        W::of(word).ok_or_else(|| {
            let (message, mut help) = (
                format!("`{}` is none of {}", shown(word), W::listed()),
                format!("write one of {}", W::listed()),
            );
            if let Some(nearest) = nearest(word, W::ALL.iter().map(|(word, _)| *word)) {
                help = format!("did you mean `{nearest}`?");
            }
            self.error_in(node, None, Code::UnknownWord, message, help)
        })
    }

    pub(super) fn duration(&mut self, node: &TreeNode<'s>) -> Result<Duration, Reported> {
        let words = self.scalar(node, ExpectedValue("a duration"))?;
        duration::parse(words).map_err(|error| {
            self.error_in(node, error.span(), Code::BadDuration, error.to_string(), error.help())
        })
    }

    /// A duration that is not zero.
    pub(super) fn span_of_time(&mut self, node: &TreeNode<'s>) -> Result<Duration, Reported> {
        let duration = self.duration(node)?;
        if duration.is_zero() {
            let message = "a duration of zero leaves no time for anything".into();
            return Err(self.error_in(node, None, Code::BadDuration, message, "write a longer one"));
        }
        Ok(duration)
    }

    pub(super) fn timezone(&mut self, node: &TreeNode<'s>) -> Result<TimeZone, Reported> {
        let name = self.scalar(node, ExpectedValue("the name of a time zone"))?;
        if !self.zones.contains_key(name) {
            self.zones.insert(name.into(), zones::look_up(name));
        }
        match &self.zones[name] {
            Ok(zone) => Ok(zone.clone()),
            Err(help) => {
                let (message, help) = (format!("`{}` is no time zone", shown(name)), help.clone());
                Err(self.error_in(node, None, Code::UnknownTimezone, message, help))
            }
        }
    }
}
