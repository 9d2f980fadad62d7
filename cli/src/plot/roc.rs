//! Pictures of ROC curves.

use plotters::prelude::RGBColor;
use plotters::style::text_anchor::HPos;
use std::path::Path;

use super::{DATA, FIT, FRAME, Labels, MUTED, thinned, write};
use crate::Failure;
use crate::scale::Scale;

/// Of Okabe and Ito, which the colour-blind can tell apart.
const COLOURS: [RGBColor; 5] =
    [DATA, FIT, RGBColor(0x00, 0x9e, 0x73), RGBColor(0xcc, 0x79, 0xa7), RGBColor(0xe6, 0x9f, 0x00)];

/// False and true positive rate at each threshold.
#[derive(Clone, Debug)]
pub struct RocCurve {
    /// What stands beside its line.
    pub name: String,
    pub points: Vec<[f64; 2]>,
}

/// Writes ROC curves with the line of chance, and a rule at a false positive rate that is looked at.
pub fn roc(path: &Path, title: &str, curves: &[RocCurve], rate: f64) -> Result<(), Failure> {
    let labels = Labels {
        title,
        x: "share of the others taken for such",
        y: "share of the texts trained on that are found",
        note: String::new(),
    };
    let x = Scale::linear(0.0, 1.0, FRAME[0], FRAME[2]);
    let y = Scale::linear(0.0, 1.0, FRAME[3], FRAME[1]);
    write(path, &labels, |page| {
        page.axes(&x, &y)?;
        page.line(&[(x.at(0.0), y.at(0.0)), (x.at(1.0), y.at(1.0))], 1.2, MUTED)?;
        page.line(&[(x.at(rate), y.at(0.0)), (x.at(rate), y.at(1.0))], 1.2, MUTED)?;
        for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
            let line: Vec<_> = curve.points.iter().map(|p| (x.at(p[0]), y.at(p[1]))).collect();
            page.line(&thinned(&line), 2.0, *colour)?;
        }
        // Below the diagonal there is room.
        let top = FRAME[3] - 24.0 * (curves.len() as f64 + 0.5);
        let heading = (FRAME[2] - 196.0, top);
        page.text("score, area under its curve", heading, 13.0, MUTED, HPos::Left)?;
        for (at, (curve, colour)) in curves.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let height = top + 24.0 * (at as f64 + 1.0);
            page.line(&[(FRAME[2] - 196.0, height), (FRAME[2] - 168.0, height)], 3.0, *colour)?;
            page.text(&curve.name, (FRAME[2] - 160.0, height), 14.0, *colour, HPos::Left)?;
        }
        Ok(())
    })
}
