//! The clients of one account, all under one session, and the turns of calls with them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{Region as SdkRegion, SdkConfig};

use super::{
    attempts::Attempts,
    pace::{PacedAccount, Quota},
};
use crate::replication::{
    accounts::{Account, AssumeRole},
    names::{Partition, Region},
    observed::Failure,
};

/// A session is renewed this long before it ends, so that no call outlives it.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// The clients of one account, all under one session.
#[derive(Debug)]
pub struct Session {
    pub(super) config: SdkConfig,
    attempts: Attempts,
    path_style: bool,
    role: Option<AssumeRole>,
    account: PacedAccount,
    expires: Option<SystemTime>,
    /// The caller's ARN, or what is known of it.
    pub caller: String,
    /// IAM has one endpoint for a partition.
    iam: aws_sdk_iam::Client,
    s3: Mutex<HashMap<Region, aws_sdk_s3::Client>>,
    kms: Mutex<HashMap<Region, aws_sdk_kms::Client>>,
    cloudwatch: Mutex<HashMap<Region, aws_sdk_cloudwatch::Client>>,
}

impl Session {
    pub(super) fn new(
        config: SdkConfig,
        attempts: Attempts,
        account: &Account,
        expires: Option<SystemTime>,
        caller: String,
    ) -> Self {
        let global = config
            .to_builder()
            .region(SdkRegion::new(global_region(account.partition).to_string()))
            .build();
        let paced = PacedAccount::from(account);
        let path_style =
            config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL").is_some();
        Self {
            iam: aws_sdk_iam::Client::from_conf(
                aws_sdk_iam::config::Builder::from(&global)
                    .interceptor(attempts.paced(&paced, &global_region(account.partition)))
                    .build(),
            ),
            config,
            attempts,
            path_style,
            role: account.assume_role.clone(),
            account: paced,
            expires,
            caller,
            s3: Mutex::default(),
            kms: Mutex::default(),
            cloudwatch: Mutex::default(),
        }
    }

    /// Whether it is for what the account says now, and does not end soon.
    pub(super) fn is_usable(&self, account: &Account) -> bool {
        let ends_soon = self
            .expires
            .is_some_and(|expires| expires < SystemTime::now() + RENEW_BEFORE);
        self.role == account.assume_role && !ends_soon && !self.attempts.have_ended()
    }

    fn at(&self, region: &Region) -> SdkConfig {
        self.config
            .to_builder()
            .region(SdkRegion::new(region.to_string()))
            .build()
    }

    /// The IAM client.
    #[must_use]
    pub fn iam(&self) -> aws_sdk_iam::Client {
        self.iam.clone()
    }

    /// The S3 client of a Region.
    #[must_use]
    pub fn s3(&self, region: &Region) -> aws_sdk_s3::Client {
        self.of_region(&self.s3, region, |config, attempts| {
            // Emulators serve all buckets on one host name.
            let config =
                aws_sdk_s3::config::Builder::from(config).force_path_style(self.path_style);
            aws_sdk_s3::Client::from_conf(config.interceptor(attempts).build())
        })
    }

    /// The KMS client of a Region.
    #[must_use]
    pub fn kms(&self, region: &Region) -> aws_sdk_kms::Client {
        self.of_region(&self.kms, region, |config, attempts| {
            let config = aws_sdk_kms::config::Builder::from(config).interceptor(attempts);
            aws_sdk_kms::Client::from_conf(config.build())
        })
    }

    /// The CloudWatch client of a Region.
    #[must_use]
    pub fn cloudwatch(&self, region: &Region) -> aws_sdk_cloudwatch::Client {
        self.of_region(&self.cloudwatch, region, |config, attempts| {
            let config = aws_sdk_cloudwatch::config::Builder::from(config).interceptor(attempts);
            aws_sdk_cloudwatch::Client::from_conf(config.build())
        })
    }

    /// A Region's client of one service, made once.
    fn of_region<C: Clone>(
        &self,
        clients: &Mutex<HashMap<Region, C>>,
        region: &Region,
        make: impl FnOnce(&SdkConfig, Attempts) -> C,
    ) -> C {
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let attempts = self.attempts.paced(&self.account, region);
            make(&self.at(region), attempts)
        };
        clients.entry(region.clone()).or_insert_with(make).clone()
    }
}

/// The clients of an account for a visit: each read waits for its turn. A write takes its turn and is made at once, since what it rests on was read
/// right before, and the lease allows it only now; later calls wait the longer.
#[derive(Debug)]
pub(super) struct Turns {
    session: Arc<Session>,
    account: PacedAccount,
    waits: bool,
}

impl Turns {
    /// For reads in `account`.
    pub fn new(session: Arc<Session>, account: &Account) -> Self {
        Self {
            session,
            account: account.into(),
            waits: true,
        }
    }

    /// The same for writes.
    pub fn for_writes(self) -> Self {
        Self {
            waits: false,
            ..self
        }
    }

    /// The caller's ARN, or what is known of it.
    pub fn caller(&self) -> &str {
        &self.session.caller
    }

    async fn turn(&self, quota: Quota, region: &Region) -> Result<(), Failure> {
        let paced = self.session.attempts.pace(&self.account, quota, region);
        let bound = self.account.bound(quota);
        if self.waits {
            paced.turn(bound).await
        } else {
            paced.take(bound).map(drop)
        }
    }

    /// The IAM client, when it is a call's turn.
    pub async fn iam(&self) -> Result<aws_sdk_iam::Client, Failure> {
        let region = global_region(self.account.partition);
        self.turn(Quota::Iam, &region).await?;
        Ok(self.session.iam())
    }

    /// The S3 client of a Region, when it is a call's turn.
    pub async fn s3(&self, region: &Region) -> Result<aws_sdk_s3::Client, Failure> {
        self.turn(Quota::S3, region).await?;
        Ok(self.session.s3(region))
    }

    /// The KMS client of a Region, when it is a call's turn.
    pub async fn kms(&self, region: &Region) -> Result<aws_sdk_kms::Client, Failure> {
        self.turn(Quota::Kms, region).await?;
        Ok(self.session.kms(region))
    }

    /// The CloudWatch client of a Region, when it is a call's turn.
    pub async fn cloudwatch(&self, region: &Region) -> Result<aws_sdk_cloudwatch::Client, Failure> {
        self.turn(Quota::CloudWatch, region).await?;
        Ok(self.session.cloudwatch(region))
    }

    /// Waits for the turn of a write of a key policy, before what it rests on is read.
    pub async fn to_put_key_policy(&self, region: &Region) -> Result<(), Failure> {
        self.turn(Quota::PutKeyPolicy, region).await
    }
}

/// The Region for which calls to the global services of a partition are signed.
pub(super) fn global_region(partition: Partition) -> Region {
    let name = match partition {
        Partition::Aws => "us-east-1",
        Partition::AwsCn => "cn-north-1",
        Partition::AwsUsGov => "us-gov-west-1",
    };
    match name.parse() {
        Ok(region) => region,
        Err(_) => unreachable!("the names above are Regions"),
    }
}
