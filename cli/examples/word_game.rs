//! A tiny policy learns a game of words by GRPO: a line in which each word begins with the letter that the word
//! before it ends with, and no word comes twice.
//!
//! `cargo run --release -p surprisal-cli --example word_game -- DIRECTORY` takes under a minute and writes
//! `word_game.svg`: reward, entropy and their covariance as it learns, and the law R = −a e^H + b that the reward is
//! bought with entropy by. Without a directory it prints the figures alone.
//!
//! The policy first reads the six tragedies, so that it draws words as they do. Then it draws lines
//! (`LinearCrossEntropy::sample`, no logits stored), is told what they are worth, and learns from the log-probabilities
//! of what it drew (`Variable::linear_log_probabilities`, `Variable::policy_loss`).

use ndarray::{Array1, Array2, Ix2, s};
use plotters::prelude::*;
use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use surprisal::autodiff::{AdamW, Generator, Parameter, Shared, Tape, Variable};
use surprisal::loss::{Candidates, Sampling};
use surprisal::preference::{EntropyRewardFit, PolicyLoss, Rollout, TokenCovariance};
use surprisal::{Inputs, LinearCrossEntropy};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TEXT: &str = include_str!("../src/train/tragedies.txt");
/// The most frequent words of three letters or more.
const WORDS: usize = 800;
const WIDTH: usize = 48;
/// Words of a line after the first.
const LENGTH: usize = 8;
/// First words a step, and lines of each: what a line is worth is compared within those.
const GROUPS: usize = 16;
const GROUP: usize = 16;
const READING: usize = 200;
const PLAYING: usize = 300;

/// The words and what follows what in the text.
struct Corpus {
    words: Vec<String>,
    pairs: Vec<[u32; 2]>,
}

impl Corpus {
    fn read() -> Self {
        let all: Vec<String> = TEXT
            .split(|letter: char| !letter.is_ascii_alphabetic())
            .filter(|word| word.len() > 2)
            .map(str::to_ascii_lowercase)
            .collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for word in &all {
            *counts.entry(word).or_default() += 1;
        }
        let mut order: Vec<(&str, usize)> = counts.into_iter().collect();
        order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let words: Vec<String> =
            order.iter().take(WORDS).map(|(word, _)| word.to_string()).collect();
        let numbers: HashMap<&str, u32> = words.iter().map(String::as_str).zip(0..).collect();
        let classes: Vec<Option<u32>> =
            all.iter().map(|word| numbers.get(word.as_str()).copied()).collect();
        let pairs = classes.windows(2).filter_map(|two| Some([two[0]?, two[1]?])).collect();
        Self { words, pairs }
    }

    /// The share of the links of a line that hold.
    fn reward(&self, line: &[u32]) -> f64 {
        let holds = (1..line.len()).filter(|&i| {
            let (before, word) = (&self.words[line[i - 1] as usize], &self.words[line[i] as usize]);
            before.as_bytes().last() == word.as_bytes().first() && !line[..i].contains(&line[i])
        });
        holds.count() as f64 / (line.len() - 1) as f64
    }
}

/// Embedding, layer, classifier and bias.
struct Policy {
    parameters: [Shared<f32>; 4],
    optimiser: AdamW<f32>,
}

impl Policy {
    fn new() -> surprisal::Result<Self> {
        let mut generator = Generator::new(1);
        let mut random = |shape: &[usize], deviation| generator.normal(shape, deviation);
        let parameters = [
            random(&[WORDS, WIDTH], 0.3)?,
            random(&[WIDTH, WIDTH], 0.1)?,
            random(&[WORDS, WIDTH], 0.05)?,
            random(&[WORDS], 0.01)?,
        ];
        Ok(Self { parameters, optimiser: AdamW::builder().weight_decay(0.0).build()? })
    }

