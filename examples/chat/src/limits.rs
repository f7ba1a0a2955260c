//! What a name, a room and a message may be.

/// Most characters of a name.
pub(crate) const NAME: usize = 24;
/// Most characters of a room's name.
pub(crate) const ROOM: usize = 32;
/// Most characters of a message.
pub(crate) const CONTENT: usize = 2000;

/// A name or a room as it was typed, without the blanks that nobody sees.
pub(crate) fn line(what: &str, text: &str, most: usize) -> Result<String, String> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().any(misleads) {
        return Err(format!("A {what} is one line of visible characters."));
    }
    length(what, &line, most)?;
    Ok(line)
}

/// A message as it was written, without blanks around it.
pub(crate) fn content(text: &str) -> Result<String, String> {
    let content = text.trim();
    length("message", content, CONTENT)?;
    Ok(content.to_owned())
}

fn length(what: &str, text: &str, most: usize) -> Result<(), String> {
    match text.chars().count() {
        0 => Err(format!("Please give a {what}.")),
        n if n > most => Err(format!(
            "A {what} has at most {most} characters; this one has {n}."
        )),
        _ => Ok(()),
    }
}

/// Characters that cannot be seen, or that turn the writing direction of what stands beside them:
/// with them one could pass for somebody else.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{3164}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_without_needless_blanks() {
        assert_eq!(
            line("name", "  Ada \t Lovelace\n", NAME).unwrap(),
            "Ada Lovelace"
        );
        assert_eq!(line("name", "林小明", NAME).unwrap(), "林小明");
    }

    #[test]
    fn a_name_has_a_length_in_characters() {
        assert!(line("name", &"ü".repeat(NAME), NAME).is_ok());
        let long = line("name", &"ü".repeat(NAME + 1), NAME).unwrap_err();
        assert_eq!(long, "A name has at most 24 characters; this one has 25.");
        assert_eq!(
            line("room", " \n ", ROOM).unwrap_err(),
            "Please give a room."
        );
    }

    #[test]
    fn a_name_that_misleads_is_refused() {
        for text in ["A\u{202e}da", "Ada\u{200b}", "Ada\u{7}", "\u{3164}"] {
            assert!(line("name", text, NAME).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_message_may_have_lines_and_an_end() {
        assert_eq!(content(" one\n\ttwo \n").unwrap(), "one\n\ttwo");
        assert!(content(&"x".repeat(CONTENT)).is_ok());
        assert!(content(&"x".repeat(CONTENT + 1)).is_err());
        assert!(content("\n").is_err());
    }
}
