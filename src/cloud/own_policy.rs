//! The policies that the operator itself needs, from the table of its calls.

use std::fmt::Display;

use serde_json::{Map, Value, json};

use crate::{
    api::aws_account::Permission,
    replication::{
        accounts::{Account, Accounts},
        names::s3_principals,
        policy::Document,
        verification::FOLDER,
    },
};

use super::calls::{
    ATTACHING, BOUND, On,
    action::{self, GET_ROLE, GET_ROLE_POLICY, PASS_ROLE},
    allowed,
};

/// The policy that the operator needs in `account`, for the buckets and keys that its grants name.
///
/// # Errors
/// When the operator could change its own role with it.
pub fn policy(account: &Account) -> Result<Document, String> {
    let roles = format!(
        "arn:{}:iam::{}:role{}brepl-*",
        account.partition, account.id, account.roles.path
    );
    let policies = roles.replacen(":role", ":policy", 1);
    may_not_change_itself(account, &roles, &policies)?;
    let (sources, destinations, keys) = account.granted_globs();
    let buckets = |globs: Vec<&str>| -> Vec<String> {
        globs
            .iter()
            .map(|glob| format!("arn:{}:s3:::{glob}", account.partition))
            .collect()
    };
    let (sources, destinations, keys) = (
        buckets(sources),
        buckets(destinations),
        keys.into_iter().map(ToOwned::to_owned).collect(),
    );
    let actions = |on| allowed(account, on, &|_| true);
    let has_sources = !sources.is_empty();
    let mut statements = vec![
        statement("SourceBuckets", &actions(On::Sources), sources, None),
        statement(
            "DestinationBuckets",
            &actions(On::Destinations),
            destinations,
            None,
        ),
        statement("Keys", &actions(On::Keys), keys, None),
    ];
    if has_sources && account.roles.are_checked() {
        statements.extend(named_statements(account));
    } else if has_sources {
        statements.extend(role_statements(account, &roles, &policies));
        statements.extend(merge_statements(account, &roles));
    }
    statements.extend(canary_statements(account));
    statements.push(metric_statement(account).filter(|_| has_sources));
    Ok(document(statements))
}

/// Fails if the operator could change its own role, or the boundary of others.
fn may_not_change_itself(account: &Account, roles: &str, policies: &str) -> Result<(), String> {
    let within = |pattern: &str, arn: &dyn Display| {
        wildmatch::WildMatch::new(pattern).matches(&arn.to_string())
    };
    if let Some(own) = account.assume_role.as_ref().map(|own| &own.role) {
        let listed = account
            .roles
            .mergeable
            .contains(own)
            .then_some("roles.mergeableRoleARNs");
        if let Some(place) = within(roles, own).then_some(roles).or(listed) {
            return Err(format!(
                "AWSAccount {}: the operator's own role {own} is among {place}, so it could change its own permissions: give it another name or path",
                account.name
            ));
        }
    }
    if let Some(boundary) = account
        .roles
        .boundary
        .as_ref()
        .filter(|boundary| within(policies, boundary))
    {
        return Err(format!(
            "AWSAccount {}: the permissions boundary {boundary} is among {policies}, so the operator could change it: give it another name or path",
            account.name
        ));
    }
    Ok(())
}

/// What the operator may do with the roles and policies that it creates.
fn role_statements(account: &Account, roles: &str, policies: &str) -> Vec<Option<Value>> {
    let boundary = account.roles.boundary.as_ref().map(ToString::to_string);
    let actions = |on, keep: &dyn Fn(&str) -> bool| allowed(account, on, keep);
    let any = |_: &str| true;
    let mut statements = vec![];
    let bound = |action: &str| boundary.is_some() && BOUND.contains(&action);
    let attaches = |action: &str| ATTACHING.contains(&action);
    let free = actions(On::Roles, &|action| {
        action != PASS_ROLE && !bound(action) && !attaches(action)
    });
    statements.push(statement(
        "ReplicationRoles",
        &free,
        vec![roles.to_owned()],
        None,
    ));
    let condition = boundary
        .as_ref()
        .map(|arn| json!({ "StringEquals": { "iam:PermissionsBoundary": arn } }));
    statements.push(statement(
        "BoundReplicationRoles",
        &actions(On::Roles, &bound),
        vec![roles.to_owned()],
        condition.clone(),
    ));
    // Without the condition, the operator could attach any policy of the account to its roles, also that of administrators.
    let mut only_ours = json!({ "ArnLike": { "iam:PolicyARN": policies } });
    if let (Some(only_ours), Some(Value::Object(bound))) = (only_ours.as_object_mut(), condition) {
        only_ours.extend(bound);
    }
    statements.push(statement(
        "AttachReplicationPolicies",
        &actions(On::Roles, &attaches),
        vec![roles.to_owned()],
        Some(only_ours),
    ));
    let boundaries = boundary.into_iter().collect();
    statements.push(statement(
        "PermissionsBoundary",
        &actions(On::Boundary, &any),
        boundaries,
        None,
    ));
    statements.push(statement(
        "ReplicationPolicies",
        &actions(On::Policies, &any),
        vec![policies.to_owned()],
        None,
    ));
    statements.push(statement(
        "ListRoles",
        &actions(On::Account, &any),
        vec!["*".to_owned()],
        None,
    ));
    statements
}

