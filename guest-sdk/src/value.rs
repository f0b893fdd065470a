//! The types of arguments and variables.

use std::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

/// A type that can be parsed from one argument or one variable.
///
/// It is implemented for strings, paths, `bool` (`true` or `false`), `char`, finite floating-point numbers and integers. Implement it for your
/// own types, so that error messages say what was expected:
///
/// ```
/// use capstan_guest::{Args, Value};
///
/// #[derive(Debug, PartialEq)]
/// enum Order {
///     Ascending,
///     Descending,
/// }
///
/// impl Value for Order {
///     const EXPECTED: &'static str = "asc or desc";
///
///     fn parse(text: &str) -> Option<Self> {
///         match text {
///             "asc" => Some(Order::Ascending),
///             "desc" => Some(Order::Descending),
///             _ => None,
///         }
///     }
/// }
///
/// let mut args = Args::new(["--order=desc"]);
/// assert_eq!(args.flag("order"), Ok(Some(Order::Descending)));
///
/// let mut args = Args::new(["--order=up"]);
/// let error = args.flag::<Order>("order").unwrap_err();
/// assert_eq!(error.to_string(), r#"argument --order: expected asc or desc, found "up""#);
/// ```
pub trait Value: Sized {
    /// The description of a valid value, as it follows "expected" in an error message.
    const EXPECTED: &'static str;

    /// Parses all of `text`. Returns `None` if it is malformed.
    fn parse(text: &str) -> Option<Self>;
}

impl Value for String {
    const EXPECTED: &'static str = "text";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Option<Self> {
        // Rejects the empty path, for which each host call would return a different error.
        (!text.is_empty()).then(|| text.into())
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for char {
    const EXPECTED: &'static str = "one character";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

macro_rules! finite_numbers {
    ($($type:ty),+) => {$(
        impl Value for $type {
            const EXPECTED: &'static str = "a number";

            fn parse(text: &str) -> Option<Self> {
                // Rejects `inf` and `NaN`, which parse as numbers but are never intended.
                text.parse().ok().filter(|number: &$type| number.is_finite())
            }
        }
    )+};
}

macro_rules! whole_numbers {
    ($($type:ty: $from:literal to $to:literal),+ $(,)?) => {$(
        impl Value for $type {
            const EXPECTED: &'static str = concat!("a whole number from ", $from, " to ", $to);

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )+};
}

finite_numbers!(f32, f64);

whole_numbers!(
    u8: "0" to "255",
    u16: "0" to "65535",
    u32: "0" to "4294967295",
    u64: "0" to "18446744073709551615",
    i8: "-128" to "127",
    i16: "-32768" to "32767",
    i32: "-2147483648" to "2147483647",
    i64: "-9223372036854775808" to "9223372036854775807",
    NonZeroU8: "1" to "255",
    NonZeroU16: "1" to "65535",
    NonZeroU32: "1" to "4294967295",
    NonZeroU64: "1" to "18446744073709551615",
);

#[cfg(target_pointer_width = "32")]
whole_numbers!(usize: "0" to "4294967295", NonZeroUsize: "1" to "4294967295");

#[cfg(target_pointer_width = "64")]
whole_numbers!(usize: "0" to "18446744073709551615", NonZeroUsize: "1" to "18446744073709551615");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_in_the_expected_phrase_are_those_of_the_type() {
        #[track_caller]
        fn check<T: Value>(least: &str, most: &str, below: &str, above: &str) {
            assert_eq!(T::EXPECTED, format!("a whole number from {least} to {most}"));
            assert!(T::parse(least).is_some() && T::parse(most).is_some());
            assert!(T::parse(below).is_none() && T::parse(above).is_none());
        }
        check::<u8>("0", "255", "-1", "256");
        check::<u16>("0", "65535", "-1", "65536");
        check::<u32>("0", "4294967295", "-1", "4294967296");
        check::<u64>("0", "18446744073709551615", "-1", "18446744073709551616");
        check::<i8>("-128", "127", "-129", "128");
        check::<i16>("-32768", "32767", "-32769", "32768");
        check::<i32>("-2147483648", "2147483647", "-2147483649", "2147483648");
        check::<i64>("-9223372036854775808", "9223372036854775807", "-9223372036854775809", "9223372036854775808");
        check::<NonZeroU8>("1", "255", "0", "256");
        check::<NonZeroU16>("1", "65535", "0", "65536");
        check::<NonZeroU32>("1", "4294967295", "0", "4294967296");
        check::<NonZeroU64>("1", "18446744073709551615", "0", "18446744073709551616");
        let most = usize::MAX.to_string();
        check::<usize>("0", &most, "-1", "18446744073709551616");
        check::<NonZeroUsize>("1", &most, "0", "18446744073709551616");
    }

    #[test]
    fn numbers_are_read_whole_or_not_at_all() {
        for text in ["", " 1", "1 ", "1x", "0x10", "1_000", "1.0"] {
            assert_eq!(u32::parse(text), None, "{text:?}");
        }
        for text in ["", "inf", "-inf", "NaN", "1e999", "1,5"] {
            assert_eq!(f64::parse(text), None, "{text:?}");
        }
        assert_eq!(f64::parse("-2.5e3"), Some(-2500.0));
    }

    #[test]
    fn text_is_taken_as_it_is_and_a_path_is_not_empty() {
        assert_eq!(String::parse(""), Some(String::new()));
        assert_eq!(PathBuf::parse(""), None);
        assert_eq!(bool::parse("yes"), None);
        assert_eq!(char::parse("ab"), None);
        assert_eq!(char::parse("é"), Some('é'));
    }
}
