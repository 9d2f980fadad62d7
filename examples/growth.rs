//! How the time grows with N, D and V: each alone over two decades, forward and with gradients.
//!
//! `cargo run --release --example growth -- DIRECTORY` takes about a minute and writes
//! `growth.md`, a table with the exponents of fitted powers, and `growth.svg`.

use ndarray::Array2;
use plotters::prelude::*;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rounds over all the points: a neighbour's load falls on all of them.
const ROUNDS: usize = 5;

/// Short calls are repeated for so long, and their mean is taken.
const AT_LEAST: Duration = Duration::from_millis(10);

/// A dimension that grows while the others stay.
struct Axis {
    name: &'static str,
    sizes: &'static [usize],
    shape: fn(usize) -> [usize; 3],
    colour: RGBColor,
}

const AXES: [Axis; 3] = [
    Axis {
        name: "N",
        sizes: &[16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
        shape: |tokens| [tokens, 256, 16_384],
        colour: RGBColor(0x2f, 0x80, 0xd0),
    },
    Axis {
        name: "D",
        sizes: &[32, 64, 128, 256, 512, 1024, 2048, 4096],
        shape: |width| [256, width, 8192],
        colour: RGBColor(0xd9, 0x6c, 0x10),
    },
    Axis {
        name: "V",
        sizes: &[2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144],
        shape: |vocabulary| [256, 256, vocabulary],
        colour: RGBColor(0x2c, 0x9c, 0x58),
    },
];

/// Seconds of a forward and of a forward with both gradients.
#[derive(Clone, Copy)]
struct Seconds([f64; 2]);

const PASSES: [&str; 2] = ["forward", "forward and gradients"];

/// A curve: an axis with its sizes and times.
type Curve = (&'static Axis, Vec<(usize, Seconds)>);

fn main() -> Result<()> {
    let directory = std::env::args().nth(1).ok_or("expected the directory of the results")?;
    let directory = Path::new(&directory);
    std::fs::create_dir_all(directory)?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        rounds.push(measure_all()?);
    }
    let curves: Vec<Curve> = AXES
        .iter()
        .enumerate()
        .map(|(i, axis)| {
            let point = |(j, &size)| (size, median(rounds.iter().map(|round| round[i][j])));
            (axis, axis.sizes.iter().enumerate().map(point).collect())
        })
        .collect();
    let table = table(&curves)?;
    print!("{table}");
    std::fs::write(directory.join("growth.md"), table)?;
    std::fs::write(directory.join("growth.svg"), plot(&curves)?)?;
    Ok(())
}

/// Every point of every axis once.
fn measure_all() -> Result<Vec<Vec<Seconds>>> {
    AXES.iter()
        .map(|axis| axis.sizes.iter().map(|&size| measure((axis.shape)(size))).collect())
        .collect()
}

fn measure([tokens, width, vocabulary]: [usize; 3]) -> Result<Seconds> {
    let wave = |rows, scale: f32| {
        Array2::from_shape_fn((rows, width), |(i, j)| {
            scale * ((i * 7919 + j * 104_729) as f32).sin()
        })
    };
    let (hidden, classifier) = (wave(tokens, 2.0 / (width as f32).sqrt()), wave(vocabulary, 1.0));
    let targets: Vec<u32> = (0..tokens).map(|i| (i * 31 % vocabulary) as u32).collect();
    let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
    let loss = LinearCrossEntropy::builder().build()?;
    let forward = time(|| Ok(loss.forward(&inputs).map(drop)?))?;
    let mut d_hidden = Array2::<f32>::zeros(hidden.dim());
    let mut d_classifier = Array2::<f32>::zeros(classifier.dim());
    let both = time(|| {
        let gradients =
            Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut());
        Ok(loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).map(drop)?)
    })?;
    Ok(Seconds([forward, both]))
}

/// The mean of a few calls after one that does not count.
fn time(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    call()?;
    let (start, mut calls) = (Instant::now(), 0);
    while calls == 0 || start.elapsed() < AT_LEAST {
        call()?;
        calls += 1;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(calls))
}

fn median(points: impl Iterator<Item = Seconds> + Clone) -> Seconds {
    Seconds([0, 1].map(|pass| {
        let mut seconds: Vec<f64> = points.clone().map(|Seconds(both)| both[pass]).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    }))
}

/// The exponent of the power that fits best, by least squares of the logarithms.
fn exponent(points: &[(usize, Seconds)], pass: usize) -> f64 {
    let count = points.len() as f64;
    let logs = points.iter().map(|(size, seconds)| ((*size as f64).ln(), seconds.0[pass].ln()));
    let (x, y) = logs.clone().fold((0.0, 0.0), |(x, y), (a, b)| (x + a / count, y + b / count));
    let (xy, xx) =
        logs.fold((0.0, 0.0), |(xy, xx), (a, b)| (xy + (a - x) * (b - y), xx + (a - x) * (a - x)));
    xy / xx
}

