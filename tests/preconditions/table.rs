//! The preconditions: what is broken and how, what S3 does then, by which page, and what an object reports.

use bucket_replication_operator::replication::{
    accounts::Accounts, boundary::boundary, policy::Document,
};
use serde_json::{Value, json};

use crate::{
    ground::Judged,
    support::{
        cluster::{DR, PROD, key, object_key, spec},
        in_process::{add_policy, document},
    },
};

/// What an object reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `Ready` is False, with this reason.
    Refused(&'static str),
    /// `Ready` is True, since the operator corrects it.
    Corrected,
    /// `Ready` is True, since it does not matter.
    Harmless,
    /// `Ready` is True, and a message says this of what is not known.
    Noted(&'static str),
}

/// A way of breaking what exists.
type Breaks = Box<dyn Fn(&Judged)>;

/// A precondition that is broken.
pub struct Precondition {
    pub group: &'static str,
    pub what: String,
    pub s3: &'static str,
    pub page: &'static str,
    /// What the source's account says of roles, and that of the destination of policies.
    pub roles: Value,
    pub policies: Value,
    /// What exists before.
    pub before: fn(&Judged),
    pub breaks: Breaks,
    /// What is wrong in the object itself.
    pub edit: fn(&mut Value),
    pub outcome: Outcome,
    /// Whether it can be broken before the first write, and after the object was ready.
    pub when: (bool, bool),
}

/// The object: across two accounts, with KMS keys, tags and delete markers.
pub fn object() -> Value {
    let mut spec = spec(
        ("dr", "dest"),
        Some(&key(DR, "us-west-2", "dst")),
        &json!({"rules": [{"name": "tax", "prefix": "Tax", "deleteMarkers": "Replicate"}]}),
    );
    spec["source"]["kmsKeys"] = json!([source_key()]);
    spec
}

fn source_key() -> String {
    key(PROD, "us-east-1", "src").to_string()
}

fn replica_key() -> String {
    key(DR, "us-west-2", "dst").to_string()
}

/// Applies what the object's status asks owners for, if policies are only checked.
pub fn own(judged: &Judged, policies: &Value) {
    if *policies == json!({}) {
        return;
    }
    let actions = judged.cluster.objects[&object_key("tax")]
        .2
        .required_actions
        .clone();
    for action in actions {
        let statement: Value = serde_json::from_str(&action.statement).unwrap();
        let place = action.document.rsplit(' ').next().unwrap().to_owned();
        edit_policy(judged, &place, |policy| {
            policy["Statement"].as_array_mut().unwrap().push(statement);
        });
    }
}

/// Changes the policy of a bucket, or of a key by its ARN.
fn edit_policy(judged: &Judged, place: &str, edit: impl FnOnce(&mut Value)) {
    judged.aws.with(|state| {
        let empty = || document(json!({"Version": "2012-10-17", "Statement": []}));
        let policy = match state.keys.get(place) {
            Some(key) => key.policy.clone(),
            None => state.buckets[place].policy.clone().unwrap_or_else(empty),
        };
        let mut policy = state.shown(&policy).json();
        edit(&mut policy);
        let policy = state.kept(&document(policy)).unwrap();
        match state.keys.get_mut(place) {
            Some(key) => key.policy = policy,
            None => state.buckets.get_mut(place).unwrap().policy = Some(policy),
        }
    });
}

/// The resources that a statement of the policy of a place is about.
fn resources(place: &str) -> Value {
    if place.starts_with("arn:") {
        json!("*")
    } else {
        json!([
            format!("arn:aws:s3:::{place}"),
            format!("arn:aws:s3:::{place}/*")
        ])
    }
}

/// Adds a statement that denies, with other fields in place of the usual ones.
fn deny(judged: &Judged, place: &str, fields: &Value) {
    let mut statement =
        json!({"Sid": "Stop", "Effect": "Deny", "Principal": "*", "Resource": resources(place)});
    for (field, value) in fields.as_object().unwrap() {
        statement[field] = value.clone();
        if let Some(positive) = field.strip_prefix("Not") {
            statement.as_object_mut().unwrap().remove(positive);
        }
    }
    edit_policy(judged, place, |policy| {
        policy["Statement"].as_array_mut().unwrap().push(statement);
    });
}

/// Takes an action out of every statement that allows it.
fn without(policy: &mut Value, action: &str) {
    let statements = policy["Statement"].as_array_mut().unwrap();
    for statement in &mut *statements {
        let mut actions = match statement["Action"].take() {
            Value::Array(actions) => actions,
            one => vec![one],
        };
        actions.retain(|listed| listed != action);
        statement["Action"] = json!(actions);
    }
    statements.retain(|statement| statement["Action"] != json!([]));
}

fn bucket(judged: &Judged, name: &str, edit: impl FnOnce(&mut strict_aws::state::Bucket)) {
    judged
        .aws
        .with(|state| edit(state.buckets.get_mut(name).unwrap()));
}

fn kms(judged: &Judged, arn: &str, edit: impl FnOnce(&mut strict_aws::state::Key)) {
    judged
        .aws
        .with(|state| edit(state.keys.get_mut(arn).unwrap()));
}

fn role(judged: &Judged, edit: impl FnOnce(&mut strict_aws::state::Role)) {
    judged.aws.with(|state| {
        let mut roles = state.roles.values_mut();
        let found = roles.find(|role| role.arn.name.as_str().starts_with("brepl-"));
        found.map(edit);
    });
}

const BOUNDARY: &str = "arn:aws:iam::111111111111:policy/replication-boundary";

/// The permissions boundary that the operator prints for the account.
fn put_boundary(judged: &Judged) {
    use_bucket_key(judged);
    let accounts = Accounts::new(&judged.cluster.accounts);
    let printed = boundary(accounts.by_name("prod").unwrap(), &accounts);
    set_boundary(judged, printed);
}

fn set_boundary(judged: &Judged, policy: Document) {
    judged.aws.with(|state| add_policy(state, BOUNDARY, policy));
}

/// With an S3 Bucket Key at the destination, S3 also generates data keys and decrypts with the replica key.
fn use_bucket_key(judged: &Judged) {
    bucket(judged, "dest", |dest| {
        dest.encryption = json!({"Rules": [{
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": replica_key()}, "BucketKeyEnabled": true,
        }]});
    });
}

fn row(
    group: &'static str,
    what: impl Into<String>,
    s3: &'static str,
    page: &'static str,
    outcome: Outcome,
    breaks: impl Fn(&Judged) + 'static,
) -> Precondition {
    Precondition {
        group,
        what: what.into(),
        s3,
        page,
        roles: json!({}),
        policies: json!({}),
        before: use_bucket_key,
        breaks: Box::new(breaks),
        edit: |_| {},
        outcome,
        when: (true, true),
    }
}

pub fn preconditions() -> Vec<Precondition> {
    [
        buckets(),
        keys(),
        denials(),
        conditions(),
        boundaries(),
        checked(),
        drift(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const REQUIREMENTS: &str = "Requirements and considerations for replication";
const FAILS: &str = "objects are FAILED";

fn buckets() -> Vec<Precondition> {
    let group = "Buckets";
    let refused = Outcome::Refused;
    let of = |what: &str, s3, page, reason, breaks: fn(&Judged)| {
        row(group, what, s3, page, refused(reason), breaks)
    };
    vec![
        of(
            "the source bucket does not exist",
            "nothing is replicated",
            REQUIREMENTS,
            "BucketNotFound",
            |judged| {
                judged
                    .aws
                    .with(|state| drop(state.buckets.remove("source")));
            },
        ),
        of(
            "the destination bucket does not exist",
            FAILS,
            REQUIREMENTS,
            "BucketNotFound",
            |judged| {
                judged.aws.with(|state| drop(state.buckets.remove("dest")));
            },
        ),
        of(
            "another account owns the destination bucket",
            FAILS,
            REQUIREMENTS,
            "AccessDenied",
            |judged| {
                bucket(judged, "dest", |dest| {
                    dest.owner = "444444444444".parse().unwrap();
                });
            },
        ),
        Precondition {
            when: (true, false),
            ..of(
                "the source bucket has no versioning",
                "S3 refuses the configuration",
                REQUIREMENTS,
                "VersioningNotEnabled",
                |judged| {
                    bucket(judged, "source", |source| source.versioning = None);
                },
            )
        },
        of(
            "the destination bucket has no versioning",
            FAILS,
            REQUIREMENTS,
            "VersioningNotEnabled",
            |judged| {
                bucket(judged, "dest", |dest| dest.versioning = Some(false));
            },
        ),
        of(
            "the destination is a Requester Pays bucket of another account",
            FAILS,
            REQUIREMENTS,
            "RequesterPays",
            |judged| {
                bucket(judged, "dest", |dest| {
                    "Requester".clone_into(&mut dest.payer);
                });
            },
        ),
        of(
            "Object Lock is enabled on the source bucket alone",
            FAILS,
            "Object Lock considerations",
            "ObjectLockMissing",
            |judged| {
                bucket(judged, "source", |source| source.object_lock = true);
            },
        ),
        Precondition {
            when: (true, false),
            edit: |spec| spec["destination"]["accountName"] = json!("prod"),
            ..of(
                "the destination bucket is in another account than `destination.accountName`",
                FAILS,
                REQUIREMENTS,
                "AccessDenied",
                |_| {},
            )
        },
        row(
            group,
            "the destination bucket has ACLs enabled, and `destination.owner` is not set",
            "the source's account owns the replicas",
            "Controlling ownership of objects",
            Outcome::Noted("has ACLs enabled"),
            |judged| {
                bucket(judged, "dest", |dest| {
                    "ObjectWriter".clone_into(&mut dest.ownership);
                });
            },
        ),
        row(
            group,
            "the destination blocks SSE-C, and the source does not",
            "objects with SSE-C are FAILED",
            "Blocking or unblocking SSE-C for a general purpose bucket",
            Outcome::Noted("encrypted with SSE-C"),
            |judged| {
                for (name, blocked) in [("source", "NONE"), ("dest", "SSE-C")] {
                    bucket(judged, name, |bucket| {
                        bucket.encryption["Rules"][0]["BlockedEncryptionTypes"] =
                            json!({ "EncryptionType": blocked });
                    });
                }
            },
        ),
    ]
}

fn keys() -> Vec<Precondition> {
    let group = "Keys";
    let page = "Key states of AWS KMS keys";
    let mut rows = vec![];
    for (name, arn) in [
        ("a source key", source_key()),
        ("the replica key", replica_key()),
    ] {
        for (what, reason) in [
            ("does not exist", "KeyNotFound"),
            ("is disabled", "KeyNotUsable"),
            ("is pending deletion", "KeyNotUsable"),
            ("is not for symmetric encryption", "KeyNotUsable"),
        ] {
            let arn = arn.clone();
            let breaks = move |judged: &Judged| match what {
                "does not exist" => judged.aws.with(|state| drop(state.keys.remove(&arn))),
                "is disabled" => kms(judged, &arn, |key| "Disabled".clone_into(&mut key.state)),
                "is pending deletion" => kms(judged, &arn, |key| {
                    "PendingDeletion".clone_into(&mut key.state);
                }),
                _ => kms(judged, &arn, |key| {
                    "RSA_4096".clone_into(&mut key.spec);
                    "Unavailable".clone_into(&mut key.state);
                }),
            };
            rows.push(row(
                group,
                format!("{name} {what}"),
                "objects with SSE-KMS are FAILED",
                page,
                Outcome::Refused(reason),
                breaks,
            ));
        }
    }
    rows.push(Precondition {
        edit: |spec| spec["destination"]["kmsKey"] = json!(key(DR, "us-east-1", "dst").to_string()),
        when: (true, false),
        ..row(
            group,
            "the replica key is in another Region than its bucket",
            "objects with SSE-KMS are FAILED",
            "Replicating encrypted objects",
            Outcome::Refused("KeyInOtherRegion"),
            |_| {},
        )
    });
    rows.push(Precondition {
        edit: |spec| spec["destination"]["kmsKey"] = json!("alias/aws/s3"),
        when: (true, false),
        ..row(
            group,
            "the replica key is `alias/aws/s3`, across accounts",
            "objects with SSE-KMS are FAILED",
            "Replicating encrypted objects",
            Outcome::Refused("InvalidSpec"),
            |_| {},
        )
    });
    rows.push(row(
        group,
        "the replica key is a multi-Region key that becomes the primary key (`Updating`)",
        "objects are replicated",
        page,
        Outcome::Harmless,
        |judged| {
            kms(judged, &replica_key(), |key| {
                "Updating".clone_into(&mut key.state);
            });
        },
    ));
    rows.push(row(
        group,
        "the source bucket's default key is not among `source.kmsKeys`",
        "new objects are FAILED",
        "Replicating encrypted objects",
        Outcome::Refused("DefaultKeyNotListed"),
        |judged| {
            let other = key(PROD, "us-east-1", "bkp").to_string();
            bucket(judged, "source", |source| {
                source.encryption = json!({"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": other}, "BucketKeyEnabled": false}]});
            });
        },
    ));
    rows
}

/// Each action that S3 needs, with the place whose policy can deny it.
fn actions() -> Vec<(String, &'static str, &'static str)> {
    let (source, replica) = (source_key(), replica_key());
    let mut all = vec![];
    for (place, reason, actions) in [
        (
            "source",
            "DeniedByBucketPolicy",
            &[
                "s3:GetReplicationConfiguration",
                "s3:ListBucket",
                "s3:GetObjectVersionForReplication",
                "s3:GetObjectVersionAcl",
            ][..],
        ),
        (
            "dest",
            "DeniedByBucketPolicy",
            &["s3:ReplicateObject", "s3:ReplicateDelete"][..],
        ),
        (source.as_str(), "DeniedByKeyPolicy", &["kms:Decrypt"][..]),
        (
            replica.as_str(),
            "DeniedByKeyPolicy",
            &["kms:Encrypt", "kms:GenerateDataKey", "kms:Decrypt"][..],
        ),
    ] {
        all.extend(
            actions
                .iter()
                .map(|action| (place.to_owned(), *action, reason)),
        );
    }
    all
}

const TAGS: &str = "tags are not replicated, or no object with tags is (two pages differ): *to be confirmed on AWS*";
const PERMISSIONS: &str = "Setting up permissions for live replication";

fn denials() -> Vec<Precondition> {
    let group = "Statements that deny";
    let mut rows = vec![];
    for (place, action, reason) in actions() {
        let what = format!("the policy of {} denies `{action}`", named(&place));
        let fields = json!({"Action": action});
        rows.push(row(
            group,
            what,
            FAILS,
            PERMISSIONS,
            Outcome::Refused(reason),
            move |judged| deny(judged, &place, &fields),
        ));
    }
    for (place, action) in [
        ("source", "s3:GetObjectVersionTagging"),
        ("dest", "s3:ReplicateTags"),
    ] {
        let what = format!("the policy of {} denies `{action}`", named(place));
        let fields = json!({"Action": action});
        rows.push(row(
            group,
            what,
            TAGS,
            "Troubleshooting replication",
            Outcome::Noted("objects with tags are replicated without them, or not at all"),
            move |judged| deny(judged, place, &fields),
        ));
    }
    let dest = |what: &str, outcome, fields: Value| {
        let what = format!("the destination's policy denies replication, {what}");
        row(
            group,
            what,
            if outcome == Outcome::Harmless {
                "objects are replicated"
            } else {
                FAILS
            },
            "IAM JSON policy elements",
            outcome,
            move |judged: &Judged| deny(judged, "dest", &fields),
        )
    };
    let denied = Outcome::Refused("DeniedByBucketPolicy");
    let other = format!("arn:aws:iam::{DR}:role/bucket-replication-operator");
    rows.extend([
        dest("but for another role (`NotPrincipal`)", denied, json!({"Action": "s3:Replicate*", "NotPrincipal": {"AWS": [other.clone(), format!("arn:aws:iam::{DR}:root")]}})),
        dest("but for reading (`NotAction`)", denied, json!({"NotAction": "s3:Get*"})),
        dest("for the role's account", denied, json!({"Action": "s3:Replicate*", "Principal": {"AWS": format!("arn:aws:iam::{PROD}:root")}})),
        dest("for another role", Outcome::Harmless, json!({"Action": "s3:Replicate*", "Principal": {"AWS": format!("arn:aws:iam::{PROD}:root")}, "Condition": {"ArnEquals": {"aws:PrincipalArn": other}}})),
        dest("for another prefix", Outcome::Harmless, json!({"Action": "s3:Replicate*", "Resource": "arn:aws:s3:::dest/Legal/*"})),
    ]);
    rows
}

fn named(place: &str) -> &'static str {
    match place {
        "source" => "the source bucket",
        "dest" => "the destination bucket",
        arn if arn == source_key() => "a source key",
        _ => "the replica key",
    }
}

