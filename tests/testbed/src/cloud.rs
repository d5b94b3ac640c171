//! Accounts of the emulator, as their owners see them: each 12-digit access key is the root of an account of its own.

use anyhow::Context;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{
        BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
        ReplicationConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
        ServerSideEncryptionConfiguration, ServerSideEncryptionRule, VersioningConfiguration,
    },
};
use percent_encoding::percent_decode_str;

use crate::{
    environment::Emulator,
    process::{output, program},
};

/// The account that the operator lives in.
pub const OPERATOR_ACCOUNT: &str = "999999999999";
/// The external id that all accounts require: that of `deploy/samples/accounts.yaml`.
pub const EXTERNAL_ID: &str = "a-string-that-you-choose";

/// An account, with its owner's rights.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its 12 digits.
    pub id: String,
    config: SdkConfig,
}

/// The operator's own identity.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

impl Account {
    /// The account `id` behind `endpoint`.
    #[must_use]
    pub fn new(id: &str, endpoint: &str) -> Self {
        let http = aws_smithy_http_client::Builder::new().build_http();
        let credentials = Credentials::new(id, "test", None, None, "testbed");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .endpoint_url(endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        Self {
            id: id.to_owned(),
            config,
        }
    }

    fn at(&self, region: &str) -> SdkConfig {
        self.config
            .to_builder()
            .region(Region::new(region.to_owned()))
            .build()
    }

    /// S3 in a Region.
    #[must_use]
    pub fn s3(&self, region: &str) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::config::Builder::from(&self.at(region))
                .force_path_style(true)
                .build(),
        )
    }

    /// KMS in a Region.
    #[must_use]
    pub fn kms(&self, region: &str) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.at(region))
    }

    /// IAM.
    #[must_use]
    pub fn iam(&self) -> aws_sdk_iam::Client {
        aws_sdk_iam::Client::new(&self.config)
    }

    /// An IAM user that may assume any role, and nothing else.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn make_operator(&self) -> anyhow::Result<Operator> {
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#;
        let name = "bucket-replication-operator";
        self.iam().create_user().user_name(name).send().await?;
        self.iam()
            .put_user_policy()
            .user_name(name)
            .policy_name("assume-roles")
            .policy_document(policy)
            .send()
            .await?;
        let made = self
            .iam()
            .create_access_key()
            .user_name(name)
            .send()
            .await?;
        let key = made.access_key().context("no access key")?;
        Ok(Operator {
            access_key_id: key.access_key_id().to_owned(),
            secret_access_key: key.secret_access_key().to_owned(),
        })
    }

    /// The role that the operator works under in this account: `policy` is all that it may do. Gives the role's ARN.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn make_operator_role(&self, policy: &str) -> anyhow::Result<String> {
        let trust = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{OPERATOR_ACCOUNT}:root")},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
            }],
        });
        let name = "bucket-replication-operator";
        let made = self
            .iam()
            .create_role()
            .role_name(name)
            .assume_role_policy_document(trust.to_string())
            .send()
            .await?;
        self.set_operator_policy(policy).await?;
        Ok(made.role().context("no role")?.arn().to_owned())
    }

    /// Runs a line of shell as the account's owner, with the AWS CLI and jq at hand, and gives its output.
    ///
    /// # Errors
    /// When it fails; with its standard error.
    pub async fn run(&self, line: &str) -> anyhow::Result<String> {
        let mut path = program("jq")?
            .parent()
            .context("no folder")?
            .as_os_str()
            .to_owned();
        path.push(":");
        path.push(program("aws")?.parent().context("no folder")?);
        path.push(":/usr/bin:/bin");
        let mut command = std::process::Command::new("sh");
        command
            .args(["-euc", line])
            .env_clear()
            .env("PATH", path)
            .env("HOME", "/nonexistent")
            .env("AWS_PAGER", "");
        command
            .env(
                "AWS_ENDPOINT_URL",
                self.config.endpoint_url().unwrap_or_default(),
            )
            .env("AWS_DEFAULT_REGION", "us-east-1");
        output(
            command
                .env("AWS_ACCESS_KEY_ID", &self.id)
                .env("AWS_SECRET_ACCESS_KEY", "test"),
        )
        .await
    }

    /// A replication role of somebody else, with an inline policy `own`.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn make_role(&self, name: &str) -> anyhow::Result<String> {
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
        let made = self
            .iam()
            .create_role()
            .role_name(name)
            .assume_role_policy_document(trust)
            .send()
            .await?;
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetReplicationConfiguration","Resource":"*"}]}"#;
        self.iam()
            .put_role_policy()
            .role_name(name)
            .policy_name("own")
            .policy_document(policy)
            .send()
            .await?;
        Ok(made.role().context("no role")?.arn().to_owned())
    }

    /// Replaces what the operator's role may do.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn set_operator_policy(&self, policy: &str) -> anyhow::Result<()> {
        self.iam()
            .put_role_policy()
            .role_name("bucket-replication-operator")
            .policy_name("operator")
            .policy_document(policy)
            .send()
            .await?;
        Ok(())
    }

    /// Lets the operator's role do what AWS would let it do under its policy, where ministack looks at something else. The strict AWS does not.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn allow_for_emulator(&self, actions: &[&str], resource: &str) -> anyhow::Result<()> {
        if Emulator::chosen() == Emulator::Strict {
            return Ok(());
        }
        let statement =
            serde_json::json!({"Effect": "Allow", "Action": actions, "Resource": resource});
        let document =
            serde_json::json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let request = self
            .iam()
            .put_role_policy()
            .role_name("bucket-replication-operator")
            .policy_name("emulator");
        request.policy_document(document).send().await?;
        Ok(())
    }

    /// A bucket with versioning.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn make_bucket(&self, region: &str, name: &str) -> anyhow::Result<()> {
        let s3 = self.s3(region);
        let elsewhere = (region != "us-east-1").then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region))
                .build()
        });
        s3.create_bucket()
            .bucket(name)
            .set_create_bucket_configuration(elsewhere)
            .send()
            .await?;
        self.set_versioning(region, name, true).await
    }

    /// Switches versioning on or suspends it.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn set_versioning(&self, region: &str, name: &str, on: bool) -> anyhow::Result<()> {
        let status = if on {
            BucketVersioningStatus::Enabled
        } else {
            BucketVersioningStatus::Suspended
        };
        let versioning = VersioningConfiguration::builder().status(status).build();
        self.s3(region)
            .put_bucket_versioning()
            .bucket(name)
            .versioning_configuration(versioning)
            .send()
            .await?;
        Ok(())
    }

    /// A key whose policy is AWS's default, with a foreign statement beside it. Gives the key's ARN.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn make_key(&self, region: &str) -> anyhow::Result<String> {
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [
                {"Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", self.id)}, "Action": "kms:*", "Resource": "*"},
                {"Sid": "Auditors may look", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", self.id)}, "Action": ["kms:DescribeKey", "kms:GetKeyPolicy"], "Resource": "*"},
            ],
        });
        let made = self
            .kms(region)
            .create_key()
            .policy(policy.to_string())
            .description("made by the testbed")
            .send()
            .await?;
        Ok(made
            .key_metadata()
            .and_then(|key| key.arn())
            .context("no key")?
            .to_owned())
    }

    /// Encrypts what is written to a bucket with a key, where nothing else is asked for.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn set_default_key(
        &self,
        region: &str,
        bucket: &str,
        key: &str,
    ) -> anyhow::Result<()> {
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(ServerSideEncryption::AwsKms)
            .kms_master_key_id(key)
            .build()?;
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default)
            .build();
        let configuration = ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build()?;
        self.s3(region)
            .put_bucket_encryption()
            .bucket(bucket)
            .server_side_encryption_configuration(configuration)
            .send()
            .await?;
        Ok(())
    }

    /// The replication configuration of a bucket.
    ///
    /// # Errors
    /// When the emulator refuses, but for there being none.
    pub async fn replication(
        &self,
        region: &str,
        bucket: &str,
    ) -> anyhow::Result<Option<ReplicationConfiguration>> {
        match self
            .s3(region)
            .get_bucket_replication()
            .bucket(bucket)
            .send()
            .await
        {
            Ok(answer) => Ok(answer.replication_configuration),
            Err(error)
                if error
                    .raw_response()
                    .is_some_and(|response| response.status().as_u16() == 404) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The policy of a bucket.
    ///
    /// # Errors
    /// When the emulator refuses, but for there being none.
    pub async fn bucket_policy(
        &self,
        region: &str,
        bucket: &str,
    ) -> anyhow::Result<Option<serde_json::Value>> {
        match self
            .s3(region)
            .get_bucket_policy()
            .bucket(bucket)
            .send()
            .await
        {
            Ok(answer) => Ok(answer
                .policy
                .map(|text| serde_json::from_str(&text))
                .transpose()?),
            Err(error)
                if error
                    .raw_response()
                    .is_some_and(|response| response.status().as_u16() == 404) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The policy of a key.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn key_policy(&self, region: &str, key: &str) -> anyhow::Result<serde_json::Value> {
        let answer = self
            .kms(region)
            .get_key_policy()
            .key_id(key)
            .policy_name("default")
            .send()
            .await?;
        Ok(serde_json::from_str(answer.policy().unwrap_or("{}"))?)
    }

    /// The inline policy of a replication role, as the text of its JSON.
    ///
    /// # Errors
    /// When the emulator refuses, or the text is not UTF-8.
    pub async fn role_policy(&self, role: &str) -> anyhow::Result<String> {
        let iam = self.iam();
        let request = iam.get_role_policy().role_name(role).policy_name(role);
        let answer = request.send().await?;
        let text = percent_decode_str(answer.policy_document()).decode_utf8()?;
        Ok(text.into_owned())
    }

    /// The names of the roles whose names begin with `brepl-`.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn replication_roles(&self) -> anyhow::Result<Vec<String>> {
        let answer = self.iam().list_roles().send().await?;
        Ok(answer
            .roles()
            .iter()
            .map(|role| role.role_name().to_owned())
            .filter(|name| name.starts_with("brepl-"))
            .collect())
    }

    /// Writes an SSE-KMS object, and gives what S3 says of its replication.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn upload(
        &self,
        region: &str,
        bucket: &str,
        object: &str,
        key: &str,
    ) -> anyhow::Result<Option<String>> {
        let body = ByteStream::from_static(b"1040\n");
        let s3 = self.s3(region);
        let put = s3
            .put_object()
            .bucket(bucket)
            .key(object)
            .body(body)
            .server_side_encryption(ServerSideEncryption::AwsKms);
        put.ssekms_key_id(key).send().await?;
        let head = s3.head_object().bucket(bucket).key(object).send().await?;
        Ok(head
            .replication_status()
            .map(|status| status.as_str().to_owned()))
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// When the emulator refuses, but for the object being absent.
    pub async fn has(&self, region: &str, bucket: &str, object: &str) -> anyhow::Result<bool> {
        match self
            .s3(region)
            .head_object()
            .bucket(bucket)
            .key(object)
            .send()
            .await
        {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .raw_response()
                    .is_some_and(|response| response.status().as_u16() == 404) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
