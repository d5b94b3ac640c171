//! The AWS of tests of decisions: the strict one, with the operator's border in front of it. After each step it also holds what the order rules
//! promise: no enabled rule of the operator is without the permissions that it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bucket_replication_operator::{
    cloud::{
        Cloud,
        aws::{Aws, AwsCloud},
    },
    replication::{
        names::InstallationId,
        observed::{Failure, FailureKind, UnknownElement},
        plan::Step,
        policy::Document,
        question::{Answer, Question},
        uses::Used,
    },
};
use serde_json::json;
use strict_aws::{
    replicate::refusal,
    state::Role,
    weather::{Fault, FaultKind, Weather},
};

pub use strict_aws::state::State;

use super::in_process::{OPERATOR_ROLE, document, sdk};

/// What goes wrong next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// After so many steps the process is gone: nothing more is written.
    pub crash_after: Option<usize>,
    /// The answer to this step is lost: it took effect, and the caller sees a fault.
    pub lose_answer_of: Option<usize>,
    /// Reads show what existed before the last write.
    pub lag: bool,
}

/// An AWS, and what a test has to know of the steps that were applied to it.
pub struct World {
    pub aws: Arc<strict_aws::Aws>,
    sdk: Aws,
    pub written: Mutex<Vec<Step>>,
    faults: Mutex<Faults>,
    /// Steps that fail, by name, and how.
    failing: Mutex<BTreeMap<String, FailureKind>>,
    /// What the source's configuration has beyond the types of the strict AWS.
    unknown: Mutex<Vec<UnknownElement>>,
    /// How many questions were asked.
    asked: Mutex<usize>,
    installation: InstallationId,
}

impl World {
    pub fn new(installation: InstallationId) -> Self {
        let aws = Arc::new(strict_aws::Aws::default());
        let world = Self {
            sdk: sdk(&aws, &installation),
            aws,
            written: Mutex::default(),
            faults: Mutex::default(),
            failing: Mutex::default(),
            unknown: Mutex::default(),
            asked: Mutex::default(),
            installation,
        };
        world.set_faults(Faults::default());
        world
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
        self.written.lock().unwrap().clear();
        let _ = self.aws.take_calls();
        self.set_latency(Duration::ZERO);
    }

    /// Each call takes so long from now on, so that those of others come in between.
    pub fn set_latency(&self, latency: Duration) {
        let lags = self.faults.lock().unwrap().lag;
        self.aws.set_weather(Weather {
            latency: u64::try_from(latency.as_millis()).unwrap(),
            // What is stale is kept, also while no read shows it.
            faults: vec![Fault {
                operation: "*".to_owned(),
                after: 0,
                times: if lags { u64::MAX } else { 0 },
                kind: FaultKind::Stale,
                ..Fault::default()
            }],
            ..Weather::default()
        });
    }

    /// Steps of that name fail so from now on.
    pub fn fail(&self, step: &str, kind: FailureKind) {
        self.failing.lock().unwrap().insert(step.to_owned(), kind);
    }

    /// The operator's role in the account may no longer do that.
    pub fn deny(&self, action: &str, account: &str) {
        self.edit(|state| deny_operator(state, action, account));
    }

    /// No step fails, and nothing is denied any more.
    pub fn mend(&self) {
        self.failing.lock().unwrap().clear();
        self.edit(|state| {
            for role in state.roles.values_mut() {
                role.inline.remove("denied");
            }
        });
    }

    /// The source's configuration has elements that the operator does not know.
    pub fn set_unknown(&self, unknown: Vec<UnknownElement>) {
        *self.unknown.lock().unwrap() = unknown;
    }

    /// How many calls wrote something since the faults were set.
    pub fn writes(&self) -> usize {
        let calls = self.aws.calls();
        calls.iter().filter(|call| call.wrote()).count()
    }

    /// How many questions were asked.
    pub fn reads(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    /// Another writer's change. Reads lag behind the operator's own writes only: what others write in that time can be lost, as the docs say.
    pub fn edit<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        self.catch_up();
        self.aws.with(edit)
    }

    /// Reads show what exists.
    pub fn catch_up(&self) {
        self.aws.set_former(None);
    }

    pub fn snapshot(&self) -> State {
        self.aws.with(|state| state.clone())
    }

    /// Everything is as it was, but for the sessions of the operator.
    pub fn restore(&self, former: State) {
        self.edit(|state| {
            *state = State {
                credentials: std::mem::take(&mut state.credentials),
                ..former
            }
        });
    }

