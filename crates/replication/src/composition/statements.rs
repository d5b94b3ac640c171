//! The statements that destinations and keys need, unless their policies already allow the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    arns::RoleArn,
    composition::{
        claims::Claims,
        desired::{Desired, DesiredRole, PlaceStatement, RoleOwnership},
    },
    configuration::{ReplicationRule, Setting},
    grantee::{Grantee, OwnRoles},
    keys::KeyArn,
    names::{InstallationId, OwnedBucket, Prefix, RoleName},
    observation::ledger::{destination_of, destinations_of},
    observed::Facet,
    policy::{Conditions, Document, Mark, Purpose, Statement},
    remedy::PolicyOf,
    request::s3_requests::{RoleFacts, requests_of_statement},
    request::statements::{
        OWNER_OVERRIDE, REPLICA_KEY_ACTIONS, REPLICATE_DELETE, SOURCE_KEY_ACTIONS, by_actions,
        replica_actions,
    },
    shared_policy::SharedPolicy,
    uses::Used,
};

/// Whom the statements for a source bucket are for, and what marks them as such.
struct Recipient<'a> {
    installation: &'a InstallationId,
    grantee: Grantee,
    owner: String,
}

impl<'a> Recipient<'a> {
    /// All roles of the operator in the account, or the role alone if it is another one.
    fn of(claims: &Claims<'a>, role: &DesiredRole) -> Self {
        if role.ownership == RoleOwnership::Own {
            return Self::own(claims.installation, &role.arn);
        }
        let owner = RoleName::of(claims.installation, claims.source);
        Self {
            installation: claims.installation,
            grantee: Grantee::Role(role.arn.clone()),
            owner: owner.as_str().to_owned(),
        }
    }

    fn own(installation: &'a InstallationId, role: &RoleArn) -> Self {
        Self {
            installation,
            grantee: Grantee::Roles(OwnRoles::with(role, installation)),
            owner: role.account.to_string(),
        }
    }

    fn statement(
        &self,
        purpose: Purpose,
        actions: &[&str],
        resources: &[String],
        conditions: &Conditions,
    ) -> Statement {
        Statement::allow(
            self.installation,
            purpose,
            &self.owner,
            Some(&self.grantee),
            actions,
            resources,
            conditions,
        )
    }

    /// What allows `actions` on the objects of `bucket` under `prefixes`.
    fn of_bucket(
        &self,
        bucket: &OwnedBucket,
        actions: &[&str],
        prefixes: &[Prefix],
    ) -> PlaceStatement {
        let resources: Vec<_> = prefixes
            .iter()
            .map(|prefix| bucket.objects(prefix))
            .collect();
        let on =
            |resources: &[String]| self.statement(Purpose::Replicas, actions, resources, &vec![]);
        let needed = on(&resources);
        let statement = match &self.grantee {
            Grantee::Role(_) => needed.clone(),
            Grantee::Roles(_) => on(&[format!("{}/*", bucket.arn())]),
        };
        PlaceStatement { statement, needed }
    }

    /// What allows the use of a key for `purpose` through `services`.
    fn of_key(&self, purpose: Purpose, services: BTreeSet<String>) -> Statement {
        let actions = if purpose == Purpose::SourceKeys {
            SOURCE_KEY_ACTIONS
        } else {
            REPLICA_KEY_ACTIONS
        };
        let via = "kms:ViaService".to_owned();
        let services: Vec<_> = services.into_iter().collect();
        self.statement(
            Purpose::KeyUse,
            actions,
            &["*".to_owned()],
            &vec![("StringEquals", via, services)],
        )
    }
}

