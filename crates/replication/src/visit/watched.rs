//! The namespaces whose objects a visit knows.

use std::collections::BTreeSet;

use crate::names::ObjectKey;

/// The namespaces that the operator watches; all, if there are none.
#[derive(Clone, Debug, Default)]
pub struct Watched(pub(super) BTreeSet<String>);

impl Watched {
    /// Whether the operator knows if the object exists. What is there for others does not change.
    #[must_use]
    pub fn includes(&self, key: &ObjectKey) -> bool {
        self.0.is_empty() || self.0.contains(&key.namespace)
    }
}
