//! An object comes, changes and goes.

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::{
    process::{output, program, repository},
    proxy::Fault,
    stage::{DESTINATION_REGION, SOURCE_REGION, Stage, until},
};

use crate::Ground;

async fn aws(stage: &Stage<'_>, account: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(program("aws")?);
    command
        .args([
            "--output",
            "json",
            "--endpoint-url",
            &format!("http://{}", stage.environment.emulator),
        ])
        .args(arguments);
    command
        .env("AWS_ACCESS_KEY_ID", account)
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", SOURCE_REGION);
    Ok(serde_json::from_str(&output(&mut command).await?)?)
}

pub async fn the_walkthrough_across_two_accounts(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("walkthrough").await?;
    let key_policy_before = stage
        .destination
        .key_policy(DESTINATION_REGION, &stage.replica_key)
        .await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let object = stage.get("tax").await?;
    ensure!(
        object["status"]["rules"][0]["name"] == "tax",
        "{:#}",
        object["status"]
    );
    ensure!(
        object["status"]["destination"]["region"] == DESTINATION_REGION,
        "{:#}",
        object["status"]
    );
    let types: Vec<_> = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| c["type"].clone())
        .collect();
    ensure!(
        types
            == [
                "Accepted",
                "SourceReady",
                "DestinationReady",
                "KeysReady",
                "RoleReady",
                "ReplicationConfigured",
                "Ready"
            ]
            .map(Value::from),
        "{types:?}"
    );

    let policy = stage
        .destination
        .key_policy(DESTINATION_REGION, &stage.replica_key)
        .await?;
    let statements = |policy: &Value| policy["Statement"].as_array().cloned().unwrap_or_default();
    ensure!(
        statements(&policy)[..2] == statements(&key_policy_before)[..],
        "foreign statements changed: {policy:#}"
    );
    ensure!(statements(&policy).len() == 3, "{policy:#}");
    let source_key = stage
        .source
        .key_policy(SOURCE_REGION, &stage.source_key)
        .await?;
    ensure!(
        statements(&source_key).len() == 2,
        "the source key's policy lets the role's account in, and needs nothing: {source_key:#}"
    );

    let inside = stage
        .source
        .upload(
            SOURCE_REGION,
            &stage.source_bucket,
            "Tax/2024.txt",
            &stage.source_key,
        )
        .await?;
    let outside = stage
        .source
        .upload(
            SOURCE_REGION,
            &stage.source_bucket,
            "Other/2024.txt",
            &stage.source_key,
        )
        .await?;
    ensure!(
        (inside.as_deref(), outside) == (Some("COMPLETED"), None),
        "{inside:?}"
    );
    ensure!(
        stage
            .destination
            .has(
                DESTINATION_REGION,
                &stage.destination_bucket,
                "Tax/2024.txt"
            )
            .await?
    );
    ensure!(
        !stage
            .destination
            .has(
                DESTINATION_REGION,
                &stage.destination_bucket,
                "Other/2024.txt"
            )
            .await?
    );

    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)?;
    ensure!(
        stage
            .destination
            .key_policy(DESTINATION_REGION, &stage.replica_key)
            .await?
            == key_policy_before
    );
    ensure!(
        stage
            .destination
            .bucket_policy(DESTINATION_REGION, &stage.destination_bucket)
            .await?
            .is_none()
    );
    Ok(())
}

