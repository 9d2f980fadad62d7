//! The charts over steps: learning, predictions, and the geometry of the hidden states.

use std::fmt::Write;

use super::chart::{Chart, Horizontal, Reference, Series, Spacing};
use super::history::History;
use super::parts::{chart, figure, line, section};
use super::phases::Phases;
use super::text::{MISSING, grouped, number};

/// Loss and perplexity over the steps.
pub fn learning(history: &History<'_>) -> String {
    let training: Vec<(f64, f64)> =
        history.steps.iter().map(|step| (step.step as f64, step.loss)).collect();
    let held_out = history.curve(|m| m.loss);
    let entropy = history.curve(|m| m.entropy);
    let raised = |points: &[(f64, f64)]| points.iter().map(|&(x, y)| (x, y.exp())).collect();
    let references = |figure: fn(f64) -> f64| {
        history.run.map_or(Vec::new(), |run| {
            vec![
                reference("unigram", figure(run.unigram_perplexity)),
                reference("Kneser–Ney", figure(run.kneser_ney_perplexity)),
            ]
        })
    };
    let mut loss = chart(
        "loss",
        "Loss",
        steps(history, Spacing::Even),
        ("loss (nats a token)", Spacing::Even),
        vec![
            line("training", 5, training.clone()),
            curve("held-out", "", 1, held_out),
            curve("entropy", "", 2, entropy.clone()),
        ],
    );
    loss.references = references(f64::ln);
    let mut perplexities = chart(
        "perplexity",
        "Perplexity",
        steps(history, Spacing::Logarithmic),
        ("perplexity (logarithmic)", Spacing::Logarithmic),
        vec![
            line("training", 5, raised(&training)),
            curve("held-out", "", 1, history.curve(|m| m.perplexity)),
            curve("exp(entropy)", "", 2, raised(&entropy)),
        ],
    );
    perplexities.references = references(|perplexity| perplexity);
    let mut section = section("learning", "Learning");
    let _ = writeln!(section, "<p>{}</p>\n<div class=\"grid\">", calibration(history));
    section += &figure(
        &loss,
        "Loss",
        "Mean −ln p of the token that comes. The entropy of the predictions is the floor that the model \
         believes in: its loss if the text were drawn from its own predictions.",
    );
    section += &figure(
        &perplexities,
        "Perplexity",
        "exp of the loss. Steps are logarithmic, so that the beginning can be seen; step 0 is before \
         training.",
    );
    section + "</div>\n</section>\n"
}

/// How the held-out loss lies to its own past and to the entropy of the predictions.
fn calibration(history: &History<'_>) -> String {
    let Some(last) = history.last().filter(|m| m.loss.is_finite()) else {
        return "There is no held-out loss.".into();
    };
    let best = history.measurements.iter().filter(|m| m.loss.is_finite());
    let best = best.min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap_or(&last);
    let mut text = match last.loss - best.loss {
        rise if rise > 0.005 => format!(
            "The held-out loss is lowest at step {} ({} nats) and {} nats higher at the end: the model \
             has begun to learn the training text by heart.",
            grouped(best.step as u64),
            number(best.loss),
            number(rise)
        ),
        _ => format!("The last held-out loss is the lowest, {} nats.", number(last.loss)),
    };
    let gap = last.loss - last.entropy;
    if gap.is_finite() {
        let _ = match gap {
            gap if gap > 0.02 => write!(
                text,
                " It is {} nats above the entropy of the predictions: on new text the model is \
                 surer than it should be.",
                number(gap)
            ),
            gap if gap < -0.02 => write!(
                text,
                " It is {} nats below the entropy of the predictions: the model is less sure than it \
                 could be.",
                number(-gap)
            ),
            _ => write!(
                text,
                " It is within 0.02 nats of the entropy of the predictions: on average the model is as \
                 sure as it should be."
            ),
        };
    }
    text
}

