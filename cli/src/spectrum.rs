//! `surprisal spectrum`: ranks and entropies of the spectrum of features.

use clap::Args;
use indicatif::ProgressBar;
use ndarray::{Array3, ArrayView2};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use surprisal::spectrum::{
    Centering, Factor, Lidar, PowerLaw, Precision, RANKME_EPSILON, Spectrum as Values, lidar,
    vendi_score,
};
use surprisal::{Element, Error, Matrix};

use crate::arrays::{Opened, each_matrix};
use crate::features::Features;
use crate::output::{number, optional};
use crate::report::{Report, significant};
use crate::{Failure, Global, numerals, plot, progress};

/// Features between two steps of the progress bar.
const BLOCK: usize = 1 << 20;

/// Where α-ReQ's usual window ends.
const USUAL_END: usize = 100;

/// Without `--lidar-delta`.
const LIDAR_DELTA: f64 = 1e-4;

/// Ranks and entropies of the spectrum of features: RankMe, effective rank, α-ReQ, participation
/// ratio, Vendi score, LiDAR and others
///
/// RankMe, effective, stable and nuclear rank are of the features as they are, unless --center; rank, α-ReQ,
/// participation ratio, NESum and von Neumann entropy are of their covariance, that is centred; the Vendi
/// score is of the rows' directions. Arrays are FILE.npy, FILE.npz:NAME, FILE.safetensors:TENSOR or
/// DIR/model.safetensors.index.json:TENSOR, and may be larger than memory in safetensors files.
///
/// The rank, and the usual window of α-ReQ, leave out what may be rounding: singular values up to
/// √r·ε·rms/√12·(√N + √D + 2), with ε that of the features' type (or of --precision) and rms their root mean
/// square, offset included; r is 1 for f16 and bf16, and 64 for f32 and f64, which are computed in. Nor
/// do values up to max(N, D)·2⁻⁵² of the largest count.
#[derive(Args)]
pub struct Spectrum {
    /// Features [N,D], a row each
    #[arg(long, value_name = "F", help_heading = "Inputs")]
    features: String,
    /// What the features were computed in, where that is coarser than their type: f64, f32, f16, bf16, or
    /// ε itself, the relative spacing of numbers
    #[arg(long, value_name = "TYPE|X", help_heading = "Inputs", allow_hyphen_values = true)]
    precision: Option<Known>,
    /// Each Q rows are views of one object, for LiDAR
    #[arg(
        long,
        value_name = "Q",
        value_parser = numerals::from_one::<usize>,
        allow_hyphen_values = true,
        help_heading = "Inputs",
        conflicts_with = "lidar_groups"
    )]
    views: Option<usize>,
    /// The object that each row is a view of, integers [N], for LiDAR; as many views of each
    #[arg(long, value_name = "G", help_heading = "Inputs")]
    lidar_groups: Option<String>,
    /// Subtract the mean of each column for RankMe, effective, stable and nuclear rank too
    #[arg(long, help_heading = "Measures")]
    center: bool,
    /// What RankMe adds to each share, in both forms; a number without unit
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = RANKME_EPSILON,
        allow_hyphen_values = true,
        help_heading = "Measures"
    )]
    epsilon: f64,
    /// Eigenvalues that α-ReQ is fitted to, indices from 0, HI excluded [default: 10 to 100 or the
    /// numerical rank]
    #[arg(long, value_name = "LO:HI", allow_hyphen_values = true, help_heading = "Measures")]
    alpha_range: Option<Indices>,
    /// Order of the Vendi score, from 0 to inf [default: 1]
    #[arg(
        long,
        value_name = "Q",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = "Measures"
    )]
    vendi_order: Option<f64>,
    /// What LiDAR adds to the variances within objects, in squared units of the features [default: 1e-4]
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = "Measures"
    )]
    lidar_delta: Option<f64>,
    /// Draw the eigenvalues and the fit
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    plot: Option<PathBuf>,
}

/// A precision that was declared, as it was written.
#[derive(Clone)]
struct Known(Precision, String);

impl std::str::FromStr for Known {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let precision = match text {
            "f64" => Precision::F64,
            "f32" => Precision::F32,
            "f16" => Precision::F16,
            "bf16" => Precision::BF16,
            _ => text
                .parse()
                .ok()
                .and_then(|epsilon| Precision::new(epsilon).ok())
                .ok_or("expected f64, f32, f16, bf16 or a number above 0 and below 1")?,
        };
        Ok(Self(precision, text.into()))
    }
}

#[derive(Clone)]
struct Indices(Range<usize>);

impl std::str::FromStr for Indices {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ends = text
            .split_once(':')
            .and_then(|(low, high)| Some(low.trim().parse().ok()?..high.trim().parse().ok()?));
        ends.map(Self).ok_or("expected LO:HI, two indices from 0")
    }
}

