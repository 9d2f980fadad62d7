//! Which of many inputs may be large or slow.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Whether this input is the one of so many that may be large or slow. The whole input decides, so that
/// what is bred from a slow one is slow as seldom as any other.
pub fn one_in(many: u64, input: &impl Hash) -> bool {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish().is_multiple_of(many)
}