pub async fn within_one_account_without_kms(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("oneaccount").await?;
    stage
        .source
        .make_bucket(SOURCE_REGION, "oneaccount-backup")
        .await?;
    stage.start().await?;
    let mut object = stage.replication();
    object["spec"]["source"] =
        json!({"accountName": stage.source_account_name(), "bucket": stage.source_bucket});
    object["spec"]["destination"] = json!({"accountName": stage.source_account_name(), "bucket": "oneaccount-backup", "storageClass": "STANDARD_IA"});
    stage.apply(&object).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage
        .wait_for("tax", "KeysReady", "True", "NoKeysNeeded")
        .await?;
    let configuration = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?
        .context("no configuration")?;
    let rule = configuration.rules().first().context("no rule")?;
    ensure!(rule.source_selection_criteria().is_none(), "{rule:?}");
    ensure!(
        stage
            .source
            .bucket_policy(SOURCE_REGION, "oneaccount-backup")
            .await?
            .is_none(),
        "within one account no bucket policy is needed"
    );
    let touched: Vec<_> = stage
        .proxy
        .calls()
        .into_iter()
        .filter(|call| call.service == "kms")
        .collect();
    ensure!(touched.is_empty(), "{touched:?}");
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

/// Nothing that held for an earlier generation is reported while the operator still looks at a new one.
pub async fn a_new_generation_is_reported_as_in_progress_from_its_first_visit(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("begun").await?;
    stage.start().await?;
    let slow = || Some(Fault::Delay(Duration::from_secs(4)));
    for prefix in ["Tax", "Legal"] {
        stage.proxy.set_fault("s3:GetBucketLocation", slow());
        let mut object = stage.replication();
        object["spec"]["rules"] = json!([{"name": "tax", "prefix": prefix}]);
        stage.apply(&object).await?;
        let begun = async || {
            let object = stage.get("tax").await?;
            let current =
                object["status"]["observedGeneration"] == object["metadata"]["generation"];
            Ok(current.then_some(object["status"]["conditions"].clone()))
        };
        let conditions = until(Duration::from_secs(3), begun)
            .await?
            .context("nothing is reported while AWS is slow")?;
        let of = |kind: &str| {
            let all = conditions.as_array().into_iter().flatten();
            let mut all = all.filter(|condition| condition["type"] == kind);
            all.next()
                .map(|found| (found["status"].clone(), found["reason"].clone()))
        };
        ensure!(
            of("Ready") == Some((json!("Unknown"), json!("Progressing")))
                && of("Reconciling") == Some((json!("True"), json!("Progressing"))),
            "{prefix}: {conditions:#}"
        );
        stage.proxy.set_fault("s3:GetBucketLocation", None);
        stage.wait_for("tax", "Ready", "True", "Ready").await?;
        ensure!(
            !stage.get("tax").await?["status"]["conditions"]
                .to_string()
                .contains("Reconciling"),
        );
    }
    Ok(())
}

pub async fn keys_of_a_third_account_and_by_alias(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("central").await?;
    let keys = stage.key_account().await?;
    let central = keys.make_key(DESTINATION_REGION).await?;
    let before = keys.key_policy(DESTINATION_REGION, &central).await?;
    stage
        .source
        .kms(SOURCE_REGION)
        .create_alias()
        .alias_name("alias/tax")
        .target_key_id(&stage.source_key)
        .send()
        .await?;
    // The emulator asks for the permission on the alias, where KMS asks for it on the key ("Controlling access to aliases" in its guide).
    stage
        .source
        .allow_for_emulator(
            &["kms:DescribeKey"],
            &format!("arn:aws:kms:*:{}:alias/tax", stage.source.id),
        )
        .await?;
    stage.start().await?;
    let mut object = stage.replication();
    object["spec"]["source"]["kmsKeys"] = json!(["alias/tax"]);
    object["spec"]["destination"]["kmsKey"] = json!(central);
    stage.apply(&object).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let status = stage.get("tax").await?["status"].clone();
    ensure!(
        status["source"]["kmsKeyARNs"] == json!([stage.source_key]),
        "the alias is resolved: {status:#}"
    );
    ensure!(
        status["destination"]["kmsKeyARN"] == json!(central),
        "{status:#}"
    );
    let policy = keys.key_policy(DESTINATION_REGION, &central).await?;
    ensure!(
        policy["Statement"].as_array().map(Vec::len) == Some(3),
        "{policy:#}"
    );
    ensure!(
        policy["Statement"][2]["Principal"]["AWS"]
            == format!("arn:aws:iam::{}:root", stage.source.id),
        "{policy:#}"
    );
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)?;
    ensure!(keys.key_policy(DESTINATION_REGION, &central).await? == before);
    Ok(())
}

