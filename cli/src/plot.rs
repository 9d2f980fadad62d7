//! Pictures of spectra, of entropies and of scores, as SVG.
//!
//! Numbers are mapped to the page here; `plotters` writes the elements. Colours are two of Okabe and
//! Ito's, which the colour-blind can tell apart, on a background of their own.

mod law;

pub use self::law::{LawPicture, Series, Told, law};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;
use std::path::Path;

use crate::Failure;
use crate::scale::{Scale, short};

mod roc;

pub use roc::{RocCurve, roc};

const BACKGROUND: RGBColor = RGBColor(0xfc, 0xfc, 0xfb);
const INK: RGBColor = RGBColor(0x26, 0x2a, 0x30);
const MUTED: RGBColor = RGBColor(0x5f, 0x66, 0x70);
const RULE: RGBColor = RGBColor(0xe3, 0xe5, 0xe8);
const DATA: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const FIT: RGBColor = RGBColor(0xd5, 0x5e, 0x00);

/// The page in pixels, and where on it the plot lies: left, top, right, bottom.
const PAGE: [f64; 2] = [760.0, 480.0];
const FRAME: [f64; 4] = [72.0, 84.0, 736.0, 424.0];

/// Plotters places at whole units only: so many make a pixel.
const UNITS: f64 = 10.0;

/// So many letters of a title fit the page.
const TITLE: usize = 72;

/// A power law fitted to the shares of variance: e^intercept · rank^−α over a range of indices, from
/// 0 and half-open.
#[derive(Clone, Debug)]
pub struct Fit {
    pub range: Range<usize>,
    pub alpha: f64,
    pub intercept: f64,
    pub r_squared: f64,
}

/// A point of a curve, with its standard error or its bound where it has one.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub error: Option<f64>,
}

/// What a curve shows.
#[derive(Clone, Debug)]
pub struct Curve<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub points: &'a [Point],
    /// The point that its value is written at.
    pub marked: Option<usize>,
    /// What no value exceeds, with its name.
    pub limit: Option<(f64, &'a str)>,
    pub logarithmic: bool,
}

/// Writes the eigenvalues, as shares of their sum, against their ranks, both logarithmic, with the
/// power law. What is beyond the numerical rank is rounding: it is counted, not drawn.
pub fn eigenspectrum(
    path: &Path,
    title: &str,
    shares: &[f64],
    rank: usize,
    fit: Option<&Fit>,
) -> Result<(), Failure> {
    let drawable = |share: &&f64| share.is_finite() && **share > 0.0;
    let drawn = shares.iter().take(rank).take_while(drawable).count();
    let points: Vec<(f64, f64)> =
        shares[..drawn].iter().zip(1_u32..).map(|(&share, j)| (f64::from(j), share)).collect();
    let heights = points.iter().map(|point| point.1);
    let mut low = heights.clone().fold(f64::INFINITY, f64::min);
    let mut high = heights.fold(0.0, f64::max);
    if drawn == 0 {
        (low, high) = (0.1, 1.0);
    }
    let law = |fit: &Fit, rank: f64| (fit.intercept - fit.alpha * rank.ln()).exp();
    let fit = fit.filter(|fit| fit.range.end <= drawn && fit.range.start < fit.range.end);
    if let Some(fit) = fit {
        let ends = [fit.range.start + 1, fit.range.end].map(|j| law(fit, j as f64));
        low = low.min(ends[0]).min(ends[1]);
        high = high.max(ends[0]).max(ends[1]);
    }
    // A flat spectrum is to look flat: rounding is not to fill the page.
    let widen = (4.0 * low / high).sqrt().max(1.0);
    (low, high) = (low / widen, high * widen);
    let room = (high / low).powf(if fit.is_some() { 0.16 } else { 0.04 });
    let x = Scale::logarithmic(1.0, (drawn.max(2) as f64) * 1.06, FRAME[0], FRAME[2]);
    let y = Scale::logarithmic(low / (high / low).powf(0.04), high * room, FRAME[3], FRAME[1]);

    let note = match shares.len() - drawn {
        0 => String::new(),
        1 => "1 eigenvalue beyond the numerical rank is not drawn".into(),
        count => format!("{count} eigenvalues beyond the numerical rank are not drawn"),
    };
    let labels = Labels { title, x: "rank of the eigenvalue", y: "share of the variance", note };
    write(path, &labels, |page| {
        if let Some(fit) = fit {
            let band = [fit.range.start + 1, fit.range.end].map(|j| x.at(j as f64));
            page.rectangle([band[0], FRAME[1], band[1], FRAME[3]], FIT.mix(0.09))?;
        }
        page.axes(&x, &y)?;
        if points.is_empty() {
            let middle = ((FRAME[0] + FRAME[2]) / 2.0, (FRAME[1] + FRAME[3]) / 2.0);
            page.text("all eigenvalues are 0", middle, 15.0, MUTED, HPos::Center)?;
        }
        let line: Vec<_> = points.iter().map(|&(j, share)| (x.at(j), y.at(share))).collect();
        page.line(&thinned(&line), 1.6, DATA)?;
        // Dots as long as they can be told apart.
        let apart = line.windows(2).take_while(|pair| pair[1].0 - pair[0].0 > 5.0).count();
        for &at in line.iter().take(apart + 1) {
            page.dot(at, 2.6, DATA)?;
        }
        if let Some(fit) = fit {
            let ends = [fit.range.start + 1, fit.range.end].map(|j| j as f64);
            let ends = ends.map(|j| (x.at(j), y.at(law(fit, j))));
            page.line(&ends, 2.4, FIT)?;
            let (lines, half) = (
                [
                    format!("α = {}, R² = {}", short(fit.alpha), rounded_down(fit.r_squared)),
                    format!("fitted over ranks {}–{}", fit.range.start + 1, fit.range.end),
                ],
                96.0,
            );
            let middle = f64::midpoint(ends[0].0, ends[1].0);
            let middle = middle.clamp(FRAME[0] + half, FRAME[2] - half);
            page.text(&lines[0], (middle, FRAME[1] + 15.0), 16.0, FIT, HPos::Center)?;
            page.text(&lines[1], (middle, FRAME[1] + 35.0), 13.0, MUTED, HPos::Center)?;
        }
        Ok(())
    })
}

