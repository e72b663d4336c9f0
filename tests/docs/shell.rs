//! The commands of a shell's text: as much of a shell as the pages use.

/// The commands of a text, each as its words: comments, redirections and `sudo` are left out.
///
/// # Errors
/// When a quote is not closed.
pub fn commands(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => match characters.next() {
                Some('\n') | None => {}
                Some(c) => word.get_or_insert_default().push(c),
            },
            (None, '#') if word.is_none() => while characters.next_if(|c| *c != '\n').is_some() {},
            (None, '\n' | '|' | '&' | ';') => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a quote {quote} is not closed"));
    }
    words.extend(word);
    commands.push(words);
    Ok(commands.into_iter().map(plain).filter(|words| !words.is_empty()).collect())
}

/// The command without what stands in front of the program, and without redirections.
fn plain(words: Vec<String>) -> Vec<String> {
    let assigns = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let program = words.into_iter().skip_while(|word| word == "sudo" || assigns(word));
    program.take_while(|word| !word.starts_with(['<', '>'])).collect()
}

/// The arguments of `stackcron`, where that is the program, or where cargo runs it.
pub fn stackcron(words: &[String]) -> Option<&[String]> {
    match words.first()?.as_str() {
        "stackcron" => Some(&words[1..]),
        "cargo" if words.get(1).is_some_and(|word| word == "run") => {
            words.iter().position(|word| word == "--").map(|at| &words[at + 1..])
        }
        _ => None,
    }
}
