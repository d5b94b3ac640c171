//! An account is made ready with a template, as a platform team would.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::{
    cloud::{Account, OPERATOR_ACCOUNT},
    process::output,
    stage::Stage,
};

use crate::Ground;

const ROLE: &str = "bucket-replication-operator";

async fn deploy(stage: &Stage<'_>, owner: &Account, account: &Value) -> anyhow::Result<()> {
    let iam = owner.iam();
    iam.delete_role_policy()
        .role_name(ROLE)
        .policy_name("operator")
        .send()
        .await?;
    iam.delete_role().role_name(ROLE).send().await?;
    let name = account["metadata"]["name"].as_str().context("no name")?;
    let (accounts, template) = (
        stage.environment.directory.join(format!("{name}-all.yaml")),
        stage
            .environment
            .directory
            .join(format!("{name}-template.yaml")),
    );
    std::fs::write(
        &accounts,
        format!(
            "{}\n---\n{}\n",
            stage.source_account(),
            stage.destination_account()
        ),
    )?;
    let mut print = std::process::Command::new(stage.binary());
    print
        .args([
            "iam-policy",
            "--account",
            name,
            "--template",
            "cloudformation",
            "-f",
        ])
        .arg(&accounts);
    std::fs::write(&template, output(&mut print).await?)?;
    let operator = format!("arn:aws:iam::{OPERATOR_ACCOUNT}:root");
    let line = format!(
        "aws cloudformation deploy --stack-name {ROLE} --template-file {} --capabilities CAPABILITY_NAMED_IAM --parameter-overrides OperatorArn={operator}",
        template.display()
    );
    owner.run(&line).await?;
    let made = iam.get_role().role_name(ROLE).send().await?;
    ensure!(made.role().is_some_and(|role| {
        role.arn()
            == account["spec"]["assumeRole"]["roleARN"]
                .as_str()
                .unwrap_or_default()
    }));
    Ok(())
}

pub async fn a_template_makes_the_role_that_the_operator_works_under(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("template").await?;
    deploy(&stage, &stage.source, &stage.source_account()).await?;
    deploy(&stage, &stage.destination, &stage.destination_account()).await?;
    stage.start().await?;
    let mut object = stage.replication();
    object["spec"]["rules"] = json!([{"name": "tax", "prefix": "Tax"}]);
    stage.apply(&object).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}
