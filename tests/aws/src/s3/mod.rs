//! S3: which call a request is, and what all calls on a bucket have in common. Codes are those of "Error responses" in the S3 API Reference.

mod configuration;
mod objects;
mod policy;
mod replication;

pub(crate) use objects::encryption_context;

use documents::{
    evaluation::{Context, ResourcePolicy},
    names::BucketName,
};
use serde_json::{Value, json};

use crate::{
    judge::{Asked, Who},
    message::{Refusal, Request, Response, decoded, fields},
    state::{Bucket, State},
    xml,
};

/// A call on a bucket or object, with what its request says.
pub(crate) struct Call<'a> {
    pub(crate) who: &'a Who,
    pub(crate) region: &'a str,
    pub(crate) request: &'a Request,
    pub(crate) query: std::collections::BTreeMap<String, String>,
    pub(crate) bucket: String,
    pub(crate) key: String,
}

/// A call of S3 in a Region, with the bucket in the path.
///
/// # Errors
/// As AWS refuses it.
pub fn call(
    state: &mut State,
    who: &Who,
    region: &str,
    request: &Request,
) -> Result<Response, Refusal> {
    let path = request.path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let call = Call {
        who,
        region,
        request,
        query: fields(&request.query),
        bucket: decoded(bucket),
        key: decoded(key),
    };
    if call.bucket.is_empty() {
        return list_buckets(state, who);
    }
    if !call.key.is_empty() {
        return objects::call(state, &call);
    }
    match (request.method.as_str(), call.sub_resource()) {
        ("PUT", None) => create(state, &call),
        ("DELETE", None) => delete(state, &call),
        ("HEAD", None) => head(state, &call),
        ("GET", Some("location")) => location(state, &call),
        (_, Some("policy")) => policy::call(state, &call),
        (_, Some("replication")) => replication::call(state, &call),
        ("GET", None | Some("versions" | "list-type")) => objects::list(state, &call),
        ("POST", Some("delete")) => objects::delete_many(state, &call),
        _ => configuration::call(state, &call),
    }
}

const SUB_RESOURCES: &[&str] = &[
    "location",
    "policy",
    "replication",
    "versioning",
    "encryption",
    "object-lock",
    "requestPayment",
    "ownershipControls",
    "tagging",
    "versions",
    "list-type",
    "delete",
];

impl Call<'_> {
    pub(crate) fn sub_resource(&self) -> Option<&'static str> {
        let mut all = SUB_RESOURCES.iter().copied();
        all.find(|name| self.query.contains_key(*name))
    }

    /// The bucket, if it exists and is the one that the caller expects, and the caller may do the action on it.
    pub(crate) fn bucket<'s>(
        &self,
        state: &'s mut State,
        action: &str,
    ) -> Result<&'s mut Bucket, Refusal> {
        let arn = format!("arn:aws:s3:::{}", self.bucket);
        self.authorized(state, action, arn, Context::complete())
    }

    /// The same for an action on that ARN.
    pub(crate) fn authorized<'s>(
        &self,
        state: &'s mut State,
        action: &str,
        arn: String,
        context: Context,
    ) -> Result<&'s mut Bucket, Refusal> {
        let missing = || {
            Refusal::new(
                404,
                "NoSuchBucket",
                format!("The specified bucket does not exist: {}", self.bucket),
            )
        };
        let found = state.buckets.get(&self.bucket).ok_or_else(missing)?;
        let expected = self.request.header("x-amz-expected-bucket-owner");
        if expected.is_some_and(|expected| expected != found.owner.as_str()) {
            return Err(Refusal::new(403, "AccessDenied", "Access Denied"));
        }
        let context = context.with("s3:ResourceAccount", found.owner.as_str());
        self.who.may(&Asked {
            action,
            resource: arn,
            owner: &found.owner,
            policy: ResourcePolicy::Bucket(found.policy.as_ref()),
            context,
        })?;
        // "PermanentRedirect" in "Error responses"; a Region that S3 was not asked in answers where the bucket is.
        if found.region != self.region && action != "s3:GetBucketLocation" {
            let message = "The bucket you are attempting to access must be addressed using the specified endpoint.";
            let mut refusal = Refusal::new(301, "PermanentRedirect", message);
            refusal
                .headers
                .push(("x-amz-bucket-region".to_owned(), found.region.clone()));
            return Err(refusal);
        }
        state.buckets.get_mut(&self.bucket).ok_or_else(missing)
    }

    pub(crate) fn body(&self) -> Result<Value, Refusal> {
        xml::read(&self.request.body)
    }
}

