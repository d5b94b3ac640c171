//! How the statements of a role are spread over its inline policy and, if that is too small, managed policies.
//!
//! A statement stays in its policy, so that adding or removing an object rewrites only the policies that have its statements.

use std::collections::BTreeMap;

use super::{
    names::{AccountId, InstallationId, ManagedPolicyName, OwnedBucket, Partition, RoleName},
    plan::Step,
    policy::{Document, Statement},
};

/// Characters of a role's inline policies together ("IAM and AWS STS quotas" in the IAM User Guide).
pub const MOST_INLINE: usize = 10_240;
/// Characters of a managed policy (same page).
pub const MOST_MANAGED: usize = 6_144;
/// Managed policies on one role, the default of an adjustable quota (same page).
pub const MOST_POLICIES: u32 = 10;

/// The operator's policies on a role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolePolicies {
    /// The inline policy.
    pub inline: Option<Document>,
    /// The managed policies by number, from 1.
    pub managed: BTreeMap<u32, ManagedPolicy>,
}

/// A managed policy of the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedPolicy {
    /// Its default version.
    pub document: Document,
    /// The ID of its default version.
    pub version: String,
    /// The IDs of its other versions.
    pub stale_versions: Vec<String>,
    /// Whether it is attached to the role.
    pub attached: bool,
}

impl RolePolicies {
    /// All statements, in the order of the policies.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        let managed = self.managed.values().map(|policy| &policy.document);
        self.inline
            .iter()
            .chain(managed)
            .flat_map(Document::statements)
            .collect()
    }

    /// The statements that `installation` marked.
    #[must_use]
    pub fn ours(&self, installation: &InstallationId) -> Vec<Statement> {
        self.statements()
            .into_iter()
            .filter(|statement| statement.mark_of(installation).is_some())
            .collect()
    }

    /// All of it as if it were one document.
    #[must_use]
    pub fn document(&self) -> Document {
        Document::of(self.statements())
    }
}

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

    /// The steps from what exists to this.
    #[must_use]
    pub fn steps(&self, existing: &RolePolicies, of: &PolicyOwner<'_>) -> Vec<Step> {
        let mut steps = vec![];
        if !existing
            .inline
            .as_ref()
            .is_some_and(|inline| inline.means(&self.inline))
        {
            let (account, role, policy) = (of.account.clone(), of.role.clone(), of.name.clone());
            steps.push(Step::PutRolePolicy {
                account,
                role,
                policy,
                document: self.inline.clone(),
            });
        }
        for (number, document) in &self.managed {
            let policy = of.policy(*number);
            let Some(read) = existing.managed.get(number) else {
                steps.push(Step::CreateManagedPolicy {
                    policy: policy.clone(),
                    document: document.clone(),
                });
                steps.push(Step::AttachManagedPolicy {
                    role: of.role.clone(),
                    policy,
                });
                continue;
            };
            let delete = |version: &String| Step::DeleteManagedPolicyVersion {
                policy: policy.clone(),
                version: version.clone(),
            };
            steps.extend(read.stale_versions.iter().map(delete));
            if !read.document.means(document) {
                steps.push(Step::CreateManagedPolicyVersion {
                    policy: policy.clone(),
                    document: document.clone(),
                });
                if !read.version.is_empty() {
                    steps.push(delete(&read.version));
                }
            }
            if !read.attached {
                steps.push(Step::AttachManagedPolicy {
                    role: of.role.clone(),
                    policy,
                });
            }
        }
        for (number, policy) in existing
            .managed
            .iter()
            .filter(|(number, _)| !self.managed.contains_key(number))
        {
            steps.extend(removal(policy, of.role, of.policy(*number)));
        }
        steps
    }
}

/// The steps that delete a managed policy (`DeletePolicy` in the IAM API Reference).
pub(super) fn removal(
    policy: &ManagedPolicy,
    role: &RoleName,
    name: ManagedPolicyName,
) -> Vec<Step> {
    let detach = policy.attached.then(|| Step::DetachManagedPolicy {
        role: role.clone(),
        policy: name.clone(),
    });
    let delete = |version: &String| Step::DeleteManagedPolicyVersion {
        policy: name.clone(),
        version: version.clone(),
    };
    let mut steps: Vec<_> = detach
        .into_iter()
        .chain(policy.stale_versions.iter().map(delete))
        .collect();
    steps.push(Step::DeleteManagedPolicy { policy: name });
    steps
}