fn conditions() -> Vec<Precondition> {
    let group = "Conditions of statements that deny";
    let of = |what: &str, s3: &'static str, page: &'static str, outcome, condition: Value| {
        let what = format!("the destination's policy denies replication {what}");
        let fields = json!({"Action": "s3:Replicate*", "Condition": condition});
        row(group, what, s3, page, outcome, move |judged: &Judged| {
            deny(judged, "dest", &fields);
        })
    };
    let (global, bucket_keys) = (
        "AWS global condition context keys",
        "Bucket policy condition keys",
    );
    let denied = Outcome::Refused("DeniedByBucketPolicy");
    let fine = "objects are replicated";
    vec![
        of(
            "but from a VPC endpoint (`aws:SourceVpce`)",
            FAILS,
            bucket_keys,
            denied,
            json!({"StringNotEquals": {"aws:SourceVpce": "vpce-1a2b3c4d"}}),
        ),
        of(
            "but from a VPC (`aws:SourceVpc`)",
            FAILS,
            bucket_keys,
            denied,
            json!({"StringNotEquals": {"aws:SourceVpc": "vpc-1a2b3c4d"}}),
        ),
        of(
            "without MFA (`aws:MultiFactorAuthAge`)",
            FAILS,
            global,
            denied,
            json!({"Null": {"aws:MultiFactorAuthAge": "true"}}),
        ),
        of(
            "to all but services (`aws:PrincipalIsAWSService`)",
            FAILS,
            global,
            denied,
            json!({"Bool": {"aws:PrincipalIsAWSService": "false"}}),
        ),
        of(
            "to sessions (`aws:PrincipalType`)",
            FAILS,
            global,
            denied,
            json!({"StringEquals": {"aws:PrincipalType": "AssumedRole"}}),
        ),
        of(
            "to other accounts (`aws:PrincipalAccount`)",
            FAILS,
            global,
            denied,
            json!({"StringNotEquals": {"aws:PrincipalAccount": DR}}),
        ),
        of(
            "to principals of other accounts, by a variable",
            FAILS,
            "IAM policy elements: Variables and tags",
            denied,
            json!({"StringNotEquals": {"aws:PrincipalAccount": "${aws:ResourceAccount}"}}),
        ),
        of(
            "to roles by their ARN (`aws:PrincipalArn`)",
            FAILS,
            global,
            denied,
            json!({"ArnNotLike": {"aws:PrincipalArn": format!("arn:aws:iam::{DR}:*")}}),
        ),
        of(
            "without TLS (`aws:SecureTransport`)",
            fine,
            bucket_keys,
            Outcome::Harmless,
            json!({"Bool": {"aws:SecureTransport": "false"}}),
        ),
        of(
            "with TLS before 1.2 (`s3:TlsVersion`)",
            fine,
            bucket_keys,
            Outcome::Harmless,
            json!({"NumericLessThan": {"s3:TlsVersion": "1.2"}}),
        ),
        of(
            "to the account's own principals",
            fine,
            global,
            Outcome::Harmless,
            json!({"StringEquals": {"aws:PrincipalAccount": DR}}),
        ),
        of(
            "to other organizations (`aws:PrincipalOrgID`), and `organizationID` is not set",
            "depends on the account's organization",
            global,
            Outcome::Noted("aws:PrincipalOrgID"),
            json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}),
        ),
        of(
            "by a tag of the principal (`aws:PrincipalTag`)",
            "*to be confirmed on AWS*",
            global,
            Outcome::Noted("aws:PrincipalTag/team"),
            json!({"StringNotEquals": {"aws:PrincipalTag/team": "storage"}}),
        ),
    ]
}

