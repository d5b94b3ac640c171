//! What an account needs before the operator can work in it: the operator's role with trust and policy, and the permissions boundary of the roles
//! that the operator creates. As a `CloudFormation` template, and as Terraform.

use serde_json::{Value, json};

use super::own_policy;
use crate::{
    api::aws_account::{Access, AssumeRole},
    replication::{
        accounts::{Account, Accounts},
        boundary::boundary,
        composition::spread::MOST_INLINE,
    },
};

/// The parts of it.
struct Parts<'a> {
    role: &'a AssumeRole,
    name: &'a str,
    path: String,
    policy: Value,
    boundary: Option<(String, String, Value)>,
}

fn parts<'a>(account: &'a Account, accounts: &Accounts) -> Result<Parts<'a>, String> {
    let role = account.assume_role.as_ref().filter(|_| account.access == Access::Managed).ok_or_else(|| {
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
    let (path, name) = path_and_name(&role.role_arn);
    let own = format!(":{}:policy/", account.id);
    let made = account
        .roles
        .permissions_boundary
        .as_ref()
        .filter(|arn| arn.contains(&own))
        .map(|arn| {
            let (path, name) = path_and_name(arn);
            (path, name.to_owned(), boundary(account, accounts).json())
        });
    Ok(Parts {
        role,
        name,
        path,
        policy: document.json(),
        boundary: made,
    })
}

/// The path, beginning and ending with a slash, and the name at the end of an ARN of IAM.
fn path_and_name(arn: &str) -> (String, &str) {
    let resource = arn.rsplit(':').next().unwrap_or_default();
    let (path, name) = resource.rsplit_once('/').unwrap_or(("", resource));
    (
        format!("{}/", path.find('/').map_or("", |slash| &path[slash..])),
        name,
    )
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
        role,
        name,
        path,
        policy,
        boundary,
    } = parts(account, accounts)?;
    let mut resources = json!({
        "OperatorRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": name, "Path": path, "AssumeRolePolicyDocument": trust(role, &json!({"Ref": "OperatorArn"})),
                "Policies": [{"PolicyName": "operator", "PolicyDocument": policy}],
            },
        },
    });
    if let Some((path, name, document)) = boundary {
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
        role,
        name,
        path,
        policy,
        boundary,
    } = parts(account, accounts)?;
    let mut resources = json!({
        "aws_iam_role": {"operator": {"name": name, "path": path, "assume_role_policy": trust(role, &json!("${var.operator_arn}")).to_string()}},
        "aws_iam_role_policy": {"operator": {"name": "operator", "role": "${aws_iam_role.operator.id}", "policy": policy.to_string()}},
    });
    if let Some((path, name, document)) = boundary {
        resources["aws_iam_policy"] = json!({"replication_boundary": {"name": name, "path": path, "policy": document.to_string()}});
    }
    Ok(json!({
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
        "variable": {"operator_arn": {"type": "string", "description": OPERATOR}},
        "resource": resources,
        "output": {"role_arn": {"description": "spec.assumeRole.roleARN of the AWSAccount", "value": "${aws_iam_role.operator.arn}"}},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names() {
        assert_eq!(
            path_and_name("arn:aws:iam::1:role/operator"),
            ("/".into(), "operator")
        );
        assert_eq!(
            path_and_name("arn:aws:iam::1:policy/a/b/boundary"),
            ("/a/b/".into(), "boundary")
        );
    }
}
