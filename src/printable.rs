//! Text of files and arguments, fit for a line of a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` on one line, with nothing in it that a terminal acts on or hides.
///
/// Control characters (a terminal obeys them, and a line feed would end the line), what turns the
/// direction of writing, and characters without a shape are written as Rust writes them in a string:
/// `\n`, `\u{1b}`, `\u{202e}`. Every message of an [`Error`](crate::Error) is such a line.
///
/// ```
/// assert_eq!(surprisal::printable("हिन्दी.npy"), "हिन्दी.npy");
/// assert_eq!(surprisal::printable("a\u{1b}[31m\nb"), r"a\u{1b}[31m\nb");
/// assert_eq!(surprisal::printable("\u{202e}ypn.txt"), r"\u{202e}ypn.txt");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unseen) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => line += "\\n",
            '\r' => line += "\\r",
            '\t' => line += "\\t",
            unseen if is_unseen(unseen) => {
                let _ = write!(line, "{}", unseen.escape_unicode());
            }
            seen => line.push(seen),
        }
    }
    line.into()
}

/// Controls, separators of lines, and what Unicode calls a format character or ignorable by default.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_unseen_is_left_and_nothing_seen_is_lost(text in any::<String>()) {
            let line = printable(&text);
            prop_assert!(!line.contains(is_unseen), "{line:?}");
            prop_assert_eq!(printable(&line), line.clone());
            let seen = text.chars().filter(|&character| !is_unseen(character)).count();
            prop_assert!(line.chars().count() >= seen);
            if seen == text.chars().count() {
                prop_assert_eq!(&line, &text);
            }
        }
    }
}
