//! The loss in candle, with all logits in memory: forward, or forward and backward, in f32.
//!
//! Prints one JSON object with the seconds of each repetition. Threads: `RAYON_NUM_THREADS`.

use candle_core::{DType, Device, Result, Tensor, Var};
use std::time::Instant;

struct Arguments {
    tokens: usize,
    hidden: usize,
    vocab: usize,
    repetitions: usize,
    backward: bool,
}

fn arguments() -> std::result::Result<Arguments, String> {
    let mut found =
        Arguments { tokens: 64, hidden: 256, vocab: 4096, repetitions: 3, backward: true };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(format!("{flag} needs a value"))?;
        let number = || match value.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{flag} is {value}, expected a number above 0")),
        };
        match flag.as_str() {
            "--tokens" => found.tokens = number()?,
            "--hidden" => found.hidden = number()?,
            "--vocab" => found.vocab = number()?,
            "--repetitions" => found.repetitions = number()?,
            "--pass" => found.backward = value == "forward-backward",
            _ => return Err(format!("{flag} is unknown")),
        }
    }
    Ok(found)
}

fn main() -> Result<()> {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("error: {message}");
            std::process::exit(2);
        }
    };
    let Arguments { tokens, hidden: width, vocab, repetitions, backward } = arguments;
    let device = Device::Cpu;
    let deviation = 1.0 / (width as f32).sqrt();
    let hidden = Var::from_tensor(&Tensor::randn(0.0_f32, 1.5, (tokens, width), &device)?)?;
    let classifier = Var::from_tensor(&Tensor::randn(0.0, deviation, (vocab, width), &device)?)?;
    let targets: Vec<u32> = (0..tokens).map(|i| (i * 7919 % vocab) as u32).collect();
    let targets = Tensor::new(targets, &device)?;

    let mut seconds = Vec::new();
    // The first does not count.
    for repetition in 0..=repetitions {
        let start = Instant::now();
        let loss = if backward {
            let logits = hidden.matmul(&classifier.t()?)?;
            let loss = candle_nn::loss::cross_entropy(&logits, &targets)?;
            let gradients = loss.backward()?;
            assert!(gradients.get(&hidden).is_some() && gradients.get(&classifier).is_some());
            loss
        } else {
            let logits =
                hidden.as_detached_tensor().matmul(&classifier.as_detached_tensor().t()?)?;
            candle_nn::loss::cross_entropy(&logits, &targets)?
        };
        let loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        assert!(loss.is_finite());
        if repetition > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    println!("{{\"seconds\": {seconds:?}}}");
    Ok(())
}
