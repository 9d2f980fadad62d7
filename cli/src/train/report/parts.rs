//! What the sections of the page are made of.

use std::fmt::Write;

use super::chart::{Chart, Horizontal, Series, Spacing, Vertical};
use super::text::{grouped, number};

pub fn section(id: &str, title: &str) -> String {
    format!("<section aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{title}</h2>\n")
}

pub fn figure(chart: &Chart, title: &str, reading: &str) -> String {
    format!(
        "<figure>\n<figcaption><h3>{title}</h3><p>{reading}</p></figcaption>\n{}\n</figure>\n",
        chart.svg()
    )
}

/// A chart that describes itself by its curves.
pub fn chart(
    id: &'static str,
    title: &'static str,
    x: Horizontal,
    (y, spacing): (&'static str, Spacing),
    series: Vec<Series>,
) -> Chart {
    let mut description = format!("{y} over {}.", x.name);
    for curve in &series {
        let name = if curve.name.is_empty() { title } else { &curve.name };
        let _ = write!(description, " {name}: {}", course(&curve.points));
    }
    Chart {
        id,
        title,
        description,
        x,
        y: Vertical { name: y, spacing, reaches: Vec::new() },
        series,
        references: Vec::new(),
        fits: Vec::new(),
        spans: Vec::new(),
    }
}

/// A curve of many points.
pub fn line(name: &str, style: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), ending: None, style, marked: false, points }
}

/// A curve in words.
fn course(points: &[(f64, f64)]) -> String {
    let drawn: Vec<&(f64, f64)> = points.iter().filter(|point| point.1.is_finite()).collect();
    let at =
        |point: &(f64, f64)| format!("{} at step {}", number(point.1), grouped(point.0 as u64));
    match drawn[..] {
        [] => "not measured.".into(),
        [only] => format!("{}.", at(only)),
        [first, .., last] => {
            let compare = |a: &&&(f64, f64), b: &&&(f64, f64)| a.1.total_cmp(&b.1);
            let low = drawn.iter().min_by(compare).copied().unwrap_or(first);
            let high = drawn.iter().max_by(compare).copied().unwrap_or(last);
            format!("from {} to {}; lowest {}, highest {}.", at(first), at(last), at(low), at(high))
        }
    }
}
