//! Random policies and requests by the grammar of the policy language, with a count of what was made.

use std::collections::BTreeMap;

use bucket_replication_operator::replication::{
    arns::RoleArn,
    evaluation::{Caller, Context, Policies, Possible, Request, Resource, ResourcePolicy, Session},
    names::{AccountId, Partition},
    policy::Document,
};
use serde_json::{Map, Value, json};

use crate::random::Random;

pub const ACCOUNT: &str = "111111111111";
const OTHER: &str = "222222222222";
const ROLE: &str = "arn:aws:iam::111111111111:role/replication";
const SESSION: &str = "arn:aws:sts::111111111111:assumed-role/replication/s3-replication";
const KEY: &str = "arn:aws:kms:us-east-1:111111111111:key/11111111-1111-1111-1111-111111111111";

/// A condition key: its name, the operators for it without prefix and suffix, its values, and whether it has several.
struct Key {
    name: &'static str,
    tests: &'static [&'static str],
    values: &'static [&'static str],
    several: bool,
}

const STRINGS: &[&str] = &[
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
];
const NUMBERS: &[&str] = &[
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
];
const DATES: &[&str] = &[
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
];
const ARNS: &[&str] = &["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"];

const KEYS: &[Key] = &[
    key("aws:PrincipalAccount", STRINGS, &[ACCOUNT, OTHER]),
    key("aws:ResourceAccount", STRINGS, &[ACCOUNT, OTHER]),
    key("aws:PrincipalOrgID", STRINGS, &["o-one", "o-two", "O-ONE"]),
    key("aws:SourceVpce", STRINGS, &["vpce-1", "vpce-2"]),
    key(
        "aws:PrincipalTag/team",
        STRINGS,
        &["finance", "fin*", "a?c"],
    ),
    key(
        "aws:PrincipalTag/blob",
        &["BinaryEquals"],
        &["QQ==", "Qg=="],
    ),
    key(
        "aws:PrincipalArn",
        ARNS,
        &[ROLE, "arn:aws:iam::111111111111:role/other"],
    ),
    key(
        "aws:SourceArn",
        ARNS,
        &["arn:aws:s3:::records", "arn:aws:s3:::other"],
    ),
    key("aws:SecureTransport", &["Bool"], &["true", "false"]),
    key("aws:ViaAWSService", &["Bool"], &["true", "false"]),
    key("aws:MultiFactorAuthAge", NUMBERS, &["0", "10", "3600"]),
    key(
        "aws:CurrentTime",
        DATES,
        &["2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"],
    ),
    key(
        "aws:SourceIp",
        &["IpAddress", "NotIpAddress"],
        &["203.0.113.9", "10.0.0.1", "2001:db8::1"],
    ),
    Key {
        name: "aws:PrincipalOrgPaths",
        tests: STRINGS,
        values: &["o-one/r/a/", "o-one/r/b/", "o-two/r/"],
        several: true,
    },
    Key {
        name: "aws:CalledVia",
        tests: STRINGS,
        values: &["s3.amazonaws.com", "athena.amazonaws.com"],
        several: true,
    },
];

const fn key(
    name: &'static str,
    tests: &'static [&'static str],
    values: &'static [&'static str],
) -> Key {
    Key {
        name,
        tests,
        values,
        several: false,
    }
}

/// What a request is for.
struct Target {
    kind: &'static str,
    resource: &'static str,
    actions: &'static [&'static str],
    /// Patterns of actions and of resources that policies have for it.
    action_patterns: &'static [&'static str],
    resource_patterns: &'static [&'static str],
}

