//! Edits of a policy that several source buckets share, and the journal of what was written there lately.
//!
//! A bucket policy or key policy can only be replaced as a whole, and a read of it may show what it was before the last write ("Amazon S3 data
//! consistency model" in the S3 User Guide). So an edit sets and removes the statements of one role, on top of what was read *and* of what this
//! process wrote in the last minutes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    names::InstallationId,
    policy::{Document, Mark, Statement},
};

/// A read that lacks what was written within this time is not believed.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// What is to change of the statements that one role has in a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementEdit {
    installation: InstallationId,
    owner: String,
    statements: Vec<Statement>,
    removes_others: bool,
}

impl StatementEdit {
    /// The edit that adds the statements that `document` has for `owner`, as [`Mark::owner`] gives it, and removes none.
    #[must_use]
    pub fn adding(document: &Document, installation: &InstallationId, owner: &str) -> Self {
        let mut edit = Self {
            installation: installation.clone(),
            owner: owner.to_owned(),
            statements: vec![],
            removes_others: false,
        };
        edit.statements = document
            .statements()
            .into_iter()
            .filter(|statement| edit.owns(statement))
            .collect();
        edit
    }

    /// The edit that leaves `owner` exactly the statements that `document` has for it.
    #[must_use]
    pub fn replacing(document: &Document, installation: &InstallationId, owner: &str) -> Self {
        Self {
            removes_others: true,
            ..Self::adding(document, installation, owner)
        }
    }

    fn owns(&self, statement: &Statement) -> bool {
        statement
            .mark_of(&self.installation)
            .is_some_and(|mark: Mark| mark.owner == self.owner)
    }

    fn removes(&self, statement: &Statement) -> bool {
        self.removes_others && self.owns(statement)
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
    /// What was read lacks what was written recently, and its unmanaged statements differ as well, so it is not known which are newer. It has to be
    /// read again a grace period later.
    ReadAgain,
}

/// What this process wrote to one policy lately: of each of its statements whether it was set or removed, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    entries: BTreeMap<String, (Option<Statement>, Timestamp)>,
    /// The unmanaged statements in the document that was written last.
    foreign: Option<Vec<String>>,
    /// The unmanaged statements in a read that was not believed, and since when they were read so.
    doubted: Option<(Vec<String>, Timestamp)>,
}

impl Journal {
    /// Whether nothing has to be remembered at `now`.
    pub fn is_over(&mut self, now: Timestamp) -> bool {
        self.entries
            .retain(|_, (_, written)| now.duration_since(*written) < REMEMBERED);
        self.entries.is_empty()
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
        if lags
            && self
                .foreign
                .as_ref()
                .is_some_and(|written| *written != theirs)
        {
            match &self.doubted {
                Some((doubted, since))
                    if *doubted == theirs && now.duration_since(*since) >= grace => {}
                Some((doubted, _)) if *doubted == theirs => return Judgement::ReadAgain,
                _ => {
                    self.doubted = Some((theirs, now));
                    return Judgement::ReadAgain;
                }
            }
        }
        self.doubted = None;
        let wanted = edit.applied_to(&base);
        if !lags && wanted.means(read) {
            Judgement::Nothing
        } else {
            Judgement::Write(wanted)
        }
    }

    /// Notes that `written` is what the policy became by `edit`.
    pub fn note(
        &mut self,
        edit: &StatementEdit,
        read: &Document,
        written: &Document,
        now: Timestamp,
    ) {
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
        self.foreign = Some(foreign(written, &edit.installation));
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

/// The statements that `installation` did not write, in a form that is equal for equal meanings.
fn foreign(document: &Document, installation: &InstallationId) -> Vec<String> {
    let theirs = document
        .statements()
        .into_iter()
        .filter(|statement| statement.mark_of(installation).is_none());
    let mut texts: Vec<_> = theirs
        .map(|statement| statement.canonical().to_string())
        .collect();
    texts.sort();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Purpose;

    const GRACE: SignedDuration = SignedDuration::from_secs(5);

    fn installation() -> InstallationId {
        "prod".parse().expect("an id")
    }

    fn statement(role: &str, prefix: &str) -> Statement {
        let resource = format!("arn:aws:s3:::dest/{prefix}*");
        Statement::allow(
            &installation(),
            Purpose::Replicas,
            role,
            format!("arn:aws:iam::111111111111:role/{role}")
                .parse()
                .ok()
                .as_ref(),
            &["s3:ReplicateObject"],
            &[resource],
            &vec![],
        )
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
        StatementEdit::replacing(
            &Document::of(statements),
            &installation(),
            &Mark::owner(role),
        )
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
                journal.note(edit, read, &document, at(second));
                Some(document)
            }
            Judgement::Nothing => None,
            Judgement::ReadAgain => unreachable!("the read is believed"),
        }
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
            edit("a", vec![a.clone(), b.clone()]),
            edit("a", vec![a]),
            "a statement of another role is none of its business"
        );
        assert_eq!(
            edit("a", vec![]).applied_to(&after),
            Document::of([theirs("One"), b])
        );
    }

    #[test]
    fn an_edit_that_adds_removes_nothing_that_the_plan_did_not_read() {
        let (new, former) = (statement("a", "x"), statement("a", "former"));
        let adds = StatementEdit::adding(
            &Document::of([new.clone()]),
            &installation(),
            &Mark::owner("a"),
        );
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
    fn a_read_that_lags_loses_nothing_that_was_written() {
        let mut journal = Journal::default();
        let stale = Document::of([theirs("One")]);
        let (a, b) = (statement("a", "x"), statement("b", "y"));
        written(&mut journal, &edit("a", vec![a.clone()]), &stale, 0);
        let both = written(&mut journal, &edit("b", vec![b.clone()]), &stale, 1).expect("a write");
        assert_eq!(both, Document::of([theirs("One"), a, b.clone()]));
        // What was removed does not come back with a read that still shows it.
        let left = written(&mut journal, &edit("a", vec![]), &both, 2).expect("a write");
        assert_eq!(left, Document::of([theirs("One"), b]));
        let none = written(&mut journal, &edit("b", vec![]), &both, 3).expect("a write");
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
        // Removed just now, but the read shows nothing of it: the removal may still be needed.
        let gone = edit("a", vec![]);
        assert_eq!(
            journal.judge(&gone, &Document::default(), GRACE, at(2)),
            Judgement::Write(Document::default())
        );
        assert_eq!(
            journal.judge(&gone, &Document::default(), GRACE, at(2 + 600)),
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
}
