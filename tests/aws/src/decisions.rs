//! Every distinct decision, for an independent evaluator that replays it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

/// Decisions, by their request and policies as JSON, with whether they were to allow. Nothing is kept until recording begins.
#[derive(Clone, Debug, Default)]
pub struct Decisions(Arc<Mutex<Option<BTreeMap<String, bool>>>>);

impl Decisions {
    /// Begins to record.
    pub fn record(&self) {
        self.lock(|kept| *kept = Some(BTreeMap::new()));
    }

    /// The decisions so far: each is a request with its policies, and whether it was allowed.
    #[must_use]
    pub fn all(&self) -> Vec<(Value, bool)> {
        let text = self.lock(|kept| kept.clone().unwrap_or_default());
        let decisions = text.into_iter().filter_map(|(text, allowed)| {
            let request = serde_json::from_str(&text).ok()?;
            Some((request, allowed))
        });
        decisions.collect()
    }

    /// Keeps a decision, if it is recorded.
    pub(crate) fn add(&self, decision: impl FnOnce() -> Value, allowed: bool) {
        self.lock(|kept| {
            if let Some(kept) = kept {
                kept.insert(decision().to_string(), allowed);
            }
        });
    }

    fn lock<T>(&self, look: impl FnOnce(&mut Option<BTreeMap<String, bool>>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