const TARGETS: &[Target] = &[
    Target {
        kind: "object",
        resource: "arn:aws:s3:::records/Tax/2026",
        actions: &[
            "s3:ReplicateObject",
            "s3:ReplicateTags",
            "s3:GetObjectVersionForReplication",
        ],
        action_patterns: &[
            "*",
            "s3:*",
            "S3:replicate*",
            "s3:ReplicateObject",
            "s3:Get?bject*",
            "s3:ReplicateTags",
        ],
        resource_patterns: &[
            "*",
            "arn:aws:s3:::*",
            "arn:aws:s3:::records/*",
            "arn:aws:s3:::records/Tax*",
            "arn:aws:s3:::rec?rds/T*6",
            "arn:aws:s3:::records",
            "arn:aws:s3:::records/Legal/*",
            "arn:aws:s3:::${aws:PrincipalTag/team}/*",
            "arn:aws:s3:::${aws:PrincipalTag/missing, 'records'}/*",
        ],
    },
    Target {
        kind: "bucket",
        resource: "arn:aws:s3:::records",
        actions: &["s3:ListBucket", "s3:GetReplicationConfiguration"],
        action_patterns: &[
            "*",
            "s3:List*",
            "s3:ListBucket",
            "s3:Get*",
            "s3:PutBucketPolicy",
        ],
        resource_patterns: &[
            "*",
            "arn:aws:s3:::records",
            "arn:aws:s3:::rec*",
            "arn:aws:s3:::records/*",
            "arn:aws:s3:::other",
        ],
    },
    Target {
        kind: "key",
        resource: KEY,
        actions: &["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"],
        action_patterns: &[
            "*",
            "kms:*",
            "kms:Decrypt",
            "kms:*crypt",
            "kms:GenerateDataKey*",
        ],
        resource_patterns: &[
            "*",
            KEY,
            "arn:aws:kms:*:111111111111:key/*",
            "arn:aws:kms:us-west-2:*:key/*",
        ],
    },
];

const PRINCIPALS: &[(&str, &[&str])] = &[
    ("role", &[ROLE]),
    ("session", &[SESSION]),
    ("root", &["arn:aws:iam::111111111111:root"]),
    ("account", &[ACCOUNT]),
    ("anyone", &["*"]),
    ("unique ID", &["AROAEXAMPLEEXAMPLEEX"]),
    ("another account", &[OTHER]),
    ("another role", &["arn:aws:iam::111111111111:role/other"]),
    ("user", &["arn:aws:iam::111111111111:user/ann"]),
    ("several", &[ROLE, OTHER]),
];

/// Policy variables of keys.
const VARIABLES: &[&str] = &[
    "${aws:PrincipalAccount}",
    "${aws:PrincipalTag/team}",
    "${aws:SourceVpce, 'vpce-1'}",
];
/// Policy variables of characters: outside of patterns, the independent evaluator does not read these.
const CHARACTERS: &[&str] = &["fin${*}", "${$}x"];

/// A request with the policies that decide on it.
#[derive(Debug)]
pub struct Case {
    pub kind: &'static str,
    pub resource: &'static str,
    pub owner: &'static str,
    pub action: &'static str,
    pub identity: Value,
    pub boundary: Option<Value>,
    pub policy: Option<Value>,
    /// The condition keys that the request has.
    pub keys: BTreeMap<&'static str, Possible>,
    /// Those that are not told to the evaluator that is tested.
    pub hidden: Vec<&'static str>,
}

/// Makes cases, and counts what is in them.
pub struct Generator {
    random: Random,
    pub made: BTreeMap<String, usize>,
}

