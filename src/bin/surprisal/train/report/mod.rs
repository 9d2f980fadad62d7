//! `report.html`: what a run was, on one page.
//!
//! The page is one file: it fetches nothing and runs nothing. Colours follow the reader's scheme, and
//! paper is white.

mod chart;
mod history;
mod phases;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write;

use self::chart::{Bar, Chart, Horizontal, Reference, Series, Spacing, Vertical, bars};
use self::history::History;
use self::phases::Phases;
use self::text::{MISSING, bytes, decimals, escaped, grouped, number, percent, seconds};
use super::record::{Line, Measurement};

/// Spectra in one chart.
const SPECTRA: usize = 4;

/// Logarithms of steps whose spectra are about the same.
const NEAR: f64 = 0.4;

/// Eigenvalues of a smaller share of the largest are rounding.
const ROUNDING: f64 = 1e-12;

/// The page of a record. It shows what is there: of an interrupted run what was measured until then.
pub fn html(lines: &[Line]) -> String {
    let history = History::new(lines);
    let phases = Phases::new(&history.measurements);
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<meta \
         name=\"color-scheme\" content=\"light dark\" />\n<meta \
         http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\" />\n",
    );
    let title = escaped(&heading(&history));
    let _ = write!(
        page,
        "<title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n",
        include_str!("style.css")
    );
    let version = history.run.map_or(String::new(), |run| format!(" {}", escaped(&run.version)));
    let _ = write!(
        page,
        "<header>\n<p class=\"over\">surprisal train{version}</p>\n<h1>{title}</h1>\n<p \
         class=\"lead\">{}</p>\n{}</header>\n",
        lead(&history),
        notice(&history)
    );
    page += &facts(&history);
    page += &learning(&history);
    page += &predictions(&history);
    page += &geometry(&history, phases.as_ref());
    page += &eigenspectra(&history, phases.as_ref());
    page += &cost(&history);
    page += &final_figures(&history);
    page += &every_measurement(&history);
    page += "<footer>Perplexities and losses are per word. 1 bit = ln 2 ≈ 0.693 nats. “–” stands for \
             what was not measured or is not a number.</footer>\n</main>\n</body>\n</html>\n";
    page
}

/// What was trained on what.
fn heading(history: &History<'_>) -> String {
    let Some(run) = history.run else { return "A run without its first line".into() };
    // The file alone: where it lies is in the table.
    let name = run.text.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(&run.text);
    let mut letters = run.model.chars();
    let model: String = match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => "A model".into(),
    };
    let short: String = name.chars().take(80).collect();
    let rest = if name.chars().nth(80).is_some() { "…" } else { "" };
    format!("{model} trained on {short}{rest}")
}

/// The result in a sentence or two.
fn lead(history: &History<'_>) -> String {
    let perplexity = history.perplexity();
    let steps = match history.last_step() {
        1 => "1 step".into(),
        steps => format!("{} steps", grouped(steps as u64)),
    };
    if !perplexity.is_finite() {
        return format!("After {steps} there is no held-out perplexity.");
    }
    let (time, unit) = seconds(history.seconds());
    let mut lead = format!(
        "After {steps} and {time} {unit} the held-out perplexity is <strong>{}</strong> ({} bits a \
         word)",
        number(perplexity),
        number(perplexity.log2())
    );
    let mut others = Vec::new();
    if let Some(run) = history.run {
        for (name, other) in [
            ("a unigram model’s", run.unigram_perplexity),
            ("the interpolated Kneser–Ney trigram’s", run.kneser_ney_perplexity),
        ] {
            if other.is_finite() && other > 0.0 {
                let side = if perplexity < other { "below" } else { "not below" };
                others.push(format!("{side} {name} {}", number(other)));
            }
        }
    }
    if !others.is_empty() {
        let _ = write!(lead, ": {}", others.join(" and "));
    }
    lead + "."
}

