//! What refuses canaries that the object alone does not show: rules of others that select them, and retention that keeps them.

use api::{condition::Reason, finding::Finding};

use crate::{
    configuration::{Configuration, ReplicationRule},
    observed::Facet,
    verification::{canary::Canary, subject::Subject},
};

/// What was read before canaries are uploaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// The source bucket's replication configuration.
    pub configuration: Facet<Configuration>,
    /// Whether the source bucket has default retention.
    pub source_retains: Facet<bool>,
    /// Whether the destination bucket has default retention.
    pub destination_retains: Facet<bool>,
}

/// Why no canary can be uploaded, if so.
#[must_use]
pub fn refusal(subject: &Subject, checked: &Checked) -> Option<Finding> {
    let failures = [
        checked.configuration.failure(),
        checked.source_retains.failure(),
        checked.destination_retains.failure(),
    ];
    if let Some(failure) = failures.into_iter().flatten().next() {
        return Some(super::judgement::failed(failure));
    }
    let retains = [
        (&checked.source_retains, &subject.source),
        (&checked.destination_retains, &subject.destination),
    ];
    if let Some((_, bucket)) = retains
        .into_iter()
        .find(|(retains, _)| **retains == Facet::Present(true))
    {
        let message = format!(
            "bucket {} has default retention, which would keep canaries: remove spec.verification.canary, or the default retention",
            bucket.name
        );
        return Some(Finding::unknown(Reason::DefaultRetention, message));
    }
    let configuration = checked.configuration.present()?;
    let others = || {
        let rules = configuration.rules.iter();
        rules.filter(|rule| !is_own(rule, subject))
    };
    let mut selected = subject
        .canaries
        .iter()
        .filter_map(|canary| Some((canary, others().find(|rule| canary.is_selected_by(rule))?)));
    selected.next().map(|(canary, rule)| overlaps(canary, rule))
}

fn is_own(rule: &ReplicationRule, subject: &Subject) -> bool {
    // Rules that a former object of the name retained stay as they are, wherever this one replicates to.
    let mark = rule.mark(&subject.installation);
    let is_of_name = mark.is_some_and(|mark| mark.object == subject.key);
    is_of_name && rule.destination.bucket == subject.destination.arn().to_string()
}

fn overlaps(canary: &Canary, rule: &ReplicationRule) -> Finding {
    // The ID is not named: it may be of another tenant.
    let message = format!(
        "a rule that is not of this object, with prefix \"{}\", selects the canary of rule {} too, so that S3 would replicate it to another bucket as well: narrow one of the rules, or remove spec.verification.canary",
        rule.selected_prefix(),
        canary.rule
    );
    Finding::unknown(Reason::OverlappingRules, message)
}
