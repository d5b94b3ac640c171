//! Objects: their versions, their encryption under the caller's own permissions, and what is shown of their replication.

use std::collections::BTreeMap;

use documents::{
    evaluation::{Context, ResourcePolicy},
    names::{AccountId, via_services},
};
use serde_json::{Value, json};

use super::Call;
use crate::{
    judge::Asked,
    message::{Refusal, Response, fields},
    replicate,
    state::{Bucket, State, Upload, Version},
    xml,
};

pub(super) fn call(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let has = |name: &str| call.query.contains_key(name);
    match call.request.method.as_str() {
        "PUT" if has("partNumber") => put_part(state, call),
        "PUT" if has("tagging") => put_tagging(state, call),
        "PUT" => put(state, call),
        "POST" if has("uploads") => start_upload(state, call),
        "POST" if has("uploadId") => complete_upload(state, call),
        "GET" if has("tagging") => get_tagging(state, call),
        "GET" | "HEAD" => get(state, call),
        "DELETE" => delete(state, call),
        _ => Err(Refusal::new(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )),
    }
}

impl Call<'_> {
    fn object<'s>(&self, state: &'s mut State, action: &str) -> Result<&'s mut Bucket, Refusal> {
        let arn = format!("arn:aws:s3:::{}/{}", self.bucket, self.key);
        self.authorized(state, action, arn, Context::complete())
    }
}

fn no_such_key() -> Refusal {
    Refusal::new(404, "NoSuchKey", "The specified key does not exist.")
}

