//! A bucket that others use, too.

use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_s3::types::{
    DeleteMarkerReplication, DeleteMarkerReplicationStatus, Destination, ReplicationConfiguration,
    ReplicationRule, ReplicationRuleFilter, ReplicationRuleStatus,
};
use serde_json::{Value, json};
use testbed::{
    proxy::{Call, Fault},
    stage::{DESTINATION_REGION, SOURCE_REGION, Stage, until},
};

use crate::Ground;

fn foreign_rule(stage: &Stage<'_>) -> anyhow::Result<ReplicationRule> {
    let destination = Destination::builder()
        .bucket(format!("arn:aws:s3:::{}", stage.destination_bucket))
        .account(&stage.destination.id);
    let markers = DeleteMarkerReplication::builder()
        .status(DeleteMarkerReplicationStatus::Disabled)
        .build();
    let rule = ReplicationRule::builder()
        .id("theirs")
        .priority(7)
        .status(ReplicationRuleStatus::Enabled);
    let rule = rule
        .filter(ReplicationRuleFilter::builder().prefix("Theirs/").build())
        .delete_marker_replication(markers);
    Ok(rule.destination(destination.build()?).build()?)
}

async fn existing(stage: &Stage<'_>) -> anyhow::Result<ReplicationConfiguration> {
    stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?
        .context("no configuration")
}

async fn put(stage: &Stage<'_>, configuration: ReplicationConfiguration) -> anyhow::Result<()> {
    let s3 = stage.source.s3(SOURCE_REGION);
    s3.put_bucket_replication()
        .bucket(&stage.source_bucket)
        .replication_configuration(configuration)
        .send()
        .await?;
    Ok(())
}