/// What the reader has to know first, where the run has not ended as it should.
fn notice(history: &History<'_>) -> String {
    let planned = history.run.map_or(0, |run| run.steps);
    let last = history.last_step();
    let text = match history.finish {
        Some(finish) if finish.interrupted => format!(
            "The run was interrupted after step {} of {}: what follows is what was measured until then.",
            grouped(last as u64),
            grouped(planned as u64)
        ),
        Some(_) => return String::new(),
        None => format!(
            "The record has no end: it stops after step {} of {}. The run goes on, or was ended from \
             outside.",
            grouped(last as u64),
            grouped(planned as u64)
        ),
    };
    format!("<p class=\"notice\">{text}</p>\n")
}

/// Model, text and training, as three small tables.
fn facts(history: &History<'_>) -> String {
    let mut section = section("run", "The run");
    let Some(run) = history.run else {
        return section + "<p>The record does not say what was trained.</p>\n</section>\n";
    };
    let count = |count: usize| grouped(count as u64);
    let unit = |value: String, unit: &str| format!("{value} <span class=\"unit\">{unit}</span>");
    let share = |part: usize| match run.tokens {
        0 => String::new(),
        all => format!(" ({} %)", percent(part as f64 / all as f64)),
    };
    let (time, time_unit) = seconds(history.seconds());
    let resumed = match history.resumed {
        0 => "no".into(),
        1 => "once".into(),
        times => format!("{times} times"),
    };
    let tables = [
        (
            "Model",
            vec![
                ("Kind", escaped(&run.model)),
                ("Trained parameters", count(run.parameters)),
                ("Width D of the hidden states", count(run.width)),
                ("Context", unit(count(run.context), "words")),
                ("Vocabulary V", unit(count(run.vocabulary), "words")),
            ],
        ),
        (
            "Text",
            vec![
                ("Name", format!("<bdi>{}</bdi>", escaped(&run.text).replace('/', "/<wbr />"))),
                ("Words in all", count(run.tokens)),
                ("Trained on", count(run.training_tokens) + &share(run.training_tokens)),
                ("Held out", count(run.held_out) + &share(run.held_out)),
                ("Unigram perplexity", number(run.unigram_perplexity)),
                ("Kneser–Ney perplexity", number(run.kneser_ney_perplexity)),
            ],
        ),
        (
            "Training",
            vec![
                ("Steps", format!("{} of {}", count(history.last_step()), count(run.steps))),
                ("Positions a step", count(run.batch)),
                ("Highest learning rate", number(run.learning_rate)),
                ("Weight decay", number(run.weight_decay)),
                ("Dropout", unit(percent(run.dropout), "%")),
                ("Seed", run.seed.to_string()),
                ("Threads", count(run.threads)),
                ("Instruction set", escaped(&run.instruction_set)),
                ("Time", unit(time, time_unit)),
                ("Resumed", resumed),
            ],
        ),
    ];
    section += "<div class=\"grid facts\">\n";
    for (caption, rows) in tables {
        let _ = writeln!(section, "<table><caption>{caption}</caption><tbody>");
        for (name, value) in rows {
            let long = if name == "Name" { " class=\"long\"" } else { "" };
            let _ =
                writeln!(section, "<tr><th scope=\"row\">{name}</th><td{long}>{value}</td></tr>");
        }
        section += "</tbody></table>\n";
    }
    section + "</div>\n</section>\n"
}

/// Loss and perplexity over the steps.
fn learning(history: &History<'_>) -> String {
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
        ("loss (nats a word)", Spacing::Even),
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
        "Mean −ln p of the word that comes. The entropy of the predictions is the floor that the model \
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
fn predictions(history: &History<'_>) -> String {
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
        "How unsure the model is: ln V for a guess among all words, 0 for certainty.",
    );
    section += &figure(
        &varentropy,
        "Varentropy",
        "The variance of −ln p under the predictions: 0 where all candidates are alike, high where few \
         likely words stand before a long tail.",
    );
    section += &figure(&accuracy, "Accuracy", "The share of positions whose first guess is right.");
    section += &figure(
        &tiles,
        "Gradient sparsity",
        "The share of tiles (one position by 32 words) with a probability that a filter keeps. auto is \
         2⁻²⁸, below what f32 resolves; 2⁻¹² is lossy.",
    );
    section + "</div>\n</section>\n"
}