/// The statements that destinations in other accounts need for the operator's rules, one for each set of actions.
pub(crate) fn bucket_statements<'a>(
    claims: &Claims<'_>,
    role: &DesiredRole,
    rules: impl Iterator<Item = &'a ReplicationRule>,
) -> BTreeMap<OwnedBucket, Vec<PlaceStatement>> {
    let mut by_bucket: BTreeMap<OwnedBucket, Vec<(Vec<&'static str>, Prefix)>> = BTreeMap::new();
    for rule in rules {
        let Some(bucket) = destination_of(rule, claims.source) else {
            continue;
        };
        if bucket.account == claims.source.account {
            continue;
        }
        let delete_markers = rule.delete_marker_replication == Some(Setting::new(true));
        let actions = replica_actions(
            delete_markers,
            rule.destination.access_control_translation.is_some(),
        );
        let Ok(prefix) = rule.selected_prefix().parse() else {
            continue;
        };
        by_bucket.entry(bucket).or_default().push((actions, prefix));
    }
    let recipient = Recipient::of(claims, role);
    let statements = |bucket: &OwnedBucket, rules: Vec<(Vec<&'static str>, Prefix)>| {
        by_actions(rules.into_iter())
            .into_iter()
            .map(|(actions, prefixes)| recipient.of_bucket(bucket, &actions, &prefixes))
            .collect()
    };
    by_bucket
        .into_iter()
        .map(|(bucket, rules)| {
            let made = statements(&bucket, rules);
            (bucket, made)
        })
        .collect()
}

/// The statements that key policies need for what the role's own policy allows with keys, if they do not allow that already. What is only
/// carried keeps its statement, but never gets one: an earlier visit may have removed it before a step that AWS refused, and would remove it
/// again.
pub(crate) fn key_statements(
    claims: &Claims<'_>,
    role: &DesiredRole,
    wanted: &[Statement],
    carried: &[Statement],
) -> BTreeMap<KeyArn, Vec<PlaceStatement>> {
    let recipient = Recipient::of(claims, role);
    let alone = Mark::owner(RoleName::of(claims.installation, claims.source).as_str());
    let mut statements: BTreeMap<KeyArn, Vec<PlaceStatement>> = BTreeMap::new();
    for ((key, purpose), (via, is_added)) in key_uses(wanted, carried) {
        let wanted = recipient.of_key(purpose, via);
        let policy = claims.observed.key_policies.get(&key);
        let policy = policy.and_then(Facet::present);
        // Earlier versions wrote a statement for each role.
        let is_former = |statement: &Statement| {
            let mark = statement.mark_of(claims.installation);
            mark.is_some_and(|mark| mark.owner == alone)
                && statement.strings("Action") == wanted.strings("Action")
        };
        let exists = policy.is_some_and(|policy| {
            let statements = policy.statements();
            statements
                .iter()
                .any(|statement| statement.sid() == wanted.sid() || is_former(statement))
        });
        let is_ours = |statement: &Statement| statement.mark_of(claims.installation).is_some();
        let facts = RoleFacts::of(&role.arn, claims.accounts);
        let grants = |policy| grants_already(policy, &wanted, PolicyOf::Key(&key), facts, is_ours);
        let is_needed = || is_added && !policy.is_some_and(grants);
        if exists || is_needed() {
            let needed = wanted.clone();
            let statement = wanted;
            let of_key = statements.entry(key).or_default();
            of_key.push(PlaceStatement { statement, needed });
        }
    }
    statements
}

/// What a source bucket uses at destinations and keys, by the statements of its role.
#[must_use]
pub fn used(installation: &InstallationId, role: &RoleArn, statements: &[Statement]) -> Used {
    let recipient = Recipient::own(installation, role);
    let mut used = Used::new();
    let mut add = |policy, statement: &Statement| {
        let sids: &mut BTreeSet<String> = used.entry(policy).or_default();
        sids.extend(statement.sid().map(ToOwned::to_owned));
    };
    for statement in statements {
        let mark = statement.mark_of(installation);
        if mark.is_none_or(|mark| mark.purpose != Purpose::Replicas) {
            continue;
        }
        let has = |action: &str| statement.strings("Action").contains(&action);
        let actions = replica_actions(has(REPLICATE_DELETE), has(OWNER_OVERRIDE));
        for bucket in destinations_of(statement, role.partition) {
            if bucket.account != role.account {
                let place = recipient.of_bucket(&bucket, &actions, &[]);
                add(SharedPolicy::OfBucket(bucket), &place.statement);
            }
        }
    }
    let ours = |statement: &&Statement| statement.mark_of(installation).is_some();
    let ours: Vec<_> = statements.iter().filter(ours).cloned().collect();
    for ((key, purpose), (via, _)) in key_uses(&ours, &[]) {
        add(SharedPolicy::OfKey(key), &recipient.of_key(purpose, via));
    }
    used
}

/// What the role's statements do with each key: through which services, and whether that is wanted now.
fn key_uses(
    wanted: &[Statement],
    carried: &[Statement],
) -> BTreeMap<(KeyArn, Purpose), (BTreeSet<String>, bool)> {
    let mut uses: BTreeMap<_, (BTreeSet<String>, bool)> = BTreeMap::new();
    let wanted = wanted.iter().map(|statement| (statement, true));
    for (statement, adds) in wanted.chain(carried.iter().map(|statement| (statement, false))) {
        let purpose = statement.mark().map(|mark| mark.purpose);
        let Some(purpose @ (Purpose::SourceKeys | Purpose::ReplicaKey)) = purpose else {
            continue;
        };
        let keys = statement.strings("Resource").into_iter();
        for key in keys.filter_map(|arn| arn.parse().ok()) {
            let via = statement.condition("StringEquals", "kms:ViaService");
            let (services, is_added) = uses.entry((key, purpose)).or_default();
            services.extend(via.into_iter().map(ToOwned::to_owned));
            *is_added |= adds;
        }
    }
    uses
}

impl Desired {
    /// What the source bucket uses at destinations and keys once everything is as it should be.
    #[must_use]
    pub fn uses(&self, installation: &InstallationId) -> Used {
        let own = |role: &&DesiredRole| role.ownership == RoleOwnership::Own;
        let role = self.role.as_ref().filter(own);
        role.map(|role| used(installation, &role.arn, &role.policy.statements()))
            .unwrap_or_default()
    }
}

/// Whether the policy has the statement `wanted`, or already allows `role` what is needed of it.
#[must_use]
pub fn allows_already(
    policy: Option<&Document>,
    wanted: &PlaceStatement,
    of: PolicyOf<'_>,
    role: RoleFacts<'_>,
) -> bool {
    let Some(policy) = policy else { return false };
    let same = policy
        .statements()
        .iter()
        .any(|statement| statement.canonical() == wanted.statement.canonical());
    same || grants_already(policy, &wanted.needed, of, role, |_| false)
}

/// Whether statements outside of `ignored` certainly allow what `wanted` is there for.
fn grants_already(
    policy: &Document,
    wanted: &Statement,
    of: PolicyOf<'_>,
    role: RoleFacts<'_>,
    ignored: impl Fn(&Statement) -> bool,
) -> bool {
    let requests = requests_of_statement(wanted, of, role);
    requests.iter().all(|asked| {
        let granted = policy.grants(&asked.request(), &ignored);
        granted.is_yes()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::accounts::Accounts;

    /// A policy that names the account leaves it to the role's own policy, which allows the same (the S3 console and
    /// asicsdigital/terraform-aws-s3-cross-account-replication write it so).
    #[test]
    fn an_owner_may_allow_the_account_or_the_role_or_its_session() {
        let role: RoleArn = "arn:aws:iam::111111111111:role/r".parse().expect("a role");
        let bucket = OwnedBucket {
            partition: role.partition,
            account: "222222222222".parse().expect("an account"),
            name: "dest".parse().expect("a bucket"),
        };
        let wanted = Statement::allow(
            &"prod".parse().expect("an id"),
            Purpose::Replicas,
            "owner",
            Some(&Grantee::Role(role.clone())),
            &["s3:ReplicateObject", "s3:ReplicateTags"],
            &["arn:aws:s3:::dest/Tax*".to_owned()],
            &vec![],
        );
        let wanted = PlaceStatement {
            statement: wanted.clone(),
            needed: wanted,
        };
        let allows = |principal: &str, action: &str, resource: &str| {
            let statement = json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": resource});
            let text = json!({"Version": "2012-10-17", "Statement": statement}).to_string();
            let policy = Document::parse(&text).expect("a policy");
            let (of, accounts) = (PolicyOf::Bucket(&bucket), Accounts::default());
            allows_already(Some(&policy), &wanted, of, RoleFacts::of(&role, &accounts))
        };
        let all = "arn:aws:s3:::dest/*";
        for principal in [
            "111111111111",
            "arn:aws:iam::111111111111:root",
            "arn:aws:iam::111111111111:role/r",
            "arn:aws:sts::111111111111:assumed-role/r/s3-replication",
            "*",
        ] {
            assert!(allows(principal, "s3:Replicate*", all), "{principal}");
        }
        for (principal, action, resource) in [
            ("222222222222", "s3:*", all),
            ("111111111111", "s3:ReplicateObject", all),
            ("111111111111", "s3:*", "arn:aws:s3:::dest/Taxes/*"),
        ] {
            assert!(
                !allows(principal, action, resource),
                "{principal} {action} {resource}"
            );
        }
    }
}