/// The tags of a `TagSet`.
pub(super) fn tag_set(tagging: &Value) -> BTreeMap<String, String> {
    let tags = tagging["TagSet"]["Tag"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tags.iter()
        .map(|tag| (text(&tag["Key"]), text(&tag["Value"])))
        .collect()
}

fn put(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    call.object(state, "s3:PutObject")?;
    // "PutObject" in the S3 API Reference.
    if call.request.header("x-amz-tagging").is_some() {
        call.object(state, "s3:PutObjectTagging")?;
    }
    let version = Version {
        body: Some(call.request.body.clone()),
        ..new_version(state, call, &call.request.headers)?
    };
    Ok(store(state, call, version))
}

/// A version as the headers ask for it, or the bucket's default encryption.
fn new_version(
    state: &mut State,
    call: &Call<'_>,
    headers: &BTreeMap<String, String>,
) -> Result<Version, Refusal> {
    let header = |name: &str| headers.get(name).cloned();
    let bucket = call.object(state, "s3:PutObject")?;
    let (owner, versioning) = (bucket.owner.clone(), bucket.versioning);
    let default = bucket.encryption["Rules"][0].clone();
    let by_default = &default["ApplyServerSideEncryptionByDefault"];
    let asked = header("x-amz-server-side-encryption");
    let algorithm = asked.clone().unwrap_or_else(|| {
        by_default["SSEAlgorithm"]
            .as_str()
            .unwrap_or("AES256")
            .to_owned()
    });
    let key = header("x-amz-server-side-encryption-aws-kms-key-id").or_else(|| {
        let same = asked
            .as_deref()
            .is_none_or(|asked| by_default["SSEAlgorithm"] == asked);
        by_default["KMSMasterKeyID"]
            .as_str()
            .filter(|_| same)
            .map(ToOwned::to_owned)
    });
    // DSSE-KMS has no S3 Bucket Keys ("Using dual-layer server-side encryption" in the S3 User Guide).
    let bucket_key = algorithm == "aws:kms"
        && header("x-amz-server-side-encryption-bucket-key-enabled")
            .map_or(default["BucketKeyEnabled"] == json!(true), |enabled| {
                enabled == "true"
            });
    let key = if algorithm.starts_with("aws:kms") {
        let key = kms_key(state, call, key.as_deref())?;
        let context = if bucket_key {
            format!("arn:aws:s3:::{}", call.bucket)
        } else {
            format!("arn:aws:s3:::{}/{}", call.bucket, call.key)
        };
        use_key(state, call, &key, "kms:GenerateDataKey", &context)?;
        Some(key)
    } else {
        None
    };
    let kept = headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-amz-meta-") || *name == "content-type");
    Ok(Version {
        id: if versioning == Some(true) {
            format!("v{:024}", state.number())
        } else {
            "null".to_owned()
        },
        algorithm,
        key,
        bucket_key,
        tags: header("x-amz-tagging")
            .map(|tags| fields(&tags))
            .unwrap_or_default(),
        at: state.now,
        headers: kept
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        owner: Some(owner),
        ..Version::default()
    })
}

/// The ARN of the key that an upload names: without one it is AWS's own of the account, which is made when it is first used.
fn kms_key(state: &mut State, call: &Call<'_>, name: Option<&str>) -> Result<String, Refusal> {
    let (region, account) = (call.region, &call.who.account);
    let Some(name) = name else {
        return Ok(state.key_of_s3(region, account));
    };
    let arn = match name {
        arn if arn.starts_with("arn:") => arn.to_owned(),
        alias if alias.starts_with("alias/") => format!("arn:aws:kms:{region}:{account}:{alias}"),
        id => format!("arn:aws:kms:{region}:{account}:key/{id}"),
    };
    let arn = state.aliases.get(&arn).cloned().unwrap_or(arn);
    let found = state.keys.get(&arn);
    let found = found.ok_or_else(|| {
        Refusal::new(
            400,
            "KMS.NotFoundException",
            format!("Key '{arn}' does not exist"),
        )
    })?;
    // A key of another Region is refused ("Specifying server-side encryption with AWS KMS" in the S3 User Guide).
    if found.region != region {
        return Err(Refusal::new(
            400,
            "KMS.NotFoundException",
            format!("Invalid arn {}", found.region),
        ));
    }
    Ok(arn)
}

/// KMS is called in the caller's name, for that encryption context.
fn use_key(
    state: &State,
    call: &Call<'_>,
    arn: &str,
    action: &str,
    context: &str,
) -> Result<(), Refusal> {
    let Some(key) = state.keys.get(arn) else {
        return Err(Refusal::new(
            400,
            "KMS.NotFoundException",
            format!("Key '{arn}' does not exist"),
        ));
    };
    let region = key.region.parse().map_err(|_| no_such_key())?;
    call.who.may(&Asked {
        action,
        resource: arn.to_owned(),
        owner: &key.owner,
        policy: ResourcePolicy::Key(&key.policy),
        context: Context::complete()
            .with("kms:ViaService", via_services(&region).remove(0))
            .with("kms:CallerAccount", call.who.account.as_str())
            .with("kms:EncryptionContext:aws:s3:arn", context)
            .with("aws:ViaAWSService", "true"),
    })?;
    match key.state.as_str() {
        "Enabled" => Ok(()),
        "Disabled" => Err(Refusal::new(
            400,
            "KMS.DisabledException",
            format!("{arn} is disabled."),
        )),
        other => Err(Refusal::new(
            400,
            "KMS.KMSInvalidStateException",
            format!("{arn} is {other}."),
        )),
    }
}

/// Adds the version, and replicates it.
fn store(state: &mut State, call: &Call<'_>, version: Version) -> Response {
    let answer = shown(Response::empty(200), &version);
    if let Some(bucket) = state.buckets.get_mut(&call.bucket) {
        // "Default retention" in "Locking objects with Object Lock" in the S3 User Guide.
        let retained = bucket.retention.is_some();
        let versions = bucket.objects.entry(call.key.clone()).or_default();
        versions.retain(|former| former.id != version.id || version.id != "null");
        versions.push(Version {
            retained,
            ..version
        });
    }
    replicate::replicate(state, &call.bucket, &call.key);
    answer
}

/// The headers that tell of a version.
fn shown(mut answer: Response, version: &Version) -> Response {
    answer = answer.with("x-amz-server-side-encryption", version.algorithm.clone());
    if let Some(key) = &version.key {
        answer = answer.with("x-amz-server-side-encryption-aws-kms-key-id", key.clone());
        if version.bucket_key {
            answer = answer.with("x-amz-server-side-encryption-bucket-key-enabled", "true");
        }
    }
    if version.id != "null" {
        answer = answer.with("x-amz-version-id", version.id.clone());
    }
    if let Some(status) = version.replication {
        answer = answer.with("x-amz-replication-status", status);
    }
    for (name, value) in &version.headers {
        answer = answer.with(name, value.clone());
    }
    answer.with("etag", "\"etag\"")
}

fn start_upload(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    new_version(state, call, &call.request.headers)?;
    let id = format!("upload-{}", state.number());
    let upload = Upload {
        headers: call.request.headers.clone(),
        parts: BTreeMap::new(),
    };
    state.uploads.insert(id.clone(), upload);
    let answer = json!({"Bucket": call.bucket, "Key": call.key, "UploadId": id});
    Ok(Response::xml(xml::element(
        "InitiateMultipartUploadResult",
        &answer,
    )))
}

fn upload<'s>(state: &'s mut State, call: &Call<'_>) -> Result<&'s mut Upload, Refusal> {
    let id = call.query.get("uploadId").cloned().unwrap_or_default();
    let message = "The specified upload does not exist.";
    state
        .uploads
        .get_mut(&id)
        .ok_or_else(|| Refusal::new(404, "NoSuchUpload", message))
}

fn put_part(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    call.object(state, "s3:PutObject")?;
    let number = call
        .query
        .get("partNumber")
        .and_then(|number| number.parse().ok())
        .unwrap_or(1);
    upload(state, call)?
        .parts
        .insert(number, call.request.body.clone());
    Ok(Response::empty(200).with("etag", format!("\"part-{number}\"")))
}

fn complete_upload(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    call.object(state, "s3:PutObject")?;
    let upload = upload(state, call)?.clone();
    let version = Version {
        body: Some(upload.parts.values().flatten().copied().collect()),
        multipart: true,
        ..new_version(state, call, &upload.headers)?
    };
    let stored = store(state, call, version);
    let answer = json!({"Bucket": call.bucket, "Key": call.key, "ETag": "\"etag-1\""});
    let mut answer = Response::xml(xml::element("CompleteMultipartUploadResult", &answer));
    answer.headers.extend(stored.headers);
    Ok(answer)
}

/// The newest version, or that of the request; a delete marker is as if there was nothing.
fn find<'s>(bucket: &'s Bucket, call: &Call<'_>) -> Result<&'s Version, Refusal> {
    let versions = bucket.objects.get(&call.key).ok_or_else(no_such_key)?;
    let found = match call.query.get("versionId") {
        Some(id) => versions.iter().find(|version| version.id == *id),
        None => versions.last(),
    };
    found
        .filter(|version| version.body.is_some())
        .ok_or_else(no_such_key)
}

fn get(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let versioned = call.query.contains_key("versionId");
    let bucket = call.object(
        state,
        if versioned {
            "s3:GetObjectVersion"
        } else {
            "s3:GetObject"
        },
    )?;
    let version = match find(bucket, call) {
        Ok(version) => version.clone(),
        // Who may not list the bucket is not told what does not exist ("HeadObject" in the S3 API Reference).
        Err(missing) => {
            call.bucket(state, "s3:ListBucket")?;
            return Err(missing);
        }
    };
    let body = version.body.clone().unwrap_or_default();
    if call.request.method == "HEAD" {
        let answer = shown(Response::empty(200), &version);
        return Ok(answer.with("content-length", body.len().to_string()));
    }
    if let Some(key) = &version.key {
        let context = encryption_context(&call.bucket, &call.key, version.bucket_key);
        use_key(state, call, key, "kms:Decrypt", &context)?;
    }
    let kind = version
        .headers
        .get("content-type")
        .map_or("binary/octet-stream", String::as_str);
    let mut answer = shown(Response::empty(200), &version);
    answer.headers.retain(|(name, _)| name != "content-type");
    answer
        .headers
        .push(("content-type".to_owned(), kind.to_owned()));
    answer.body = body;
    Ok(answer)
}

/// With an S3 Bucket Key it is the bucket, else the object ("Reducing the cost of SSE-KMS with Amazon S3 Bucket Keys" in the S3 User Guide).
pub(crate) fn encryption_context(bucket: &str, key: &str, bucket_key: bool) -> String {
    if bucket_key {
        format!("arn:aws:s3:::{bucket}")
    } else {
        format!("arn:aws:s3:::{bucket}/{key}")
    }
}

fn delete(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    if let Some(id) = call.query.get("versionId").cloned() {
        let bucket = call.object(state, "s3:DeleteObjectVersion")?;
        if let Some(versions) = bucket.objects.get_mut(&call.key) {
            // "How S3 Object Lock works" in the S3 User Guide.
            if versions
                .iter()
                .any(|version| version.id == id && version.retained)
            {
                let message = "Access Denied because object protected by object lock.";
                return Err(Refusal::new(403, "AccessDenied", message));
            }
            versions.retain(|version| version.id != id);
        }
        return Ok(Response::empty(204).with("x-amz-version-id", id));
    }
    let bucket = call.object(state, "s3:DeleteObject")?;
    if bucket.versioning.is_none() {
        bucket.objects.remove(&call.key);
        return Ok(Response::empty(204));
    }
    let id = format!("v{:024}", state.number());
    let marker = Version {
        id: id.clone(),
        ..Version::default()
    };
    if let Some(bucket) = state.buckets.get_mut(&call.bucket) {
        bucket
            .objects
            .entry(call.key.clone())
            .or_default()
            .push(marker);
    }
    replicate::replicate(state, &call.bucket, &call.key);
    Ok(Response::empty(204)
        .with("x-amz-delete-marker", "true")
        .with("x-amz-version-id", id))
}

pub(super) fn delete_many(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let objects = call.body()?["Objects"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for object in objects {
        let text = |field: &str| object[field].as_str().map(ToOwned::to_owned);
        let mut one = Call {
            query: BTreeMap::new(),
            bucket: call.bucket.clone(),
            key: text("Key").unwrap_or_default(),
            ..*call
        };
        one.query
            .extend(text("VersionId").map(|id| ("versionId".to_owned(), id)));
        delete(state, &one)?;
    }
    Ok(Response::xml("<DeleteResult></DeleteResult>"))
}

fn get_tagging(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let bucket = call.object(state, "s3:GetObjectTagging")?;
    let tags = &find(bucket, call)?.tags;
    let tags: Vec<_> = tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(Response::xml(xml::element(
        "Tagging",
        &json!({"TagSet": {"Tag": tags}}),
    )))
}

fn put_tagging(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let tags = tag_set(&call.body()?);
    let bucket = call.object(state, "s3:PutObjectTagging")?;
    let versions = bucket.objects.get_mut(&call.key).ok_or_else(no_such_key)?;
    versions.last_mut().ok_or_else(no_such_key)?.tags = tags;
    Ok(Response::empty(200))
}

/// The canonical ID of an account ("Finding the canonical user ID" in the S3 User Guide): 64 characters, which say nothing of its number there.
fn canonical(owner: Option<&AccountId>) -> String {
    format!("{:0>64}", owner.map_or("", AccountId::as_str))
}

pub(super) fn list(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let versions = call.query.contains_key("versions");
    let action = if versions {
        "s3:ListBucketVersions"
    } else {
        "s3:ListBucket"
    };
    // "Amazon S3" in the Service Authorization Reference.
    let keys = [
        ("prefix", "s3:prefix"),
        ("delimiter", "s3:delimiter"),
        ("max-keys", "s3:max-keys"),
    ];
    let given = keys
        .into_iter()
        .filter_map(|(name, key)| Some((key, call.query.get(name)?)));
    let context = given.fold(Context::complete(), |context, (key, value)| {
        context.with(key, value.as_str())
    });
    let arn = format!("arn:aws:s3:::{}", call.bucket);
    let bucket = call.authorized(state, action, arn, context)?;
    let prefix = call.query.get("prefix").cloned().unwrap_or_default();
    let (mut shown, mut markers) = (vec![], vec![]);
    for (key, all) in bucket
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
    {
        let newest = all.last().map(|version| version.id.clone());
        let wanted = all
            .iter()
            .filter(|version| versions || Some(&version.id) == newest.as_ref());
        for version in wanted {
            let entry = json!({"Key": key, "VersionId": version.id, "IsLatest": Some(&version.id) == newest.as_ref(), "LastModified": "2026-01-01T00:00:00Z", "Size": version.body.as_ref().map_or(0, Vec::len), "Owner": {"ID": canonical(version.owner.as_ref())}});
            if version.body.is_some() {
                shown.push(entry);
            } else if versions {
                markers.push(entry);
            }
        }
    }
    let answer = if versions {
        xml::element(
            "ListVersionsResult",
            &json!({"Name": call.bucket, "IsTruncated": false, "Version": shown, "DeleteMarker": markers}),
        )
    } else {
        xml::element(
            "ListBucketResult",
            &json!({"Name": call.bucket, "IsTruncated": false, "KeyCount": shown.len(), "Contents": shown}),
        )
    };
    Ok(Response::xml(answer))
}
