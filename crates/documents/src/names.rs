//! Names of AWS: each type holds only values that AWS accepts, so that what is built from them needs no second check.

use std::{
    fmt::{self, Write},
    str::FromStr,
};

use sha2::{Digest, Sha256};

use crate::arns::BucketArn;

pub use crate::partition::Partition;

/// Why a name was refused; the text says what is wrong and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(String);

impl InvalidName {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T, InvalidName> {
    Err(InvalidName(message.into()))
}

/// The first `length` hexadecimal digits of the SHA-256 of `parts`, each part ended by a zero byte so that no two lists read alike.
#[must_use]
pub fn fingerprint(parts: &[&str], length: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(length);
    text
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type! {
    /// A 12-digit AWS account id.
    AccountId
}
text_type! {
    /// An AWS Region code such as `us-east-1`.
    Region
}
text_type! {
    /// The name of a general purpose bucket, by the rules of "General purpose bucket naming rules" in the S3 User Guide.
    BucketName
}
text_type! {
    /// The beginning of object keys; empty means every key. At most 1,024 bytes, without wildcards or policy variables.
    Prefix
}
text_type! {
    /// The name of an IAM role, at most 64 characters.
    RoleName
}
text_type! {
    /// The ID of an installation of the operator, which marks its resources: 1 to 16 lowercase letters and digits.
    InstallationId
}

impl FromStr for AccountId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(text.to_owned()));
        }
        refuse(format!(
            "\"{text}\" is not an AWS account id: use its 12 digits"
        ))
    }
}

impl FromStr for Region {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut parts = text.split('-').rev();
        let number = parts
            .next()
            .is_some_and(|part| part.len() == 1 && part.bytes().all(|b| b.is_ascii_digit()));
        let words: Vec<_> = parts.collect();
        let letters = words
            .iter()
            .all(|part| part.len() >= 2 && part.bytes().all(|b| b.is_ascii_lowercase()));
        if number && letters && words.len() >= 2 {
            return Ok(Self(text.to_owned()));
        }
        refuse(format!(
            "\"{text}\" is not an AWS Region: use a code such as us-east-1"
        ))
    }
}

impl FromStr for BucketName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let characters = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        let address =
            text.split('.').count() == 4 && text.split('.').all(|part| part.parse::<u8>().is_ok());
        if !(3..=63).contains(&text.len()) || !characters {
            return refuse(format!(
                "\"{text}\" is not a bucket name: use 3 to 63 lowercase letters, digits, dots and hyphens, and no ARN"
            ));
        }
        if !edge(text.bytes().next())
            || !edge(text.bytes().next_back())
            || text.contains("..")
            || address
        {
            return refuse(format!(
                "\"{text}\" is not a bucket name: it begins and ends with a letter or digit, has no two dots in a row and is no IP address"
            ));
        }
        for suffix in ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"] {
            if text.ends_with(suffix) {
                return refuse(format!(
                    "\"{text}\" ends with {suffix}: name a general purpose bucket, not an access point or directory bucket"
                ));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl Prefix {
    /// Whether every key under `other` is under this prefix too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl FromStr for Prefix {
    type Err = InvalidName;

    /// Refuses what would mean something else inside an IAM policy: wildcards, policy variables, characters outside of
    /// its set ("IAM and AWS STS quotas" in the IAM User Guide).
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() > 1024 {
            return refuse(format!(
                "the prefix has {} bytes: S3 object keys have at most 1024",
                text.len()
            ));
        }
        if text.contains(['*', '?']) || text.contains("${") {
            return refuse(format!(
                "prefix \"{text}\" contains a wildcard or policy variable (*, ? or ${{): use the literal beginning of the object keys"
            ));
        }
        if let Some(character) = text
            .chars()
            .find(|c| !matches!(c, '\u{20}'..='\u{7e}' | '\u{a1}'..='\u{ff}'))
        {
            return refuse(format!(
                "prefix \"{}\" contains {character:?}, which an IAM policy can't express",
                text.escape_default()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for InstallationId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if (1..=16).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            return Ok(Self(text.to_owned()));
        }
        refuse(format!(
            "\"{text}\" is not an installation ID: use 1 to 16 lowercase letters and digits"
        ))
    }
}

impl FromStr for RoleName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
        {
            return Ok(Self(text.to_owned()));
        }
        refuse(format!("\"{text}\" is not an IAM role name"))
    }
}

impl RoleName {
    /// The role of a source bucket: `brepl-<id>-<bucket, cut>-<hash>`. The hash keeps apart what the cut made equal.
    #[must_use]
    pub fn of(installation: &InstallationId, source: &OwnedBucket) -> Self {
        let hash = Self::hash(source);
        let room = 64 - "brepl---".len() - installation.as_str().len() - hash.len();
        let bucket = &source.name.as_str()[..source.name.as_str().len().min(room)];
        Self(format!("{}{bucket}-{hash}", Self::prefix(installation)))
    }

    /// How the names of all roles of an installation begin.
    #[must_use]
    pub fn prefix(installation: &InstallationId) -> String {
        format!("brepl-{installation}-")
    }

