//! What somebody could try with an object, and what comes of it. The whole list, with the tests of each, stands in docs/security.md.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::{
    cloud::Account,
    stage::{DESTINATION_REGION, SOURCE_REGION, until},
};

use crate::{Ground, door::nothing_is_written};

pub async fn a_bucket_that_somebody_else_owns_under_a_granted_name_is_not_written(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("squat").await?;
    let squatter = Account::new(
        "730000000001",
        &format!("http://{}", ground.environment.emulator),
    );
    squatter
        .make_bucket(DESTINATION_REGION, "squat-taken")
        .await?;
    stage.start().await?;
    let mut object = stage.replication();
    object["spec"]["destination"]["bucket"] = json!("squat-taken");
    stage.apply(&object).await?;
    let refused = until(std::time::Duration::from_secs(20), async || {
        let ready = stage.get("tax").await?["status"]["conditions"][2].clone();
        Ok((ready["status"] == "False").then_some(ready))
    });
    let refused = refused.await?.context("it is not refused")?;
    ensure!(
        matches!(
            refused["reason"].as_str(),
            Some("BucketNotFound" | "AccessDenied")
        ),
        "{refused}"
    );
    nothing_is_written(&stage)
}

pub async fn an_alias_of_a_key_that_is_not_granted_opens_nothing(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("alias").await?;
    let mut account = stage.destination_account();
    account["spec"]["grants"][0]["kmsKeys"] = json!([format!(
        "arn:aws:kms:*:{}:key/00000000-*",
        stage.destination.id
    )]);
    stage.environment.apply(&account.to_string()).await?;
    let kms = stage.destination.kms(DESTINATION_REGION);
    kms.create_alias()
        .alias_name("alias/harmless")
        .target_key_id(&stage.replica_key)
        .send()
        .await?;
    // The emulator authorizes DescribeKey on the alias.
    stage
        .destination
        .allow_for_emulator(&["kms:DescribeKey"], "*")
        .await?;
    stage.start().await?;
    let mut object = stage.replication();
    object["spec"]["destination"]["kmsKey"] = json!("alias/harmless");
    stage.apply(&object).await?;
    let message = stage
        .wait_for("tax", "KeysReady", "False", "NotGranted")
        .await?;
    ensure!(message.contains(&stage.replica_key), "{message}");
    nothing_is_written(&stage)
}

pub async fn annotations_labels_and_a_forged_status_are_no_input(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("forged").await?;
    stage.start().await?;
    let admin = format!("arn:aws:iam::{}:role/admin", stage.source.id);
    let mut object = stage.replication();
    object["metadata"]["annotations"] = json!({"eks.amazonaws.com/role-arn": admin, "bucketops.dev/role": admin, "bucketops.dev/account": "other"});
    object["metadata"]["labels"] = json!({"bucketops.dev/role": "admin", "team": "payroll"});
    stage.apply(&object).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let before = stage.get("tax").await?["status"].clone();
    let configuration = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?
        .context("no configuration")?;
    ensure!(
        configuration.role().contains(":role/brepl-forged-"),
        "{}",
        configuration.role()
    );
    let forged = json!({"status": {"roleARN": admin, "rules": [], "source": {"accountID": "999999999999", "region": "x", "kmsKeys": ["alias/theirs"]}}});
    let _ = stage.proxy.take();
    let patch = [
        "patch",
        "bucketreplication",
        "tax",
        "-n",
        &stage.name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &forged.to_string(),
    ];
    stage.environment.kubectl(&patch).await?;
    let mended = until(std::time::Duration::from_secs(20), async || {
        Ok((stage.get("tax").await?["status"] == before).then_some(()))
    });
    mended.await?.context("the forged status stays")?;
    nothing_is_written(&stage)?;
    let tenant = [
        "auth",
        "can-i",
        "patch",
        "bucketreplications",
        "--subresource=status",
        "-n",
        &stage.name,
        "--as=tenant",
        "--as-group=tenants",
    ];
    stage
        .environment
        .kubectl(&[
            "create",
            "rolebinding",
            "tenants",
            "--clusterrole=edit",
            "--group=tenants",
            "-n",
            &stage.name,
        ])
        .await?;
    ensure!(
        stage.environment.kubectl(&tenant).await.is_err(),
        "tenants may write the status"
    );
    let own = [
        "auth",
        "can-i",
        "create",
        "bucketreplications",
        "-n",
        &stage.name,
        "--as=tenant",
        "--as-group=tenants",
    ];
    let allowed = until(std::time::Duration::from_secs(20), async || {
        Ok(stage.environment.kubectl(&own).await.ok())
    });
    allowed
        .await?
        .context("tenants can't make objects of their own")?;
    ensure!(
        stage
            .environment
            .kubectl(&[
                "auth",
                "can-i",
                "get",
                "awsaccounts",
                "--as=tenant",
                "--as-group=tenants"
            ])
            .await
            .is_err()
    );
    stage.delete("tax").await
}

