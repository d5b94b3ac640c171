//! What to do next in a visit, by what was seen so far.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use crate::{
    question::Question,
    requeue::Ending,
    visit::{
        contention::{Verdict, Work},
        decision::decide,
        input::Visit,
        notice::Notice,
        outcome::Outcome,
        prepared::Prepared,
        report::{self, Report},
        seen::{Progress, Seen},
    },
};

/// What a visit does next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Ask AWS all of these, side by side.
    Ask(BTreeSet<Question>),
    /// Have the API server confirm the objects, and add the finalizer to those that act.
    Confirm(Arc<Prepared>),
    /// Apply the steps.
    Apply(Arc<Prepared>),
    /// The visit is over.
    End(Box<Report>),
}

/// What to do next in a visit.
#[must_use]
pub fn next(visit: &Visit, seen: &Seen, now: Timestamp) -> Next {
    match &seen.progress {
        Progress::Reading => {
            let questions = seen.questions();
            if !questions.is_empty() {
                return Next::Ask(questions);
            }
            match prepare(visit, seen, now).map(Arc::new) {
                Ok(prepared) if prepared.writes(visit) => Next::Confirm(prepared),
                Ok(prepared) => {
                    let outcome = Outcome::of(&prepared.decision.steps, prepared.drift);
                    Next::End(Box::new(report::of(
                        visit,
                        &seen.observed,
                        &seen.done,
                        &prepared,
                        &outcome,
                        now,
                    )))
                }
                Err(report) => Next::End(report),
            }
        }
        Progress::Confirmed(prepared) => Next::Apply(Arc::clone(prepared)),
        Progress::Stopped(report) => Next::End(report.clone()),
        Progress::Applied(prepared, outcome) => Next::End(Box::new(report::of(
            visit,
            &seen.observed,
            &seen.done,
            prepared,
            outcome,
            now,
        ))),
    }
}

/// Decides by what was read. What is in doubt is only believed if two visits a grace period apart both show it.
fn prepare(visit: &Visit, seen: &Seen, now: Timestamp) -> Result<Prepared, Box<Report>> {
    let times = &visit.times;
    let mut memory = seen.memory.clone();
    let observed = &seen.observed;
    let mut notices = seen.notices.clone();
    notices.extend(
        memory
            .gone(observed, &visit.installation, times.grace, now)
            .into_iter()
            .map(Notice::ForeignRuleGone),
    );
    let decision = decide(&seen.view(visit, &seen.refusals), observed, &|key, need| {
        memory.settled(key, need, times.settle, now)
    });
    // What follows from a change of the spec is not drift.
    let unchanged = memory.inputs == visit.inputs;
    let drift = (memory.inputs.is_empty() || unchanged) && decision.is_drift(&visit.ready());
    let lags = memory.lags(observed, &visit.installation, now) && !decision.steps.is_empty();
    let in_doubt = !seen.is_believed() && (drift || decision.doubtful || lags);
    if !memory.confirms(&decision, in_doubt, times.grace, now) {
        let released = report::abandoned(visit).collect();
        return Err(Box::new(Report {
            released,
            notices,
            ..Report::unchanged(Ending::After(times.grace), memory)
        }));
    }
    let work = match drift || memory.was_taken_away(&decision) {
        true => Work::Correction,
        false if unchanged => Work::Unedited,
        false => Work::Edited,
    };
    let prepared = Prepared {
        drift,
        work,
        needed: decision.needed(),
        decision,
        memory,
        notices,
        contended: None,
    };
    // What follows from a change of the spec is not delayed.
    if unchanged {
        contention(visit, seen, prepared, now)
    } else {
        Ok(prepared)
    }
}

