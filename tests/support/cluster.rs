//! A cluster in memory around the real visit: objects with their statuses and finalizers, and a clock that the test moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bucket_replication_operator::{
    api::{
        AwsAccount,
        bucket_replication::{BucketReplicationSpec, BucketReplicationStatus},
        verification::Verified,
    },
    cloud::{
        Cloud,
        aws::{Aws, AwsCloud, LatestAccounts},
        editor::Editors,
    },
    controller::visit::{Gate, decided, visit},
    leader::Leadership,
    replication::{
        Object,
        accounts::Accounts,
        configuration::{Configuration, Filter, ReplicationRule, RuleDestination, Setting},
        decision::Decision,
        keys::KeyArn,
        names::{InstallationId, ObjectKey, OwnedBucket, Partition},
        observed::Observed,
        plan::Step,
        requeue::Ending,
        visit::{Confirmation, Opened, Times, Visit, memory::Memory, report::Report},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use strict_aws::state::Role;

use super::{
    in_process::{add_key, add_operator, assume_role, bucket as new_bucket, document},
    world::{State, World},
};

pub const PROD: &str = "111111111111";
pub const DR: &str = "222222222222";
pub const KEYS: &str = "333333333333";
/// A role of somebody else that `AWSAccount` prod lists as mergeable.
pub const THEIR_ROLE: &str = "arn:aws:iam::111111111111:role/service/theirs";

pub fn installation() -> InstallationId {
    "test".parse().unwrap()
}

pub fn bucket(account: &str, name: &str) -> OwnedBucket {
    OwnedBucket {
        partition: Partition::Aws,
        account: account.parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

pub fn key(account: &str, region: &str, id: &str) -> KeyArn {
    format!("arn:aws:kms:{region}:{account}:key/{id}")
        .parse()
        .unwrap()
}

/// An `AWSAccount` whose grants allow everything to the namespaces of the tests.
pub fn account(name: &str, id: &str, extra: &Value) -> AwsAccount {
    let mut spec = json!({
        "accountID": id,
        "assumeRole": assume_role(id),
        "contact": "#storage",
        "grants": [{
            "namespaces": {"matchLabels": {"team": "finance"}},
            "sources": [{"bucket": "*", "destinationAccountNames": ["prod", "dr"]}],
            "destinations": [{"bucket": "*"}],
            "kmsKeys": ["arn:aws:kms:*"],
            "allow": ["EnableVersioning", "MergeConfiguration", "Retain"],
        }],
    });
    for (field, value) in extra.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    serde_json::from_value(json!({"apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name}, "spec": spec}))
        .unwrap()
}

/// Three accounts with buckets, keys and what their owners put there, in which the operator may do anything.
pub fn ground() -> World {
    let world = World::new(installation());
    world.edit(|state| {
        for (account, name, region) in [
            (PROD, "source", "us-east-1"),
            (PROD, "backup", "us-east-1"),
            (DR, "dest", "us-west-2"),
            (DR, "archive", "eu-west-1"),
        ] {
            let mut made = new_bucket(account, region);
            made.policy = (name == "dest").then(|| {
                document(json!({"Version": "2012-10-17", "Statement": [{
                    "Sid": "TheirsÄ", "Effect": "Deny", "NotPrincipal": {"AWS": [DR, PROD]}, "Action": "s3:DeleteBucket",
                    "Resource": format!("arn:aws:s3:::{name}"),
                }]}))
            });
            state.buckets.insert(name.to_owned(), made);
        }
        for (account, region, id) in [
            (PROD, "us-east-1", "src"),
            (PROD, "us-east-1", "src2"),
            (PROD, "us-east-1", "bkp"),
            (DR, "us-west-2", "dst"),
            (KEYS, "us-west-2", "central"),
            (DR, "eu-west-1", "arc"),
        ] {
            add_key(state, account, region, id);
        }
        let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        let accounts = Accounts::new(&Cluster::default().accounts);
        add_operator(state, &accounts, |_| document(all.clone()));
    });
    world
}

/// Objects with their generation and status.
pub type Objects = BTreeMap<ObjectKey, (Object, i64, BucketReplicationStatus)>;

/// Another writer creates `THEIR_ROLE`, with a policy of its own.
pub fn make_their_role(state: &mut State) {
    let own = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]});
    let made = Role {
        arn: THEIR_ROLE.parse().unwrap(),
        id: "AROATHEIRS".into(),
        trust: bucket_replication_operator::replication::composition::desired::trust(),
        inline: [("own".to_owned(), document(own))].into(),
        attached: vec![],
        boundary: None,
        tags: BTreeMap::new(),
        description: String::new(),
        created: 0,
    };
    state
        .roles
        .insert((made.arn.account.clone(), "theirs".to_owned()), made);
}

/// The source bucket is replicated already, under a role of somebody else.
pub fn put_theirs(state: &mut State, held_by: &str, filter: Option<Filter>) {
    make_their_role(state);
    let rule = ReplicationRule {
        id: Some("legacy".into()),
        priority: Some(9),
        filter,
        destination: RuleDestination {
            bucket: "arn:aws:s3:::backup".into(),
            ..RuleDestination::default()
        },
        delete_marker_replication: Some(Setting::new(false)),
        ..ReplicationRule::default()
    };
    state.buckets.get_mut("source").unwrap().replication = Some(Configuration {
        role: held_by.into(),
        rules: vec![rule],
    });
}

/// The objects of a cluster, and the memory of the operator.
pub struct Cluster {
    /// That of the operator.
    pub installation: InstallationId,
    /// The source bucket of all objects.
    pub source: OwnedBucket,
    pub accounts: Vec<AwsAccount>,
    pub objects: Objects,
    pub memory: Memory,
    pub editors: Editors,
    pub clock: Arc<Mutex<Timestamp>>,
    pub times: Times,
    /// What the operator's store holds, where it lags behind the API server.
    pub stale: Option<Objects>,
    /// The namespaces that the operator watches; all, if there are none.
    pub watched: BTreeSet<String>,
    /// The objects to which the API server adds no finalizer.
    pub unholdable: BTreeSet<ObjectKey>,
    pub created: i64,
}

fn editors(clock: &Arc<Mutex<Timestamp>>) -> Editors {
    let clock = Arc::clone(clock);
    Editors::new(Duration::from_secs(5), move || *clock.lock().unwrap())
}

impl Default for Cluster {
    fn default() -> Self {
        let clock = Arc::new(Mutex::new(Timestamp::from_second(1_800_000_000).unwrap()));
        Self {
            installation: installation(),
            source: bucket(PROD, "source"),
            accounts: vec![
                account(
                    "prod",
                    PROD,
                    &json!({"roles": {"mergeableRoleARNs": [THEIR_ROLE]}}),
                ),
                account("dr", DR, &json!({})),
                account("keys", KEYS, &json!({})),
            ],
            objects: BTreeMap::new(),
            memory: Memory::default(),
            editors: editors(&clock),
            clock,
            times: Times {
                preflight: Duration::from_hours(1),
                grace: Duration::from_secs(5),
                settle: Duration::from_secs(15),
                sweep: Duration::from_hours(6),
                retry: Duration::from_mins(5),
                drain: Duration::ZERO,
            },
            stale: None,
            watched: BTreeSet::new(),
            unholdable: BTreeSet::new(),
            created: 0,
        }
    }
}

/// Opens if what the visit took from the store exists so, and adds the finalizer, which stays if the visit is interrupted later.
struct StoreGate<'a> {
    /// What the visit took from the store.
    taken: Objects,
    /// The namespaces that it lists; all, if there are none.
    lists: BTreeSet<String>,
    refused: &'a BTreeSet<ObjectKey>,
    objects: Mutex<&'a mut Objects>,
}

impl Gate for StoreGate<'_> {
    async fn open(&self, confirmation: &Confirmation) -> Opened {
        let acting = &confirmation.acting;
        let mut objects = self.objects.lock().unwrap();
        let version = |(object, generation, _): &(Object, i64, BucketReplicationStatus)| {
            (object.is_deleting(), *generation)
        };
        let as_taken =
            |(key, taken): (&ObjectKey, _)| objects.get(key).map(version) == Some(version(taken));
        let is_listed =
            |key: &&ObjectKey| self.lists.is_empty() || self.lists.contains(&key.namespace);
        let listed = objects.keys().filter(is_listed).count();
        let lacks_some = confirmation.all && self.taken.len() < listed;
        if lacks_some || !self.taken.iter().all(as_taken) {
            return Opened::Changed;
        }
        let refused: BTreeMap<_, _> = acting
            .iter()
            .filter(|key| self.refused.contains(key))
            .map(|key| (key.clone(), "denied by a webhook".to_owned()))
            .collect();
        for key in acting.iter().filter(|key| !refused.contains_key(key)) {
            objects.get_mut(key).unwrap().0.held = true;
        }
        if refused.is_empty() {
            Opened::Open
        } else {
            Opened::Refused(refused)
        }
    }
}

pub fn object_key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: "finance".into(),
        name: name.into(),
    }
}