/// Ranks, decay and diffusion entropies of the hidden states, and the phases.
fn geometry(history: &History<'_>, phases: Option<&Phases>) -> String {
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
        "How many bits of that entropy the class of the next word takes away: what the geometry knows \
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

/// The eigenvalues of the covariance at some steps, with their power laws.
fn eigenspectra(history: &History<'_>, phases: Option<&Phases>) -> String {
    let chosen = chosen(history, phases);
    let ranks = Horizontal {
        name: "rank of the eigenvalue (logarithmic)",
        spacing: Spacing::Logarithmic,
        range: [1.0, 1.0],
        zero: false,
    };
    let share = ("share of the variance (logarithmic)", Spacing::Logarithmic);
    let mut chart =
        chart("eigenspectrum", "Eigenspectrum of the covariance", ranks, share, Vec::new());
    chart.description = "Eigenvalues as shares of their sum, over their ranks.".into();
    let mut rows = String::new();
    for (index, &measurement) in chosen.iter().enumerate() {
        let step = grouped(measurement.step as u64);
        let points = shares(measurement);
        chart.x.range[1] = chart.x.range[1].max(points.len() as f64);
        let alpha = measurement.alpha_req.filter(|alpha| alpha.is_finite());
        if let Some(fit) = alpha.and_then(|alpha| law(&points, alpha, measurement.alpha_req_range))
        {
            chart.fits.push(fit);
        }
        let decay = alpha.map_or(String::new(), |alpha| format!(", with α = {}", number(alpha)));
        let ends =
            [points.first(), points.last()].map(|point| number(point.map_or(f64::NAN, |p| p.1)));
        let _ = write!(
            chart.description,
            " Step {step}: {} eigenvalues, from {} to {}{decay}.",
            points.len(),
            ends[0],
            ends[1]
        );
        chart.series.push(line(&format!("step {step}"), index + 1, points));
        let fitted = measurement.alpha_req_range.map_or(MISSING.into(), |[from, to]| {
            format!("{}–{}", grouped(from as u64 + 1), grouped(to as u64))
        });
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{step}</th><td>{}</td><td>{}</td><td>{fitted}</td><td>{}</td></tr>",
            decimals(alpha.unwrap_or(f64::NAN), 3),
            decimals(measurement.alpha_req_r2.unwrap_or(f64::NAN), 3),
            decimals(measurement.effective_rank, 1),
        );
    }
    let mut section = section("eigenspectrum", "Eigenspectrum");
    section += "<div class=\"grid\">\n";
    section += &figure(
        &chart,
        "Eigenvalues of the covariance",
        "A straight line would be a power law. The thin lines are the fits of α-ReQ, over the ranks \
         fitted.",
    );
    if !rows.is_empty() {
        let _ = write!(
            section,
            "<div>\n<h3>The fits</h3>\n<div class=\"scroll\">\n<table class=\"numbers\"><thead><tr><th \
             scope=\"col\">Step</th><th scope=\"col\">α</th><th scope=\"col\">R²</th><th \
             scope=\"col\">Ranks fitted</th><th scope=\"col\">Effective \
             rank</th></tr></thead><tbody>\n{rows}</tbody></table>\n</div>\n<p>α is the slope by least \
             squares of the logarithms, with weights 1/rank. R² near 1: the power law describes these \
             eigenvalues well. Neither is comparable over other ranks.</p>\n</div>\n"
        );
    }
    section + "</div>\n</section>\n"
}

