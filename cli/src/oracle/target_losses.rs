//! The losses of rows that depend on the target's probability alone.

use surprisal::loss::{
    AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, CompSum, Focal, GeneralizedCrossEntropy,
    HardSymmetricCrossEntropy, MeanAbsoluteError, MixedCrossEntropy, Poly1, Tailored,
};

use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, TARGETS, row_losses};

const UNIT: Interval = Interval::at_least(0.0).up_to(1.0);
const NOT_NEGATIVE: Interval = Interval::at_least(0.0);
const POSITIVE: Interval = Interval::above(0.0);

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "comp_sum",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("tau", NOT_NEGATIVE).or(Otherwise::Number(1.0)),
        ],
        gradient: BY_LOGITS,
        answer: |request| row_losses(request, CompSum::new(request.number("tau")?)?),
    },
    Function {
        name: "generalized_cross_entropy",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("q", POSITIVE.up_to(1.0)).or(Otherwise::Number(0.7)),
            Argument::number("k_truncation", POSITIVE.below(1.0)).optional(),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let loss = GeneralizedCrossEntropy::new(request.number("q")?)?;
            let loss = match request.has("k_truncation") {
                true => loss.truncated(request.number("k_truncation")?)?,
                false => loss,
            };
            row_losses(request, loss)
        },
    },
    Function {
        name: "mae",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::new("form", Kind::Word(&["l1", "half"])).or(Otherwise::Word("l1")),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let loss = match request.word("form")? {
                "half" => MeanAbsoluteError::half(),
                _ => MeanAbsoluteError::whole(),
            };
            row_losses(request, loss)
        },
    },
    Function {
        name: "focal",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("gamma", NOT_NEGATIVE).or(Otherwise::Number(2.0)),
        ],
        gradient: BY_LOGITS,
        answer: |request| row_losses(request, Focal::new(request.number("gamma")?)?),
    },
    Function {
        name: "poly1",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("epsilon", Interval::at_least(-1.0)).or(Otherwise::Number(1.0)),
        ],
        gradient: BY_LOGITS,
        answer: |request| row_losses(request, Poly1::new(request.number("epsilon")?)?),
    },
    Function {
        name: "agce",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("a", POSITIVE),
            Argument::number("q", POSITIVE),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let (a, q) = (request.number("a")?, request.number("q")?);
            row_losses(request, AsymmetricGeneralizedCrossEntropy::new(a, q)?)
        },
    },
    Function {
        name: "aul",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("a", Interval::above(1.0)),
            Argument::number("q", POSITIVE),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let (a, q) = (request.number("a")?, request.number("q")?);
            row_losses(request, AsymmetricUnhinged::new(a, q)?)
        },
    },
    Function {
        name: "symmetric_cross_entropy_hard",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("alpha", NOT_NEGATIVE),
            Argument::number("beta", NOT_NEGATIVE),
            Argument::number("log_clip", Interval::ANY.below(0.0)).or(Otherwise::Number(-4.0)),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let (alpha, beta) = (request.number("alpha")?, request.number("beta")?);
            let log_clip = request.number("log_clip")?;
            row_losses(request, HardSymmetricCrossEntropy::new(alpha, beta, log_clip)?)
        },
    },
    Function {
        name: "mixce",
        arguments: &[LOGITS, TARGETS, Argument::number("eta", UNIT)],
        gradient: BY_LOGITS,
        answer: |request| row_losses(request, MixedCrossEntropy::new(request.number("eta")?)?),
    },
    Function {
        name: "tailr",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("gamma", UNIT),
            Argument::number("floor", NOT_NEGATIVE).or(Otherwise::Number(0.2)),
            Argument::number("ceiling", NOT_NEGATIVE).or(Otherwise::Number(1.0)),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let (floor, ceiling) = (request.number("floor")?, request.number("ceiling")?);
            row_losses(request, Tailored::new(request.number("gamma")?, floor, ceiling)?)
        },
    },
];
