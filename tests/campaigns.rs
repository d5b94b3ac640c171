//! Faults of AWS, on every call of a creation, an edit and a deletion, and a kill after each: all of them come to the same end as without.
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

use std::{collections::BTreeMap, time::Duration};

use ground::Judged;
use random::{Random, seed};
use serde_json::{Value, json};
use strict_aws::weather::{Fault, FaultKind, Outage, Weather};
use support::cluster::{DR, key, spec};

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Create,
    Edit,
    Delete,
}

const ACTS: [Act; 3] = [Act::Create, Act::Edit, Act::Delete];

fn object(rules: Value) -> Value {
    let replica_key = key(DR, "us-west-2", "dst");
    spec(
        ("dr", "dest"),
        Some(&replica_key),
        &json!({ "rules": rules }),
    )
}

fn act(judged: &mut Judged, act: Act) {
    match act {
        Act::Create => judged.cluster.apply("tax", &object(json!([{"name": "a", "prefix": "Tax"}]))),
        Act::Edit => judged.cluster.apply(
            "tax",
            &object(json!([{"name": "a", "prefix": "Legal"}, {"name": "b", "prefix": "Tax/2026", "deleteMarkers": "Replicate"}])),
        ),
        Act::Delete => judged.cluster.delete("tax"),
    }
}

/// The ground right before `what`, in fair weather.
async fn before(what: Act) -> Judged {
    let mut judged = Judged::new().in_paused_time();
    for earlier in ACTS.into_iter().take_while(|act| *act != what) {
        act(&mut judged, earlier);
        assert!(judged.settle().await, "before {what:?}");
    }
    judged
}

type Made = BTreeMap<String, String>;

/// What exists after `what` in fair weather, and how many calls it takes.
async fn fair(ground: &Judged, what: Act) -> (Made, usize) {
    let mut judged = ground.copy();
    act(&mut judged, what);
    assert!(judged.settle().await, "{what:?} does not end");
    (judged.made(), judged.aws.calls().len())
}

fn kinds() -> Vec<(&'static str, FaultKind)> {
    let error = |status, code: &str| FaultKind::Error(status, code.to_owned());
    vec![
        ("a 500", error(500, "InternalError")),
        ("throttled", error(503, "SlowDown")),
        ("denied once", error(403, "AccessDenied")),
        ("a conflict", error(409, "OperationAborted")),
        ("IAM's conflict", error(409, "ConcurrentModification")),
        ("dropped before", FaultKind::DropBefore),
        ("dropped after", FaultKind::DropAfter),
        ("half an answer", FaultKind::Truncate),
        ("stale", FaultKind::Stale),
    ]
}

/// What happens to the calls from that one on, whichever they are.
fn fault(call: usize, times: u64, kind: FaultKind) -> Fault {
    Fault {
        operation: "*".to_owned(),
        after: u64::try_from(call).unwrap(),
        times,
        kind,
        ..Fault::default()
    }
}

fn with_faults(faults: Vec<Fault>) -> Weather {
    Weather {
        faults,
        ..Weather::default()
    }
}

fn differences(made: &Made, expected: &Made) -> Vec<String> {
    let names = made.keys().chain(expected.keys());
    names
        .filter(|name| made.get(*name) != expected.get(*name))
        .map(|name| format!("{name}: {:?}, not {:?}", made.get(name), expected.get(name)))
        .collect()
}

/// The SDK tries a call three times: a fault that it does not see is no fault.
const ATTEMPTS: u64 = 3;

