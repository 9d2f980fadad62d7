//! The record of a run: the lines of `metrics.jsonl`.
//!
//! Each line is one JSON object. The first says what is trained, `{"run": {…}}`; every step adds
//! `{"step": …, "loss": …, …}`, every measurement on held-out text `{"measurement": {…}}`, and the
//! end `{"finish": {…}}`. Where a run was resumed, lines of the same step follow each other: the
//! later one counts. JSON has no NaN and no infinity: they are the strings "nan", "inf" and "-inf".

use serde_json::{Map, Value};

use super::tokens::TokenKind;
use crate::Failure;
use crate::output::{number, optional};

/// A line of the record.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Run(Run),
    Step(Step),
    Measurement(Measurement),
    Finish(Finish),
}

/// A structure whose fields are the keys of a JSON object.
macro_rules! object {
    ($(#[$attribute:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl $name {
            fn to_json(&self) -> Value {
                let mut object = Map::new();
                $(object.insert(stringify!($field).into(), self.$field.to_json());)*
                Value::Object(object)
            }

            fn from_json(value: &Value) -> Result<Self, String> {
                $(let $field = Field::from_json(&value[stringify!($field)])
                    .ok_or_else(|| wrong(stringify!($field), &value[stringify!($field)]))?;)*
                Ok(Self { $($field,)* })
            }
        }
    };
}

object! {
    /// What is trained, on what, with what.
    Run {
        /// The name of the model.
        model: String,
        /// How many numbers are trained.
        parameters: usize,
        /// Where the model is that it learns from, if there is one.
        teacher: Option<String>,
        /// The name of the text.
        text: String,
        /// What a token is: `words`, `characters` or `bytes`.
        token_kind: String,
        tokens: usize,
        training_tokens: usize,
        held_out: usize,
        /// The share of the held-out tokens that have no class of their own.
        unknown_share: f64,
        /// The same of the training tokens.
        training_unknown_share: f64,
        /// Of the held-out text.
        bytes: u64,
        /// What the classes leave out of the held-out text: unknown words and white space, in bits.
        spelling_bits: f64,
        vocabulary: usize,
        /// D, the width of the hidden states.
        width: usize,
        /// How many tokens back the model sees.
        context: usize,
        /// How many are planned.
        steps: usize,
        /// How many were planned before the run was first resumed with others.
        steps_at_first: usize,
        /// Positions a step.
        batch: usize,
        seed: u64,
        threads: usize,
        dropout: f64,
        /// The highest.
        learning_rate: f64,
        weight_decay: f64,
        unigram_perplexity: f64,
        /// Of an interpolated trigram on the same split.
        kneser_ney_perplexity: f64,
        instruction_set: String,
        version: String,
    }
}

object! {
    /// A step of training.
    Step {
        step: usize,
        /// The mean loss of the positions of this step, in nats.
        loss: f64,
        /// The learning rate.
        rate: f64,
        /// The norm of the whole gradient, before it is clipped.
        gradient_norm: f64,
        /// Since the beginning of the run.
        seconds: f64,
    }
}

