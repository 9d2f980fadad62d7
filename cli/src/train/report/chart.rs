//! Charts as SVG that stands in the page, so that its style sheet colours them.
//!
//! Curves differ by colour, dashes and markers, and their names stand beside them.

use std::fmt::Write;

use super::text::{escaped, number};
use crate::scale::Scale;

/// The page of a chart: narrow, so that its letters can be read on a telephone.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 290.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 246.0;

/// The height of a chart with nothing to draw.
const EMPTY: f64 = 84.0;

/// Between the frame and the first and last points.
const INSET: f64 = 7.0;

/// Between the middle lines of two names.
const LINE: f64 = 16.0;

/// Room for names at the right, at least: charts beside each other then have the same width.
const NAMES: f64 = 92.0;

/// Curves of more points have a marker at their ends only.
const MARKED: usize = 32;

/// Markers nearer than this would touch.
const MARKER: f64 = 7.5;

/// Points nearer than this are drawn as their mean.
const APART: f64 = 2.0;

/// Numbers beyond are not drawn: their differences would overflow.
const LARGEST: f64 = 1e300;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spacing {
    Even,
    Logarithmic,
}

/// The horizontal axis.
#[derive(Clone, Debug)]
pub struct Horizontal {
    pub name: &'static str,
    pub spacing: Spacing,
    /// The least and the greatest number; where logarithmic, the least above 0.
    pub range: [f64; 2],
    /// Whether 0 has a place of its own on a logarithmic axis, left of the others.
    pub zero: bool,
}

/// The vertical axis.
#[derive(Clone, Debug)]
pub struct Vertical {
    /// What is drawn, with its unit.
    pub name: &'static str,
    pub spacing: Spacing,
    /// Numbers that the axis reaches at least.
    pub reaches: Vec<f64>,
}

#[derive(Clone, Debug)]
pub struct Series {
    /// What stands at its end, with its last number and this behind it.
    pub name: String,
    pub ending: Option<&'static str>,
    /// 1 to 4: colour, dashes, marker; 5: a thin line for points that scatter.
    pub style: usize,
    /// Whether its points have markers, if they are few.
    pub marked: bool,
    /// Numbers that are not finite leave a gap.
    pub points: Vec<(f64, f64)>,
}

/// A height to compare with.
#[derive(Clone, Debug)]
pub struct Reference {
    pub label: String,
    pub value: f64,
}

