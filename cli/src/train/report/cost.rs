//! Memory and time of the fused loss beside those of the materialised one.

use std::fmt::Write;

use super::chart::{Bar, bars};
use super::history::History;
use super::parts::section;
use super::text::{bytes, grouped, seconds};

/// Memory and time beside the loss whose logits are stored.
pub fn cost(history: &History<'_>) -> String {
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