/// Entropy, varentropy, accuracy and the sparsity of the gradient.
pub fn predictions(history: &History<'_>) -> String {
    let vocabulary = history.run.map_or(f64::NAN, |run| run.vocabulary as f64);
    let over_steps = || steps(history, Spacing::Logarithmic);
    let mut entropy = chart(
        "entropy",
        "Entropy of the predictions",
        over_steps(),
        ("mean entropy (nats)", Spacing::Even),
        vec![curve("", "", 2, history.curve(|m| m.entropy))],
    );
    entropy.references.push(reference("ln V =", vocabulary.ln()));
    let varentropy = chart(
        "varentropy",
        "Varentropy of the predictions",
        over_steps(),
        ("mean varentropy (nats²)", Spacing::Even),
        vec![curve("", "", 4, history.curve(|m| m.varentropy))],
    );
    let accuracy = chart(
        "accuracy",
        "Accuracy",
        over_steps(),
        ("first guess is right (%)", Spacing::Even),
        vec![curve("", " %", 1, history.curve(|m| 100.0 * m.accuracy))],
    );
    let mut tiles = chart(
        "tiles",
        "Gradient tiles kept",
        over_steps(),
        ("tiles kept (%)", Spacing::Even),
        vec![
            curve("auto", " %", 1, history.curve(|m| 100.0 * m.tiles_kept)),
            curve("2⁻¹²", " %", 2, history.curve(|m| 100.0 * m.tiles_kept_2e_12)),
        ],
    );
    tiles.y.reaches = vec![0.0, 100.0];
    let mut section = section("predictions", "Predictions");
    section += "<p>What the model says of held-out text, whatever comes: how unsure it is, how often \
                its first guess is right, and how little of the vocabulary still has a \
                gradient.</p>\n<div class=\"grid\">\n";
    section += &figure(
        &entropy,
        "Entropy",
        "How unsure the model is: ln V for a guess among all classes, 0 for certainty.",
    );
    section += &figure(
        &varentropy,
        "Varentropy",
        "The variance of −ln p under the predictions: 0 where all candidates are alike, high where few \
         likely classes stand before a long tail.",
    );
    section += &figure(&accuracy, "Accuracy", "The share of positions whose first guess is right.");
    section += &figure(
        &tiles,
        "Gradient sparsity",
        "The share of tiles (one position by 32 classes) with a probability that a filter keeps. auto is \
         2⁻²⁸, below what f32 resolves; 2⁻¹² is lossy.",
    );
    section + "</div>\n</section>\n"
}

