//! Bucket policies ("Policies and permissions in Amazon S3" and "`PutBucketPolicy`" in the S3 User Guide and API Reference).

use documents::policy::Document;

use super::Call;
use crate::{
    judge,
    message::{Refusal, Response},
    principals::Invalid,
    state::State,
};

/// The most bytes of a bucket policy ("Amazon S3 endpoints and quotas").
const MOST: usize = 20_480;

pub(super) fn call(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    match call.request.method.as_str() {
        "GET" => {
            let policy = call.bucket(state, "s3:GetBucketPolicy")?.policy.clone();
            let policy = policy.ok_or_else(|| {
                Refusal::new(
                    404,
                    "NoSuchBucketPolicy",
                    "The bucket policy does not exist",
                )
            })?;
            Ok(Response::of(
                "application/json",
                state.shown(&policy).compact(),
            ))
        }
        "DELETE" => {
            call.bucket(state, "s3:DeleteBucketPolicy")?.policy = None;
            Ok(Response::empty(204))
        }
        _ => {
            call.bucket(state, "s3:PutBucketPolicy")?;
            let policy = checked(state, call)?;
            call.bucket(state, "s3:PutBucketPolicy")?.policy = Some(policy);
            Ok(Response::empty(204))
        }
    }
}

fn checked(state: &State, call: &Call<'_>) -> Result<Document, Refusal> {
    let malformed = |message: String| Refusal::new(400, "MalformedPolicy", message);
    let text = String::from_utf8_lossy(&call.request.body);
    // The code for a policy that is too large is not documented.
    if text.len() > MOST {
        return Err(malformed(format!("Policies must not exceed {MOST} bytes")));
    }
    let policy = judge::document(&text, true).map_err(malformed)?;
    let own = format!("arn:aws:s3:::{}", call.bucket);
    for statement in policy.statements() {
        let resources = [
            statement.strings("Resource"),
            statement.strings("NotResource"),
        ]
        .concat();
        let is_own = |resource: &&str| {
            *resource == own
                || resource.starts_with(&format!("{own}/"))
                || **resource == *"*"
                || resource.starts_with("arn:aws:s3:::*")
        };
        if resources.is_empty() {
            return Err(malformed("Missing required field Resource".to_owned()));
        }
        if !resources.iter().all(is_own) {
            return Err(malformed("Policy has invalid resource".to_owned()));
        }
        let actions = statement.strings("Action");
        if actions
            .iter()
            .any(|action| *action != "*" && !action.to_ascii_lowercase().starts_with("s3:"))
        {
            return Err(malformed("Policy has invalid action".to_owned()));
        }
    }
    state
        .kept(&policy)
        .map_err(|Invalid(_)| malformed("Invalid principal in policy".to_owned()))
}