pub struct Chart {
    /// Of the elements of this chart in the page.
    pub id: &'static str,
    pub title: &'static str,
    /// For who cannot see it.
    pub description: String,
    pub x: Horizontal,
    pub y: Vertical,
    pub series: Vec<Series>,
    pub references: Vec<Reference>,
    /// Straight lines over the curves.
    pub fits: Vec<[(f64, f64); 2]>,
    /// Stretches of the horizontal axis: number, name, ends.
    pub spans: Vec<(usize, &'static str, f64, f64)>,
}

impl Chart {
    pub fn svg(&self) -> String {
        let drawable = |&(x, y): &(f64, f64)| self.x.holds(x) && self.y.holds(y);
        if !self.series.iter().any(|series| series.points.iter().any(drawable)) {
            let mut svg = head(self.id, self.title, &self.description, EMPTY);
            let _ = write!(
                svg,
                r#"<rect class="empty" x="0.5" y="0.5" width="{}" height="{}" rx="3" />"#,
                WIDTH - 1.0,
                EMPTY - 1.0
            );
            text(&mut svg, "note", "middle", (WIDTH / 2.0, EMPTY / 2.0), "nothing was measured");
            return svg + "</svg>";
        }
        let mut svg = head(self.id, self.title, &self.description, HEIGHT);
        let references: Vec<&Reference> =
            self.references.iter().filter(|reference| self.y.holds(reference.value)).collect();
        let labels: Vec<String> = self.series.iter().map(Series::label).collect();
        let names = labels.iter().chain(references.iter().map(|reference| &reference.label));
        let room = names.map(|name| width(name, 13.0)).fold(NAMES, f64::max);
        let right = WIDTH - 20.0 - room;

        let y = self.y.scale(&self.heights(&references));
        let ticks = y.ticks(6);
        let left = 12.0 + ticks.iter().map(|tick| width(&tick.1, 12.0)).fold(14.0, f64::max);
        let x = self.x.scale(left + INSET, right - INSET);

        text(&mut svg, "axis", "start", (2.0, 14.0), self.y.name);
        for (value, label) in &ticks {
            let at = y.at(*value);
            if BOTTOM - at > 3.0 {
                line(&mut svg, "rule", [(left, at), (right, at)]);
            }
            text(&mut svg, "tick", "end", (left - 7.0, at), label);
        }
        line(&mut svg, "base", [(left, BOTTOM), (right, BOTTOM)]);
        for (at, label) in self.x.ticks(&x) {
            line(&mut svg, "base", [(at, BOTTOM), (at, BOTTOM + 5.0)]);
            text(&mut svg, "tick", "middle", (at, BOTTOM + 16.0), &label);
        }
        text(&mut svg, "axis", "end", (right, BOTTOM + 36.0), self.x.name);
        self.draw_spans(&mut svg, &x);

        let mut names = Vec::new();
        for reference in references {
            let at = y.at(reference.value);
            line(&mut svg, "reference", [(left, at), (right, at)]);
            names.push(Name { style: 0, label: &reference.label, from: (right, at) });
        }
        for (series, label) in self.series.iter().zip(&labels) {
            let at = |&(x_value, y_value): &(f64, f64)| {
                drawable(&(x_value, y_value)).then(|| (self.x.at(&x, x_value), y.at(y_value)))
            };
            let points: Vec<Option<(f64, f64)>> = series.points.iter().map(at).collect();
            if let Some(from) = series.draw(&mut svg, &thinned(&points)) {
                names.push(Name { style: series.style, label, from });
            }
        }
        for fit in &self.fits {
            if fit.iter().all(drawable) {
                line(&mut svg, "fit", fit.map(|(a, b)| (self.x.at(&x, a), y.at(b))));
            }
        }
        write_names(&mut svg, names, right + 14.0);
        svg + "</svg>"
    }

    /// Every number that the vertical axis has to hold.
    fn heights(&self, references: &[&Reference]) -> Vec<f64> {
        let points = self.series.iter().flat_map(|series| &series.points);
        let points = points.filter(|point| self.x.holds(point.0)).map(|point| point.1);
        let fits = self.fits.iter().flatten().map(|point| point.1);
        let others = references.iter().map(|reference| reference.value);
        let all = points.chain(fits).chain(others).chain(self.y.reaches.iter().copied());
        all.filter(|&value| self.y.holds(value)).collect()
    }

    fn draw_spans(&self, svg: &mut String, x: &Scale) {
        for (index, &(number, name, from, to)) in self.spans.iter().enumerate() {
            let [from, to] = [from, to].map(|value| self.x.at(x, value));
            if index > 0 {
                line(svg, "span", [(from, TOP - 8.0), (from, BOTTOM)]);
            }
            let long = format!("{number} {name}");
            let fits = 0.9 * width(&long, 11.5) < to - from;
            let short = number.to_string();
            let label = if fits { &long } else { &short };
            text(svg, "over halo", "middle", (f64::midpoint(from, to), TOP - 2.0), label);
        }
    }
}

impl Horizontal {
    fn holds(&self, value: f64) -> bool {
        let least = if self.spacing == Spacing::Logarithmic && !self.zero {
            f64::MIN_POSITIVE
        } else {
            -LARGEST
        };
        (least..LARGEST).contains(&value)
    }

    /// Where 0 stands on a logarithmic axis.
    fn place_of_zero(&self) -> f64 {
        let [least, greatest] = self.range;
        least / (greatest / least).powf(0.12).max(2.0)
    }

    fn scale(&self, left: f64, right: f64) -> Scale {
        let [mut least, mut greatest] = self.range;
        match self.spacing {
            Spacing::Even => {
                if greatest - least < 1e-9 * greatest.abs().max(1e-9) {
                    (least, greatest) = (least - 0.5, greatest + 0.5);
                }
                Scale::linear(least, greatest, left, right)
            }
            Spacing::Logarithmic => {
                if self.zero {
                    least = self.place_of_zero();
                } else if greatest / least < 1.0 + 1e-9 {
                    (least, greatest) = (least / 1.5, greatest * 1.5);
                }
                Scale::logarithmic(least, greatest, left, right)
            }
        }
    }

