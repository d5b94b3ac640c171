//! KMS keys: their ARNs, and how users name them.

use std::{fmt, str::FromStr};

use crate::names::{AccountId, InvalidName, Partition, Region};

/// The ARN of a KMS key, the only form that grants the key in an IAM policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyArn {
    /// The partition.
    pub partition: Partition,
    /// The Region that the key is in.
    pub region: Region,
    /// The account that owns the key.
    pub account: AccountId,
    id: String,
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "arn:{}:kms:{}:{}:key/{}",
            self.partition, self.region, self.account, self.id
        )
    }
}

impl FromStr for KeyArn {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.parse()? {
            KeyReference::Key(key) => Ok(key),
            _ => Err(InvalidName::new(format!(
                "\"{text}\" is not a KMS key ARN (arn:aws:kms:REGION:ACCOUNT:key/ID)"
            ))),
        }
    }
}

/// How a user names a KMS key: by key ARN, alias ARN, or `alias/NAME` in the account and Region of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyReference {
    /// A key ARN.
    Key(KeyArn),
    /// An alias ARN: account, Region and the name with its `alias/`.
    AliasArn {
        /// The partition.
        partition: Partition,
        /// The Region.
        region: Region,
        /// The account.
        account: AccountId,
        /// The name, beginning with `alias/`.
        alias: String,
    },
    /// `alias/NAME`, in the account and Region of the bucket that it is for.
    Alias(String),
}

impl KeyReference {
    /// This reference with the account and Region of the bucket that it is for.
    #[must_use]
    pub fn beside(self, partition: Partition, account: &AccountId, region: &Region) -> Self {
        match self {
            Self::Alias(alias) => Self::AliasArn {
                partition,
                region: region.clone(),
                account: account.clone(),
                alias,
            },
            named => named,
        }
    }

    /// The account that the reference names, if it does.
    #[must_use]
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Key(key) => Some(&key.account),
            Self::AliasArn { account, .. } => Some(account),
            Self::Alias(_) => None,
        }
    }

    /// The partition that the reference names, if it does.
    #[must_use]
    pub fn partition(&self) -> Option<Partition> {
        match self {
            Self::Key(key) => Some(key.partition),
            Self::AliasArn { partition, .. } => Some(*partition),
            Self::Alias(_) => None,
        }
    }

    /// The Region that the reference names, if it does.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        match self {
            Self::Key(key) => Some(&key.region),
            Self::AliasArn { region, .. } => Some(region),
            Self::Alias(_) => None,
        }
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::AliasArn {
                partition,
                region,
                account,
                alias,
            } => write!(f, "arn:{partition}:kms:{region}:{account}:{alias}"),
            Self::Alias(alias) => f.write_str(alias),
        }
    }
}

impl FromStr for KeyReference {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || {
            InvalidName::new(format!(
                "\"{text}\" is not a KMS key: use arn:aws:kms:REGION:ACCOUNT:key/ID, an alias ARN, or alias/NAME"
            ))
        };
        let alias = |name: &str| {
            let name = name.strip_prefix("alias/")?;
            let valid = (1..=250).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b));
            valid.then(|| format!("alias/{name}"))
        };
        if let Some(alias) = alias(text) {
            return Ok(Self::Alias(alias));
        }
        let parts: Vec<_> = text.split(':').collect();
        let ["arn", partition, "kms", region, account, resource] = parts[..] else {
            return Err(invalid());
        };
        let (partition, region, account) = (partition.parse()?, region.parse()?, account.parse()?);
        if let Some(alias) = alias(resource) {
            return Ok(Self::AliasArn {
                partition,
                region,
                account,
                alias,
            });
        }
        match resource.strip_prefix("key/") {
            Some(id)
                if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
            {
                Ok(Self::Key(KeyArn {
                    partition,
                    region,
                    account,
                    id: id.to_owned(),
                }))
            }
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let (good, bad) = (
            [
                "alias/tax",
                "arn:aws:kms:us-west-2:111111111111:alias/tax",
                "arn:aws-cn:kms:cn-north-1:111111111111:key/mrk-0a",
            ],
            [
                "",
                "tax",
                "alias/",
                "1234",
                "arn:aws:kms:us-west-2:1111:key/a",
                "arn:aws:s3:::a",
                "arn:aws:kms:us-west-2:111111111111:key/*",
            ],
        );
        for text in good {
            let read = text.parse::<KeyReference>().expect(text);
            assert_eq!(read.to_string(), text);
        }
        for text in bad {
            assert!(text.parse::<KeyReference>().is_err(), "{text} was taken");
        }
    }
}
