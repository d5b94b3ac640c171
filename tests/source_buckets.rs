//! Several source buckets of two accounts toward the same destinations and keys, on the strict AWS: the statements that they share are let go by
//! the last one, and whatever else happens meanwhile, what is Ready replicates.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "judged/mod.rs"]
mod ground;
mod random;
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bucket_replication_operator::api::bucket_replication::BucketReplicationStatus;
use bucket_replication_operator::replication::{
    arns::RoleArn,
    grantee::Grantee,
    names::RoleName,
    policy::{Document, Purpose, Statement},
    requeue::Ending,
};
use futures::future::join_all;
use ground::Judged;
use random::{Random, seed};
use serde_json::{Value, json};
use strict_aws::weather::{Fault, FaultKind, Weather};
use support::{
    cluster::{Cluster, DR, KEYS, PROD, installation, key, spec},
    in_process::add_key,
};

/// Source buckets, each with the memory of its visits, of one operator.
struct Fleet {
    judged: Judged,
    clusters: Vec<Cluster>,
    uploads: usize,
}

/// The source buckets: their accounts, with the name of the `AWSAccount`.
const SOURCES: [(&str, &str); 4] = [
    (PROD, "prod"),
    (PROD, "prod"),
    (PROD, "prod"),
    (KEYS, "keys"),
];
const DESTINATIONS: [&str; 2] = ["dest", "archive"];

fn name(number: usize) -> String {
    format!("source-{number}")
}

impl Fleet {
    fn new(owners: &[(&str, &str)]) -> Self {
        let judged = Judged::new();
        judged.aws.with(|state| {
            let archive = support::in_process::bucket(DR, "us-west-2");
            state.buckets.insert("archive".to_owned(), archive);
            add_key(state, DR, "us-west-2", "other");
            add_key(state, KEYS, "us-east-1", "src");
            for (number, (owner, _)) in owners.iter().enumerate() {
                let bucket = support::in_process::bucket(owner, "us-east-1");
                state.buckets.insert(name(number), bucket);
            }
            // What others wrote.
            let theirs = json!({"Version": "2012-10-17", "Statement": [{"Sid": "Theirs", "Effect": "Deny", "Principal": "*",
                "Action": "s3:DeleteBucket", "Resource": "arn:aws:s3:::dest"}]});
            state.buckets.get_mut("dest").unwrap().policy = Some(support::in_process::document(theirs));
        });
        let cluster = |number: usize| {
            let owner = owners[number].0;
            Cluster {
                source: support::cluster::bucket(owner, &name(number)),
                accounts: judged.cluster.accounts.clone(),
                editors: judged.cluster.editors.clone(),
                clock: Arc::clone(&judged.cluster.clock),
                ..Cluster::default()
            }
        };
        let clusters = (0..owners.len()).map(cluster).collect();
        Self {
            judged,
            clusters,
            uploads: 0,
        }
    }

    async fn visit(&mut self, number: usize) -> Ending {
        let cluster = &mut self.clusters[number];
        if cluster.objects.is_empty() {
            return Ending::Done;
        }
        let cloud = self.judged.cloud_of(cluster);
        cluster.visit_with(&cloud).await.ending
    }

    /// All source buckets at once.
    async fn visit_all(&mut self) {
        let judged = &self.judged;
        let busy = self
            .clusters
            .iter_mut()
            .filter(|cluster| !cluster.objects.is_empty());
        let visits = busy.map(|cluster| async move {
            let cloud = judged.cloud_of(cluster);
            cluster.visit_with(&cloud).await
        });
        join_all(visits).await;
    }

    /// Several visits to one source bucket, with time passing in between.
    async fn visits(&mut self, number: usize, times: usize) {
        for _ in 0..times {
            self.visit(number).await;
            self.pass(30).await;
        }
    }

    async fn pass(&self, seconds: u64) {
        self.judged.cluster.pass(i64::try_from(seconds).unwrap());
        let time = Duration::from_secs(seconds);
        self.judged.aws.pass(time);
        tokio::time::advance(time).await;
    }

    async fn settle(&mut self) {
        self.rounds(14).await;
    }