    fn at(&self, scale: &Scale, value: f64) -> f64 {
        let zero = self.spacing == Spacing::Logarithmic && value <= 0.0;
        scale.at(if zero { self.place_of_zero() } else { value })
    }

    /// Places of whole numbers, with their labels.
    fn ticks(&self, scale: &Scale) -> Vec<(f64, String)> {
        let [least, greatest] = self.range;
        if greatest - least < 0.5 {
            let mut ticks = vec![(self.at(scale, least), whole(least))];
            if self.zero && self.spacing == Spacing::Logarithmic {
                ticks.insert(0, (self.at(scale, 0.0), whole(0.0)));
            }
            return ticks;
        }
        let inside = |value: &f64| value.fract() == 0.0 && (least..=greatest).contains(value);
        let round = scale.ticks(6).into_iter().map(|tick| tick.0).filter(inside);
        let logarithmic = self.spacing == Spacing::Logarithmic;
        let first = (self.zero && logarithmic).then_some(0.0);
        let last = logarithmic.then_some(greatest);
        // Those that do not touch the one before.
        let (mut ticks, mut end) = (Vec::new(), f64::NEG_INFINITY);
        for value in first.into_iter().chain(round).chain(last) {
            let (at, label) = (self.at(scale, value), whole(value));
            let half = width(&label, 12.0) / 2.0;
            if at - half > end {
                ticks.push((at, label));
                end = at + half + 3.0;
            }
        }
        ticks
    }
}

/// A whole number, short.
fn whole(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{}G", number(value / 1e9)),
        value if value >= 1e6 => format!("{}M", number(value / 1e6)),
        value if value >= 1e4 => format!("{}k", number(value / 1e3)),
        value => format!("{value:.0}"),
    }
}

impl Vertical {
    fn holds(&self, value: f64) -> bool {
        let least = if self.spacing == Spacing::Logarithmic { f64::MIN_POSITIVE } else { -LARGEST };
        (least..LARGEST).contains(&value)
    }

    /// A scale that holds all of these; there is at least one.
    fn scale(&self, heights: &[f64]) -> Scale {
        let mut low = heights.iter().copied().fold(f64::INFINITY, f64::min);
        let mut high = heights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self.spacing {
            Spacing::Even => {
                let bounds = self.reaches.iter().copied();
                let at_bound = |value: f64| bounds.clone().any(|bound| bound == value);
                if high - low <= 1e-6 * high.abs().max(low.abs()) {
                    // Rounding is not to fill the chart.
                    let room = if high == 0.0 { 1.0 } else { 0.1 * high.abs() };
                    (low, high) = (low - room, high + room);
                } else {
                    let room = 0.06 * (high - low);
                    if !at_bound(low) {
                        low -= room;
                    }
                    if !at_bound(high) {
                        high += room;
                    }
                }
                Scale::linear(low, high, BOTTOM, TOP)
            }
            Spacing::Logarithmic => {
                let room = (high / low).powf(0.06).clamp(1.03, 1e3);
                // As near to the ends of all numbers as logarithms are safe.
                let (low, high) = ((low / room).max(1e-300), (high * room).min(LARGEST));
                Scale::logarithmic(low, high.max(low * 1.06), BOTTOM, TOP)
            }
        }
    }
}

impl Series {
    fn label(&self) -> String {
        let last = self.points.iter().rev().find(|point| point.1.is_finite());
        match (self.ending, last) {
            (Some(unit), Some(last)) => {
                format!("{} {}{unit}", self.name, number(last.1)).trim().into()
            }
            _ => self.name.clone(),
        }
    }

