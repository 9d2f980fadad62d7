//! A classifier of handwritten digits, 30 % of whose labels are wrong: cross-entropy against losses that are
//! robust to that.
//!
//! `cargo run --release --example noisy_labels -- DIRECTORY` takes some seconds and writes `noisy_labels.svg`, the
//! accuracy on held-out digits during training; without a directory it prints the table alone.

use ndarray::{Array1, Array2, Axis, Ix2, Zip, s};
use plotters::prelude::*;
use std::error::Error;
use std::path::{Path, PathBuf};
use surprisal::autodiff::{AdamW, Generator, Parameter, Schedule, Shared, Tape};
use surprisal::io::{Tensor, TensorView};
use surprisal::loss::{
    CrossEntropy, DistributionallyRobust, GeneralizedCrossEntropy, HardSymmetricCrossEntropy,
};
use surprisal::{LinearCrossEntropy, LinearCrossEntropyBuilder};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CLASSES: usize = 10;
const HIDDEN: usize = 256;
const BATCH: usize = 100;
const EPOCHS: usize = 60;
const SEEDS: u64 = 5;
const WRONG: f64 = 0.3;

struct Named {
    name: &'static str,
    builder: LinearCrossEntropyBuilder,
    /// The temperature of the loss is that of the model's probabilities.
    temperature: f32,
    colour: RGBColor,
}

fn losses() -> surprisal::Result<Vec<Named>> {
    let of = LinearCrossEntropy::builder;
    let named = |name, builder: LinearCrossEntropyBuilder, temperature: f32, colour| Named {
        name,
        builder: builder.temperature(f64::from(temperature)),
        temperature,
        colour,
    };
    Ok(vec![
        named(
            "cross-entropy",
            of().row_loss(CrossEntropy::default()),
            1.0,
            RGBColor(0x80, 0x80, 0x80),
        ),
        named(
            "generalized cross-entropy, q = 0.7",
            of().row_loss(GeneralizedCrossEntropy::new(0.7)?),
            1.0,
            RGBColor(0x2f, 0x80, 0xd0),
        ),
        named(
            "distributionally robust, λ = 10, m = 0.1",
            of().row_loss(DistributionallyRobust::new(0.1)?),
            10.0,
            RGBColor(0xd9, 0x6c, 0x10),
        ),
        named(
            "hard symmetric cross-entropy, α = 0.1, β = 1",
            of().row_loss(HardSymmetricCrossEntropy::new(0.1, 1.0, -4.0)?),
            1.0,
            RGBColor(0x2c, 0x9c, 0x58),
        ),
    ])
}

/// Images `[N,64]` from 0 to 1 with their labels.
struct Digits {
    images: Array2<f32>,
    labels: Vec<u32>,
}

impl Digits {
    fn read() -> Result<Self> {
        let file =
            |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/entropy").join(name);
        let open = |path: PathBuf| Tensor::open(&path.display().to_string());
        let images = match open(file("digits.npy"))?.view() {
            TensorView::F64(view) => view.into_dimensionality::<Ix2>()?.mapv(|x| x as f32 / 16.0),
            other => return Err(format!("digits of {}, expected f64", other.dtype_name()).into()),
        };
        let labels = open(file("digits_y.npy"))?.view().to_i64("the labels")?;
        let labels =
            labels.iter().map(|&y| u32::try_from(y)).collect::<std::result::Result<_, _>>()?;
        Ok(Self { images, labels })
    }

    /// Every third digit is held out.
    fn split(&self) -> [Self; 2] {
        let part = |of: fn(usize) -> bool| {
            let places: Vec<_> = (0..self.labels.len()).filter(|&i| of(i)).collect();
            let labels = places.iter().map(|&i| self.labels[i]).collect();
            Self { images: self.images.select(Axis(0), &places), labels }
        };
        [part(|i| i % 3 != 0), part(|i| i % 3 == 0)]
    }
}

