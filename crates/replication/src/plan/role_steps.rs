//! The steps that change the policies of a role.

use crate::{
    arns::PolicyArn,
    composition::spread::Spread,
    names::RoleName,
    observation::role_policies::{ManagedPolicy, PolicyOwner, RolePolicies},
    plan::Step,
};

/// The steps from the existing policies to `spread`.
#[must_use]
pub fn steps(spread: &Spread, existing: &RolePolicies, of: &PolicyOwner<'_>) -> Vec<Step> {
    let mut steps = vec![];
    if !existing
        .inline
        .as_ref()
        .is_some_and(|inline| inline.means(&spread.inline))
    {
        let (account, role, policy) = (of.account.clone(), of.role.clone(), of.name.clone());
        steps.push(Step::PutRolePolicy {
            account,
            role,
            policy,
            document: spread.inline.clone(),
        });
    }
    for (number, document) in &spread.managed {
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
        .filter(|(number, _)| !spread.managed.contains_key(number))
    {
        steps.extend(removal(policy, of.role, of.policy(*number)));
    }
    steps
}

/// The steps that delete a managed policy (`DeletePolicy` in the IAM API Reference).
pub(crate) fn removal(policy: &ManagedPolicy, role: &RoleName, name: PolicyArn) -> Vec<Step> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::{InstallationId, OwnedBucket, Partition},
        policy::{Document, Purpose, Statement},
    };

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
        steps(spread, existing, &owner)
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
