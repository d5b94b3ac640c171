//! What of a deletion is in doubt: a read may lag, and what it does not show would be left. Only a second visit, a grace period later, is believed.

use crate::{
    arns::RoleArn,
    names::{ObjectKey, RoleName},
    observed::{Facet, Observed},
    policy::Mark,
    visit::view::View,
};

/// Whether what a leaving object created may exist although it was not read.
pub(super) fn is_doubtful(key: &ObjectKey, visit: &View<'_>, observed: &Observed) -> bool {
    let owner = Mark::owner(&key.to_string());
    let mut rules = observed
        .configuration
        .present()
        .into_iter()
        .flat_map(|configuration| &configuration.rules);
    let permitted = observed.role_statements().iter().any(|statement| {
        statement
            .mark_of(visit.installation)
            .is_some_and(|mark| mark.owner == owner)
    });
    let lacks_rules = permitted
        && !rules.any(|rule| {
            rule.mark(visit.installation)
                .is_some_and(|mark| mark.object == *key)
        });
    lacks_rules || lacks_role(key, visit, observed)
}

/// Whether the object's status names the operator's role for the bucket, which was not read, or no visit that may have created one came to report it.
fn lacks_role(key: &ObjectKey, visit: &View<'_>, observed: &Observed) -> bool {
    let mut objects = visit.objects.iter();
    let object = objects.find(|object| object.key == *key);
    let named = object.and_then(|object| object.status.role_arn.as_deref());
    let named: Option<RoleArn> = named.and_then(|arn| arn.parse().ok());
    let own = RoleName::of(visit.installation, visit.source);
    let was_acted_on = object.is_some_and(|object| object.held);
    observed.role == Facet::Absent && named.map_or(was_acted_on, |role| role.name == own)
}