/// Ranks, decay and diffusion entropies of the hidden states, and the phases.
pub fn geometry(history: &History<'_>, phases: Option<&Phases>) -> String {
    let over_steps = || steps(history, Spacing::Logarithmic);
    let mut ranks = chart(
        "ranks",
        "RankMe and effective rank",
        over_steps(),
        ("rank (directions)", Spacing::Even),
        vec![
            curve("RankMe", "", 1, history.curve(|m| m.rankme)),
            curve("effective", "", 2, history.curve(|m| m.effective_rank)),
        ],
    );
    let spans = phases.map_or(Vec::new(), Phases::spans);
    ranks.spans = spans.iter().map(|&(n, name, a, b)| (n, name, a as f64, b as f64)).collect();
    let mut alpha = chart(
        "alpha",
        "α-ReQ",
        over_steps(),
        ("α", Spacing::Even),
        vec![curve("α", "", 3, history.curve(|m| m.alpha_req.unwrap_or(f64::NAN)))],
    );
    near(&mut alpha, "α =", 1.0);
    let rows = history.last().map_or(0, |m| m.rows);
    let mut dse = chart(
        "dse",
        "Diffusion spectral entropy",
        over_steps(),
        ("DSE (bits)", Spacing::Even),
        vec![curve("DSE", "", 1, history.curve(|m| m.dse))],
    );
    near(&mut dse, "log₂ N =", (rows as f64).log2());
    let dsmi = chart(
        "dsmi",
        "Diffusion spectral mutual information",
        over_steps(),
        ("DSMI (bits)", Spacing::Even),
        vec![curve("DSMI", "", 4, history.curve(|m| m.dsmi))],
    );
    let width = history.run.map_or("D".into(), |run| grouped(run.width as u64));
    let mut section = section("geometry", "Geometry of the hidden states");
    section += &phases.map_or_else(
        || {
            "<p>Fewer than three measurements: whether there are phases cannot be told.</p>\n"
                .into()
        },
        told,
    );
    let count = |n: usize| if n > 0 { grouped(n as u64) } else { MISSING.into() };
    let _ = writeln!(
        section,
        "<p>Ranks and α-ReQ of {} held-out hidden states, entropies of {} of them.</p>\n<div \
         class=\"grid\">",
        count(history.last().map_or(0, |m| m.positions)),
        count(rows),
    );
    section += &figure(
        &ranks,
        "RankMe and effective rank",
        &format!(
            "How many directions the hidden states use, of {width}: RankMe from their singular values, \
             the effective rank from the eigenvalues of their covariance, which weighs strong directions \
             more.",
        ),
    );
    section += &figure(
        &alpha,
        "α-ReQ",
        "The eigenvalues fall like rank⁻<sup>α</sup>: the higher, the more of the variance lies in the \
         first directions.",
    );
    section += &figure(
        &dse,
        "Diffusion spectral entropy",
        "From 0, where all hidden states are one point, to log₂ N, where all N lie apart.",
    );
    section += &figure(
        &dsmi,
        "Diffusion spectral mutual information",
        "How many bits of that entropy the class of the next token takes away: what the geometry knows \
         of what comes.",
    );
    section + "</div>\n</section>\n"
}

/// The phases, with what they are told from.
fn told(phases: &Phases) -> String {
    let sentences = phases.sentences();
    let mut text = match &sentences[..] {
        [only] => format!("<p>{only}</p>\n"),
        several => {
            let mut items = String::new();
            for item in several {
                let (verdict, reason) = item.split_once(". ").unwrap_or((item, ""));
                let _ = writeln!(items, "<li><strong>{verdict}.</strong> {reason}</li>");
            }
            format!("<ol>\n{items}</ol>\n")
        }
    };
    let _ = writeln!(
        text,
        "<p>{} The phases are those of <cite>Tracing the Representation Geometry of Language Models from \
         Pretraining to Post-training</cite> (Li et al., 2025).</p>",
        phases.basis()
    );
    text
}

/// A curve of measurements, named with its last number and what is written behind that.
fn curve(name: &str, ending: &'static str, style: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), ending: Some(ending), style, marked: true, points }
}

fn reference(name: &str, value: f64) -> Reference {
    Reference { label: format!("{name} {}", number(value)), value }
}

/// A reference that is drawn where it does not press the curves flat.
fn near(chart: &mut Chart, name: &str, value: f64) {
    let heights = chart.series.iter().flat_map(|series| &series.points).map(|point| point.1);
    let heights = heights.filter(|height| height.is_finite());
    let (low, high) =
        heights.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    if (0.5 * low..=1.6 * high).contains(&value) {
        chart.references.push(reference(name, value));
    }
}

/// The same axis for everything over steps.
fn steps(history: &History<'_>, spacing: Spacing) -> Horizontal {
    let steps = history.steps.iter().map(|step| step.step);
    let measured = history.measurements.iter().map(|m| m.step);
    let all: Vec<usize> = steps.chain(measured).collect();
    let greatest = all.iter().copied().max().unwrap_or(0);
    let zero = all.contains(&0);
    let above = all.into_iter().filter(|&step| step > 0).min().unwrap_or(1);
    let least = if zero && spacing == Spacing::Even { 0 } else { above };
    let name = match spacing {
        Spacing::Even => "step",
        Spacing::Logarithmic => "step (logarithmic)",
    };
    Horizontal { name, spacing, range: [least, greatest.max(least)].map(|step| step as f64), zero }
}