impl Cluster {
    /// Changes the spec of an `AWSAccount`.
    pub fn edit_account(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut accounts = self.accounts.iter_mut();
        let account = accounts.find(|account| account.metadata.name.as_deref() == Some(name));
        let account = account.unwrap();
        let mut spec = serde_json::to_value(&account.spec).unwrap();
        edit(&mut spec);
        account.spec = serde_json::from_value(spec).unwrap();
    }

    /// Applies an object, as `kubectl apply` does.
    pub fn apply(&mut self, name: &str, spec: &Value) {
        self.apply_as(object_key(name), spec);
    }

    /// The same in any namespace.
    pub fn apply_as(&mut self, key: ObjectKey, spec: &Value) {
        let spec: BucketReplicationSpec = serde_json::from_value(spec.clone()).unwrap();
        self.created += 1;
        let created = self.created;
        let entry = self.objects.entry(key).or_insert_with_key(|key| {
            let object = Object {
                key: key.clone(),
                uid: format!("uid-{created}"),
                created: Timestamp::from_second(created).ok(),
                spec: spec.clone(),
                take_over: BTreeSet::new(),
                verify: None,
                applied: None,
                deleted: None,
                abandoned: false,
                held: false,
                generation: None,
                status: BucketReplicationStatus::default(),
                verified: Verified::default(),
                namespace_labels: [("team".to_owned(), "finance".to_owned())].into(),
            };
            (object, 0, BucketReplicationStatus::default())
        });
        if entry.1 == 0 || entry.0.spec != spec {
            entry.0.spec = spec;
            entry.1 += 1;
        }
    }

