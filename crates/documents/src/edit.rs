//! Edits of a policy that several source buckets share, and the journal of what was written there lately.
//!
//! A bucket policy or key policy can only be replaced as a whole, and a read of it may show what it was before the last write ("Amazon S3 data
//! consistency model" in the S3 User Guide). So an edit adds and removes the statements of one source bucket, on top of what was read *and* of what
//! this process wrote in the last hour.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    arns::RoleArn,
    grantee::OwnRoles,
    names::InstallationId,
    policy::{Document, Mark, Statement},
    shared_policy::{REMEMBERED, SharedPolicy, SourceRole},
    uses::Uses,
};

/// What is to change in a policy for one source bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementEdit {
    installation: InstallationId,
    role: SourceRole,
    /// The statements to have.
    statements: Vec<Statement>,
    /// Whether statements for the role alone that are not among these are removed.
    replaces: bool,
    /// Statements for all roles of the account that the source bucket no longer needs, by their Sid.
    released: BTreeMap<String, OwnRoles>,
}

impl StatementEdit {
    /// The edit that adds `statements` for the source bucket of `role`, and removes none.
    #[must_use]
    pub fn adding(
        statements: &[Statement],
        installation: &InstallationId,
        role: &SourceRole,
    ) -> Self {
        Self {
            installation: installation.clone(),
            role: role.clone(),
            statements: statements.to_vec(),
            replaces: false,
            released: BTreeMap::new(),
        }
    }

    /// The same, if `replaces` without the other statements that are for the role alone.
    #[must_use]
    pub fn replacing(self, replaces: bool) -> Self {
        Self { replaces, ..self }
    }

    /// The same, without those of the statements with these Sids, each for all of the given roles, that no other source bucket uses.
    #[must_use]
    pub fn releasing(self, released: BTreeMap<String, OwnRoles>) -> Self {
        Self { released, ..self }
    }

    /// The Sids of the statements that the source bucket no longer needs.
    pub fn released(&self) -> impl Iterator<Item = &String> {
        self.released.keys()
    }

    /// Which roles could use what is released: it is only removed if none of them does.
    #[must_use]
    pub fn other_users(&self) -> BTreeSet<OwnRoles> {
        self.released.values().cloned().collect()
    }

    /// Whether the edit most likely writes nothing: it only releases what other source buckets still use.
    #[must_use]
    pub fn leaves_all(&self, policy: &SharedPolicy, uses: &Uses) -> bool {
        let released = self.released.keys().cloned();
        self.statements.is_empty()
            && !self.released.is_empty()
            && uses.are_used_by_others(policy, &self.role, released)
    }

    /// A role for which something that is released stays, though what is known of it is old: its policies have to be read first.
    #[must_use]
    pub fn doubtful_user(
        &self,
        policy: &SharedPolicy,
        uses: &Uses,
        now: Timestamp,
    ) -> Option<RoleArn> {
        uses.doubtful(policy, &self.role, &self.released, now)
    }

    /// The edit as it is carried out now: what other source buckets use is not removed, and what it adds and releases is noted.
    #[must_use]
    pub fn begun(&self, policy: &SharedPolicy, uses: &mut Uses, now: Timestamp) -> Self {
        let sid = |statement: &Statement| {
            statement.own_roles(&self.installation)?;
            statement.sid().map(ToOwned::to_owned)
        };
        let added = self.statements.iter().filter_map(sid);
        let released = self.released.keys().cloned().collect();
        let unused = uses.begin(policy, &self.role, added, &released, now);
        let mut begun = self.clone();
        begun.released.retain(|sid, _| unused.contains(sid));
        begun
    }

    fn removes(&self, statement: &Statement) -> bool {
        let is_for_role = || {
            let mark = statement.mark_of(&self.installation);
            mark.is_some_and(|mark| mark.owner == Mark::owner(self.role.name.as_str()))
        };
        let is_released = statement
            .sid()
            .is_some_and(|sid| self.released.contains_key(sid));
        is_released || (self.replaces && is_for_role())
    }

    /// The document with the edit applied. Statements of other owners do not change.
    #[must_use]
    pub fn applied_to(&self, document: &Document) -> Document {
        document.merged(&self.statements, |statement| self.removes(statement))
    }
}

/// What to do about an edit, once the policy was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// The policy has what the edit asks for.
    Nothing,
    /// The policy has to become this document.
    Write(Document),
    /// What was read lacks what was written recently, or an unmanaged statement that was read a moment ago: it may be older than what others wrote
    /// since. It has to be read again a grace period later.
    ReadAgain,
}

