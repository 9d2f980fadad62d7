//! Numbers on a page: where they lie, which ones are round, and how they are written.

/// Numbers on a stretch of the page.
pub struct Scale {
    range: [f64; 2],
    pixels: [f64; 2],
    logarithmic: bool,
}

impl Scale {
    pub fn linear(from: f64, to: f64, first: f64, last: f64) -> Self {
        Self { range: [from, to], pixels: [first, last], logarithmic: false }
    }

    pub fn logarithmic(from: f64, to: f64, first: f64, last: f64) -> Self {
        Self { range: [from, to], pixels: [first, last], logarithmic: true }
    }

    pub fn at(&self, value: f64) -> f64 {
        let place = |x: f64| if self.logarithmic { x.ln() } else { x };
        let [from, to] = self.range.map(place);
        let share = (place(value) - from) / (to - from);
        self.pixels[0] + share * (self.pixels[1] - self.pixels[0])
    }

    /// At most so many round numbers in the range, with what they are called.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let [from, to] = self.range;
        if !self.logarithmic {
            let step = round_step((to - from) / most as f64);
            let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
            let first = (from / step - 1e-9).ceil() as i64;
            let last = (to / step + 1e-9).floor() as i64;
            let figures = (1e-6..1e7).contains(&step) && from.abs().max(to.abs()) < 1e9;
            let label = |value: f64| match figures {
                true => format!("{value:.digits$}").replace('-', "−"),
                false => format!("{value:.1e}").replace('-', "−"),
            };
            return (first..=last).map(|j| j as f64 * step).map(|x| (x, label(x))).collect();
        }
        let decades = from.log10().ceil() as i32..=to.log10().floor() as i32;
        let count = decades.clone().count();
        let ticks: Vec<(u8, i32)> = if count >= 3 {
            let step = count.div_ceil(most) as i32;
            decades
                .filter(|decade| decade.rem_euclid(step) == 0)
                .map(|decade| (1, decade))
                .collect()
        } else {
            let within = |digits: &[u8]| {
                let every = from.log10().floor() as i32..=to.log10().floor() as i32;
                let numbers = every.flat_map(|decade| digits.iter().map(move |&d| (d, decade)));
                numbers.filter(|&tick| (from..=to).contains(&number(tick))).collect::<Vec<_>>()
            };
            let all = within(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
            if all.len() <= most { all } else { within(&[1, 2, 5]) }
        };
        if ticks.len() < 2 {
            return Self { logarithmic: false, ..*self }.ticks(most.max(2) - 1);
        }
        // One notation for all of them.
        let figures = ticks.iter().all(|tick| (-4..=5).contains(&tick.1));
        ticks.into_iter().map(|tick| (number(tick), written(tick, figures))).collect()
    }
}

/// A digit times a power of ten.
fn number((digit, power): (u8, i32)) -> f64 {
    f64::from(digit) * 10_f64.powi(power)
}

/// The same, in figures or as it is.
fn written((digit, power): (u8, i32), figures: bool) -> String {
    if power == 0 {
        return digit.to_string();
    }
    if figures {
        let zeros = "0".repeat(power.unsigned_abs() as usize - usize::from(power < 0));
        return if power > 0 { format!("{digit}{zeros}") } else { format!("0.{zeros}{digit}") };
    }
    let raise = |letter: char| match letter.to_digit(10) {
        Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
        None => '⁻',
    };
    let power: String = power.to_string().chars().map(raise).collect();
    if digit == 1 { format!("10{power}") } else { format!("{digit}·10{power}") }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= least * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// Three digits after the first, no more than are needed.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        0.01.. => 3,
        0.0 => 0,
        _ => return format!("{value:.2e}").replace('-', "−"),
    };
    let text = format!("{value:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        let labels = |scale: Scale, most| {
            scale.ticks(most).into_iter().map(|(_, label)| label).collect::<Vec<_>>()
        };
        assert_eq!(labels(Scale::linear(0.0, 11.7, 0.0, 1.0), 6), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(
            labels(Scale::linear(-0.011, 0.021, 0.0, 1.0), 4),
            ["−0.01", "0.00", "0.01", "0.02"]
        );
        assert_eq!(labels(Scale::logarithmic(1.0, 800.0, 0.0, 1.0), 8), ["1", "10", "100"]);
        assert_eq!(labels(Scale::logarithmic(1.0, 12.7, 0.0, 1.0), 8), ["1", "2", "5", "10"]);
        assert_eq!(
            labels(Scale::logarithmic(3e-17, 2.0, 0.0, 1.0), 6),
            ["10⁻¹⁵", "10⁻¹²", "10⁻⁹", "10⁻⁶", "10⁻³", "1"]
        );
        assert_eq!(labels(Scale::logarithmic(0.021, 0.083, 0.0, 1.0), 6).len(), 6);
        for (from, to) in [(1.0, 2.1), (0.4, 0.44), (0.02, 90.0), (1e-300, 1e-299)] {
            assert!(Scale::logarithmic(from, to, 0.0, 1.0).ticks(8).len() <= 8);
        }
    }

    #[test]
    fn ticks_of_narrow_and_of_wide_ranges() {
        let labels =
            |scale: Scale| scale.ticks(5).into_iter().map(|tick| tick.1).collect::<Vec<_>>();
        assert_eq!(labels(Scale::logarithmic(11.0, 19.0, 0.0, 1.0)), ["12", "14", "16", "18"]);
        assert_eq!(labels(Scale::linear(0.0, 3e30, 0.0, 1.0))[1], "1.0e30");
    }
}
