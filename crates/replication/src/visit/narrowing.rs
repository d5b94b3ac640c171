//! Which rules S3 refuses in a replication configuration: a refusal is narrowed to the objects that cause it, so that the others are served.
//!
//! S3 takes or refuses a configuration as a whole. After a refusal, what exists is written once more without any change. If that is accepted, the
//! objects whose rules are new are tried by halves, older ones first, until each group is accepted or has one object. If even what exists is
//! refused, the rules of objects whose destination is gone are left out; if that does not help, those of each object whose destination can't be read,
//! one at a time, so that no rule is missing for the sake of another; and then an unmanaged rule is the cause.

use std::collections::{BTreeSet, VecDeque};

use crate::names::ObjectKey;

/// So many objects whose destination can't be read are tried.
const MOST: usize = 10;

/// What is being tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Objects whose new rules are to be tried, a group at a time.
    groups: VecDeque<Vec<ObjectKey>>,
    /// Whether what exists is written without any change.
    probes: bool,
    /// Objects whose rules are left out, because their destination is gone or may be.
    dropped: BTreeSet<ObjectKey>,
    /// The last of them, if its destination can't be read.
    tried: Option<ObjectKey>,
    /// Objects whose destination can't be read, and that are not the only cause.
    cleared: BTreeSet<ObjectKey>,
    /// An object that S3 refused before: it is the cause if all others are accepted.
    known: Option<ObjectKey>,
}

/// What is known when S3 refuses a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Whether there is a configuration to try without change.
    pub existing: bool,
    /// The objects with rules there whose destination is gone.
    pub suspects: &'a BTreeSet<ObjectKey>,
    /// The objects with rules there whose destination can't be read.
    pub unread: &'a BTreeSet<ObjectKey>,
    /// The objects that S3 refused at an earlier visit.
    pub before: &'a BTreeSet<ObjectKey>,
}

/// What a refusal means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is not known yet: more has to be tried.
    Unknown,
    /// The rules of this object.
    Object(ObjectKey),
    /// What exists and is not the operator's, for all these objects.
    Existing(Vec<ObjectKey>),
}

impl Narrowing {
    /// S3 refused a configuration with new rules of `changed`, older objects first.
    pub fn refused(&mut self, changed: Vec<ObjectKey>, facts: &Facts<'_>) -> Cause {
        let (existing, before) = (facts.existing, facts.before);
        if self.probes {
            return self.existing_refused(facts);
        }
        if let Some(known) = self.known.take() {
            // It was not the only cause, so that all begins again.
            let mut all = self.groups.pop_front().unwrap_or_default();
            all.push(known);
            self.groups.push_back(all);
            self.probes = existing;
            return if existing {
                Cause::Unknown
            } else {
                self.split()
            };
        }
        if self.groups.is_empty() {
            let (mut known, others): (Vec<_>, Vec<_>) = changed
                .iter()
                .cloned()
                .partition(|key| before.contains(key));
            if known.len() == 1 {
                if others.is_empty() {
                    return known.pop().map_or(Cause::Unknown, Cause::Object);
                }
                self.known = known.pop();
                self.groups.push_back(others);
                return Cause::Unknown;
            }
            self.groups.push_back(changed);
            if existing {
                self.probes = true;
                return Cause::Unknown;
            }
        }
        self.split()
    }

    /// S3 refused what exists: of that, more is left out.
    fn existing_refused(&mut self, facts: &Facts<'_>) -> Cause {
        let more: BTreeSet<_> = facts.suspects.difference(&self.dropped).cloned().collect();
        if !more.is_empty() {
            self.dropped.extend(more);
            return Cause::Unknown;
        }
        if let Some(cleared) = self.tried.take() {
            self.dropped.remove(&cleared);
            self.cleared.insert(cleared);
        }
        let mut untried = facts.unread.difference(&self.cleared);
        self.tried = untried
            .next()
            .filter(|_| self.cleared.len() < MOST)
            .cloned();
        self.dropped.extend(self.tried.clone());
        if self.tried.is_some() {
            return Cause::Unknown;
        }
        self.probes = false;
        Cause::Existing(self.groups.drain(..).flatten().collect())
    }

    /// S3 accepted the configuration that was tried.
    pub fn accepted(&mut self) -> Cause {
        if !self.probes {
            self.groups.pop_front();
            return self.known.take().map_or(Cause::Unknown, Cause::Object);
        }
        self.probes = false;
        // Without what was left out, the whole group may be accepted.
        if let Some(cause) = self.tried.take() {
            Cause::Object(cause)
        } else if self.dropped.is_empty() {
            self.split()
        } else {
            Cause::Unknown
        }
    }

    /// Goes on with the halves of a group that was refused together with what exists.
    fn split(&mut self) -> Cause {
        let Some(mut group) = self.groups.pop_front() else {
            return Cause::Unknown;
        };
        if group.len() > 1 {
            let younger = group.split_off(group.len().div_ceil(2));
            self.groups.push_front(younger);
            self.groups.push_front(group);
            return Cause::Unknown;
        }
        group.pop().map_or(Cause::Unknown, Cause::Object)
    }

