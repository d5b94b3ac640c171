//! Clients of the AWS SDK for each account and Region, on one HTTP client, with one cached session for each account.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{
    BehaviorVersion, Region as SdkRegion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::time::Instant;

use super::{
    attempts::Attempts,
    calls::action,
    editor::Editors,
    error::Call,
    session::{Session, Turns, global_region},
    shared_reads::SharedReads,
};
use crate::{
    leader::Leadership,
    metrics::Metrics,
    replication::{
        accounts::{Account, Accounts, AssumeRole},
        arns::RoleArn,
        names::{AccountId, InstallationId, Region},
        observed::{Failure, FailureKind},
        shared_policy::SourceRole,
        uses::Moment,
    },
};

/// An attempt that takes longer is cancelled; AWS answers such calls in well under a second.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// With its retries, a call takes no longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A session that was not begun because STS did not answer is asked for again after so long.
const ASKED_AGAIN: Duration = Duration::from_secs(15);
/// Role chaining allows an hour at most ("IAM roles" in the IAM User Guide).
const SESSION_SECONDS: i32 = 3600;

/// Access to all accounts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Aws {
    config: SdkConfig,
    pub(super) installation: InstallationId,
    attempts: Attempts,
    pub(super) reads: SharedReads,
    sessions: Arc<Mutex<HashMap<AccountId, Attempt>>>,
}

type Attempt = Arc<tokio::sync::Mutex<Begun>>;

/// The last attempt to begin a session in an account.
#[derive(Debug, Default)]
enum Begun {
    #[default]
    Never,
    Session(Arc<Session>),
    /// When it failed, for which role, and how.
    Failed(Instant, Option<AssumeRole>, Failure),
}

/// Whether an STS that did not answer is not asked yet: each attempt would hold up a visit for as long as a call may take.
fn is_unanswered(failure: &Failure, at: Instant) -> bool {
    failure.kind == FailureKind::Transient && at.elapsed() < ASKED_AGAIN
}

/// One pool of connections, by the proxy of the environment.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::Ring));
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    })
}

impl Aws {
    /// Reads endpoint, Region and credentials from the environment, as every AWS SDK does, and the proxy, as curl does (`HTTPS_PROXY`, `NO_PROXY`).
    pub async fn from_environment(installation: InstallationId, metrics: Metrics) -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .timeout_config(timeouts())
            .retry_config(RetryConfig::standard())
            .load()
            .await;
        Self::new(config, installation, metrics)
    }

    /// Under the identity of `config`, with its HTTP client.
    #[must_use]
    pub fn new(config: SdkConfig, installation: InstallationId, metrics: Metrics) -> Self {
        Self {
            config,
            installation,
            attempts: Attempts::new(metrics),
            reads: SharedReads::default(),
            sessions: Arc::default(),
        }
    }

    /// The same, with answers that visits to several source buckets need shared for `valid`.
    #[must_use]
    pub fn sharing_reads(self, valid: Duration) -> Self {
        Self {
            reads: SharedReads::new(valid),
            ..self
        }
    }

    /// The client of the account's Region: STS refuses one that is not enabled in the account (`RegionDisabledException`).
    fn sts(&self, config: &SdkConfig, account: &Account) -> aws_sdk_sts::Client {
        let region = SdkRegion::new(self.home(account).to_string());
        aws_sdk_sts::Client::from_conf(
            aws_sdk_sts::config::Builder::from(config)
                .region(region)
                .interceptor(self.attempts.clone())
                .build(),
        )
    }

    /// The Region of calls for `account` that no bucket or key decides: its own, or that of the environment.
    #[must_use]
    pub fn home(&self, account: &Account) -> Region {
        if let Some(region) = &account.region {
            return region.clone();
        }
        let configured = self
            .config
            .region()
            .and_then(|region| region.as_ref().parse().ok());
        configured.unwrap_or_else(|| global_region(account.partition))
    }

    /// The session of `account`; a new one if there is none or it ends soon. Those who wait for the same attempt share its outcome, so that an STS
    /// that does not answer delays each of them by one attempt.
    ///
    /// # Errors
    /// When the account's role can't be assumed.
    pub async fn session(&self, account: &Account) -> Result<Arc<Session>, Failure> {
        let asked = Instant::now();
        let attempt = Arc::clone(
            self.sessions
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(account.id.clone())
                .or_default(),
        );
        let mut last = attempt.lock().await;
        match &*last {
            Begun::Session(session) if session.is_usable(account) => {
                return Ok(Arc::clone(session));
            }
            Begun::Failed(at, role, failure)
                if (*at > asked || is_unanswered(failure, *at)) && *role == account.assume_role =>
            {
                return Err(failure.clone());
            }
            Begun::Session(_) | Begun::Failed(..) | Begun::Never => {}
        }
        let begun = self.begin(account).await.map(Arc::new);
        *last = match &begun {
            Ok(session) => Begun::Session(Arc::clone(session)),
            Err(failure) => {
                let role = account.assume_role.clone();
                Begun::Failed(Instant::now(), role, failure.clone())
            }
        };
        begun
    }

    /// Forgets sessions and paces of all accounts but those that `exists` knows.
    pub fn keep_only(&self, exists: &dyn Fn(&AccountId) -> bool) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|id, _| exists(id));
        drop(sessions);
        self.attempts.keep_only(exists);
    }

    async fn begin(&self, account: &Account) -> Result<Session, Failure> {
        let Some(assumed) = &account.assume_role else {
            return Ok(Session::new(
                self.config.clone(),
                self.attempts.of_new_session(),
                account,
                None,
                "the operator's own identity".into(),
            ));
        };
        let arn = assumed.role.to_string();
        let call = Call {
            action: action::ASSUME_ROLE,
            on: format!("role {arn}"),
            caller: "the operator's own identity",
        };
        let answer = self
            .sts(&self.config, account)
            .assume_role()
            .role_arn(&arn)
            .external_id(&assumed.external_id)
            .role_session_name(format!("brepl-{}", self.installation))
            .duration_seconds(SESSION_SECONDS)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let Some(given) = answer.credentials() else {
            let message = format!("{} on role {arn} got no credentials", action::ASSUME_ROLE);
            return Err(Failure {
                kind: FailureKind::Transient,
                action: action::ASSUME_ROLE.into(),
                message,
            });
        };
        let expires = SystemTime::try_from(*given.expiration()).ok();
        let credentials = Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().into()),
            None,
            "AssumeRole",
        );
        let config = self
            .config
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        Ok(Session::new(
            config,
            self.attempts.of_new_session(),
            account,
            expires,
            arn,
        ))
    }

    /// The existing roles of `installation` in `account` under `path`.
    ///
    /// # Errors
    /// When AWS does not list them.
    pub async fn roles(
        &self,
        account: &Account,
        path: &str,
        installation: &InstallationId,
    ) -> Result<Vec<RoleArn>, Failure> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::LIST_ROLES,
            on: format!("account {}", account.id),
            caller: &session.caller,
        };
        let mut pages = session
            .iam()
            .list_roles()
            .path_prefix(path)
            .max_items(1000)
            .into_paginator()
            .send();
        let mut found = vec![];
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(&error))?;
            let ours = page
                .roles()
                .iter()
                .filter_map(|role| role.arn().parse::<RoleArn>().ok());
            found.extend(ours.filter(|role| role.name.is_of(installation)));
        }
        Ok(found)
    }

    /// The operator's identity in `account`: its ARN and account ID.
    ///
    /// # Errors
    /// When the account can't be reached.
    pub async fn identity(&self, account: &Account) -> Result<(String, String), Failure> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::GET_CALLER_IDENTITY,
            on: format!("account {}", account.id),
            caller: &session.caller,
        };
        let answer = self
            .sts(&session.config, account)
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok((
            answer.arn().unwrap_or_default().to_owned(),
            answer.account().unwrap_or_default().to_owned(),
        ))
    }
}