    async fn rounds(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.visit_all().await;
            self.pass(30).await;
        }
    }

    /// The operator is gone and comes again.
    fn restart(&mut self) {
        self.judged.cluster.restart();
        for cluster in &mut self.clusters {
            cluster.restart();
            cluster.editors = self.judged.cluster.editors.clone();
        }
    }

    /// The policies of destinations and keys, by their meaning.
    fn shared(&self) -> BTreeMap<String, Vec<String>> {
        self.judged.aws.with(|state| {
            let buckets = DESTINATIONS.map(|name| {
                let policy = state.buckets[name].policy.clone().unwrap_or_default();
                (name.to_owned(), policy.canonical())
            });
            let keys = state.keys.iter();
            keys.map(|(arn, key)| (arn.clone(), key.policy.canonical()))
                .chain(buckets)
                .collect()
        })
    }

    /// The operator's statements in the policy of a destination.
    fn ours(&self, destination: &str) -> Vec<Statement> {
        self.judged.aws.with(|state| {
            let policy = &state.buckets[destination].policy;
            let policy = policy.clone().unwrap_or_default();
            policy.ours(&installation())
        })
    }

    /// How many replication roles exist.
    fn roles(&self) -> usize {
        self.judged.aws.with(|state| {
            let names = state.roles.keys().map(|(_, name)| name.as_str());
            names.filter(|name| name.starts_with("brepl-")).count()
        })
    }

    /// How many calls of that operation changed something.
    fn made(&self, operation: &str) -> usize {
        let calls = self.judged.aws.calls();
        let made = calls.iter().filter(|call| {
            call.operation == operation && call.status.is_some_and(|code| code < 300)
        });
        made.count()
    }

    fn is_ready(&self, number: usize) -> bool {
        let cluster = &self.clusters[number];
        let current = cluster
            .objects
            .values()
            .all(|(object, generation, status)| {
                object.deleted.is_none() && status.observed_generation == Some(*generation)
            });
        !cluster.objects.is_empty() && current && cluster.condition("o", "Ready").0 == "True"
    }

    /// Whether what is uploaded now replicates, if the object is Ready.
    fn check(&mut self, number: usize) -> Result<(), String> {
        if !self.is_ready(number) {
            return Ok(());
        }
        self.uploads += 1;
        let object = format!("Tax/{}", self.uploads);
        let kms = [("x-amz-server-side-encryption", "aws:kms")];
        let source_key = key(
            self.clusters[number].source.account.as_str(),
            "us-east-1",
            "src",
        )
        .to_string();
        let id = [(
            "x-amz-server-side-encryption-aws-kms-key-id",
            source_key.as_str(),
        )];
        let headers: Vec<_> = kms.into_iter().chain(id).collect();
        match self.judged.upload_to(&name(number), &object, &headers) {
            (Some("COMPLETED"), _) => Ok(()),
            other => Err(format!("{} is Ready, but {other:?}", name(number))),
        }
    }
}

/// What an object asks for, by random bits.
fn wish(number: usize, account: &str, shape: usize) -> Value {
    let destination = DESTINATIONS[shape & 1];
    let replica = key(
        DR,
        "us-west-2",
        if shape & 2 == 0 { "dst" } else { "other" },
    );
    let mut wish = spec(("dr", destination), Some(&replica), &json!({}));
    let owner = if account == "keys" { KEYS } else { PROD };
    wish["source"] = json!({"accountName": account, "bucket": name(number), "kmsKeys": [key(owner, "us-east-1", "src").to_string()]});
    let markers = if shape & 4 == 0 {
        "Ignore"
    } else {
        "Replicate"
    };
    wish["rules"] = json!([{"name": "a", "prefix": if shape & 8 == 0 { "Tax/" } else { "" }, "deleteMarkers": markers}]);
    wish
}