object! {
    /// What the model makes of held-out text.
    Measurement {
        /// The step after which this is measured; 0 is before the first.
        step: usize,
        seconds: f64,
        /// How many held-out positions the loss is a mean of.
        positions: usize,
        /// Mean −ln p of the token that comes, in nats.
        loss: f64,
        /// Of that mean, as if each token were drawn alone.
        loss_standard_error: f64,
        perplexity: f64,
        bits_per_token: f64,
        /// None where tokens are no words.
        bits_per_word: Option<f64>,
        /// With what the classes leave out: see `spelling.rs`.
        bits_per_byte: f64,
        /// The mean entropy of the predictions, in nats.
        entropy: f64,
        /// The mean variance of −ln p under the predictions, in nats².
        varentropy: f64,
        /// The share of positions whose most probable token is the one that comes.
        accuracy: f64,
        /// How many hidden states the diffusion entropies and the shares of tiles are of, a sample of
        /// those positions; the other figures below are of all.
        rows: usize,
        rankme: f64,
        /// Of the covariance.
        effective_rank: f64,
        /// None where too few eigenvalues are left to fit.
        alpha_req: Option<f64>,
        alpha_req_r2: Option<f64>,
        /// The eigenvalues that the power law is fitted to, from 0 on, half open.
        alpha_req_range: Option<[usize; 2]>,
        /// In bits.
        dse: f64,
        /// With the class of the next token, in bits.
        dsmi: f64,
        /// The kernel width of both.
        sigma: f64,
        /// The share of gradient tiles that the filter `auto` keeps.
        tiles_kept: f64,
        /// The share that the filter 2⁻¹² keeps.
        tiles_kept_2e_12: f64,
        /// Of the covariance, falling, at most 256.
        eigenvalues: Vec<f64>,
    }
}

object! {
    /// The end of a run.
    Finish {
        seconds: f64,
        /// Of all held-out positions.
        perplexity: f64,
        /// What the fused loss and its gradients need beside them.
        workspace_bytes: Option<u64>,
        /// What the logits and their gradient need where they are stored.
        materialised_bytes: Option<u64>,
        /// Loss and gradients of one step.
        fused_seconds: Option<f64>,
        materialised_seconds: Option<f64>,
        /// The mean entropy of the attention of each head over the held-out positions, in nats; empty without attention.
        attention_entropy: Vec<f64>,
        /// The same as shares of the most that a position can have, ln of how many it sees.
        attention_entropy_share: Vec<f64>,
        /// Whether the run was ended before its last step.
        interrupted: bool,
    }
}

impl Run {
    /// What a token is called.
    pub fn token(&self) -> &str {
        self.token_kind.trim_end_matches('s')
    }

    /// Whether tokens are words, and what else stands in a text.
    pub fn is_words(&self) -> bool {
        self.token_kind == TokenKind::Words.name()
    }
}

impl Line {
    /// The line, with its line break.
    pub fn write(&self) -> String {
        let tagged = |name: &str, value| Value::Object(Map::from_iter([(name.into(), value)]));
        let value = match self {
            Line::Run(run) => tagged("run", run.to_json()),
            Line::Step(step) => step.to_json(),
            Line::Measurement(measurement) => tagged("measurement", measurement.to_json()),
            Line::Finish(finish) => tagged("finish", finish.to_json()),
        };
        format!("{value}\n")
    }

    /// Reads a line. None where it is of another kind.
    fn read(line: &[u8]) -> Result<Option<Self>, String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let Value::Object(object) = &value else {
            return Err("expected a JSON object".into());
        };
        Ok(if let Some(run) = object.get("run") {
            Some(Line::Run(Run::from_json(run)?))
        } else if let Some(measurement) = object.get("measurement") {
            Some(Line::Measurement(Measurement::from_json(measurement)?))
        } else if let Some(finish) = object.get("finish") {
            Some(Line::Finish(Finish::from_json(finish)?))
        } else if object.contains_key("step") {
            Some(Line::Step(Step::from_json(&value)?))
        } else {
            None
        })
    }
}

/// The lines of a record, and how many of its bytes they are.
///
/// A last line without its line break was being written when the run ended: it is left out, and who
/// goes on writing begins behind the lines that are whole.
pub fn read(record: &[u8], name: &str) -> Result<(Vec<Line>, usize), Failure> {
    let whole = record.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let mut lines = Vec::new();
    for (index, line) in record[..whole].split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let line = Line::read(line)
            .map_err(|error| Failure::Input(format!("{name}, line {}: {error}", index + 1)))?;
        lines.extend(line);
    }
    Ok((lines, whole))
}

fn wrong(key: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("`{key}` is missing"),
        value => {
            let start: String = value.to_string().chars().take(60).collect();
            format!("`{key}` is {start}, which is not of its kind")
        }
    }
}

