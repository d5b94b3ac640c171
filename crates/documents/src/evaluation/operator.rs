//! Condition operators: their names, and whether one value satisfies another ("IAM JSON policy elements: Condition operators" in the IAM User
//! Guide).

use std::{cmp::Ordering, net::IpAddr};

use ipnet::IpNet;
use jiff::{Timestamp, civil};

use super::{
    Cause, Context, Truth,
    pattern::{Pattern, Reading, Resolved},
};

/// A condition operator with its prefix and suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) set: Option<Set>,
    pub(super) test: Test,
    /// Whether it holds if no value satisfies it.
    pub(super) negated: bool,
    pub(super) if_exists: bool,
}

/// How an operator treats a key with several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    ForAllValues,
    ForAnyValue,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Numeric(Comparison),
    Date(Comparison),
    Bool,
    Binary,
    IpAddress,
    Arn,
    Null,
}

/// Which orders hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equals,
    LessThan,
    LessThanEquals,
    GreaterThan,
    GreaterThanEquals,
}

impl Comparison {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "Equals" => Self::Equals,
            "LessThan" => Self::LessThan,
            "LessThanEquals" => Self::LessThanEquals,
            "GreaterThan" => Self::GreaterThan,
            "GreaterThanEquals" => Self::GreaterThanEquals,
            _ => return None,
        })
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equals => order.is_eq(),
            Self::LessThan => order.is_lt(),
            Self::LessThanEquals => order.is_le(),
            Self::GreaterThan => order.is_gt(),
            Self::GreaterThanEquals => order.is_ge(),
        }
    }
}

impl Operator {
    /// Reads a name such as `ForAnyValue:StringLikeIfExists`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (set, name) = match name.split_once(':') {
            Some(("ForAllValues", name)) => (Some(Set::ForAllValues), name),
            Some(("ForAnyValue", name)) => (Some(Set::ForAnyValue), name),
            Some(_) => return None,
            None => (None, name),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (test, negated) = match name {
            "StringEquals" => (Test::StringEquals, false),
            "StringNotEquals" => (Test::StringEquals, true),
            "StringEqualsIgnoreCase" => (Test::StringEqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Test::StringEqualsIgnoreCase, true),
            "StringLike" => (Test::StringLike, false),
            "StringNotLike" => (Test::StringLike, true),
            "Bool" => (Test::Bool, false),
            "BinaryEquals" => (Test::Binary, false),
            "IpAddress" => (Test::IpAddress, false),
            "NotIpAddress" => (Test::IpAddress, true),
            "ArnEquals" | "ArnLike" => (Test::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
            "Null" if set.is_none() && !if_exists => (Test::Null, false),
            "NumericNotEquals" => (Test::Numeric(Comparison::Equals), true),
            "DateNotEquals" => (Test::Date(Comparison::Equals), true),
            other => {
                if let Some(comparison) = other.strip_prefix("Numeric") {
                    (Test::Numeric(Comparison::parse(comparison)?), false)
                } else {
                    let comparison = other.strip_prefix("Date")?;
                    (Test::Date(Comparison::parse(comparison)?), false)
                }
            }
        };
        Some(Self {
            set,
            test,
            negated,
            if_exists,
        })
    }
}

impl Test {
    /// Whether the value of a request is one that the value of a policy means. Values that the operator does not take are unknown.
    pub(super) fn is_met(
        self,
        expected: &str,
        actual: &str,
        variables: bool,
        context: &Context,
    ) -> Truth {
        let read = |wildcards| {
            let reading = Reading {
                variables,
                wildcards,
                context,
            };
            reading.read(expected)
        };
        let compared = |wildcards, test: &dyn Fn(Pattern) -> bool| match read(wildcards) {
            Resolved::Pattern(pattern) => test(pattern).into(),
            Resolved::NoValue(key) => Truth::Unknown(Cause::VariableWithoutValue(key)),
            Resolved::Unknown(cause) => Truth::Unknown(cause),
        };
        match self {
            Self::StringEquals => compared(false, &|pattern| pattern.matches(actual)),
            Self::StringEqualsIgnoreCase => compared(false, &|pattern| {
                pattern.lowercase().matches(&actual.to_ascii_lowercase())
            }),
            Self::StringLike => compared(true, &|pattern| pattern.matches(actual)),
            Self::Arn => compared(true, &|pattern| arn_matches(&pattern, actual)),
            Self::Numeric(comparison) => ordered(number, comparison, expected, actual),
            Self::Date(comparison) => ordered(date, comparison, expected, actual),
            Self::Bool => ordered(boolean, Comparison::Equals, expected, actual),
            Self::Binary => (expected == actual).into(),
            Self::IpAddress => match (network(expected), actual.parse::<IpAddr>()) {
                (Some(network), Ok(address)) => network.contains(&address).into(),
                (None, _) => Truth::Unknown(Cause::Value(expected.to_owned())),
                (_, Err(_)) => Truth::Unknown(Cause::Value(actual.to_owned())),
            },
            Self::Null => Truth::Unknown(Cause::Operator("Null".to_owned())),
        }
    }
}