/// Measurements with eigenvalues: the first, the last, the turns of the phases, and others far from
/// these.
fn chosen<'a>(history: &History<'a>, phases: Option<&Phases>) -> Vec<&'a Measurement> {
    let all: Vec<&Measurement> =
        history.measurements.iter().copied().filter(|m| !shares(m).is_empty()).collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Vec::new() };
    let place = |step: usize| (step.max(1) as f64).ln();
    let distance = |chosen: &[usize], step: usize| {
        let distances = chosen.iter().map(|&other| (place(step) - place(other)).abs());
        distances.fold(f64::INFINITY, f64::min)
    };
    let mut steps = vec![first.step, last.step];
    for turn in phases.map_or(Vec::new(), |phases| phases.turns().to_vec()) {
        if distance(&steps, turn) > NEAR {
            steps.push(turn);
        }
    }
    while steps.len() < SPECTRA {
        let far = |m: &&&Measurement| distance(&steps, m.step);
        match all.iter().max_by(|a, b| far(a).total_cmp(&far(b))) {
            Some(m) if distance(&steps, m.step) > NEAR => steps.push(m.step),
            _ => break,
        }
    }
    all.into_iter().filter(|m| steps.contains(&m.step)).collect()
}

/// Ranks and shares of the variance, without what is rounding.
fn shares(measurement: &Measurement) -> Vec<(f64, f64)> {
    let values = &measurement.eigenvalues;
    let largest = values.first().copied().unwrap_or(0.0);
    let sum: f64 = values.iter().filter(|value| **value > 0.0).sum();
    if !(largest > 0.0 && sum.is_finite()) {
        return Vec::new();
    }
    let real = values.iter().take_while(|&&value| value > ROUNDING * largest);
    real.zip(1_u32..).map(|(&value, rank)| (f64::from(rank), value / sum)).collect()
}

/// The ends of the power law with this α that fits best, with weights 1/rank.
fn law(points: &[(f64, f64)], alpha: f64, range: Option<[usize; 2]>) -> Option<[(f64, f64); 2]> {
    let [from, to] = range?;
    let fitted = points.get(from..to).filter(|fitted| fitted.len() > 1)?;
    let weights: f64 = fitted.iter().map(|(rank, _)| 1.0 / rank).sum();
    let sum: f64 = fitted.iter().map(|(rank, share)| (share.ln() + alpha * rank.ln()) / rank).sum();
    let intercept = sum / weights;
    let ends = [fitted[0].0, fitted[fitted.len() - 1].0];
    Some(ends.map(|rank| (rank, (intercept - alpha * rank.ln()).exp())))
}

/// Memory and time beside the loss whose logits are stored.
fn cost(history: &History<'_>) -> String {
    let mut section = section("cost", "Memory and time of the loss");
    let Some(finish) = history.finish else {
        return section + "<p>They are measured at the end of a run.</p>\n</section>\n";
    };
    let times = |fused: f64, materialised: f64| {
        let ratio = materialised / fused;
        match ratio {
            ratio if !(ratio.is_finite() && ratio > 0.0) => String::new(),
            ratio if ratio >= 1.0 => {
                format!(" The materialised loss takes {ratio:.2} times as much.")
            }
            ratio => format!(" The materialised loss takes {ratio:.2} of it."),
        }
    };
    let memory = [finish.workspace_bytes, finish.materialised_bytes];
    let time = [finish.fused_seconds, finish.materialised_seconds];
    let names = ["fused loss", "materialised loss: logits and their gradient stored"];
    let bar = |index: usize, value: Option<f64>, label: Option<(String, &str)>| Bar {
        name: names[index],
        value,
        label: label.map_or("not measured".into(), |(value, unit)| format!("{value} {unit}")),
    };
    let memory_bars =
        [0, 1].map(|i| bar(i, memory[i].map(|bytes| bytes as f64), memory[i].map(bytes)));
    let time_bars = [0, 1].map(|i| bar(i, time[i], time[i].map(seconds)));
    let size = history.run.map_or(String::new(), |run| {
        format!(
            " For {} positions and a vocabulary of {}.",
            grouped(run.batch as u64),
            grouped(run.vocabulary as u64)
        )
    });
    let describe = |bars: &[Bar; 2]| {
        format!("{}: {}. {}: {}.", bars[0].name, bars[0].label, bars[1].name, bars[1].label)
    };
    let ratio = |pair: [Option<f64>; 2]| match pair {
        [Some(fused), Some(materialised)] => times(fused, materialised),
        _ => String::new(),
    };
    section += "<div class=\"grid\">\n";
    let memory_ratio = ratio(memory.map(|bytes| bytes.map(|bytes| bytes as f64)));
    for (id, title, what, bars_of, ratio) in [
        (
            "memory",
            "Memory",
            "Beside inputs and gradients. The fused loss keeps no more logits than its memory budget allows.",
            &memory_bars,
            memory_ratio,
        ),
        ("time", "Time", "Loss and gradients of one step.", &time_bars, ratio(time)),
    ] {
        let svg = bars(id, title, &describe(bars_of), bars_of);
        let _ = write!(
            section,
            "<figure>\n<figcaption><h3>{title}</h3><p>{what}{ratio}{size}</p></figcaption>\n{svg}\n\
             </figure>\n"
        );
    }
    section + "</div>\n</section>\n"
}

