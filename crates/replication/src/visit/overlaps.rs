//! Rules that would treat an S3 object differently on its way to the same bucket: the first in order wins.

use api::condition::{ConditionType, Reason};

use crate::{
    Object, Problem,
    assess::Resolved,
    configuration::{ReplicationRule, RuleMark},
    merge,
    names::ObjectKey,
    request::rules::rules_of,
    visit::{
        disposition::{Disposition, Dispositions},
        stage::Stage,
    },
};

/// Refuses what overlaps: unmanaged rules come first, then retained rules and those of namespaces that are not watched, then the rules of objects by
/// their age. The rules of objects that only show what would be done are compared as if they acted, but hold up no one.
pub(super) fn refuse(stage: &Stage<'_>, mut dispositions: Dispositions) -> Dispositions {
    let mut first = Rules::of_no_object(stage);
    for object in &stage.objects {
        let disposition = dispositions.get_mut(&object.key);
        match disposition {
            Some(Disposition::Acting { resolved, .. }) => match first.clash(stage, resolved) {
                None => first.claim(stage, resolved),
                Some(problem) => {
                    first.keep(object);
                    dispositions
                        .entry(object.key.clone())
                        .and_modify(|disposition| disposition.refuse(problem));
                }
            },
            Some(Disposition::Observing { resolved, .. }) => {
                let clash = first.clash(stage, resolved);
                first.keep(object);
                if let Some(problem) = clash {
                    dispositions
                        .entry(object.key.clone())
                        .and_modify(|disposition| disposition.refuse(problem));
                }
            }
            _ if object.is_deleting() => {}
            _ => first.keep(object),
        }
    }
    dispositions
}

/// Rules that come before those of the objects that follow.
struct Rules<'a> {
    existing: Vec<(&'a ReplicationRule, Option<ObjectKey>)>,
    first: Vec<ReplicationRule>,
}

impl<'a> Rules<'a> {
    fn of_no_object(stage: &Stage<'a>) -> Self {
        let of = |rule: &ReplicationRule| {
            let mark = rule.mark(stage.view.installation);
            let mark =
                mark.filter(|mark| !mark.retained && stage.view.watched.includes(&mark.object));
            mark.map(|mark| mark.object)
        };
        let existing: Vec<_> = stage
            .observed
            .configuration
            .present()
            .into_iter()
            .flat_map(|configuration| &configuration.rules)
            .map(|rule| (rule, of(rule)))
            .collect();
        let first = existing
            .iter()
            .filter(|(_, object)| object.is_none())
            .map(|(rule, _)| rule.as_version_2())
            .collect();
        Self { existing, first }
    }

    /// The object keeps the rules that it has.
    fn keep(&mut self, object: &Object) {
        let own = self
            .existing
            .iter()
            .filter(|(_, of)| of.as_ref() == Some(&object.key));
        self.first.extend(own.map(|(rule, _)| (*rule).clone()));
    }

    /// The object gets its rules.
    fn claim(&mut self, stage: &Stage<'_>, resolved: &Resolved) {
        let id = |name: &str| {
            RuleMark {
                object: resolved.valid.key.clone(),
                rule: name.to_owned(),
                retained: false,
            }
            .id(stage.view.installation)
        };
        let rules = rules_of(resolved).into_iter().zip(&resolved.valid.rules);
        self.first
            .extend(rules.map(|(rule, valid)| ReplicationRule {
                id: Some(id(&valid.name)),
                ..rule
            }));
    }

    /// The first rule that one of the object's can't be combined with.
    fn clash(&self, stage: &Stage<'_>, resolved: &Resolved) -> Option<Problem> {
        let installation = stage.view.installation;
        let configuration = stage.observed.configuration.present();
        let taken = merge::taken_over(resolved, configuration, installation).unwrap_or_default();
        let is_taken =
            |rule: &ReplicationRule| rule.id.as_ref().is_some_and(|id| taken.contains_key(id));
        let (rule, other) = rules_of(resolved).into_iter().find_map(|rule| {
            let mut others = self.first.iter();
            let other = others.find(|other| !is_taken(other) && rule.rivals(other))?;
            Some((rule, other))
        })?;
        // The ID of one of the operator's rules names the namespace of its object, which another tenant must not see.
        let foreign = other
            .id
            .as_ref()
            .filter(|_| other.mark(installation).is_none());
        let other = foreign.map_or_else(
            || "an older object on this bucket".to_owned(),
            |id| format!("the unmanaged rule {id}"),
        );
        let message = format!(
            "prefix \"{}\" overlaps with {other}, which replicates to bucket {} with other settings: narrow the prefix or tags, or use the same settings",
            rule.selected_prefix(),
            resolved.valid.destination.name
        );
        Some(Problem::new(
            ConditionType::ReplicationConfigured,
            Reason::OverlappingRules,
            message,
        ))
    }
}