/// Writes an entropy over a parameter, with error bars.
pub fn curve(path: &Path, curve: &Curve<'_>) -> Result<(), Failure> {
    let drawable = |point: &&Point| {
        point.x.is_finite() && point.y.is_finite() && (!curve.logarithmic || point.x > 0.0)
    };
    let points: Vec<Point> = curve.points.iter().filter(drawable).copied().collect();
    let skipped = curve.points.len() - points.len();
    let error = |point: &Point| point.error.filter(|error| error.is_finite()).unwrap_or(0.0);
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)))
    };
    let (mut left, mut right) = bounds(&mut points.iter().map(|point| point.x));
    let (mut low, _) = bounds(&mut points.iter().map(|point| point.y - error(point)));
    let (_, mut high) = bounds(&mut points.iter().map(|point| point.y + error(point)));
    if points.is_empty() {
        (left, right, low, high) = (1.0, 2.0, 0.0, 1.0);
    }
    let limit = curve.limit.filter(|limit| limit.0 <= 1.6 * high && limit.0 >= low);
    high = limit.map_or(high, |limit| high.max(limit.0));
    // From 0 where that is near; else a range in which rounding does not fill the page.
    if low >= 0.0 && low < 0.6 * high || high - low < 1e-6 * high.abs() {
        low = low.min(0.0);
    }
    if high - low < 1e-9 {
        high = low + 1.0;
    }
    let room = high - low;
    (low, high) = (if low == 0.0 { 0.0 } else { low - 0.05 * room }, high + 0.08 * room);
    let y = Scale::linear(low, high, FRAME[3], FRAME[1]);
    let x = if curve.logarithmic {
        let room = (right / left).powf(0.03).max(1.05);
        Scale::logarithmic(left / room, right * room, FRAME[0], FRAME[2])
    } else {
        let room = if right > left { 0.03 * (right - left) } else { 0.5 * left.abs().max(1.0) };
        Scale::linear(left - room, right + room, FRAME[0], FRAME[2])
    };

    let note = match skipped {
        0 => String::new(),
        1 => "1 point is not finite and not drawn".into(),
        count => format!("{count} points are not finite and not drawn"),
    };
    let labels = Labels { title: curve.title, x: curve.x, y: curve.y, note };
    write(path, &labels, |page| {
        page.axes(&x, &y)?;
        if let Some((limit, name)) = limit {
            let at = y.at(limit);
            page.dashes((FRAME[0], at), FRAME[2], MUTED)?;
            page.text(name, (FRAME[2] - 4.0, at - 9.0), 13.0, MUTED, HPos::Right)?;
        }
        let at = |point: &Point| (x.at(point.x), y.at(point.y));
        let line: Vec<_> = points.iter().map(at).collect();
        page.line(&line, 2.0, DATA)?;
        for point in &points {
            let error = error(point);
            let ((at, _), ends) = (at(point), [-error, error].map(|e| y.at(point.y + e)));
            if ends[0] - ends[1] > 2.0 {
                page.line(&[(at, ends[0]), (at, ends[1])], 1.3, DATA)?;
                for end in ends {
                    page.line(&[(at - 3.5, end), (at + 3.5, end)], 1.3, DATA)?;
                }
            }
        }
        if line.len() <= 80 {
            for &at in &line {
                page.dot(at, 3.0, DATA)?;
            }
        }
        let marked = curve.marked.and_then(|index| curve.points.get(index)).filter(drawable);
        if let Some(point) = marked {
            let (left, top) = at(point);
            page.dot((left, top), 5.5, FIT)?;
            let text = format!("{} at {} = {}", short(point.y), curve.x_name(), short(point.x));
            // Off the curve, off the limit, and on the page.
            let after = points.iter().filter(|other| other.x > point.x);
            let falls = after.clone().all(|other| other.y <= point.y);
            let crosses =
                |height: f64| limit.is_some_and(|limit| (y.at(limit.0) - height).abs() < 11.0);
            let above = top > FRAME[1] + 26.0 && !crosses(top - 15.0);
            let right = match left {
                x if x < FRAME[0] + 150.0 => true,
                x if x > FRAME[2] - 150.0 => false,
                _ => falls == above,
            };
            let height = if above { top - 15.0 } else { top + 17.0 };
            let (side, start) =
                if right { (HPos::Left, left + 9.0) } else { (HPos::Right, left - 9.0) };
            page.text(&text, (start, height), 16.0, FIT, side)?;
        }
        Ok(())
    })
}