    /// Says that what owners have to apply is applied, with the fingerprint that the object's message names.
    pub fn attest(&mut self, name: &str) {
        let message = self.message(name, "Ready");
        let (_, fingerprint) = message.split_once("bucketops.dev/applied=").unwrap();
        let end = fingerprint.find(|c: char| !c.is_ascii_hexdigit());
        let fingerprint = &fingerprint[..end.unwrap_or(fingerprint.len())];
        let (object, ..) = self.objects.get_mut(&object_key(name)).unwrap();
        object.applied = Some(fingerprint.to_owned());
    }

    /// Deletes an object, as `kubectl delete` does.
    pub fn delete(&mut self, name: &str) {
        let key = object_key(name);
        let Some(entry) = self.objects.get_mut(&key) else {
            return;
        };
        if entry.0.held {
            entry.0.deleted = Some(*self.clock.lock().unwrap());
            entry.1 += 1;
        } else {
            self.objects.remove(&key);
        }
    }

    /// The operator is gone and comes again: it has forgotten everything.
    pub fn restart(&mut self) {
        self.memory = Memory::default();
        self.editors = editors(&self.clock);
    }

    pub fn pass(&self, seconds: i64) {
        let mut clock = self.clock.lock().unwrap();
        *clock = clock
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap();
    }

    /// What a visit to the bucket is about.
    pub fn subject(&self) -> Visit {
        let objects = self
            .known()
            .into_values()
            .map(|(object, generation, status)| Object {
                generation: Some(generation),
                status,
                ..object
            });
        Visit::new(
            self.installation.clone(),
            Arc::new(Accounts::new(&self.accounts)),
            self.source.clone(),
            objects.collect(),
            std::collections::BTreeSet::new(),
            self.times,
            *self.clock.lock().unwrap(),
        )
        .watching(self.watched.iter().cloned())
    }

