//! The losses that `--loss` and `--divergence` name.

use surprisal::loss::{DirectCoverage, DistributionallyRobust, ExpectedCost};

use crate::oracle::{
    ADAPTIVE, Argument, Beside, CALIBRATION, DIVERGENCES, Kind, N, Named, Otherwise, ROBUST,
    SYMMETRIC, adaptive, calibration, losses, made, nearest, shortened,
};

/// The losses that are more than one call, or have arrays of the oracle in other words.
const OWN: &[Named] = &[
    Named::new("ldr_kl", |request| made(DistributionallyRobust::new(request.number("margin")?)))
        .also(&["ldr"])
        .with(&ROBUST),
    Named::new("aldr_kl", |request| Ok(Box::new(adaptive(request)?)))
        .also(&["aldr"])
        .with(&ADAPTIVE)
        .of_several_classes(),
    Named::new("correctness_calibration", |request| Ok(Box::new(calibration(request)?)))
        .also(&["calibration"])
        .with(&CALIBRATION),
    Named::new("dco", |request| made(DirectCoverage::new(request.number("n")?))).with(&[N]),
    Named::new("expected_cost", |_| made(Ok(ExpectedCost))).also(&["cost"]).beside(Beside::Costs),
];

/// Which names are looked for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Family {
    All,
    Divergences,
}

impl Family {
    pub(super) fn losses(self) -> impl Iterator<Item = &'static Named> {
        let others = losses().chain(OWN).filter(move |_| self == Family::All);
        others.chain(DIVERGENCES).chain([&SYMMETRIC])
    }

    /// The loss of a name, hyphens being as good as underscores.
    pub(super) fn find(self, name: &str) -> Option<&'static Named> {
        let name = name.replace('-', "_").to_lowercase();
        self.losses().find(|loss| loss.name == name || loss.aliases.contains(&name.as_str()))
    }

    /// What is wrong with a name that is none.
    pub(super) fn unknown(self, name: &str) -> String {
        let names = || self.losses().flat_map(|loss| loss.aliases.iter().chain([&loss.name]));
        let wanted = name.replace('-', "_");
        let near = nearest(&wanted, names().copied()).unwrap_or_default();
        let all: Vec<_> = self.losses().map(|loss| loss.name).collect();
        format!(
            "\"{}\" is none, expected one of {}; the nearest is \"{near}\"",
            shortened(name),
            all.join(", ")
        )
    }

    /// Every loss with what it takes, a line each, for the help.
    pub(super) fn described(self) -> String {
        self.losses().map(described).collect()
    }
}

/// `name, alias: key=default, key=`.
fn described(loss: &Named) -> String {
    let names: Vec<_> = [loss.name].iter().chain(loss.aliases).copied().collect();
    let keys: Vec<_> = loss.arguments.iter().map(described_key).collect();
    let between = if keys.is_empty() { "" } else { ": " };
    format!("\n  {}{between}{}", names.join(", "), keys.join(", "))
}

/// `key=default`; words with their default first, in brackets what may be left out without one.
fn described_key(argument: &Argument) -> String {
    let name = argument.name;
    match (argument.otherwise, argument.kind) {
        (Otherwise::Number(number), _) => format!("{name}={number}"),
        (Otherwise::Flag(flag), _) => format!("{name}={flag}"),
        (Otherwise::Word(default), Kind::Word(words)) => {
            let others = words.iter().filter(|word| **word != default);
            let all: Vec<_> = [default].iter().chain(others).copied().collect();
            format!("{name}={}", all.join("/"))
        }
        (Otherwise::Absent, _) => format!("[{name}=]"),
        _ => format!("{name}="),
    }
}
