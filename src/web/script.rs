//! Scripts as they are served: without what is there for who reads the source.
//!
//! Comments, types and the space between signs are a third of a script. They are left out when the
//! daemon starts, so that there is no build step. This understands as much of JavaScript as the
//! page's own modules are written in: `/**` and a line that begins with `//` are comments, and no
//! regular expression has a quote or a space in it.

/// A space beside one of these separates nothing.
const SIGNS: &str = ",;:{}()[]=<>?|&!*/%\"'`";

/// A space beside one of these separates it only from another one: two of them are another sign.
const TWINS: &str = "+-";

/// A statement goes on after a line that ends with one of these, or has ended with its semicolon.
const GOES_ON: [char; 5] = [';', ',', '{', '(', '['];

/// A line that begins with one of these goes on where the line before it ended.
const CONTINUES: [char; 8] = ['}', ')', ']', '.', '?', ':', '&', '|'];

/// Begins the statement that names a value.
const CONST: &str = "const ";

/// The kind of text at one place of a script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ScriptPlace {
    /// Code, at so many open braces.
    Code(usize),
    /// A string that ends with this quote. A template ends with a backtick, and `${` begins code in
    /// it.
    Text(char),
}

/// A script without comments and spaces.
pub(super) fn served(script: &str) -> String {
    let text = without_comments(script);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let mut served = String::with_capacity(text.len());
    let mut places = vec![ScriptPlace::Code(0)];
    // True after a line that is one `const` statement: the next one is a further name of that.
    let mut is_after_const = false;
    for line in lines {
        let constant = line.strip_prefix(CONST);
        let (start, before) = (served.len(), places.clone());
        match constant.filter(|_| is_after_const) {
            Some(rest) => {
                served.pop();
                served.push(',');
                squeeze(rest, &mut places, &mut served);
            }
            None => {
                // Only between two statements without a semicolon does the end of a line separate
                // them.
                if !served.is_empty() && !served.ends_with(GOES_ON) && !line.starts_with(CONTINUES) {
                    served.push('\n');
                }
                squeeze(line, &mut places, &mut served);
            }
        }
        let is_one = served.ends_with(';') && served[start..].matches(';').count() == 1;
        is_after_const = constant.is_some() && is_one && places == before;
    }
    served
}

fn without_comments(script: &str) -> String {
    let mut text = String::with_capacity(script.len());
    let mut rest = script;
    while let Some((before, comment)) = rest.split_once("/**") {
        text.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after.trim_start_matches(' '));
    }
    text + rest
}

/// Writes a line without the spaces beside signs. `places`: what the text is in, the innermost
/// last.
fn squeeze(line: &str, places: &mut Vec<ScriptPlace>, served: &mut String) {
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let place = places.last().copied().unwrap_or(ScriptPlace::Code(0));
        match (place, letter) {
            (ScriptPlace::Text(_), '\\') => {
                served.push(letter);
                served.extend(letters.next());
                continue;
            }
            (ScriptPlace::Text(quote), _) if letter == quote => drop(places.pop()),
            (ScriptPlace::Text('`'), '$') if letters.peek() == Some(&'{') => {
                served.push(letter);
                served.extend(letters.next());
                places.push(ScriptPlace::Code(0));
                continue;
            }
            (ScriptPlace::Text(_), _) => {}
            (ScriptPlace::Code(_), '"' | '\'' | '`') => places.push(ScriptPlace::Text(letter)),
            (ScriptPlace::Code(open), '{') => replace(places, ScriptPlace::Code(open + 1)),
            (ScriptPlace::Code(0), '}') => drop(places.pop()),
            (ScriptPlace::Code(open), '}') => {
                replace(places, ScriptPlace::Code(open - 1));
                // The last statement of a block needs no semicolon, the last value no comma.
                if served.ends_with([';', ',']) {
                    served.pop();
                }
            }
            (ScriptPlace::Code(_), ']' | ')') if served.ends_with(',') => drop(served.pop()),
            (ScriptPlace::Code(_), '>') if served.ends_with(")=") => bare_parameter(served),
            (ScriptPlace::Code(_), ' ') => {
                let beside = [served.chars().next_back(), letters.peek().copied()];
                let among = |signs: &str| beside.map(|letter| letter.is_some_and(|one| signs.contains(one)));
                if among(SIGNS).contains(&true) || matches!(among(TWINS), [true, false] | [false, true]) {
                    continue;
                }
            }
            (ScriptPlace::Code(_), _) => {}
        }
        served.push(letter);
    }
}

/// The one parameter of a function, as in `(a)=`, needs no parentheses.
fn bare_parameter(served: &mut String) {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let Some((before, name)) = served.strip_suffix(")=").and_then(|text| text.rsplit_once('(')) else {
        return;
    };
    // What stands before, as `async`, would be one word with the name.
    if !name.is_empty() && name.chars().all(is_name) && !before.ends_with(is_name) {
        *served = format!("{before}{name}=");
    }
}

fn replace(places: &mut [ScriptPlace], place: ScriptPlace) {
    if let Some(last) = places.last_mut() {
        *last = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_says_stays() {
        for (script, expected) in [
            ("// A comment.\n\n  const a = (x, y) => x + y;\n", "const a=(x,y)=>x+y;"),
            ("/** @param {string} a */\nf(a, \" , \" , 'a = b');", "f(a,\" , \",'a = b');"),
            ("t = `a, ${f({ b: ` , ${c } ` })} , d` ;", "t=`a, ${f({b:` , ${c} `})} , d`;"),
            ("return { a: \"it's \\\" , \" };", "return{a:\"it's \\\" , \"};"),
            ("a + +b - -c / d % e", "a+ +b- -c/d%e"),
            ("f((a) => async (b) => [c, (d) => e,], ' (f) => g ')", "f(a=>async(b)=>[c,d=>e],' (f) => g ')"),
            (
                "const a = 1;\n// b\nconst { b } = c;\nconst d = () => {\n  e();\n};\nconst f = 2;",
                "const a=1,{b}=c,d=()=>{e()};const f=2;",
            ),
            ("const a = 1; b();\nconst c = ';';\nconst d = 2;", "const a=1;b();const c=';';const d=2;"),
            ("import { a } from './a.js'; case 'b':", "import{a}from'./a.js';case'b':"),
            ("if (a) { b(';}'); c(); }", "if(a){b(';}');c()}"),
            ("f(a,\n  b);\ng()\n  .h();\nlet c = 1\nlet d", "f(a,b);g().h();let c=1\nlet d"),
        ] {
            assert_eq!(served(script), expected, "{script}");
        }
    }
}
