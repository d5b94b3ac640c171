//! Whose a rule is, by its ID, and how two rules compare.

use crate::{
    configuration::{Filter, ReplicationRule, Setting, Status, Tag},
    names::{InstallationId, ObjectKey},
};

/// The content of the ID of one of the operator's rules: `<id>/<namespace>/<name>/<rule>`, with `retained/` before it if its object retained it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMark {
    /// The object that the rule is of.
    pub object: ObjectKey,
    /// The rule's name in the object.
    pub rule: String,
    /// Whether the object was deleted and retained the rule.
    pub retained: bool,
}

impl RuleMark {
    /// The ID of the rule.
    #[must_use]
    pub fn id(&self, installation: &InstallationId) -> String {
        let retained = if self.retained { "retained/" } else { "" };
        format!("{retained}{installation}/{}/{}", self.object, self.rule)
    }

    /// The content of a rule's ID, if it is of `installation`.
    #[must_use]
    pub fn parse(id: &str, installation: &InstallationId) -> Option<Self> {
        let (retained, id) = id
            .strip_prefix("retained/")
            .map_or((false, id), |rest| (true, rest));
        let parts: Vec<_> = id.split('/').collect();
        let [marked, namespace, name, rule] = parts[..] else {
            return None;
        };
        (marked == installation.as_str()).then(|| Self {
            object: ObjectKey {
                namespace: namespace.into(),
                name: name.into(),
            },
            rule: rule.into(),
            retained,
        })
    }
}

impl ReplicationRule {
    /// The content of the rule's ID, if it is of `installation`.
    #[must_use]
    pub fn mark(&self, installation: &InstallationId) -> Option<RuleMark> {
        RuleMark::parse(self.id.as_deref()?, installation)
    }

    /// The prefix that the rule selects.
    #[must_use]
    pub fn selected_prefix(&self) -> &str {
        self.filter.as_ref().map_or_else(
            || self.prefix.as_deref().unwrap_or_default(),
            Filter::prefix,
        )
    }

    /// Whether both mean the same, whatever the form of the filter.
    #[must_use]
    pub fn means(&self, other: &Self) -> bool {
        let filter = |rule: &Self| {
            rule.filter.as_ref().map(|f| {
                (
                    f.prefix().to_owned(),
                    f.tags().into_iter().cloned().collect::<Vec<_>>(),
                )
            })
        };
        let rest = |rule: &Self| Self {
            filter: None,
            ..rule.clone()
        };
        filter(self) == filter(other) && rest(self) == rest(other)
    }

    /// The rule in the schema V2. In V1, the prefix is outside of a filter, and delete markers are replicated ("Backward
    /// compatibility considerations" under "Replication configuration file elements" in the S3 User Guide).
    #[must_use]
    pub fn as_version_2(&self) -> Self {
        if self.filter.is_some() {
            return self.clone();
        }
        let prefix = self.prefix.clone().unwrap_or_default();
        let markers = self.delete_marker_replication.unwrap_or(Setting::new(true));
        Self {
            prefix: None,
            filter: Some(Filter::new(&prefix, vec![])),
            delete_marker_replication: Some(markers),
            ..self.clone()
        }
    }

    /// Whether some object can be selected by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.selected_prefix(), other.selected_prefix());
        let tags = |rule: &Self| -> Vec<Tag> {
            rule.filter.iter().flat_map(Filter::tags).cloned().collect()
        };
        let contradict = tags(self).iter().any(|one| {
            tags(other)
                .iter()
                .any(|two| one.key == two.key && one.value != two.value)
        });
        (a.starts_with(b) || b.starts_with(a)) && !contradict
    }

    /// Whether both are enabled, and would treat an object differently on its way to the same bucket. Then the one with the higher priority wins.
    #[must_use]
    pub fn rivals(&self, other: &Self) -> bool {
        let acts = |rule: &Self| rule.status == Status::Enabled;
        acts(self)
            && acts(other)
            && self.destination.bucket == other.destination.bucket
            && self.overlaps(other)
            && !self.same_settings(other)
    }

    /// Whether what the two would do to one object is the same.
    #[must_use]
    pub fn same_settings(&self, other: &Self) -> bool {
        self.destination == other.destination
            && self.source_selection_criteria == other.source_selection_criteria
            && self.delete_marker_replication == other.delete_marker_replication
    }
}