#[tokio::test(start_paused = true)]
async fn the_last_source_bucket_takes_the_statements_along() {
    let owners = [(PROD, "prod"); 12];
    let mut fleet = Fleet::new(&owners);
    let before = fleet.shared();
    for number in 0..owners.len() {
        fleet.clusters[number].apply("o", &wish(number, "prod", 0));
    }
    fleet.settle().await;
    for number in 0..owners.len() {
        assert!(fleet.is_ready(number), "{number}");
        fleet.check(number).unwrap();
    }
    assert_eq!(fleet.ours("dest").len(), 1, "one for all of them");
    assert_eq!(
        (
            fleet.made("s3:PutBucketPolicy"),
            fleet.made("kms:PutKeyPolicy")
        ),
        (1, 1),
        "written once for the creation"
    );
    for number in 1..owners.len() {
        fleet.clusters[number].delete("o");
    }
    fleet.settle().await;
    assert!(
        fleet.clusters[1..]
            .iter()
            .all(|cluster| cluster.objects.is_empty())
    );
    assert_eq!(fleet.ours("dest").len(), 1, "the first one uses it");
    fleet.check(0).unwrap();
    fleet.clusters[0].delete("o");
    fleet.settle().await;
    assert_eq!(fleet.shared(), before);
    assert_eq!(
        (
            fleet.made("s3:PutBucketPolicy"),
            fleet.made("kms:PutKeyPolicy")
        ),
        (2, 2),
        "written once for the deletion"
    );
}

#[tokio::test(start_paused = true)]
async fn all_that_leave_at_once_leave_nothing() {
    let owners = [(PROD, "prod"); 12];
    let mut fleet = Fleet::new(&owners);
    let before = fleet.shared();
    for number in 0..owners.len() {
        fleet.clusters[number].apply("o", &wish(number, "prod", 4 * (number % 2)));
    }
    fleet.settle().await;
    assert_eq!(
        fleet.ours("dest").len(),
        2,
        "with and without delete markers"
    );
    for cluster in &mut fleet.clusters {
        cluster.delete("o");
    }
    fleet.settle().await;
    assert!(
        fleet
            .clusters
            .iter()
            .all(|cluster| cluster.objects.is_empty())
    );
    assert_eq!(fleet.shared(), before);
}

/// What an operator that just started can't know, it reads from the policies of the roles.
#[tokio::test(start_paused = true)]
async fn after_a_restart_the_roles_show_who_needs_a_statement() {
    let mut fleet = Fleet::new(&SOURCES[..3]);
    let before = fleet.shared();
    for number in 0..3 {
        fleet.clusters[number].apply("o", &wish(number, "prod", 0));
    }
    fleet.settle().await;
    for number in 0..3 {
        // The others are not visited: they may not even be in the operator's store.
        fleet.restart();
        fleet.clusters[number].delete("o");
        fleet.visits(number, 6).await;
        assert!(fleet.clusters[number].objects.is_empty(), "{number}");
        let expected = usize::from(number < 2);
        assert_eq!(fleet.ours("dest").len(), expected, "{number}");
        for other in number + 1..3 {
            fleet.check(other).unwrap();
        }
    }
    assert_eq!(fleet.shared(), before);
}

/// In doubt, nothing is removed, and the deletion says why it waits.
#[tokio::test(start_paused = true)]
async fn a_statement_stays_as_long_as_it_is_not_known_who_needs_it() {
    for (operation, action) in [
        ("iam:ListRoles", "iam:ListRoles"),
        ("iam:GetRolePolicy", "iam:GetRolePolicy"),
    ] {
        let mut fleet = Fleet::new(&SOURCES[..2]);
        for number in 0..2 {
            fleet.clusters[number].apply("o", &wish(number, "prod", 0));
        }
        fleet.settle().await;
        fleet.restart();
        fleet.clusters[0].delete("o");
        // The first read of a role's policy is that of the bucket's own role.
        let denied = Fault {
            operation: operation.to_owned(),
            after: u64::from(operation == "iam:GetRolePolicy"),
            times: 1_000,
            kind: FaultKind::Error(403, "AccessDenied".to_owned()),
            ..Fault::default()
        };
        fleet.judged.aws.set_weather(Weather {
            faults: vec![denied],
            ..Weather::default()
        });
        fleet.visit(0).await;
        let message = fleet.clusters[0].message("o", "Ready");
        assert!(message.contains(action), "{message}");
        assert!(
            message.contains("which other source buckets of account 111111111111 need a statement"),
            "{message}"
        );
        assert_eq!(fleet.ours("dest").len(), 1);
        fleet.check(1).unwrap();
        fleet.judged.aws.set_weather(Weather::default());
        for _ in 0..6 {
            fleet.pass(30).await;
            fleet.visit(0).await;
        }
        assert!(fleet.clusters[0].objects.is_empty());
        assert_eq!(fleet.ours("dest").len(), 1);
    }
}

