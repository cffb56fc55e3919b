//! Durations in Go's spelling, which the course uses: `5s`, `150ms`, `1m5s`.

use std::fmt;
use std::time::Duration;

/// Go's longest duration, about 292 years. Go refuses a longer one too.
const LONGEST_NANOSECONDS: u128 = i64::MAX as u128;

/// Digits after the point that are read. Even of an hour, 3.6e12 nanoseconds, the digits after
/// these amount to less than one nanosecond.
const FRACTION_DIGITS: usize = 18;

/// Reads a duration such as `5s`, `150ms`, `1m5s`, `1.5h` or `0`, with the grammar of Go's
/// `time.ParseDuration`.
///
/// Returns `None` for everything else: a number without a unit (other than 0), a negative number,
/// blanks, or a duration that is too long for Go.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (term, after) = term(rest)?;
        total = total.checked_add(term).filter(|sum| *sum <= LONGEST_NANOSECONDS)?;
        rest = after;
    }
    Some(Duration::from_nanos(u64::try_from(total).ok()?))
}

/// Reads one number with its unit; returns its nanoseconds and the text after it.
fn term(text: &str) -> Option<(u128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let letters = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(letters);
    let unit = unit(name)?;

    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let scale = fraction.bytes().fold(1, |scale: u128, _| scale * 10);
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some((whole.checked_mul(unit)?.checked_add(part * unit / scale)?, rest))
}

/// Splits off the leading digits.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Returns the nanoseconds of one unit.
fn unit(name: &str) -> Option<u128> {
    Some(match name {
        "ns" => 1,
        // The micro sign and the Greek letter mu look the same; Go accepts both.
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A duration that prints exactly as Go's `time.Duration.String()` does: `5s`, `1m0s`, `1.5s`,
/// `150ms`, `0s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.subsec_nanos();
        let seconds = self.0.as_secs();
        match (seconds, nanoseconds) {
            (0, 0) => write!(f, "0s"),
            (0, 1..1_000) => write!(f, "{nanoseconds}ns"),
            (0, 1_000..1_000_000) => write!(f, "{}µs", Decimal(nanoseconds.into(), 3)),
            (0, _) => write!(f, "{}ms", Decimal(nanoseconds.into(), 6)),
            _ => {
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                let rest = seconds % 60 * 1_000_000_000 + u64::from(nanoseconds);
                write!(f, "{}s", Decimal(rest, 9))
            }
        }
    }
}

/// A number counted in units of 10^-places, printed without trailing zeros: `Decimal(1500, 3)` is
/// `1.5`.
struct Decimal(u64, usize);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decimal(value, places) = *self;
        let scale = (0..places).fold(1, |scale: u64, _| scale * 10);
        write!(f, "{}", value / scale)?;
        let fraction = format!("{:0places$}", value % scale);
        match fraction.trim_end_matches('0') {
            "" => Ok(()),
            fraction => write!(f, ".{fraction}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepted_spellings_have_the_length_go_gives_them() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("150ms", 150_000_000),
            ("1m5s", 65_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1h", 3_600_000_000_000),
            ("1h15m30.918s", 4_530_918_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("10μs", 10_000),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", u64::try_from(i64::MAX).unwrap()),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "+",
            "-",
            "s",
            ".",
            ".s",
            "5",
            "1.5",
            "-5s",
            "-0",
            "+-5s",
            "5 s",
            " 5s",
            "5s ",
            "5S",
            "5x",
            "5sec",
            "1,5s",
            "cinco",
            "0x5s",
            "1e3s",
            "9223372036854775808ns",
            "3000000h",
            "99999999999999999999999999999h",
            "999999999999999999999999999999999999999999s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn printing_follows_go() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (150_000_000, "150ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (65_000_000_000, "1m5s"),
            (245_001_000_000, "4m5.001s"),
            (3_600_000_000_000, "1h0m0s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (u64::try_from(i64::MAX).unwrap(), "2562047h47m16.854775807s"),
        ] {
            assert_eq!(GoDuration(Duration::from_nanos(nanoseconds)).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back_the_same(nanoseconds in 0..=i64::MAX, shift in 0..63_u32) {
            // The shift spreads the cases over all magnitudes. Without it nearly all would be
            // hundreds of years.
            let duration = Duration::from_nanos(u64::try_from(nanoseconds >> shift).unwrap());
            prop_assert_eq!(parse(&GoDuration(duration).to_string()), Some(duration));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9.+a-zµ-]{0,30}") {
            let _ = parse(&text);
        }
    }
}
