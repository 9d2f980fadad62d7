//! The other divergences of rows from those of a teacher.

use ndarray::Array2;
use serde_json::{Value, json};
use surprisal::information::Divergences;
use surprisal::loss::{
    Companion, Head, JensenShannon, KullbackLeibler, RowLoss, SkewKullbackLeibler, Sum,
    SymmetricCrossEntropy, TemperatureSquared, TotalVariation,
};
use surprisal::{Inputs, LinearCrossEntropy, Reduction, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::distillation::{
    ALPHA, BETA, BETA_LIMITS, Losses, MASK, REDUCTION, ROW_TEMPERATURE, SHARE, SQUARED,
    TEACHER_LOGITS, WEIGHT, mask, reduced, teacher, temperatures,
};
use super::function::Function;
use super::fused::{self, BIAS, CLASSIFIER, HIDDEN};
use super::logits::{BY_LOGITS, LOGITS, logits};
use super::named::{Beside, Named, made};
use super::refusal::{Refusal, Result};
use super::request::Request;
use super::rows::{BY_HEAD, Rows};
use crate::output::number;

const fn named(name: &'static str, make: fn(&Request) -> Result<Box<dyn RowLoss>>) -> Named {
    Named::new(name, make).beside(Beside::SecondHead)
}

/// The divergences by the names that `distillation_divergence` has for them; the limits of β are exact.
pub const DIVERGENCES: &[Named] = &[
    named("forward_kl", |_| made(Ok(KullbackLeibler::forward()))).also(&["kl"]),
    named("reverse_kl", |_| made(Ok(KullbackLeibler::reverse()))),
    named("jensen_shannon", |request| made(JensenShannon::new(request.number("beta")?)))
        .also(&["jsd"])
        .with(&[BETA]),
    named("skew_forward_kl", |request| {
        made(SkewKullbackLeibler::forward(request.number("alpha")?))
    })
    .also(&["skew"])
    .with(&[ALPHA]),
    named("skew_reverse_kl", |request| {
        made(SkewKullbackLeibler::reverse(request.number("alpha")?))
    })
    .also(&["skew_reverse"])
    .with(&[ALPHA]),
    named("symmetric_kl", |request| {
        // Either may be infinite: where it has no weight it is not there.
        let weight = request.number("weight")?;
        let mut sum = Sum::new();
        if weight < 1.0 {
            sum = sum.add(1.0 - weight, KullbackLeibler::forward())?;
        }
        if weight > 0.0 {
            sum = sum.add(weight, KullbackLeibler::reverse())?;
        }
        made(Ok(sum))
    })
    .also(&["symmetric"])
    .with(&[WEIGHT]),
    named("total_variation", |_| made(Ok(TotalVariation))).also(&["tvd"]),
];

/// The cross-entropy of both heads, either way.
pub const SYMMETRIC: Named = named("symmetric_cross_entropy", |request| {
    made(SymmetricCrossEntropy::new(request.number("alpha")?))
})
.also(&["sce"])
.with(&[Argument::number("alpha", SHARE).or(Otherwise::Number(0.5))]);

/// The words of `distillation_divergence`.
const NAMES: [&str; DIVERGENCES.len()] = {
    let mut names = [""; DIVERGENCES.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = DIVERGENCES[i].name;
        i += 1;
    }
    names
};

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "jensen_shannon",
        arguments: &[LOGITS, TEACHER_LOGITS, BETA],
        gradient: BY_LOGITS,
        // At the limits the divergences that it is often replaced by there.
        answer: |request| match request.number("beta")? {
            0.0 => divergence(request, KullbackLeibler::forward()),
            1.0 => divergence(request, KullbackLeibler::reverse()),
            beta => divergence(request, JensenShannon::new(beta)?),
        },
    },
    Function {
        name: "divergences",
        arguments: &[LOGITS, TEACHER_LOGITS],
        gradient: &[],
        answer: all_divergences,
    },
    Function {
        name: "skew_kl",
        arguments: &[
            LOGITS,
            TEACHER_LOGITS,
            Argument::number("alpha", Interval::at_least(0.0).below(1.0))
                .or(Otherwise::Number(0.1)),
            Argument::new("direction", Kind::Word(&["forward", "reverse"]))
                .or(Otherwise::Word("forward")),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let alpha = request.number("alpha")?;
            match request.word("direction")? {
                "reverse" => divergence(request, SkewKullbackLeibler::reverse(alpha)?),
                _ => divergence(request, SkewKullbackLeibler::forward(alpha)?),
            }
        },
    },
    Function {
        name: "total_variation",
        arguments: &[LOGITS, TEACHER_LOGITS],
        gradient: BY_LOGITS,
        answer: |request| divergence(request, TotalVariation),
    },
    Function {
        name: "symmetric_cross_entropy",
        arguments: &[LOGITS, TEACHER_LOGITS, SYMMETRIC.arguments[0]],
        gradient: &["logits", "teacher_logits"],
        answer: symmetric_cross_entropy,
    },
    Function {
        name: "distillation_divergence",
        arguments: &[
            LOGITS,
            TEACHER_LOGITS,
            Argument::new("divergence", Kind::Word(&NAMES)),
            BETA,
            BETA_LIMITS,
            ALPHA,
            WEIGHT,
            ROW_TEMPERATURE,
            SQUARED,
            MASK,
            REDUCTION,
        ],
        gradient: BY_LOGITS,
        answer: distillation_divergence,
    },
    Function {
        name: "linear_distillation_divergence",
        arguments: &[
            HIDDEN,
            CLASSIFIER,
            BIAS,
            Argument::new("teacher_hidden", Kind::Numbers("[N][d']")),
            Argument::new("teacher_classifier", Kind::Numbers("[K][d']")),
            Argument::new("teacher_bias", Kind::Numbers("[K]")).optional(),
            Argument::new("divergence", Kind::Word(&NAMES)),
            BETA,
            BETA_LIMITS,
            ALPHA,
            WEIGHT,
            ROW_TEMPERATURE,
            SQUARED,
            MASK,
            REDUCTION,
        ],
        gradient: BY_HEAD,
        answer: distillation_divergence,
    },
];