    /// Roles of all installations for a bucket end alike.
    fn hash(source: &OwnedBucket) -> String {
        let parts = [
            source.partition.as_str(),
            source.account.as_str(),
            source.name.as_str(),
        ];
        fingerprint(&parts, 8)
    }

    /// Whether it is the role of `source`, of whichever installation.
    #[must_use]
    pub fn is_for(&self, source: &OwnedBucket) -> bool {
        self.0.starts_with("brepl-") && self.0.ends_with(&format!("-{}", Self::hash(source)))
    }

    /// Whether it is the role of some source bucket of that installation.
    #[must_use]
    pub fn is_of(&self, installation: &InstallationId) -> bool {
        self.0.starts_with(&Self::prefix(installation))
    }
}

/// A bucket together with the account that must own it: every S3 call names both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedBucket {
    /// The partition of the account.
    pub partition: Partition,
    /// The account that must own the bucket.
    pub account: AccountId,
    /// The bucket.
    pub name: BucketName,
}

impl OwnedBucket {
    /// The bucket's ARN.
    #[must_use]
    pub fn arn(&self) -> BucketArn {
        BucketArn {
            partition: self.partition,
            name: self.name.clone(),
        }
    }

    /// The ARN pattern of the objects under `prefix`.
    #[must_use]
    pub fn objects(&self, prefix: &Prefix) -> String {
        format!("{}/{prefix}*", self.arn())
    }
}

impl fmt::Display for OwnedBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (account {})", self.name, self.account)
    }
}

/// The principal that means an account as a whole ("AWS account principals" in the IAM User Guide).
#[must_use]
pub fn account_root(partition: Partition, account: &AccountId) -> String {
    format!("arn:{partition}:iam::{account}:root")
}

/// The value of `kms:ViaService` when S3 uses a key in `region` (`kms:ViaService` in the KMS Developer Guide). In the partition aws-cn, AWS's pages
/// and public reports differ about the domain, so that there are two possible values.
#[must_use]
pub fn via_services(region: &Region) -> Vec<String> {
    let name = format!("s3.{region}.{DOMAIN}");
    if region.0.starts_with("cn-") {
        let in_china = format!("{name}.cn");
        vec![name, in_china]
    } else {
        vec![name]
    }
}

/// The principal of S3 itself, and the value of `iam:PassedToService`, in `partition`. The first is what a trust policy names; in aws-cn, a
/// condition has to expect the second too.
#[must_use]
pub fn s3_principals(partition: Partition) -> Vec<String> {
    let name = format!("s3.{DOMAIN}");
    match partition {
        Partition::AwsCn => vec![name.clone(), format!("{name}.cn")],
        Partition::Aws | Partition::AwsUsGov => vec![name],
    }
}

const DOMAIN: &str = "amazonaws.com";

/// The Kubernetes object that a resource in AWS belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The name, at most 63 characters.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = InvalidName> + fmt::Display>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(
                text.parse::<T>().map(|name| name.to_string()).as_deref(),
                Ok(*text)
            );
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn account_ids_have_twelve_digits() {
        check::<AccountId>(
            &["111111111111"],
            &["", "1111", "11111111111a", "1111111111111"],
        );
    }

    #[test]
    fn regions() {
        check::<Region>(
            &[
                "us-east-1",
                "ap-southeast-2",
                "us-gov-west-1",
                "us-iso-east-1",
            ],
            &["", "us", "us-east", "US-EAST-1", "us-east-1a", "moon-1"],
        );
    }

    #[test]
    fn bucket_names() {
        check::<BucketName>(
            &["abc", "my.bucket-1", "finance-records"],
            &[
                "ab",
                "Bucket",
                "a_b",
                "-abc",
                "abc-",
                "a..b",
                "192.168.0.1",
                "arn:aws:s3:::abc",
                "abc*",
                "x-s3alias",
                "b--x-s3",
            ],
        );
        assert!("a".repeat(64).parse::<BucketName>().is_err());
    }

    #[test]
    fn prefixes_hold_nothing_that_a_policy_reads_otherwise() {
        check::<Prefix>(
            &["", "Tax", "a/b c/é", "$home"],
            &["a*", "a?b", "${aws:username}", "a\nb", "a\0", "日本"],
        );
        assert!("x".repeat(1025).parse::<Prefix>().is_err());
    }

    #[test]
    fn installation_ids() {
        check::<InstallationId>(
            &["prod", "a", "0123456789abcdef"],
            &["", "Prod", "a-b", "0123456789abcdefg"],
        );
    }

    #[test]
    fn role_names_fit_and_differ_where_the_cut_makes_buckets_equal() {
        let role = |bucket: String| {
            let source = OwnedBucket {
                partition: Partition::Aws,
                account: AccountId("1".repeat(12)),
                name: bucket.parse().expect("a bucket"),
            };
            RoleName::of(&InstallationId("0123456789abcdef".into()), &source).0
        };
        let (a, b) = (role("x".repeat(62)), role("x".repeat(63)));
        assert_eq!(a.len(), 64);
        assert_ne!(a, b);
        assert_eq!(a[..a.len() - 8], b[..b.len() - 8]);
    }
}
