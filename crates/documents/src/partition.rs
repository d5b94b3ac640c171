//! The partitions of AWS.

use std::{fmt, str::FromStr};

use crate::names::InvalidName;

/// A group of Regions with accounts and names of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// The commercial Regions.
    #[default]
    Aws,
    /// The Regions in China.
    AwsCn,
    /// AWS `GovCloud` (US).
    AwsUsGov,
}

impl Partition {
    const ALL: [Self; 3] = [Self::Aws, Self::AwsCn, Self::AwsUsGov];

    /// The partition as in an ARN.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Partition {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match Self::ALL
            .into_iter()
            .find(|partition| partition.as_str() == text)
        {
            Some(partition) => Ok(partition),
            None => Err(InvalidName::new(format!(
                "\"{text}\" is not a partition: use aws, aws-cn or aws-us-gov"
            ))),
        }
    }
}