    /// Draws line and markers; the last point.
    fn draw(&self, svg: &mut String, points: &[Option<(f64, f64)>]) -> Option<(f64, f64)> {
        let last = *points.iter().flatten().last()?;
        let mut path = String::new();
        for stretch in points.split(Option::is_none).filter(|stretch| stretch.len() > 1) {
            for (index, (x, y)) in stretch.iter().flatten().enumerate() {
                let step = if index == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{step}{x:.1} {y:.1}");
            }
        }
        let Self { style, marked, .. } = self;
        if !path.is_empty() {
            let _ = write!(svg, r#"<path class="line s{style}" d="{path}" />"#);
        }
        let count = points.iter().flatten().count();
        let alone = |index: usize| {
            let none = |index: Option<usize>| {
                index.and_then(|index| points.get(index)).is_none_or(Option::is_none)
            };
            none(index.checked_sub(1)) && none(Some(index + 1))
        };
        let mut before = f64::NEG_INFINITY;
        for (index, point) in points.iter().enumerate() {
            let Some(at) = *point else { continue };
            // Markers do not lie on each other; the last is always there.
            let free = at.0 - before >= MARKER && last.0 - at.0 >= MARKER || at == last;
            if alone(index) || (*marked && free && (count <= MARKED || at == last)) {
                marker(svg, *style, at);
                before = at.0;
            }
        }
        Some(last)
    }
}

/// Means of neighbours that are too near to be told apart; gaps stay.
fn thinned(points: &[Option<(f64, f64)>]) -> Vec<Option<(f64, f64)>> {
    let mut thinned = Vec::new();
    for stretch in points.split(Option::is_none) {
        if !thinned.is_empty() {
            thinned.push(None);
        }
        let stretch: Vec<(f64, f64)> = stretch.iter().flatten().copied().collect();
        let Some(&(left, _)) = stretch.first() else { continue };
        let column = |point: &(f64, f64)| ((point.0 - left) / APART) as i64;
        for group in stretch.chunk_by(|a, b| column(a) == column(b)) {
            let mean = |part: fn(&(f64, f64)) -> f64| {
                group.iter().map(part).sum::<f64>() / group.len() as f64
            };
            thinned.push(Some((mean(|point| point.0), mean(|point| point.1))));
        }
    }
    thinned
}

fn marker(svg: &mut String, style: usize, (x, y): (f64, f64)) {
    let _ = match style {
        2 => write!(
            svg,
            r#"<rect class="hollow s2" x="{:.1}" y="{:.1}" width="6.4" height="6.4" />"#,
            x - 3.2,
            y - 3.2
        ),
        3 => write!(svg, r#"<path class="mark s3" d="M{:.1} {:.1}l4.6 8h-9.2z" />"#, x, y - 5.0),
        4 => write!(
            svg,
            r#"<path class="hollow s4" d="M{:.1} {:.1}l4.3 4.3l-4.3 4.3l-4.3 -4.3z" />"#,
            x,
            y - 4.3
        ),
        _ => write!(svg, r#"<circle class="mark s{style}" cx="{x:.1}" cy="{y:.1}" r="4" />"#),
    };
}

/// A name beside the chart, for what ends at a point.
struct Name<'a> {
    style: usize,
    label: &'a str,
    from: (f64, f64),
}

/// Writes names at the heights of what they name, moved apart where they would lie on each other.
fn write_names(svg: &mut String, mut names: Vec<Name<'_>>, left: f64) {
    names.retain(|name| !name.label.is_empty());
    names.sort_by(|a, b| a.from.1.total_cmp(&b.from.1));
    let heights: Vec<f64> = names.iter().map(|name| name.from.1).collect();
    for (name, height) in names.iter().zip(spread(&heights)) {
        let Name { style, label, from: (x, y) } = name;
        let start = x + if *style == 0 { 2.0 } else { 6.0 };
        if start < left - 5.0 {
            let ends = [(start, *y), (left - 4.0, height)];
            line(svg, &format!("leader s{style}"), ends);
        }
        let class = if *style == 0 { "note".into() } else { format!("label s{style}") };
        text(svg, &class, "start", (left, height), label);
    }
}

/// Heights that are a line apart, as near as can be to those wanted, which rise.
fn spread(wanted: &[f64]) -> Vec<f64> {
    // Neighbours that would touch become one block around the mean of what they want.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for &height in wanted {
        let mut block = (height, 1);
        loop {
            let half = LINE * (block.1 - 1) as f64 / 2.0;
            block.0 = block.0.min(BOTTOM - half).max(TOP + half);
            match blocks.last() {
                Some(&(mean, count)) if block.0 - mean < LINE * (count + block.1) as f64 / 2.0 => {
                    let all = count + block.1;
                    let sum = mean * count as f64 + block.0 * block.1 as f64;
                    block = (sum / all as f64, all);
                    blocks.pop();
                }
                _ => break,
            }
        }
        blocks.push(block);
    }
    let heights = blocks.iter().flat_map(|&(mean, count)| {
        let first = mean - LINE * (count - 1) as f64 / 2.0;
        (0..count).map(move |index| first + LINE * index as f64)
    });
    heights.collect()
}

/// A bar, with what stands above it and at its end.
pub struct Bar {
    pub name: &'static str,
    pub value: Option<f64>,
    pub label: String,
}

/// Bars from 0 that compare two amounts.
pub fn bars(id: &str, title: &str, description: &str, bars: &[Bar]) -> String {
    const HEIGHT: f64 = 54.0;
    let mut svg = head(id, title, description, HEIGHT * bars.len() as f64 + 6.0);
    let drawable = |bar: &Bar| bar.value.filter(|value| (0.0..LARGEST).contains(value));
    let most = bars.iter().filter_map(drawable).fold(0.0, f64::max);
    let room = bars.iter().map(|bar| width(&bar.label, 13.0)).fold(0.0, f64::max) + 14.0;
    for (index, bar) in bars.iter().enumerate() {
        let top = HEIGHT * index as f64;
        text(&mut svg, "name", "start", (2.0, top + 12.0), bar.name);
        line(&mut svg, "base", [(1.0, top + 20.0), (1.0, top + 48.0)]);
        let mut right = 8.0;
        if let Some(value) = drawable(bar) {
            let share = if most > 0.0 { value / most } else { 0.0 };
            let length = (share * (WIDTH - room - 4.0)).max(1.5);
            let _ = write!(
                svg,
                r#"<rect class="bar s{}" x="1.5" y="{:.1}" width="{length:.1}" height="20" rx="1.5" />"#,
                index + 1,
                top + 24.0
            );
            right += length;
        }
        text(&mut svg, &format!("label s{}", index + 1), "start", (right, top + 34.0), &bar.label);
    }
    svg + "</svg>"
}

fn head(id: &str, title: &str, description: &str, height: f64) -> String {
    let (title, description) = (escaped(title), escaped(description));
    format!(
        "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" aria-labelledby=\"{id}-title\" \
         aria-describedby=\"{id}-description\">\n<title id=\"{id}-title\">{title}</title>\n<desc \
         id=\"{id}-description\">{description}</desc>\n"
    )
}

fn line(svg: &mut String, class: &str, [from, to]: [(f64, f64); 2]) {
    let _ = write!(
        svg,
        r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" />"#,
        from.0, from.1, to.0, to.1
    );
}

/// Text whose middle line is about at a height.
fn text(svg: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), text: &str) {
    let (y, text) = (y + 4.3, escaped(text));
    let _ = write!(
        svg,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
    );
}