/// The six parts of an ARN are compared one by one.
fn arn_matches(pattern: &Pattern, actual: &str) -> bool {
    let (patterns, parts) = (pattern.parts(), actual.splitn(6, ':').collect::<Vec<_>>());
    let both_are_arns = patterns.len() == 6 && parts.len() == 6;
    let mut compared = patterns.iter().zip(&parts);
    both_are_arns && compared.all(|(pattern, part)| pattern.matches(part))
}

fn ordered<T: PartialOrd>(
    read: fn(&str) -> Option<T>,
    comparison: Comparison,
    expected: &str,
    actual: &str,
) -> Truth {
    let unreadable = |text: &str| Truth::Unknown(Cause::Value(text.to_owned()));
    let (Some(wanted), Some(found)) = (read(expected), read(actual)) else {
        return unreadable(if read(expected).is_none() {
            expected
        } else {
            actual
        });
    };
    match found.partial_cmp(&wanted) {
        Some(order) => comparison.holds(order).into(),
        None => unreadable(expected),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A date of ISO 8601, or seconds since 1970.
fn date(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse() {
        return Timestamp::from_second(seconds).ok();
    }
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let day: civil::Date = text.parse().ok()?;
    let midnight = day.at(0, 0, 0, 0).in_tz("UTC").ok()?;
    Some(midnight.timestamp())
}

/// Without a length of its prefix it is one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(operator: &str, expected: &str, actual: &str) -> Truth {
        let context = Context::complete().with("aws:username", "ann");
        let test = Operator::parse(operator).expect(operator).test;
        test.is_met(expected, actual, true, &context)
    }

    #[test]
    fn values_are_compared() {
        for (operator, expected, yes, no) in [
            ("StringEquals", "a*", "a*", "ab"),
            ("StringEquals", "x-${aws:username}", "x-ann", "x-bob"),
            ("StringEqualsIgnoreCase", "Ab", "aB", "b"),
            ("StringLike", "a*", "ab", "ba"),
            ("NumericEquals", "1.50", "1.5", "2"),
            ("NumericLessThan", "10", "9", "10"),
            ("NumericLessThanEquals", "10", "10", "11"),
            ("NumericGreaterThan", "10", "11", "10"),
            ("NumericGreaterThanEquals", "10", "10", "9"),
            (
                "DateEquals",
                "2026-01-01T00:00:00Z",
                "1767225600",
                "1767225601",
            ),
            (
                "DateLessThan",
                "2026-01-02",
                "2026-01-01T12:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            ("DateGreaterThan", "2026-01-01", "2026-01-02", "2025-12-31"),
            ("Bool", "TRUE", "true", "false"),
            ("BinaryEquals", "QQ==", "QQ==", "Qg=="),
            ("IpAddress", "203.0.113.0/24", "203.0.113.9", "203.0.114.9"),
            ("IpAddress", "203.0.113.9", "203.0.113.9", "203.0.113.8"),
            ("IpAddress", "2001:db8::/32", "2001:db8::1", "203.0.113.9"),
            (
                "ArnLike",
                "arn:aws:iam::*:role/a*",
                "arn:aws:iam::1:role/ab",
                "arn:aws:iam::1:user/ab",
            ),
            (
                "ArnLike",
                "arn:aws:*:*:1:role/a",
                "arn:aws:iam::1:role/a",
                "arn:aws:iam:x:y:1:role/a",
            ),
            (
                "ArnEquals",
                "arn:aws:iam::*:role/a",
                "arn:aws:iam::1:role/a",
                "arn:aws:iam:x:y:1:role/a",
            ),
        ] {
            assert_eq!(
                met(operator, expected, yes),
                Truth::Yes,
                "{operator} {expected} {yes}"
            );
            assert_eq!(
                met(operator, expected, no),
                Truth::No,
                "{operator} {expected} {no}"
            );
        }
    }

    #[test]
    fn values_that_an_operator_does_not_take_are_unknown() {
        for (operator, expected, actual) in [
            ("NumericEquals", "one", "1"),
            ("DateEquals", "soon", "2026-01-01"),
            ("Bool", "${aws:username}", "true"),
            ("IpAddress", "203.0.113.0/99", "203.0.113.9"),
        ] {
            let unknown = Truth::Unknown(Cause::Value(expected.to_owned()));
            assert_eq!(met(operator, expected, actual), unknown, "{operator}");
        }
        for name in [
            "StringLikes",
            "Numeric",
            "ForSome:Bool",
            "NullIfExists",
            "Date",
            "",
        ] {
            assert_eq!(Operator::parse(name), None, "{name}");
        }
    }
}
