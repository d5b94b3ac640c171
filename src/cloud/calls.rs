//! Every call that the operator makes, by its IAM action and resource: the table from which the operator's own policy is printed.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    api::aws_account::{Permission, PolicyMode},
    replication::{
        accounts::{Account, Accounts},
        policy::Document,
    },
};

/// The actions as IAM names them ("Service Authorization Reference").
#[allow(missing_docs, reason = "they are AWS's own names")]
pub mod action {
    pub const ASSUME_ROLE: &str = "sts:AssumeRole";
    pub const GET_CALLER_IDENTITY: &str = "sts:GetCallerIdentity";
    pub const GET_BUCKET_LOCATION: &str = "s3:GetBucketLocation";
    pub const GET_BUCKET_VERSIONING: &str = "s3:GetBucketVersioning";
    pub const PUT_BUCKET_VERSIONING: &str = "s3:PutBucketVersioning";
    pub const GET_ENCRYPTION_CONFIGURATION: &str = "s3:GetEncryptionConfiguration";
    pub const GET_REPLICATION_CONFIGURATION: &str = "s3:GetReplicationConfiguration";
    /// Deleting the configuration needs the same action.
    pub const PUT_REPLICATION_CONFIGURATION: &str = "s3:PutReplicationConfiguration";
    pub const GET_BUCKET_REQUEST_PAYMENT: &str = "s3:GetBucketRequestPayment";
    pub const GET_BUCKET_OWNERSHIP_CONTROLS: &str = "s3:GetBucketOwnershipControls";
    pub const GET_BUCKET_OBJECT_LOCK_CONFIGURATION: &str = "s3:GetBucketObjectLockConfiguration";
    pub const GET_BUCKET_TAGGING: &str = "s3:GetBucketTagging";
    pub const GET_BUCKET_POLICY: &str = "s3:GetBucketPolicy";
    pub const PUT_BUCKET_POLICY: &str = "s3:PutBucketPolicy";
    pub const DELETE_BUCKET_POLICY: &str = "s3:DeleteBucketPolicy";
    pub const DESCRIBE_KEY: &str = "kms:DescribeKey";
    pub const GET_KEY_POLICY: &str = "kms:GetKeyPolicy";
    pub const PUT_KEY_POLICY: &str = "kms:PutKeyPolicy";
    pub const LIST_ROLES: &str = "iam:ListRoles";
    pub const GET_ROLE: &str = "iam:GetRole";
    pub const GET_ROLE_POLICY: &str = "iam:GetRolePolicy";
    pub const CREATE_ROLE: &str = "iam:CreateRole";
    /// Creating a role with tags needs it too.
    pub const TAG_ROLE: &str = "iam:TagRole";
    pub const UPDATE_ASSUME_ROLE_POLICY: &str = "iam:UpdateAssumeRolePolicy";
    pub const PUT_ROLE_POLICY: &str = "iam:PutRolePolicy";
    pub const PUT_ROLE_PERMISSIONS_BOUNDARY: &str = "iam:PutRolePermissionsBoundary";
    pub const DELETE_ROLE_POLICY: &str = "iam:DeleteRolePolicy";
    pub const DELETE_ROLE: &str = "iam:DeleteRole";
    pub const LIST_ATTACHED_ROLE_POLICIES: &str = "iam:ListAttachedRolePolicies";
    pub const ATTACH_ROLE_POLICY: &str = "iam:AttachRolePolicy";
    pub const DETACH_ROLE_POLICY: &str = "iam:DetachRolePolicy";
    pub const LIST_POLICY_VERSIONS: &str = "iam:ListPolicyVersions";
    pub const GET_POLICY: &str = "iam:GetPolicy";
    pub const GET_POLICY_VERSION: &str = "iam:GetPolicyVersion";
    pub const CREATE_POLICY: &str = "iam:CreatePolicy";
    pub const CREATE_POLICY_VERSION: &str = "iam:CreatePolicyVersion";
    pub const DELETE_POLICY_VERSION: &str = "iam:DeletePolicyVersion";
    pub const DELETE_POLICY: &str = "iam:DeletePolicy";
    /// No call of its own: writing a replication configuration needs it.
    pub const PASS_ROLE: &str = "iam:PassRole";
}

