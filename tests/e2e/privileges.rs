//! The operator's own rights: all that it asks of Kubernetes and AWS is allowed, and all that is allowed is asked for.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, ensure};
use bucket_replication_operator::cloud::calls;
use serde_json::{Value, json};
use testbed::{
    cloud::EXTERNAL_ID,
    proxy::all_calls,
    stage::{SOURCE_REGION, Stage, until},
};

use crate::{Ground, door::set_default_key};

/// Group, resource and verb.
type Permission = (String, String, String);

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(ToOwned::to_owned))
        .collect()
}

pub async fn the_cluster_role_allows_what_the_suite_asked_for_and_no_more(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut rules = vec![];
    for role in [
        ["clusterrole", "bucket-replication-operator"],
        ["role", "bucket-replication-operator-lease"],
    ] {
        let words = [
            &["get"],
            role.as_slice(),
            &["-n", "bucket-replication", "-o", "json"],
        ]
        .concat();
        let role: Value = serde_json::from_str(&ground.environment.kubectl(&words).await?)?;
        rules.extend(role["rules"].as_array().cloned().unwrap_or_default());
    }
    let mut allowed: BTreeSet<Permission> = BTreeSet::new();
    for rule in rules {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                let verbs = strings(&rule["verbs"]).into_iter();
                allowed.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    let mut asked: BTreeSet<Permission> = BTreeSet::new();
    for line in fs::read_to_string(ground.environment.audit_log())?.lines() {
        let event: Value = serde_json::from_str(line)?;
        let text = |pointer: &str| {
            event
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let resource = [text("/objectRef/resource"), text("/objectRef/subresource")].join("/");
        asked.insert((
            text("/objectRef/apiGroup"),
            resource.trim_end_matches('/').to_owned(),
            text("/verb"),
        ));
    }
    ensure!(asked.len() > 5, "the audit log is nearly empty: {asked:?}");
    let (unused, missing) = (&allowed - &asked, &asked - &allowed);
    ensure!(
        allowed == asked,
        "allowed and never asked for: {unused:?}\nasked for and not allowed: {missing:?}"
    );
    Ok(())
}

pub async fn iam_policy_allows_what_the_suite_called_and_no_more(_: &Ground) -> anyhow::Result<()> {
    let calls = all_calls();
    let called: BTreeSet<_> = calls
        .iter()
        .filter(|call| call.service != "sts")
        .map(|call| call.action.as_str())
        // HeadBucket says in which Region a bucket is, also if it refuses.
        .filter(|action| *action != "s3:ListBucket")
        .collect();
    let allowed = calls::actions();
    // No calls of their own: PutBucketReplication and PutObject need them.
    let without_calls = [
        calls::action::PASS_ROLE,
        calls::action::PUT_OBJECT_TAGGING,
        calls::action::GENERATE_DATA_KEY,
    ];
    let expected: BTreeSet<_> = allowed
        .iter()
        .copied()
        .filter(|action| !without_calls.contains(action))
        .collect();
    let (unused, missing) = (&expected - &called, &called - &expected);
    ensure!(
        expected == called,
        "allowed and never called: {unused:?}\ncalled and not allowed: {missing:?}"
    );
    let bare: Vec<_> = calls
        .iter()
        .filter(|call| call.service == "s3" && call.expected_owner.is_none())
        .collect();
    ensure!(
        bare.is_empty(),
        "without the expected bucket owner: {bare:?}"
    );
    let field = |call: &testbed::proxy::Call, name: &str| {
        call.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let assumed: Vec<_> = calls
        .iter()
        .filter(|call| call.action == "sts:AssumeRole")
        .collect();
    let careless = assumed.iter().find(|call| {
        field(call, "ExternalId").as_deref() != Some(EXTERNAL_ID)
            || !field(call, "RoleSessionName").is_some_and(|name| name.starts_with("brepl-"))
    });
    ensure!(assumed.len() > 20 && careless.is_none(), "{careless:?}");
    Ok(())
}

/// What a policy allows but for `action`, which is taken out of it.
fn without(policy: &str, action: &str) -> anyhow::Result<String> {
    let mut policy: Value = serde_json::from_str(policy)?;
    for statement in policy["Statement"].as_array_mut().into_iter().flatten() {
        if let Some(actions) = statement["Action"].as_array_mut() {
            actions.retain(|allowed| allowed != action);
        }
    }
    policy["Statement"]
        .as_array_mut()
        .context("no statements")?
        .retain(|statement| statement["Action"] != json!([]));
    Ok(policy.to_string())
}

/// An object for which nearly everything is read and written.
fn eager(stage: &Stage<'_>) -> Value {
    let mut object = stage.replication();
    object["spec"]["versioning"] = json!("Enable");
    object["spec"]["source"] =
        json!({"accountName": stage.source_account_name(), "bucket": stage.source_bucket});
    object
}

/// KMS refuses with 400 ("Common Error Types" in the KMS API Reference), and the emulator with 403.
fn is_refusal(call: &testbed::proxy::Call) -> bool {
    call.status == 403 || (call.service == "kms" && call.status == 400)
}

/// Lets an object come and go with `action` taken out of the operator's policies, and gives it back once the lack of it shows.
async fn is_missed(
    stage: &Stage<'_>,
    policies: &[String; 2],
    action: &str,
) -> anyhow::Result<bool> {
    let owners = [&stage.source, &stage.destination];
    for (owner, policy) in owners.iter().zip(policies) {
        owner.set_operator_policy(&without(policy, action)?).await?;
    }
    let _ = stage.proxy.take();
    stage
        .source
        .set_versioning(SOURCE_REGION, &stage.source_bucket, false)
        .await
        .with_context(|| format!("something is left from before {action} was taken away"))?;
    stage.apply(&eager(stage)).await?;
    let refused = || {
        stage
            .proxy
            .calls()
            .iter()
            .any(|call| call.action == action && is_refusal(call))
    };
    let settled = until(Duration::from_secs(20), async || {
        let ready = stage.get("tax").await?["status"]["conditions"][6]["status"] == "True";
        Ok((refused() || ready).then_some(()))
    });
    settled
        .await?
        .with_context(|| format!("without {action}, nothing comes of the object"))?;
    let mut missed = refused();
    if !missed {
        stage.begin_deletion("tax").await?;
        until(Duration::from_secs(20), async || {
            Ok((refused() || stage.get("tax").await?.is_null()).then_some(()))
        })
        .await?;
        missed = refused();
    }
    for (owner, policy) in owners.iter().zip(policies) {
        owner.set_operator_policy(policy).await?;
    }
    if !stage.get("tax").await?.is_null() {
        stage.delete("tax").await?;
    }
    Ok(missed)
}

/// Those that the emulator does not check, or that only seldom cases need: `tests/oracle.rs` and the suite's own call log show them.
const NOT_IN_A_PLAIN_CYCLE: [&str; 24] = [
    // Of metrics: tests/health.rs.
    "cloudwatch:GetMetricData",
    "iam:AttachRolePolicy",
    "iam:CreatePolicy",
    "iam:CreatePolicyVersion",
    "iam:DeletePolicy",
    "iam:DeletePolicyVersion",
    "iam:DetachRolePolicy",
    "iam:GetPolicy",
    "iam:GetPolicyVersion",
    "iam:ListAttachedRolePolicies",
    "iam:ListPolicyVersions",
    "iam:ListRolePolicies",
    "iam:ListRoles",
    "iam:PassRole",
    "iam:PutRolePermissionsBoundary",
    "iam:TagRole",
    "iam:UpdateAssumeRolePolicy",
    "s3:GetBucketTagging",
    // Of canaries: tests/verification.rs.
    "kms:GenerateDataKey",
    "s3:DeleteObjectVersion",
    "s3:GetObjectVersion",
    "s3:ListBucketVersions",
    "s3:PutObject",
    "s3:PutObjectTagging",
];

async fn each_is_needed(ground: &Ground, name: &str, share: usize) -> anyhow::Result<()> {
    let mut stage = ground.stage(name).await?;
    let mut accounts = [stage.source_account(), stage.destination_account()];
    let mut policies = [String::new(), String::new()];
    for ((account, policy), owner) in accounts
        .iter_mut()
        .zip(&mut policies)
        .zip([&stage.source, &stage.destination])
    {
        account["spec"]["grants"][0]["allow"] = json!(["EnableVersioning"]);
        stage.environment.apply(&account.to_string()).await?;
        *policy = stage.printed_policy(account).await?;
        owner.set_operator_policy(policy).await?;
    }
    stage.start().await?;
    let actions: Vec<_> = calls::actions()
        .into_iter()
        .filter(|action| !NOT_IN_A_PLAIN_CYCLE.contains(action))
        .collect();
    ensure!(actions.len() > 20, "{actions:?}");
    // The door follows the accounts' new grants with a short delay.
    set_default_key(&stage, &stage.source_bucket).await?;
    until(Duration::from_secs(20), async || {
        Ok(stage.apply(&eager(&stage)).await.ok())
    })
    .await?
    .context("the object is refused")?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await?;
    let mut unneeded = vec![];
    for action in actions.into_iter().skip(share).step_by(3) {
        if !is_missed(&stage, &policies, action).await? {
            unneeded.push(action);
        }
    }
    ensure!(unneeded.is_empty(), "nobody misses {unneeded:?}");
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn every_action_of_the_printed_policy_is_needed_first_third(
    ground: &Ground,
) -> anyhow::Result<()> {
    each_is_needed(ground, "needed0", 0).await
}

pub async fn every_action_of_the_printed_policy_is_needed_second_third(
    ground: &Ground,
) -> anyhow::Result<()> {
    each_is_needed(ground, "needed1", 1).await
}

pub async fn every_action_of_the_printed_policy_is_needed_last_third(
    ground: &Ground,
) -> anyhow::Result<()> {
    each_is_needed(ground, "needed2", 2).await
}