/// How long attempts and calls take at most.
#[must_use]
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build()
}

/// Gives the accounts as they are now. Cheap to clone.
#[derive(Clone)]
pub struct LatestAccounts(Arc<dyn Fn() -> Arc<Accounts> + Send + Sync>);

impl LatestAccounts {
    /// By `now`.
    #[must_use]
    pub fn by(now: impl Fn() -> Arc<Accounts> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Those of this moment.
    #[must_use]
    pub fn now(&self) -> Arc<Accounts> {
        (self.0)()
    }
}

impl fmt::Debug for LatestAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestAccounts").finish_non_exhaustive()
    }
}

/// AWS with the accounts of one moment: the [`super::Cloud`] of a visit.
#[derive(Clone, Debug)]
pub struct AwsCloud {
    /// Access to the accounts.
    pub aws: Aws,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// The accounts as they are when something is written: an edit may wait for others.
    pub latest: LatestAccounts,
    /// The role of the source bucket that is visited.
    pub role: SourceRole,
    /// When the visit began.
    pub since: Moment,
    /// The editors of policies that several source buckets share.
    pub editors: Editors,
    /// Whether this replica may write.
    pub leadership: Leadership,
}

impl AwsCloud {
    /// The session of the account with that ID.
    ///
    /// # Errors
    /// When no `AWSAccount` names it, or its role can't be assumed.
    pub(super) async fn session(&self, account: &AccountId) -> Result<Turns, Failure> {
        let account = self.account(account)?;
        let session = self.aws.session(account).await?;
        Ok(Turns::new(session, account))
    }

    /// Whether an `AWSAccount` says how the account with that ID is reached.
    #[must_use]
    pub fn reaches(&self, account: &AccountId) -> bool {
        self.accounts.managed(account).is_some()
    }

    /// The account with that ID.
    ///
    /// # Errors
    /// When no `AWSAccount` names it.
    pub(super) fn account(&self, account: &AccountId) -> Result<&Account, Failure> {
        self.accounts.managed(account).ok_or_else(|| Failure {
            kind: FailureKind::Invalid,
            action: action::ASSUME_ROLE.into(),
            message: format!(
                "account {account} has no AWSAccount with access: Managed: ask the platform team for it"
            ),
        })
    }
}