/// Whose policies they are.
#[derive(Clone, Copy, Debug)]
pub struct PolicyOwner<'a> {
    /// The partition of the account.
    pub partition: Partition,
    /// The account.
    pub account: &'a AccountId,
    /// The path of roles and policies.
    pub path: &'a str,
    /// The role.
    pub role: &'a RoleName,
    /// The name of the inline policy, with which the names of the managed ones begin: that of the operator's role for the bucket.
    pub name: &'a RoleName,
}

impl PolicyOwner<'_> {
    /// The name of the managed policy with that number.
    #[must_use]
    pub fn policy(&self, number: u32) -> ManagedPolicyName {
        ManagedPolicyName {
            partition: self.partition,
            account: self.account.clone(),
            path: self.path.to_owned(),
            name: format!("{}-{number}", self.name),
        }
    }
}

impl<'a> PolicyOwner<'a> {
    /// The policies of the role of `source`, under `path`.
    #[must_use]
    pub fn of(source: &'a OwnedBucket, path: &'a str, role: &'a RoleName) -> Self {
        Self {
            partition: source.partition,
            account: &source.account,
            path,
            role,
            name: role,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Purpose;

    fn statements(range: std::ops::Range<usize>) -> Vec<Statement> {
        let id: InstallationId = "prod".parse().expect("an id");
        let resource = |n: usize| format!("arn:aws:s3:::bucket/{n}/{}", "x".repeat(700));
        range
            .map(|n| {
                Statement::allow(
                    &id,
                    Purpose::Replicas,
                    &format!("finance/o{n}"),
                    None,
                    &["s3:ReplicateObject"],
                    &[resource(n)],
                    &vec![],
                )
            })
            .collect()
    }

    fn existing(spread: &Spread) -> RolePolicies {
        let policy = |document: &Document| ManagedPolicy {
            document: document.clone(),
            version: "v1".into(),
            stale_versions: vec![],
            attached: true,
        };
        RolePolicies {
            inline: Some(spread.inline.clone()),
            managed: spread
                .managed
                .iter()
                .map(|(n, document)| (*n, policy(document)))
                .collect(),
        }
    }

    fn owner_steps(spread: &Spread, existing: &RolePolicies) -> Vec<String> {
        let (account, role) = (
            "111111111111".parse().expect("an account"),
            RoleName::of(
                &"prod".parse().expect("an id"),
                &OwnedBucket {
                    partition: Partition::Aws,
                    account: "111111111111".parse().expect("an account"),
                    name: "bucket".parse().expect("a bucket"),
                },
            ),
        );
        let owner = PolicyOwner {
            partition: Partition::Aws,
            account: &account,
            path: "/",
            role: &role,
            name: &role,
        };
        spread
            .steps(existing, &owner)
            .iter()
            .map(|step| <&str>::from(step).to_owned())
            .collect()
    }

    #[test]
    fn what_fits_stays_inline() {
        let spread = Spread::of(&RolePolicies::default(), &statements(0..10));
        assert!(spread.fits() && spread.managed.is_empty());
        assert_eq!(
            owner_steps(&spread, &RolePolicies::default()),
            ["PutRolePolicy"]
        );
    }

    #[test]
    fn what_does_not_fit_spills_and_every_statement_stands_once() {
        let wanted = statements(0..40);
        let spread = Spread::of(&RolePolicies::default(), &wanted);
        assert!(spread.fits() && spread.last() > 2, "{}", spread.last());
        assert_eq!(existing(&spread).statements().len(), 40);
        assert!(!Spread::of(&RolePolicies::default(), &statements(0..200)).fits());
    }

    #[test]
    fn a_change_touches_only_the_documents_that_it_is_in() {
        let before = existing(&Spread::of(&RolePolicies::default(), &statements(0..40)));
        assert_eq!(
            owner_steps(&Spread::of(&before, &statements(0..40)), &before),
            Vec::<String>::new()
        );
        let less = Spread::of(&before, &statements(0..39));
        assert_eq!(
            owner_steps(&less, &before),
            ["CreateManagedPolicyVersion", "DeleteManagedPolicyVersion"]
        );
        let few = Spread::of(&before, &statements(0..3));
        assert_eq!(few.last(), 0);
        let steps = owner_steps(&few, &before);
        assert_eq!(
            steps
                .iter()
                .filter(|step| *step == "DeleteManagedPolicy")
                .count(),
            before.managed.len()
        );
    }
}