/// Earlier versions wrote a statement for each role.
#[tokio::test(start_paused = true)]
async fn a_statement_for_one_role_is_replaced_without_a_gap() {
    let mut fleet = Fleet::new(&SOURCES[..1]);
    let before = fleet.shared();
    fleet.clusters[0].apply("o", &wish(0, "prod", 0));
    fleet.settle().await;
    let name = RoleName::of(&installation(), &fleet.clusters[0].source);
    let former = |statement: &Statement, purpose, resource: String| {
        let role: RoleArn = format!("arn:aws:iam::{PROD}:role/{name}").parse().unwrap();
        let via = statement.condition("StringEquals", "kms:ViaService");
        let via = via.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>();
        let conditions = if via.is_empty() {
            vec![]
        } else {
            vec![("StringEquals", "kms:ViaService".to_owned(), via)]
        };
        let actions = statement.strings("Action");
        let (owner, grantee) = (name.as_str(), Grantee::Role(role));
        Statement::allow(
            &installation(),
            purpose,
            owner,
            Some(&grantee),
            &actions,
            &[resource],
            &conditions,
        )
    };
    let with = |policy: &Document, purpose, resource: &str| {
        let ours = policy.ours(&installation());
        let replaced: Vec<_> = ours
            .iter()
            .map(|ours| former(ours, purpose, resource.to_owned()))
            .collect();
        policy.merged(&replaced, |statement| {
            statement.mark_of(&installation()).is_some()
        })
    };
    let replica = key(DR, "us-west-2", "dst").to_string();
    fleet.judged.aws.with(|state| {
        let dest = state.buckets.get_mut("dest").unwrap();
        dest.policy = Some(with(
            dest.policy.as_ref().unwrap(),
            Purpose::Replicas,
            "arn:aws:s3:::dest/Tax/*",
        ));
        let key = state.keys.get_mut(&replica).unwrap();
        key.policy = with(&key.policy, Purpose::KeyUse, "*");
    });
    fleet.restart();
    let writes = fleet.made("s3:PutBucketPolicy");
    for _ in 0..6 {
        fleet.check(0).unwrap();
        fleet.visit(0).await;
        fleet.pass(30).await;
    }
    assert!(fleet.is_ready(0));
    assert_eq!(
        fleet.made("s3:PutBucketPolicy"),
        writes + 1,
        "both in one write"
    );
    let ours = fleet.ours("dest");
    assert_eq!(ours.len(), 1);
    assert!(ours[0].own_roles(&installation()).is_some(), "{ours:?}");
    fleet.clusters[0].delete("o");
    fleet.settle().await;
    assert_eq!(fleet.shared(), before);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_source_buckets_need_no_more_room_than_one() {
    let owners = vec![(PROD, "prod"); 500];
    let mut fleet = Fleet::new(&owners);
    for number in 0..owners.len() {
        fleet.clusters[number].apply("o", &wish(number, "prod", 0));
    }
    for _ in 0..3 {
        fleet.visit_all().await;
        fleet.pass(30).await;
    }
    assert!((0..500).all(|number| fleet.is_ready(number)));
    let length = fleet.judged.aws.with(|state| {
        let policy = state.buckets["dest"].policy.as_ref().unwrap();
        policy.compact().len()
    });
    assert!(length < 1_000, "{length}");
    fleet.check(499).unwrap();
}

/// One that reads a policy right before the last user of a statement removes it does not take the statement for granted.
#[tokio::test(start_paused = true)]
async fn one_that_comes_while_the_last_one_leaves_is_let_in() {
    for moment in (0..800).step_by(25) {
        let mut fleet = Fleet::new(&SOURCES[..2]);
        fleet.clusters[0].apply("o", &wish(0, "prod", 0));
        fleet.rounds(2).await;
        fleet.judged.aws.set_weather(Weather {
            latency: 20,
            ..Weather::default()
        });
        fleet.clusters[0].delete("o");
        fleet.clusters[1].times.settle = Duration::ZERO;
        fleet.clusters[1].apply("o", &wish(1, "prod", 0));
        let judged = &fleet.judged;
        let mut visits = fleet.clusters.iter_mut().map(|cluster| async move {
            let cloud = judged.cloud_of(cluster);
            cluster.visit_with(&cloud).await
        });
        let (leaves, comes) = (visits.next().unwrap(), visits.next().unwrap());
        drop(visits);
        let late = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            leaves.await
        };
        let comes = async {
            tokio::time::sleep(Duration::from_millis(moment)).await;
            comes.await
        };
        tokio::join!(late, comes);
        fleet
            .check(1)
            .unwrap_or_else(|wrong| panic!("{moment} ms: {wrong}"));
        fleet.settle().await;
        assert!(
            fleet.is_ready(1) && fleet.clusters[0].objects.is_empty(),
            "{moment} ms"
        );
        fleet.check(1).unwrap();
    }
}