fn boundaries() -> Vec<Precondition> {
    let group = "The permissions boundary of the role";
    let page = "Permissions boundaries for IAM entities";
    let mut rows = vec![];
    for (_, action, _) in actions() {
        if rows
            .iter()
            .any(|row: &Precondition| row.what.contains(&format!("`{action}`")))
        {
            continue;
        }
        let breaks = move |judged: &Judged| {
            let accounts = Accounts::new(&judged.cluster.accounts);
            let mut printed = boundary(accounts.by_name("prod").unwrap(), &accounts).json();
            without(&mut printed, action);
            set_boundary(judged, document(printed));
        };
        rows.push(row(
            group,
            format!("it does not allow `{action}`"),
            FAILS,
            page,
            Outcome::Refused("BoundaryTooNarrow"),
            breaks,
        ));
    }
    rows.push(row(
        group,
        "it does not exist",
        FAILS,
        page,
        Outcome::Refused("BoundaryTooNarrow"),
        |judged| {
            judged
                .aws
                .with(|state| drop(state.policies.remove(BOUNDARY)));
        },
    ));
    for action in ["s3:GetObjectVersionTagging", "s3:ReplicateTags"] {
        let breaks = move |judged: &Judged| {
            let accounts = Accounts::new(&judged.cluster.accounts);
            let mut printed = boundary(accounts.by_name("prod").unwrap(), &accounts).json();
            without(&mut printed, action);
            set_boundary(judged, document(printed));
        };
        let outcome = Outcome::Noted("objects with tags are replicated without them");
        let what = format!("it does not allow `{action}`");
        rows.push(row(group, what, TAGS, page, outcome, breaks));
    }
    for row in &mut rows {
        row.roles = json!({"permissionsBoundaryARN": BOUNDARY});
        row.before = put_boundary;
    }
    rows
}