/// What a key can hold.
trait Field: Sized {
    fn to_json(&self) -> Value;
    /// From null where the key is missing.
    fn from_json(value: &Value) -> Option<Self>;
}

impl Field for f64 {
    fn to_json(&self) -> Value {
        number(*self)
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(f64::NAN),
            Value::String(text) => match text.as_str() {
                "nan" => Some(f64::NAN),
                "inf" => Some(f64::INFINITY),
                "-inf" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            value => value.as_f64(),
        }
    }
}

impl Field for Option<f64> {
    fn to_json(&self) -> Value {
        optional(*self)
    }

    fn from_json(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { Field::from_json(value).map(Some) }
    }
}

impl Field for Option<String> {
    fn to_json(&self) -> Value {
        self.as_deref().into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { Field::from_json(value).map(Some) }
    }
}

impl Field for Vec<f64> {
    fn to_json(&self) -> Value {
        self.iter().map(Field::to_json).collect()
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Vec::new()),
            value => value.as_array()?.iter().map(Field::from_json).collect(),
        }
    }
}

impl Field for u64 {
    fn to_json(&self) -> Value {
        (*self).into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.as_u64()
    }
}

impl Field for Option<u64> {
    fn to_json(&self) -> Value {
        self.map_or(Value::Null, Value::from)
    }

    fn from_json(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { Field::from_json(value).map(Some) }
    }
}