/// No read shows the role, the rule and the statements yet when the object is deleted, not even to an operator that just started.
#[tokio::test(start_paused = true)]
async fn a_deletion_right_after_the_creation_waits_until_reads_show_it() {
    let mut fleet = Fleet::new(&SOURCES[..1]);
    let before = fleet.shared();
    fleet.clusters[0].times.settle = Duration::ZERO;
    fleet.clusters[0].apply("o", &wish(0, "prod", 0));
    fleet.judged.aws.set_weather(Weather {
        lag: 60_000,
        ..Weather::default()
    });
    fleet.visit(0).await;
    assert_eq!(fleet.ours("dest").len(), 1);
    fleet.clusters[0].delete("o");
    fleet.restart();
    fleet.visit(0).await;
    assert!(!fleet.clusters[0].objects.is_empty(), "released in doubt");
    fleet.pass(90).await;
    fleet.rounds(6).await;
    assert!(fleet.clusters[0].objects.is_empty());
    assert_eq!(fleet.shared(), before);
    assert_eq!(fleet.roles(), 0);
}

/// What a visit could not read does not mean that its bucket uses nothing.
#[tokio::test(start_paused = true)]
async fn a_source_bucket_that_can_t_be_read_keeps_its_statements() {
    let mut fleet = Fleet::new(&SOURCES[..2]);
    for number in 0..2 {
        fleet.clusters[number].apply("o", &wish(number, "prod", 0));
    }
    fleet.rounds(3).await;
    let denied = Fault {
        operation: "s3:GetBucketReplication".to_owned(),
        after: 0,
        times: 1_000,
        kind: FaultKind::Error(403, "AccessDenied".to_owned()),
        ..Fault::default()
    };
    fleet.judged.aws.set_weather(Weather {
        faults: vec![denied],
        ..Weather::default()
    });
    fleet.visit(0).await;
    assert!(!fleet.is_ready(0), "it was read");
    fleet.judged.aws.set_weather(Weather::default());
    fleet.clusters[1].delete("o");
    fleet.visits(1, 6).await;
    assert!(fleet.clusters[1].objects.is_empty());
    assert_eq!(fleet.ours("dest").len(), 1);
    fleet.rounds(3).await;
    assert!(fleet.is_ready(0));
    fleet.check(0).unwrap();
}