/// The last measurement, with how each figure is read.
fn final_figures(history: &History<'_>) -> String {
    let mut section = section("figures", "Final figures");
    let Some(last) = history.last() else {
        return section + "<p>Nothing was measured.</p>\n</section>\n";
    };
    let width = history.run.map_or("D".into(), |run| grouped(run.width as u64));
    let perplexity = history.perplexity();
    let fit = match (last.alpha_req_r2, last.alpha_req_range) {
        (Some(r2), Some([from, to])) => {
            format!(" Here over ranks {}–{to}, with R² = {}.", from + 1, number(r2))
        }
        _ => String::new(),
    };
    let most = match last.rows {
        0 => "log₂ N".into(),
        rows => format!("log₂ N = {}", number((rows as f64).log2())),
    };
    let rows: Vec<(&str, String, &str, String)> = vec![
        (
            "Perplexity",
            number(perplexity),
            "words",
            "As unsure as a fair choice among so many words. Lower is better.".into(),
        ),
        (
            "Bits per word",
            number(last.bits_per_word),
            "bits",
            "What an ideal coder with this model would need for a word.".into(),
        ),
        ("Loss", number(last.loss), "nats", "The same in nats: mean −ln p of the word that comes.".into()),
        (
            "Entropy",
            number(last.entropy),
            "nats",
            "What the model expects its loss to be. A loss above it: too sure; below: too unsure.".into(),
        ),
        (
            "Varentropy",
            number(last.varentropy),
            "nats²",
            "How much −ln p varies within a prediction; its root is in nats.".into(),
        ),
        (
            "Accuracy",
            percent(last.accuracy),
            "%",
            "How often the most probable word comes. Higher is better.".into(),
        ),
        (
            "RankMe",
            number(last.rankme),
            "directions",
            format!("Between 1 and {width}: how evenly the singular values are spread. Very low: collapsed."),
        ),
        (
            "Effective rank",
            number(last.effective_rank),
            "directions",
            "The same of the covariance’s eigenvalues, which are squares: strong directions count more."
                .into(),
        ),
        (
            "α-ReQ",
            number(last.alpha_req.unwrap_or(f64::NAN)),
            "",
            format!("How steeply the eigenvalues fall. Much above 1: few directions hold the variance.{fit}"),
        ),
        (
            "DSE",
            number(last.dse),
            "bits",
            format!(
                "Diffusion spectral entropy, from 0 to {most}: how many clusters of hidden states can be \
                 told apart at kernel width σ = {}.",
                number(last.sigma)
            ),
        ),
        (
            "DSMI",
            number(last.dsmi),
            "bits",
            "Diffusion spectral mutual information with the next word’s class. Higher: states of a class \
             lie together. It may be below 0."
                .into(),
        ),
        (
            "Tiles kept, auto",
            percent(last.tiles_kept),
            "%",
            "The work that a lossless filter leaves the backward pass. Lower is cheaper.".into(),
        ),
        (
            "Tiles kept, 2⁻¹²",
            percent(last.tiles_kept_2e_12),
            "%",
            "The same for a filter that drops probabilities below 0.00024, and loses a little.".into(),
        ),
    ];
    let _ = write!(
        section,
        "<p>After step {}, on {} held-out positions.</p>\n<table class=\"figures\"><thead><tr><th \
         scope=\"col\">Figure</th><th scope=\"col\">Value</th><th scope=\"col\">How to read \
         it</th></tr></thead><tbody>\n",
        grouped(last.step as u64),
        grouped(last.positions as u64)
    );
    for (name, value, unit, reading) in rows {
        let unit = match unit {
            "" => String::new(),
            unit => format!(" <span class=\"unit\">{unit}</span>"),
        };
        let _ = writeln!(
            section,
            "<tr><th scope=\"row\">{name}</th><td class=\"number\">{value}{unit}</td><td>{reading}</td></tr>"
        );
    }
    section + "</tbody></table>\n</section>\n"
}

