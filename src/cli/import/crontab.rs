//! Reads a crontab: what is due when, under which variables, with the comments above each line.
//!
//! Two forms exist. A user's crontab (`crontab -l`, and what `whenever` prints) has five time
//! fields and the command. The system's (/etc/crontab, /etc/cron.d/*) has a user between the two.
//! Nothing in a line tells which form it has, so [`CrontabForm::guess`] goes by all lines together.

use std::path::Path;

/// Which fields stand before the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum CrontabForm {
    /// The time fields alone, as `crontab -l` prints.
    User,
    /// The time fields and a user, as in /etc/crontab and /etc/cron.d.
    System,
}

/// One line that runs a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CrontabLine {
    /// Number of the line, from 1.
    pub(super) number: usize,
    /// The comments right above the line, without their signs.
    pub(super) comments: Vec<String>,
    /// The time fields, or a nickname such as `@daily`.
    pub(super) cron: String,
    /// The user that the system's form names.
    pub(super) user: Option<String>,
    /// The command for the shell, with `\%` read as `%`. The standard input behind a bare `%` is
    /// left out.
    pub(super) command: String,
    /// True when a bare `%` gives the command a standard input. A job of Cloud 66 has none.
    pub(super) has_input: bool,
    /// The zone that `CRON_TZ` sets for this line.
    pub(super) timezone: Option<String>,
    /// The address that `MAILTO` sets for this line, where it is not empty.
    pub(super) mail_to: Option<String>,
}

/// A crontab, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Crontab {
    pub(super) lines: Vec<CrontabLine>,
    /// Variables for the commands, as (line, name): a job has those of its stack in their place.
    pub(super) variables: Vec<(usize, String)>,
    /// Lines that are none of a crontab, as (line, reason).
    pub(super) unread: Vec<(usize, String)>,
}

impl CrontabForm {
    /// The form of a crontab, by the place of its file or by its lines: `root` before every
    /// command.
    pub(super) fn guess(path: &Path, text: &str) -> CrontabForm {
        if path == Path::new("/etc/crontab") || path.starts_with("/etc/cron.d") {
            return CrontabForm::System;
        }
        let mut commands = text.lines().filter_map(|line| Some(split_time(line.trim())?.1)).peekable();
        let root = |rest: &str| rest.strip_prefix("root").is_some_and(|rest| rest.starts_with([' ', '\t']));
        if commands.peek().is_some() && commands.all(root) { CrontabForm::System } else { CrontabForm::User }
    }
}

impl Crontab {
    /// Reads all lines. A line that cannot be read is named in `unread` and changes no other.
    pub(super) fn read(text: &str, form: CrontabForm) -> Crontab {
        let mut crontab = Crontab::default();
        let (mut comments, mut timezone, mut mail_to) = (Vec::new(), None, None);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() {
                comments.clear();
            } else if let Some(comment) = line.strip_prefix('#') {
                comments.push(comment.trim().to_owned());
            } else if let Some((name, value)) = variable(line) {
                let value = Some(value).filter(|value| !value.is_empty());
                match name.as_str() {
                    "CRON_TZ" => timezone = value,
                    "MAILTO" => mail_to = value,
                    _ => crontab.variables.push((number, name)),
                }
                comments.clear();
            } else {
                let about = (timezone.clone(), mail_to.clone());
                match command_line(number, line, form, std::mem::take(&mut comments), about) {
                    Ok(line) => crontab.lines.push(line),
                    Err(reason) => crontab.unread.push((number, reason.to_owned())),
                }
            }
        }
        crontab
    }
}

fn command_line(
    number: usize,
    line: &str,
    form: CrontabForm,
    comments: Vec<String>,
    (timezone, mail_to): (Option<String>, Option<String>),
) -> Result<CrontabLine, &'static str> {
    let (cron, rest) =
        split_time(line).ok_or("the line has neither five time fields nor a command behind them")?;
    let (user, rest) = match form {
        CrontabForm::User => (None, rest),
        CrontabForm::System => {
            let (user, rest) = first_word(rest);
            (Some(user.to_owned()), rest)
        }
    };
    if rest.is_empty() {
        return Err("no command stands behind the time fields");
    }
    let (command, has_input) = until_input(rest);
    Ok(CrontabLine { number, comments, cron: cron.to_owned(), user, command, has_input, timezone, mail_to })
}