    /// Whether anything was called in the account.
    pub fn was_called_in(&self, account: &str) -> bool {
        let calls = self.aws.calls();
        self.aws.with(|state| {
            calls
                .iter()
                .any(|call| state.account_of(&call.key) == account)
        })
    }

    /// The operator's border to it, for visits with those clients and memories.
    pub fn process(&self, cloud: impl FnOnce(Aws) -> AwsCloud) -> Process<'_> {
        Process {
            world: self,
            cloud: cloud(self.sdk.clone()),
        }
    }
}

/// The operator's role in the account may no longer do that.
pub fn deny_operator(state: &mut State, action: &str, account: &str) {
    let key = (account.parse().unwrap(), OPERATOR_ROLE.to_owned());
    let denied = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": action, "Resource": "*"}]});
    let role = state.roles.get_mut(&key).unwrap();
    role.inline.insert("denied".to_owned(), document(denied));
}

/// The roles by which S3 replicates, without the operator's own.
pub fn replication_roles(state: &State) -> impl Iterator<Item = &Role> {
    let roles = state.roles.values();
    roles.filter(|role| role.arn.name.as_str() != OPERATOR_ROLE)
}

/// The same, to change them.
pub fn replication_roles_mut(state: &mut State) -> impl Iterator<Item = &mut Role> {
    let roles = state.roles.values_mut();
    roles.filter(|role| role.arn.name.as_str() != OPERATOR_ROLE)
}

/// Another writer deletes the roles by which S3 replicates.
pub fn delete_replication_roles(state: &mut State) {
    state.roles.retain(|(_, name), _| name == OPERATOR_ROLE);
}

/// All that a role may do.
pub fn permissions(state: &State, role: &Role) -> Document {
    let policies = state.policies_of(role);
    Document::of(policies.iter().flat_map(Document::statements))
}

/// S3 never retries an object that failed, so that all permissions of each enabled rule of the operator have to be there at all times.
pub fn uncovered(state: &State, installation: &InstallationId) -> Vec<String> {
    let mut missing = vec![];
    for (source, bucket) in &state.buckets {
        let rules = bucket.replication.iter().flat_map(|read| &read.rules);
        for rule in rules.filter(|rule| rule.mark(installation).is_some()) {
            if let Some(refusal) = refusal(state, source, rule) {
                missing.push(format!(
                    "{}: {refusal}",
                    rule.id.clone().unwrap_or_default()
                ));
            }
        }
    }
    missing
}

/// A process of the operator that works on the world.
pub struct Process<'a> {
    world: &'a World,
    cloud: AwsCloud,
}

impl Cloud for Process<'_> {
    async fn ask(&self, question: &Question) -> Answer {
        *self.world.asked.lock().unwrap() += 1;
        match self.cloud.ask(question).await {
            Answer::Configuration(bucket, read) => {
                let unknown = self.world.unknown.lock().unwrap().clone();
                let read = read.map(|(configuration, mut others)| {
                    others.extend(unknown);
                    (configuration, others)
                });
                Answer::Configuration(bucket, read)
            }
            other => other,
        }
    }

    fn note(&self, uses: &Used) -> bool {
        self.cloud.note(uses)
    }

    async fn apply(&self, step: &Step) -> Result<(), Failure> {
        let world = self.world;
        let faults = *world.faults.lock().unwrap();
        let fails = |kind, message: &str| {
            Err(Failure {
                kind,
                action: "test".into(),
                message: message.into(),
            })
        };
        if faults
            .crash_after
            .is_some_and(|most| world.written.lock().unwrap().len() >= most)
        {
            return fails(FailureKind::Transient, "the process is gone");
        }
        let name: &str = step.into();
        if let Some(kind) = world.failing.lock().unwrap().get(name) {
            return fails(*kind, &format!("{name} was answered so"));
        }
        let uncovered = || {
            world
                .aws
                .with(|state| uncovered(state, &world.installation))
        };
        let before = uncovered();
        self.cloud.apply(step).await?;
        world.written.lock().unwrap().push(step.clone());
        let rule = |missing: &String| missing.split(':').next().unwrap_or_default().to_owned();
        let before: BTreeSet<_> = before.iter().map(rule).collect();
        let worse: Vec<_> = uncovered()
            .into_iter()
            .filter(|missing| !before.contains(&rule(missing)))
            .collect();
        assert!(worse.is_empty(), "after \"{step}\": {worse:?}");
        if faults.lose_answer_of == Some(world.written.lock().unwrap().len()) {
            return fails(FailureKind::Transient, "the answer was lost");
        }
        Ok(())
    }
}
