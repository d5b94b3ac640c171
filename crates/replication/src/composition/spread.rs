//! How the statements of a role are spread over its inline policy and, if that is too small, managed policies.
//!
//! A statement stays in its policy, so that adding or removing an object rewrites only the policies that have its statements.

use std::collections::BTreeMap;

use crate::{
    observation::role_policies::{MOST_POLICIES, ManagedPolicy, RolePolicies},
    policy::{Document, Statement},
};

/// Characters of a role's inline policies together ("IAM and AWS STS quotas" in the IAM User Guide).
pub const MOST_INLINE: usize = 10_240;
/// Characters of a managed policy (same page).
pub const MOST_MANAGED: usize = 6_144;
/// What each policy should contain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// The inline policy.
    pub inline: Document,
    /// The managed policies by number, each with a statement at least.
    pub managed: BTreeMap<u32, Document>,
}

/// The statements of one policy, and how many characters are left.
struct Room {
    statements: Vec<Statement>,
    left: usize,
}

impl Room {
    fn new(statements: Vec<Statement>, most: usize) -> Self {
        let used: usize = statements.iter().map(length).sum();
        Self {
            statements,
            left: most.saturating_sub(used + Document::default().compact().len()),
        }
    }

    fn holds(&self, size: usize) -> bool {
        size <= self.left
    }

    fn add(&mut self, statement: &Statement, size: usize) {
        self.statements.push(statement.clone());
        self.left = self.left.saturating_sub(size);
    }
}

/// The characters of a statement, with the comma before it.
fn length(statement: &Statement) -> usize {
    statement.json().to_string().len() + 1
}

impl Spread {
    /// Spreads `wanted` over the existing policies and as few more as are needed.
    #[must_use]
    pub fn of(existing: &RolePolicies, wanted: &[Statement]) -> Self {
        let mut left: Vec<&Statement> = wanted.iter().collect();
        let mut kept = |document: &Document| -> Vec<Statement> {
            let keep = |statement: &Statement| {
                let same = |wanted: &&Statement| {
                    if statement.sid().is_some() {
                        wanted.sid() == statement.sid()
                    } else {
                        wanted.canonical() == statement.canonical()
                    }
                };
                let wanted = left.remove(left.iter().position(same)?);
                Some(if wanted.canonical() == statement.canonical() {
                    statement.clone()
                } else {
                    wanted.clone()
                })
            };
            document.statements().iter().filter_map(keep).collect()
        };
        let mut inline = Room::new(
            existing.inline.as_ref().map(&mut kept).unwrap_or_default(),
            MOST_INLINE,
        );
        let kept = existing
            .managed
            .iter()
            .map(|(number, policy)| (*number, Room::new(kept(&policy.document), MOST_MANAGED)));
        let mut managed: BTreeMap<u32, Room> = kept.collect();
        for statement in left {
            let size = length(statement);
            if inline.holds(size) {
                inline.add(statement, size);
                continue;
            }
            let free = (1..=MOST_POLICIES)
                .find(|number| managed.get(number).is_none_or(|room| room.holds(size)))
                .unwrap_or(MOST_POLICIES + 1);
            managed
                .entry(free)
                .or_insert_with(|| Room::new(vec![], MOST_MANAGED))
                .add(statement, size);
        }
        let managed = managed
            .into_iter()
            .filter(|(_, room)| !room.statements.is_empty());
        Self {
            inline: Document::of(inline.statements),
            managed: managed
                .map(|(number, room)| (number, Document::of(room.statements)))
                .collect(),
        }
    }

    /// All of it as if it were one document.
    #[must_use]
    pub fn all(&self) -> Document {
        Document::of(
            [&self.inline]
                .into_iter()
                .chain(self.managed.values())
                .flat_map(Document::statements),
        )
    }

    /// The policies once this was written over `before`.
    #[must_use]
    pub fn applied_to(&self, before: &RolePolicies) -> RolePolicies {
        let policy = |(number, document): (&u32, &Document)| {
            let same = before
                .managed
                .get(number)
                .filter(|policy| policy.document.means(document));
            // A version that was written in between has an ID that only AWS knows: the next visit reads and deletes it.
            let version = same
                .map(|policy| policy.version.clone())
                .unwrap_or_default();
            (
                *number,
                ManagedPolicy {
                    document: document.clone(),
                    version,
                    stale_versions: vec![],
                    attached: true,
                },
            )
        };
        RolePolicies {
            inline: Some(self.inline.clone()),
            managed: self.managed.iter().map(policy).collect(),
        }
    }

    /// Whether it is within IAM's limits.
    #[must_use]
    pub fn fits(&self) -> bool {
        let sizes = self
            .managed
            .values()
            .all(|document| document.compact().len() <= MOST_MANAGED);
        sizes
            && self.managed.keys().all(|number| *number <= MOST_POLICIES)
            && self.inline.compact().len() <= MOST_INLINE
    }

    /// How many managed policies have to be read.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.managed.keys().next_back().copied().unwrap_or_default()
    }

    /// All statements in the inline policy, as on an unmanaged role, whose owner's quota managed policies would use.
    #[must_use]
    pub fn inline(document: Document) -> Self {
        Self {
            inline: document,
            managed: BTreeMap::new(),
        }
    }
}