impl Field for usize {
    fn to_json(&self) -> Value {
        (*self).into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl Field for Option<[usize; 2]> {
    fn to_json(&self) -> Value {
        self.map_or(Value::Null, |range| range.as_slice().into())
    }

    fn from_json(value: &Value) -> Option<Self> {
        if value.is_null() {
            return Some(None);
        }
        match value.as_array()?.as_slice() {
            [from, to] => Some(Some([Field::from_json(from)?, Field::from_json(to)?])),
            _ => None,
        }
    }
}

impl Field for String {
    fn to_json(&self) -> Value {
        self.as_str().into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }
}

impl Field for bool {
    fn to_json(&self) -> Value {
        (*self).into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run {
            model: "transformer".into(),
            parameters: 1_234_567,
            teacher: Some("a run".into()),
            text: "a \"name\" \\ of\na text, <b>".into(),
            token_kind: "words".into(),
            tokens: 200_000,
            training_tokens: 180_000,
            held_out: 20_000,
            unknown_share: 0.05,
            training_unknown_share: 0.04,
            bytes: 100_000,
            spelling_bits: 12_345.5,
            vocabulary: 6143,
            width: 128,
            context: 32,
            steps: 600,
            steps_at_first: 300,
            batch: 1024,
            seed: u64::MAX,
            threads: 2,
            dropout: 0.2,
            learning_rate: 0.012,
            weight_decay: 0.5,
            unigram_perplexity: 500.25,
            kneser_ney_perplexity: f64::NAN,
            instruction_set: "avx512".into(),
            version: "0.1.0".into(),
        }
    }

    fn step(step: usize) -> Step {
        Step { step, loss: 1.0 / 3.0, rate: 1e-3, gradient_norm: f64::INFINITY, seconds: 0.25 }
    }

    fn measurement() -> Measurement {
        Measurement {
            step: 0,
            seconds: 0.5,
            positions: 20_000,
            loss: 6.0,
            loss_standard_error: 0.02,
            perplexity: 403.428_793_492_735_1,
            bits_per_token: 8.65,
            bits_per_word: None,
            bits_per_byte: 2.0,
            entropy: 5.5,
            varentropy: 2.5,
            accuracy: 0.05,
            rows: 4096,
            rankme: 60.0,
            effective_rank: 60.5,
            alpha_req: None,
            alpha_req_r2: Some(0.99),
            alpha_req_range: Some([10, 100]),
            dse: 8.0,
            dsmi: 2.0,
            sigma: 1.5,
            tiles_kept: 1.0,
            tiles_kept_2e_12: 0.5,
            eigenvalues: vec![2.0, 1.0, f64::NEG_INFINITY, 5e-324],
        }
    }

    fn finish() -> Finish {
        Finish {
            seconds: 60.0,
            perplexity: 77.0,
            workspace_bytes: Some(1 << 40),
            materialised_bytes: None,
            fused_seconds: Some(0.01),
            materialised_seconds: None,
            attention_entropy: Vec::new(),
            attention_entropy_share: Vec::new(),
            interrupted: true,
        }
    }

    fn lines(record: &str) -> Vec<Line> {
        read(record.as_bytes(), "FILE").unwrap().0
    }

    #[test]
    fn what_is_written_is_read() {
        let record = [
            Line::Run(Run { kneser_ney_perplexity: 1.0, ..run() }),
            Line::Step(step(1)),
            Line::Measurement(measurement()),
            Line::Step(step(2)),
            Line::Finish(finish()),
        ];
        let text: String = record.iter().map(Line::write).collect();
        assert_eq!(text.lines().count(), record.len());
        assert_eq!(lines(&text), record);
        assert_eq!(read(text.as_bytes(), "FILE").unwrap().1, text.len());
    }

    #[test]
    fn numbers_that_json_has_not() {
        let text = Line::Run(run()).write();
        assert!(text.contains(r#""kneser_ney_perplexity":"nan""#), "{text}");
        let Line::Run(read) = lines(&text).remove(0) else { panic!("no run in {text}") };
        assert!(read.kneser_ney_perplexity.is_nan());
        assert!(Line::Step(step(1)).write().contains(r#""gradient_norm":"inf""#));
        assert!(Line::Measurement(measurement()).write().contains(r#"2.0,1.0,"-inf",5e-324"#));
    }

    #[test]
    fn lines_of_a_crash() {
        let text = Line::Run(run()).write() + &Line::Step(step(1)).write();
        let first = Line::Run(run()).write().len();
        for end in first..text.len() {
            let (lines, whole) = read(&text.as_bytes()[..end], "FILE").unwrap();
            assert_eq!((lines.len(), whole), (1, first), "{end} bytes");
        }
        assert_eq!(read(b"", "FILE").unwrap(), (vec![], 0));
        assert_eq!(read(b"{\"step\": 1", "FILE").unwrap(), (vec![], 0));
        let (lines, whole) = read(&[text.as_bytes(), &[0, 0, 0xff]].concat(), "FILE").unwrap();
        assert_eq!((lines.len(), whole), (2, text.len()));
    }

    #[test]
    fn keys_that_are_unknown_or_missing() {
        let text = "{\"step\": 3, \"loss\": 2.5, \"more\": [1]}\r\n\n{\"other\": 1}\n";
        let [Line::Step(read)] = &lines(text)[..] else { panic!("not one step in {text}") };
        assert_eq!((read.step, read.loss), (3, 2.5));
        assert!(read.rate.is_nan() && read.seconds.is_nan());
    }

    #[test]
    fn lines_that_are_wrong() {
        for (line, part) in [
            ("{\"step\": -1}", "`step` is -1"),
            ("{\"step\": 1, \"loss\": \"low\"}", "`loss` is \"low\""),
            ("{\"run\": {\"model\": \"x\"}}", "`parameters` is missing"),
            ("{\"run\": 1}", "`model` is missing"),
            ("[1]", "expected a JSON object"),
            ("{\"step\": 1", "EOF"),
            ("\u{0}", "line 1"),
        ] {
            let text = format!("{{\"step\": 1}}\n{line}\n");
            let Err(Failure::Input(message)) = read(text.as_bytes(), "FILE") else {
                panic!("{line} was read");
            };
            assert!(message.starts_with("FILE, line 2: "), "{message}");
            assert!(message.contains(part), "{message} has no {part}");
        }
    }
}
