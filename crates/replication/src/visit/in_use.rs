//! What the source bucket uses at destinations and keys, so that no other source bucket's visit removes it.

use crate::{
    composition::statements::used,
    observed::{Facet, Observed},
    plan::Step,
    uses::Used,
    visit::{decision::Decision, input::Visit, outcome::Outcome},
};

/// What the source bucket uses: what it should use, and, while steps are open, also what it used before. `None`: that is not known.
pub(super) fn in_use(
    visit: &Visit,
    decision: &Decision,
    observed: &Observed,
    is_open: bool,
) -> Option<Used> {
    let installation = &visit.installation;
    let existing = match (&observed.role, &observed.role_policies) {
        (Facet::Absent, _) => vec![],
        (Facet::Present(_), Facet::Present(_) | Facet::Absent) => observed.role_statements(),
        _ => return None,
    };
    if !decision.uses_known {
        return None;
    }
    let mut uses = decision.desired.uses(installation);
    let before = observed.role.present().filter(|_| is_open);
    let before = before.map(|role| used(installation, &role.arn, &existing));
    for (policy, sids) in before.into_iter().flatten() {
        uses.entry(policy).or_default().extend(sids);
    }
    Some(uses)
}

/// What the source bucket uses after the steps: what the steps that were applied released is not used, although others are open.
pub(super) fn in_use_after(
    visit: &Visit,
    decision: &Decision,
    observed: &Observed,
    done: &[Step],
    outcome: &Outcome,
) -> Option<Used> {
    // A role without policies uses nothing.
    let is_open = outcome
        .open()
        .any(|planned| !matches!(planned.step, Step::Settle | Step::DeleteRole { .. }));
    let mut uses = in_use(visit, decision, observed, is_open)?;
    let kept = decision.desired.uses(&visit.installation);
    let done_now = outcome.done.iter().map(|planned| &planned.step);
    for (policy, edit) in done.iter().chain(done_now).filter_map(Step::shared) {
        let kept = kept.get(&policy);
        let Some(sids) = uses.get_mut(&policy) else {
            continue;
        };
        for sid in edit.released() {
            if !kept.is_some_and(|kept| kept.contains(sid)) {
                sids.remove(sid);
            }
        }
    }
    uses.retain(|_, sids| !sids.is_empty());
    Some(uses)
}
