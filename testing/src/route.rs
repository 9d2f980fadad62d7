//! Every way through the crate, and how far each may be from the truth.

use super::{Answer, Case, Wanted, close};
use ndarray::{Array1, Array2, ArrayViewMut1, ArrayViewMut2, Axis};
use surprisal::{
    Backward, Element, Error, Forward, Gradients, Inputs, Isa, LinearCrossEntropy, MatrixMut, Real,
    Reduction, Result, Statistic, Targets, Upstream, VectorMut,
};

/// A type that is computed in, with the conversions that a bound on `Real` does not give.
pub trait Number: Real + Element<Real = Self> {
    fn matrix_mut(view: ArrayViewMut2<'_, Self>) -> MatrixMut<'_>;
    fn vector_mut(view: ArrayViewMut1<'_, Self>) -> VectorMut<'_>;
}

impl Number for f32 {
    fn matrix_mut(view: ArrayViewMut2<'_, Self>) -> MatrixMut<'_> {
        view.into()
    }
    fn vector_mut(view: ArrayViewMut1<'_, Self>) -> VectorMut<'_> {
        view.into()
    }
}

impl Number for f64 {
    fn matrix_mut(view: ArrayViewMut2<'_, Self>) -> MatrixMut<'_> {
        view.into()
    }
    fn vector_mut(view: ArrayViewMut1<'_, Self>) -> VectorMut<'_> {
        view.into()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Single,
    Double,
}

/// The calls that give gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Recompute,
    Strip,
    Vjp,
}

#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub precision: Precision,
    pub door: Door,
    pub isa: Isa,
    pub memory_budget: usize,
}

impl Route {
    pub fn all() -> Vec<Route> {
        let memory_budget = LinearCrossEntropy::DEFAULT_MEMORY_BUDGET;
        let mut routes = Vec::new();
        for precision in [Precision::Double, Precision::Single] {
            for door in [Door::Recompute, Door::Strip, Door::Vjp] {
                for isa in Isa::available() {
                    routes.push(Route { precision, door, isa, memory_budget });
                }
            }
        }
        routes
    }

    /// Half the distance from 1 to the next larger number.
    pub fn unit(&self) -> f64 {
        match self.precision {
            Precision::Single => 2.0_f64.powi(-24),
            Precision::Double => 2.0_f64.powi(-53),
        }
    }

    pub fn round(&self, x: f64) -> f64 {
        match self.precision {
            Precision::Single => f64::from(x as f32),
            Precision::Double => x,
        }
    }

    pub fn is_single(&self) -> bool {
        self.precision == Precision::Single
    }
}

/// What came out, in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub loss: f64,
    pub losses: Array1<f64>,
    pub log_sum_exp: Array1<f64>,
    pub entropy: Array1<f64>,
    pub varentropy: Array1<f64>,
    pub min_entropy: Array1<f64>,
    pub argmax: Array1<i64>,
    /// With hard targets.
    pub rank: Option<Array1<i64>>,
    pub log_probability: Option<Array1<f64>>,
    /// Of given logits the gradient of these.
    pub d_hidden: Array2<f64>,
    pub d_classifier: Array2<f64>,
    pub d_bias: Array1<f64>,
}

/// Every gradient stands at NaN before. Under a reduction the upstream is 1.
pub fn try_run(case: &Case, route: Route) -> Result<Outcome> {
    match route.precision {
        Precision::Single => run_in::<f32>(case, route),
        Precision::Double => run_in::<f64>(case, route),
    }
}

#[track_caller]
pub fn run(case: &Case, route: Route) -> Outcome {
    try_run(case, route).unwrap_or_else(|error| panic!("{error} in {route:?}"))
}

pub fn cast<R: Element>(from: &Array2<f64>) -> Array2<R> {
    from.mapv(R::from_f64)
}

pub fn cast_vector<R: Element>(from: &Array1<f64>) -> Array1<R> {
    from.mapv(R::from_f64)
}

fn run_in<R: Number>(case: &Case, route: Route) -> Result<Outcome> {
    let given = case.given;
    let (hidden, classifier) = (cast::<R>(&case.hidden), cast::<R>(&case.classifier));
    let vector = |from: &Option<Array1<f64>>| from.as_ref().map(cast_vector::<R>);
    let (bias, class_weights) = (vector(&case.bias), vector(&case.class_weights));
    let token_weights = vector(&case.token_weights);
    let (d_lse, d_entropy) = (vector(&case.d_log_sum_exp), vector(&case.d_entropy));
    let d_loss = cast_vector::<R>(&case.d_loss);
    let soft;
    let targets = match &case.targets {
        Wanted::Hard(classes) => Targets::from(classes),
        Wanted::Soft(weights) => {
            soft = cast::<R>(weights);
            Targets::soft(&soft)
        }
    };
    let mut inputs = match given {
        true => Inputs::from_logits(hidden.view(), targets),
        false => Inputs::new(hidden.view(), classifier.view(), targets),
    };
    if let Some(bias) = &bias {
        inputs = inputs.bias(R::vector(bias.view()));
    }
    if let Some(weights) = &class_weights {
        inputs = inputs.class_weights(R::vector(weights.view()));
    }
    if let Some(weights) = &token_weights {
        inputs = inputs.token_weights(R::vector(weights.view()));
    }
    let mut upstream = match case.reduction {
        Reduction::None => Upstream::rows(d_loss.view()),
        _ => Upstream::default(),
    };
    if let Some(d_lse) = &d_lse {
        upstream = upstream.log_sum_exp(d_lse.view());
    }
    if let Some(d_entropy) = &d_entropy {
        upstream = upstream.entropy(d_entropy.view());
    }
    let hard = matches!(case.targets, Wanted::Hard(_));
    let loss = case
        .builder()
        .entropy(true)
        .varentropy(true)
        .rank(hard)
        .isa(route.isa)
        .memory_budget(route.memory_budget)
        .backward(match route.door {
            Door::Strip => Backward::Strip,
            _ => Backward::Recompute,
        })
        .build()?;
    let nan = R::from_f64(f64::NAN);
    let classes = if given { hidden.dim().1 } else { classifier.dim().0 };
    let mut d_hidden = Array2::from_elem(hidden.dim(), nan);
    let mut d_classifier = Array2::from_elem(classifier.dim(), nan);
    let mut d_bias = Array1::from_elem(classes, nan);
    let gradients = Gradients::new().bias(R::vector_mut(d_bias.view_mut()));
    let gradients = match given {
        true => gradients.logits(R::matrix_mut(d_hidden.view_mut())),
        false => gradients
            .hidden(R::matrix_mut(d_hidden.view_mut()))
            .classifier(R::matrix_mut(d_classifier.view_mut())),
    };
    let forward = match route.door {
        Door::Vjp => {
            let forward = loss.forward(&inputs)?;
            loss.vjp(&inputs, &forward, &upstream, gradients)?;
            forward
        }
        _ => loss.loss_and_gradients(&inputs, &upstream, gradients)?,
    };
    Ok(Outcome {
        d_hidden: d_hidden.mapv(R::to_f64),
        d_classifier: d_classifier.mapv(R::to_f64),
        d_bias: d_bias.mapv(R::to_f64),
        ..Outcome::of_forward(&forward, hard)?
    })
}

impl Outcome {
    /// Without gradients.
    pub fn of_forward(forward: &Forward, hard: bool) -> Result<Self> {
        let statistic = |which| forward.statistic(which);
        Ok(Self {
            loss: forward.loss(),
            losses: statistic(Statistic::Loss)?,
            log_sum_exp: statistic(Statistic::LogSumExp)?,
            entropy: statistic(Statistic::Entropy)?,
            varentropy: statistic(Statistic::Varentropy)?,
            min_entropy: statistic(Statistic::MinEntropy)?,
            argmax: forward.argmax(),
            rank: if hard { Some(forward.rank()?) } else { None },
            log_probability: match hard {
                true => Some(statistic(Statistic::LogProbability)?),
                false => None,
            },
            d_hidden: Array2::zeros((0, 0)),
            d_classifier: Array2::zeros((0, 0)),
            d_bias: Array1::zeros(0),
        })
    }
}

impl Case {
    /// This case with arrays that the type computed in holds exactly.
    pub fn rounded(&self, route: Route) -> Case {
        let vector = |v: &Option<Array1<f64>>| v.as_ref().map(|v| v.mapv(|x| route.round(x)));
        Case {
            hidden: self.hidden.mapv(|x| route.round(x)),
            classifier: self.classifier.mapv(|x| route.round(x)),
            bias: vector(&self.bias),
            class_weights: vector(&self.class_weights),
            token_weights: vector(&self.token_weights),
            d_loss: match self.reduction {
                Reduction::None => self.d_loss.mapv(|x| route.round(x)),
                _ => Array1::ones(self.d_loss.len()),
            },
            d_log_sum_exp: vector(&self.d_log_sum_exp),
            d_entropy: vector(&self.d_entropy),
            targets: match &self.targets {
                Wanted::Soft(weights) => Wanted::Soft(weights.mapv(|x| route.round(x))),
                hard => hard.clone(),
            },
            ..self.clone()
        }
    }

    pub fn soft(&self) -> bool {
        matches!(self.targets, Wanted::Soft(_))
    }
}

/// How far the outcome of a case may be from the truth, to first order in the unit roundoff u and
/// doubled for the rest:
///
/// a logit of D products is off by δ = s(D + 4)u(Σ|e||c| + |b|) + 4u|a|, p by its 2δ + Ku
/// relatively, where K = 16 + min(V, 256) counts exp, ln and the sum of one tile (tiles are joined
/// in f64). −ln p is off by as much, absolutely. G is p and the weights times the coefficients of
/// the row, and a gradient sums V or N of G.
pub struct Bounds {
    pub loss: f64,
    pub losses: Array1<f64>,
    pub log_sum_exp: Array1<f64>,
    pub entropy: Array1<f64>,
    pub varentropy: Array1<f64>,
    pub d_hidden: Array2<f64>,
    pub d_classifier: Array2<f64>,
    pub d_bias: Array1<f64>,
    /// δ of each row.
    pub logit: Array1<f64>,
}

impl Bounds {
    pub fn of(case: &Case, truth: &Answer, u: f64) -> Self {
        let (logits, slopes) = case.logits();
        let (rows, classes) = logits.dim();
        let (hidden, classifier) = (case.hidden.mapv(f64::abs), case.classifier.mapv(f64::abs));
        let (mut magnitude, width) = match case.given {
            true => (hidden.clone(), 0),
            false => (hidden.dot(&classifier.t()), hidden.dim().1),
        };
        if let Some(bias) = &case.bias {
            magnitude += &bias.mapv(f64::abs);
        }
        let largest =
            |x: ndarray::ArrayView1<'_, f64>| x.iter().fold(0.0_f64, |m, x| x.abs().max(m));
        let k = 16.0 + classes.min(256) as f64;
        let weight = |v: usize| case.class_weights.as_ref().map_or(1.0, |w| w[v]);
        let total = (0..classes).map(weight).sum::<f64>();
        let kept: Vec<bool> = (0..rows)
            .map(|i| match &case.targets {
                Wanted::Hard(y) => Some(y[i]) != case.ignore_index,
                Wanted::Soft(_) => true,
            })
            .collect();
        let kept_count = kept.iter().filter(|&&kept| kept).count() as f64;
        let (by_loss, by_z) = match (case.reduction, &case.targets) {
            (Reduction::Mean, Wanted::Hard(y)) => {
                let of = |i: usize| if kept[i] { weight(y[i] as usize) } else { 0.0 };
                ((0..rows).map(of).sum(), kept_count)
            }
            (Reduction::Mean, Wanted::Soft(_)) => (rows as f64, rows as f64),
            (Reduction::Divide(by), _) => (by, by),
            _ => (1.0, 1.0),
        };
        let zeros = || Array1::<f64>::zeros(rows);
        let (mut losses, mut lse, mut entropy, mut varentropy, mut logit, mut g) =
            (zeros(), zeros(), zeros(), zeros(), zeros(), zeros());
        let (mut sum, mut z_sum) = (0.0, 0.0);
        for i in (0..rows).filter(|&i| kept[i]) {
            let delta = case.scale.abs() * (width as f64 + 4.0) * u * largest(magnitude.row(i))
                + 4.0 * u * largest(logits.row(i));
            let relative = 2.0 * delta + k * u;
            let weights = match &case.targets {
                Wanted::Hard(y) => weight(y[i] as usize) + case.label_smoothing * total,
                Wanted::Soft(t) => {
                    (0..classes).map(|v| weight(v) * t[[i, v]]).sum::<f64>()
                        + case.label_smoothing * total
                }
            };
            let token = case.token_weights.as_ref().map_or(1.0, |w| w[i].abs());
            let l = truth.log_sum_exp[i].abs();
            let h = truth.entropy[i];
            logit[i] = delta;
            lse[i] = relative + u * l;
            let z = token * case.z_loss * (2.0 * l * lse[i] + 4.0 * u * l * l);
            // Smoothing and soft targets sum V deviations, each rounded.
            let spread = largest(logits.row(i)) * 2.0;
            let ce = token * weights * (relative + k * u * spread.max(l + 1.0));
            losses[i] = ce + z + u * truth.losses[i].abs();
            sum += ce;
            z_sum += z;
            entropy[i] = relative * (1.0 + h) + u * h;
            varentropy[i] = relative * 8.0 * (1.0 + h * h + truth.varentropy[i]);
            let up = case.d_loss[i].abs() * token;
            let d_lse = case.d_log_sum_exp.as_ref().map_or(0.0, |g| g[i].abs());
            let d_entropy = case.d_entropy.as_ref().map_or(0.0, |g| g[i].abs());
            let softcap = case.softcap.map_or(0.0, |c| 2.0 * delta / c + 8.0 * u);
            let coefficient = up / by_loss * 2.0 * weights
                + up / by_z * 2.0 * case.z_loss * (l + 1.0)
                + d_lse
                + d_entropy * (2.0 + h);
            // What would be below the least normal number is 0: an exponential, a slope.
            let least = if u > 1e-10 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
            g[i] = coefficient * largest(slopes.row(i)) * (relative + softcap + 8.0 * u)
                + 8.0 * coefficient * case.scale.abs().max(1.0) * least;
        }
        let absolute = truth.d_products.mapv(f64::abs);
        let rounding = |terms: usize| 2.0 * (terms as f64 + 4.0) * u;
        let (mut d_hidden, d_classifier) = match case.given {
            true => (&absolute * (8.0 * u), Array2::zeros((0, 0))),
            false => (
                absolute.dot(&classifier) * rounding(classes),
                absolute.t().dot(&hidden) * rounding(rows) + 2.0 * g.dot(&hidden),
            ),
        };
        let of_columns = classifier.sum_axis(Axis(0));
        for ((i, d), bound) in d_hidden.indexed_iter_mut() {
            *bound += 2.0 * g[i] * if case.given { 1.0 } else { of_columns[d] };
        }
        let d_bias = absolute.sum_axis(Axis(0)) * (4.0 * u) + 2.0 * g.sum();
        let loss = 2.0 * (sum / by_loss + if case.z_loss == 0.0 { 0.0 } else { z_sum / by_z })
            + 2.0 * u * truth.loss.abs();
        Self {
            loss,
            losses: losses * 2.0,
            log_sum_exp: lse * 2.0,
            entropy: entropy * 2.0,
            varentropy: varentropy * 2.0,
            d_hidden,
            d_classifier,
            d_bias,
            logit,
        }
    }
}

#[track_caller]
pub fn within<'a>(
    what: &str,
    route: &dyn std::fmt::Debug,
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
    bounds: impl IntoIterator<Item = &'a f64>,
) {
    let (mut expected, mut bounds) = (expected.into_iter(), bounds.into_iter());
    for (i, found) in found.into_iter().enumerate() {
        let expected = *expected.next().expect("as many expected numbers");
        let bound = *bounds.next().expect("as many bounds");
        // A bound that is not a number belongs to an expectation that is not one either.
        let bound = if bound.is_finite() { bound } else { 0.0 };
        assert!(
            close(*found, expected, 0.0, bound),
            "{what}[{i}] is {found:e}, expected {expected:e} within {bound:e}, {route:?}"
        );
    }
    assert!(expected.next().is_none(), "{what} is too short, {route:?}");
}

/// Every number within its bound; arg-max and rank where rounding cannot have changed them.
#[track_caller]
pub fn agrees(case: &Case, outcome: &Outcome, route: Route) {
    let case = case.rounded(route);
    let truth = case.run();
    let bounds = Bounds::of(&case, &truth, route.unit());
    within("losses", &route, &outcome.losses, &truth.losses, &bounds.losses);
    within("loss", &route, [&outcome.loss], [&truth.loss], [&bounds.loss]);
    within("lse", &route, &outcome.log_sum_exp, &truth.log_sum_exp, &bounds.log_sum_exp);
    within("entropy", &route, &outcome.entropy, &truth.entropy, &bounds.entropy);
    within("varentropy", &route, &outcome.varentropy, &truth.varentropy, &bounds.varentropy);
    within("db", &route, &outcome.d_bias, &truth.d_bias, &bounds.d_bias);
    within("dE", &route, &outcome.d_hidden, &truth.d_hidden, &bounds.d_hidden);
    if !case.given {
        within("dC", &route, &outcome.d_classifier, &truth.d_classifier, &bounds.d_classifier);
    }
    let (logits, _) = case.logits();
    for (i, row) in logits.outer_iter().enumerate() {
        let gap = 2.0 * bounds.logit[i];
        if truth.argmax[i] < 0 {
            assert_eq!(outcome.argmax[i], -1, "arg-max of ignored row {i}, {route:?}");
            continue;
        }
        let best = row[truth.argmax[i] as usize];
        let rivals = row.iter().filter(|&&a| best - a <= gap).count();
        if rivals == 1 {
            assert_eq!(outcome.argmax[i], truth.argmax[i], "arg-max of row {i}, {route:?}");
        }
        if let (Some(rank), Wanted::Hard(y)) = (&outcome.rank, &case.targets) {
            let own = row[y[i] as usize];
            let rivals = row.iter().filter(|&&a| (own - a).abs() <= gap).count();
            if rivals == 1 {
                assert_eq!(rank[i], truth.rank[i], "rank of row {i}, {route:?}");
            }
        }
    }
}

/// The error of a call that must not succeed.
#[track_caller]
pub fn error_of<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains('\n') && !message.is_empty(), "{message:?}");
            error
        }
    }
}