impl Curve<'_> {
    /// The parameter itself, of a label such as "t, power of the diffusion operator".
    fn x_name(&self) -> &str {
        self.x.split([',', ' ']).next().unwrap_or(self.x)
    }
}

/// Refuses, before long work, a file that could not be written after it.
pub fn check(path: &Path) -> Result<(), Failure> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("svg")) {
        let path = path.display();
        return Err(Failure::Input(format!("--plot is {path}, expected a file FILE.svg")));
    }
    if !directory.is_dir() || path.is_dir() {
        let path = path.display();
        let what = format!("--plot is {path}, expected a file in a directory that exists");
        return Err(Failure::Input(what));
    }
    Ok(())
}

struct Labels<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    note: String,
}

/// A page with its labels, on which `draw` puts the rest.
fn write(
    path: &Path,
    labels: &Labels<'_>,
    draw: impl FnOnce(&Page<'_>) -> Drawn,
) -> Result<(), Failure> {
    let mut svg = String::new();
    let size = PAGE.map(|length| (length * UNITS) as u32);
    let failed = |what: &dyn std::fmt::Display| {
        Failure::Other(format!("cannot draw {}: {what}", path.display()))
    };
    {
        let page =
            Page { area: SVGBackend::with_string(&mut svg, size.into()).into_drawing_area() };
        let title = shortened(labels.title);
        let all = || {
            page.rectangle([0.0, 0.0, PAGE[0], PAGE[1]], BACKGROUND.mix(1.0))?;
            page.text(&title, (FRAME[0], 30.0), 18.0, INK, HPos::Left)?;
            page.text(labels.y, (FRAME[0], 62.0), 14.0, MUTED, HPos::Left)?;
            page.text(labels.x, (FRAME[2], FRAME[3] + 41.0), 14.0, MUTED, HPos::Right)?;
            page.text(&labels.note, (FRAME[0], FRAME[3] + 41.0), 12.0, MUTED, HPos::Left)?;
            draw(&page)?;
            page.area.present()
        };
        all().map_err(|error| failed(&error))?;
    }
    // The size in pixels, and the title for who cannot see.
    let [width, height] = size;
    let (start, view) = (format!("width=\"{width}\" height=\"{height}\""), PAGE);
    let svg = svg.replacen(
        &start,
        &format!("width=\"{}\" height=\"{}\" role=\"img\"", view[0], view[1]),
        1,
    );
    let (head, body) = svg.split_once(">\n").ok_or_else(|| failed(&"an empty picture"))?;
    let title = escaped(labels.title);
    let svg = of_xml(&format!("{head}>\n<title>{title}</title>\n{body}"));
    std::fs::write(path, svg)
        .map_err(|error| Failure::Other(format!("cannot write {}: {error}", path.display())))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// What is drawn on, in pixels.
struct Page<'a> {
    area: Area<'a>,
}

fn units((x, y): (f64, f64)) -> (i32, i32) {
    ((x * UNITS).round() as i32, (y * UNITS).round() as i32)
}

impl Page<'_> {
    fn rectangle(&self, [left, top, right, bottom]: [f64; 4], colour: RGBAColor) -> Drawn {
        let corners = [units((left, top)), units((right, bottom))];
        self.area.draw(&Rectangle::new(corners, colour.filled()))
    }

    fn line(&self, points: &[(f64, f64)], width: f64, colour: RGBColor) -> Drawn {
        let style = colour.stroke_width((width * UNITS) as u32);
        let points: Vec<_> = points.iter().copied().map(units).collect();
        if points.len() < 2 {
            return Ok(());
        }
        self.area.draw(&PathElement::new(points, style))
    }

    fn dashes(&self, (left, y): (f64, f64), right: f64, colour: RGBColor) -> Drawn {
        let mut start = left;
        while start < right {
            self.line(&[(start, y), ((start + 5.0).min(right), y)], 1.2, colour)?;
            start += 9.0;
        }
        Ok(())
    }

    fn dot(&self, at: (f64, f64), radius: f64, colour: RGBColor) -> Drawn {
        self.area.draw(&Circle::new(units(at), (radius * UNITS) as i32, colour.filled()))
    }

    /// Text whose middle line is at a height.
    fn text(&self, text: &str, at: (f64, f64), size: f64, colour: RGBColor, side: HPos) -> Drawn {
        if text.is_empty() {
            return Ok(());
        }
        // Plotters divides sizes by 1.24.
        let font = (
            "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif",
            1.24 * size * UNITS,
        );
        let style = font.into_font().color(&colour).pos(Pos::new(side, VPos::Center));
        self.area.draw(&Text::new(text.to_string(), units(at), style))
    }

    /// Horizontal rules, ticks and their labels.
    fn axes(&self, x: &Scale, y: &Scale) -> Drawn {
        for (value, label) in y.ticks(6) {
            let at = y.at(value);
            self.line(&[(FRAME[0], at), (FRAME[2], at)], 1.0, RULE)?;
            self.text(&label, (FRAME[0] - 8.0, at), 13.0, MUTED, HPos::Right)?;
        }
        self.line(&[(FRAME[0], FRAME[3]), (FRAME[2], FRAME[3])], 1.2, MUTED)?;
        for (value, label) in x.ticks(8) {
            let at = x.at(value);
            self.line(&[(at, FRAME[3]), (at, FRAME[3] + 5.0)], 1.2, MUTED)?;
            self.text(&label, (at, FRAME[3] + 18.0), 13.0, MUTED, HPos::Center)?;
        }
        Ok(())
    }
}

/// Three digits, never up to 1 from below.
pub fn rounded_down(value: f64) -> String {
    short((value * 1000.0).floor() / 1000.0)
}

/// Points that differ on the page, the last one included.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (index, &point) in points.iter().enumerate() {
        let far = |last: &(f64, f64)| (point.0 - last.0).hypot(point.1 - last.1) >= 0.7;
        if index + 1 == points.len() || kept.last().is_none_or(far) {
            kept.push(point);
        }
    }
    kept
}

fn shortened(title: &str) -> String {
    let printable = title.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = printable.take(TITLE).collect();
    if title.chars().nth(TITLE).is_some() {
        short.push('…');
    }
    short
}

/// With spaces for what XML cannot hold, in any spelling.
fn of_xml(text: &str) -> String {
    let held = |letter: char| {
        matches!(letter, '\t' | '\n' | '\r' | ' '..) && !matches!(letter, '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|letter| if held(letter) { letter } else { ' ' }).collect()
}

fn escaped(text: &str) -> String {
    let text: String = shortened(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
