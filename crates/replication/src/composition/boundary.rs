//! The most that a replication role of an account may ever need: a permissions boundary for them.

use serde_json::json;

use crate::{
    accounts::{Account, Accounts},
    names::Partition,
    policy::Document,
    request::statements::{
        ACTIONS_ON_SOURCE_BUCKET, REPLICA_KEY_ACTIONS, SOURCE_KEY_ACTIONS,
        actions_on_source_objects, replica_actions,
    },
};

/// The most that the roles of `account` may do: with its source buckets, and with the destinations and keys that grants of any account name, for
/// `roles.permissionsBoundaryARN` ("Permissions boundaries for IAM entities" in the IAM User Guide).
#[must_use]
pub fn boundary(account: &Account, accounts: &Accounts) -> Document {
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    let buckets = |globs: Vec<&str>, rest: &str| {
        sorted(
            globs
                .into_iter()
                .map(|glob| format!("arn:{}:s3:::{glob}{rest}", account.partition))
                .collect(),
        )
    };
    let sources = account.granted_globs().0;
    let destinations = accounts
        .all()
        .flat_map(|account| account.granted_globs().1)
        .collect();
    let keys = sorted(
        accounts
            .all()
            .flat_map(|account| account.granted_globs().2)
            .map(ToOwned::to_owned)
            .collect(),
    );
    let of_keys = sorted(
        [SOURCE_KEY_ACTIONS, REPLICA_KEY_ACTIONS]
            .concat()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect(),
    );
    // The domain of aws-cn has one part more.
    let service = match account.partition {
        Partition::AwsCn => "s3.*.amazonaws.com*",
        Partition::Aws | Partition::AwsUsGov => "s3.*.amazonaws.com",
    };
    let through_s3 = json!({ "StringLike": { "kms:ViaService": service } });
    let statements = [
        json!({"Sid": "SourceBuckets", "Effect": "Allow", "Action": ACTIONS_ON_SOURCE_BUCKET, "Resource": buckets(sources.clone(), "")}),
        json!({"Sid": "SourceObjects", "Effect": "Allow", "Action": actions_on_source_objects(true), "Resource": buckets(sources, "/*")}),
        json!({"Sid": "Replicas", "Effect": "Allow", "Action": replica_actions(true, true), "Resource": buckets(destinations, "/*")}),
        json!({"Sid": "Keys", "Effect": "Allow", "Action": of_keys, "Resource": keys, "Condition": through_s3}),
    ];
    let useful: Vec<_> = statements
        .into_iter()
        .filter(|statement| statement["Resource"] != json!([]))
        .collect();
    Document::parse(&json!({ "Version": "2012-10-17", "Statement": useful }).to_string())
        .unwrap_or_default()
}
