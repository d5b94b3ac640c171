//! What of two buckets makes S3 accept a configuration and then not replicate, or not as intended.

use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};

use crate::{
    Problem,
    assess::failed,
    observed::Facet,
    request::facts::{Facts, Preflight},
};

/// What can't be read can't be checked.
pub(super) fn traits_are_known(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    for (condition, bucket) in [
        (ConditionType::SourceReady, &valid.source),
        (ConditionType::DestinationReady, &valid.destination),
    ] {
        let traits = facts.traits_of(bucket);
        let failure = traits.failure().map(|failure| failed(condition, failure));
        found.problems.extend(failure);
    }
}

/// "Requirements and considerations for replication" in the S3 User Guide.
pub(super) fn requester_pays(facts: &Facts<'_>, found: &mut Preflight) {
    let destination = &facts.resolved.valid.destination;
    if facts.traits_of(destination).requester_pays != Facet::Present(true) {
        return;
    }
    let (name, owner) = (&destination.name, &destination.account);
    let command = format!(
        "aws s3api put-bucket-request-payment --bucket {name} --request-payment-configuration Payer=BucketOwner"
    );
    let message = format!(
        "destination bucket {name} is a Requester Pays bucket, and S3 does not replicate to these across accounts: have the owner of account {owner} run {command}"
    );
    let action = RequiredAction {
        document: format!("request payment of bucket {name}"),
        account_id: owner.to_string(),
        statement: r#"{"Payer": "BucketOwner"}"#.to_owned(),
        command,
    };
    found.problems.push(Problem {
        action: Some(Box::new(action)),
        ..Problem::new(
            ConditionType::DestinationReady,
            Reason::RequesterPays,
            message,
        )
    });
}

/// "Controlling ownership of objects" in the S3 User Guide.
pub(super) fn owner_of_replicas(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    let (name, owner) = (&valid.destination.name, &valid.destination.account);
    let enforced = facts.traits_of(&valid.destination).owner_enforced == Facet::Present(true);
    if valid.keeps_owner && enforced && valid.source.account != *owner {
        let message = format!(
            "spec.destination.owner is Source, but bucket {name} enforces that account {owner} owns every object in it: set owner to Destination, or omit owner"
        );
        found.problems.push(Problem::new(
            ConditionType::DestinationReady,
            Reason::OwnerNotPossible,
            message,
        ));
    }
    let decides = !valid.keeps_owner && !valid.owner_override && valid.is_across_accounts();
    let is_known = facts.traits_of(&valid.destination).owner_enforced != Facet::Unread;
    if decides && is_known && !enforced {
        let note = format!(
            "bucket {name} has ACLs enabled, so that account {} owns the replicas and account {owner} may not be able to read them: set spec.destination.owner to Destination, or have the bucket's owner enforce its ownership",
            valid.source.account
        );
        found.notes.push((ConditionType::DestinationReady, note));
    }
}

/// "Blocking or unblocking SSE-C for a general purpose bucket" in the S3 User Guide.
pub(super) fn customer_keys(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    let blocks = |bucket| facts.traits_of(bucket).blocks_sse_c;
    if blocks(&valid.source) == Facet::Present(false)
        && blocks(&valid.destination) == Facet::Present(true)
    {
        let note = format!(
            "objects that are encrypted with SSE-C are not replicated, because bucket {} blocks them and bucket {} does not",
            valid.destination.name, valid.source.name
        );
        found.notes.push((ConditionType::DestinationReady, note));
    }
}

/// "Object Lock considerations" in the S3 User Guide.
pub(super) fn object_lock(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    let is_locked = |bucket| facts.traits_of(bucket).object_lock == Facet::Present(true);
    if !is_locked(&valid.source) || is_locked(&valid.destination) {
        return;
    }
    let (name, owner) = (&valid.destination.name, &valid.destination.account);
    let command = format!(
        "aws s3api put-object-lock-configuration --bucket {name} --object-lock-configuration ObjectLockEnabled=Enabled"
    );
    let message = format!(
        "Object Lock is enabled on source bucket {}, but not on bucket {name}: have the owner of account {owner} run {command}",
        valid.source.name
    );
    let action = RequiredAction {
        document: format!("Object Lock of bucket {name}"),
        account_id: owner.to_string(),
        statement: r#"{"ObjectLockEnabled": "Enabled"}"#.to_owned(),
        command,
    };
    found.problems.push(Problem {
        action: Some(Box::new(action)),
        ..Problem::new(
            ConditionType::DestinationReady,
            Reason::ObjectLockMissing,
            message,
        )
    });
}

/// "Replicating metadata changes with replica modification sync" in the S3 User Guide.
pub(super) fn replica_modifications(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    let syncs_back = facts.traits_of(&valid.destination).syncs_back;
    if valid.sync_replica_modifications && syncs_back == Facet::Present(false) {
        let note = format!(
            "changes to replicas are not replicated back, because bucket {} has no rule to the source bucket with replicaModifications: Sync",
            valid.destination.name
        );
        found
            .notes
            .push((ConditionType::ReplicationConfigured, note));
    }
}

/// "What does Amazon S3 replicate?" in the S3 User Guide: replicas are not replicated on.
pub(super) fn chain(facts: &Facts<'_>, found: &mut Preflight) {
    let valid = &facts.resolved.valid;
    // Between two buckets that replicate to each other, all objects are in both.
    let mut others = facts
        .upstream
        .iter()
        .filter(|name| **name != valid.destination.name);
    if others.next().is_some() {
        let note = format!(
            "bucket {source} also receives replicas from another bucket, and S3 does not replicate these on: to have them in bucket {}, replicate them there from the bucket that they were written to",
            valid.destination.name,
            source = valid.source.name,
        );
        found
            .notes
            .push((ConditionType::ReplicationConfigured, note));
    }
}