    /// The hidden states of words that are to be followed.
    fn hidden<'t>(
        leaves: &[Variable<'t, f32>; 4],
        words: &[u32],
    ) -> surprisal::Result<Variable<'t, f32>> {
        let embedded = leaves[0].gather(words)?;
        embedded.add(embedded.matmul(leaves[1])?.gelu())
    }

    /// One step down the loss that is made of the parameters.
    fn step<O>(
        &mut self,
        rate: f64,
        loss: impl for<'t> FnOnce(&[Variable<'t, f32>; 4]) -> Result<(Variable<'t, f32>, O)>,
    ) -> Result<O> {
        let tape = Tape::new()?;
        let leaves = self.parameters.each_ref().map(|array| tape.leaf(array));
        let (value, result) = loss(&leaves)?;
        let gradients = value.backward()?;
        let gradients = leaves.map(|leaf| gradients.of(leaf).expect("the loss depends on it"));
        drop(tape);
        let pairs = self.parameters.iter_mut().zip(gradients);
        let mut pairs: Vec<_> = pairs.map(|(array, of)| Parameter::new(array, of)).collect();
        self.optimiser.step(rate, &mut pairs)?;
        Ok(result)
    }

    /// Lines that begin with these words [B, 1 + LENGTH], with the log-probabilities of what was drawn.
    fn draw(&self, first: &[u32], seed: u64) -> Result<(Array2<u32>, Array2<f64>)> {
        let mut lines = Array2::zeros((first.len(), 1 + LENGTH));
        let mut log_probabilities = Array2::zeros((first.len(), LENGTH));
        lines.column_mut(0).assign(&Array1::from(first.to_vec()));
        let loss = LinearCrossEntropy::builder().build()?;
        let [.., classifier, bias] = &self.parameters;
        let classifier = classifier.view().into_dimensionality::<Ix2>()?;
        let bias = bias.view().into_dimensionality::<ndarray::Ix1>()?;
        for t in 0..LENGTH {
            let tape = Tape::new()?;
            let leaves = self.parameters.each_ref().map(|array| tape.constant(array));
            let hidden = Self::hidden(&leaves, &lines.column(t).to_vec())?.value();
            let hidden = hidden.view().into_dimensionality::<Ix2>()?;
            let inputs = Inputs::unlabelled(hidden, classifier).bias(bias);
            let drawn = loss.sample(&inputs, &Sampling::new(seed * LENGTH as u64 + t as u64))?;
            for (b, &class) in drawn.classes.column(0).iter().enumerate() {
                lines[[b, t + 1]] = u32::try_from(class)?;
                log_probabilities[[b, t]] = drawn.log_probabilities[[b, 0]];
            }
        }
        Ok((lines, log_probabilities))
    }
}

/// What a step of the game was.
struct Step {
    reward: f64,
    entropy: f64,
    covariance: f64,
}

fn main() -> Result<()> {
    let text = Corpus::read();
    let mut policy = Policy::new()?;
    let mut random = Generator::new(2);
    let mut below = |count: usize| (random.bits() % count as u64) as usize;

    let reading = LinearCrossEntropy::builder().build()?;
    for _ in 0..READING {
        let some: Vec<_> = (0..1024).map(|_| text.pairs[below(text.pairs.len())]).collect();
        let (words, next): (Vec<u32>, Vec<u32>) = some.iter().map(|&[a, b]| (a, b)).unzip();
        policy.step(0.01, |leaves| {
            let hidden = Policy::hidden(leaves, &words)?;
            let loss = hidden.linear_cross_entropy(leaves[2], Some(leaves[3]), &next, &reading)?;
            Ok((loss, ()))
        })?;
    }

    let playing = LinearCrossEntropy::builder().entropy(true).build()?;
    let (lines, mask) = (GROUPS * GROUP, Array2::from_elem((GROUPS * GROUP, LENGTH), true));
    let mut steps = Vec::new();
    for step in 0..PLAYING {
        let first: Vec<u32> = (0..GROUPS).flat_map(|_| [below(WORDS) as u32; GROUP]).collect();
        let (drawn, old) = policy.draw(&first, step as u64)?;
        let rewards: Array1<f64> =
            drawn.outer_iter().map(|line| text.reward(&line.to_vec())).collect();
        let mut advantages = Array1::zeros(lines);
        for (mut to, rewards) in
            advantages.exact_chunks_mut(GROUP).into_iter().zip(rewards.exact_chunks(GROUP))
        {
            let (mean, deviation) = (rewards.mean().unwrap_or(0.0), rewards.std(0.0));
            to.assign(&rewards.mapv(|reward| (reward - mean) / (deviation + 1e-6)));
        }
        let rollout = Rollout::new(&mask, &advantages).old(&old);
        let covariance = TokenCovariance::of(&old, &rollout)?.mean();
        let before: Vec<u32> = drawn.slice(s![.., ..LENGTH]).iter().copied().collect();
        let after = Array2::from_shape_vec(
            (lines * LENGTH, 1),
            drawn.slice(s![.., 1..]).iter().copied().collect(),
        )?;
        let entropy = policy.step(0.003, |leaves| {
            let hidden = Policy::hidden(leaves, &before)?;
            let candidates = Candidates::new(&after);
            let own = hidden.linear_log_probabilities(
                leaves[2],
                Some(leaves[3]),
                candidates,
                &playing,
            )?;
            let entropy = own.entropy.ok_or("the entropy was asked for")?.mean().scalar()?;
            let log_probabilities = own.log_probabilities.reshape(&[lines, LENGTH])?;
            let loss = log_probabilities.policy_loss(None, &rollout, &PolicyLoss::grpo())?;
            Ok((loss, f64::from(entropy)))
        })?;
        let reward = rewards.mean().unwrap_or(0.0);
        if step % 50 == 0 || step == PLAYING - 1 {
            println!(
                "step {step:3}: reward {reward:.3}, entropy {entropy:.3} nats, Cov {covariance:.4}"
            );
        }
        steps.push(Step { reward, entropy, covariance });
    }

    let of = |value: fn(&Step) -> f64| steps.iter().map(value).collect::<Array1<f64>>();
    let fit = EntropyRewardFit::of(&of(|step| step.entropy), &of(|step| step.reward))?;
    println!(
        "R = −{:.2e} e^H + {:.3}: explains {:.1} % of the rewards' variance",
        fit.a,
        fit.b,
        100.0 * fit.r_squared
    );
    let first: Vec<u32> = (0..3).map(|_| below(WORDS) as u32).collect();
    let (last, _) = policy.draw(&first, PLAYING as u64)?;
    for line in last.outer_iter() {
        let words: Vec<&str> =
            line.iter().map(|&word| text.words[word as usize].as_str()).collect();
        println!("{} ({:.2})", words.join(" "), text.reward(&line.to_vec()));
    }
    if let Some(directory) = std::env::args().nth(1) {
        std::fs::create_dir_all(&directory)?;
        std::fs::write(Path::new(&directory).join("word_game.svg"), plot(&steps, &fit)?)?;
    }
    Ok(())
}