/// What this process wrote to one policy lately: of each of its statements whether it was set or removed, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    entries: BTreeMap<String, (Option<Statement>, Timestamp)>,
    /// The unmanaged statements in the last read, and when that was.
    shown: Option<(Foreign, Timestamp)>,
    /// A fingerprint of a read that was not believed, and since when it was read so.
    doubted: Option<(u64, Timestamp)>,
}

/// Fingerprints of unmanaged statements, equal for equal meanings.
type Foreign = BTreeSet<u64>;

/// What was read this long ago says nothing about a read that does not show it.
const SHOWN_LATELY: SignedDuration = SignedDuration::from_secs(60);

impl Journal {
    /// Whether nothing has to be remembered at `now`.
    pub fn is_over(&mut self, now: Timestamp) -> bool {
        self.entries
            .retain(|_, (_, written)| now.duration_since(*written) < REMEMBERED);
        self.shown
            .take_if(|(_, read)| now.duration_since(*read) >= SHOWN_LATELY);
        self.entries.is_empty() && self.shown.is_none()
    }

    /// Notes what a read shows that no edit was made on.
    pub fn show(&mut self, read: &Document, installation: &InstallationId, now: Timestamp) {
        // A visit that finds that something is missing has it corrected once a later one finds the same.
        let is_over = self.is_over(now) || self.entries.is_empty();
        if !is_over && !self.applied_to(read).means(read) {
            self.doubt(read, now);
        }
        self.shown = Some((foreign(read, installation), now));
    }

    /// Since when the policy was read so, and not believed.
    fn doubt(&mut self, read: &Document, now: Timestamp) -> Timestamp {
        let fingerprint = fingerprint(&read.canonical());
        let since = self
            .doubted
            .filter(|(doubted, _)| *doubted == fingerprint)
            .map_or(now, |(_, since)| since);
        self.doubted = Some((fingerprint, since));
        since
    }

    /// Whether an unmanaged statement that was read a moment ago is not among these: that read or this one lags.
    fn lacks_shown(&self, theirs: &Foreign) -> bool {
        let shown = self.shown.as_ref();
        shown.is_some_and(|(shown, _)| !shown.is_subset(theirs))
    }

    /// What `edit` means for a policy that was `read` as this.
    pub fn judge(
        &mut self,
        edit: &StatementEdit,
        read: &Document,
        grace: SignedDuration,
        now: Timestamp,
    ) -> Judgement {
        let base = if self.is_over(now) {
            read.clone()
        } else {
            self.applied_to(read)
        };
        let lags = !base.means(read);
        let theirs = foreign(read, &edit.installation);
        if lags || self.lacks_shown(&theirs) {
            let since = self.doubt(read, now);
            if now.duration_since(since) < grace {
                return Judgement::ReadAgain;
            }
        }
        self.doubted = None;
        self.shown = Some((theirs, now));
        let wanted = edit.applied_to(&base);
        if !lags && wanted.means(read) {
            Judgement::Nothing
        } else {
            Judgement::Write(wanted)
        }
    }

    /// Notes that the policy, which was `read` as this, was edited.
    pub fn note(&mut self, edit: &StatementEdit, read: &Document, now: Timestamp) {
        let sid = |statement: &Statement| statement.sid().map(ToOwned::to_owned);
        let removed = read
            .statements()
            .into_iter()
            .filter(|statement| edit.removes(statement))
            .filter_map(|statement| sid(&statement));
        let remembered: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, (set, _))| set.as_ref().is_some_and(|set| edit.removes(set)))
            .map(|(sid, _)| sid.clone())
            .collect();
        for sid in removed.chain(remembered) {
            self.entries.insert(sid, (None, now));
        }
        for statement in &edit.statements {
            self.entries
                .extend(sid(statement).map(|sid| (sid, (Some(statement.clone()), now))));
        }
        // A read that shows this write is newer than all before it.
        self.shown = None;
    }

    /// The document with every write that is remembered.
    fn applied_to(&self, read: &Document) -> Document {
        let set: Vec<_> = self
            .entries
            .values()
            .filter_map(|(set, _)| set.clone())
            .collect();
        read.merged(&set, |statement| {
            statement
                .sid()
                .is_some_and(|sid| self.entries.contains_key(sid))
        })
    }
}

/// The statements that `installation` did not write.
fn foreign(document: &Document, installation: &InstallationId) -> Foreign {
    let theirs = document
        .statements()
        .into_iter()
        .filter(|statement| statement.mark_of(installation).is_none());
    theirs
        .map(|statement| fingerprint(&statement.canonical().to_string()))
        .collect()
}

