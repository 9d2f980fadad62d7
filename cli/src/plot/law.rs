//! Losses, the law fitted to them, and the interval for new ones.

use std::path::Path;

use super::{BACKGROUND, DATA, FIT, FRAME, Labels, MUTED, Page, Point, thinned, units, write};
use crate::Failure;
use crate::scale::Scale;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// A loss that a law tells, with the interval for a new one.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub x: f64,
    pub loss: f64,
    pub lower: f64,
    pub upper: f64,
}

/// Losses that one curve goes through.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What it is called where there are several.
    pub name: String,
    pub points: Vec<Point>,
    pub curve: Vec<Told>,
    /// Predictions, each drawn with its interval.
    pub predicted: Vec<Told>,
}

/// What the picture of a law shows.
#[derive(Clone, Debug)]
pub struct LawPicture<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// The law and what is said of it.
    pub lines: [String; 2],
    pub series: &'a [Series],
    /// The loss that none goes below, with its name.
    pub limit: Option<(f64, &'a str)>,
    /// Whether x is logarithmic; losses are where all of them are above 0 and x is.
    pub logarithmic: bool,
    pub note: String,
}

/// Colours of Okabe and Ito's, one for each of several series.
const COLOURS: [RGBColor; 6] = [
    DATA,
    FIT,
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
];

/// Of the height of the data: so much is left below it.
const BELOW: f64 = 0.06;

/// Between two names, in pixels.
const LINE: f64 = 17.0;

/// Writes losses against what they fall with, with the law and its interval.
pub fn law(path: &Path, picture: &LawPicture<'_>) -> Result<(), Failure> {
    let several = picture.series.len() > 1;
    let all = || picture.series.iter();
    let places = || {
        let curve = all().flat_map(|series| series.curve.iter().chain(&series.predicted));
        let points = all().flat_map(|series| &series.points).map(|point| (point.x, point.y));
        points.chain(curve.map(|told| (told.x, told.loss)))
    };
    let drawable = |value: f64| value.is_finite() && (!picture.logarithmic || value > 0.0);
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        let good = values.filter(|value| value.is_finite());
        good.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)))
    };
    let (left, right) = bounds(&mut places().map(|place| place.0).filter(|&x| drawable(x)));
    let (mut low, mut high) = bounds(&mut places().map(|place| place.1));
    let ends = all().flat_map(|series| &series.predicted);
    let (below, above) = bounds(&mut ends.flat_map(|told| [told.lower, told.upper]));
    // An interval as wide as the picture is cut, not shown whole.
    let reach = (high - low).max(1e-9 * high.abs());
    (low, high) = (low.min(below.max(low - reach)), high.max(above.min(high + reach)));
    if let Some((limit, _)) = picture.limit.filter(|limit| limit.0 > 0.0 || !picture.logarithmic) {
        low = low.min(limit.max(low - reach));
    }
    if !(left <= right && low <= high) {
        return Err(Failure::Other(format!("cannot draw {}: no finite point", path.display())));
    }
    let logarithmic_y = picture.logarithmic && low > 0.0 && high / low < 1e100;
    let x = match picture.logarithmic {
        true => {
            let room = (right / left).powf(0.04).max(1.05);
            Scale::logarithmic(left / room, right * room, FRAME[0], FRAME[2])
        }
        false => {
            let room = if right > left { 0.03 * (right - left) } else { 1.0 };
            Scale::linear(left - room, right + room, FRAME[0], FRAME[2])
        }
    };
    // Room for what is written above the curves.
    let written = if several { 60.0 + LINE * picture.series.len() as f64 } else { 50.0 };
    let share = written / (FRAME[3] - FRAME[1]);
    let above = share * (1.0 + BELOW) / (1.0 - share);
    let y = match logarithmic_y {
        true => {
            let room = (high / low).max(1.0 + 1e-6);
            Scale::logarithmic(low / room.powf(BELOW), high * room.powf(above), FRAME[3], FRAME[1])
        }
        false => {
            let room = (high - low).max(1e-6 * high.abs()).max(1e-300);
            Scale::linear(low - BELOW * room, high + above * room, FRAME[3], FRAME[1])
        }
    };
    // What is beyond the frame is drawn at its edge.
    let height = |loss: f64| match loss {
        loss if loss.is_nan() || (logarithmic_y && loss <= 0.0) => FRAME[3],
        loss => y.at(loss).clamp(FRAME[1], FRAME[3]),
    };
    let labels =
        Labels { title: picture.title, x: picture.x, y: picture.y, note: picture.note.clone() };
    write(path, &labels, |page| {
        let colour = |at: usize| COLOURS[at % COLOURS.len()];
        for (at, series) in all().enumerate() {
            let edge = |of: fn(&Told) -> f64| -> Vec<(f64, f64)> {
                series.curve.iter().map(|told| (x.at(told.x), height(of(told)))).collect()
            };
            let tint = if several { colour(at) } else { FIT };
            page.area_between(&edge(|told| told.lower), &edge(|told| told.upper), tint.mix(0.13))?;
        }
        page.axes(&x, &y)?;
        if let Some((limit, name)) = picture.limit.filter(|limit| (low..=high).contains(&limit.0)) {
            page.dashes((FRAME[0], y.at(limit)), FRAME[2], MUTED)?;
            page.text(name, (FRAME[0] + 4.0, y.at(limit) - 9.0), 13.0, MUTED, HPos::Left)?;
        }
        for (at, series) in all().enumerate() {
            let (of_data, of_law) = if several { (colour(at), colour(at)) } else { (DATA, FIT) };
            let line: Vec<_> =
                series.curve.iter().map(|told| (x.at(told.x), height(told.loss))).collect();
            page.line(&thinned(&line), 2.0, of_law)?;
            for point in
                series.points.iter().filter(|point| drawable(point.x) && point.y.is_finite())
            {
                page.dot((x.at(point.x), height(point.y)), 3.0, of_data)?;
            }
            for told in &series.predicted {
                let (at, ends) = (x.at(told.x), [told.lower, told.upper].map(height));
                page.line(&[(at, ends[0]), (at, ends[1])], 1.3, of_law)?;
                page.dot((at, height(told.loss)), 5.0, of_law)?;
                page.dot((at, height(told.loss)), 2.6, BACKGROUND)?;
            }
        }
        let right = FRAME[2] - 6.0;
        page.text(&picture.lines[0], (right, FRAME[1] + 13.0), 15.0, FIT, HPos::Right)?;
        page.text(&picture.lines[1], (right, FRAME[1] + 33.0), 13.0, MUTED, HPos::Right)?;
        if several {
            for (at, series) in all().enumerate() {
                let middle = FRAME[1] + 55.0 + LINE * at as f64;
                page.text(&series.name, (right, middle), 13.0, colour(at), HPos::Right)?;
            }
        }
        Ok(())
    })
}

impl Page<'_> {
    /// What lies between two lines that have as many points.
    fn area_between(
        &self,
        lower: &[(f64, f64)],
        upper: &[(f64, f64)],
        colour: RGBAColor,
    ) -> super::Drawn {
        let outline = lower.iter().chain(upper.iter().rev()).copied().map(units);
        let outline: Vec<_> = outline.collect();
        if outline.len() < 4 {
            return Ok(());
        }
        self.area.draw(&Polygon::new(outline, colour.filled()))
    }
}