/// Leaves what another writer keeps changing, and plans without the objects that need it.
fn contention(
    visit: &Visit,
    seen: &Seen,
    mut prepared: Prepared,
    now: Timestamp,
) -> Result<Prepared, Box<Report>> {
    let mut refusals = seen.refusals.clone();
    loop {
        let (memory, decision) = (&prepared.memory, &prepared.decision);
        let work = prepared.work;
        match memory.contention.verdict(&decision.needed(), work, now) {
            Verdict::Correct => return Ok(prepared),
            Verdict::Later(wait) => {
                return Err(Box::new(Report {
                    notices: prepared.notices,
                    ..Report::unchanged(Ending::After(wait), prepared.memory)
                }));
            }
            Verdict::Contended { element, wait } => {
                let first = prepared.contended.map_or(wait, |other| other.min(wait));
                prepared.contended = Some(first);
                if refusals.contend(decision, &element, &visit.source, &seen.observed) {
                    let settle = visit.times.settle;
                    let decision = decide(
                        &seen.view(visit, &refusals),
                        &seen.observed,
                        &|key, need| memory.settled(key, need, settle, now),
                    );
                    prepared.needed.extend(decision.needed());
                    prepared.decision = decision;
                } else {
                    let observed = &seen.observed;
                    prepared.decision.contend(&element, &visit.source, observed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api::AwsAccount;
    use serde_json::json;

    use super::*;
    use crate::{
        Object,
        accounts::Accounts,
        counts::taken,
        names::{OwnedBucket, Partition},
        observed::Facet,
        question::Answer,
        visit::{Times, memory::Memory, seen::Opened},
    };

    const ID: &str = "111111111111";

    fn visit(objects: usize) -> Visit {
        let account: AwsAccount = serde_json::from_value(json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "prod"},
            "spec": {"accountID": ID, "grants": [{
                "namespaces": {"matchLabels": {"team": "finance"}},
                "sources": [{"bucket": "*"}], "destinations": [{"bucket": "*"}],
            }]},
        }))
        .expect("an account");
        let object = |number: usize| {
            let read = serde_json::from_value(json!({
                "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
                "metadata": {"name": format!("o{number}"), "namespace": "finance", "generation": 1},
                "spec": {
                    "source": {"accountName": "prod", "bucket": "source"},
                    "destination": {"accountName": "prod", "bucket": "backup"},
                    "rules": [{"name": "a", "prefix": format!("{number}/")}],
                },
            }));
            let labels = [("team".to_owned(), "finance".to_owned())].into();
            Object::of(&read.expect("an object"), labels)
        };
        let times = Times {
            preflight: Duration::from_hours(1),
            grace: Duration::ZERO,
            settle: Duration::ZERO,
            sweep: Duration::ZERO,
            retry: Duration::ZERO,
            drain: Duration::ZERO,
        };
        Visit::new(
            "test".parse().expect("an id"),
            Arc::new(Accounts::new([&account])),
            OwnedBucket {
                partition: Partition::Aws,
                account: ID.parse().expect("an account"),
                name: "source".parse().expect("a bucket"),
            },
            (0..objects).map(object).collect(),
            std::collections::BTreeSet::new(),
            times,
            Timestamp::from_second(1_800_000_000).expect("a time"),
        )
    }

    /// Two versioned buckets, and nothing else.
    fn answer(question: &Question) -> Answer {
        let region = "us-east-1".parse().expect("a Region");
        match question.clone() {
            Question::Region(bucket) => Answer::Region(bucket, Facet::Present(region)),
            Question::Versioning(bucket, _) => Answer::Versioning(bucket, Facet::Present(true)),
            Question::Encryption(bucket, _) => Answer::Encryption(bucket, Facet::Absent),
            Question::ObjectLock(bucket, _) => Answer::ObjectLock(bucket, Facet::Absent),
            Question::BucketPolicy(bucket, _) => Answer::BucketPolicy(bucket, Facet::Absent),
            Question::Configuration(bucket, _) => Answer::Configuration(bucket, Facet::Absent),
            Question::Role(..) => Answer::Role(Facet::Absent),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn each_object_is_validated_once_and_the_rest_once_for_each_phase() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        for objects in [1, 10] {
            taken();
            let visit = visit(objects);
            let mut seen = Seen::new(&visit, Memory::default(), now);
            let mut asked = 0;
            loop {
                match next(&visit, &seen, now) {
                    Next::Ask(questions) => {
                        asked += questions.len();
                        seen.answered(&visit, questions.iter().map(answer).collect());
                    }
                    Next::Confirm(prepared) => seen.opened(&visit, prepared, Opened::Open, now),
                    Next::Apply(prepared) => {
                        let mut outcome = Outcome::of(&prepared.decision.steps, false);
                        while let Some(planned) = outcome.ready().into_iter().next() {
                            outcome.add(planned, Ok(()));
                        }
                        seen.applied(&visit, prepared, outcome, now);
                    }
                    Next::End(report) => {
                        assert_eq!(report.done.len(), 3, "role, its policy, the configuration");
                        break;
                    }
                }
            }
            // Whether to read deeper is asked three times, until one object needs it; then each is assessed. One composition shows what owners
            // have to apply, and one whether all fits and what is written.
            assert_eq!(taken(), [objects, 3 + objects, 2], "{objects} objects");
            assert_eq!(asked, 10);
        }
    }
}