impl Spectrum {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        if let Some(path) = &self.plot {
            plot::check(path)?;
        }
        if self.lidar_delta.is_some() && self.views.is_none() && self.lidar_groups.is_none() {
            let what = "--lidar-delta goes with --views or --lidar-groups: give one of them too";
            return Err(Failure::Input(what.into()));
        }
        let features = Features::open(&self.features)?;
        let matrix = features.matrix()?;
        let (rows, columns) = matrix.dim();
        let passes = if self.center { 1 } else { 2 };
        let steps = passes * rows.div_ceil(rows_of_a_block(columns));
        let bar = progress::bar(steps, global.quiet, "triangular factors");
        let known = self.precision.as_ref();
        let mut centered = values(&matrix, Centering::Centered, &bar)?;
        if let Some(Known(precision, _)) = known {
            centered = centered.with_precision(*precision);
        }
        let raw = match self.center {
            true => None,
            false => Some(values(&matrix, Centering::Raw, &bar)?),
        };
        bar.finish_and_clear();
        let raw = raw.as_ref().unwrap_or(&centered);

        let name = known.map_or(matrix.element(), |Known(_, name)| name);
        let (fit, reason) = self.fit(&centered, name)?;
        let vendi = self.vendi(&matrix)?;
        let lidar = self.lidar(&matrix)?;

        let most = rows.min(columns);
        let of = if self.center { "centred features" } else { "features as they are" };
        let four = |value: f64| significant(value, 4);
        let mut report = Report::new();
        let rankme = raw.rankme(self.epsilon)?;
        let text = format!("{}, directions in use, of {most} at most; {of}", four(rankme));
        report.add("rankme", number(rankme), text);
        let mut add = |key, value: f64, text: &str| {
            report.add(key, number(value), format!("{}{text}", four(value)));
        };
        add("effective_rank", raw.effective_rank(), ", the same without ε");
        add("stable_rank", raw.stable_rank(), ", of squares against the largest");
        add("nuclear_rank", raw.nuclear_rank(), ", of singular values against the largest");
        let rankme = centered.rankme_covariance(self.epsilon)?;
        add("rankme_covariance", rankme, ", the same of eigenvalues, centred");
        let text = format!(
            "{} of {most}, centred: singular values above {}, what rounding in {name} may leave",
            centered.rank(),
            significant(centered.noise_floor(), 2),
        );
        report.add("rank", centered.rank(), text);
        let text = match &fit {
            Some(fit) => format!(
                "{}, decay of eigenvalues {} to {}, R² {}",
                four(fit.alpha),
                fit.range.start + 1,
                fit.range.end,
                four(fit.r_squared),
            ),
            None => "none".into(),
        };
        report.add("alpha_req", optional(fit.as_ref().map(|fit| fit.alpha)), text);
        report.add_json("alpha_req_r2", optional(fit.as_ref().map(|fit| fit.r_squared)));
        let range = fit.as_ref().map(|fit| vec![fit.range.start, fit.range.end]);
        report.add_json("alpha_range", range.map_or(Value::Null, Value::from));
        match reason {
            Some(reason) => report.add("alpha_range_reason", reason.clone(), reason),
            None => report.add_json("alpha_range_reason", Value::Null),
        }
        let mut add = |key, value: f64, text: &str| {
            report.add(key, number(value), format!("{}{text}", four(value)));
        };
        let ratio = centered.participation_ratio();
        add("participation_ratio", ratio, ", directions that share the variance");
        add("nesum", centered.nesum(), ", the variance against the largest");
        add("von_neumann_entropy", centered.von_neumann_entropy(), " nats");
        let text = match vendi {
            Some(score) => format!("{}, different rows, of {rows}, by their cosines", four(score)),
            None => "none: a row of zeros has no direction".into(),
        };
        report.add("vendi", optional(vendi), text);
        match lidar {
            Some((rank, objects)) => {
                let text = format!("{}, directions that part {objects} objects", four(rank));
                report.add("lidar", number(rank), text);
            }
            None => report.add_json("lidar", Value::Null),
        }
        report.add("rows", rows, rows.to_string());
        report.add("columns", columns, columns.to_string());
        if let Some(path) = &self.plot {
            let title = format!("Eigenspectrum of {}, {rows} × {columns}", features.name());
            let mut shares = centered.explained_variance();
            shares.resize(centered.singular_values().len(), 0.0);
            let fit = fit.map(|fit| plot::Fit {
                range: fit.range,
                alpha: fit.alpha,
                intercept: fit.intercept,
                r_squared: fit.r_squared,
            });
            plot::eigenspectrum(path, &title, &shares, centered.rank(), fit.as_ref())?;
        }
        report.print(global.json)
    }

    /// The fit, and why its window is not the usual one.
    fn fit(
        &self,
        centered: &Values,
        precision: &str,
    ) -> Result<(Option<PowerLaw>, Option<String>), Failure> {
        if let Some(Indices(range)) = &self.alpha_range {
            return Ok((Some(centered.alpha_req(range.clone())?), None));
        }
        let fit = match centered.usual_alpha_range() {
            Some(range) => Some(centered.alpha_req(range)?),
            None => None,
        };
        let rank = centered.rank();
        if rank >= USUAL_END {
            return Ok((fit, None));
        }
        let (rows, columns) = (centered.rows(), centered.columns());
        let most = columns.min(rows.saturating_sub(1));
        let why = if rank < most {
            format!("singular values beyond are up to what rounding in {precision} may leave")
        } else if columns == most {
            format!("there are {columns} columns")
        } else {
            format!("there are {rows} rows, centred")
        };
        let few = if fit.is_none() { ", too few from index 10 on for a fit" } else { "" };
        Ok((fit, Some(format!("the numerical rank is {rank}{few}: {why}"))))
    }

    /// `None` where a row has no direction.
    fn vendi(&self, matrix: &Matrix<'_>) -> Result<Option<f64>, Failure> {
        let order = self.vendi_order.unwrap_or(1.0);
        match vendi_score(*matrix, order) {
            Err(Error::Value { expected: "a row with a direction", .. })
                if self.vendi_order.is_none() =>
            {
                Ok(None)
            }
            other => Ok(Some(other?)),
        }
    }

    /// LiDAR and the number of objects, where objects were named.
    fn lidar(&self, matrix: &Matrix<'_>) -> Result<Option<(f64, usize)>, Failure> {
        let rows = matrix.dim().0;
        let objects = match (self.views, &self.lidar_groups) {
            (Some(views), _) => {
                if views == 0 || !rows.is_multiple_of(views) {
                    return Err(Failure::Input(format!(
                        "--views is {views} and there are {rows} rows, expected a divisor of them"
                    )));
                }
                let all: Vec<usize> = (0..rows).collect();
                all.chunks(views).map(<[usize]>::to_vec).collect()
            }
            (None, Some(location)) => of_groups(location, rows)?,
            (None, None) => return Ok(None),
        };
        let options = Lidar::builder().delta(self.lidar_delta.unwrap_or(LIDAR_DELTA)).build()?;
        let rank = each_matrix!(matrix, view => lidar(gathered(view, &objects).view(), options));
        Ok(Some((rank?, objects.len())))
    }
}

