//! A page that came instead of the API's answer: what its title says.

/// The text of the page's `<title>`, its blanks joined. `None` where the page has no title, or an
/// empty one.
pub(super) fn title(page: &str) -> Option<String> {
    // ASCII letters alone change, so that places stay.
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let text = page[start..end].replace("&amp;", "&").replace("&#39;", "'").replace("&quot;", "\"");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::title;

    #[test]
    fn the_title_of_a_page_is_read() {
        let nginx =
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center>nginx</center>";
        assert_eq!(title(nginx).as_deref(), Some("502 Bad Gateway"));
        assert_eq!(title("<TITLE lang=en>\n  Sorry, é &amp; co\n</TITLE>").as_deref(), Some("Sorry, é & co"));
        for none in ["", "<html>", "<title></title>", "<title>never ends", "<title"] {
            assert_eq!(title(none), None, "{none}");
        }
    }
}
