//! What all phases of a decision work on.

use api::condition::{ConditionType, Reason};

use crate::{Object, Problem, accounts::Account, assess, observed::Observed, visit::view::View};

/// What all phases of a decision work on.
pub(super) struct Stage<'a> {
    /// The visit.
    pub(super) view: &'a View<'a>,
    /// The account of the source bucket.
    pub(super) account: &'a Account,
    /// What exists in AWS.
    pub(super) observed: &'a Observed,
    /// The objects, older ones first.
    pub(super) objects: Vec<&'a Object>,
    /// What every object depends on and could not be read.
    pub(super) unreadable: Vec<Problem>,
}

impl<'a> Stage<'a> {
    /// None if the source's account can't be used.
    pub(super) fn new(view: &'a View<'a>, observed: &'a Observed) -> Option<Self> {
        let account = view.accounts.by_id(&view.source.account)?;
        let mut objects: Vec<_> = view.objects.iter().collect();
        objects.sort_by_key(|object| (object.created, object.key.clone()));
        Some(Self {
            view,
            account,
            observed,
            objects,
            unreadable: unreadable(view, observed),
        })
    }
}

/// What every object on the bucket depends on and could not be read, so that nothing may be overwritten.
fn unreadable(visit: &View<'_>, observed: &Observed) -> Vec<Problem> {
    let region = observed
        .buckets
        .get(visit.source)
        .and_then(|bucket| bucket.region.failure());
    let own = [
        (ConditionType::SourceReady, region),
        (
            ConditionType::ReplicationConfigured,
            observed.configuration.failure(),
        ),
        (ConditionType::RoleReady, observed.role.failure()),
        (ConditionType::RoleReady, observed.role_policies.failure()),
    ];
    let merged = observed
        .merged
        .values()
        .map(|policy| (ConditionType::RoleReady, policy.failure()));
    let failed = own
        .into_iter()
        .chain(merged)
        .filter_map(|(condition, failure)| Some(assess::failed(condition, failure?)));
    failed.chain(not_preservable(visit, observed)).collect()
}

/// A PUT replaces the whole configuration, so an element that can't be written back forbids it.
fn not_preservable(visit: &View<'_>, observed: &Observed) -> Option<Problem> {
    let unknown = observed
        .unknown_elements
        .iter()
        .find(|unknown| unknown.is_foreign(visit.installation))?;
    let of = unknown
        .rule
        .as_ref()
        .map_or_else(|| "the configuration".to_owned(), |id| format!("rule {id}"));
    let message = format!(
        "{of} on bucket {} has the element {}, which this version of the operator does not support and would remove with any write. Upgrade the operator, or remove the element",
        visit.source.name, unknown.path
    );
    Some(Problem::new(
        ConditionType::ReplicationConfigured,
        Reason::ForeignRuleNotPreservable,
        message,
    ))
}