/// About how wide a text is in a sans-serif of this size, on the safe side.
fn width(text: &str, size: f64) -> f64 {
    let letter = |letter: char| match letter {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | '\'' | '|' | ' ' | '\u{202f}' => 0.37,
        'f' | 'r' | 't' | '-' | '(' | ')' => 0.47,
        'm' | 'w' | 'M' | 'W' | '%' | '=' | '−' | '≈' | '∞' => 0.98,
        'A'..='Z' => 0.78,
        _ => 0.69,
    };
    text.chars().map(letter).sum::<f64>() * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lie_a_line_apart_and_near() {
        assert_eq!(spread(&[]), [0.0; 0]);
        assert_eq!(spread(&[100.0, 150.0]), [100.0, 150.0]);
        assert_eq!(spread(&[100.0, 102.0]), [93.0, 109.0]);
        assert_eq!(spread(&[100.0, 100.0, 115.0]), [89.0, 105.0, 121.0]);
        assert_eq!(spread(&[BOTTOM, BOTTOM]), [BOTTOM - LINE, BOTTOM]);
        assert_eq!(spread(&[TOP - 9.0, TOP]), [TOP, TOP + LINE]);
    }

    #[test]
    fn neighbours_become_their_mean_and_gaps_stay() {
        let points = [Some((0.0, 1.0)), Some((1.0, 3.0)), Some((5.0, 7.0)), None, Some((5.0, 1.0))];
        let means = [Some((0.5, 2.0)), Some((5.0, 7.0)), None, Some((5.0, 1.0))];
        assert_eq!(thinned(&points), means);
        assert_eq!(thinned(&[None, None]), [None; 0]);
    }
}