/// Another class than it is, for the share of them that is wrong.
fn spoilt(labels: &[u32], seed: u64) -> Vec<u32> {
    let mut generator = Generator::stream(seed, 1);
    let mut share = || generator.bits() as f64 / u64::MAX as f64;
    let mut wrong = |label: u32| match share() < WRONG {
        true => (label + 1 + (share() * 8.999) as u32) % CLASSES as u32,
        false => label,
    };
    labels.iter().map(|&label| wrong(label)).collect()
}

type Parameters = [Shared<f32>; 3];

/// A hidden layer below the classes.
fn logits([weights, bias, classifier]: &Parameters, images: &Array2<f32>) -> Result<Array2<f32>> {
    let two = |array: &Shared<f32>| array.clone().into_dimensionality::<Ix2>();
    let hidden = images.dot(&two(weights)?) + bias;
    let hidden = hidden.into_dimensionality::<Ix2>()?.mapv(|x| x.max(0.0));
    Ok(hidden.dot(&two(classifier)?.t()))
}

/// What held-out digits say of a model.
#[derive(Clone, Copy, Default)]
struct Held {
    accuracy: f64,
    /// The expected calibration error: |accuracy − confidence| of 15 bins of confidence, weighed by their rows.
    calibration: f64,
}

impl Held {
    fn of(parameters: &Parameters, digits: &Digits, temperature: f32) -> Result<Self> {
        let logits = logits(parameters, &digits.images)? / temperature;
        let mut bins = [[0.0_f64; 3]; 15];
        let mut right = 0.0;
        for (row, &label) in logits.rows().into_iter().zip(&digits.labels) {
            let best = (0..CLASSES).fold(0, |best, v| if row[v] > row[best] { v } else { best });
            let confidence = 1.0 / row.mapv(|x| f64::from(x - row[best]).exp()).sum();
            let hit = f64::from(u8::from(best == label as usize));
            right += hit;
            let bin = &mut bins[((confidence * 15.0) as usize).min(14)];
            Zip::from(&mut bin[..]).and(&[1.0, hit, confidence]).for_each(|to, x| *to += x);
        }
        let rows = digits.labels.len() as f64;
        let far = bins.iter().map(|[_, hits, confidence]| (hits - confidence).abs());
        Ok(Self { accuracy: right / rows, calibration: far.sum::<f64>() / rows })
    }
}

/// What is held out says so after each epoch; last, the share of the wrong labels that the model has learned.
fn train(loss: &Named, parts: &[Digits; 2], seed: u64) -> Result<(Vec<Held>, f64)> {
    let [seen, held] = parts;
    let labels = spoilt(&seen.labels, seed);
    let mut generator = Generator::new(seed);
    let mut random = |shape: &[usize], deviation| generator.normal(shape, deviation);
    let mut parameters =
        [random(&[64, HIDDEN], 0.15)?, random(&[HIDDEN], 0.1)?, random(&[CLASSES, HIDDEN], 0.05)?];
    let fused = loss.builder.clone().build()?;
    let steps = seen.labels.len() / BATCH;
    let schedule = Schedule::cosine(0.003, (EPOCHS * steps) as u64).warm_up(20).build()?;
    let mut adam = AdamW::builder().build()?;
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let mut shuffle = Generator::stream(seed, 2);
    let mut all = Vec::new();
    for epoch in 0..EPOCHS {
        for i in (1..order.len()).rev() {
            order.swap(i, (shuffle.bits() % (i as u64 + 1)) as usize);
        }
        for step in 0..steps {
            let batch = &order[step * BATCH..(step + 1) * BATCH];
            let images = seen.images.select(Axis(0), batch).into_shared();
            let targets: Vec<u32> = batch.iter().map(|&i| labels[i]).collect();
            let tape = Tape::new()?;
            let [weights, bias, classifier] = parameters.each_ref().map(|array| tape.leaf(array));
            let hidden = tape.constant(&images).matmul(weights)?.add(bias)?.relu();
            let value = hidden.linear_cross_entropy(classifier, None, &targets, &fused)?;
            let gradients = value.backward()?;
            let of = |leaf| gradients.of(leaf).expect("the loss depends on it");
            let gradients = [weights, bias, classifier].map(of);
            drop(tape);
            let pairs = parameters.iter_mut().zip(gradients);
            let mut pairs: Vec<_> = pairs.map(|(array, of)| Parameter::new(array, of)).collect();
            adam.step(schedule.rate((epoch * steps + step) as u64), &mut pairs)?;
        }
        all.push(Held::of(&parameters, held, loss.temperature)?);
    }
    let wrong: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] != seen.labels[i]).collect();
    let learned = Digits {
        images: seen.images.select(Axis(0), &wrong),
        labels: wrong.iter().map(|&i| labels[i]).collect(),
    };
    Ok((all, Held::of(&parameters, &learned, loss.temperature)?.accuracy))
}