/// All measurements as numbers, for who cannot see the curves or does not trust them.
fn every_measurement(history: &History<'_>) -> String {
    if history.measurements.is_empty() {
        return String::new();
    }
    let mut table = String::from(
        "<details>\n<summary>Every measurement in numbers</summary>\n<div class=\"scroll\">\n<table \
         class=\"numbers every\"><thead><tr>",
    );
    for name in [
        "Step",
        "Time (s)",
        "Loss (nats)",
        "Perplexity",
        "Entropy (nats)",
        "Varentropy (nats²)",
        "Accuracy (%)",
        "RankMe",
        "Effective rank",
        "α",
        "R²",
        "DSE (bits)",
        "DSMI (bits)",
        "Tiles (%)",
        "Tiles 2⁻¹² (%)",
    ] {
        let _ = write!(table, "<th scope=\"col\">{name}</th>");
    }
    table += "</tr></thead><tbody>\n";
    for m in &history.measurements {
        let _ = write!(table, "<tr><th scope=\"row\">{}</th>", grouped(m.step as u64));
        for (value, digits) in [
            (m.seconds, 1),
            (m.loss, 3),
            (m.perplexity, 1),
            (m.entropy, 3),
            (m.varentropy, 3),
            (100.0 * m.accuracy, 1),
            (m.rankme, 1),
            (m.effective_rank, 1),
            (m.alpha_req.unwrap_or(f64::NAN), 3),
            (m.alpha_req_r2.unwrap_or(f64::NAN), 3),
            (m.dse, 3),
            (m.dsmi, 3),
            (100.0 * m.tiles_kept, 1),
            (100.0 * m.tiles_kept_2e_12, 1),
        ] {
            let _ = write!(table, "<td>{}</td>", decimals(value, digits));
        }
        table += "</tr>\n";
    }
    table + "</tbody></table>\n</div>\n</details>\n"
}

fn section(id: &str, title: &str) -> String {
    format!("<section aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{title}</h2>\n")
}

fn figure(chart: &Chart, title: &str, reading: &str) -> String {
    format!(
        "<figure>\n<figcaption><h3>{title}</h3><p>{reading}</p></figcaption>\n{}\n</figure>\n",
        chart.svg()
    )
}

/// A chart that describes itself by its curves.
fn chart(
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

/// A curve of measurements, named with its last number and what is written behind that.
fn curve(name: &str, ending: &'static str, style: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), ending: Some(ending), style, marked: true, points }
}

/// A curve of many points.
fn line(name: &str, style: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), ending: None, style, marked: false, points }
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
