//! How many tokens a model may have no class for before its perplexity says nothing.

use super::corpus::Corpus;
use super::tokens::TokenKind;
use crate::Failure;

/// A share above this is worth a warning.
pub const WARNED: f64 = 0.1;

/// A share above this is refused: most of what is predicted would be `<unk>`, which is easy to guess.
const REFUSED: f64 = 0.5;

/// Refuses a text of too many unknown tokens; what to say of many.
pub fn check(corpus: &Corpus, kind: TokenKind, name: &str) -> Result<Option<String>, Failure> {
    let shares =
        [("training", corpus.unknown_in_training()), ("held-out", corpus.unknown_in_held_out())];
    let [training, held_out] = shares;
    let (part, share) = if training.1 > held_out.1 { training } else { held_out };
    let kinds = kind.name();
    let percent = 100.0 * share;
    let remedy = match kind {
        TokenKind::Words => "--tokens characters, --tokens bytes or a longer text",
        TokenKind::Characters | TokenKind::Bytes => "--tokens bytes or a longer text",
    };
    if share > REFUSED {
        return Err(Failure::Input(format!(
            "{percent:.0} % of the {part} {kinds} of {name} are not twice in its training part, and \
             would be one class, expected at most {:.0} %: take {remedy}",
            100.0 * REFUSED
        )));
    }
    Ok((share > WARNED).then(|| {
        format!(
            "{percent:.1} % of the {part} {kinds} of {name} are unknown: the perplexity flatters, bits \
             per byte do not; {remedy} would have fewer"
        )
    }))
}
