//! The rules of a spec, validated: what passes has a form that S3 accepts.

use std::collections::BTreeMap;

use crate::{
    Problem,
    configuration::Tag,
    names::Prefix,
    request::problem::{invalid, keep, named},
};
use api::bucket_replication::{BucketReplicationSpec, DeleteMarkers, RuleSpec, Switch};

/// A valid rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRule {
    /// The name in the object.
    pub name: String,
    /// The prefix of the object keys.
    pub prefix: Prefix,
    /// Tags that an object must have.
    pub tags: Vec<Tag>,
    /// Whether delete markers are replicated.
    pub delete_markers: bool,
    /// The priority that the user hints at.
    pub priority: Option<i32>,
    /// Whether the rule acts.
    pub enabled: bool,
}

/// The limits of the schema, which also hold for files that no API server has seen.
const MOST_RULES: usize = 100;
const MOST_TAGS: usize = 10;
const HIGHEST_PRIORITY: i32 = 1_000_000;

pub(super) fn rules(spec: &BucketReplicationSpec, problems: &mut Vec<Problem>) -> Vec<ValidRule> {
    if spec.rules.is_empty() {
        problems.push(invalid(
            "spec.rules",
            "it is empty: leave it out to replicate the whole bucket",
        ));
    }
    if spec.rules.len() > MOST_RULES {
        let what = format!(
            "there are {} of them, and an object has {MOST_RULES} at most",
            spec.rules.len()
        );
        problems.push(invalid("spec.rules", &what));
    }
    let mut rules: Vec<ValidRule> = vec![];
    for (index, rule) in spec.rules.iter().enumerate() {
        let field = |name: &str| format!("spec.rules[{index}].{name}");
        if rules.iter().any(|other| other.name == rule.name) {
            problems.push(invalid(&field("name"), "another rule has the same name"));
        }
        problems.extend(wrong(rule).map(|(name, what)| invalid(&field(name), &what)));
        if let Some(prefix) = keep(named(rule.prefix.parse(), &field("prefix")), problems) {
            rules.push(ValidRule {
                name: rule.name.clone(),
                prefix,
                tags: rule
                    .tags
                    .iter()
                    .map(|(key, value)| Tag {
                        key: key.clone(),
                        value: value.clone(),
                    })
                    .collect(),
                delete_markers: rule.delete_markers == DeleteMarkers::Replicate,
                priority: rule.priority,
                enabled: rule.state == Switch::Enabled,
            });
        }
    }
    rules
}

/// What is wrong with a rule by itself: the field, and what.
fn wrong(rule: &RuleSpec) -> impl Iterator<Item = (&'static str, String)> {
    let name = (!is_name(&rule.name)).then(|| {
        let what = "use 1 to 63 lowercase letters, digits and hyphens, with no hyphen at the ends";
        ("name", what.to_owned())
    });
    let markers = !rule.tags.is_empty() && rule.delete_markers == DeleteMarkers::Replicate;
    let markers = markers.then(|| {
        let what = "S3 does not replicate delete markers for rules that filter by tag";
        ("deleteMarkers", what.to_owned())
    });
    let is_high = |priority: &i32| !(0..=HIGHEST_PRIORITY).contains(priority);
    let priority = rule.priority.filter(is_high).map(|priority| {
        let what = format!("{priority} is not between 0 and {HIGHEST_PRIORITY}");
        ("priority", what)
    });
    let tags = tags(&rule.tags).into_iter().map(|what| ("tags", what));
    name.into_iter().chain(markers).chain(priority).chain(tags)
}

/// What is wrong with tags ("Categorizing your objects using tags" in the S3 User Guide).
fn tags(tags: &BTreeMap<String, String>) -> Vec<String> {
    let is_allowed =
        |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c) || is_space(c);
    let mut problems = vec![];
    if tags.len() > MOST_TAGS {
        problems.push(format!(
            "there are {} of them, and an object has {MOST_TAGS} at most",
            tags.len()
        ));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || key.starts_with("aws:") {
            problems.push(format!(
                "{key:?} is no key: use 1 to 128 characters, not beginning with aws:"
            ));
        }
        if value.chars().count() > 256 {
            problems.push(format!("the value of {key:?} has more than 256 characters"));
        }
        if !key.chars().chain(value.chars()).all(is_allowed) {
            problems.push(format!("{key:?}: {value:?} has other characters than letters, digits, spaces and _ . : / = + - @"));
        }
    }
    problems
}

/// A space of Unicode that is no control character.
fn is_space(c: char) -> bool {
    c.is_whitespace() && !c.is_control()
}

fn is_name(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let at_ends = name.starts_with('-') || name.ends_with('-');
    (1..=63).contains(&name.len()) && !at_ends && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_s3() {
        let found = |key: &str, value: &str| {
            tags(&BTreeMap::from([(key.to_owned(), value.to_owned())])).len()
        };
        for (key, value) in [
            ("class", ""),
            ("Größe in m", "日本 1/2 a+b=c@d:e_f.g-h"),
            (&"k".repeat(128), &"é".repeat(256)),
            ("xaws:", "aws:"),
        ] {
            assert_eq!(found(key, value), 0, "{key}: {value}");
        }
        for (key, value) in [
            ("", "v"),
            (&"k".repeat(129), "v"),
            ("aws:cloudformation:stack-name", "v"),
            ("k", &"v".repeat(257)),
            ("k", "📦"),
            ("k", "a\nb"),
            ("a*b", "v"),
        ] {
            assert_eq!(found(key, value), 1, "{key:?}: {value:?}");
        }
        let eleven = (0..11).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(tags(&eleven).len(), 1);
    }
}