pub async fn an_object_that_comes_back_different_leaves_nothing_of_the_first(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("comeback").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    // Its finalizer is removed while nobody looks, and another object of that name is there when somebody looks again.
    stage.crash();
    let bare = r#"{"metadata": {"finalizers": null}}"#;
    stage
        .environment
        .kubectl(&[
            "patch",
            "bucketreplication",
            "tax",
            "-n",
            &stage.name,
            "--type=merge",
            "-p",
            bare,
        ])
        .await?;
    stage
        .environment
        .kubectl(&["delete", "bucketreplication", "tax", "-n", &stage.name])
        .await?;
    let mut second = stage.replication();
    second["spec"]["rules"] = json!([{"name": "legal", "prefix": "Legal"}]);
    stage.apply(&second).await?;
    stage.start().await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let rules = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?
        .context("no configuration")?;
    ensure!(
        rules.rules().len() == 1
            && rules.rules()[0]
                .id()
                .is_some_and(|id| id.ends_with("/legal")),
        "{rules:?}"
    );
    let role = stage
        .source
        .replication_roles()
        .await?
        .pop()
        .context("no role")?;
    let policy = stage
        .source
        .iam()
        .get_role_policy()
        .role_name(&role)
        .policy_name(&role)
        .send()
        .await?;
    ensure!(
        !policy.policy_document().contains("Tax") && policy.policy_document().contains("Legal"),
        "{}",
        policy.policy_document()
    );
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn odd_prefixes_arrive_as_they_are_or_are_refused(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("odd").await?;
    stage.start().await?;
    let odd = [
        "Tax \"quoted\" 'and' <b>&amp;</b>",
        "Tax/\\path\\n",
        "Tax/é %2F+=",
        "Tax/{\"a\":1},$name",
    ];
    let mut object = stage.replication();
    let rules: Vec<Value> = odd
        .iter()
        .enumerate()
        .map(|(n, prefix)| json!({"name": format!("r{n}"), "prefix": prefix}))
        .collect();
    object["spec"]["rules"] = json!(rules);
    stage.apply(&object).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let existing = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?
        .context("no configuration")?;
    let mut arrived: Vec<_> = existing
        .rules()
        .iter()
        .filter_map(|rule| rule.filter()?.prefix())
        .collect();
    arrived.sort_unstable();
    let mut expected = odd.to_vec();
    expected.sort_unstable();
    ensure!(arrived == expected, "{arrived:?}");
    let role = stage.source.replication_roles().await?.pop();
    let policy = stage.source.role_policy(&role.context("no role")?).await?;
    ensure!(
        odd.iter()
            .all(|prefix| policy.contains(json!(prefix).to_string().trim_matches('"'))),
        "{policy}"
    );
    for (number, refused) in ["Tax\nnew line", "Tax\ttab", "Tax\u{202e}reversed"]
        .iter()
        .enumerate()
    {
        let mut other = stage.replication();
        other["metadata"]["name"] = json!(format!("odd-{number}"));
        other["spec"]["rules"] = json!([{"name": "r", "prefix": refused}]);
        let _ = stage.proxy.take();
        stage.apply(&other).await?;
        let message = stage
            .wait_for(&format!("odd-{number}"), "Accepted", "False", "InvalidSpec")
            .await?;
        ensure!(
            message.contains("which an IAM policy can't express"),
            "{message}"
        );
        nothing_is_written(&stage)?;
    }
    stage.delete("tax").await
}