fn divergence(request: &Request, loss: impl RowLoss + 'static) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let teacher = teacher(request, &logits)?;
    let targets = vec![0_u32; logits.dim().0];
    let inputs = Inputs::from_logits(&logits, &targets)
        .companion(Companion::logits(Head::from_logits(&teacher)));
    let mut losses = Losses::new(request, &logits);
    losses.add(1.0, LinearCrossEntropy::builder().row_loss(loss), &inputs)?;
    Ok(losses.answer())
}

/// Every divergence of p, of the logits, from q, of the teacher's.
fn all_divergences(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let teacher = teacher(request, &logits)?;
    let rows = logits.rows().into_iter().zip(teacher.rows());
    let all: surprisal::Result<Vec<Divergences>> =
        rows.map(|(logits, teacher)| Divergences::of(logits, teacher)).collect();
    let all = all?;
    let each = |of: fn(&Divergences) -> f64| -> Value { all.iter().map(of).map(number).collect() };
    Ok(Answer::new(json!({
        "kl": each(|row| row.kl),
        "reverse_kl": each(|row| row.reverse_kl),
        "cross_entropy": each(|row| row.cross_entropy),
        "entropy": each(|row| row.entropy),
        "jensen_shannon": each(|row| row.jensen_shannon),
        "total_variation": each(|row| row.total_variation),
        "hellinger_squared": each(|row| row.hellinger_squared),
        "renyi2": each(|row| row.renyi2),
        "chi_squared": each(|row| row.chi_squared),
    })))
}

