//! How records are printed: aligned text for people, one JSON object a line for programs.

/// What `--format` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned, for a terminal.
    #[default]
    Text,
    /// One object a line.
    Json,
}