/// All objects of the test, by namespace and name, with the status of `Ready`.
async fn readiness(stage: &Stage<'_>) -> anyhow::Result<Vec<(String, String)>> {
    let text = stage
        .environment
        .kubectl(&[
            "get",
            "bucketreplications",
            "--all-namespaces",
            "-o",
            "json",
        ])
        .await?;
    let list: Value = serde_json::from_str(&text)?;
    let here = |object: &&Value| object["spec"]["source"]["bucket"] == stage.source_bucket.as_str();
    let ready = |object: &Value| {
        let name = format!(
            "{}/{}",
            object["metadata"]["namespace"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap_or_default()
        );
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ready = conditions
            .iter()
            .find(|condition| condition["type"] == "Ready")
            .cloned()
            .unwrap_or_default();
        (
            name,
            format!(
                "{} {}",
                ready["status"].as_str().unwrap_or_default(),
                ready["reason"].as_str().unwrap_or_default()
            ),
        )
    };
    Ok(list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(here)
        .map(ready)
        .collect())
}

pub async fn fifty_objects_in_ten_namespaces_are_one_configuration(
    ground: &Ground,
) -> anyhow::Result<()> {
    let flags = [
        ("DRIFT_PERIOD", "20s"),
        ("DRIFT_GRACE", "500ms"),
        ("SETTLE_DELAY", "2s"),
        ("DRAIN_PERIOD", "0s"),
        ("LONGEST_RETRY", "3s"),
    ];
    let mut stage = ground.stage_with("crowd", &flags).await?;
    stage.namespaces = (0..10).map(|number| format!("crowd-{number}")).collect();
    let crowd = json!({"matchLabels": {"crowd": "yes"}});
    let mut documents: Vec<_> = stage
        .namespaces
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"crowd": "yes"}}}))
        .collect();
    for mut account in [stage.source_account(), stage.destination_account()] {
        account["spec"]["grants"][0]["namespaces"] = crowd.clone();
        documents.push(account);
    }
    let all = |documents: &[Value]| {
        documents
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n---\n")
    };
    stage.environment.apply(&all(&documents)).await?;
    let objects: Vec<_> = (0..50)
        .map(|number| {
            let mut object = stage.replication();
            object["metadata"] = json!({"name": format!("tax-{number}"), "namespace": stage.namespaces[number % 10]});
            object["spec"]["rules"] = json!([{"name": "tax", "prefix": format!("Tax/{number}/")}]);
            object
        })
        .collect();
    // The emulator has no resource for CreatePolicy, and never matches iam:PolicyARN ("Actions defined by IAM" has both).
    stage
        .source
        .allow_for_emulator(
            &[
                "iam:CreatePolicy",
                "iam:AttachRolePolicy",
                "iam:DetachRolePolicy",
            ],
            "*",
        )
        .await?;
    stage.start().await?;
    stage.environment.apply(&all(&objects)).await?;
    let ready = async || {
        Ok(readiness(&stage)
            .await?
            .iter()
            .all(|(_, ready)| ready == "True Ready")
            .then_some(()))
    };
    until(Duration::from_mins(3), ready)
        .await?
        .with_context(|| "not all became ready")?;
    ensure!(readiness(&stage).await?.len() == 50);
    ensure!(existing(&stage).await?.rules().len() == 50);
    let calls = stage.proxy.take();
    let puts = calls
        .iter()
        .filter(|call| call.action == "s3:PutReplicationConfiguration")
        .count();
    ensure!(puts <= 3, "{puts} configurations were written");
    ensure!(
        calls
            .iter()
            .any(|call| call.action == "iam:AttachRolePolicy"),
        "50 objects fit into an inline policy"
    );
    ensure!(calls.iter().all(|call| call.status != 403), "{calls:?}");

    // An edit of the youngest rewrites the managed policy that holds their permissions.
    let edited: Vec<_> = objects
        .iter()
        .skip(40)
        .cloned()
        .map(|mut object| {
            object["spec"]["rules"][0]["name"] = json!("edited");
            object["spec"]["rules"][0]["prefix"] = json!(format!(
                "Tax/{}/edited/",
                object["metadata"]["name"].as_str().unwrap_or_default()
            ));
            object
        })
        .collect();
    stage.environment.apply(&all(&edited)).await?;
    let edited = async || {
        Ok((existing(&stage)
            .await?
            .rules()
            .iter()
            .filter(|rule| rule.id().is_some_and(|id| id.ends_with("/edited")))
            .count()
            == 10)
            .then_some(()))
    };
    // The role has no room for the former and new permissions of all ten at once, so that they are served in turns.
    until(Duration::from_mins(3), edited)
        .await?
        .context("the edit is not written")?;
    until(Duration::from_mins(2), ready)
        .await?
        .with_context(|| "not all are ready after the edit")?;
    let rewritten = stage.proxy.take();
    ensure!(
        rewritten
            .iter()
            .any(|call| call.action == "iam:CreatePolicyVersion"),
        "no managed policy was rewritten"
    );

    let first = "crowd-0";
    let delete = async |namespace: &str, rest: &[&str]| {
        let words = [
            &[
                "delete",
                "bucketreplications",
                "-n",
                namespace,
                "--wait=false",
            ],
            rest,
        ]
        .concat();
        stage.environment.kubectl(&words).await
    };
    for namespace in stage
        .namespaces
        .iter()
        .filter(|namespace| *namespace != first)
    {
        delete(namespace, &["--all"]).await?;
    }
    delete(first, &["tax-10", "tax-20", "tax-30", "tax-40"]).await?;
    let written = async || {
        Ok(stage
            .proxy
            .calls()
            .iter()
            .any(|call| call.action == "s3:PutReplicationConfiguration")
            .then_some(()))
    };
    until(Duration::from_mins(2), written)
        .await?
        .context("nothing was removed")?;
    stage.crash();
    stage.start().await?;
    let one_left = async || {
        Ok(
            (readiness(&stage).await? == [("crowd-0/tax-0".to_owned(), "True Ready".to_owned())])
                .then_some(()),
        )
    };
    until(Duration::from_mins(3), one_left)
        .await?
        .with_context(|| "49 do not go")?;
    let rules = existing(&stage).await?.rules().to_vec();
    ensure!(
        rules.len() == 1
            && rules[0].filter().and_then(ReplicationRuleFilter::prefix) == Some("Tax/0/"),
        "{rules:?}"
    );
    let role = stage
        .source
        .replication_roles()
        .await?
        .pop()
        .context("no role")?;
    let attached = stage
        .source
        .iam()
        .list_attached_role_policies()
        .role_name(&role)
        .send()
        .await?;
    ensure!(attached.attached_policies().is_empty(), "{attached:?}");
    let policy = stage
        .source
        .iam()
        .get_role_policy()
        .role_name(&role)
        .policy_name(&role)
        .send()
        .await?;
    ensure!(
        policy.policy_document().matches("Sid").count() == 5,
        "{}",
        policy.policy_document()
    );
    stage
        .environment
        .kubectl(&[
            "delete",
            "bucketreplication",
            "tax-0",
            "-n",
            first,
            "--timeout=30s",
        ])
        .await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)?;
    let policies = stage
        .source
        .iam()
        .list_policies()
        .scope(aws_sdk_iam::types::PolicyScopeType::Local)
        .send()
        .await?;
    ensure!(policies.policies().is_empty(), "{policies:?}");
    Ok(())
}