fn list_buckets(state: &State, who: &Who) -> Result<Response, Refusal> {
    who.may(&Asked {
        action: "s3:ListAllMyBuckets",
        resource: "arn:aws:s3:::*".to_owned(),
        owner: &who.account,
        policy: ResourcePolicy::None,
        context: Context::complete(),
    })?;
    let own = state
        .buckets
        .iter()
        .filter(|(_, bucket)| bucket.owner == who.account);
    let buckets: Vec<_> = own
        .map(|(name, _)| json!({"Name": name, "CreationDate": "2026-01-01T00:00:00Z"}))
        .collect();
    Ok(Response::xml(xml::element(
        "ListAllMyBucketsResult",
        &json!({"Buckets": {"Bucket": buckets}}),
    )))
}

fn create(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let who = call.who;
    let arn = format!("arn:aws:s3:::{}", call.bucket);
    who.may(&Asked {
        action: "s3:CreateBucket",
        resource: arn,
        owner: &who.account,
        policy: ResourcePolicy::None,
        context: Context::complete(),
    })?;
    if let Err(error) = call.bucket.parse::<BucketName>() {
        return Err(Refusal::new(400, "InvalidBucketName", error.to_string()));
    }
    let place = if call.request.body.is_empty() {
        json!({})
    } else {
        call.body()?
    };
    let region = place["LocationConstraint"].as_str().unwrap_or("us-east-1");
    if region != call.region {
        let message = format!(
            "The {region} location constraint is incompatible for the region specific endpoint this request was sent to."
        );
        return Err(Refusal::new(
            400,
            "IllegalLocationConstraintException",
            message,
        ));
    }
    if let Some(existing) = state.buckets.get(&call.bucket) {
        let own = existing.owner == who.account;
        // A second creation in us-east-1 by the owner succeeds ("CreateBucket" in the S3 API Reference).
        if own && region == "us-east-1" {
            return Ok(Response::empty(200));
        }
        let (code, message) = if own {
            (
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            )
        } else {
            (
                "BucketAlreadyExists",
                "The requested bucket name is not available.",
            )
        };
        return Err(Refusal::new(409, code, message));
    }
    let object_lock = call.request.header("x-amz-bucket-object-lock-enabled") == Some("true");
    let mut bucket = Bucket {
        // Object Lock needs versioning, and switches it on.
        versioning: object_lock.then_some(true),
        object_lock,
        ..Bucket::new(who.account.clone(), region)
    };
    if let Some(ownership) = call.request.header("x-amz-object-ownership") {
        ownership.clone_into(&mut bucket.ownership);
    }
    state.buckets.insert(call.bucket.clone(), bucket);
    Ok(Response::empty(200).with("location", format!("/{}", call.bucket)))
}

fn delete(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let bucket = call.bucket(state, "s3:DeleteBucket")?;
    if bucket.objects.values().any(|versions| !versions.is_empty()) {
        return Err(Refusal::new(
            409,
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty.",
        ));
    }
    state.buckets.remove(&call.bucket);
    Ok(Response::empty(204))
}

/// Says where the bucket is whether the caller may know or not ("`HeadBucket`" in the S3 API Reference).
fn head(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let named = state.buckets.get(&call.bucket);
    let region = named.map(|bucket| ("x-amz-bucket-region".to_owned(), bucket.region.clone()));
    match call.bucket(state, "s3:ListBucket") {
        Ok(bucket) => {
            let (name, region) = ("x-amz-bucket-region", bucket.region.clone());
            Ok(Response::empty(200).with(name, region))
        }
        Err(mut refusal) => {
            refusal
                .headers
                .retain(|(name, _)| name != "x-amz-bucket-region");
            refusal.headers.extend(region);
            Err(refusal)
        }
    }
}

/// The Regions that an account has to enable ("Regions" in the AWS General Reference).
const OPT_IN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "eu-south-1",
    "il-central-1",
    "me-south-1",
];

/// us-east-1 is an empty constraint ("`GetBucketLocation`" in the S3 API Reference).
fn location(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let bucket = call.bucket(state, "s3:GetBucketLocation")?;
    // Seen in botocore's redirector and in reports, not documented: without the header that says where the bucket is.
    if OPT_IN.contains(&bucket.region.as_str()) && bucket.region != call.region {
        let message = format!(
            "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
            bucket.region
        );
        return Err(Refusal::new(
            400,
            "IllegalLocationConstraintException",
            message,
        ));
    }
    let region = if bucket.region == "us-east-1" {
        ""
    } else {
        &bucket.region
    };
    Ok(Response::xml(format!(
        "<LocationConstraint>{region}</LocationConstraint>"
    )))
}
