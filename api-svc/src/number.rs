//! Whole numbers, also those that are written as `4001.0`: to JSON that is the same.

use serde::{Deserialize, Deserializer, de};
use serde_json::Number;

/// The largest that every language keeps exact.
const LARGEST: u64 = (1 << 53) - 1;

/// A whole number.
pub(crate) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = Number::deserialize(from)?;
    let exact = number.as_u64().or_else(|| {
        let float = number.as_f64()?;
        let is_whole = float.fract() == 0.0 && (0.0..=LARGEST as f64).contains(&float);
        is_whole.then_some(float as u64)
    });
    let wrong = || de::Error::custom(format!("a whole number of at most {LARGEST} is needed"));
    exact.filter(|n| *n <= LARGEST).ok_or_else(wrong)
}

/// A small one; what is larger becomes the largest, which nobody takes.
pub(crate) fn whole_u16<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    whole(from).map(|n| u16::try_from(n).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        for (json, number) in [
            (json!(0), Some(0)),
            (json!(4001.0), Some(4001)),
            (json!(LARGEST), Some(LARGEST)),
            (json!(LARGEST + 1), None),
            (json!(1e300), None),
            (json!(0.5), None),
            (json!(-1), None),
            (json!("1"), None),
        ] {
            assert_eq!(whole(json).ok(), number);
        }
    }
}
