//! Sizes as people write them: `4096`, `256K`, `1.5M`, `256MiB`.

/// What a size may look like, for the help.
pub const FORM: &str = "a whole number, with K, M or G for thousands or KiB, MiB or GiB for 1024s";

/// Reads a size. K, M and G are 10³, 10⁶ and 10⁹; KiB, MiB and GiB 2¹⁰, 2²⁰ and 2³⁰; small letters are
/// as good.
pub fn parse(text: &str) -> Result<usize, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(at);
    let unit: u128 = match suffix.trim_start().to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(format!("expected {FORM}")),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // Digits beyond the twelfth make no whole number of any unit.
    let places = u32::try_from(fraction.len()).ok().filter(|&places| places <= 12);
    let scale = places.map(|places| 10_u128.pow(places));
    let number =
        format!("{whole}{fraction}").parse::<u128>().ok().and_then(|n| n.checked_mul(unit));
    let (Some(number), Some(scale), false) = (number, scale, whole.is_empty()) else {
        let beyond = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let what = if beyond { "is beyond this machine, " } else { "" };
        return Err(format!("{what}expected {FORM}"));
    };
    if !number.is_multiple_of(scale) || digits.ends_with('.') {
        return Err(format!("expected {FORM}"));
    }
    usize::try_from(number / scale).map_err(|_| format!("is beyond this machine, expected {FORM}"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_with_and_without_a_unit() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("1K", 1000),
            ("256k", 256_000),
            ("1.5M", 1_500_000),
            ("2G", 2_000_000_000),
            ("1KiB", 1024),
            ("256MiB", 256 << 20),
            ("0.5gib", 512 << 20),
            ("3 MiB", 3 << 20),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "", "K", "-1", "1e3", "1.5", "1.", ".5K", "1.2.3K", "5MB", "1KK", "0.0001K", "٣", "1 2",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("KiB") && !error.contains('\n'), "{text}: {error}");
        }
        for text in ["99999999999999999999", "99999999999G", &"9".repeat(60)] {
            assert!(parse(text).unwrap_err().contains("beyond"), "{text}");
        }
    }
}
