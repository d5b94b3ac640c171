//! How often the buckets of an account can be checked for drift with the calls that `spec.requestsPerSecond` allows.

use std::time::Duration;

use api::aws_account::RequestsPerSecond;

/// How many buckets need calls in the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Those whose source bucket is in it: a check asks IAM for the role and its policy, S3 for the configuration and the default encryption, and KMS
    /// for the policy of a key.
    pub sources: u32,
    /// Those whose destination bucket is in it: a check asks S3 for its policy and versioning, and KMS for the policy of the key.
    pub destinations: u32,
}

impl Checked {
    /// The shortest period in which all of them can be checked, in whole seconds; `None` if no limit is set. It is an upper bound: limits are for each
    /// Region, and source buckets that share a destination share its reads.
    #[must_use]
    pub fn shortest_period(self, limits: &RequestsPerSecond) -> Option<Duration> {
        let iam = 2 * self.sources;
        let s3 = 2 * self.sources + 2 * self.destinations;
        let kms = self.sources + self.destinations;
        let seconds = [(limits.iam, iam), (limits.s3, s3), (limits.kms, kms)]
            .into_iter()
            .filter_map(|(limit, calls)| Some(calls.div_ceil(limit?.max(1))));
        seconds
            .max()
            .map(|seconds| Duration::from_secs(u64::from(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_decides() {
        let many = Checked {
            sources: 3000,
            destinations: 100,
        };
        let limits = |iam, s3, kms| RequestsPerSecond { iam, s3, kms };
        let period = |limits: &RequestsPerSecond| many.shortest_period(limits).map(|p| p.as_secs());
        assert_eq!(period(&limits(None, None, None)), None);
        assert_eq!(period(&limits(Some(5), None, None)), Some(1200));
        assert_eq!(period(&limits(Some(5), Some(4), None)), Some(1550));
        assert_eq!(period(&limits(None, None, Some(1000))), Some(4));
        let none = Checked::default();
        assert_eq!(
            none.shortest_period(&limits(Some(1), None, None)),
            Some(Duration::ZERO)
        );
    }
}
