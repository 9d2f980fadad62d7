//! The law of the learning rates: losses at steps of schedules.

use ndarray::Array1;
use std::path::Path;

use surprisal::fit::{AnnealingLaw, AnnealingSums, Fitted, Prediction, ScalingFit};

use super::arguments::{Fit, WarmUp};
use super::data::{Data, steps};
use super::found::{predictions, report, size};
use super::sizes::told_of;
use super::table::Table;
use crate::plot::{LawPicture, Point, Series, Told};
use crate::scale::short;
use crate::{Failure, Global, plot};

/// Steps of a curve.
const CURVE: usize = 300;

pub fn annealing(arguments: &Fit, fit: &ScalingFit, global: &Global) -> Result<(), Failure> {
    let (given, files) = (arguments.schedule.len(), arguments.files.len());
    if given != 1 && given != files {
        return Err(Failure::Input(format!(
            "--schedule names {given} files for {files} tables, expected one for all or one for each"
        )));
    }
    let wanted = steps(arguments)?;
    let data = Data::read(arguments, 1)?;
    let schedules: Vec<AnnealingSums> =
        arguments.schedule.iter().map(|path| sums(arguments, path)).collect::<Result<_, _>>()?;
    let schedule_of = |table: usize| &schedules[table.min(schedules.len() - 1)];
    let (mut s1, mut s2) = (Vec::new(), Vec::new());
    for (table, rows) in data.tables.iter().enumerate() {
        for row in rows.clone() {
            let step = data.sizes[0][row] as usize;
            let schedule = schedule_of(table);
            let Ok((first, second)) = schedule.at(step) else {
                return Err(Failure::Input(format!(
                    "{} has a loss at step {step}, expected one of the {} steps, from 0, of its schedule",
                    arguments.files[table].display(),
                    schedule.s1().len()
                )));
            };
            if first <= 0.0 {
                return Err(Failure::Input(format!(
                    "{} has a loss at step {step}, up to which all learning rates are 0, expected a later step \
                     or --warm-up",
                    arguments.files[table].display()
                )));
            }
            s1.push(first);
            s2.push(second);
        }
    }
    let fitted = fit.annealing(&Array1::from(s1), &Array1::from(s2), &data.losses)?;
    let other = match &arguments.predict_schedule {
        Some(path) => Some(sums(arguments, path)?),
        None => None,
    };
    let told: Vec<(Vec<f64>, Prediction)> = wanted
        .iter()
        .map(|&step| {
            let at = other.as_ref().unwrap_or(&schedules[0]).at(step)?;
            Ok((vec![step as f64], fitted.predict(at)?))
        })
        .collect::<Result<_, Failure>>()?;
    let mut report = report(arguments, &fitted);
    predictions(&mut report, arguments.confidence, &["step"], &told);
    if let Some(path) = &arguments.plot {
        let mut series: Vec<Series> = (0..files)
            .map(|table| {
                let rows = data.tables[table].clone();
                let points = rows.map(|row| (data.sizes[0][row], data.losses[row]));
                let points: Vec<Point> = points.map(|(x, y)| Point { x, y, error: None }).collect();
                let first = points.iter().fold(f64::INFINITY, |first, point| first.min(point.x));
                let schedule = schedule_of(table);
                Series {
                    name: named(&arguments.files[table]),
                    curve: curve(&fitted, schedule, first as usize),
                    points,
                    predicted: vec![],
                }
            })
            .collect();
        let predicted = told.iter().map(|(place, told)| seen(place[0], told)).collect();
        match (&arguments.predict_schedule, &other) {
            (Some(path), Some(schedule)) => {
                let all = data.sizes[0].iter().copied();
                let first = all.fold(f64::INFINITY, f64::min) as usize;
                let curve = curve(&fitted, schedule, first);
                series.push(Series { name: named(path), points: vec![], curve, predicted });
            }
            _ => series[0].predicted = predicted,
        }
        draw(path, arguments, &data, &fitted, &series)?;
    }
    report.print(global.json)
}

fn named(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_string()
}

/// The sums of the learning rates of a file.
fn sums(arguments: &Fit, path: &Path) -> Result<AnnealingSums, Failure> {
    let table = Table::read(path)?;
    let named = ["learning_rate", "lr"].into_iter().find_map(|name| table.named(name));
    let rates = table.numbers(named.unwrap_or(table.columns() - 1))?;
    let rates = Array1::from(rates);
    let sums = AnnealingSums::builder(&rates);
    let sums = match arguments.lambda {
        Some(lambda) => sums.lambda(lambda),
        None => sums,
    };
    let sums = match arguments.warm_up {
        Some(WarmUp::Steps(steps)) => sums.warm_up(steps),
        Some(WarmUp::Peak) => sums.warm_up_to_peak(),
        None => sums,
    };
    sums.build().map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

fn seen(x: f64, told: &Prediction) -> Told {
    Told { x, loss: told.loss, lower: told.lower, upper: told.upper }
}

/// The law from a step to the end of a schedule.
fn curve(fitted: &Fitted<AnnealingLaw>, schedule: &AnnealingSums, first: usize) -> Vec<Told> {
    let last = schedule.s1().len() - 1;
    let first = first.min(last);
    let mut steps: Vec<usize> =
        (0..CURVE).map(|k| first + (last - first) * k / (CURVE - 1)).collect();
    steps.dedup();
    let told = |step: usize| fitted.predict(schedule.at(step).ok()?).ok();
    steps.into_iter().filter_map(|step| Some(seen(step as f64, &told(step)?))).collect()
}

fn draw(
    path: &Path,
    arguments: &Fit,
    data: &Data,
    fitted: &Fitted<AnnealingLaw>,
    series: &[Series],
) -> Result<(), Failure> {
    let AnnealingLaw { l0, a, c, alpha, .. } = fitted.law;
    let law = format!("L = {} + {} S1^−{} − {} S2", short(l0), size(a), short(alpha), size(c));
    plot::law(
        path,
        &LawPicture {
            title: &format!("Annealing law of {}", data.title(arguments)),
            x: &data.names[0],
            y: &format!("{}, nats", data.loss_name),
            lines: [law, told_of(fitted, arguments.confidence)],
            series,
            limit: None,
            logarithmic: false,
            note: String::new(),
        },
    )
}
