//! Losses with a cost of each class by its embedding.

use surprisal::loss::{EarthMover, ExpectedCost};

use super::argument::{Argument, Kind, Otherwise};
use super::named::{Beside, Named, made};

pub const LOSSES: &[Named] = &[
    Named::new("demd", |_| made(Ok(ExpectedCost))).beside(Beside::Embedding),
    Named::new("emo", |request| {
        made(Ok(match request.word("variant")? {
            "code" => EarthMover::as_in_code(),
            "continual" => EarthMover::continual(),
            _ => EarthMover::paper(),
        }))
    })
    .beside(Beside::Embedding)
    .with(&[Argument::new("variant", Kind::Word(&["paper", "code", "continual"]))
        .or(Otherwise::Word("paper"))]),
];
