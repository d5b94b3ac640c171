//! What the source bucket uses at destinations and keys, so that no other source bucket's visit removes it.

use crate::{
    composition::statements::used,
    observed::{Depth, Facet, Observed},
    uses::Used,
    visit::{decision::Decision, input::Visit},
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
    if decision.depth != Depth::Everything {
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
