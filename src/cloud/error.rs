//! The SDK's errors as failures: sorted by what can be done about them, with a message that names call, resource and caller.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::replication::observed::{Failure, FailureKind};

/// A call, for messages.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The action as IAM names it.
    pub action: &'static str,
    /// What it is about, such as `bucket finance-records`.
    pub on: String,
    /// The caller's ARN, or what is known of it.
    pub caller: &'a str,
}

impl Call<'_> {
    /// The failure that the SDK's error means.
    pub fn failed<E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        error: &SdkError<E, HttpResponse>,
    ) -> Failure {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let code = error.code().unwrap_or_default();
        let words = error.message().unwrap_or_default();
        let kind = if lacks_credentials(error) {
            FailureKind::NoCredentials
        } else {
            kind(code, words, status)
        };
        let Self { action, on, caller } = self;
        let words = without_strangers(words, caller, on);
        let words = words.as_str();
        let said = match (code, words, status) {
            ("", "", None) => cause(error),
            ("", "", Some(status)) => format!("HTTP status {status}"),
            (code, "", _) => code.to_owned(),
            (code, words, _) => format!("{code}: {words}"),
        };
        let message = self.message(kind, code, words, &said);
        Failure {
            kind,
            action: (*action).to_owned(),
            message,
        }
    }

    /// What is wrong, on which resource, and what to do.
    fn message(&self, kind: FailureKind, code: &str, words: &str, said: &str) -> String {
        let Self { action, on, caller } = self;
        match kind {
            FailureKind::DeniedByOrganization => {
                format!(
                    "an AWS Organizations policy denies {caller} permission to call {action} on {on} ({said}): ask the organization's administrators to exempt this call"
                )
            }
            // Every S3 call names the expected owner, and S3 gives the same error for a bucket of another owner.
            FailureKind::Denied if action.starts_with("s3:") => {
                format!(
                    "{caller} is not allowed to call {action} on {on} ({said}): allow the action, or correct accountName if another account owns the bucket"
                )
            }
            // "Blocking public access" in the S3 User Guide: every write of a policy with a public statement is refused, whoever makes it.
            FailureKind::Invalid if words.contains("BlockPublicPolicy") => format!(
                "AWS refused {action} on {on}, because a statement of its policy makes it public and Block Public Access refuses any write of such a policy ({said}): have the bucket's owner remove that statement"
            ),
            FailureKind::Invalid if code == "RegionDisabledException" => format!(
                "AWS refused {action} on {on} ({said}): set the AWSAccount's region to one that is enabled in the account"
            ),
            FailureKind::NoCredentials => no_credentials(),
            FailureKind::Denied if *action == super::calls::action::ASSUME_ROLE => format!(
                "{caller} is not allowed to call {action} on {on} ({said}): create the role with a trust policy that allows the operator and requires the AWSAccount's externalID, and give the operator's own identity the policy that iam-policy --identity prints"
            ),
            FailureKind::Denied => {
                format!("{caller} is not allowed to call {action} on {on} ({said}): allow it")
            }
            FailureKind::Throttled => {
                format!("AWS throttled {action} on {on} ({said})")
            }
            FailureKind::Transient => format!("{action} on {on} failed ({said})"),
            _ => format!("AWS refused {action} on {on}: {said}"),
        }
    }
}

/// The root cause of an error: that a name is unknown or a certificate not trusted, not that a request failed.
fn cause(error: &dyn std::error::Error) -> String {
    let deepest = std::iter::successors(error.source(), |error| error.source()).last();
    deepest.map_or_else(
        || error.to_string(),
        |deepest| format!("{error}: {deepest}"),
    )
}

/// Whether no credentials were found, so that nothing was sent. The SDK's reasons are in the log: they are many, and no tenant's business.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<CredentialsError>)
}

