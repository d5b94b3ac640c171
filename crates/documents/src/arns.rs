//! ARNs of buckets, roles and managed policies: read and written here alone. Those of KMS keys are in `keys`.

use std::{fmt, str::FromStr};

use crate::names::{AccountId, BucketName, InvalidName, Partition, RoleName};

/// The ARN of a bucket, which names neither its account nor its Region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketArn {
    /// The partition.
    pub partition: Partition,
    /// The bucket.
    pub name: BucketName,
}

impl fmt::Display for BucketArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:{}:s3:::{}", self.partition, self.name)
    }
}

impl BucketArn {
    /// The bucket of an ARN or ARN pattern of objects, such as `arn:aws:s3:::BUCKET/PREFIX*`. The bucket's own ARN is one as well.
    ///
    /// # Errors
    /// When `text` is no such ARN.
    pub fn of_objects(text: &str) -> Result<Self, InvalidName> {
        text.split('/').next().unwrap_or(text).parse()
    }
}

impl FromStr for BucketArn {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let parts: Vec<_> = text.split(':').collect();
        let ["arn", partition, "s3", "", "", name] = parts[..] else {
            return Err(InvalidName::new(format!(
                "\"{text}\" is not the ARN of a bucket (arn:aws:s3:::BUCKET)"
            )));
        };
        Ok(Self {
            partition: partition.parse()?,
            name: name.parse()?,
        })
    }
}

/// The ARN of an IAM role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleArn {
    /// The partition.
    pub partition: Partition,
    /// The account.
    pub account: AccountId,
    /// The path, which begins and ends with a slash.
    pub path: String,
    /// The name.
    pub name: RoleName,
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (partition, account) = (self.partition, &self.account);
        write!(
            f,
            "arn:{partition}:iam::{account}:role{}{}",
            self.path, self.name
        )
    }
}

impl FromStr for RoleArn {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (partition, account, path, name) = of_account(text, "role")?;
        Ok(Self {
            partition,
            account,
            path,
            name: name.parse()?,
        })
    }
}

/// The ARN of a managed policy of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyArn {
    /// The partition.
    pub partition: Partition,
    /// The account.
    pub account: AccountId,
    /// The path, which begins and ends with a slash.
    pub path: String,
    /// The name, at most 128 characters.
    pub name: String,
}

impl fmt::Display for PolicyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (partition, account) = (self.partition, &self.account);
        write!(
            f,
            "arn:{partition}:iam::{account}:policy{}{}",
            self.path, self.name
        )
    }
}

impl FromStr for PolicyArn {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (partition, account, path, name) = of_account(text, "policy")?;
        if name.is_empty() || name.len() > 128 {
            return Err(not_of(text, "policy"));
        }
        Ok(Self {
            partition,
            account,
            path,
            name,
        })
    }
}

/// The ARN of a managed policy, which may be a permissions boundary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManagedPolicyArn {
    /// A policy of an account.
    OfAccount(PolicyArn),
    /// A policy of AWS itself, which every account can use: `arn:aws:iam::aws:policy/NAME`.
    OfAws {
        /// The partition.
        partition: Partition,
        /// The path and the name.
        name: String,
    },
}

impl fmt::Display for ManagedPolicyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfAccount(policy) => policy.fmt(f),
            Self::OfAws { partition, name } => write!(f, "arn:{partition}:iam::aws:policy{name}"),
        }
    }
}

impl FromStr for ManagedPolicyArn {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match iam_resource(text, "policy") {
            Some((partition, "aws", path, name)) if !name.is_empty() => Ok(Self::OfAws {
                partition: partition.parse()?,
                name: format!("{path}{name}"),
            }),
            _ => text.parse().map(Self::OfAccount),
        }
    }
}

/// The partition, account, path and name of an ARN of IAM ("Identify AWS resources with ARNs" in the IAM User Guide).
fn iam_resource<'a>(text: &'a str, kind: &str) -> Option<(&'a str, &'a str, &'a str, &'a str)> {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else {
        return None;
    };
    let below = resource.strip_prefix(kind)?;
    let (path, name) = below.split_at(below.rfind('/')? + 1);
    path.starts_with('/')
        .then_some((partition, account, path, name))
}

/// The same of a resource of an account.
fn of_account(
    text: &str,
    kind: &str,
) -> Result<(Partition, AccountId, String, String), InvalidName> {
    let (partition, account, path, name) =
        iam_resource(text, kind).ok_or_else(|| not_of(text, kind))?;
    Ok((
        partition.parse()?,
        account.parse()?,
        path.to_owned(),
        name.to_owned(),
    ))
}

fn not_of(text: &str, kind: &str) -> InvalidName {
    InvalidName::new(format!(
        "\"{text}\" is not the ARN of a {kind} (arn:aws:iam::ACCOUNT:{kind}/NAME)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = InvalidName> + fmt::Display>(good: &[&str], bad: &[&str]) {
        for text in good {
            let read = text.parse::<T>().map(|arn| arn.to_string());
            assert_eq!(read.as_deref(), Ok(*text));
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn arns_are_read_and_written_alike() {
        check::<BucketArn>(
            &["arn:aws:s3:::records", "arn:aws-us-gov:s3:::my.records"],
            &[
                "records",
                "arn:aws:s3:::records/*",
                "arn:aws:s3:::*",
                "arn:aws:s3:us-east-1:111111111111:accesspoint/a",
            ],
        );
        check::<RoleArn>(
            &[
                "arn:aws:iam::111111111111:role/replication",
                "arn:aws-cn:iam::111111111111:role/service-role/a/replication",
            ],
            &[
                "replication",
                "arn:aws:iam::111111111111:role",
                "arn:aws:iam::111111111111:roleplay/x",
                "arn:aws:iam::111111111111:role/",
                "arn:aws:iam::111111111111:user/replication",
                "arn:aws:iam::aws:role/replication",
                "arn:aws:sts::111111111111:assumed-role/replication/s3-replication",
            ],
        );
        check::<PolicyArn>(
            &["arn:aws:iam::111111111111:policy/a/boundary"],
            &[
                "boundary",
                "arn:aws:iam::aws:policy/ReadOnlyAccess",
                "arn:aws:iam::111111111111:policy/",
                "arn:aws:iam::111111111111:role/boundary",
            ],
        );
        check::<ManagedPolicyArn>(
            &[
                "arn:aws:iam::111111111111:policy/a/boundary",
                "arn:aws:iam::aws:policy/job-function/SupportUser",
            ],
            &["boundary", "arn:aws:iam::aws:policy/"],
        );
    }

    #[test]
    fn a_path_lies_between_the_kind_and_the_name() {
        let role: RoleArn = "arn:aws:iam::111111111111:role/a/b/c"
            .parse()
            .expect("an ARN");
        assert_eq!((role.path.as_str(), role.name.as_str()), ("/a/b/", "c"));
        let role: RoleArn = "arn:aws:iam::111111111111:role/c".parse().expect("an ARN");
        assert_eq!((role.path.as_str(), role.name.as_str()), ("/", "c"));
    }

    #[test]
    fn the_bucket_of_objects() {
        for text in [
            "arn:aws:s3:::records",
            "arn:aws:s3:::records/*",
            "arn:aws:s3:::records/a:b/c*",
        ] {
            let bucket = BucketArn::of_objects(text).map(|bucket| bucket.to_string());
            assert_eq!(bucket.as_deref(), Ok("arn:aws:s3:::records"), "{text}");
        }
    }
}
