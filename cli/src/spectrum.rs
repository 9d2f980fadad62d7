//! `surprisal spectrum`: ranks and entropies of the spectrum of features.

use clap::Args;
use indicatif::ProgressBar;
use ndarray::ArrayView2;
use serde_json::Map;
use std::ops::Range;
use std::path::PathBuf;

use surprisal::spectrum::{Centering, Factor, PowerLaw, RANKME_EPSILON, Spectrum as Values};
use surprisal::{Element, Matrix};

use crate::features::Features;
use crate::output::{number, optional, print};
use crate::{Failure, Global, plot, progress};

/// Features between two steps of the progress bar.
const BLOCK: usize = 1 << 20;

/// The ranks that α-ReQ is fitted over, where none are given: indices from 0, half-open, and fewer
/// where the numerical rank is lower.
const ALPHA_RANGE: Range<usize> = 10..100;

/// The fewest points of a fit.
const FEWEST: usize = 3;

/// Ranks and entropies of the spectrum of features: RankMe, effective rank, α-ReQ, participation
/// ratio and others
///
/// RankMe, effective, stable and nuclear rank are of the features as they are, unless --center; the
/// others are of their covariance. Features are FILE.npy or FILE.safetensors:TENSOR, and may be larger
/// than memory in the latter.
#[derive(Args)]
pub struct Spectrum {
    /// Features [N,D], a row each
    #[arg(long, value_name = "F")]
    features: String,
    /// Subtract the mean of each column for every measure
    #[arg(long)]
    center: bool,
    /// What RankMe adds to each share, in both forms
    #[arg(long, value_name = "X", default_value_t = RANKME_EPSILON, allow_hyphen_values = true)]
    epsilon: f64,
    /// Eigenvalues that α-ReQ is fitted to, indices from 0, HI excluded [default: 10 to 100 or the
    /// numerical rank]
    #[arg(long, value_name = "LO:HI", allow_hyphen_values = true)]
    alpha_range: Option<Indices>,
    /// Draw the eigenvalues and the fit
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
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
        let features = Features::open(&self.features)?;
        let matrix = features.matrix()?;
        let (rows, columns) = matrix.dim();
        let passes = if self.center { 1 } else { 2 };
        let steps = passes * rows.div_ceil(rows_of_a_block(columns));
        let bar = progress::bar(steps, global.quiet, "triangular factors");
        let centered = values(&matrix, Centering::Centered, &bar)?;
        let raw = match self.center {
            true => None,
            false => Some(values(&matrix, Centering::Raw, &bar)?),
        };
        bar.finish_and_clear();
        let raw = raw.as_ref().unwrap_or(&centered);

        let fit = self.fit(&centered)?;
        let mut result = Map::new();
        let mut add = |key: &str, value| result.insert(key.into(), value);
        add("rankme", number(raw.rankme(self.epsilon)?));
        add("effective_rank", number(raw.effective_rank()));
        add("stable_rank", number(raw.stable_rank()));
        add("nuclear_rank", number(raw.nuclear_rank()));
        add("rankme_covariance", number(centered.rankme_covariance(self.epsilon)?));
        add("alpha_req", optional(fit.as_ref().map(|fit| fit.alpha)));
        add("alpha_req_r2", optional(fit.as_ref().map(|fit| fit.r_squared)));
        add("participation_ratio", number(centered.participation_ratio()));
        add("nesum", number(centered.nesum()));
        add("von_neumann_entropy", number(centered.von_neumann_entropy()));
        add("rows", rows.into());
        add("columns", columns.into());
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
        print(global.json, &result)
    }

    fn fit(&self, centered: &Values) -> Result<Option<PowerLaw>, Failure> {
        let range = match &self.alpha_range {
            Some(Indices(range)) => range.clone(),
            None => ALPHA_RANGE.start..ALPHA_RANGE.end.min(centered.rank()),
        };
        if self.alpha_range.is_none() && range.len() < FEWEST {
            return Ok(None);
        }
        Ok(Some(centered.alpha_req(range)?))
    }
}

fn rows_of_a_block(columns: usize) -> usize {
    (BLOCK / columns.max(1)).max(1)
}

fn values(matrix: &Matrix<'_>, centering: Centering, bar: &ProgressBar) -> Result<Values, Failure> {
    match matrix {
        Matrix::F64(view) => fold(view, centering, bar),
        Matrix::F32(view) => fold(view, centering, bar),
        Matrix::Bf16(view) => fold(view, centering, bar),
        Matrix::F16(view) => fold(view, centering, bar),
    }
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