/// The rows of each object.
fn of_groups(location: &str, rows: usize) -> Result<Vec<Vec<usize>>, Failure> {
    let groups = Opened::new("--lidar-groups", location)?.classes()?;
    if groups.len() != rows {
        return Err(Failure::Input(format!(
            "--lidar-groups holds {} objects for {rows} rows, expected one for each",
            groups.len()
        )));
    }
    let mut objects: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (row, group) in groups.iter().enumerate() {
        objects.entry(*group).or_default().push(row);
    }
    let mut all = objects.iter();
    let first = all.next().expect("features have rows");
    if let Some(other) = all.find(|other| other.1.len() != first.1.len()) {
        return Err(Failure::Input(format!(
            "--lidar-groups has {} rows of object {} and {} of object {}, expected as many of each",
            first.1.len(),
            first.0,
            other.1.len(),
            other.0,
        )));
    }
    Ok(objects.into_values().collect())
}

/// Objects, views, columns.
fn gathered<T: Element>(features: &ArrayView2<'_, T>, objects: &[Vec<usize>]) -> Array3<T> {
    let shape = (objects.len(), objects[0].len(), features.ncols());
    Array3::from_shape_fn(shape, |(object, view, column)| features[[objects[object][view], column]])
}

fn rows_of_a_block(columns: usize) -> usize {
    (BLOCK / columns.max(1)).max(1)
}

fn values(matrix: &Matrix<'_>, centering: Centering, bar: &ProgressBar) -> Result<Values, Failure> {
    each_matrix!(matrix, view => fold(view, centering, bar))
}

fn fold<T: Element>(
    features: &ArrayView2<'_, T>,
    centering: Centering,
    bar: &ProgressBar,
) -> Result<Values, Failure> {
    let rows = rows_of_a_block(features.ncols());
    if features.nrows() <= rows {
        bar.inc(1);
        return Ok(Values::from_features(*features, centering)?);
    }
    let mut factor = Factor::new(features.ncols(), centering)?;
    for block in features.axis_chunks_iter(ndarray::Axis(0), rows) {
        factor.push(block)?;
        bar.inc(1);
    }
    Ok(factor.into_spectrum()?)
}
