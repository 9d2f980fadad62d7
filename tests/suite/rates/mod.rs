//! Rates: against more digits than f64 has, against a coder, and at the ends of their ranges; the cross-entropy method
//! where the answer is known.

mod coding;
mod cross_entropy_method;
mod crossquant;
mod discretized;
mod truth;

#[track_caller]
fn refused<T: std::fmt::Debug>(result: surprisal::Result<T>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}