/// What the operator may do with canaries: objects in a folder of its own, in the buckets of grants that allow it.
fn canary_statements(account: &Account) -> Vec<Option<Value>> {
    let (sources, destinations, keys) = account.globs_with(Permission::Canary);
    let partition = account.partition;
    let buckets = |globs: &[&str], what: &str| -> Vec<String> {
        let arn = |glob: &&str| format!("arn:{partition}:s3:::{glob}{what}");
        globs.iter().map(arn).collect()
    };
    let objects = format!("/*{FOLDER}*");
    let all: Vec<_> = sources.iter().chain(&destinations).copied().collect();
    // With an S3 Bucket Key, KMS gets the bucket's ARN instead of the object's ("Using Amazon S3 Bucket Keys" in the S3 User Guide).
    let mut contexts = buckets(&sources, "");
    contexts.extend(buckets(&sources, &objects));
    contexts.sort();
    contexts.dedup();
    let in_folder = json!({ "StringLike": { "s3:prefix": format!("*{FOLDER}*") } });
    let by_s3 = json!({ "StringLike": {
        "kms:ViaService": "s3.*",
        "kms:EncryptionContext:aws:s3:arn": contexts,
    } });
    let keys = if sources.is_empty() { vec![] } else { keys };
    let keys = keys.into_iter().map(ToOwned::to_owned).collect();
    let actions = |on| allowed(account, on, &|_| true);
    vec![
        statement(
            "SourceCanaries",
            &actions(On::SourceCanaries),
            buckets(&sources, &objects),
            None,
        ),
        statement(
            "DestinationCanaries",
            &actions(On::DestinationCanaries),
            buckets(&destinations, &objects),
            None,
        ),
        statement(
            "FindCanaries",
            &actions(On::CanaryBuckets),
            buckets(&all, ""),
            Some(in_folder),
        ),
        statement("CanaryKeys", &actions(On::CanaryKeys), keys, Some(by_s3)),
    ]
}

/// Reading S3's metrics: IAM can limit that to no resource.
fn metric_statement(account: &Account) -> Option<Value> {
    let reads = allowed(account, On::Metrics, &|_| true);
    statement("ReplicationMetrics", &reads, vec!["*".to_owned()], None)
}

/// What the operator may do with unmanaged roles that its rules are merged under, and which roles it may pass to S3.
fn merge_statements(account: &Account, roles: &str) -> Vec<Option<Value>> {
    let actions = |on, keep: &dyn Fn(&str) -> bool| allowed(account, on, keep);
    let mut statements = vec![];
    let mergeable: Vec<_> = if account.grants_to_anyone(Permission::MergeConfiguration) {
        account
            .roles
            .mergeable
            .iter()
            .map(ToString::to_string)
            .collect()
    } else {
        vec![]
    };
    let inline = actions(On::MergeableRoles, &|action| action != PASS_ROLE);
    statements.push(statement(
        "MergeableRoles",
        &inline,
        mergeable.clone(),
        None,
    ));
    if !mergeable.is_empty() {
        statements.push(policies_of_others(account));
    }
    let passed: Vec<_> = mergeable.into_iter().chain([roles.to_owned()]).collect();
    statements.push(absent(&passed));
    statements.push(pass(account, passed));
    statements
}

/// Reading roles that do not exist: then IAM does not know their path, and would deny the call instead of saying so.
fn absent(roles: &[String]) -> Option<Value> {
    let without_path = |role: &String| {
        let (account, name) = (role.split_once(":role/")?.0, role.rsplit('/').next()?);
        Some(format!("{account}:role/{name}")).filter(|without| without != role)
    };
    let resources = roles.iter().filter_map(without_path).collect();
    statement("AbsentRoles", &[GET_ROLE, GET_ROLE_POLICY], resources, None)
}

/// What the operator may do with roles that others create: read them, and pass them to S3.
fn named_statements(account: &Account) -> Vec<Option<Value>> {
    let named: Vec<_> = account
        .roles
        .named
        .values()
        .map(ToString::to_string)
        .collect();
    let reads = allowed(account, On::NamedRoles, &|action| action != PASS_ROLE);
    let mut statements = vec![statement("NamedRoles", &reads, named.clone(), None)];
    if !named.is_empty() {
        statements.push(policies_of_others(account));
    }
    statements.push(absent(&named));
    statements.push(pass(account, named));
    statements
}