/// Each kind of fault on each call of `what`.
async fn try_faults(what: Act) {
    let mut wrong = vec![];
    let ground = before(what).await;
    let (expected, calls) = fair(&ground, what).await;
    assert!(calls > 10, "{what:?} makes {calls} calls");
    for (call, (name, kind)) in
        (0..calls).flat_map(|call| kinds().into_iter().map(move |kind| (call, kind)))
    {
        let mut judged = ground.copy();
        judged
            .aws
            .set_weather(with_faults(vec![fault(call, ATTEMPTS, kind)]));
        act(&mut judged, what);
        let ended = judged.settle().await;
        let differ = differences(&judged.made(), &expected);
        if !ended || !differ.is_empty() {
            wrong.push(format!(
                "{what:?}, call {call}, {name}: ended {ended}, {differ:#?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them, such as {}",
        wrong.len(),
        wrong[0]
    );
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_any_call_of_a_creation_changes_nothing_in_the_end() {
    try_faults(Act::Create).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_any_call_of_an_edit_changes_nothing_in_the_end() {
    try_faults(Act::Edit).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_any_call_of_a_deletion_changes_nothing_in_the_end() {
    try_faults(Act::Delete).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_after_any_call_changes_nothing_in_the_end() {
    let mut wrong = vec![];
    for what in ACTS {
        let ground = before(what).await;
        let (expected, calls) = fair(&ground, what).await;
        for call in 0..calls {
            let mut judged = ground.copy();
            let delay = FaultKind::Delay(3_600_000);
            judged
                .aws
                .set_weather(with_faults(vec![fault(call, 1, delay)]));
            act(&mut judged, what);
            // The call took effect, and its answer does not arrive in the life of the process.
            for _ in 0..8 {
                if tokio::time::timeout(Duration::from_secs(2), judged.visit())
                    .await
                    .is_err()
                {
                    break;
                }
                judged.pass().await;
            }
            judged.cluster.restart();
            judged.aws.set_weather(Weather::default());
            judged.pass().await;
            let ended = judged.settle().await;
            let differ = differences(&judged.made(), &expected);
            if !ended || !differ.is_empty() {
                wrong.push(format!("{what:?}, call {call}: ended {ended}, {differ:#?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them, such as {}",
        wrong.len(),
        wrong[0]
    );
}

#[tokio::test(start_paused = true)]
async fn bad_weather_passes() {
    let weathers = [
        (
            "new roles are principals after 10 s",
            Weather {
                propagation: 10_000,
                ..Weather::default()
            },
        ),
        (
            "reads lag 5 s",
            Weather {
                lag: 5_000,
                ..Weather::default()
            },
        ),
        (
            "IAM takes five calls a second",
            Weather {
                rates: [("iam".to_owned(), 5)].into(),
                ..Weather::default()
            },
        ),
        (
            "a Region is out",
            Weather {
                outages: vec![Outage {
                    region: Some("us-west-2".to_owned()),
                    ..Outage::default()
                }],
                ..Weather::default()
            },
        ),
    ];
    for (name, weather) in weathers {
        let ground = before(Act::Create).await;
        let (expected, _) = fair(&ground, Act::Create).await;
        let mut judged = ground.copy();
        let is_outage = !weather.outages.is_empty();
        judged.aws.set_weather(weather);
        act(&mut judged, Act::Create);
        for visit in 0..16 {
            judged.visit().await;
            if is_outage && visit < 2 {
                let ready = judged.cluster.condition("tax", "Ready");
                assert_ne!(ready.0, "True", "{name}: {ready:?}");
            }
            if visit == 3 && is_outage {
                judged.aws.set_weather(Weather::default());
            }
            judged.pass().await;
            judged.aws.pass(Duration::from_secs(30));
        }
        assert_eq!(
            differences(&judged.made(), &expected),
            Vec::<String>::new(),
            "{name}"
        );
        assert_eq!(judged.cluster.condition("tax", "Ready").0, "True", "{name}");
    }
}

/// So many random pairs of faults.
async fn try_pairs(rounds: std::ops::Range<u64>) {
    let mut random = Random::new(rounds.start);
    let mut ends = BTreeMap::new();
    for what in ACTS {
        let ground = before(what).await;
        let fair = fair(&ground, what).await;
        ends.insert(format!("{what:?}"), (ground, fair));
    }
    for round in rounds {
        let what = ACTS[random.below(3)];
        let (ground, (expected, calls)) = &ends[&format!("{what:?}")];
        let mut judged = ground.copy();
        let mut faults = vec![];
        for _ in 0..2 {
            let kinds = kinds();
            let (_, kind) = kinds[random.below(kinds.len())].clone();
            let (call, times) = (random.below(*calls), 1 + random.below(4));
            faults.push(fault(call, u64::try_from(times).unwrap(), kind));
        }
        let tried = format!("seed {}, round {round}, {what:?}, {faults:?}", seed());
        judged.aws.set_weather(with_faults(faults));
        act(&mut judged, what);
        assert!(judged.settle().await, "{tried} does not end");
        assert_eq!(
            differences(&judged.made(), expected),
            Vec::<String>::new(),
            "{tried}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_random_pairs_of_faults_change_nothing_in_the_end() {
    try_pairs(0..500).await;
}

#[tokio::test(start_paused = true)]
async fn the_other_random_pairs_of_faults_change_nothing_in_the_end() {
    try_pairs(500..1_000).await;
}

/// The configuration is read again right before it is written. If that answer is cut off, S3 did not refuse the rules.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_cut_off_before_a_write_is_no_refusal() {
    let mut judged = before(Act::Edit).await;
    // The first visit reads the configuration once. The one that writes it reads it twice, once for its plan.
    judged.aws.set_weather(with_faults(vec![Fault {
        operation: "s3:GetBucketReplication".to_owned(),
        after: 2,
        times: 1,
        kind: FaultKind::Truncate,
        ..Fault::default()
    }]));
    act(&mut judged, Act::Edit);
    let mut messages = vec![];
    for _ in 0..6 {
        judged.visit().await;
        messages.push(judged.cluster.message("tax", "Ready"));
        judged.pass().await;
        judged.aws.pass(Duration::from_secs(30));
    }
    let cut_off = messages
        .iter()
        .any(|message| message.contains("is not readable as XML"));
    assert!(cut_off, "{messages:#?}");
    assert_eq!(
        judged.cluster.condition("tax", "Ready").0,
        "True",
        "{messages:#?}"
    );
}