/// A colour of the scaffolding that can be seen on light and on dark.
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);
const BLUE: RGBColor = RGBColor(0x2f, 0x80, 0xd0);
const ORANGE: RGBColor = RGBColor(0xd9, 0x6c, 0x10);

/// A panel for each of reward, entropy and covariance over the steps, and one of reward over entropy with the law.
fn plot(steps: &[Step], fit: &EntropyRewardFit) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, 640)).into_drawing_area();
        let panels = root.split_evenly((2, 2));
        let over = |value: fn(&Step) -> f64| {
            let of = |(i, step): (usize, &Step)| (i as f64, value(step));
            steps.iter().enumerate().map(of).collect::<Vec<_>>()
        };
        let curves = [
            ("Reward", "step", over(|step| step.reward)),
            ("Entropy, nats", "step", over(|step| step.entropy)),
            ("Cov(ln π, A)", "step", over(|step| step.covariance)),
            (
                "Reward over entropy",
                "entropy, nats",
                steps.iter().map(|step| (step.entropy, step.reward)).collect(),
            ),
        ];
        for (place, (panel, (title, below, points))) in panels.iter().zip(curves).enumerate() {
            let bounds = |value: fn(&(f64, f64)) -> f64| {
                let of = points.iter().map(value);
                let (low, high) = of.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
                let room = 0.04 * (high - low).max(1e-9);
                low - room..high + room
            };
            let mut chart = ChartBuilder::on(panel)
                .margin(10)
                .caption(title, ("sans-serif", 17).into_font().color(&GREY))
                .x_label_area_size(40)
                .y_label_area_size(56)
                .build_cartesian_2d(bounds(|point| point.0), bounds(|point| point.1))?;
            chart
                .configure_mesh()
                .bold_line_style(GREY.mix(0.35))
                .light_line_style(GREY.mix(0.0))
                .axis_style(GREY)
                .label_style(("sans-serif", 13).into_font().color(&GREY))
                .x_desc(below)
                .x_labels(6)
                .y_labels(6)
                .x_label_formatter(&|x| format!("{x:.0}"))
                .draw()?;
            if place < 3 {
                chart.draw_series([PathElement::new(points, BLUE.stroke_width(2))])?;
                continue;
            }
            let dots = points.iter().map(|&point| Circle::new(point, 2, BLUE.filled()));
            chart.draw_series(dots)?;
            let mut law: Vec<_> =
                points.iter().map(|&(h, _)| (h, fit.b - fit.a * h.exp())).collect();
            law.sort_by(|a, b| a.0.total_cmp(&b.0));
            chart.draw_series([PathElement::new(law, ORANGE.stroke_width(2))])?;
            let style = ("sans-serif", 14).into_font().color(&ORANGE);
            panel.draw(&Text::new("R = −a e^H + b", (90, 250), style))?;
        }
        root.present()?;
    }
    Ok(svg)
}