use action::{
    ATTACH_ROLE_POLICY, CREATE_POLICY, CREATE_POLICY_VERSION, CREATE_ROLE, DELETE_BUCKET_POLICY,
    DELETE_POLICY, DELETE_POLICY_VERSION, DELETE_ROLE, DELETE_ROLE_POLICY, DESCRIBE_KEY,
    DETACH_ROLE_POLICY, GET_BUCKET_LOCATION, GET_BUCKET_OBJECT_LOCK_CONFIGURATION,
    GET_BUCKET_OWNERSHIP_CONTROLS, GET_BUCKET_POLICY, GET_BUCKET_REQUEST_PAYMENT,
    GET_BUCKET_TAGGING, GET_BUCKET_VERSIONING, GET_ENCRYPTION_CONFIGURATION, GET_KEY_POLICY,
    GET_POLICY, GET_POLICY_VERSION, GET_REPLICATION_CONFIGURATION, GET_ROLE, GET_ROLE_POLICY,
    LIST_ATTACHED_ROLE_POLICIES, LIST_POLICY_VERSIONS, LIST_ROLES, PASS_ROLE, PUT_BUCKET_POLICY,
    PUT_BUCKET_VERSIONING, PUT_KEY_POLICY, PUT_REPLICATION_CONFIGURATION,
    PUT_ROLE_PERMISSIONS_BOUNDARY, PUT_ROLE_POLICY, TAG_ROLE, UPDATE_ASSUME_ROLE_POLICY,
};

/// The resource of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// Source buckets that grants name.
    Sources,
    /// Destination buckets that grants name.
    Destinations,
    /// Keys that grants name.
    Keys,
    /// Replication roles.
    Roles,
    /// Managed policies of replication roles.
    Policies,
    /// The permissions boundary of replication roles.
    Boundary,
    /// The account: IAM has no resource for the action.
    Account,
    /// Unmanaged roles that may get an inline policy, if a grant allows `MergeConfiguration`.
    MergeableRoles,
}

/// When a call is made at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// If a grant allows `EnableVersioning`.
    Versioning,
    /// If `policies.bucketPolicy` is Manage.
    BucketPolicies,
    /// If `policies.keyPolicy` is Manage.
    KeyPolicies,
    /// If `roles.permissionsBoundaryARN` is set.
    Boundary,
}