pub async fn an_edit_leaves_nothing_of_the_old_even_with_crashes(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("edit").await?;
    stage
        .destination
        .make_bucket(DESTINATION_REGION, "edit-second")
        .await?;
    let second_key = stage.destination.make_key(DESTINATION_REGION).await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let mut edited = stage.replication();
    edited["spec"]["destination"]["bucket"] = "edit-second".into();
    edited["spec"]["destination"]["kmsKey"] = second_key.clone().into();
    edited["spec"]["rules"] = json!([{"name": "law", "prefix": "Legal"}]);
    let original = stage.replication();
    for round in 0..6 {
        let object = if round % 2 == 0 { &edited } else { &original };
        let _ = stage.proxy.take();
        stage.apply(object).await?;
        // Stopped after one write more in each round.
        until(Duration::from_secs(20), async || {
            Ok((stage
                .proxy
                .calls()
                .iter()
                .filter(|call| call.writes())
                .count()
                > round)
                .then_some(()))
        })
        .await?;
        stage.crash();
        stage.start().await?;
        stage.wait_for("tax", "Ready", "True", "Ready").await?;
        let (bucket, key) = if round % 2 == 0 {
            ("edit-second", &second_key)
        } else {
            (stage.destination_bucket.as_str(), &stage.replica_key)
        };
        for candidate in ["edit-second", stage.destination_bucket.as_str()] {
            let policy = stage
                .destination
                .bucket_policy(DESTINATION_REGION, candidate)
                .await?;
            ensure!(
                policy.is_some() == (candidate == bucket),
                "round {round}: policy of {candidate}: {policy:?}"
            );
            if let Some(policy) = policy {
                ensure!(
                    policy["Statement"].as_array().map(Vec::len) == Some(1),
                    "{policy:#}"
                );
                ensure!(
                    policy["Statement"][0]["Resource"] == format!("arn:aws:s3:::{bucket}/*"),
                    "{policy:#}"
                );
            }
        }
        for candidate in [&second_key, &stage.replica_key] {
            let policy = stage
                .destination
                .key_policy(DESTINATION_REGION, candidate)
                .await?;
            ensure!(
                policy.to_string().contains("\"Brepl") == (candidate == key),
                "round {round}: policy of {candidate}: {policy:#}"
            );
        }
        let role = stage
            .source
            .replication_roles()
            .await?
            .pop()
            .context("no role")?;
        let policy = aws(
            &stage,
            &stage.source.id,
            &[
                "iam",
                "get-role-policy",
                "--role-name",
                &role,
                "--policy-name",
                &role,
            ],
        )
        .await?;
        ensure!(
            policy["PolicyDocument"]["Statement"]
                .as_array()
                .map(Vec::len)
                == Some(5),
            "{policy:#}"
        );
    }
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn reapplying_restarting_and_reordering_write_nothing(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("again").await?;
    let more = stage.source.make_key(SOURCE_REGION).await?;
    stage.start().await?;
    let with = |keys: [&String; 2], rules: [&str; 2]| {
        let mut object = stage.replication();
        object["spec"]["source"]["kmsKeys"] = json!(keys);
        object["spec"]["rules"] = rules
            .iter()
            .map(|rule| json!({"name": rule.to_lowercase(), "prefix": rule}))
            .collect();
        object
    };
    let first = with([&stage.source_key, &more], ["Tax", "Legal"]);
    let reordered = with([&more, &stage.source_key], ["Legal", "Tax"]);
    stage.apply(&first).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let _ = stage.proxy.take();
    let version = async || {
        Ok::<_, anyhow::Error>(stage.get("tax").await?["metadata"]["resourceVersion"].clone())
    };
    let before = version().await?;
    stage.apply(&first).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(
        version().await? == before,
        "applying the same object changed it"
    );
    stage.crash();
    stage.start().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(
        stage.get("tax").await?["metadata"]["resourceVersion"] == before,
        "a restart changed the object"
    );
    stage.apply(&reordered).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let writes: Vec<_> = stage
        .proxy
        .calls()
        .into_iter()
        .filter(testbed::proxy::Call::writes)
        .collect();
    ensure!(writes.is_empty(), "{writes:?}");
    ensure!(
        stage
            .proxy
            .calls()
            .iter()
            .any(|call| call.action == "s3:GetReplicationConfiguration"),
        "nothing was looked at"
    );
    Ok(())
}

pub async fn every_call_is_printed_by_iam_policy_and_carries_owner_and_external_id(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("calls").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    stage.delete("tax").await?;
    let calls = stage.proxy.calls();
    let refused: Vec<_> = calls.iter().filter(|call| call.status == 403).collect();
    ensure!(
        refused.is_empty(),
        "refused under the printed policy: {refused:?}"
    );
    let mut printed = BTreeSet::new();
    for account in [stage.source_account(), stage.destination_account()] {
        let policy: Value = serde_json::from_str(&stage.printed_policy(&account).await?)?;
        let actions = policy["Statement"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|s| s["Action"].as_array().cloned().unwrap_or_default());
        printed.extend(actions.filter_map(|action| action.as_str().map(ToOwned::to_owned)));
    }
    let called: BTreeSet<_> = calls
        .iter()
        .filter(|call| call.service != "sts")
        .map(|call| call.action.clone())
        .collect();
    let unprinted: Vec<_> = called.difference(&printed).collect();
    ensure!(
        unprinted.is_empty(),
        "called, but not printed: {unprinted:?}"
    );
    for call in calls.iter().filter(|call| call.service == "s3") {
        ensure!(
            call.expected_owner.is_some(),
            "without expected owner: {call:?}"
        );
    }
    for call in calls.iter().filter(|call| call.action == "sts:AssumeRole") {
        let field = |name: &str| {
            call.fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        ensure!(
            field("ExternalId") == Some(testbed::cloud::EXTERNAL_ID),
            "{call:?}"
        );
        ensure!(field("RoleSessionName") == Some("brepl-calls"), "{call:?}");
    }
    let assumed = calls
        .iter()
        .filter(|call| call.action == "sts:AssumeRole")
        .count();
    ensure!(assumed == 2, "one session for each account, not {assumed}");
    Ok(())
}

/// While the source's account can't be used, an object is not released without its clean-up, even if the destination's is gone.
pub async fn a_deletion_waits_for_an_account_that_can_be_used_again(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("unusable").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let mut unusable = stage.source_account();
    unusable["spec"]["access"] = json!("External");
    if let Some(spec) = unusable["spec"].as_object_mut() {
        spec.remove("assumeRole");
    }
    stage.environment.apply(&unusable.to_string()).await?;
    let destination = stage.destination_account_name();
    let words = ["delete", "awsaccount", &destination];
    stage.environment.kubectl(&words).await?;
    stage.begin_deletion("tax").await?;
    let message = stage
        .wait_for("tax", "Ready", "False", "DeletionBlocked")
        .await?;
    ensure!(message.contains(&stage.source_account_name()), "{message}");
    for account in [stage.destination_account(), stage.source_account()] {
        stage.environment.apply(&account.to_string()).await?;
    }
    is_removed(&stage).await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

async fn is_removed(stage: &Stage<'_>) -> anyhow::Result<()> {
    let gone = async || {
        let words = ["get", "bucketreplications", "-n", &stage.name, "-o", "name"];
        let left = stage.environment.kubectl(&words).await?;
        Ok(left.trim().is_empty().then_some(()))
    };
    let removed = until(Duration::from_mins(1), gone).await?;
    removed.context("the object is not removed")
}

/// What the destination's account has can't be removed without its `AWSAccount`: an Event says what is left, and how to remove it.
pub async fn what_is_left_with_an_account_that_is_gone_is_reported(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("orphaned").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let destination = stage.destination_account_name();
    let account = ["delete", "awsaccount", &destination];
    stage.environment.kubectl(&account).await?;
    stage.delete("tax").await?;
    let events = stage.events().await?;
    let left: Vec<_> = events
        .iter()
        .filter(|(reason, _)| reason == "StatementsLeft")
        .collect();
    let names = |name: &str| left.iter().any(|(_, note)| note.contains(name));
    ensure!(
        names(&stage.destination_bucket) && names(&stage.replica_key) && names("aws s3api"),
        "{left:?}"
    );
    let policy = stage
        .destination
        .bucket_policy(DESTINATION_REGION, &stage.destination_bucket)
        .await?
        .context("no policy")?;
    let sid = policy["Statement"][0]["Sid"].as_str().context("no Sid")?;
    ensure!(names(sid), "{left:?}");
    Ok(())
}

pub async fn a_deletion_that_aws_refuses_says_so_and_can_be_abandoned(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("blocked").await?;
    stage.start().await?;
    let patience = stage.replication();
    stage.apply(&patience).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage
        .proxy
        .set_fault("s3:DeleteBucketPolicy", Some(Fault::Refuse));
    stage.begin_deletion("tax").await?;
    let message = stage
        .wait_for("tax", "Ready", "False", "DeletionBlocked")
        .await?;
    ensure!(
        message
            .contains("is not allowed to call s3:DeleteBucketPolicy on bucket blocked-dest-bucket"),
        "{message}"
    );
    ensure!(message.contains("bucketops.dev/abandon=true"), "{message}");
    let log = std::fs::read_to_string(stage.log())?;
    let warned = |line: &str| line.contains("AWS call failed") && line.contains("AccessDenied");
    ensure!(
        log.lines()
            .any(|line| line.contains("DeleteBucketPolicy") && warned(line)),
        "the log does not say what AWS answered"
    );
    let _ = stage.proxy.take();
    stage
        .environment
        .kubectl(&[
            "annotate",
            "bucketreplication",
            "tax",
            "-n",
            &stage.name,
            "bucketops.dev/abandon=true",
        ])
        .await?;
    stage.wait_gone("tax").await?;
    let role = stage.source.replication_roles().await?;
    ensure!(
        role.len() == 1,
        "the role tells what is left, and stays: {role:?}"
    );

    // An object of the same name takes it up, and removes it when AWS lets it.
    stage.proxy.set_fault("s3:DeleteBucketPolicy", None);
    stage.apply(&patience).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn a_namespace_with_live_objects_goes_by_itself(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("namespace").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage
        .environment
        .kubectl(&["delete", "namespace", &stage.name, "--timeout=60s"])
        .await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

async fn plan(
    stage: &Stage<'_>,
    ground: &Ground,
    file: &Path,
    flags: &[&str],
) -> anyhow::Result<std::process::Output> {
    let mut command = Command::new(stage.binary());
    command.args(["plan", "-f"]).arg(file).args(flags);
    command
        .env_clear()
        .env("KUBECONFIG", stage.environment.kubeconfig())
        .env("AWS_REGION", SOURCE_REGION);
    command
        .env("AWS_ENDPOINT_URL", &stage.proxy.url)
        .env("AWS_ACCESS_KEY_ID", &ground.operator.access_key_id);
    command
        .env("AWS_SECRET_ACCESS_KEY", &ground.operator.secret_access_key)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    Ok(tokio::process::Command::from(command).output().await?)
}

/// `kubectl bucketreplication plan NAME`, for who has no AWS credentials: kubectl finds the binary by its name on the `PATH`.
fn kubectl_plugin(stage: &Stage<'_>) -> anyhow::Result<std::process::Output> {
    let folder = stage.environment.directory.join("plugin");
    std::fs::create_dir_all(&folder)?;
    let plugin = folder.join("kubectl-bucketreplication");
    let _ = std::fs::remove_file(&plugin);
    std::os::unix::fs::symlink(stage.binary(), &plugin)?;
    let mut command = Command::new(program("kubectl")?);
    command
        .args([
            "bucketreplication",
            "plan",
            "tax",
            "--namespace",
            &stage.name,
        ])
        .env_clear();
    command
        .env("PATH", folder)
        .env("KUBECONFIG", stage.environment.kubeconfig());
    Ok(command.output()?)
}

pub async fn plan_tells_what_would_change(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("planned").await?;
    let file = stage.environment.directory.join("planned-object.json");
    std::fs::write(&file, stage.replication().to_string())?;
    let before = plan(&stage, ground, &file, &["--installation-id", "planned"]).await?;
    let text = String::from_utf8_lossy(&before.stdout);
    ensure!(before.status.code() == Some(1), "{before:?}");
    ensure!(
        text.starts_with("+ create role ")
            && text.contains("\n~ write the replication configuration of bucket ")
            && text.ends_with("\n\nPlan: 1 to add, 4 to change, 0 to remove.\n"),
        "{text}"
    );
    ensure!(
        stage.proxy.calls().iter().all(|call| !call.writes()),
        "a plan wrote"
    );
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let after = plan(&stage, ground, &file, &["--installation-id", "planned"]).await?;
    ensure!(after.status.code() == Some(0), "{after:?}");
    ensure!(after.stdout == b"No changes.\n", "{after:?}");

    let mut edited = stage.replication();
    edited["spec"]["rules"] = json!([{"name": "tax", "prefix": "Tax/2026"}]);
    std::fs::write(&file, edited.to_string())?;
    let verbose = plan(
        &stage,
        ground,
        &file,
        &["--installation-id", "planned", "--verbose"],
    )
    .await?;
    let text = String::from_utf8_lossy(&verbose.stdout);
    let has = |sign: &str, what: &str| {
        text.lines()
            .any(|line| line.starts_with(sign) && line.ends_with(what))
    };
    let prefixes = has("    -", r#""Prefix": "Tax""#) && has("    +", r#""Prefix": "Tax/2026""#);
    ensure!(verbose.status.code() == Some(1) && prefixes, "{verbose:?}");

    edited["spec"]["mode"] = json!("Observe");
    stage.apply(&edited).await?;
    stage
        .wait_for("tax", "Ready", "False", "PlanPending")
        .await?;
    let told = kubectl_plugin(&stage)?;
    let lines = String::from_utf8_lossy(&told.stdout).into_owned();
    ensure!(
        told.status.code() == Some(1)
            && lines.contains("~ write the replication configuration of bucket "),
        "{told:?}"
    );
    stage.delete("tax").await
}

/// kubectl asks `kubectl_complete-NAME` for what completes a line of its plugin, names of objects included.
pub async fn kubectl_completes_the_plugin(ground: &Ground) -> anyhow::Result<()> {
    let stage = ground.stage("completed").await?;
    stage.apply(&stage.replication()).await?;
    let folder = stage.environment.directory.join("completion");
    std::fs::create_dir_all(&folder)?;
    for name in [
        "kubectl-bucketreplication",
        "kubectl_complete-bucketreplication",
    ] {
        let link = folder.join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(stage.binary(), &link)?;
    }
    let completed = |words: &[&str]| -> anyhow::Result<String> {
        let mut kubectl = Command::new(program("kubectl")?);
        kubectl
            .args(["__complete", "bucketreplication"])
            .args(words)
            .env_clear()
            .env("PATH", &folder)
            .env("KUBECONFIG", stage.environment.kubeconfig());
        Ok(String::from_utf8(kubectl.output()?.stdout)?)
    };
    let commands = completed(&["sta"])?;
    ensure!(
        commands.starts_with("status\tShow BucketReplications") && commands.contains(":4"),
        "{commands}"
    );
    let flags = completed(&["status", "--all"])?;
    ensure!(flags.starts_with("--all-namespaces\t"), "{flags}");
    let names = completed(&["status", "-n", &stage.name, "t"])?;
    ensure!(names.starts_with("tax"), "{names}");
    Ok(())
}

pub async fn plan_of_a_folder_is_one_plan_for_each_bucket(ground: &Ground) -> anyhow::Result<()> {
    let stage = ground.stage("folder").await?;
    let folder = stage.environment.directory.join("folder");
    std::fs::create_dir_all(&folder)?;
    let named = |name: &str, prefix: &str| {
        let mut object = stage.replication();
        object["metadata"]["name"] = json!(name);
        object["spec"]["rules"] = json!([{"name": name, "prefix": prefix}]);
        object
    };
    let mut missing = named("missing", "Tax");
    missing["spec"]["source"]["bucket"] = json!("folder-missing");
    let objects = [named("tax", "Tax"), named("legal", "Legal")];
    for (name, object) in ["tax.yaml", "legal.yaml"].iter().zip(&objects) {
        std::fs::write(folder.join(name), object.to_string())?;
    }
    let together = plan(&stage, ground, &folder, &["--installation-id", "folder"]).await?;
    let text = String::from_utf8_lossy(&together.stdout);
    ensure!(together.status.code() == Some(1), "{together:?}");
    ensure!(
        text.matches("write the replication configuration").count() == 1
            && text.contains("Plan: 1 to add, 4 to change, 0 to remove."),
        "one role and one configuration for both: {text}"
    );
    std::fs::write(folder.join("missing.yaml"), missing.to_string())?;
    let with_missing = plan(&stage, ground, &folder, &["--installation-id", "folder"]).await?;
    let said = String::from_utf8_lossy(&with_missing.stderr);
    let text = String::from_utf8_lossy(&with_missing.stdout);
    ensure!(
        with_missing.status.code() == Some(2)
            && said.contains("missing.yaml: BucketReplication missing: BucketNotFound: ")
            && text.contains("Plan: 1 to add, 4 to change, 0 to remove."),
        "{with_missing:?}"
    );
    Ok(())
}

/// A golden test on the wire: what `plan --offline` prints is, document by document, what stands.
pub async fn what_stands_is_exactly_what_plan_offline_prints(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("golden").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let file = stage.environment.directory.join("golden-object.json");
    let documents = [
        stage.replication(),
        stage.source_account(),
        stage.destination_account(),
    ];
    std::fs::write(
        &file,
        documents
            .map(|document| format!("---\n{document}\n"))
            .concat(),
    )?;
    let mut command =
        Command::new(repository().join(env!("CARGO_BIN_EXE_bucket-replication-operator")));
    command
        .args([
            "plan",
            "--offline",
            "--output",
            "json",
            "--installation-id",
            "golden",
            "--filename",
        ])
        .arg(&file);
    let planned: Value = serde_json::from_str(&output(&mut command).await?)?;
    let source = stage.source.id.as_str();
    let existing = aws(
        &stage,
        source,
        &[
            "s3api",
            "get-bucket-replication",
            "--bucket",
            &stage.source_bucket,
        ],
    )
    .await?;
    ensure!(
        existing["ReplicationConfiguration"] == planned["replication.json"],
        "{existing:#}\n{planned:#}"
    );
    let role = stage
        .source
        .replication_roles()
        .await?
        .pop()
        .context("no role")?;
    let permissions = aws(
        &stage,
        source,
        &[
            "iam",
            "get-role-policy",
            "--role-name",
            &role,
            "--policy-name",
            &role,
        ],
    )
    .await?;
    ensure!(
        permissions["PolicyDocument"] == planned["permissions.json"],
        "{permissions:#}\n{planned:#}"
    );
    let trust = aws(&stage, source, &["iam", "get-role", "--role-name", &role]).await?;
    ensure!(
        trust["Role"]["AssumeRolePolicyDocument"] == planned["trust.json"],
        "{trust:#}"
    );
    let bucket = stage
        .destination
        .bucket_policy(DESTINATION_REGION, &stage.destination_bucket)
        .await?;
    ensure!(
        bucket.as_ref() == Some(&planned["destination-bucket-policy.json"]),
        "{bucket:?}\n{planned:#}"
    );
    let key = stage
        .destination
        .key_policy(DESTINATION_REGION, &stage.replica_key)
        .await?;
    ensure!(
        key["Statement"][2] == planned["destination-key-policy.json"]["Statement"][0],
        "{key:#}\n{planned:#}"
    );
    Ok(())
}

fn many_rules(from: usize) -> Value {
    let rule = |number: usize| json!({"name": format!("r{number}"), "prefix": format!("Tax/{number}/{}", "x".repeat(150))});
    json!((from..from + 20).map(rule).collect::<Vec<_>>())
}

/// What is seldom needed: versioning switched on, more permissions than the inline policy holds, a trust that somebody changed, and a permissions
/// boundary that comes later.
pub async fn what_is_seldom_needed_works_under_the_printed_policy(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("seldom").await?;
    let mut accounts = [stage.source_account(), stage.destination_account()];
    for (account, owner) in accounts.iter_mut().zip([&stage.source, &stage.destination]) {
        account["spec"]["grants"][0]["allow"] = json!(["EnableVersioning"]);
        owner
            .set_operator_policy(&stage.printed_policy(account).await?)
            .await?;
        // The emulator authorizes CreatePolicy on "*", and never matches the conditions iam:PolicyARN and iam:PermissionsBoundary.
        let blind = [
            "iam:CreatePolicy",
            "iam:AttachRolePolicy",
            "iam:DetachRolePolicy",
        ];
        let bound = [
            "iam:CreateRole",
            "iam:PutRolePolicy",
            "iam:PutRolePermissionsBoundary",
        ];
        owner
            .allow_for_emulator(&[blind, bound].concat(), "*")
            .await?;
        stage.environment.apply(&account.to_string()).await?;
    }
    stage
        .source
        .set_versioning(SOURCE_REGION, &stage.source_bucket, false)
        .await?;
    stage
        .destination
        .set_versioning(DESTINATION_REGION, &stage.destination_bucket, false)
        .await?;
    stage.start().await?;
    let mut object = stage.replication();
    object["spec"]["versioning"] = json!("Enable");
    object["spec"]["destination"]["owner"] = json!("Destination");
    object["spec"]["rules"] = many_rules(0);
    // The door follows the account's new grant with a short delay.
    let taken = until(Duration::from_secs(20), async || {
        Ok(stage.apply(&object).await.ok())
    })
    .await?;
    taken.context("the object is refused")?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    for from in [10, 30] {
        object["spec"]["rules"] = many_rules(from);
        stage.apply(&object).await?;
        stage.wait_for("tax", "Ready", "True", "Ready").await?;
    }
    let role = stage
        .source
        .replication_roles()
        .await?
        .first()
        .cloned()
        .context("no role")?;
    let iam = stage.source.iam();
    let foreign = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    iam.update_assume_role_policy()
        .role_name(&role)
        .policy_document(foreign)
        .send()
        .await?;
    let trusted = until(Duration::from_secs(30), async || {
        let found = iam.get_role().role_name(&role).send().await?;
        let trust = found
            .role()
            .and_then(|role| role.assume_role_policy_document())
            .unwrap_or_default()
            .to_owned();
        Ok(trust.contains("s3.amazonaws.com").then_some(()))
    });
    trusted.await?.context("the trust is not put right")?;

    let all =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let made = iam
        .create_policy()
        .policy_name("seldom-boundary")
        .policy_document(all)
        .send()
        .await?;
    let boundary = made
        .policy()
        .and_then(|policy| policy.arn())
        .context("no boundary")?
        .to_owned();
    accounts[0]["spec"]["roles"] = json!({ "permissionsBoundaryARN": boundary });
    stage
        .source
        .set_operator_policy(&stage.printed_policy(&accounts[0]).await?)
        .await?;
    stage.environment.apply(&accounts[0].to_string()).await?;
    let bounded = until(Duration::from_secs(30), async || {
        let found = iam.get_role().role_name(&role).send().await?;
        let set = found
            .role()
            .and_then(|role| role.permissions_boundary()?.permissions_boundary_arn())
            .map(ToOwned::to_owned);
        Ok(set.filter(|set| *set == boundary))
    });
    bounded.await?.context("the boundary is not set")?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}
