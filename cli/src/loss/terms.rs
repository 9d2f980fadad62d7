//! A sum of losses, read from an argument.
//!
//! ```text
//! sum = [±] term { ± term }      term = [number *] name [: key=value { , key=value }]
//! ```

use std::collections::BTreeMap;
use std::fmt;

use surprisal::loss::RowLoss;

use super::named::Family;
use crate::Failure;
use crate::oracle::{Argument, Json, Kind, Named, Refusal, Request, nearest, shortened};

/// A loss with its factor.
pub(super) struct Term {
    pub(super) factor: f64,
    pub(super) named: &'static Named,
    pub(super) request: Request,
}

impl Term {
    pub(super) fn loss(&self) -> Result<Box<dyn RowLoss>, Failure> {
        Ok((self.named.make)(&self.request)?)
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.named.name == name
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Input(refusal.line())
    }
}

/// The terms of a sum that stands behind `flag`.
pub(super) fn read(flag: &str, text: &str, family: Family) -> Result<Vec<Term>, Failure> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut rest = Rest { text: &text, family };
    let mut terms = Vec::new();
    let wrong = |message: String| Failure::Input(format!("{flag}: {message}"));
    loop {
        terms.push(rest.term(terms.is_empty()).map_err(wrong)?);
        if rest.text.is_empty() {
            return Ok(terms);
        }
    }
}

/// What is yet to be read.
struct Rest<'t> {
    text: &'t str,
    family: Family,
}

impl<'t> Rest<'t> {
    fn term(&mut self, first: bool) -> Result<Term, String> {
        let mut factor = match self.text.chars().next() {
            Some('-') => -1.0,
            Some('+') => 1.0,
            _ if first => 1.0,
            _ => return Err(format!("{self} is left over, expected + or - and another loss")),
        };
        if self.text.starts_with(['+', '-']) {
            self.text = &self.text[1..];
        }
        let number = number_length(self.text);
        if number > 0 {
            let (digits, rest) = self.text.split_at(number);
            let read = digits.parse::<f64>().ok().filter(|factor| factor.is_finite());
            factor *= read.ok_or_else(|| format!("the factor {digits} is beyond a number"))?;
            self.text = rest.strip_prefix('*').ok_or_else(|| {
                format!("{digits} is not followed by *, expected a factor as in 0.5*mae")
            })?;
        }
        let named = self.name()?;
        let mut values = BTreeMap::new();
        if let Some(rest) = self.text.strip_prefix(':') {
            self.text = rest;
            loop {
                let (key, value) = self.pair(named)?;
                if values.insert(key.clone(), value).is_some() {
                    return Err(format!("{}: {key} stands twice, expected it once", named.name));
                }
                match self.text.strip_prefix(',') {
                    Some(rest) => self.text = rest,
                    None => break,
                }
            }
        }
        let of = |refusal: Refusal| format!("{}: {}", named.name, refusal.line());
        let request = Request::of(named.arguments, values).map_err(of)?;
        (named.make)(&request).map_err(of)?;
        Ok(Term { factor, named, request })
    }

    /// The longest name that stands here: a hyphen may be a minus.
    fn name(&mut self) -> Result<&'static Named, String> {
        let run = length(self.text, |c| c.is_alphanumeric() || c == '_' || c == '-');
        let hyphens = self.text[..run].rmatch_indices('-').map(|(at, _)| at);
        for end in [run].into_iter().chain(hyphens) {
            if let Some(named) = self.family.find(&self.text[..end]) {
                self.text = &self.text[end..];
                return Ok(named);
            }
        }
        let word = &self.text[..run];
        match word.is_empty() {
            true => Err(format!("{self} stands where a loss was expected, such as cross_entropy")),
            false => Err(self.family.unknown(word)),
        }
    }

    /// `key=value` of a loss.
    fn pair(&mut self, named: &Named) -> Result<(String, Json), String> {
        let run = length(self.text, |c| c.is_alphanumeric() || c == '_' || c == '-');
        let key = self.text[..run].replace('-', "_");
        let keys = || named.arguments.iter().map(|argument| argument.name);
        let Some(argument) = named.arguments.iter().find(|argument| argument.name == key) else {
            let name = named.name;
            let found = match run {
                0 => self.to_string(),
                _ => format!("\"{}\"", shortened(&self.text[..run])),
            };
            return Err(match nearest(&key, keys()) {
                None => format!("{name} has no keys, expected none in place of {found}"),
                Some(near) => format!(
                    "{name} has no key {found}, expected {}; the nearest is \"{near}\"",
                    keys().collect::<Vec<_>>().join(", ")
                ),
            });
        };
        let Some(rest) = self.text[run..].strip_prefix('=') else {
            return Err(format!("{}: {key} has no value, expected {key}=", named.name));
        };
        self.text = rest;
        Ok((key, self.value(argument)))
    }

    /// What stands there, of whatever type: it is the argument's affair.
    fn value(&mut self, argument: &Argument) -> Json {
        let sign = usize::from(self.text.starts_with(['+', '-']));
        let number = number_length(&self.text[sign..]);
        let end = sign + if number > 0 { number } else { word_length(&self.text[sign..]) };
        let (text, rest) = self.text.split_at(end);
        self.text = rest;
        match (text.parse::<f64>(), argument.kind) {
            (Ok(number), Kind::Number(_)) => Json::Number(number),
            (_, Kind::Flag) if text == "true" || text == "false" => Json::Flag(text == "true"),
            (_, Kind::Word(_)) => Json::Text(text.replace('-', "_")),
            _ => Json::Text(text.into()),
        }
    }
}