fn checked() -> Vec<Precondition> {
    let group = "Policies that their owners write (`policies: Check`)";
    let mut rows = vec![];
    for (place, action, reason) in [
        (
            "dest".to_owned(),
            "s3:ReplicateObject",
            "BucketPolicyNeeded",
        ),
        (
            "dest".to_owned(),
            "s3:ReplicateDelete",
            "BucketPolicyNeeded",
        ),
        (replica_key(), "kms:Encrypt", "KeyPolicyNeeded"),
        (replica_key(), "kms:GenerateDataKey", "KeyPolicyNeeded"),
        (replica_key(), "kms:Decrypt", "KeyPolicyNeeded"),
    ] {
        let what = format!(
            "the policy of {} no longer allows `{action}`",
            named(&place)
        );
        rows.push(Precondition {
            when: (false, true),
            policies: json!({"bucketPolicy": "Check", "keyPolicy": "Check"}),
            ..row(
                group,
                what,
                FAILS,
                PERMISSIONS,
                Outcome::Refused(reason),
                move |judged| {
                    edit_policy(judged, &place, |policy| without(policy, action));
                },
            )
        });
    }
    rows.push(Precondition {
        when: (true, false),
        policies: json!({"bucketPolicy": "Check"}),
        ..row(
            group,
            "the policy of the destination bucket has no statement for the role",
            FAILS,
            PERMISSIONS,
            Outcome::Refused("BucketPolicyNeeded"),
            |_| {},
        )
    });
    rows.push(Precondition {
        when: (true, false),
        policies: json!({"keyPolicy": "Check"}),
        ..row(
            group,
            "the policy of the replica key has no statement for the role",
            FAILS,
            PERMISSIONS,
            Outcome::Refused("KeyPolicyNeeded"),
            |_| {},
        )
    });
    rows
}

