//! One visit to a source bucket: the core says what to ask, confirm and apply, and this loop does it, at AWS as [`Cloud`] and at Kubernetes as
//! [`Gate`].

use std::future::Future;

use anyhow::Context;
use futures::future::join_all;
use jiff::Timestamp;

use crate::{
    cloud::Cloud,
    replication::{
        observed::Observed,
        visit::{
            Confirmation, Next, Opened, Prepared, Visit, decision::Decision, memory::Memory, next,
            outcome::Outcome, report::Report, seen::Seen,
        },
    },
};

/// What has to be true in Kubernetes before anything is written to AWS.
pub trait Gate: Send + Sync {
    /// Whether the objects are still as the visit took them, by consistent reads, and those that act have the operator's finalizer.
    fn open(&self, confirmation: &Confirmation) -> impl Future<Output = Opened> + Send;
}

/// Visits a bucket, with what is remembered of it.
pub async fn visit<C: Cloud, G: Gate>(
    cloud: &C,
    gate: &G,
    visit: &Visit,
    memory: Memory,
    clock: impl Fn() -> Timestamp,
) -> Report {
    let mut seen = Seen::new(visit, memory, clock());
    loop {
        match next(visit, &seen, clock()) {
            Next::Ask(questions) => {
                let answers = join_all(questions.iter().map(|question| cloud.ask(question))).await;
                seen.answered(visit, answers);
            }
            Next::Confirm(prepared) => {
                let confirmation = prepared.confirmation(visit, seen.observed());
                let opened = gate.open(&confirmation).await;
                seen.opened(visit, prepared, opened, clock());
            }
            Next::Apply(prepared) => {
                let uses = prepared.uses(visit, seen.observed());
                if uses.is_some_and(|uses| !cloud.note(&uses)) {
                    return Report::begin_again(visit, &prepared);
                }
                let outcome = apply(cloud, &prepared).await;
                seen.applied(visit, prepared, outcome, clock());
            }
            Next::End(report) => {
                let uses = report.uses.as_ref();
                let holds = uses.is_none_or(|uses| cloud.note(uses));
                return if holds {
                    *report
                } else {
                    report.outdated(visit)
                };
            }
        }
    }
}

/// What a visit would decide now. Nothing is written.
///
/// # Errors
/// When what is needed can't be read.
pub async fn decided<C: Cloud>(cloud: &C, visit: &Visit) -> anyhow::Result<(Decision, Observed)> {
    let mut seen = Seen::new(visit, Memory::default(), Timestamp::now());
    loop {
        let prepared = match next(visit, &seen, Timestamp::now()) {
            Next::Ask(questions) => {
                let answers = join_all(questions.iter().map(|question| cloud.ask(question))).await;
                seen.answered(visit, answers);
                continue;
            }
            Next::Confirm(prepared) | Next::Apply(prepared) => prepared,
            Next::End(report) => report.prepared.context("nothing was decided")?,
        };
        return Ok((prepared.decision.clone(), seen.observed().clone()));
    }
}

/// Applies the steps: those whose requirements are met side by side, until none is left. A failure leaves out only what requires its step.
async fn apply<C: Cloud>(cloud: &C, prepared: &Prepared) -> Outcome {
    let drift = prepared.drift;
    let mut outcome = Outcome::of(&prepared.decision.steps, drift);
    loop {
        let ready = outcome.ready();
        if ready.is_empty() {
            return outcome;
        }
        let applying = ready.iter().map(async |planned| {
            tracing::info!(step = %planned.step, drift, "applying step");
            cloud.apply(&planned.step).await
        });
        let results = join_all(applying).await;
        for (planned, result) in ready.into_iter().zip(results) {
            if let Err(failure) = &result {
                tracing::warn!(step = %planned.step, error = %failure, "step failed");
            }
            outcome.add(planned, result);
        }
    }
}
