//! What to do next in a visit, by what was seen so far.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    question::Question,
    requeue::Ending,
    visit::{
        contention::Verdict,
        decision::{Decision, decide},
        input::Visit,
        memory::Memory,
        notice::Notice,
        outcome::Outcome,
        prepared::Prepared,
        report::{self, Report},
        seen::{Progress, Seen},
        view::Refusals,
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
            match prepare(visit, seen, now) {
                Ok(prepared) if prepared.writes(visit) => Next::Confirm(Arc::new(prepared)),
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
    let mut refusals = seen.refusals.clone();
    let settled = |memory: &Memory, refusals: &Refusals| {
        decide(&visit.view(refusals), observed, &|key, need| {
            memory.settled(key, need, times.settle, now)
        })
    };
    let mut decision = settled(&memory, &refusals);
    // What follows from a change of the spec is not drift.
    let unchanged = memory.inputs == visit.inputs;
    let drift = (memory.inputs.is_empty() || unchanged) && decision.is_drift(&visit.ready());
    let lags = memory.lags(observed, &visit.installation, now) && !decision.steps.is_empty();
    let in_doubt = !seen.was_just_read() && (drift || decision.doubtful || lags);
    if !memory.confirms(&decision, in_doubt, times.grace, now) {
        let released = report::abandoned(visit).collect();
        return Err(Box::new(Report {
            released,
            notices,
            ..Report::unchanged(Ending::After(times.grace), memory)
        }));
    }
    let reverts = drift || memory.was_taken_away(&decision);
    let mut needed = decision.needed();
    let mut contended: Option<Duration> = None;
    // What follows from a change of the spec is not delayed.
    let verdict = |decision: &Decision| {
        let needed = decision.needed();
        unchanged.then(|| memory.contention.verdict(&needed, now))
    };
    while let Some(verdict) = verdict(&decision) {
        match verdict {
            Verdict::Correct => break,
            Verdict::Later(wait) => {
                return Err(Box::new(Report {
                    notices,
                    ..Report::unchanged(Ending::After(wait), memory)
                }));
            }
            Verdict::Contended { element, wait } => {
                contended = Some(contended.map_or(wait, |other| other.min(wait)));
                if refusals.contend(&decision, &element, &visit.source, observed) {
                    decision = settled(&memory, &refusals);
                    needed.extend(decision.needed());
                } else {
                    decision.contend(&element, &visit.source, observed);
                }
            }
        }
    }
    Ok(Prepared {
        decision,
        drift,
        memory,
        notices,
        needed,
        reverts,
        contended,
    })
}