const CALLS: &[(On, When, &str)] = &[
    (On::Sources, When::Always, GET_BUCKET_LOCATION),
    (On::Sources, When::Always, GET_BUCKET_VERSIONING),
    (On::Sources, When::Always, GET_ENCRYPTION_CONFIGURATION),
    (On::Sources, When::Always, GET_BUCKET_POLICY),
    (
        On::Sources,
        When::Always,
        GET_BUCKET_OBJECT_LOCK_CONFIGURATION,
    ),
    (On::Sources, When::Always, GET_BUCKET_TAGGING),
    (On::Sources, When::Always, GET_REPLICATION_CONFIGURATION),
    (On::Sources, When::Always, PUT_REPLICATION_CONFIGURATION),
    (On::Sources, When::Versioning, PUT_BUCKET_VERSIONING),
    (On::Destinations, When::Always, GET_BUCKET_LOCATION),
    (On::Destinations, When::Always, GET_BUCKET_VERSIONING),
    (
        On::Destinations,
        When::Always,
        GET_REPLICATION_CONFIGURATION,
    ),
    (On::Destinations, When::Always, GET_BUCKET_REQUEST_PAYMENT),
    (
        On::Destinations,
        When::Always,
        GET_BUCKET_OWNERSHIP_CONTROLS,
    ),
    (
        On::Destinations,
        When::Always,
        GET_BUCKET_OBJECT_LOCK_CONFIGURATION,
    ),
    (On::Destinations, When::Always, GET_BUCKET_TAGGING),
    (On::Destinations, When::Always, GET_BUCKET_POLICY),
    (On::Destinations, When::BucketPolicies, PUT_BUCKET_POLICY),
    (On::Destinations, When::BucketPolicies, DELETE_BUCKET_POLICY),
    (On::Destinations, When::Versioning, PUT_BUCKET_VERSIONING),
    (On::Keys, When::Always, DESCRIBE_KEY),
    (On::Keys, When::Always, GET_KEY_POLICY),
    (On::Keys, When::KeyPolicies, PUT_KEY_POLICY),
    (On::Roles, When::Always, GET_ROLE),
    (On::Roles, When::Always, GET_ROLE_POLICY),
    (On::Roles, When::Always, CREATE_ROLE),
    (On::Roles, When::Always, TAG_ROLE),
    (On::Roles, When::Always, UPDATE_ASSUME_ROLE_POLICY),
    (On::Roles, When::Always, PUT_ROLE_POLICY),
    (On::Roles, When::Boundary, PUT_ROLE_PERMISSIONS_BOUNDARY),
    (On::Roles, When::Always, DELETE_ROLE_POLICY),
    (On::Roles, When::Always, DELETE_ROLE),
    (On::Roles, When::Always, LIST_ATTACHED_ROLE_POLICIES),
    (On::Roles, When::Always, ATTACH_ROLE_POLICY),
    (On::Roles, When::Always, DETACH_ROLE_POLICY),
    (On::Policies, When::Always, LIST_POLICY_VERSIONS),
    (On::Policies, When::Always, GET_POLICY_VERSION),
    (On::Policies, When::Always, CREATE_POLICY),
    (On::Policies, When::Always, CREATE_POLICY_VERSION),
    (On::Policies, When::Always, DELETE_POLICY_VERSION),
    (On::Policies, When::Always, DELETE_POLICY),
    (On::Boundary, When::Always, GET_POLICY),
    (On::Boundary, When::Always, GET_POLICY_VERSION),
    (On::Roles, When::Always, PASS_ROLE),
    (On::Account, When::Always, LIST_ROLES),
    (On::MergeableRoles, When::Always, GET_ROLE_POLICY),
    (On::MergeableRoles, When::Always, PUT_ROLE_POLICY),
    (On::MergeableRoles, When::Always, DELETE_ROLE_POLICY),
    (On::MergeableRoles, When::Always, PASS_ROLE),
];

/// The actions that IAM can bind to a permissions boundary ("Permissions boundaries for IAM entities" in the IAM User Guide).
const BOUND: &[&str] = &[CREATE_ROLE, PUT_ROLE_POLICY, PUT_ROLE_PERMISSIONS_BOUNDARY];

/// Those that name a policy.
const ATTACHING: &[&str] = &[ATTACH_ROLE_POLICY, DETACH_ROLE_POLICY];