fn main() -> Result<()> {
    let parts = Digits::read()?.split();
    println!("| loss | held-out accuracy | calibration error | wrong labels learned |");
    println!("| --- | --- | --- | --- |");
    let mut curves = Vec::new();
    for loss in losses()? {
        let mut accuracies = Array2::<f64>::zeros((SEEDS as usize, EPOCHS));
        let (mut calibration, mut learned) = (0.0, 0.0);
        for seed in 0..SEEDS {
            let (held, share) = train(&loss, &parts, seed)?;
            let row = Array1::from_iter(held.iter().map(|held| held.accuracy));
            accuracies.slice_mut(s![seed as usize, ..]).assign(&row);
            calibration += held[EPOCHS - 1].calibration / SEEDS as f64;
            learned += share / SEEDS as f64;
        }
        let last = accuracies.column(EPOCHS - 1);
        println!(
            "| {} | {:.1} % ± {:.1} | {:.3} | {:.0} % |",
            loss.name,
            100.0 * last.mean().ok_or("no seeds")?,
            100.0 * last.std(1.0),
            calibration,
            100.0 * learned,
        );
        curves.push((loss.name, loss.colour, accuracies.mean_axis(Axis(0)).ok_or("no seeds")?));
    }
    if let Some(directory) = std::env::args().nth(1) {
        std::fs::create_dir_all(&directory)?;
        std::fs::write(Path::new(&directory).join("noisy_labels.svg"), plot(&curves)?)?;
    }
    Ok(())
}

/// A colour of the scaffolding that can be seen on light and on dark.
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// A line for each loss, named at the foot.
fn plot(curves: &[(&str, RGBColor, Array1<f64>)]) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (760, 440)).into_drawing_area();
        let all = curves.iter().flat_map(|(.., line)| line);
        let least = all.fold(1.0_f64, |least, &x| least.min(x)).max(0.6);
        let least = (20.0 * least).floor() / 20.0;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .caption(
                "Held-out accuracy, 30 % of the labels wrong",
                ("sans-serif", 18).into_font().color(&GREY),
            )
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..EPOCHS as f64, 100.0 * least..100.0)?;
        chart
            .configure_mesh()
            .bold_line_style(GREY.mix(0.35))
            .light_line_style(GREY.mix(0.0))
            .axis_style(GREY)
            .label_style(("sans-serif", 14).into_font().color(&GREY))
            .x_desc("epoch")
            .y_label_formatter(&|share| format!("{share:.0} %"))
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .draw()?;
        for (place, (name, colour, line)) in curves.iter().enumerate() {
            let points = line.iter().enumerate().map(|(i, &x)| (i as f64 + 1.0, 100.0 * x));
            let points = points.filter(|&(_, share)| share >= 100.0 * least);
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            let style = ("sans-serif", 15).into_font().color(colour);
            let at = (300, 300 + 20 * place as i32);
            root.draw(&Text::new(*name, at, style))?;
        }
        root.present()?;
    }
    Ok(svg)
}
