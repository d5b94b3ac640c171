//! What is known of which source buckets use which statements of shared policies: by what this process did, and by the policies of the roles that
//! existed before, which are read once, when the first statement is to be removed.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{aws::AwsCloud, calls::action};
use crate::replication::{
    arns::{PolicyArn, RoleArn},
    composition::statements::used,
    edit::StatementEdit,
    grantee::OwnRoles,
    names::{AccountId, InstallationId},
    observed::{Failure, FailureKind},
    policy::{Document, Statement},
    shared_policy::{SharedPolicy, SourceRole},
    uses::Uses,
};
use crate::slot::Slot;

/// So many roles are read side by side.
const AT_ONCE: usize = 8;

/// What is known of the uses of statements, for as long as this replica writes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KnownUses {
    uses: Arc<Mutex<Uses>>,
    learning: Arc<Mutex<HashMap<AccountId, Learning>>>,
}

/// One at a time learns about an account.
type Learning = Arc<tokio::sync::Mutex<()>>;

impl KnownUses {
    /// Forgets all accounts but those that `exists` knows.
    pub fn keep_only(&self, exists: &dyn Fn(&AccountId) -> bool) {
        self.now().keep_only(exists);
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        learning.retain(|account, _| exists(account));
    }

    /// What is known now. Hold it no longer than it takes.
    pub fn now(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what all `roles` use that are not known yet. What was read is kept if another read fails, so that the next attempt has less to do.
    ///
    /// # Errors
    /// When the roles are not listed, or the policy of one of them is not read.
    pub async fn learn<R>(
        &self,
        roles: &OwnRoles,
        slot: &Slot,
        list: impl Future<Output = Result<Vec<RoleArn>, Failure>> + Send,
        read: impl Fn(RoleArn) -> R + Send + Sync,
        clock: impl Fn() -> Timestamp + Send + Sync,
    ) -> Result<(), Failure>
    where
        R: Future<Output = Result<Vec<Statement>, Failure>> + Send,
    {
        let learning = {
            let mut all = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(roles.account.clone()).or_default())
        };
        let _alone = slot.given_back(learning.lock()).await;
        if self.now().is_complete(&roles.account, &roles.path) {
            return Ok(());
        }
        let mut unknown = list.await?;
        unknown.retain(|role| !self.now().knows(&source_role(role)));
        let (read, clock) = (&read, &clock);
        stream::iter(unknown)
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE, |role| async move {
                let statements = read(role.clone()).await?;
                self.read(&roles.installation, &role, &statements, clock());
                Ok(())
            })
            .await?;
        self.now().complete(&roles.account, &roles.path);
        Ok(())
    }

    /// Learns what the policies of `role` name, which were read as `statements`.
    fn read(
        &self,
        installation: &InstallationId,
        role: &RoleArn,
        statements: &[Statement],
        now: Timestamp,
    ) {
        let used = used(installation, role, statements);
        self.now().learn(&source_role(role), used, now);
    }
}

fn source_role(role: &RoleArn) -> SourceRole {
    SourceRole {
        account: role.account.clone(),
        name: role.name.clone(),
    }
}

impl AwsCloud {
    /// Sees to it that every use of what `roles` may do is known.
    pub(super) async fn know_uses(&self, roles: &OwnRoles) -> Result<(), Failure> {
        if self
            .editors
            .uses
            .now()
            .is_complete(&roles.account, &roles.path)
        {
            return Ok(());
        }
        let account = self.account(&roles.account)?;
        let list = self.aws.roles(account, &roles.path, &roles.installation);
        let read = |role: RoleArn| async move { self.statements_of(&role).await };
        let learned = self
            .editors
            .uses
            .learn(roles, &self.editors.slot, list, read, || self.editors.now());
        Box::pin(learned).await.map_err(|failure| Failure {
            message: format!(
                "{}; the operator has to know which other source buckets of account {} need a statement before it removes it",
                failure.message, roles.account
            ),
            ..failure
        })
    }

    /// Reads again what is known of the users of what `edit` releases, as far as it is old.
    pub(super) async fn know_better(
        &self,
        policy: &SharedPolicy,
        edit: &StatementEdit,
    ) -> Result<(), Failure> {
        let uses = &self.editors.uses;
        let doubtful = || edit.doubtful_user(policy, &uses.now(), self.editors.now());
        while let Some(role) = doubtful() {
            let read = self.statements_of(&role).await?;
            uses.read(&self.aws.installation, &role, &read, self.editors.now());
        }
        Ok(())
    }

    /// The statements in the operator's policies of one of its roles.
    async fn statements_of(&self, role: &RoleArn) -> Result<Vec<Statement>, Failure> {
        let inline = self.inline_policy(role, role.name.as_str());
        let attached = self.attached_policies(&role.account, &role.name);
        let (inline, attached) = futures::try_join!(inline, attached)?;
        let mut statements = inline
            .as_ref()
            .map(Document::statements)
            .unwrap_or_default();
        let attached: BTreeSet<PolicyArn> = attached.unwrap_or_default();
        for policy in attached {
            let number = policy.name.strip_prefix(role.name.as_str());
            if number.is_none_or(|number| !number.starts_with('-')) {
                continue;
            }
            let Some(versions) = self.policy_versions(&policy).await? else {
                continue;
            };
            let read = self.policy_document(&policy.account, &policy, &versions.default);
            let document = read.await?.ok_or_else(|| Failure {
                kind: FailureKind::Transient,
                action: action::GET_POLICY_VERSION.to_owned(),
                message: format!("policy {policy} changed while it was read"),
            })?;
            statements.extend(document.statements());
        }
        Ok(statements)
    }
}
