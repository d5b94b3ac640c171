//! Why an object can't get what it asks for.

use crate::names::InvalidName;
use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};

/// Why an object can't get what it asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The condition that it makes false.
    pub condition: ConditionType,
    /// The reason of that condition.
    pub reason: Reason,
    /// What is wrong, on which resource, and what to do.
    pub message: String,
    /// What the owner of the resource has to apply.
    pub action: Option<Box<RequiredAction>>,
}

impl Problem {
    /// A problem that no statement solves.
    #[must_use]
    pub fn new(condition: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            condition,
            reason,
            message: message.into(),
            action: None,
        }
    }
}

/// A field of the spec that has no value that AWS accepts.
pub(crate) fn invalid(field: &str, what: &str) -> Problem {
    Problem::new(
        ConditionType::Accepted,
        Reason::InvalidSpec,
        format!("{field}: {what}"),
    )
}

/// The same of a name that could not be parsed.
pub(crate) fn named<T>(parsed: Result<T, InvalidName>, field: &str) -> Result<T, Problem> {
    parsed.map_err(|error| invalid(field, &error.to_string()))
}

/// The first of several, and how many more there are.
pub(crate) fn first_of(several: &[String]) -> String {
    let first = several.first().map_or("", String::as_str);
    format!("{first}{}", and_more(several.len()))
}

/// How many there are besides the first.
pub(crate) fn and_more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        several => format!(" and {} more", several - 1),
    }
}

/// Adds the problem to `problems`, if there is one.
pub(crate) fn keep<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}