impl Generator {
    pub fn new() -> Self {
        Self {
            random: Random::new(0),
            made: BTreeMap::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn count(&mut self, what: &str) {
        *self.made.entry(what.to_owned()).or_default() += 1;
    }

    pub fn case(&mut self) -> Case {
        let target = &TARGETS[self.below(TARGETS.len())];
        let owner = self.pick(&[ACCOUNT, ACCOUNT, OTHER]);
        self.count(if owner == ACCOUNT {
            "within an account"
        } else {
            "across accounts"
        });
        let identity = self.policy(target, false);
        let boundary = self.one_in(3).then(|| self.policy(target, false));
        self.count(if boundary.is_some() {
            "a permissions boundary"
        } else {
            "no permissions boundary"
        });
        // A key always has a policy.
        let has_policy = target.kind == "key" || !self.one_in(4);
        let policy = has_policy.then(|| self.policy(target, true));
        let mut keys = BTreeMap::new();
        for key in KEYS {
            if self.one_in(3) {
                continue;
            }
            let value = if key.several {
                let several = (0..self.below(3)).map(|_| self.pick(key.values).to_owned());
                // The independent evaluator has no empty list.
                let several: Vec<_> = several.collect();
                if several.is_empty() {
                    continue;
                }
                Possible::Several(several)
            } else {
                Possible::One(self.pick(key.values).to_owned())
            };
            keys.insert(key.name, value);
        }
        keys.insert("aws:PrincipalAccount", Possible::One(ACCOUNT.to_owned()));
        keys.insert("aws:PrincipalArn", Possible::One(ROLE.to_owned()));
        keys.insert("aws:ResourceAccount", Possible::One(owner.to_owned()));
        let hidden = if self.one_in(2) {
            KEYS.iter()
                .map(|key| key.name)
                .filter(|_| self.one_in(4))
                .collect()
        } else {
            vec![]
        };
        Case {
            kind: target.kind,
            resource: target.resource,
            owner,
            action: self.pick(target.actions),
            identity,
            boundary,
            policy,
            keys,
            hidden,
        }
    }

    fn policy(&mut self, target: &Target, has_principals: bool) -> Value {
        // Mostly something is allowed at all, so that the rest of the policy decides.
        let mut statements = vec![];
        if !self.one_in(3) {
            let mut wide = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
            if has_principals {
                wide["Principal"] = self.principal();
            }
            statements.push(wide);
        }
        let more = self.below(3);
        statements.extend((0..more).map(|_| self.statement(target, has_principals)));
        if statements.is_empty() {
            statements.push(self.statement(target, has_principals));
        }
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    fn statement(&mut self, target: &Target, has_principals: bool) -> Value {
        let effect = self.pick(&["Allow", "Deny"]);
        let mut statement = Map::new();
        statement.insert("Effect".into(), json!(effect));
        if has_principals {
            // What partial lists spare is in unit tests: AWS's page and the independent evaluator differ.
            if effect == "Deny" && self.one_in(4) {
                let whole = self.one_in(2);
                let names = if whole {
                    json!([ROLE, SESSION, "arn:aws:iam::111111111111:root"])
                } else {
                    json!([OTHER, "arn:aws:iam::222222222222:role/other"])
                };
                self.count(if whole {
                    "NotPrincipal, whole"
                } else {
                    "NotPrincipal, others"
                });
                statement.insert("NotPrincipal".into(), json!({"AWS": names}));
            } else {
                let principal = self.principal();
                statement.insert("Principal".into(), principal);
            }
        }
        for (element, patterns) in [
            ("Action", target.action_patterns),
            ("Resource", target.resource_patterns),
        ] {
            let name = if self.one_in(4) {
                format!("Not{element}")
            } else {
                element.to_owned()
            };
            let some = 1 + self.below(2);
            let values: Vec<_> = (0..some).map(|_| self.pick(patterns)).collect();
            if values.iter().any(|value| value.contains("${")) {
                self.count("a policy variable in Resource");
            }
            self.count(&name);
            statement.insert(name, json!(values));
        }
        let conditions = self.below(3);
        let mut block = Map::new();
        for _ in 0..conditions {
            let (operator, key, values) = self.condition();
            let operators = block.entry(operator).or_insert_with(|| json!({}));
            operators[key] = values;
        }
        if !block.is_empty() {
            statement.insert("Condition".into(), Value::Object(block));
        }
        Value::Object(statement)
    }

    fn principal(&mut self) -> Value {
        let (name, principals) = self.pick(PRINCIPALS);
        self.count(&format!("principal: {name}"));
        match (name, self.below(6)) {
            ("anyone", 0..3) => json!("*"),
            (_, 0) => {
                self.count("principal: service");
                json!({"AWS": principals, "Service": "s3.amazonaws.com"})
            }
            _ => json!({ "AWS": principals }),
        }
    }

    fn condition(&mut self) -> (String, &'static str, Value) {
        let key = &KEYS[self.below(KEYS.len())];
        if self.one_in(10) {
            self.count("Null");
            return (
                "Null".into(),
                key.name,
                json!(self.pick(&["true", "false"])),
            );
        }
        let test = self.pick(key.tests);
        self.count(test);
        let set = match (key.several, self.below(4)) {
            (true, 0 | 1) | (false, 0) => "ForAllValues:",
            (true, 2) | (false, 1) => "ForAnyValue:",
            _ => "",
        };
        let suffix = if self.one_in(4) { "IfExists" } else { "" };
        self.count(if set.is_empty() {
            "no set operator"
        } else {
            set
        });
        self.count(if suffix.is_empty() {
            "without IfExists"
        } else {
            suffix
        });
        let some = 1 + self.below(2);
        let values: Vec<_> = (0..some).map(|_| self.value(key, test)).collect();
        (format!("{set}{test}{suffix}"), key.name, json!(values))
    }

    /// A value of a policy: one that a request may have, a pattern or a variable for it.
    fn value(&mut self, key: &Key, test: &str) -> String {
        let value = self.pick(key.values).to_owned();
        if test.starts_with("String") && self.one_in(5) {
            self.count("a policy variable in a condition");
            let character = test.ends_with("Like") && self.one_in(3);
            return self
                .pick(if character { CHARACTERS } else { VARIABLES })
                .to_owned();
        }
        let is_pattern = test.contains("Like") || test.starts_with("Arn");
        if is_pattern && self.one_in(2) {
            self.count("a pattern in a condition");
            let cut = value.len() / 2;
            return if test.starts_with("Arn") {
                format!("{}*", &value[..value.len() - 2])
            } else {
                format!("{}*", &value[..cut])
            };
        }
        if test.ends_with("IpAddress") {
            // Of an address without a length, the independent evaluator says that no address of the other kind differs from it.
            self.count("a network in a condition");
            return self
                .pick(&[
                    "203.0.113.0/24",
                    "203.0.113.9/32",
                    "10.0.0.0/8",
                    "2001:db8::/32",
                ])
                .to_owned();
        }
        value
    }
}

impl Case {
    /// As the independent evaluator reads it.
    pub fn cell(&self, name: &str) -> Value {
        let context: Map<_, _> = self
            .keys
            .iter()
            .filter_map(|(key, value)| match value {
                Possible::One(one) => Some(((*key).to_owned(), json!(one))),
                Possible::Several(several) => Some(((*key).to_owned(), json!(several))),
                Possible::Absent => None,
            })
            .collect();
        let (service, kind) = if self.kind == "key" {
            ("kms", "key")
        } else {
            ("s3", self.kind)
        };
        let mut cell = json!({
            "name": name, "service": service, "type": kind, "resource": self.resource, "account": self.owner, "principal": SESSION,
            "context": context, "identity": self.identity, "actions": [self.action],
        });
        if let Some(boundary) = &self.boundary {
            cell["boundary"] = boundary.clone();
        }
        if let Some(policy) = &self.policy {
            cell["policy"] = policy.clone();
        }
        cell
    }

    /// What the evaluator that is tested says.
    pub fn access(&self) -> bucket_replication_operator::replication::evaluation::Access {
        let document = |value: &Value| Document::parse(&value.to_string()).unwrap();
        let mut context = Context::complete();
        for (key, value) in &self.keys {
            context = context.with_possible(key, vec![value.clone()]);
        }
        for hidden in &self.hidden {
            // The value that it has is among the possible ones, or nothing is said of the key.
            let possible = match self.keys.get(hidden) {
                Some(actual) => vec![Possible::Absent, actual.clone()],
                None => vec![],
            };
            context = context.with_possible(hidden, possible);
        }
        let role: RoleArn = ROLE.parse().unwrap();
        assert_eq!(role.partition, Partition::Aws);
        let caller = Caller::Session(Session {
            role,
            role_id: Some("AROAOFTHEROLE".into()),
            name: "s3-replication".into(),
            bounded: Some(self.boundary.is_some()),
        });
        let identity = [document(&self.identity)];
        let (boundary, policy) = (
            self.boundary.as_ref().map(document),
            self.policy.as_ref().map(document),
        );
        let owner: AccountId = self.owner.parse().unwrap();
        let resource = match &policy {
            Some(policy) if self.kind == "key" => ResourcePolicy::Key(policy),
            policy => ResourcePolicy::Bucket(policy.as_ref()),
        };
        let policies = Policies {
            identity: &identity,
            boundary: boundary.as_ref(),
            resource,
            owner: &owner,
        };
        let asked = Resource::one(self.resource);
        let request = Request {
            caller: &caller,
            action: self.action,
            resource: &asked,
            context: &context,
        };
        bucket_replication_operator::replication::evaluation::access(&request, &policies)
    }
}