fn table(curves: &[Curve]) -> Result<String> {
    let mut text = format!(
        "Medians of {ROUNDS} rounds. Exponents of fitted powers of the time: over all the sizes, and \
         over the upper half of them.\n\n\
         | grows | others | forward | {} |\n| --- | --- | --- | --- |\n",
        PASSES[1]
    );
    for (axis, points) in curves {
        let upper = &points[points.len() / 2..];
        let [forward, both] = [0, 1]
            .map(|pass| format!("{:.3}, {:.3}", exponent(points, pass), exponent(upper, pass)));
        let (first, last) = (axis.sizes[0], axis.sizes[axis.sizes.len() - 1]);
        let name = axis.name;
        writeln!(text, "| {name} {first} to {last} | {} | {forward} | {both} |", others(axis))?;
    }
    writeln!(
        text,
        "\n| N × D × V | forward | GFLOP/s | {} |\n| --- | --- | --- | --- |",
        PASSES[1]
    )?;
    for (axis, points) in curves {
        for (size, Seconds([forward, both])) in points {
            let shape = (axis.shape)(*size);
            let rate = 2.0 * shape.iter().product::<usize>() as f64 / forward / 1e9;
            let [tokens, width, vocabulary] = shape;
            let (forward, both) = (milliseconds(*forward), milliseconds(*both));
            writeln!(
                text,
                "| {tokens} × {width} × {vocabulary} | {forward} | {rate:.0} | {both} |"
            )?;
        }
    }
    Ok(text)
}

/// The dimensions that stay.
fn others(axis: &Axis) -> String {
    let named = ["N", "D", "V"].into_iter().zip((axis.shape)(0));
    let fixed = named.filter(|(name, _)| *name != axis.name);
    fixed.map(|(name, size)| format!("{name} {size}")).collect::<Vec<_>>().join(", ")
}

fn milliseconds(seconds: f64) -> String {
    let value = 1e3 * seconds;
    match value {
        100.0.. => format!("{value:.0} ms"),
        10.0.. => format!("{value:.1} ms"),
        1.0.. => format!("{value:.2} ms"),
        _ => format!("{value:.3} ms"),
    }
}

/// A colour of the scaffolding that can be seen on light and on dark.
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// A panel for each pass, a line for each dimension.
fn plot(curves: &[Curve]) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (960, 440)).into_drawing_area();
        for (pass, area) in root.split_evenly((1, 2)).into_iter().enumerate() {
            panel(&area, curves, pass)?;
        }
        root.present()?;
    }
    // No background; grey letters follow the reader's theme, where it is known.
    let style = "<style>\
                 @media(prefers-color-scheme:light){text[fill='#808080']{fill:#3a3a3a}}\
                 @media(prefers-color-scheme:dark){text[fill='#808080']{fill:#d0d0d0}}\
                 </style>\n";
    let start = svg.find('\n').ok_or("an empty picture")? + 1;
    svg.insert_str(start, style);
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, curves: &[Curve], pass: usize) -> Result<()> {
    // One scale for both panels, so that they can be compared.
    let all = curves.iter().flat_map(|(_, points)| points).flat_map(|(_, seconds)| seconds.0);
    let (least, most) = all.fold((f64::MAX, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
    let seconds = least / 2.0..2.0 * most;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(PASSES[pass], ("sans-serif", 18).into_font().color(&GREY))
        .x_label_area_size(44)
        .y_label_area_size(80)
        .build_cartesian_2d((10.0..2_500_000.0).log_scale(), seconds.clone().log_scale())?;
    chart
        .configure_mesh()
        .bold_line_style(GREY.mix(0.35))
        .light_line_style(GREY.mix(0.0))
        .axis_style(GREY)
        .label_style(("sans-serif", 14).into_font().color(&GREY))
        .x_desc("N, D or V, the others fixed")
        .y_desc("time of a call")
        .x_label_formatter(&|&size| label(size, &["", "k", "M"], 1.0))
        .y_label_formatter(&|&seconds| label(seconds, &[" µs", " ms", " s"], 1e-6))
        .draw()?;
    let on_chart = |size: usize, seconds: f64| (size as f64, seconds);
    for (axis, points) in curves {
        let line = points.iter().map(|(size, seconds)| on_chart(*size, seconds.0[pass]));
        chart.draw_series(LineSeries::new(line.clone(), axis.colour.stroke_width(2)))?;
        chart.draw_series(line.clone().map(|at| Circle::new(at, 3, axis.colour.filled())))?;
        let upper = exponent(&points[points.len() / 2..], pass);
        let end = line.clone().next_back().ok_or("a curve without points")?;
        let text = format!("{}{}", axis.name, superscript(upper));
        let style = ("sans-serif", 16).into_font().color(&axis.colour);
        chart.plotting_area().draw(&(EmptyElement::at(end) + Text::new(text, (8, -14), style)))?;
    }
    proportional(&mut chart, seconds.start)?;
    Ok(())
}

type Logarithmic = plotters::coord::combinators::LogCoord<f64>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Logarithmic, Logarithmic>>;

/// A dotted line of exponent 1 to compare with.
fn proportional(chart: &mut Chart<'_, '_>, lowest: f64) -> Result<()> {
    let points = [(10_000.0, 2.0 * lowest), (100_000.0, 20.0 * lowest)];
    chart.draw_series(DashedLineSeries::new(points, 2, 4, GREY.stroke_width(1)))?;
    let style = ("sans-serif", 13).into_font().color(&GREY);
    let at = EmptyElement::at(points[1]);
    chart.plotting_area().draw(&(at + Text::new("linear", (6, -4), style)))?;
    Ok(())
}

/// An exponent of two decimals.
fn superscript(value: f64) -> String {
    let raised = |letter| match letter {
        '.' => '·',
        '-' => '⁻',
        digit => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹']
            [digit.to_digit(10).unwrap_or(0) as usize],
    };
    format!("{value:.2}").chars().map(raised).collect()
}

/// A power of ten with a prefix for each three digits.
fn label(value: f64, prefixes: &[&str], unit: f64) -> String {
    let digits = (value / unit).log10().round() as usize;
    let prefix = prefixes[(digits / 3).min(prefixes.len() - 1)];
    let rest = value / unit / 1000_f64.powi((digits / 3).min(prefixes.len() - 1) as i32);
    format!("{}{prefix}", rest.round())
}
