//! Laws of sizes: of one, of an encoder and a decoder, of parameters and tokens.

use ndarray::Array1;

use surprisal::fit::{Fitted, Law, PowerLaw, Prediction, ScalingFit};

use super::arguments::{Fit, Pair};
use super::data::{Data, numbers, pairs};
use super::found::{add_best, add_target, predictions, report, size};
use crate::plot::{LawPicture, Point, Series, Told};
use crate::report::significant;
use crate::scale::short;
use crate::{Failure, Global, plot};

/// Points of a curve.
const CURVE: usize = 160;

/// The most curves of a picture.
const CURVES: usize = 6;

pub fn power(arguments: &Fit, fit: &ScalingFit, global: &Global) -> Result<(), Failure> {
    let places = numbers(arguments)?;
    let data = Data::read(arguments, 1)?;
    let fitted = fit.power_law(&data.sizes[0], &data.losses)?;
    let told = told(&fitted, &places, |&x| vec![x])?;
    let mut report = report(arguments, &fitted);
    predictions(&mut report, arguments.confidence, &["x"], &told);
    if let Some(target) = arguments.target {
        let found = reached(fitted.law.x_for(target), fitted.law.l_inf)?;
        // How far the law's own error reaches along ln x, on which its slope is −α (L − L∞).
        let slope = fitted.law.alpha * (target - fitted.law.l_inf);
        let factor = fitted.predict(found).ok().map(|told| (told.standard_error / slope).exp());
        add_target(&mut report, target, ("x", &data.names[0]), found, factor);
    }
    if let Some(path) = &arguments.plot {
        let (x, losses) = (&data.sizes[0], &data.losses);
        let mut series = Series { points: points(x.iter().zip(losses)), ..Series::default() };
        let ends = x.iter().chain(&places).copied();
        series.curve = curve(ends, |x| fitted.predict(x).ok());
        series.predicted = told.iter().map(|(place, told)| seen(place[0], told)).collect();
        let PowerLaw { l_inf, x0, alpha, .. } = fitted.law;
        let law = format!("L = {} + ({} / x)^{}", short(l_inf), size(x0), short(alpha));
        let name = format!("L∞ = {}", short(l_inf));
        draw(path, arguments, &data, &fitted, (&[series], &law, Some((l_inf, &name))))?;
    }
    report.print(global.json)
}

pub fn bivariate(arguments: &Fit, fit: &ScalingFit, global: &Global) -> Result<(), Failure> {
    let places = pairs(arguments)?;
    let data = Data::read(arguments, 2)?;
    let mean = |sizes: &Array1<f64>| sizes.mapv(f64::ln).mean().unwrap_or(0.0).exp();
    let (encoder, decoder) = (&data.sizes[0], &data.sizes[1]);
    let Pair(of_encoder, of_decoder) =
        arguments.reference.unwrap_or(Pair(mean(encoder), mean(decoder)));
    let fitted = fit.bivariate(encoder, decoder, (of_encoder, of_decoder), &data.losses)?;
    let told = told(&fitted, &places, |&(a, b)| vec![a, b])?;
    let mut report = report(arguments, &fitted);
    report.add("encoder_reference", of_encoder, size(of_encoder));
    report.add("decoder_reference", of_decoder, size(of_decoder));
    predictions(&mut report, arguments.confidence, &["encoder", "decoder"], &told);
    if let Some(budget) = arguments.budget {
        let best = fitted.law.optimal_split(budget)?;
        let parts = (["encoder", "decoder"], [best.encoder, best.decoder]);
        add_best(&mut report, budget, parts, best.loss);
    }
    if let Some(target) = arguments.target {
        let found = reached(fitted.law.of_budget()?.x_for(target), fitted.law.l_inf)?;
        add_target(&mut report, target, ("parameters", "parameters"), found, None);
    }
    if let Some(path) = &arguments.plot {
        let law = &fitted.law;
        let text = format!(
            "L = {} (N̄e/Ne)^{} (N̄d/Nd)^{} + {}",
            short(law.alpha),
            short(law.encoder_exponent),
            short(law.decoder_exponent),
            short(law.l_inf)
        );
        of_two(path, arguments, &data, &fitted, &told, (&text, law.l_inf))?;
    }
    report.print(global.json)
}

pub fn chinchilla(arguments: &Fit, fit: &ScalingFit, global: &Global) -> Result<(), Failure> {
    let places = pairs(arguments)?;
    let data = Data::read(arguments, 2)?;
    let fitted = fit.chinchilla(&data.sizes[0], &data.sizes[1], &data.losses)?;
    let told = told(&fitted, &places, |&(a, b)| vec![a, b])?;
    let mut report = report(arguments, &fitted);
    predictions(&mut report, arguments.confidence, &["parameters", "tokens"], &told);
    if let Some(budget) = arguments.budget {
        let best = fitted.law.optimal_allocation(budget)?;
        let parts = (["parameters", "tokens"], [best.parameters, best.tokens]);
        add_best(&mut report, budget, parts, best.loss);
    }
    if let Some(target) = arguments.target {
        let found = reached(fitted.law.of_operations()?.x_for(target), fitted.law.e)?;
        add_target(&mut report, target, ("operations", "operations"), found, None);
    }
    if let Some(path) = &arguments.plot {
        let law = &fitted.law;
        let text = format!(
            "L = {} + {} N^−{} + {} D^−{}",
            short(law.e),
            size(law.a),
            short(law.alpha),
            size(law.b),
            short(law.beta)
        );
        of_two(path, arguments, &data, &fitted, &told, (&text, law.e))?;
    }
    report.print(global.json)
}

