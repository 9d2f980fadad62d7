//! The name that somebody may have meant.

/// The name with the fewest letters to change, the first of equals; of those that begin with what was meant, or at
/// least have it within, where there are any: who writes half of a name has not misspelt a shorter one.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // More letters than any name has only make it farther from all of them.
    let wanted: Vec<char> = wanted.to_lowercase().chars().take(64).collect();
    let part: String = wanted.iter().collect();
    names.into_iter().min_by_key(|name| {
        let within = if wanted.len() < 2 { None } else { name.find(&part) };
        (within.map_or(2, |at| usize::from(at > 0)), distance(&wanted, name))
    })
}

/// How many letters are to be put in, left out or changed (Levenshtein).
fn distance(wanted: &[char], name: &str) -> usize {
    let mut above: Vec<usize> = (0..=wanted.len()).collect();
    for (i, letter) in name.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in wanted.iter().enumerate() {
            let changed = above[j] + usize::from(letter != *other);
            row.push(changed.min(above[j + 1] + 1).min(row[j] + 1));
        }
        above = row;
    }
    above[wanted.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_has_the_fewest_changes() {
        let names = ["cross_entropy", "comp_sum", "entropy"];
        assert_eq!(nearest("crossentropy", names), Some("cross_entropy"));
        assert_eq!(nearest("Compsum", names), Some("comp_sum"));
        assert_eq!(nearest("", names), Some("entropy"));
        assert_eq!(nearest("e", names), Some("entropy"));
        assert_eq!(nearest("cross", names), Some("cross_entropy"));
        assert_eq!(nearest("sum", ["sub", "comp_sum"]), Some("comp_sum"));
        assert_eq!(
            nearest("teacher", ["gradient", "a_teacher", "teacher_logits"]),
            Some("teacher_logits")
        );
        assert_eq!(nearest(&"entropy".repeat(100_000), names), Some("cross_entropy"));
        assert_eq!(nearest("entropy", []), None);
        assert_eq!(distance(&['a', 'b'], "ba"), 2);
    }
}
