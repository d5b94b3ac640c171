//! What an account needs before the operator can work in it: the operator's role with trust and policy, and the permissions boundary of the roles
//! that the operator creates. As a `CloudFormation` template, and as Terraform.

use serde_json::{Value, json};

use super::own_policy;
use crate::{
    api::aws_account::Access,
    replication::{
        accounts::{Account, Accounts, AssumeRole},
        arns::{ManagedPolicyArn, PolicyArn, RoleArn},
        boundary::boundary,
        composition::spread::{MOST_INLINE, MOST_MANAGED},
    },
};

/// The parts of it.
struct Parts<'a> {
    assumed: &'a AssumeRole,
    policy: Value,
    boundary: Option<(&'a PolicyArn, Value)>,
}

fn parts<'a>(account: &'a Account, accounts: &Accounts) -> Result<Parts<'a>, String> {
    let assumed = account.assume_role.as_ref().filter(|_| account.access == Access::Managed).ok_or_else(|| {
        format!(
            "AWSAccount {} has no role to assume (assumeRole), so there is nothing to create in account {}",
            account.name, account.id
        )
    })?;
    let document = own_policy::policy(account)?;
    let length = document.compact().len();
    if length > MOST_INLINE {
        return Err(format!(
            "the operator's policy in AWSAccount {} has {length} characters, and an inline policy may have {MOST_INLINE}: use fewer or wider globs in its grants",
            account.name
        ));
    }
    let made = match &account.roles.boundary {
        Some(ManagedPolicyArn::OfAccount(policy)) if policy.account == account.id => {
            let printed = boundary(account, accounts);
            let length = printed.compact().len();
            if length > MOST_MANAGED {
                return Err(format!(
                    "the permissions boundary of AWSAccount {} has {length} characters, and a managed policy may have {MOST_MANAGED}: use fewer or wider globs in the grants of all AWSAccounts",
                    account.name
                ));
            }
            Some((policy, printed.json()))
        }
        _ => None,
    };
    Ok(Parts {
        assumed,
        policy: document.json(),
        boundary: made,
    })
}

/// Session tags, which EKS Pod Identity sends, have to be allowed by a statement that requires no external ID.
fn trust(role: &AssumeRole, operator: &Value) -> Value {
    let principal = json!({ "AWS": operator });
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": role.external_id}},
            },
            {"Effect": "Allow", "Principal": principal, "Action": "sts:TagSession"},
        ],
    })
}

const OPERATOR: &str = "ARN of the operator's own identity: the IAM role of its ServiceAccount";

/// A `CloudFormation` template.
///
/// # Errors
/// When the operator assumes no role there, or could change that role with its policy.
pub fn cloudformation(account: &Account, accounts: &Accounts) -> Result<Value, String> {
    let Parts {
        assumed,
        policy,
        boundary,
    } = parts(account, accounts)?;
    let RoleArn { path, name, .. } = &assumed.role;
    let mut resources = json!({
        "OperatorRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": name.as_str(), "Path": path, "AssumeRolePolicyDocument": trust(assumed, &json!({"Ref": "OperatorArn"})),
                "Policies": [{"PolicyName": "operator", "PolicyDocument": policy}],
            },
        },
    });
    if let Some((PolicyArn { path, name, .. }, document)) = boundary {
        resources["ReplicationBoundary"] = json!({
            "Type": "AWS::IAM::ManagedPolicy", "Properties": {"ManagedPolicyName": name, "Path": path, "PolicyDocument": document},
        });
    }
    Ok(json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!("What bucket-replication-operator needs in account {}, AWSAccount {}", account.id, account.name),
        "Parameters": {"OperatorArn": {"Type": "String", "Description": OPERATOR}},
        "Resources": resources,
        "Outputs": {"RoleArn": {"Description": "spec.assumeRole.roleARN of the AWSAccount", "Value": {"Fn::GetAtt": ["OperatorRole", "Arn"]}}},
    }))
}

/// A Terraform configuration in its JSON syntax.
///
/// # Errors
/// When the operator assumes no role there, or could change that role with its policy.
pub fn terraform(account: &Account, accounts: &Accounts) -> Result<Value, String> {
    let Parts {
        assumed,
        policy,
        boundary,
    } = parts(account, accounts)?;
    let RoleArn { path, name, .. } = &assumed.role;
    let mut resources = json!({
        "aws_iam_role": {"operator": {"name": name.as_str(), "path": path, "assume_role_policy": trust(assumed, &json!("${var.operator_arn}")).to_string()}},
        "aws_iam_role_policy": {"operator": {"name": "operator", "role": "${aws_iam_role.operator.id}", "policy": policy.to_string()}},
    });
    if let Some((PolicyArn { path, name, .. }, document)) = boundary {
        resources["aws_iam_policy"] = json!({"replication_boundary": {"name": name, "path": path, "policy": document.to_string()}});
    }
    Ok(json!({
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
        "variable": {"operator_arn": {"type": "string", "description": OPERATOR}},
        "resource": resources,
        "output": {"role_arn": {"description": "spec.assumeRole.roleARN of the AWSAccount", "value": "${aws_iam_role.operator.arn}"}},
    }))
}