fn fingerprint(canonical: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    canonical.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        grantee::{Grantee, OwnRoles},
        policy::Purpose,
        uses::Used,
    };

    const GRACE: SignedDuration = SignedDuration::from_secs(5);

    fn installation() -> InstallationId {
        "prod".parse().expect("an id")
    }

    fn statement(role: &str, prefix: &str) -> Statement {
        let resource = format!("arn:aws:s3:::dest/{prefix}*");
        let (actions, purpose) = (["s3:ReplicateObject"], Purpose::Replicas);
        let none = vec![];
        Statement::allow(
            &installation(),
            purpose,
            role,
            None,
            &actions,
            &[resource],
            &none,
        )
    }

    fn source(role: &str) -> SourceRole {
        SourceRole {
            account: "111111111111".parse().expect("an account"),
            name: role.parse().expect("a role"),
        }
    }

    /// The statement that all source buckets of the account use.
    fn shared() -> Statement {
        let role: RoleArn = "arn:aws:iam::111111111111:role/brepl-prod-x"
            .parse()
            .expect("a role");
        let grantee = Grantee::Roles(OwnRoles::with(&role, &installation()));
        let (actions, resources) = (["s3:ReplicateObject"], ["arn:aws:s3:::dest/*".to_owned()]);
        Statement::allow(
            &installation(),
            Purpose::Replicas,
            "111111111111",
            Some(&grantee),
            &actions,
            &resources,
            &vec![],
        )
    }

    fn released() -> BTreeMap<String, OwnRoles> {
        let statement = shared();
        let roles = statement.own_roles(&installation()).expect("roles");
        [(statement.sid().unwrap_or_default().to_owned(), roles)].into()
    }

    fn theirs(sid: &str) -> Statement {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Sid":"{sid}","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}}}}"#
        );
        Document::parse(&text)
            .expect("a document")
            .statements()
            .remove(0)
    }

    fn edit(role: &str, statements: Vec<Statement>) -> StatementEdit {
        StatementEdit::adding(&statements, &installation(), &source(role)).replacing(true)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    /// Judges, and writes what is to be written.
    fn written(
        journal: &mut Journal,
        edit: &StatementEdit,
        read: &Document,
        second: i64,
    ) -> Option<Document> {
        match journal.judge(edit, read, GRACE, at(second)) {
            Judgement::Write(document) => {
                journal.note(edit, read, at(second));
                Some(document)
            }
            Judgement::Nothing => None,
            Judgement::ReadAgain => unreachable!("the read is believed"),
        }
    }

    /// Judges a read that is not believed at first, and writes what is to be written once it was read again so a grace period later.
    fn written_later(
        journal: &mut Journal,
        edit: &StatementEdit,
        read: &Document,
        second: i64,
    ) -> Option<Document> {
        let at_first = journal.judge(edit, read, GRACE, at(second));
        assert_eq!(at_first, Judgement::ReadAgain);
        written(journal, edit, read, second + GRACE.as_secs())
    }

    #[test]
    fn an_edit_touches_only_what_serves_its_role() {
        let (a, b, old) = (
            statement("a", "x"),
            statement("b", "y"),
            statement("a", "old"),
        );
        let before = Document::of([theirs("One"), old, b.clone()]);
        let after = edit("a", vec![a.clone()]).applied_to(&before);
        assert_eq!(after, Document::of([theirs("One"), b.clone(), a.clone()]));
        assert_eq!(
            edit("a", vec![]).applied_to(&after),
            Document::of([theirs("One"), b])
        );
    }

    #[test]
    fn an_edit_that_adds_removes_nothing_that_the_plan_did_not_read() {
        let (new, former) = (statement("a", "x"), statement("a", "former"));
        let adds = StatementEdit::adding(std::slice::from_ref(&new), &installation(), &source("a"));
        let existing = Document::of([theirs("One"), former.clone()]);
        let both = Document::of([theirs("One"), former, new.clone()]);
        assert_eq!(adds.applied_to(&existing), both);
        let mut journal = Journal::default();
        assert_eq!(
            written(&mut journal, &adds, &existing, 0),
            Some(both.clone())
        );
        assert_eq!(
            journal.judge(&adds, &both, GRACE, at(1)),
            Judgement::Nothing
        );
        let alone = edit("a", vec![new.clone()]);
        assert_eq!(
            written(&mut journal, &alone, &both, 2),
            Some(Document::of([theirs("One"), new]))
        );
    }

    #[test]
    fn what_another_just_added_is_not_lost_to_a_read_that_lags() {
        let (one, two) = (theirs("One"), theirs("Two"));
        let (before, after) = (Document::of([one.clone()]), Document::of([one, two]));
        let adds = edit("a", vec![statement("a", "x")]);
        let mut journal = Journal::default();
        // The visit planned on what has both, and the edit reads what has one of them.
        journal.show(&after, &installation(), at(0));
        let judged = |journal: &mut Journal, read: &Document, second| {
            journal.judge(&adds, read, GRACE, at(second))
        };
        assert_eq!(judged(&mut journal, &before, 1), Judgement::ReadAgain);
        assert_eq!(judged(&mut journal, &before, 3), Judgement::ReadAgain);
        let both = judged(&mut journal, &after, 4);
        assert!(matches!(both, Judgement::Write(written) if written.statements().len() == 3));
        // If two reads a grace period apart show it so, its owner removed it.
        assert_eq!(judged(&mut journal, &before, 5), Judgement::ReadAgain);
        let left = judged(&mut journal, &before, 10);
        assert!(matches!(left, Judgement::Write(written) if written.statements().len() == 2));
        // What was read long ago is no reason to doubt.
        let mut journal = Journal::default();
        journal.show(&after, &installation(), at(0));
        assert!(matches!(
            judged(&mut journal, &before, 61),
            Judgement::Write(_)
        ));
    }

    #[test]
    fn a_read_that_lags_loses_nothing_that_was_written() {
        let mut journal = Journal::default();
        let stale = Document::of([theirs("One")]);
        let (a, b) = (statement("a", "x"), statement("b", "y"));
        written(&mut journal, &edit("a", vec![a.clone()]), &stale, 0);
        let both = written_later(&mut journal, &edit("b", vec![b.clone()]), &stale, 1);
        let both = both.expect("a write");
        assert_eq!(both, Document::of([theirs("One"), a, b.clone()]));
        // What was removed does not come back with a read that still shows it.
        let left = written(&mut journal, &edit("a", vec![]), &both, 7).expect("a write");
        assert_eq!(left, Document::of([theirs("One"), b]));
        let none = written_later(&mut journal, &edit("b", vec![]), &both, 8).expect("a write");
        assert_eq!(none, stale);
    }

    #[test]
    fn what_is_there_is_not_written_again_unless_the_read_lags() {
        let (mut journal, a) = (Journal::default(), statement("a", "x"));
        let wanted = edit("a", vec![a.clone()]);
        let there = written(&mut journal, &wanted, &Document::default(), 0).expect("a write");
        assert_eq!(
            journal.judge(&wanted, &there, GRACE, at(1)),
            Judgement::Nothing
        );
        // Added just now, but the read shows nothing of it: the removal may still be needed.
        let gone = edit("a", vec![]);
        assert_eq!(
            written_later(&mut journal, &gone, &Document::default(), 2),
            Some(Document::default())
        );
        assert_eq!(
            journal.judge(&gone, &Document::default(), GRACE, at(7 + 3600)),
            Judgement::Nothing,
            "nothing is remembered for ever"
        );
    }

    #[test]
    fn a_read_that_lags_and_differs_in_what_others_wrote_is_believed_the_second_time() {
        let (mut journal, a) = (Journal::default(), statement("a", "x"));
        written(
            &mut journal,
            &edit("a", vec![a.clone()]),
            &Document::of([theirs("One")]),
            0,
        );
        let replaced = Document::of([theirs("Two")]);
        let again = edit("a", vec![a.clone()]);
        assert_eq!(
            journal.judge(&again, &replaced, GRACE, at(10)),
            Judgement::ReadAgain
        );
        assert_eq!(
            journal.judge(&again, &replaced, GRACE, at(12)),
            Judgement::ReadAgain
        );
        assert_eq!(
            journal.judge(&again, &replaced, GRACE, at(15)),
            Judgement::Write(Document::of([theirs("Two"), a]))
        );
    }

    /// What others wrote after this process did is not in a read that is older than both.
    #[test]
    fn a_read_that_lacks_what_was_written_is_not_written_over_at_once() {
        let (mut journal, a) = (Journal::default(), statement("a", "x"));
        let stale = Document::of([theirs("One")]);
        written(&mut journal, &edit("a", vec![a.clone()]), &stale, 0);
        let b = edit("b", vec![statement("b", "y")]);
        assert_eq!(
            journal.judge(&b, &stale, GRACE, at(1)),
            Judgement::ReadAgain
        );
        let fresh = Document::of([theirs("One"), a, theirs("Two")]);
        let both = written(&mut journal, &b, &fresh, 6).expect("a write");
        assert_eq!(both.statements().len(), 4, "{both:?}");
        // A visit that finds that something is missing is as good as an edit that does.
        journal.show(&stale, &installation(), at(10));
        let restored = written(&mut journal, &b, &stale, 15).expect("a write");
        assert_eq!(restored.statements().len(), 3, "{restored:?}");
    }

    #[test]
    fn a_fresh_read_is_believed_whatever_others_wrote() {
        let (mut journal, a, b) = (Journal::default(), statement("a", "x"), statement("b", "y"));
        written(
            &mut journal,
            &edit("a", vec![a.clone()]),
            &Document::of([theirs("One")]),
            0,
        );
        let fresh = Document::of([theirs("Two"), a.clone()]);
        assert_eq!(
            written(&mut journal, &edit("b", vec![b.clone()]), &fresh, 1),
            Some(Document::of([theirs("Two"), a, b]))
        );
    }

    #[test]
    fn a_statement_that_all_source_buckets_use_goes_with_the_last() {
        let (mut uses, policy) = (
            Uses::default(),
            SharedPolicy::OfKey(
                "arn:aws:kms:us-east-1:222222222222:key/a"
                    .parse()
                    .expect("a key"),
            ),
        );
        let mut document = Document::of([theirs("One")]);
        let mut apply = |edit: StatementEdit, uses: &mut Uses, second: i64| {
            document = edit.begun(&policy, uses, at(second)).applied_to(&document);
            document.clone()
        };
        let adds = |role: &str| edit(role, vec![shared()]);
        let leaves = |role: &str| edit(role, vec![]).releasing(released());
        let both = Document::of([theirs("One"), shared()]);
        assert_eq!(apply(adds("a"), &mut uses, 0), both);
        assert_eq!(apply(adds("b"), &mut uses, 1), both);
        assert!(leaves("a").leaves_all(&policy, &uses) && !adds("a").leaves_all(&policy, &uses));
        assert_eq!(apply(leaves("a"), &mut uses, 2), both, "b uses it");
        assert_eq!(apply(leaves("a"), &mut uses, 3), both, "b still uses it");
        let seen = |uses: &Uses, role: &str| uses.seen(&policy, &source(role), both.clone(), at(5));
        assert_eq!(seen(&uses, "c"), both);
        let none = Document::of([theirs("One")]);
        assert!(!leaves("b").leaves_all(&policy, &uses), "no other uses it");
        assert_eq!(apply(leaves("b"), &mut uses, 4), none);
        // A read that still shows it is not believed, but by the one that removes it: its removal may have failed.
        assert_eq!(seen(&uses, "c"), none);
        assert_eq!(seen(&uses, "b"), both);
        assert_eq!(apply(adds("c"), &mut uses, 5), both);
        assert_eq!(seen(&uses, "a"), both);
    }

    #[test]
    fn a_visit_that_rests_on_what_was_removed_meanwhile_begins_again() {
        let policy = SharedPolicy::OfKey(
            "arn:aws:kms:us-east-1:222222222222:key/a"
                .parse()
                .expect("a key"),
        );
        let (mut uses, sid) = (
            Uses::default(),
            shared().sid().unwrap_or_default().to_owned(),
        );
        let in_use = || Used::from([(policy.clone(), BTreeSet::from([sid.clone()]))]);
        let begin = |uses: &mut Uses, role: &str, released: bool, second: i64| {
            let released = released.then(|| sid.clone()).into_iter().collect();
            uses.begin(
                &policy,
                &source(role),
                std::iter::empty(),
                &released,
                at(second),
            )
        };
        let start = uses.moment();
        assert!(uses.note(&source("a"), in_use(), start, at(1)));
        assert!(begin(&mut uses, "b", true, 2).is_empty(), "a uses it");
        assert_eq!(begin(&mut uses, "a", true, 3).len(), 1);
        // The visit of c read it before, and did not add it.
        assert!(!uses.note(&source("c"), in_use(), start, at(4)));
        let later = uses.moment();
        assert!(uses.note(&source("c"), in_use(), later, at(5)));
        assert!(begin(&mut uses, "a", true, 6).is_empty(), "c uses it");
        assert!(uses.note(&source("c"), Used::new(), later, at(8)));
        assert_eq!(begin(&mut uses, "a", true, 9).len(), 1);
    }
}
