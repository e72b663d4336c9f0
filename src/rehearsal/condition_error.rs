//! Why a text is no condition of a rehearsal.

/// Text that is no latency, or no use by others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Not a duration, nor two.
    #[error("write a latency as 200ms, or as 50ms..2s for any between the two")]
    Latency,
    /// Not a number of requests in a duration.
    #[error("write what others use as 300/1h: so many requests in a time; 100 a second at most")]
    Others,
}