/// A configuration that somebody made by hand, or with Terraform, under a role of their own.
pub async fn a_configuration_of_somebody_else_is_merged_with_and_left_as_it_was(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("merge").await?;
    let role = stage.source.make_role("s3-replication").await?;
    let theirs = ReplicationConfiguration::builder()
        .role(&role)
        .rules(foreign_rule(&stage)?)
        .build()?;
    put(&stage, theirs.clone()).await?;
    stage.start().await?;
    let mut object = stage.replication();
    stage.apply(&object).await?;
    let message = stage
        .wait_for("tax", "Ready", "False", "ForeignConfiguration")
        .await?;
    ensure!(
        message.contains(&role) && message.contains("existingConfiguration"),
        "{message}"
    );
    let plan = stage.get("tax").await?["status"]["plan"].to_string();
    ensure!(
        plan.contains("of role s3-replication") && plan.contains("2 rules"),
        "{plan}"
    );

    let mut account = stage.source_account();
    account["spec"]["roles"] = json!({"mergeableRoleARNs": [role]});
    account["spec"]["grants"][0]["allow"] = json!(["MergeConfiguration"]);
    stage
        .source
        .set_operator_policy(&stage.printed_policy(&account).await?)
        .await?;
    stage.environment.apply(&account.to_string()).await?;
    object["spec"]["existingConfiguration"] = json!("Merge");
    stage.apply(&object).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let both = existing(&stage).await?;
    ensure!(
        both.role() == role
            && both.rules().len() == 2
            && both.rules().contains(&foreign_rule(&stage)?),
        "{both:?}"
    );
    ensure!(
        stage.source.replication_roles().await?.is_empty(),
        "a role of our own was made"
    );
    let policies = stage
        .source
        .iam()
        .list_role_policies()
        .role_name("s3-replication")
        .send()
        .await?;
    ensure!(policies.policy_names().len() == 2, "{policies:?}");
    let replica = stage
        .destination
        .bucket_policy(DESTINATION_REGION, &stage.destination_bucket)
        .await?
        .context("no policy")?;
    ensure!(replica.to_string().contains(&role), "{replica}");
    let calls = stage.proxy.take();
    ensure!(calls.iter().all(|call| call.status != 403), "{calls:?}");

    stage.delete("tax").await?;
    ensure!(
        existing(&stage).await? == theirs,
        "{:?}",
        existing(&stage).await?
    );
    let policies = stage
        .source
        .iam()
        .list_role_policies()
        .role_name("s3-replication")
        .send()
        .await?;
    ensure!(policies.policy_names() == ["own"], "{policies:?}");
    let s3 = stage.source.s3(SOURCE_REGION);
    s3.delete_bucket_replication()
        .bucket(&stage.source_bucket)
        .send()
        .await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn a_foreign_rule_stays_and_what_can_t_be_kept_forbids_every_write(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("foreign").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let ours = existing(&stage).await?;
    let both = ReplicationConfiguration::builder()
        .role(ours.role())
        .set_rules(Some(ours.rules().to_vec()))
        .rules(foreign_rule(&stage)?);
    put(&stage, both.build()?).await?;

    stage.proxy.set_fault(
        "s3:GetReplicationConfiguration",
        Some(Fault::Replace(
            "<ID>theirs</ID>".into(),
            "<ID>theirs</ID><Pace>5</Pace>".into(),
        )),
    );
    let _ = stage.proxy.take();
    let mut edited = stage.replication();
    edited["spec"]["rules"] = json!([{"name": "legal", "prefix": "Legal"}]);
    stage.apply(&edited).await?;
    let message = stage
        .wait_for("tax", "Ready", "False", "ForeignRuleNotPreservable")
        .await?;
    ensure!(
        message.contains("rule theirs on bucket foreign-source-bucket has the element Pace"),
        "{message}"
    );
    let writes: Vec<_> = stage
        .proxy
        .calls()
        .into_iter()
        .filter(Call::writes)
        .collect();
    ensure!(writes.is_empty(), "{writes:?}");

    stage
        .proxy
        .set_fault("s3:GetReplicationConfiguration", None);
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let rules = existing(&stage).await?.rules().to_vec();
    ensure!(
        rules.len() == 2 && rules.contains(&foreign_rule(&stage)?),
        "{rules:?}"
    );

    stage.delete("tax").await?;
    let left = existing(&stage).await?;
    ensure!(
        left.rules() == [foreign_rule(&stage)?] && left.role() == ours.role(),
        "{left:?}"
    );
    ensure!(
        stage.source.replication_roles().await?.len() == 1,
        "the foreign rule's role is gone"
    );
    Ok(())
}

/// The statements of ours in a policy: whom each lets in, and to what.
fn let_in(policy: &Value) -> Vec<(String, String)> {
    let statements = policy["Statement"].as_array().cloned().unwrap_or_default();
    let ours = statements.iter().filter(|statement| {
        statement["Sid"]
            .as_str()
            .is_some_and(|sid| sid.starts_with("Brepl"))
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ours.map(|statement| {
        (
            text(&statement["Principal"]["AWS"]),
            text(&statement["Resource"]),
        )
    })
    .collect()
}

/// How often the policies of destinations and keys were written since the last time.
fn writes(stage: &Stage<'_>) -> [usize; 2] {
    let calls = stage.proxy.take();
    let of = |actions: &[&str]| {
        let written = calls
            .iter()
            .filter(|call| actions.contains(&call.action.as_str()));
        written.count()
    };
    [
        of(&["s3:PutBucketPolicy", "s3:DeleteBucketPolicy"]),
        of(&["kms:PutKeyPolicy"]),
    ]
}

/// Whether every bucket has its rule, and every object is Ready for the spec that it has now.
async fn are_ready(stage: &Stage<'_>, sources: &[String], prefix: &str) -> anyhow::Result<bool> {
    for name in sources {
        let existing = stage.source.replication(SOURCE_REGION, name).await?;
        let rules = existing
            .map(|existing| existing.rules().to_vec())
            .unwrap_or_default();
        let prefixes: Vec<_> = rules
            .iter()
            .filter_map(|rule| rule.filter()?.prefix())
            .collect();
        if prefixes != [prefix] {
            return Ok(false);
        }
    }
    let words = ["get", "bucketreplications", "-n", &stage.name, "-o", "json"];
    let list: Value = serde_json::from_str(&stage.environment.kubectl(&words).await?)?;
    let is_ready = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Ready");
        ready.is_some_and(|ready| {
            ready["status"] == "True"
                && ready["observedGeneration"] == object["metadata"]["generation"]
        })
    };
    let objects = list["items"].as_array();
    Ok(objects.is_some_and(|objects| objects.iter().all(is_ready)))
}

pub async fn fifty_source_buckets_share_one_destination_and_one_key(
    ground: &Ground,
) -> anyhow::Result<()> {
    let flags = [
        ("DRIFT_GRACE", "500ms"),
        ("SETTLE_DELAY", "2s"),
        ("DRAIN_PERIOD", "0s"),
        ("LONGEST_RETRY", "3s"),
    ];
    let mut stage = ground.stage_with("hub", &flags).await?;
    let sources: Vec<_> = (0..50)
        .map(|number| format!("hub-source-{number}"))
        .collect();
    for name in &sources {
        stage.source.make_bucket(SOURCE_REGION, name).await?;
    }
    let arn = format!("arn:aws:s3:::{}", stage.destination_bucket);
    let theirs = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket", "Resource": arn},
    ]});
    let s3 = stage.destination.s3(DESTINATION_REGION);
    s3.put_bucket_policy()
        .bucket(&stage.destination_bucket)
        .policy(theirs.to_string())
        .send()
        .await?;
    let policies = async |stage: &Stage<'_>| {
        let owner = &stage.destination;
        let of_bucket = owner.bucket_policy(DESTINATION_REGION, &stage.destination_bucket);
        let of_key = owner.key_policy(DESTINATION_REGION, &stage.replica_key);
        anyhow::Ok([of_bucket.await?.context("no policy")?, of_key.await?])
    };
    let before = policies(&stage).await?;
    stage.start().await?;

    // All at once are created, then all are edited.
    for (prefix, most) in [("Tax", 2), ("Legal", 0)] {
        let objects = sources.iter().enumerate().map(|(number, source)| {
            let mut object = stage.replication();
            object["metadata"]["name"] = json!(format!("tax-{number}"));
            object["spec"]["source"]["bucket"] = json!(source);
            object["spec"]["rules"] = json!([{"name": "tax", "prefix": prefix}]);
            object.to_string()
        });
        let objects = objects.collect::<Vec<_>>().join("\n---\n");
        stage.environment.apply(&objects).await?;
        let ready = async || {
            let ready = are_ready(&stage, &sources, prefix).await?;
            Ok(ready.then_some(()))
        };
        until(Duration::from_secs(90), ready)
            .await?
            .with_context(|| format!("not all are ready for {prefix}"))?;
        let written = writes(&stage);
        ensure!(
            written.iter().all(|count| *count <= most),
            "{prefix}: {written:?}"
        );
        let [of_bucket, of_key] = policies(&stage).await?;
        let account = format!("arn:aws:iam::{}:root", stage.source.id);
        ensure!(
            let_in(&of_bucket) == [(account.clone(), format!("{arn}/*"))],
            "{of_bucket:#}"
        );
        ensure!(let_in(&of_key) == [(account, "*".to_owned())], "{of_key:#}");
        ensure!(
            of_bucket["Statement"][0] == theirs["Statement"][0],
            "{of_bucket:#}"
        );
    }

    stage
        .environment
        .kubectl(&["delete", "namespace", &stage.name, "--timeout=90s"])
        .await?;
    let written = writes(&stage);
    ensure!(written.iter().all(|count| *count <= 2), "{written:?}");
    let after = policies(&stage).await?;
    ensure!(after == before, "{after:?}");
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