/// Every action that a policy of the operator can allow.
#[must_use]
pub fn actions() -> BTreeSet<&'static str> {
    CALLS.iter().map(|(_, _, action)| *action).collect()
}

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
    let within = |pattern: &str, arn: &str| wildmatch::WildMatch::new(pattern).matches(arn);
    if let Some(own) = account.assume_role.as_ref().map(|own| &own.role_arn) {
        let listed = account
            .roles
            .mergeable_role_arns
            .contains(own)
            .then_some("roles.mergeableRoleARNs");
        if let Some(place) = within(&roles, own).then_some(roles.as_str()).or(listed) {
            return Err(format!(
                "AWSAccount {}: the operator's own role {own} is among {place}, so it could change its own permissions: give it another name or path",
                account.name
            ));
        }
    }
    if let Some(boundary) = account
        .roles
        .permissions_boundary
        .as_ref()
        .filter(|boundary| within(&policies, boundary))
    {
        return Err(format!(
            "AWSAccount {}: the permissions boundary {boundary} is among {policies}, so the operator could change it: give it another name or path",
            account.name
        ));
    }
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
    let boundary = account.roles.permissions_boundary.as_deref();
    let actions = |on: On, keep: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let wanted = CALLS.iter().filter(|(table, when, action)| {
            *table == on && applies(account, *when) && keep(action)
        });
        wanted.map(|(_, _, action)| *action).collect()
    };
    let any = |_: &str| true;
    let has_sources = !sources.is_empty();
    let mut statements = vec![
        statement("SourceBuckets", &actions(On::Sources, &any), sources, None),
        statement(
            "DestinationBuckets",
            &actions(On::Destinations, &any),
            destinations,
            None,
        ),
        statement("Keys", &actions(On::Keys, &any), keys, None),
    ];
    if has_sources {
        let bound = |action: &str| boundary.is_some() && BOUND.contains(&action);
        let attaches = |action: &str| ATTACHING.contains(&action);
        let free = actions(On::Roles, &|action| {
            action != PASS_ROLE && !bound(action) && !attaches(action)
        });
        statements.push(statement(
            "ReplicationRoles",
            &free,
            vec![roles.clone()],
            None,
        ));
        let condition =
            boundary.map(|arn| json!({ "StringEquals": { "iam:PermissionsBoundary": arn } }));
        statements.push(statement(
            "BoundReplicationRoles",
            &actions(On::Roles, &bound),
            vec![roles.clone()],
            condition.clone(),
        ));
        // Without the condition, the operator could attach any policy of the account to its roles, also that of administrators.
        let mut only_ours = json!({ "ArnLike": { "iam:PolicyARN": policies } });
        if let (Some(only_ours), Some(Value::Object(bound))) =
            (only_ours.as_object_mut(), condition)
        {
            only_ours.extend(bound);
        }
        statements.push(statement(
            "AttachReplicationPolicies",
            &actions(On::Roles, &attaches),
            vec![roles.clone()],
            Some(only_ours),
        ));
        let boundaries = boundary.map(ToOwned::to_owned).into_iter().collect();
        statements.push(statement(
            "PermissionsBoundary",
            &actions(On::Boundary, &any),
            boundaries,
            None,
        ));
        statements.push(statement(
            "ReplicationPolicies",
            &actions(On::Policies, &any),
            vec![policies],
            None,
        ));
        statements.push(statement(
            "ListRoles",
            &actions(On::Account, &any),
            vec!["*".to_owned()],
            None,
        ));
        let mergeable = if account.grants_to_anyone(Permission::MergeConfiguration) {
            account.roles.mergeable_role_arns.clone()
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
        let condition = json!({ "StringEquals": { "iam:PassedToService": "s3.amazonaws.com" } });
        let passed = mergeable.into_iter().chain([roles]).collect();
        statements.push(statement(
            "PassReplicationRoles",
            &[PASS_ROLE],
            passed,
            Some(condition),
        ));
    }
    Ok(document(statements))
}

/// The policy of the operator's own identity: it may assume the roles that the accounts name, and nothing else.
#[must_use]
pub fn identity_policy(accounts: &Accounts) -> Document {
    let roles = accounts
        .all()
        .filter_map(|account| account.assume_role.as_ref())
        .map(|role| role.role_arn.clone())
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

fn applies(account: &Account, when: When) -> bool {
    match when {
        When::Always => true,
        When::Versioning => account.grants_to_anyone(Permission::EnableVersioning),
        When::BucketPolicies => account.policies.bucket_policy == PolicyMode::Manage,
        When::KeyPolicies => account.policies.key_policy == PolicyMode::Manage,
        When::Boundary => account.roles.permissions_boundary.is_some(),
    }
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