/// A role that can't be deleted, because another writer attached a policy, uses nothing once its own policies are gone.
#[tokio::test(start_paused = true)]
async fn a_role_that_is_left_keeps_no_statement() {
    let mut fleet = Fleet::new(&SOURCES[..2]);
    let before = fleet.shared();
    for number in 0..2 {
        fleet.clusters[number].apply("o", &wish(number, "prod", 0));
    }
    fleet.rounds(3).await;
    let role = RoleName::of(&installation(), &fleet.clusters[0].source);
    fleet.judged.aws.with(|state| {
        let mut roles = state.roles.values_mut();
        let role = roles.find(|found| found.arn.name == role).unwrap();
        role.attached
            .push("arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned());
    });
    for number in 0..2 {
        fleet.clusters[number].delete("o");
        fleet.visits(number, 4).await;
        assert!(fleet.clusters[number].objects.is_empty(), "{number}");
    }
    assert_eq!(fleet.shared(), before);
}

/// Nobody visits the source bucket of an object that was abandoned: whether its role still exists is read again, before it counts as a user.
#[tokio::test(start_paused = true)]
async fn a_role_that_someone_deletes_after_its_object_was_abandoned_keeps_no_statement() {
    for exists in [true, false] {
        let mut fleet = Fleet::new(&SOURCES[..2]);
        for number in 0..2 {
            fleet.clusters[number].apply("o", &wish(number, "prod", 0));
        }
        fleet.rounds(3).await;
        fleet.clusters[0].objects.clear();
        if !exists {
            let role = RoleName::of(&installation(), &fleet.clusters[0].source);
            fleet.judged.aws.with(|state| {
                state.roles.retain(|_, found| found.arn.name != role);
            });
        }
        fleet.pass(2 * 3600).await;
        fleet.clusters[1].delete("o");
        fleet.visits(1, 4).await;
        assert!(fleet.clusters[1].objects.is_empty());
        assert_eq!(fleet.ours("dest").len(), usize::from(exists));
    }
}

/// Each of them knows nothing of the other, and both write the same documents: what is written between another's read and its write is lost, which
/// the next check finds; nothing else is.
#[tokio::test(start_paused = true)]
async fn two_installations_share_a_destination() {
    let mut fleet = Fleet::new(&SOURCES[..2]);
    let before = fleet.shared();
    let other = Cluster::default();
    fleet.clusters[1].installation = "other".parse().unwrap();
    fleet.clusters[1].editors = other.editors;
    fleet.judged.aws.set_weather(Weather {
        latency: 20,
        ..Weather::default()
    });
    for (shape, rounds) in [(0, 8), (4, 8), (6, 8)] {
        for number in 0..2 {
            fleet.clusters[number].apply("o", &wish(number, "prod", shape));
        }
        for _ in 0..rounds {
            fleet.visit_all().await;
            fleet.pass(30).await;
        }
        for number in 0..2 {
            assert!(fleet.is_ready(number), "{number}, {shape}");
            fleet.check(number).unwrap();
        }
    }
    let of = |id: &str| {
        let id = id.parse().unwrap();
        fleet.judged.aws.with(|state| {
            let policy = state.buckets["dest"].policy.clone();
            policy.unwrap_or_default().ours(&id).len()
        })
    };
    assert_eq!([of("test"), of("other")], [1, 1]);
    fleet.clusters[0].delete("o");
    for _ in 0..8 {
        fleet.visit_all().await;
        fleet.pass(30).await;
    }
    assert!(fleet.clusters[0].objects.is_empty());
    fleet.check(1).unwrap();
    fleet.clusters[1].delete("o");
    fleet.settle().await;
    assert_eq!(fleet.shared(), before);
}

/// The operator is gone before it reports what it created, the object is deleted, and reads do not show the role yet.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_deleted_before_anything_is_reported_leaves_nothing() {
    let mut fleet = Fleet::new(&SOURCES[..1]);
    let before = fleet.shared();
    fleet.fair(5_000);
    fleet.clusters[0].apply("o", &wish(0, "prod", 0));
    fleet.visit(0).await;
    assert_eq!(fleet.roles(), 1);
    for (_, _, status) in fleet.clusters[0].objects.values_mut() {
        *status = BucketReplicationStatus::default();
    }
    fleet.restart();
    fleet.clusters[0].delete("o");
    fleet.visit(0).await;
    fleet.visit(0).await;
    fleet.settle().await;
    assert!(fleet.clusters[0].objects.is_empty());
    assert_eq!((fleet.roles(), fleet.shared()), (0, before));
}

/// What happens in a history.
#[derive(Clone, Copy, Debug)]
enum Event {
    Apply(usize, usize),
    Delete(usize),
    Visit(usize),
    VisitAll,
    Pass(u64),
    Restart,
    /// Reads lag from now on, for so many seconds behind.
    Lag(u64),
    /// The process is gone while a bucket is visited, after so many calls.
    Crash(usize, u64),
    /// Calls of the next visit get no answer, or a refusal.
    Fault(usize, u64, bool),
    /// Another writer edits the policy of a destination or a key.
    Edit(usize, usize),
    /// Another writer adds a rule to a configuration, or removes it.
    EditRules(usize),
}

impl Event {
    fn random(random: &mut Random) -> Self {
        let source = random.below(SOURCES.len());
        match random.below(21) {
            0..=5 => Self::Apply(source, random.below(16)),
            6 | 7 => Self::Delete(source),
            8 | 9 => Self::Visit(source),
            10..=12 => Self::VisitAll,
            13 | 14 => Self::Pass(u64::try_from(1 + random.below(40)).unwrap()),
            15 => Self::Restart,
            16 => Self::Lag(u64::try_from(5 * random.below(2)).unwrap()),
            17 => Self::Crash(source, u64::try_from(random.below(40)).unwrap()),
            18 => Self::Fault(
                source,
                u64::try_from(random.below(40)).unwrap(),
                random.below(2) == 0,
            ),
            19 => Self::EditRules(source),
            _ => Self::Edit(random.below(4), random.below(3)),
        }
    }
}