/// The time fields of a line and all that follows. `None` where it has no five fields.
fn split_time(line: &str) -> Option<(&str, &str)> {
    if line.is_empty() || line.starts_with('#') || variable(line).is_some() {
        return None;
    }
    let fields = if line.starts_with('@') { 1 } else { 5 };
    let mut rest = line;
    for _ in 0..fields {
        rest = first_word(rest).1;
        if rest.is_empty() {
            return None;
        }
    }
    let time = line[..line.len() - rest.len()].trim_end();
    Some((time, rest))
}

fn first_word(text: &str) -> (&str, &str) {
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A line that sets a variable, as cron reads it: a name, `=`, and a value that may be in quotes.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let unquoted = |text: &str| {
        let text = text.trim();
        let inner = ['"', '\'']
            .into_iter()
            .find_map(|quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)));
        inner.unwrap_or(text).to_owned()
    };
    let name = unquoted(name);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name, unquoted(value)))
}

/// The command up to the first `%` that no `\` stands before, and whether there is one.
fn until_input(text: &str) -> (String, bool) {
    let mut command = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&'%') => {
                letters.next();
                command.push('%');
            }
            '%' => return (command.trim_end().to_owned(), true),
            letter => command.push(letter),
        }
    }
    (command, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Crontab {
        Crontab::read(text, CrontabForm::guess(Path::new("crontab"), text))
    }

    #[test]
    fn each_line_keeps_its_comments_and_the_variables_above_it() {
        let crontab = read(
            "SHELL=/bin/bash\nMAILTO=\"ops@example.com\"\n# Sends the invoices.\n# Ask Kim.\n\
             0 6 * * 1\tcd /app && rake invoices\nCRON_TZ=Europe/London\n\n@daily date +\\%F\n",
        );
        assert_eq!(crontab.variables, [(1, "SHELL".to_owned())]);
        let [invoices, date] = &crontab.lines[..] else { panic!("two lines: {crontab:?}") };
        assert_eq!(invoices.comments, ["Sends the invoices.", "Ask Kim."]);
        assert_eq!((invoices.cron.as_str(), invoices.number), ("0 6 * * 1", 5));
        assert_eq!(invoices.command, "cd /app && rake invoices");
        assert_eq!(invoices.mail_to.as_deref(), Some("ops@example.com"));
        assert_eq!((invoices.timezone.as_deref(), date.timezone.as_deref()), (None, Some("Europe/London")));
        assert_eq!(
            (date.cron.as_str(), date.command.as_str(), date.has_input),
            ("@daily", "date +%F", false)
        );
    }

    #[test]
    fn the_systems_form_is_told_by_its_place_or_by_root_before_each_command() {
        let system = "1 2 * * * root /bin/a\n3 4 * * *  root  /bin/b x\n";
        assert_eq!(CrontabForm::guess(Path::new("x"), system), CrontabForm::System);
        assert_eq!(
            CrontabForm::guess(Path::new("x"), "1 2 * * * root /bin/a\n1 2 * * * /bin/b\n"),
            CrontabForm::User
        );
        assert_eq!(
            CrontabForm::guess(Path::new("/etc/cron.d/app"), "1 2 * * * deploy /bin/a\n"),
            CrontabForm::System
        );
        assert_eq!(CrontabForm::guess(Path::new("x"), ""), CrontabForm::User);
        let lines = read(system).lines;
        let [_, second] = &lines[..] else { panic!("two lines: {lines:?}") };
        assert_eq!((second.user.as_deref(), second.command.as_str()), (Some("root"), "/bin/b x"));
    }

    #[test]
    fn a_percent_sign_begins_the_standard_input_unless_it_is_escaped() {
        assert_eq!(until_input("mail -s x ops%hello%there"), ("mail -s x ops".to_owned(), true));
        assert_eq!(until_input("date +\\%F\\%T"), ("date +%F%T".to_owned(), false));
        assert_eq!(until_input("a \\b"), ("a \\b".to_owned(), false));
    }

    #[test]
    fn a_line_that_is_none_is_named_and_changes_no_other() {
        let crontab = read("1 2 * *\n* * * * *\n0 1 * * * true\n");
        assert_eq!(crontab.lines.len(), 1);
        assert_eq!(crontab.unread.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    }
}
