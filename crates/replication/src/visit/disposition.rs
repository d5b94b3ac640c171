//! What a visit does for each object, as far as the object and what it depends on decide that.

use std::collections::BTreeMap;

use api::{
    bucket_replication::{Mode, RequiredAction},
    condition::{ConditionType, Reason},
};

use crate::{
    Object, Problem,
    accounts::Account,
    assess::{self, Resolved},
    compose, merge,
    names::ObjectKey,
    observed::Observed,
    plan,
    preflight::{self, Facts},
    visit::{stage::Stage, view::View},
};

/// What a visit does for an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Disposition {
    /// It can't get what it asks for; what it has does not change.
    Refused {
        /// Why.
        problems: Vec<Problem>,
        /// What it asks for, if its buckets and keys were found.
        resolved: Option<Box<Resolved>>,
        /// Whether only something else on the bucket blocks it, so that its status shows the plan.
        planned: bool,
    },
    /// It gets what it asks for. If someone has to act first, its new rules wait, and its existing rules do not change.
    Acting {
        /// What it gets.
        resolved: Box<Resolved>,
        /// What someone has to do first.
        problems: Vec<Problem>,
        /// What the owner of an account that can't be read has to apply, and whether that is attested.
        external: Option<Box<External>>,
    },
    /// It only shows what would be done.
    Observing {
        /// What it would get.
        resolved: Box<Resolved>,
        /// What someone would have to do first.
        problems: Vec<Problem>,
    },
    /// It does not change.
    Paused,
    /// It is being deleted.
    Leaving,
    /// It is released, and what it created stays in AWS.
    Abandoned,
}

/// What the owner of an account that can't be read has to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct External {
    /// All of it.
    pub actions: Vec<RequiredAction>,
    /// Whether the policies of keys are among it.
    pub of_keys: bool,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether the object's annotation says that it is applied.
    pub attested: bool,
}

impl Disposition {
    pub(super) fn refused(problems: Vec<Problem>) -> Self {
        Self::Refused {
            problems,
            resolved: None,
            planned: false,
        }
    }

    /// The same object, which can't have what it asks for.
    pub(super) fn refuse(&mut self, problem: Problem) {
        let resolved = match std::mem::replace(self, Self::Paused) {
            Self::Acting { resolved, .. } | Self::Observing { resolved, .. } => Some(resolved),
            Self::Refused { resolved, .. } => resolved,
            Self::Paused | Self::Leaving | Self::Abandoned => None,
        };
        *self = Self::Refused {
            problems: vec![problem],
            resolved,
            planned: false,
        };
    }
}

/// What the visit does for each object.
pub type Dispositions = BTreeMap<ObjectKey, Disposition>;

/// The first phase: each object by itself.
pub(super) fn all(stage: &Stage<'_>) -> Dispositions {
    let of = |object: &&Object| (object.key.clone(), disposition(object, stage));
    stage.objects.iter().map(of).collect()
}

/// Whether an object can get what it asks for, as far as was read, or something has to be removed. Only then is a deeper read worth its calls.
#[must_use]
pub fn is_worth_reading_deeper(visit: &View<'_>, observed: &Observed) -> bool {
    let Some(stage) = Stage::new(visit, observed) else {
        return false;
    };
    visit
        .objects
        .iter()
        .any(|object| match disposition(object, &stage) {
            Disposition::Refused { problems, .. } => {
                object.may_have_resources()
                    && problems
                        .iter()
                        .any(|problem| problem.reason == Reason::NotGranted)
            }
            Disposition::Acting { .. } | Disposition::Observing { .. } | Disposition::Leaving => {
                true
            }
            Disposition::Paused | Disposition::Abandoned => false,
        })
}

/// What exists on the bucket and is not the operator's to change.
fn obstacles(
    resolved: &Resolved,
    visit: &View<'_>,
    account: &Account,
    observed: &Observed,
) -> Vec<Problem> {
    let foreign_role = observed
        .role
        .present()
        .filter(|role| !plan::is_ours(role, visit.installation, visit.source))
        .map(|role| {
            let message = format!(
                "role {} already exists without the operator's tags: delete it if it is not needed",
                role.arn
            );
            Problem::new(ConditionType::RoleReady, Reason::RoleNotOurs, message)
        });
    let configuration = observed.configuration.present();
    let blockers = configuration.and_then(|configuration| {
        merge::obstacle(resolved, configuration, visit.installation, account)
    });
    foreign_role.into_iter().chain(blockers).collect()
}

/// What an object gets, as far as it and what it depends on decide that.
fn disposition(object: &Object, stage: &Stage<'_>) -> Disposition {
    let visit = stage.view;
    if object.abandoned {
        return Disposition::Abandoned;
    }
    if object.is_deleting() {
        return Disposition::Leaving;
    }
    let valid = match visit.valid(object) {
        Ok(valid) => valid,
        Err(problems) => return Disposition::refused(problems.to_vec()),
    };
    if object.spec.mode == Mode::Paused {
        return Disposition::Paused;
    }
    if let Some(error) = visit.refusals.finalizers.get(&object.key) {
        let message = format!(
            "the API server refused to add the operator's finalizer to the object: {error}. Allow the operator to change the object's finalizers"
        );
        return Disposition::refused(vec![Problem::new(
            ConditionType::Accepted,
            Reason::FinalizerRefused,
            message,
        )]);
    }
    let resolved = match assess::assess(valid, stage.observed, visit.accounts) {
        Ok(resolved) if stage.unreadable.is_empty() => resolved,
        Ok(_) => return Disposition::refused(stage.unreadable.clone()),
        Err(mut problems) => {
            problems.extend(stage.unreadable.iter().cloned());
            return Disposition::refused(problems);
        }
    };
    checked(object, resolved, stage)
}

/// What an object gets for which everything that it depends on was found, by what else exists there.
fn checked(object: &Object, resolved: Resolved, stage: &Stage<'_>) -> Disposition {
    let (visit, account, observed) = (stage.view, stage.account, stage.observed);
    let problems = obstacles(&resolved, visit, account, observed);
    let role = compose::role_arn_of(
        visit.installation,
        account,
        visit.source,
        observed,
        &problems,
    );
    let found = preflight::preflight(&Facts::new(
        &resolved,
        observed,
        visit.installation,
        visit.accounts,
        account,
        &role,
        visit.upstream,
    ));
    if !found.problems.is_empty() {
        let problems = problems.into_iter().chain(found.problems).collect();
        return Disposition::Refused {
            problems,
            resolved: Some(Box::new(resolved)),
            planned: false,
        };
    }
    let resolved = Box::new(Resolved {
        notes: found.notes,
        ..resolved
    });
    if !problems.is_empty() {
        let can_change = |problem: &Problem| {
            matches!(
                problem.reason,
                Reason::ForeignConfiguration
                    | Reason::RoleNotMergeable
                    | Reason::ForeignVersion1Rules
            )
        };
        let planned = problems.iter().all(can_change);
        return Disposition::Refused {
            problems,
            resolved: Some(resolved),
            planned,
        };
    }
    if resolved.valid.observe {
        return Disposition::Observing {
            resolved,
            problems: vec![],
        };
    }
    let refused = visit.refusals.problems.get(&object.key);
    Disposition::Acting {
        resolved,
        problems: refused.cloned().into_iter().collect(),
        external: None,
    }
}
