//! Keys that stand twice in an object of JSON: the parsers keep the last and say nothing.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A key that stands twice in one object.
#[derive(Debug, PartialEq)]
pub(super) struct Repeated {
    /// In how many objects and arrays that object lies.
    pub(super) depth: usize,
    /// The key of the outermost object below which it lies.
    pub(super) within: Option<String>,
    pub(super) key: String,
}

/// The first key that stands twice in `text`, as far as that is JSON.
pub(super) fn repeated_key(text: &[u8]) -> Option<Repeated> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // What is wrong with the text besides is for its parser to say.
    let _ = Walk { depth: 0, within: None, found: &mut found }.deserialize(&mut deserializer);
    found
}

struct Walk<'a> {
    depth: usize,
    within: Option<&'a str>,
    found: &'a mut Option<Repeated>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let (depth, within) = (self.depth + 1, self.within);
        while sequence.next_element_seed(Walk { depth, within, found: self.found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                let within = self.within.map(String::from);
                *self.found = Some(Repeated { depth: self.depth, within, key });
                return Err(A::Error::custom("a key stands twice"));
            }
            let within = Some(self.within.unwrap_or(&key));
            map.next_value_seed(Walk { depth: self.depth + 1, within, found: self.found })?;
            keys.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_stands_twice_is_found_at_any_depth() {
        let repeated = |depth, within: Option<&str>, key: &str| {
            Some(Repeated { depth, within: within.map(String::from), key: key.into() })
        };
        for (text, found) in [
            (r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1.5}]}"#, None),
            (r#"{"a":1,"\u0061":null}"#, repeated(0, None, "a")),
            (r#"{"a":{"b":1,"b":true}}"#, repeated(1, Some("a"), "b")),
            (r#"{"a":[{"b":-1,"c":"b","b":2}]}"#, repeated(2, Some("a"), "b")),
            (r#"{"a":1 "a":2}"#, None),
            (r#"{"a":1,"a":2"#, repeated(0, None, "a")),
            ("", None),
        ] {
            assert_eq!(repeated_key(text.as_bytes()), found, "{text}");
        }
        assert_eq!(repeated_key("[".repeat(1_000_000).as_bytes()), None);
    }
}