/// The gradient by the teacher is that of the loss the other way.
fn symmetric_cross_entropy(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let teacher = teacher(request, &logits)?;
    let alpha = request.number("alpha")?;
    let targets = vec![0_u32; logits.dim().0];
    let of = |own: &Array2<f64>, other: &Array2<f64>, alpha: f64| -> Result<Losses> {
        let inputs = Inputs::from_logits(own, &targets)
            .companion(Companion::logits(Head::from_logits(other)));
        let mut losses = Losses::new(request, own);
        let loss = SymmetricCrossEntropy::new(alpha)?;
        losses.add(1.0, LinearCrossEntropy::builder().row_loss(loss), &inputs)?;
        Ok(losses)
    };
    let losses = of(&logits, &teacher, alpha)?;
    if !request.wants_gradient() {
        return Ok(losses.answer());
    }
    let other = of(&teacher, &logits, 1.0 - alpha)?.gradient;
    let gradient = other.map(|gradient| matrix(gradient.view())).unwrap_or_default();
    Ok(losses.answer().with_gradient("teacher_logits", gradient))
}

/// A divergence by its name, with what the request says of it.
fn of_name(request: &Request) -> Result<Box<dyn RowLoss>> {
    let name = request.word("divergence")?;
    if name == "jensen_shannon" && request.word("beta_limits")? == "kl" {
        return made(Ok(match request.number("beta")? {
            0.0 => KullbackLeibler::forward(),
            1.0 => KullbackLeibler::reverse(),
            beta => return made(JensenShannon::new(beta)),
        }));
    }
    match DIVERGENCES.iter().find(|divergence| divergence.name == name) {
        Some(divergence) => (divergence.make)(request),
        None => Err(Refusal::new(format!("divergence is {name:?}, expected one of {NAMES:?}"))),
    }
}

/// The logits of a teacher, or what they are the products of, beside those of a student.
enum Teacher {
    Given(Array2<f64>),
    Products(fused::Head),
}

impl Teacher {
    fn read(request: &Request, student: &Rows) -> Result<Self> {
        let head = match student {
            Rows::Given(logits) => return teacher(request, logits).map(Self::Given),
            Rows::Products(_) => fused::Head::named(
                request,
                ["teacher_hidden", "teacher_classifier", "teacher_bias"],
            )?,
        };
        let found = (head.hidden.dim().0, head.classifier.dim().0);
        match found == student.dim() {
            true => Ok(Self::Products(head)),
            false => Err(Refusal::new(format!(
                "the teacher has {} rows and {} classes, expected {} and {} as the student has",
                found.0,
                found.1,
                student.dim().0,
                student.dim().1
            ))),
        }
    }

    fn head(&self) -> Head<'_> {
        match self {
            Self::Given(logits) => Head::from_logits(logits),
            Self::Products(head) => {
                let of = Head::new(&head.hidden, &head.classifier);
                match &head.bias {
                    Some(bias) => of.bias(bias),
                    None => of,
                }
            }
        }
    }
}

fn distillation_divergence(request: &Request) -> Result<Answer> {
    let rows = Rows::read(request)?;
    let teacher = Teacher::read(request, &rows)?;
    let count = rows.dim().0;
    let mask = mask(request, count)?;
    let temperatures = temperatures(request, count)?;
    // A row that the mask leaves out takes no part, whatever is in it.
    let targets: Vec<i64> = mask.iter().map(|&x| if x == 0.0 { -1 } else { 0 }).collect();
    let inputs = rows
        .inputs(&targets)
        .temperatures(&temperatures)
        .companion(Companion::logits(teacher.head()));
    let options = match request.flag("scale_by_temperature_squared")? {
        true => LinearCrossEntropy::builder().row_loss(TemperatureSquared::new(of_name(request)?)),
        false => LinearCrossEntropy::builder().row_loss(of_name(request)?),
    };
    let reduction = reduced(request, &mask)?;
    let loss = options.ignore_index(Some(-1)).reduction(reduction).build()?;
    let forward = loss.forward(&inputs)?;
    let answer = Answer::new(match reduction {
        Reduction::None => vector(forward.losses().view()),
        _ => number(forward.loss()),
    });
    if !request.wants_gradient() {
        return Ok(answer);
    }
    rows.differentiated(answer, |gradients| {
        loss.vjp(&inputs, &forward, &Upstream::default(), gradients)
    })
}