/// What the operator writes and another writer takes away: a role can't be assumed in between, so that objects fail until it is corrected.
fn drift() -> Vec<Precondition> {
    let group = "What the operator wrote, changed by another writer";
    let of = |what: &str, breaks: fn(&Judged)| Precondition {
        when: (false, true),
        ..row(
            group,
            what,
            "objects are FAILED until it is corrected",
            PERMISSIONS,
            Outcome::Corrected,
            breaks,
        )
    };
    vec![
        of("the role is deleted", |judged| {
            judged.aws.with(|state| {
                state
                    .roles
                    .retain(|_, role| !role.arn.name.as_str().starts_with("brepl-"));
            });
        }),
        of("the role's trust policy names another service", |judged| {
            role(judged, |role| {
                role.trust = document(
                    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}),
                );
            });
        }),
        of("the role's policy is deleted", |judged| {
            role(judged, |role| role.inline.clear());
        }),
        of("the role's policy lacks an action", |judged| {
            role(judged, |role| {
                for policy in role.inline.values_mut() {
                    let mut json = policy.json();
                    without(&mut json, "s3:ReplicateObject");
                    *policy = document(json);
                }
            });
        }),
        of(
            "the policy of the destination bucket is deleted",
            |judged| {
                bucket(judged, "dest", |dest| dest.policy = None);
            },
        ),
        of(
            "the statement in the policy of the replica key is removed",
            |judged| {
                edit_policy(judged, &replica_key(), |policy| {
                    without(policy, "kms:Encrypt");
                });
            },
        ),
        of("the replication configuration is deleted", |judged| {
            bucket(judged, "source", |source| source.replication = None);
        }),
        of("the rule is disabled", |judged| {
            bucket(judged, "source", |source| {
                for rule in source
                    .replication
                    .iter_mut()
                    .flat_map(|configuration| &mut configuration.rules)
                {
                    rule.status = false.into();
                }
            });
        }),
    ]
}
