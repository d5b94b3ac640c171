//! `iam-policy`: the IAM policies that the operator itself needs, for the accounts in use.

use std::fmt::Write;

use anyhow::bail;
use kube::{Api, api::ListParams};

use super::{are_sound, documents, objects};
use crate::{
    api::{AwsAccount, aws_account::Access},
    api_server,
    cloud::{
        bootstrap,
        own_policy::{identity_policy, policy},
    },
    config::{IamPolicy, Template},
    replication::accounts::Accounts,
};

/// The `AWSAccount`s that policies are for: those of the files, or of the cluster.
async fn listed(arguments: &IamPolicy) -> anyhow::Result<Vec<AwsAccount>> {
    let list: Vec<AwsAccount> = if arguments.filename.is_empty() {
        let api: Api<AwsAccount> = Api::all(api_server::client_of(&arguments.cluster).await?.0);
        api.list(&ListParams::default()).await?.items
    } else {
        let documents = documents(&arguments.filename, arguments.recursive)?;
        are_sound(&documents)?;
        objects(&documents, "AWSAccount")?
    };
    if list.is_empty() {
        bail!(
            "there is no AWSAccount in {}: a policy is for the accounts that it names",
            if arguments.filename.is_empty() {
                "the cluster"
            } else {
                "the files"
            }
        );
    }
    Ok(list)
}

/// The policies as text.
///
/// # Errors
/// When the accounts can't be read, or the operator could change its own permissions with a policy.
pub async fn run(arguments: &IamPolicy) -> anyhow::Result<String> {
    let list = listed(arguments).await?;
    let accounts = Accounts::new(&list);
    let policy = |account| {
        policy(account)
            .map(|document| document.pretty())
            .map_err(anyhow::Error::msg)
    };
    if arguments.identity {
        return Ok(format!("{}\n", identity_policy(&accounts).pretty()));
    }
    if let Some(name) = &arguments.account {
        let account = match accounts.by_name(name) {
            Ok(account) => account,
            Err(problem) => bail!("{}", problem.message),
        };
        if account.access == Access::External {
            bail!(
                "AWSAccount {name} has access: External: the operator has no credentials in the account and needs no policy"
            );
        }
        return match arguments.template {
            None => Ok(format!("{}\n", policy(account)?)),
            Some(Template::Cloudformation) => Ok(serde_saphyr::to_string(
                &bootstrap::cloudformation(account, &accounts).map_err(anyhow::Error::msg)?,
            )?),
            Some(Template::Terraform) => Ok(format!(
                "{:#}\n",
                bootstrap::terraform(account, &accounts).map_err(anyhow::Error::msg)?
            )),
        };
    }
    let mut text = format!(
        "==> the operator's own identity <==\n{}\n",
        identity_policy(&accounts).pretty()
    );
    for account in accounts
        .all()
        .filter(|account| account.access == Access::Managed)
    {
        let role = account.assume_role.as_ref().map_or_else(
            || "the operator's own identity".to_owned(),
            |role| role.role.to_string(),
        );
        write!(
            text,
            "\n==> AWSAccount {}: {role} <==\n{}\n",
            account.name,
            policy(account)?
        )?;
    }
    Ok(text)
}