/// What is left, shortened, or that nothing is.
impl fmt::Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text {
            "" => f.write_str("nothing"),
            text => write!(f, "\"{}\"", shortened(text)),
        }
    }
}

/// The bytes of the characters at the beginning that are such.
fn length(text: &str, such: impl Fn(char) -> bool) -> usize {
    text.find(|c| !such(c)).unwrap_or(text.len())
}

/// The bytes of a word at the beginning: a hyphen before a letter is a part of it, before a digit a minus.
fn word_length(text: &str) -> usize {
    let part = |(at, c): (usize, char)| {
        let letter = text[at..].chars().nth(1).is_some_and(char::is_alphabetic);
        c.is_alphanumeric() || c == '_' || c == '.' || (c == '-' && letter)
    };
    text.char_indices().find(|&at| !part(at)).map_or(text.len(), |(at, _)| at)
}

/// The bytes of a number without a sign at the beginning: 0 for none.
fn number_length(text: &str) -> usize {
    let digits = |text: &str| length(text, |c| c.is_ascii_digit());
    let mut end = digits(text);
    let whole = end;
    if text[end..].starts_with('.') {
        end += 1 + digits(&text[end + 1..]);
        if whole == 0 && end == 1 {
            return 0;
        }
    }
    if end > 0 && text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let power = digits(&text[end + 1 + sign..]);
        if power > 0 {
            end += 1 + sign + power;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Result<Vec<(f64, &'static str)>, String> {
        match read("--loss", text, Family::All) {
            Ok(terms) => Ok(terms.iter().map(|term| (term.factor, term.named.name)).collect()),
            Err(Failure::Input(message) | Failure::Other(message)) => Err(message),
        }
    }

    #[test]
    fn a_hyphen_is_one_or_a_minus() {
        let (ce, h) = ("cross_entropy", "entropy");
        assert_eq!(read_all("cross-entropy"), Ok(vec![(1.0, ce)]));
        assert_eq!(read_all("cross_entropy-0.01*entropy"), Ok(vec![(1.0, ce), (-0.01, h)]));
        assert_eq!(read_all("cross-entropy-entropy"), Ok(vec![(1.0, ce), (-1.0, h)]));
        assert_eq!(read_all("-2*entropy+ce"), Ok(vec![(-2.0, h), (1.0, ce)]));
        assert_eq!(read_all("poly-1*entropy"), Ok(vec![(1.0, "poly1"), (-1.0, h)]));
        assert_eq!(read_all("kl-reverse-kl"), Ok(vec![(1.0, "forward_kl"), (-1.0, "reverse_kl")]));
        assert_eq!(
            read_all("gce:q=5e-1-1e-2*entropy + 0.5 * mae:form=half"),
            Ok(vec![(1.0, "generalized_cross_entropy"), (-1e-2, h), (0.5, "mae")])
        );
        let hard = "sce-hard:alpha=1,beta=.5,log-clip=-4-entropy";
        assert_eq!(read_all(hard), Ok(vec![(1.0, "symmetric_cross_entropy_hard"), (-1.0, h)]));
        let update = "aldr:lambda0=1,alpha=2,margin=0,update=one-step";
        assert_eq!(read_all(update), Ok(vec![(1.0, "aldr_kl")]));
    }

    #[test]
    fn what_is_no_sum_is_said() {
        for (text, parts) in [
            ("", &["nothing stands where"][..]),
            ("mae+", &["nothing stands where"]),
            ("2", &["2 is not followed by *"]),
            ("2mae", &["2 is not followed by *"]),
            ("1e999*mae", &["1e999 is beyond"]),
            ("focl", &["\"focl\" is none", "the nearest is \"focal\""]),
            ("focal:", &["focal has no key nothing", "expected gamma"]),
            ("focal:gama=2", &["no key \"gama\"", "the nearest is \"gamma\""]),
            ("focal:gamma", &["gamma has no value"]),
            ("focal:gamma=", &["gamma is \"\""]),
            ("focal:gamma=2,", &["no key nothing"]),
            ("focal:gamma=2;mae", &["\";mae\" is left over"]),
            ("focal:gamma=2,gamma=3", &["gamma stands twice"]),
            ("focal:gamma=-1", &["gamma is -1.0", "from 0"]),
            ("focal:gamma=nan", &["gamma is"]),
            ("focal:gamma=two", &["gamma is \"two\""]),
            ("entropy:x=1", &["entropy has no keys"]),
            ("agce:a=1", &["q is missing", "above 0"]),
            ("mae:form=third", &["form is \"third\"", "\"l1\" or \"half\""]),
            ("é", &["\"é\" is none"]),
            ("mae:form=é+mae", &["form is \"é\""]),
        ] {
            let message = read_all(text).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{text}: {message}");
            }
        }
    }

    #[test]
    fn no_name_is_two_losses() {
        let mut names: Vec<_> = Family::All
            .losses()
            .flat_map(|loss| loss.aliases.iter().chain([&loss.name]).copied())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
