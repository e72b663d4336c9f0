//! Cron expressions: from text to what each field allows.

use std::fmt;
use std::ops::Range;

/// One cron expression that comes due at some time.
#[derive(Clone, PartialEq, Eq)]
pub struct Expression {
    source: Box<str>,
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// The bytes of the expression that are wrong.
    pub span: Range<usize>,
    /// What is wrong with them.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Expression {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Expression, CronError> {
        Ok(Expression { source: text.into() })
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.source, f)
    }
}