impl Fleet {
    fn with_fault(&self, lag: u64, after: u64, kind: FaultKind) {
        let faults = vec![Fault {
            operation: "*".to_owned(),
            after,
            times: 3,
            kind,
            ..Fault::default()
        }];
        self.judged.aws.set_weather(Weather {
            lag,
            faults,
            latency: 20,
            ..Weather::default()
        });
    }

    /// Nothing but a call takes time, so that visits at the same time get into each other's way.
    fn fair(&self, lag: u64) {
        self.judged.aws.set_weather(Weather {
            lag,
            latency: 20,
            ..Weather::default()
        });
    }

    async fn happens(&mut self, event: Event, lag: &mut u64) {
        match event {
            Event::Apply(number, shape) => {
                let is_leaving = |cluster: &Cluster| {
                    cluster
                        .objects
                        .values()
                        .any(|(object, ..)| object.deleted.is_some())
                };
                if !is_leaving(&self.clusters[number]) {
                    self.clusters[number].apply("o", &wish(number, SOURCES[number].1, shape));
                }
            }
            Event::Delete(number) => self.clusters[number].delete("o"),
            Event::Visit(number) => {
                self.visit(number).await;
            }
            Event::VisitAll => self.visit_all().await,
            Event::Pass(seconds) => self.pass(seconds).await,
            Event::Restart => self.restart(),
            Event::Lag(seconds) => {
                *lag = seconds * 1_000;
                self.fair(*lag);
            }
            Event::Crash(number, call) => {
                self.with_fault(*lag, call, FaultKind::Delay(3_600_000));
                let _ = tokio::time::timeout(Duration::from_secs(2), self.visit(number)).await;
                self.fair(*lag);
                self.restart();
            }
            Event::Fault(number, call, refused) => {
                let kind = if refused {
                    FaultKind::Error(403, "AccessDenied".to_owned())
                } else {
                    FaultKind::DropAfter
                };
                self.with_fault(*lag, call, kind);
                self.visit(number).await;
                self.fair(*lag);
            }
            // Until reads show it, it can be lost: AWS has no compare-and-set.
            Event::Edit(place, which) => {
                self.edit(place, which);
                self.pass(*lag / 1_000).await;
            }
            Event::EditRules(number) => {
                self.edit_rules(number);
                self.pass(*lag / 1_000).await;
            }
        }
    }

    /// Another writer adds or removes a statement.
    fn edit(&self, place: usize, which: usize) {
        let sid = format!("Theirs{which}");
        let toggled = |policy: &Document, action: &str, resource: &str| {
            let theirs = json!({"Version": "2012-10-17", "Statement": [{
                "Sid": sid, "Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource,
            }]});
            let is_theirs = |statement: &Statement| statement.sid() == Some(&sid);
            let has = policy.statements().iter().any(is_theirs);
            let added = support::in_process::document(theirs).statements();
            policy.merged(if has { &[] } else { &added }, is_theirs)
        };
        self.judged.aws.with(|state| match place {
            0 | 1 => {
                let bucket = state.buckets.get_mut(DESTINATIONS[place]).unwrap();
                let policy = bucket.policy.clone().unwrap_or_default();
                let resource = format!("arn:aws:s3:::{}", DESTINATIONS[place]);
                let edited = toggled(&policy, "s3:DeleteBucketWebsite", &resource);
                bucket.policy = (!edited.is_empty()).then_some(edited);
            }
            _ => {
                let id = ["dst", "other"][place - 2];
                let key = state
                    .keys
                    .get_mut(&key(DR, "us-west-2", id).to_string())
                    .unwrap();
                key.policy = toggled(&key.policy, "kms:DeleteAlias", "*");
            }
        });
    }

