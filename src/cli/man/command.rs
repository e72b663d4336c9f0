//! The manual page of a command.

use clap::{Arg, Command};
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::extra::{self, COMMON_ENVIRONMENT, ENVIRONMENT, EXIT, FILES};
use super::{ManPage, SCHEDULE_FILE, head, item, literal, marked, paragraphs, see_also, value};

/// Adds the page of a command, and those of its subcommands.
pub(super) fn pages(command: &Command, pages: &mut Vec<ManPage>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push(ManPage { roff: page(command, &name), name, section: '1' });
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        self::pages(subcommand, pages);
    }
}

fn page(command: &Command, name: &str) -> Roff {
    let about = command.get_about().or_else(|| command.get_long_about());
    let mut roff = head(name, '1', &about.map(ToString::to_string).unwrap_or_default());
    let extra = extra::of(name);
    roff.control("SH", ["SYNOPSIS"]);
    synopsis(&mut roff, command);
    roff.control("SH", ["DESCRIPTION"]);
    let long = command.get_long_about().or_else(|| command.get_about());
    paragraphs(&mut roff, &super::sentence(&long.map(ToString::to_string).unwrap_or_default()));
    let subcommands: Vec<&Command> = command.get_subcommands().filter(|one| !one.is_hide_set()).collect();
    if !subcommands.is_empty() {
        roff.control("SH", ["COMMANDS"]);
        for subcommand in &subcommands {
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            item(&mut roff, vec![bold(subcommand.get_name())], &about);
        }
    }
    let arguments: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_hide_set()).collect();
    options(&mut roff, &arguments);
    examples(&mut roff, command, extra);
    files(&mut roff, &arguments);
    environment(&mut roff, &arguments);
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in extra.exit.iter().chain(EXIT) {
        item(&mut roff, vec![bold(status.to_string())], meaning);
    }
    let related = extra.see.iter().copied();
    let own: Vec<String> = subcommands.iter().map(|one| format!("{name}-{}(1)", one.get_name())).collect();
    let parent = name.rsplit_once('-').map(|(parent, _)| format!("{parent}(1)"));
    let schedule = format!("{SCHEDULE_FILE}(5)");
    let all = parent.as_deref().into_iter().chain(own.iter().map(String::as_str)).chain(related);
    see_also(&mut roff, all.chain([schedule.as_str()]));
    roff
}

/// Returns true when an argument takes a value.
fn takes_value(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|range| range.takes_values())
}

/// The names of an argument's values, as `FILE`.
fn values(argument: &Arg) -> String {
    match argument.get_value_names() {
        Some(names) => names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "),
        None => argument.get_id().as_str().to_uppercase(),
    }
}

/// An option as it is written, with its value.
fn written(argument: &Arg) -> Vec<Inline> {
    let mut written = Vec::new();
    match (argument.get_long(), argument.get_short()) {
        (Some(long), _) => written.push(bold(format!("--{long}"))),
        (None, Some(short)) => written.push(bold(format!("-{short}"))),
        (None, None) => return vec![value(&values(argument))],
    }
    if takes_value(argument) {
        let optional = argument.get_num_args().is_some_and(|range| range.min_values() == 0);
        written.extend(match optional {
            true => vec![roman("[="), value(&values(argument)), roman("]")],
            false => vec![roman(" "), value(&values(argument))],
        });
    }
    written
}

fn synopsis(roff: &mut Roff, command: &Command) {
    let mut line = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
    let shown = |argument: &&Arg| !argument.is_hide_set() && argument.get_id() != "help";
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(shown).partition(|argument| argument.is_positional());
    for argument in options.into_iter().chain(positional) {
        line.push(roman(" "));
        let optional = !argument.is_required_set();
        if optional {
            line.push(roman("["));
        }
        line.extend(written(argument));
        if optional {
            line.push(roman("]"));
        }
        let several = matches!(argument.get_action(), clap::ArgAction::Append);
        if several {
            line.push(roman(" ..."));
        }
    }
    if command.has_subcommands() {
        line.extend([roman(" "), value("COMMAND")]);
    }
    roff.text(line);
}

fn options(roff: &mut Roff, arguments: &[&Arg]) {
    roff.control("SH", ["OPTIONS"]);
    let positional = arguments.iter().filter(|argument| argument.is_positional());
    let options = arguments.iter().filter(|argument| !argument.is_positional());
    for argument in positional.chain(options) {
        let mut term = Vec::new();
        if let (Some(short), Some(_)) = (argument.get_short(), argument.get_long()) {
            term.extend([bold(format!("-{short}")), roman(", ")]);
        }
        term.extend(written(argument));
        let help = argument.get_long_help().or_else(|| argument.get_help());
        item(roff, term, &help.map(ToString::to_string).unwrap_or_default());
        if takes_value(argument) {
            choices(roff, argument);
        }
    }
}

/// The words that an option takes, its default, and the variable that stands in for it.
fn choices(roff: &mut Roff, argument: &Arg) {
    let words = argument.get_possible_values();
    let words: Vec<_> = words.iter().filter(|word| !word.is_hide_set()).collect();
    if words.iter().any(|word| word.get_help().is_some()) {
        roff.control("RS", []);
        for word in words {
            let help = word.get_help().map(ToString::to_string).unwrap_or_default();
            item(roff, vec![bold(word.get_name())], &help);
        }
        roff.control("RE", []);
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let mut rest = Vec::new();
    if !defaults.is_empty() {
        rest.push(format!("Default: `{}`.", defaults.join(" ")));
    }
    if let Some(variable) = argument.get_env() {
        rest.push(format!("Environment: `{}`.", variable.to_string_lossy()));
    }
    if !rest.is_empty() {
        roff.control("IP", []);
        roff.text(marked(&rest.join(" ")));
    }
}

fn examples(roff: &mut Roff, command: &Command, extra: &extra::Extra) {
    roff.control("SH", ["EXAMPLES"]);
    for (example, meaning) in extra.examples {
        roff.control("PP", []);
        roff.text(marked(meaning));
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        literal(roff, example);
        roff.control("RE", []);
    }
    // Notes that only --help has, such as the faults of the sandbox.
    if let (Some(notes), Some(_)) = (command.get_after_long_help(), command.get_after_help()) {
        roff.control("SH", ["NOTES"]);
        literal(roff, &notes.to_string());
    }
}

/// Returns true when a command has an option.
fn has(arguments: &[&Arg], long: &str) -> bool {
    arguments.iter().any(|argument| argument.get_long() == Some(long))
}

fn files(roff: &mut Roff, arguments: &[&Arg]) {
    roff.control("SH", ["FILES"]);
    for (option, path, meaning) in FILES {
        if option.is_none_or(|option| has(arguments, option)) {
            item(roff, vec![value(path)], meaning);
        }
    }
}

fn environment(roff: &mut Roff, arguments: &[&Arg]) {
    roff.control("SH", ["ENVIRONMENT"]);
    for argument in arguments {
        if let Some(variable) = argument.get_env() {
            let option = argument.get_long().unwrap_or_default();
            let meaning = format!("Stands in for `--{option}`.");
            item(roff, vec![bold(variable.to_string_lossy())], &meaning);
        }
    }
    for (option, variable, meaning) in ENVIRONMENT {
        if has(arguments, option) {
            item(roff, vec![bold(*variable)], meaning);
        }
    }
    for (variable, meaning) in COMMON_ENVIRONMENT {
        item(roff, vec![bold(*variable)], meaning);
    }
}