/// What reaches the --target, or why nothing does under a law that ends at a loss.
fn reached(found: surprisal::Result<f64>, end: f64) -> Result<f64, Failure> {
    let told = |error| Failure::Input(format!("--target: {error}: {} nats", significant(end, 6)));
    found.map_err(told)
}

/// The predictions at the places, each with its numbers.
fn told<L: Law>(
    fitted: &Fitted<L>,
    places: &[L::Place],
    numbers: impl Fn(&L::Place) -> Vec<f64>,
) -> Result<Vec<(Vec<f64>, Prediction)>, Failure> {
    places.iter().map(|place| Ok((numbers(place), fitted.predict(*place)?))).collect()
}

fn points<'a>(pairs: impl Iterator<Item = (&'a f64, &'a f64)>) -> Vec<Point> {
    pairs.map(|(&x, &y)| Point { x, y, error: None }).collect()
}

fn seen(x: f64, told: &Prediction) -> Told {
    Told { x, loss: told.loss, lower: told.lower, upper: told.upper }
}

/// The law from the least to the largest of some sizes.
fn curve(sizes: impl Iterator<Item = f64>, told: impl Fn(f64) -> Option<Prediction>) -> Vec<Told> {
    let (low, high) =
        sizes.fold((f64::INFINITY, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)));
    let (first, last) = (low.ln(), high.ln());
    let at = |k: usize| (first + (last - first) * k as f64 / (CURVE - 1) as f64).exp();
    (0..CURVE).map(at).filter_map(|x| Some(seen(x, &told(x)?))).collect()
}

/// Curves by the second size, for some of the first.
fn of_two<L: Law<Place = (f64, f64)>>(
    path: &std::path::Path,
    arguments: &Fit,
    data: &Data,
    fitted: &Fitted<L>,
    told: &[(Vec<f64>, Prediction)],
    (law, limit): (&str, f64),
) -> Result<(), Failure> {
    let mut firsts: Vec<f64> =
        data.sizes[0].iter().copied().chain(told.iter().map(|(place, _)| place[0])).collect();
    firsts.sort_by(f64::total_cmp);
    firsts.dedup();
    let chosen: Vec<f64> = match firsts.len() {
        count @ 0..=CURVES => firsts[..count].to_vec(),
        count => (0..CURVES).map(|k| firsts[k * (count - 1) / (CURVES - 1)]).collect(),
    };
    let all = data.sizes[1].iter().copied().chain(told.iter().map(|(place, _)| place[1]));
    let of = |&first: &f64| {
        let own = data.sizes[0].iter().zip(data.sizes[1].iter().zip(&data.losses));
        let own = own.filter(|(size, _)| **size == first).map(|(_, pair)| pair);
        let predicted = told.iter().filter(|(place, _)| place[0] == first);
        Series {
            name: format!("{} {}", data.names[0], size(first)),
            points: points(own),
            curve: curve(all.clone(), |x| fitted.predict((first, x)).ok()),
            predicted: predicted.map(|(place, told)| seen(place[1], told)).collect(),
        }
    };
    let series: Vec<Series> = chosen.iter().map(of).collect();
    let name = format!("L∞ = {}", short(limit));
    draw(path, arguments, data, fitted, (&series, law, Some((limit, &name))))
}

fn draw<L: Law>(
    path: &std::path::Path,
    arguments: &Fit,
    data: &Data,
    fitted: &Fitted<L>,
    (series, law, limit): (&[Series], &str, Option<(f64, &str)>),
) -> Result<(), Failure> {
    let shown: usize = series.iter().map(|series| series.points.len()).sum();
    let note = match data.losses.len() - shown {
        0 => String::new(),
        count => format!("{count} losses of other {} are not drawn", data.names[0]),
    };
    let name = data.names.last().map_or("x", String::as_str);
    plot::law(
        path,
        &LawPicture {
            title: &format!("Scaling law of {}", data.title(arguments)),
            x: name,
            y: &format!("{}, nats", data.loss_name),
            lines: [law.to_string(), told_of(fitted, arguments.confidence)],
            series,
            limit,
            logarithmic: true,
            note,
        },
    )
}

/// How good a law is, in the words of a picture.
pub fn told_of<L: Law>(fitted: &Fitted<L>, confidence: f64) -> String {
    format!(
        "R² = {}, {} losses; a new one within the band: {} %",
        plot::rounded_down(fitted.r_squared),
        fitted.degrees_of_freedom + L::PARAMETERS.len(),
        size(100.0 * confidence),
    )
}