/// What others write while new permissions become known is read before the rules are written.
pub async fn a_foreign_rule_that_comes_while_permissions_settle_survives(
    ground: &Ground,
) -> anyhow::Result<()> {
    let flags = [
        ("DRIFT_GRACE", "500ms"),
        ("SETTLE_DELAY", "4s"),
        ("DRAIN_PERIOD", "0s"),
        ("LONGEST_RETRY", "3s"),
    ];
    let mut stage = ground.stage_with("meanwhile", &flags).await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let mut second = stage.replication();
    second["metadata"]["name"] = json!("legal");
    second["spec"]["rules"] = json!([{"name": "legal", "prefix": "Legal"}]);
    stage.apply(&second).await?;
    stage
        .wait_for("legal", "ReplicationConfigured", "Unknown", "Progressing")
        .await?;
    let ours = existing(&stage).await?;
    let both = ReplicationConfiguration::builder()
        .role(ours.role())
        .set_rules(Some(ours.rules().to_vec()))
        .rules(foreign_rule(&stage)?);
    put(&stage, both.build()?).await?;
    stage.wait_for("legal", "Ready", "True", "Ready").await?;
    let rules = existing(&stage).await?.rules().to_vec();
    ensure!(
        rules.len() == 3 && rules.contains(&foreign_rule(&stage)?),
        "{rules:?}"
    );
    Ok(())
}