    /// Another writer adds a rule to the configuration of a source bucket, or removes it; without a configuration, there is nothing to add it to.
    fn edit_rules(&self, number: usize) {
        let theirs = json!({
            "ID": "theirs", "Priority": 900, "Status": "Enabled", "Filter": {"Prefix": "theirs/"},
            "DeleteMarkerReplication": {"Status": "Disabled"}, "Destination": {"Bucket": "arn:aws:s3:::backup"},
        });
        self.judged.aws.with(|state| {
            let bucket = state.buckets.get_mut(&name(number)).unwrap();
            let Some(configuration) = &mut bucket.replication else {
                return;
            };
            let before = configuration.rules.len();
            configuration
                .rules
                .retain(|rule| rule.id.as_deref() != Some("theirs"));
            if configuration.rules.len() == before {
                configuration
                    .rules
                    .push(serde_json::from_value(theirs).unwrap());
            }
            if configuration.rules.is_empty() {
                bucket.replication = None;
            }
        });
    }

    /// The statements and rules of others.
    fn foreign(&self) -> Vec<String> {
        let rules = self.judged.aws.with(|state| {
            let of = |number: usize| {
                let configuration = state.buckets[&name(number)].replication.as_ref()?;
                let mut rules = configuration.rules.iter();
                let theirs = rules.find(|rule| rule.id.as_deref() == Some("theirs"))?;
                Some(format!("{number}: {}", json!(theirs)))
            };
            (0..SOURCES.len()).filter_map(of).collect::<Vec<_>>()
        });
        foreign(&self.shared()).into_iter().chain(rules).collect()
    }
}

/// The statements of others in all shared policies.
fn foreign(shared: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let all = shared.values().flatten();
    all.filter(|text| !text.contains("\"Sid\":\"Brepl"))
        .cloned()
        .collect()
}

async fn history(series: u64) {
    let mut random = Random::new(1_000_000 + series);
    let mut fleet = Fleet::new(&SOURCES);
    let (mut lag, mut events) = (0, vec![]);
    fleet.fair(lag);
    for _ in 0..12 {
        let event = Event::random(&mut random);
        events.push(event);
        let told = |events: &[Event]| format!("seed {}, series {series}: {events:?}", seed());
        let before = fleet.foreign();
        fleet.happens(event, &mut lag).await;
        if !matches!(event, Event::Edit(..) | Event::EditRules(_)) {
            assert_eq!(fleet.foreign(), before, "{}", told(&events));
        }
        for number in 0..SOURCES.len() {
            let checked = fleet.check(number);
            assert_eq!(checked, Ok(()), "{}", told(&events));
        }
    }
    let told = format!("seed {}, series {series}: {events:?}", seed());
    fleet.judged.aws.set_weather(Weather::default());
    fleet.pass(60).await;
    // While a rule of another writer uses the operator's role, that stays.
    for number in 0..SOURCES.len() {
        if fleet
            .foreign()
            .iter()
            .any(|rule| rule.starts_with(&format!("{number}: ")))
        {
            fleet.edit_rules(number);
        }
    }
    let theirs = fleet.foreign();
    fleet.settle().await;
    for number in 0..SOURCES.len() {
        let lives = !fleet.clusters[number].objects.is_empty();
        assert_eq!(fleet.is_ready(number), lives, "{told}");
        fleet.check(number).unwrap();
        fleet.clusters[number].delete("o");
    }
    fleet.settle().await;
    let left: Vec<_> = fleet
        .clusters
        .iter()
        .flat_map(|cluster| cluster.objects.keys())
        .collect();
    assert!(left.is_empty(), "{left:?} {told}");
    let shared = fleet.shared();
    let ours: Vec<_> = shared
        .iter()
        .filter(|(_, texts)| texts.iter().any(|text| text.contains("\"Sid\":\"Brepl")))
        .collect();
    assert!(ours.is_empty(), "{ours:#?} {told}");
    assert_eq!(fleet.foreign(), theirs, "{told}");
    assert_eq!(fleet.roles(), 0, "{told}");
}

/// So many random histories; `SOURCE_BUCKETS_HISTORIES` tries more.
fn histories() -> u64 {
    let given = std::env::var("SOURCE_BUCKETS_HISTORIES").ok();
    given.and_then(|number| number.parse().ok()).unwrap_or(40)
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_what_is_ready_replicates_and_nothing_is_left() {
    for series in 0..histories() / 2 {
        history(series).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_else_happens_what_is_ready_replicates_and_nothing_is_left() {
    for series in histories() / 2..histories() {
        history(series).await;
    }
}