    /// Whether more has to be tried.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.probes || self.known.is_some() || !self.groups.is_empty()
    }

    /// Whether what exists is written without any change.
    #[must_use]
    pub fn probes(&self) -> bool {
        self.probes
    }

    /// The objects whose new rules are not tried now.
    #[must_use]
    pub fn withheld(&self) -> BTreeSet<ObjectKey> {
        let tried = usize::from(!self.probes);
        let later = self.groups.iter().skip(tried).flatten();
        later.chain(&self.known).cloned().collect()
    }

    /// The objects whose rules are left out.
    #[must_use]
    pub fn dropped(&self) -> &BTreeSet<ObjectKey> {
        &self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> ObjectKey {
        ObjectKey {
            namespace: "finance".to_owned(),
            name: format!("o{number:02}"),
        }
    }

    /// Tries objects 0 to `count`, of which S3 refuses `bad`, until all is known: those that were found, and how many writes that took.
    fn tried(count: usize, bad: &[usize], existing: bool) -> (Vec<ObjectKey>, usize) {
        let all: Vec<_> = (0..count).map(key).collect();
        let bad: BTreeSet<_> = bad.iter().map(|number| key(*number)).collect();
        let mut narrowing = Narrowing::default();
        let (mut found, mut writes) = (BTreeSet::new(), 1);
        let mut note = |cause| match cause {
            Cause::Unknown => {}
            Cause::Object(object) => {
                found.insert(object);
            }
            Cause::Existing(_) => unreachable!("what exists is accepted"),
        };
        let nobody = BTreeSet::new();
        let facts = Facts {
            existing,
            unread: &nobody,
            suspects: &nobody,
            before: &nobody,
        };
        note(narrowing.refused(all.clone(), &facts));
        while narrowing.is_active() {
            let withheld = narrowing.withheld();
            let group: Vec<_> = narrowing.groups.front().cloned().unwrap_or_default();
            let refused = !narrowing.probes() && group.iter().any(|object| bad.contains(object));
            assert!(narrowing.probes() || group.iter().all(|object| !withheld.contains(object)));
            writes += 1;
            note(if refused {
                narrowing.refused(group, &facts)
            } else {
                narrowing.accepted()
            });
        }
        (found.into_iter().collect(), writes)
    }

    #[test]
    fn each_object_that_is_refused_is_found_and_no_other() {
        for count in 1..20 {
            for first in 0..count {
                for second in first..count {
                    let mut bad = vec![first, second];
                    bad.dedup();
                    let expected: Vec<_> = bad.iter().map(|number| key(*number)).collect();
                    for existing in [false, true] {
                        assert_eq!(tried(count, &bad, existing).0, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn one_among_many_costs_a_write_for_each_half() {
        assert_eq!(tried(1, &[0], false).1, 1);
        assert_eq!(tried(1, &[0], true).1, 2);
        assert!(tried(64, &[17], true).1 <= 2 + 2 * 6);
        assert!(tried(50, &[3, 11, 19, 27, 43], true).1 <= 50);
    }

    #[test]
    fn one_that_was_refused_before_costs_one_refused_write() {
        let before = BTreeSet::from([key(1)]);
        let facts = Facts {
            existing: true,
            suspects: &BTreeSet::new(),
            unread: &BTreeSet::new(),
            before: &before,
        };
        let mut narrowing = Narrowing::default();
        let alone = narrowing.refused(vec![key(1)], &facts);
        assert_eq!(alone, Cause::Object(key(1)));
        assert!(!narrowing.is_active());
        let both = vec![key(0), key(1)];
        assert_eq!(narrowing.refused(both.clone(), &facts), Cause::Unknown);
        assert_eq!(narrowing.withheld(), before);
        let mut helped = narrowing.clone();
        assert_eq!(helped.accepted(), Cause::Object(key(1)));
        assert!(!helped.is_active());
        // The other one is refused, too.
        assert_eq!(narrowing.refused(vec![key(0)], &facts), Cause::Unknown);
        assert!(narrowing.probes() && narrowing.withheld().len() == 2);
    }

    #[test]
    fn what_exists_is_without_what_is_gone_and_then_not_ours() {
        let (new, gone) = (vec![key(1), key(2)], BTreeSet::from([key(0)]));
        let mut narrowing = Narrowing::default();
        let facts = Facts {
            existing: true,
            suspects: &gone,
            unread: &BTreeSet::new(),
            before: &BTreeSet::new(),
        };
        assert_eq!(narrowing.refused(new.clone(), &facts), Cause::Unknown);
        assert!(narrowing.probes());
        assert_eq!(narrowing.withheld().len(), 2);
        assert_eq!(narrowing.refused(vec![], &facts), Cause::Unknown);
        assert_eq!(*narrowing.dropped(), gone);
        let mut helped = narrowing.clone();
        assert_eq!(helped.accepted(), Cause::Unknown);
        assert!(helped.withheld().is_empty(), "both are tried again");
        assert_eq!(narrowing.refused(vec![], &facts), Cause::Existing(new));
        assert!(!narrowing.is_active());
    }

    #[test]
    fn what_can_t_be_read_is_left_out_one_at_a_time() {
        let (new, unread) = (vec![key(9)], BTreeSet::from([key(0), key(1), key(2)]));
        let facts = Facts {
            existing: true,
            suspects: &BTreeSet::new(),
            unread: &unread,
            before: &BTreeSet::new(),
        };
        let mut narrowing = Narrowing::default();
        assert_eq!(narrowing.refused(new.clone(), &facts), Cause::Unknown);
        for number in 0..2 {
            assert_eq!(narrowing.refused(vec![], &facts), Cause::Unknown);
            assert_eq!(*narrowing.dropped(), BTreeSet::from([key(number)]));
        }
        let mut helped = narrowing.clone();
        assert_eq!(helped.accepted(), Cause::Object(key(1)));
        assert!(
            helped.withheld().is_empty() && helped.is_active(),
            "the new one is tried now"
        );
        assert_eq!(
            *helped.dropped(),
            BTreeSet::from([key(1)]),
            "its rules stay out"
        );
        assert_eq!(narrowing.refused(vec![], &facts), Cause::Unknown);
        assert_eq!(narrowing.refused(vec![], &facts), Cause::Existing(new));
        assert!(narrowing.dropped().is_empty() && !narrowing.is_active());
    }
}
