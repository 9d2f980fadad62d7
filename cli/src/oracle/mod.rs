//! `surprisal oracle`: the functions of the library, asked by name from any language.

mod activations;
mod alignment;
mod answer;
mod argument;
mod attention;
mod binary;
mod contrastive;
mod couplings;
mod coverage;
mod decoding;
mod distillation;
mod distributions;
mod divergences;
mod embedding_losses;
mod function;
mod fused;
mod json;
mod laws;
mod listed;
mod logits;
mod named;
mod nearest;
mod policies;
mod policy_entropy;
mod preferences;
mod ranked;
mod rates;
mod refusal;
mod request;
mod reversible;
mod robust_losses;
mod row_losses;
mod rows;
mod sequence_losses;
mod table;
mod target_losses;
mod texts;
mod truncated;
mod values;

pub use self::argument::{Argument, Kind, Otherwise};
pub use self::coverage::N;
pub use self::divergences::{DIVERGENCES, SYMMETRIC};
pub use self::json::{Json, shortened};
pub use self::named::{Beside, Named, made};
pub use self::nearest::nearest;
pub use self::refusal::Refusal;
pub use self::request::Request;
pub use self::robust_losses::{ADAPTIVE, CALIBRATION, ROBUST, adaptive, calibration, lambdas};
pub use self::sequence_losses::{Kind as SequenceKind, SequenceLoss};
pub use self::table::losses;

use clap::Args;
use serde_json::{Value, json};
use std::io::{BufRead, ErrorKind, Read, Write};

use crate::Failure;

/// Longer lines are not held: numbers of a million logits take 20 MiB.
const LONGEST: u64 = 256 << 20;

/// Answer requests for the library's functions, one JSON object a line from stdin to stdout
///
/// {"function": "list"} lists the functions with their arguments. What is no number is "nan", "inf" or
/// "-inf", both ways. An error is a line too, and does not end the program.
#[derive(Args)]
pub struct Oracle {}

impl Oracle {
    pub fn run(&self) -> Result<(), Failure> {
        let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut stdin).take(LONGEST + 1).read_until(b'\n', &mut line);
            let unreadable = |error| Failure::Other(format!("cannot read from stdin: {error}"));
            let response = match read.map_err(unreadable)? {
                0 => return Ok(()),
                _ if line.len() as u64 > LONGEST => {
                    stdin.skip_until(b'\n').map_err(unreadable)?;
                    let expected = format!("the line is longer than {LONGEST} bytes");
                    json!({ "error": expected })
                }
                _ if line.iter().all(u8::is_ascii_whitespace) => continue,
                _ => respond(&line),
            };
            let response = format!("{response}\n");
            match stdout.write_all(response.as_bytes()).and_then(|()| stdout.flush()) {
                Ok(()) => {}
                // Whoever has closed it does not want the rest.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => {
                    return Err(Failure::Other(format!("cannot write to stdout: {error}")));
                }
            }
        }
    }
}

/// The answer to a line, whatever it is.
pub fn respond(line: &[u8]) -> Value {
    match table::answer(line) {
        Ok(answer) => answer.response(),
        Err(refusal) => json!({ "error": refusal.line() }),
    }
}
