//! The losses of rows that depend on the target's probability alone.

use surprisal::loss::{
    AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, CompSum, Focal, GeneralizedCrossEntropy,
    HardSymmetricCrossEntropy, MeanAbsoluteError, MixedCrossEntropy, Poly1, Tailored,
};

use super::argument::{Argument, Interval, Kind, Otherwise};
use super::named::{Named, made};

const UNIT: Interval = Interval::at_least(0.0).up_to(1.0);
const NOT_NEGATIVE: Interval = Interval::at_least(0.0);
const POSITIVE: Interval = Interval::above(0.0);

pub const LOSSES: &[Named] = &[
    Named::new("comp_sum", |request| made(CompSum::new(request.number("tau")?)))
        .also(&["comp"])
        .with(&[Argument::number("tau", NOT_NEGATIVE).or(Otherwise::Number(1.0))]),
    Named::new("generalized_cross_entropy", |request| {
        let loss = GeneralizedCrossEntropy::new(request.number("q")?)?;
        match request.has("k_truncation") {
            true => made(loss.truncated(request.number("k_truncation")?)),
            false => made(Ok(loss)),
        }
    })
    .also(&["gce"])
    .with(&[
        Argument::number("q", POSITIVE.up_to(1.0)).or(Otherwise::Number(0.7)),
        Argument::number("k_truncation", POSITIVE.below(1.0)).optional(),
    ]),
    Named::new("mae", |request| {
        made(Ok(match request.word("form")? {
            "half" => MeanAbsoluteError::half(),
            _ => MeanAbsoluteError::whole(),
        }))
    })
    .with(&[Argument::new("form", Kind::Word(&["l1", "half"])).or(Otherwise::Word("l1"))]),
    Named::new("focal", |request| made(Focal::new(request.number("gamma")?)))
        .with(&[Argument::number("gamma", NOT_NEGATIVE).or(Otherwise::Number(2.0))]),
    Named::new("poly1", |request| made(Poly1::new(request.number("epsilon")?)))
        .also(&["poly"])
        .with(&[Argument::number("epsilon", Interval::at_least(-1.0)).or(Otherwise::Number(1.0))]),
    Named::new("agce", |request| {
        let (a, q) = (request.number("a")?, request.number("q")?);
        made(AsymmetricGeneralizedCrossEntropy::new(a, q))
    })
    .with(&[Argument::number("a", POSITIVE), Argument::number("q", POSITIVE)]),
    Named::new("aul", |request| {
        made(AsymmetricUnhinged::new(request.number("a")?, request.number("q")?))
    })
    .with(&[Argument::number("a", Interval::above(1.0)), Argument::number("q", POSITIVE)]),
    Named::new("symmetric_cross_entropy_hard", |request| {
        let (alpha, beta) = (request.number("alpha")?, request.number("beta")?);
        made(HardSymmetricCrossEntropy::new(alpha, beta, request.number("log_clip")?))
    })
    .also(&["sce_hard"])
    .with(&[
        Argument::number("alpha", NOT_NEGATIVE),
        Argument::number("beta", NOT_NEGATIVE),
        Argument::number("log_clip", Interval::ANY.below(0.0)).or(Otherwise::Number(-4.0)),
    ]),
    Named::new("mixce", |request| made(MixedCrossEntropy::new(request.number("eta")?)))
        .with(&[Argument::number("eta", UNIT)]),
    Named::new("tailr", |request| {
        let (floor, ceiling) = (request.number("floor")?, request.number("ceiling")?);
        made(Tailored::new(request.number("gamma")?, floor, ceiling))
    })
    .with(&[
        Argument::number("gamma", UNIT),
        Argument::number("floor", NOT_NEGATIVE).or(Otherwise::Number(0.2)),
        Argument::number("ceiling", NOT_NEGATIVE).or(Otherwise::Number(1.0)),
    ]),
];
