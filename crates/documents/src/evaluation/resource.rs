//! What a request asks for, and which elements `Resource` match it ("IAM JSON policy elements: Resource" in the IAM User Guide).

use std::fmt;

use super::{
    Cause, Truth,
    pattern::{Extent, Pattern, Reading, Resolved},
};

/// A resource, or all resources whose ARNs begin alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    arn: String,
    open: bool,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.arn, if self.open { "*" } else { "" })
    }
}

impl Resource {
    /// The resource with that ARN. A `*` in it is an ordinary character.
    #[must_use]
    pub fn one(arn: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            open: false,
        }
    }

    /// All resources whose ARNs begin with `start`, which has at least the first five colons of an ARN.
    #[must_use]
    pub fn all(start: impl Into<String>) -> Self {
        Self {
            arn: start.into(),
            open: true,
        }
    }

    /// The resources of an ARN of a statement: one, or all that begin alike if it ends with `*`.
    #[must_use]
    pub fn of_statement(arn: &str) -> Self {
        match arn.strip_suffix('*') {
            Some(start) => Self::all(start),
            None => Self::one(arn),
        }
    }

    /// Whether an ARN of a statement covers the resource, or all of the resources.
    ///
    /// A `*` that ends a part of an ARN may match colons, others may not: what depends on it is unknown.
    pub(super) fn is_covered_by(&self, text: &str, reading: Reading<'_>) -> Truth {
        let pattern = match reading.read(text) {
            Resolved::Pattern(pattern) => pattern,
            Resolved::NoValue(key) => return Truth::Unknown(Cause::VariableWithoutValue(key)),
            Resolved::Unknown(cause) => return Truth::Unknown(cause),
        };
        let (within, across) = (self.extent_by_parts(&pattern), self.extent(&pattern));
        match (within, across) {
            (Extent::All, _) => Truth::Yes,
            (_, Extent::None) => Truth::No,
            (Extent::Part, _) | (_, Extent::Part) => Truth::Unknown(Cause::PartOfResources),
            (Extent::None, Extent::All) => Truth::Unknown(Cause::WildcardAcrossColons),
        }
    }

    fn extent(&self, pattern: &Pattern) -> Extent {
        if self.open {
            pattern.extent(&self.arn)
        } else if pattern.matches(&self.arn) {
            Extent::All
        } else {
            Extent::None
        }
    }

    /// As [`Self::extent`], but no wildcard matches a colon outside of the last part. Parts that a pattern lacks match anything.
    fn extent_by_parts(&self, pattern: &Pattern) -> Extent {
        if pattern.is_any() {
            return Extent::All;
        }
        let arn: Vec<_> = self.arn.splitn(6, ':').collect();
        let patterns = pattern.parts();
        let (Some(last), [former @ .., _]) = (arn.get(5), patterns.as_slice()) else {
            return Extent::None;
        };
        let before = if patterns.len() < 6 {
            &patterns[..]
        } else {
            former
        };
        if !before
            .iter()
            .zip(&arn)
            .all(|(pattern, part)| pattern.matches(part))
        {
            return Extent::None;
        }
        match patterns.get(5) {
            Some(pattern) if self.open => pattern.extent(last),
            Some(pattern) if pattern.matches(last) => Extent::All,
            Some(_) => Extent::None,
            None => Extent::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::Context;

    fn covers(pattern: &str, resource: &Resource) -> Truth {
        let context = Context::complete();
        let reading = Reading {
            variables: true,
            wildcards: true,
            context: &context,
        };
        resource.is_covered_by(pattern, reading)
    }

    #[test]
    fn arns_cover_resources() {
        let key = Resource::one("arn:aws:kms:us-east-1:111111111111:key/a");
        let tax = Resource::all("arn:aws:s3:::records/Tax");
        for (pattern, resource, covered) in [
            ("*", &key, Truth::Yes),
            ("arn:aws:kms:*:111111111111:key/*", &key, Truth::Yes),
            ("arn:aws:kms:us-east-1:111111111111:key/b", &key, Truth::No),
            ("arn:aws:s3:::*", &key, Truth::No),
            ("arn:aws:kms:*", &key, Truth::Yes),
            (
                "arn:*:key/a",
                &key,
                Truth::Unknown(Cause::WildcardAcrossColons),
            ),
            ("arn:aws:s3:::records/*", &tax, Truth::Yes),
            ("arn:aws:s3:::rec*/Tax*", &tax, Truth::Yes),
            (
                "arn:aws:s3:::records/Taxes/*",
                &tax,
                Truth::Unknown(Cause::PartOfResources),
            ),
            (
                "arn:aws:s3:::records/*.tmp",
                &tax,
                Truth::Unknown(Cause::PartOfResources),
            ),
            ("arn:aws:s3:::records", &tax, Truth::No),
            ("arn:aws:s3:::records/Legal/*", &tax, Truth::No),
        ] {
            assert_eq!(covers(pattern, resource), covered, "{pattern}");
        }
    }
}