    /// What the operator's store holds.
    fn known(&self) -> Objects {
        let mut known = self.stale.as_ref().unwrap_or(&self.objects).clone();
        known.retain(|key, _| self.watched.is_empty() || self.watched.contains(&key.namespace));
        known
    }

    /// The operator's border for visits to the bucket, with those clients.
    pub fn cloud(&self, aws: Aws) -> AwsCloud {
        let accounts = Arc::new(Accounts::new(&self.accounts));
        let latest = Arc::clone(&accounts);
        AwsCloud {
            aws,
            accounts,
            latest: LatestAccounts::by(move || Arc::clone(&latest)),
            role: self.subject().role(),
            since: self.editors.moment(),
            editors: self.editors.clone(),
            leadership: Leadership::alone(),
        }
    }

    /// One visit to the bucket.
    pub async fn visit(&mut self, world: &World) -> Report {
        let process = world.process(|aws| self.cloud(aws));
        self.visit_with(&process).await
    }

    /// One visit to the bucket, with AWS behind `cloud`.
    pub async fn visit_with<C: Cloud>(&mut self, cloud: &C) -> Report {
        let subject = self.subject();
        let now = *self.clock.lock().unwrap();
        let gate = StoreGate {
            taken: self.known(),
            lists: self.watched.clone(),
            refused: &self.unholdable,
            objects: Mutex::new(&mut self.objects),
        };
        let memory = std::mem::take(&mut self.memory);
        let report = visit(cloud, &gate, &subject, memory, || now).await;
        self.memory = report.memory.clone();
        self.memory.count(report.ending);
        if self.stale.is_some() {
            // The API server takes no write that names an old resource version.
            return report;
        }
        for (key, status) in &report.statuses {
            self.objects.get_mut(key).unwrap().2 = status.clone();
        }
        for key in &report.released {
            self.objects.remove(key);
        }
        report
    }

    /// What a visit would decide now, as `plan` does: with permissions taken for known everywhere.
    pub async fn decide(&self, world: &World) -> (Decision, Observed) {
        let process = world.process(|aws| self.cloud(aws));
        let mut visit = self.subject();
        visit.times = Times::AT_ONCE;
        decided(&process, &visit).await.unwrap()
    }

    /// Visits until nothing is left to do, with time passing in between; the number of visits that it took.
    pub async fn settle(&mut self, world: &World) -> usize {
        let mut last = String::new();
        for round in 1..=12 {
            if self.objects.is_empty() {
                return round;
            }
            let report = self.visit(world).await;
            self.pass(30);
            last = format!(
                "{:?}: {:?}",
                report.ending,
                report
                    .done
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            );
            let wrote = report.done.iter().any(|step| *step != Step::Settle);
            if !wrote
                && matches!(report.ending, Ending::Done | Ending::Blocked)
                && report.released.is_empty()
            {
                return round;
            }
        }
        panic!("twelve visits did not bring it to rest; the last one ended {last}");
    }

    /// Status and reason of a condition.
    pub fn condition(&self, name: &str, kind: &str) -> (String, String) {
        let status = &self.objects[&object_key(name)].2;
        let found = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind);
        found
            .map(|condition| (condition.status.clone(), condition.reason.clone()))
            .unwrap_or_default()
    }

    pub fn message(&self, name: &str, kind: &str) -> String {
        let status = &self.objects[&object_key(name)].2;
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .map(|condition| condition.message.clone())
            .unwrap_or_default()
    }
}

/// A spec: from `source` to `destination`, with what `extra` says.
pub fn spec(destination: (&str, &str), replica_key: Option<&KeyArn>, extra: &Value) -> Value {
    let mut spec = json!({"source": {"accountName": "prod", "bucket": "source"}, "destination": {"accountName": destination.0, "bucket": destination.1}});
    if let Some(replica_key) = replica_key {
        spec["destination"]["kmsKey"] = json!(replica_key.to_string());
        spec["source"]["kmsKeys"] = json!([key(PROD, "us-east-1", "src").to_string()]);
    }
    for (field, value) in extra.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    spec
}