/// Reading the policies and boundaries of roles that others create, whatever their names.
fn policies_of_others(account: &Account) -> Option<Value> {
    let (partition, id) = (account.partition, &account.id);
    let all = ["aws", id.as_str()].map(|owner| format!("arn:{partition}:iam::{owner}:policy/*"));
    let reads = allowed(account, On::ForeignPolicies, &|_| true);
    statement("PoliciesOfOthers", &reads, all.to_vec(), None)
}

fn pass(account: &Account, roles: Vec<String>) -> Option<Value> {
    let service = match s3_principals(account.partition).as_slice() {
        [service] => json!(service),
        services => json!(services),
    };
    let condition = json!({ "StringEquals": { "iam:PassedToService": service } });
    statement("PassReplicationRoles", &[PASS_ROLE], roles, Some(condition))
}

/// The policy of the operator's own identity: it may assume the roles that the accounts name, and nothing else.
#[must_use]
pub fn identity_policy(accounts: &Accounts) -> Document {
    let roles = accounts
        .all()
        .filter_map(|account| account.assume_role.as_ref())
        .map(|role| role.role.to_string())
        .collect();
    // The session tags of EKS Pod Identity are transitive, so that each session further on is tagged, too ("Grant Pods access to AWS
    // resources based on tags" in the EKS User Guide).
    document(vec![statement(
        "AssumeAccountRoles",
        &[action::ASSUME_ROLE, "sts:TagSession"],
        roles,
        None,
    )])
}

/// Without actions or resources there is no statement.
fn statement(
    sid: &str,
    actions: &[&str],
    mut resources: Vec<String>,
    condition: Option<Value>,
) -> Option<Value> {
    resources.sort();
    resources.dedup();
    if actions.is_empty() || resources.is_empty() {
        return None;
    }
    let mut statement = Map::new();
    statement.insert("Sid".into(), json!(sid));
    statement.insert("Effect".into(), json!("Allow"));
    statement.insert("Action".into(), json!(actions));
    statement.insert("Resource".into(), json!(resources));
    if let Some(condition) = condition {
        statement.insert("Condition".into(), condition);
    }
    Some(Value::Object(statement))
}

