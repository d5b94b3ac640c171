//! Objects whose rules S3 refused: what was said, and when they are tried again.
//!
//! A refused write is one that the bucket's other objects wait for, so that an object in a loop costs few of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{Object, Problem, names::ObjectKey};

/// Objects whose rules S3 refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Culprits(BTreeMap<ObjectKey, Culprit>);

/// An object whose rules S3 refused.
#[derive(Clone, Debug, PartialEq)]
struct Culprit {
    problem: Problem,
    /// The object that was refused last; another one may have its name now.
    uid: String,
    /// The generation that was refused last.
    generation: Option<i64>,
    /// How often in a row.
    times: u32,
    since: Timestamp,
}

impl Culprits {
    /// Adds that S3 refused the rules of an object.
    pub fn add(&mut self, object: &Object, problem: Problem, now: Timestamp) {
        let before = self
            .0
            .get(&object.key)
            .filter(|before| before.uid == object.uid);
        let times = before.map_or(0, |before| before.times);
        let culprit = Culprit {
            problem,
            uid: object.uid.clone(),
            generation: object.generation,
            times: times.saturating_add(1),
            since: now,
        };
        self.0.insert(object.key.clone(), culprit);
    }

    /// The objects.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<ObjectKey> {
        self.0.keys().cloned().collect()
    }

    /// Forgets an object whose rules S3 accepted.
    pub fn accept(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    /// Forgets all objects but these.
    pub fn retain(&mut self, objects: &[Object]) {
        self.0.retain(|key, culprit| {
            objects
                .iter()
                .any(|object| object.key == *key && object.uid == culprit.uid)
        });
    }

    /// The objects that are not tried again yet, with what S3 said, and after how long the first of them is.
    #[must_use]
    pub fn waiting(
        &self,
        objects: &[Object],
        retry: Duration,
        now: Timestamp,
    ) -> (BTreeMap<ObjectKey, Problem>, Option<Duration>) {
        let mut problems = BTreeMap::new();
        let mut first: Option<Duration> = None;
        for object in objects.iter().filter(|object| !object.is_deleting()) {
            let culprit = self.0.get(&object.key);
            let Some(culprit) = culprit.filter(|culprit| culprit.uid == object.uid) else {
                continue;
            };
            let age = Duration::try_from(now.duration_since(culprit.since)).unwrap_or_default();
            let left = culprit.wait(object, retry).saturating_sub(age);
            if !left.is_zero() {
                problems.insert(object.key.clone(), culprit.problem.clone());
                first = Some(first.map_or(left, |other| other.min(left)));
            }
        }
        (problems, first)
    }
}

impl Culprit {
    /// An edit may have corrected it, and is tried soon, but each time later; what did not change is tried once in a longest retry. Visits may be a
    /// fifth earlier.
    fn wait(&self, object: &Object, retry: Duration) -> Duration {
        let longest = retry.mul_f64(0.8);
        if object.generation == self.generation {
            return longest;
        }
        Duration::from_secs(8_u64.saturating_pow(self.times.min(8))).min(longest)
    }
}