/// What to do without credentials, which only the platform team can.
fn no_credentials() -> String {
    let account = std::env::var("SERVICE_ACCOUNT_NAME").ok();
    let namespace = std::env::var("RELEASE_NAMESPACE").ok();
    match account.zip(namespace) {
        Some((account, namespace)) => format!(
            "the operator has no AWS credentials: annotate ServiceAccount {namespace}/{account} with eks.amazonaws.com/role-arn (IRSA), or create an EKS Pod Identity association for it, and restart the operator"
        ),
        None => "there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned(),
    }
}

/// AWS's error without ARNs that the call did not name: a policy that it refuses may contain those of other tenants.
fn without_strangers(words: &str, caller: &str, on: &str) -> String {
    let name = |text: &str| {
        text.rsplit([' ', ':', '/'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let known = [name(caller), name(on)];
    let end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ')' | ']' | ';');
    let mut text = String::new();
    let mut rest = words;
    while let Some(start) = rest.find("arn:") {
        let (before, from) = rest.split_at(start);
        let (arn, after) = from.split_at(from.find(end).unwrap_or(from.len()));
        text.push_str(before);
        let ours = arn.split([':', '/']).any(|part| {
            known
                .iter()
                .any(|known| part.trim_end_matches('.') == known)
        });
        text.push_str(if ours { arn } else { "(an ARN)" });
        rest = after;
    }
    text.push_str(rest);
    text
}

/// What can be done about an error of that code, with AWS's message and HTTP status.
pub(super) fn kind(code: &str, words: &str, status: Option<u16>) -> FailureKind {
    match code {
        "AccessDenied" if words.contains("BlockPublicPolicy") => FailureKind::Invalid,
        "AccessDenied"
        | "AccessDeniedException"
        | "AllAccessDisabled"
        | "UnauthorizedAccess"
        | "MethodNotAllowed"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "NotAuthorized" => denied(words),
        "NoSuchBucket"
        | "NoSuchEntity"
        | "NotFoundException"
        | "NoSuchBucketPolicy"
        | "NoSuchTagSet"
        | "OwnershipControlsNotFoundError"
        | "ObjectLockConfigurationNotFoundError"
        | "ReplicationConfigurationNotFoundError"
        | "NoSuchKey"
        | "NotFound"
        | "ServerSideEncryptionConfigurationNotFoundError" => FailureKind::NotFound,
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "RequestThrottled" => FailureKind::Throttled,
        "OperationAborted"
        | "ConcurrentModification"
        | "EntityAlreadyExists"
        | "ConflictException"
        | "InvalidBucketState"
        | "KMSInvalidStateException" => FailureKind::Conflict,
        // IAM's other conflicts are ones of time: only this says that something is attached.
        "DeleteConflict" => FailureKind::InUse,
        // "Your policy contains a principal that is not valid" (S3), "invalid principals" (KMS), "Invalid principal in policy" (IAM).
        "MalformedPolicy" | "MalformedPolicyDocument" | "MalformedPolicyDocumentException"
            if words.to_ascii_lowercase().contains("principal") =>
        {
            FailureKind::PrincipalNotVisible
        }
        "InternalError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "KMSInternalException"
        | "ServiceFailure"
        | "RequestTimeout"
        // The session ended or the clock is wrong: the next call has a new session, and the SDK corrects the clock.
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        // The bucket was deleted and created in another Region: what was known of it is read again.
        | "PermanentRedirect"
        | "TemporaryRedirect" => FailureKind::Transient,
        "" => match status {
            Some(401 | 403 | 405) => FailureKind::Denied,
            Some(404) => FailureKind::NotFound,
            Some(409) => FailureKind::Conflict,
            Some(429) => FailureKind::Throttled,
            Some(400..=499) => FailureKind::Invalid,
            _ => FailureKind::Transient,
        },
        // S3 gives this error right after versioning was enabled, until that is effective everywhere.
        "InvalidRequest" if words.contains("ersioning") => FailureKind::VersioningNotVisible,
        _ => match status {
            Some(409) => FailureKind::Conflict,
            Some(429) => FailureKind::Throttled,
            Some(500..=599) => FailureKind::Transient,
            _ => FailureKind::Invalid,
        },
    }
}

/// Whether AWS no longer takes the credentials, so that the role has to be assumed again.
pub(super) fn ends_session(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "UnrecognizedClientException"
    )
}

/// AWS says which kind of policy denied ("Troubleshoot access denied error messages" in the IAM User Guide).
fn denied(words: &str) -> FailureKind {
    let of_organization = ["service control policy", "resource control policy"]
        .iter()
        .any(|kind| words.contains(kind));
    if of_organization {
        FailureKind::DeniedByOrganization
    } else {
        FailureKind::Denied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_others_are_not_repeated() {
        let caller = "arn:aws:iam::111111111111:role/operator";
        let reported = |words| without_strangers(words, caller, "bucket finance-records");
        let own = "User: arn:aws:sts::111111111111:assumed-role/operator/brepl-x may not perform s3:PutBucketPolicy on \"arn:aws:s3:::finance-records\"";
        assert_eq!(reported(own), own);
        assert_eq!(
            reported(
                r#"Invalid principal in policy: "AWS":"arn:aws:iam::333333333333:role/payroll-replication", gone"#
            ),
            r#"Invalid principal in policy: "AWS":"(an ARN)", gone"#
        );
        assert_eq!(
            reported("no policy allows arn:aws:kms:eu-west-1:333333333333:key/1234."),
            "no policy allows (an ARN)"
        );
        assert_eq!(reported("nothing to hide"), "nothing to hide");
    }

    #[test]
    fn codes_are_sorted_by_what_can_be_done() {
        for (code, words, status, expected) in [
            ("AccessDenied", "", Some(403), FailureKind::Denied),
            (
                "AccessDenied",
                "no identity-based policy allows the action",
                Some(403),
                FailureKind::Denied,
            ),
            (
                "AccessDenied",
                "with an explicit deny in a service control policy",
                Some(403),
                FailureKind::DeniedByOrganization,
            ),
            ("NoSuchEntity", "", Some(404), FailureKind::NotFound),
            ("SlowDown", "", Some(503), FailureKind::Throttled),
            ("OperationAborted", "", Some(409), FailureKind::Conflict),
            (
                "ConcurrentModification",
                "",
                Some(409),
                FailureKind::Conflict,
            ),
            ("DeleteConflict", "", Some(409), FailureKind::InUse),
            (
                "MalformedPolicy",
                "Invalid principal in policy",
                Some(400),
                FailureKind::PrincipalNotVisible,
            ),
            (
                "MalformedPolicy",
                "Policy has invalid action",
                Some(400),
                FailureKind::Invalid,
            ),
            (
                "InvalidRequest",
                "Destination bucket must have versioning enabled.",
                Some(400),
                FailureKind::VersioningNotVisible,
            ),
            (
                "AccessDenied",
                "User: arn:aws:iam::1:role/r is not authorized to perform: s3:PutBucketPolicy on resource: b because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
                Some(403),
                FailureKind::Invalid,
            ),
            ("ExpiredToken", "", Some(400), FailureKind::Transient),
            ("InvalidToken", "", Some(400), FailureKind::Transient),
            (
                "RequestTimeTooSkewed",
                "",
                Some(403),
                FailureKind::Transient,
            ),
            ("PermanentRedirect", "", Some(301), FailureKind::Transient),
            ("SomethingNew", "", Some(409), FailureKind::Conflict),
            ("SomethingNew", "", Some(429), FailureKind::Throttled),
            ("InvalidArgument", "", Some(400), FailureKind::Invalid),
            ("", "", Some(403), FailureKind::Denied),
            ("", "", None, FailureKind::Transient),
            ("SomethingNew", "", Some(500), FailureKind::Transient),
        ] {
            assert_eq!(kind(code, words, status), expected, "{code} {words}");
        }
    }
}