fn document(statements: Vec<Option<Value>>) -> Document {
    let statements: Vec<_> = statements.into_iter().flatten().collect();
    Document::parse(&json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AwsAccount;
    use crate::cloud::calls::action::{
        ATTACH_ROLE_POLICY, DELETE_ROLE_POLICY, GET_ROLE_POLICY, LIST_ATTACHED_ROLE_POLICIES,
        LIST_ROLE_POLICIES, PUT_ROLE_POLICY,
    };

    fn accounts(spec: Value) -> Accounts {
        let object: AwsAccount = serde_json::from_value(
            json!({"apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "prod"}, "spec": spec}),
        )
        .expect("an AWSAccount");
        Accounts::new([&object])
    }

    fn printed(spec: Value) -> Result<Vec<(String, Vec<String>)>, String> {
        let accounts = accounts(spec);
        let document = policy(accounts.by_name("prod").expect("prod"))?;
        let list = |items: Vec<&str>| items.into_iter().map(ToOwned::to_owned).collect();
        Ok(document
            .statements()
            .iter()
            .map(|s| {
                (
                    s.sid().unwrap_or_default().to_owned(),
                    list(s.strings("Action")),
                )
            })
            .collect())
    }

    const GRANT: &str =
        r#"{"namespaces": {"matchLabels": {"a": "b"}}, "sources": [{"bucket": "finance-*"}]}"#;

    fn spec(extra: &[(&str, Value)]) -> Value {
        let mut spec = json!({"accountID": "111111111111", "grants": [serde_json::from_str::<Value>(GRANT).expect("a grant")]});
        for (key, value) in extra {
            spec[*key] = value.clone();
        }
        spec
    }

    #[test]
    fn without_grants_nothing_is_needed() {
        assert_eq!(printed(json!({"accountID": "111111111111"})), Ok(vec![]));
    }

    #[test]
    fn only_what_is_in_use_is_printed() {
        let sids = |statements: Vec<(String, Vec<String>)>| {
            statements
                .into_iter()
                .map(|(sid, _)| sid)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            printed(spec(&[])).map(sids),
            Ok([
                "SourceBuckets",
                "ReplicationRoles",
                "AttachReplicationPolicies",
                "ReplicationPolicies",
                "ListRoles",
                "PassReplicationRoles"
            ]
            .map(String::from)
            .to_vec())
        );
        let grants = json!([{"namespaces": {"matchLabels": {"a": "b"}}, "destinations": [{"bucket": "dr-*"}], "kmsKeys": ["arn:aws:kms:*:111111111111:key/*"]}]);
        let checked = printed(spec(&[
            ("grants", grants),
            (
                "policies",
                json!({"bucketPolicy": "Check", "keyPolicy": "Check"}),
            ),
        ]))
        .expect("a policy");
        assert!(
            checked.iter().all(|(_, actions)| actions
                .iter()
                .all(|action| !action.contains(":Put") && !action.contains(":Delete"))),
            "{checked:?}"
        );
    }

    #[test]
    fn roles_of_others_only_get_an_inline_policy_and_only_where_that_is_granted() {
        let role = "arn:aws:iam::111111111111:role/theirs";
        let with = |allow: Value| {
            let mut grant: Value = serde_json::from_str(GRANT).expect("a grant");
            grant["allow"] = allow;
            let accounts = accounts(spec(&[
                ("roles", json!({"mergeableRoleARNs": [role]})),
                ("grants", json!([grant])),
            ]));
            let statements = policy(accounts.by_name("prod").expect("prod"))
                .expect("a policy")
                .statements();
            let on_role = statements
                .into_iter()
                .filter(|statement| statement.strings("Resource").contains(&role));
            on_role
                .flat_map(|statement| {
                    statement
                        .strings("Action")
                        .into_iter()
                        .map(ToOwned::to_owned)
                        .collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            with(json!(["MergeConfiguration"])),
            [
                GET_ROLE,
                LIST_ROLE_POLICIES,
                LIST_ATTACHED_ROLE_POLICIES,
                GET_ROLE_POLICY,
                PUT_ROLE_POLICY,
                DELETE_ROLE_POLICY,
                PASS_ROLE
            ]
        );
        assert_eq!(with(json!([])), Vec::<String>::new());
    }

    #[test]
    fn only_policies_of_ours_can_be_attached() {
        let accounts = accounts(spec(&[(
            "roles",
            json!({"permissionsBoundaryARN": "arn:aws:iam::111111111111:policy/b"}),
        )]));
        let document = policy(accounts.by_name("prod").expect("prod")).expect("a policy");
        let attach: Vec<_> = document
            .statements()
            .into_iter()
            .filter(|s| s.strings("Action").contains(&ATTACH_ROLE_POLICY))
            .collect();
        assert_eq!(attach.len(), 1);
        assert_eq!(
            attach[0].condition("ArnLike", "iam:PolicyARN"),
            ["arn:aws:iam::111111111111:policy/brepl-*"]
        );
        assert_eq!(
            attach[0].condition("StringEquals", "iam:PermissionsBoundary"),
            ["arn:aws:iam::111111111111:policy/b"]
        );
    }

    #[test]
    fn with_a_boundary_roles_are_made_only_with_it() {
        let statements = printed(spec(&[(
            "roles",
            json!({"permissionsBoundaryARN": "arn:aws:iam::111111111111:policy/b"}),
        )]))
        .expect("a policy");
        let bound = statements
            .iter()
            .find(|(sid, _)| sid == "BoundReplicationRoles")
            .expect("bound");
        assert_eq!(bound.1, BOUND);
        let free = statements
            .iter()
            .find(|(sid, _)| sid == "ReplicationRoles")
            .expect("free");
        assert!(
            free.1
                .iter()
                .all(|action| !BOUND.contains(&action.as_str()))
        );
    }

    #[test]
    fn a_pattern_that_covers_the_operators_own_role_is_refused() {
        let own =
            json!({"roleARN": "arn:aws:iam::111111111111:role/brepl-operator", "externalID": "xx"});
        let error = printed(spec(&[("assumeRole", own)])).expect_err("refused");
        assert!(
            error.contains("brepl-operator") && error.contains("another name or path"),
            "{error}"
        );
        let own = json!({"roleARN": "arn:aws:iam::111111111111:role/operator", "externalID": "xx"});
        let listed = json!({"mergeableRoleARNs": ["arn:aws:iam::111111111111:role/operator"]});
        let error = printed(spec(&[("assumeRole", own), ("roles", listed)])).expect_err("refused");
        assert!(
            error.contains("is among roles.mergeableRoleARNs"),
            "{error}"
        );
    }

    #[test]
    fn a_boundary_that_the_operator_could_change_is_refused() {
        let boundary =
            json!({"permissionsBoundaryARN": "arn:aws:iam::111111111111:policy/brepl-boundary"});
        let error = printed(spec(&[("roles", boundary)])).expect_err("refused");
        assert!(error.contains("the operator could change it"), "{error}");
    }
}
