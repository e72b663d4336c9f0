//! The nicknames of expressions, as `@daily`.

/// The nicknames and what they stand for.
pub(super) const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Returns the five fields that a nickname stands for; any other text as it is.
pub(crate) fn expanded(text: &str) -> &str {
    let text = text.trim_ascii();
    NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map_or(text, |(_, fields)| fields)
}
