//! The condition keys of a request: for each, the values that it may have.

use std::collections::BTreeMap;

/// A value that a condition key may have in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Possible {
    /// The key is not in the request.
    Absent,
    /// A key with one value.
    One(String),
    /// A key with several values, which may be none.
    Several(Vec<String>),
}

/// The condition keys of a request. Names of keys are the same in upper and lower case.
#[derive(Clone, Debug, Default)]
pub struct Context {
    keys: BTreeMap<String, Vec<Possible>>,
    complete: bool,
}

impl Context {
    /// A context that has all keys of the request: those that are not added are absent.
    #[must_use]
    pub fn complete() -> Self {
        Self {
            keys: BTreeMap::new(),
            complete: true,
        }
    }

    /// A context that has some keys of the request: of others nothing is known.
    #[must_use]
    pub fn partial() -> Self {
        Self::default()
    }

    /// Adds a key with its value.
    #[must_use]
    pub fn with(self, key: &str, value: impl Into<String>) -> Self {
        self.with_possible(key, vec![Possible::One(value.into())])
    }

    /// Adds a key that is not in the request.
    #[must_use]
    pub fn without(self, key: &str) -> Self {
        self.with_possible(key, vec![Possible::Absent])
    }

    /// Adds a key that has one of the values. An empty list says that nothing is known of the key, also in a complete context.
    #[must_use]
    pub fn with_possible(mut self, key: &str, possible: Vec<Possible>) -> Self {
        self.keys.insert(key.to_ascii_lowercase(), possible);
        self
    }

    /// The keys that are known, with the values that they may have.
    pub fn known(&self) -> impl Iterator<Item = (&str, &[Possible])> {
        self.keys
            .iter()
            .map(|(key, possible)| (key.as_str(), possible.as_slice()))
    }

    /// The values that the key may have. `None`: any, or none.
    #[must_use]
    pub fn possible(&self, key: &str) -> Option<&[Possible]> {
        match self.keys.get(&key.to_ascii_lowercase()) {
            Some(possible) if possible.is_empty() => None,
            Some(possible) => Some(possible),
            None if self.complete => Some(&[Possible::Absent]),
            None => None,
        }
    }
}
