//! End to end: the operator's own binary under the chart's `ServiceAccount` and RBAC, the real API server, and AWS on the wire. Every test has AWS
//! accounts, buckets and a namespace of its own, and they run side by side.
#![allow(missing_docs, reason = "the names of the tests are sentences")]

mod attacks;
#[path = "../bad_input/mod.rs"]
mod bad_input;
mod bootstrap;
#[path = "../budgets/mod.rs"]
mod budgets;
mod canary;
mod chart;
mod crash;
#[path = "../oracle_process/decisions.rs"]
#[allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
mod decisions;
mod door;
mod drift;
mod external;
mod failover;
mod front;
mod health;
mod leader;
mod life;
#[path = "../oracle_process/mod.rs"]
#[allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
mod oracle_process;
mod preflight;
mod privileges;
mod samples;
mod shared;
mod status;
mod tenancy;
mod tls;
mod traces;
mod whole;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use libtest_mimic::{Arguments, Trial};
use testbed::{
    cloud::{Account, OPERATOR_ACCOUNT, Operator},
    environment::{Emulator, Environment, IMAGE, Shape},
    process::repository,
    stage::{Place, Setting, Stage, until},
};

/// Times that fit a test.
const SHORT: [(&str, &str); 6] = [
    ("DRIFT_PERIOD", "3s"),
    ("DRIFT_GRACE", "500ms"),
    ("SETTLE_DELAY", "0s"),
    ("DRAIN_PERIOD", "0s"),
    ("LONGEST_RETRY", "3s"),
    ("PREFLIGHT_PERIOD", "3s"),
];

/// What all tests share.
struct Ground {
    environment: Environment,
    operator: Operator,
    kubeconfig: std::path::PathBuf,
    chart: Vec<(String, String)>,
}

impl Ground {
    async fn make() -> anyhow::Result<Self> {
        let directory = repository().join("target/e2e");
        let environment = Environment::start(
            &directory,
            Shape {
                enforce: true,
                node: false,
                aws: None,
            },
            &|_| {},
        )
        .await?;
        environment.apply_crds().await?;
        // Where the controller is to refuse by itself, the API server has to let pass.
        let outside = "admission.namespaceSelector.matchExpressions[0].key=door-is-open";
        let operator = "admission.namespaceSelector.matchExpressions[0].operator=DoesNotExist";
        environment
            .install_chart(
                "bucket-replication",
                false,
                &[IMAGE, "crds.install=false", outside, operator],
            )
            .await?;
        wait_for_admission(&environment).await?;
        let kubeconfig = environment
            .service_account("bucket-replication", "bucket-replication-operator")
            .await?;
        let chart = environment.chart_environment("bucket-replication").await?;
        let operator = Account::new(
            OPERATOR_ACCOUNT,
            &format!("http://{}", environment.emulator),
        )
        .make_operator()
        .await?;
        Ok(Self {
            environment,
            operator,
            kubeconfig,
            chart,
        })
    }

    /// A stage whose operator looks for drift every three seconds.
    async fn stage(&self, name: &str) -> anyhow::Result<Stage<'_>> {
        self.stage_with(name, &SHORT).await
    }

    async fn stage_with(&self, name: &str, flags: &[(&str, &str)]) -> anyhow::Result<Stage<'_>> {
        self.make_stage(name, flags, true).await
    }

    /// A stage whose operator watches all namespaces, so that it can't run beside others.
    async fn stage_of_everything(
        &self,
        name: &str,
        flags: &[(&str, &str)],
    ) -> anyhow::Result<Stage<'_>> {
        self.make_stage(name, flags, false).await
    }

    async fn make_stage(
        &self,
        name: &str,
        flags: &[(&str, &str)],
        namespaced: bool,
    ) -> anyhow::Result<Stage<'_>> {
        Stage::set(&self.environment, name, self.setting(flags, namespaced)).await
    }

    /// A stage with these accounts and buckets, and nothing in Kubernetes yet.
    async fn stage_at(&self, name: &str, place: Place) -> anyhow::Result<Stage<'_>> {
        Stage::make(&self.environment, name, place, self.setting(&SHORT, true)).await
    }

    fn setting(&self, flags: &[(&str, &str)], namespaced: bool) -> Setting {
        // All stages share one release, and so one lease.
        let alone = [
            ("LEADER_ELECTION", "false"),
            ("RUST_LOG", "info,bucket_replication_operator=debug"),
        ];
        let own = alone.iter().chain(flags);
        let own = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Setting {
            binary: Path::new(env!("CARGO_BIN_EXE_bucket-replication-operator")).to_owned(),
            kubeconfig: self.kubeconfig.clone(),
            identity: self.operator.clone(),
            namespaced,
            environment: self.chart.iter().cloned().chain(own).collect(),
        }
    }
}

/// An API server enforces new admission policies after a second or two. Without any `AWSAccount`, they let nothing pass.
async fn wait_for_admission(environment: &Environment) -> anyhow::Result<()> {
    let object = serde_json::json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication", "metadata": {"name": "nobody", "namespace": "default"},
        "spec": {"source": {"accountName": "nobody", "bucket": "source"}, "destination": {"accountName": "nobody", "bucket": "destination"}},
    });
    let file = environment.directory.join("nobody.json");
    std::fs::write(&file, object.to_string())?;
    let create =
        ["create", "--dry-run=server", "-f", &file.to_string_lossy()].map(ToOwned::to_owned);
    let words: Vec<_> = create.iter().map(String::as_str).collect();
    let refused = until(Duration::from_secs(30), async || {
        Ok(environment.kubectl(&words).await.is_err().then_some(()))
    })
    .await?;
    refused.context("the admission policies are not enforced")
}

type Test = fn(&'static Runtime) -> anyhow::Result<()>;

/// The one environment and the threads that its tests run on.
struct Runtime {
    ground: Ground,
    tokio: tokio::runtime::Runtime,
}

/// Makes a test of an async function that gets the shared ground.
macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), (|runtime| runtime.tokio.block_on($module::$name(&runtime.ground))) as Test)),*]
    };
}

const TESTS: &[(&str, Test)] = tests![
    privileges::every_action_of_the_printed_policy_is_needed_first_third,
    privileges::every_action_of_the_printed_policy_is_needed_second_third,
    privileges::every_action_of_the_printed_policy_is_needed_last_third,
    life::the_walkthrough_across_two_accounts,
    life::within_one_account_without_kms,
    life::a_new_generation_is_reported_as_in_progress_from_its_first_visit,
    life::keys_of_a_third_account_and_by_alias,
    life::an_edit_leaves_nothing_of_the_old_even_with_crashes,
    crash::a_kill_before_or_after_any_write_changes_nothing_in_the_end,
    life::reapplying_restarting_and_reordering_write_nothing,
    life::every_call_is_printed_by_iam_policy_and_carries_owner_and_external_id,
    life::a_deletion_waits_for_an_account_that_can_be_used_again,
    life::what_is_left_with_an_account_that_is_gone_is_reported,
    life::a_deletion_that_aws_refuses_says_so_and_can_be_abandoned,
    life::a_namespace_with_live_objects_goes_by_itself,
    life::plan_tells_what_would_change,
    life::kubectl_completes_the_plugin,
    life::plan_of_a_folder_is_one_plan_for_each_bucket,
    status::status_shows_what_is_and_what_to_do,
    life::what_is_seldom_needed_works_under_the_printed_policy,
    life::what_stands_is_exactly_what_plan_offline_prints,
    shared::fifty_objects_in_ten_namespaces_are_one_configuration,
    shared::fifty_source_buckets_share_one_destination_and_one_key,
    shared::a_foreign_rule_that_comes_while_permissions_settle_survives,
    shared::a_configuration_of_somebody_else_is_merged_with_and_left_as_it_was,
    shared::a_foreign_rule_stays_and_what_can_t_be_kept_forbids_every_write,
    external::nothing_is_called_in_an_external_account_and_its_owner_is_told_what_to_apply,
    leader::one_of_two_writes_and_the_other_takes_over,
    leader::an_api_server_that_is_silent_for_a_minute_stops_nobody,
    leader::an_api_server_in_trouble_stops_nobody_for_long,
    failover::one_that_is_told_to_end_only_waits_for_its_write,
    failover::one_that_sleeps_amid_an_edit_changes_nothing_when_it_wakes,
    leader::one_that_is_told_to_end_does_not_wait_for_permissions_to_settle,
    preflight::what_s3_lets_pass_is_told_and_can_be_mended,
    preflight::an_object_that_can_t_succeed_costs_few_calls,
    attacks::a_bucket_that_somebody_else_owns_under_a_granted_name_is_not_written,
    attacks::an_alias_of_a_key_that_is_not_granted_opens_nothing,
    attacks::annotations_labels_and_a_forged_status_are_no_input,
    attacks::an_object_that_comes_back_different_leaves_nothing_of_the_first,
    attacks::odd_prefixes_arrive_as_they_are_or_are_refused,
    samples::every_sample_becomes_ready,
    bootstrap::a_template_makes_the_role_that_the_operator_works_under,
    chart::the_rendered_chart_is_taken_where_restricted_is_enforced,
    chart::the_values_of_each_platform_are_taken,
    chart::an_install_for_some_namespaces_reads_nothing_of_the_others,
    drift::what_somebody_removes_is_put_back_with_one_event_each,
    drift::drift_checks_read_only,
    canary::an_object_says_that_s3_replicates_and_what_is_missing_if_not,
    health::an_object_says_what_s3_reports_of_its_own_replication,
    canary::canaries_are_refused_at_the_door_without_a_grant_or_with_bad_periods,
    door::the_api_server_refuses_what_it_can_see,
    door::a_finalizer_that_is_refused_concerns_its_object_alone,
    door::the_controller_refuses_the_rest_and_writes_nothing,
    traces::a_visit_and_each_call_in_it_are_spans,
    tls::a_private_authority_is_trusted_where_it_is_named_and_not_otherwise,
    tls::aws_is_called_by_the_proxy_and_the_api_server_is_not,
    tenancy::the_door_and_the_controller_agree_on_random_grants,
    tenancy::a_thousand_objects_with_one_bad_attribute_each_are_refused,
    tenancy::a_narrowed_grant_stops_its_object_and_everything_can_go,
    tenancy::a_relabelled_namespace_loses_what_its_labels_gave,
    tenancy::an_account_in_use_is_not_deleted,
    tenancy::a_tenant_asks_the_api_server_by_a_dry_run,
];

/// `CloudFormation` is in ministack alone.
const NEEDS_CLOUDFORMATION: &str =
    "bootstrap::a_template_makes_the_role_that_the_operator_works_under";

/// What comes after all others, one after the other.
const LAST: &[(&str, Test)] = tests![
    whole::an_account_tells_who_uses_it_and_which_roles_nobody_does,
    whole::an_independent_evaluator_agrees_with_every_decision,
    privileges::the_cluster_role_allows_what_the_suite_asked_for_and_no_more,
    privileges::iam_policy_allows_what_the_suite_called_and_no_more,
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let wanted = |name: &str| {
        arguments
            .filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    };
    let all = || TESTS.iter().chain(LAST);
    if arguments.list || !all().any(|(name, _)| wanted(name)) {
        let trials = all()
            .map(|(name, _)| Trial::test(*name, || Ok(())))
            .collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from);
    let made = made.and_then(|tokio| {
        Ok(Runtime {
            ground: tokio.block_on(Ground::make())?,
            tokio,
        })
    });
    // A failure to make the ground fails every test, with the reason.
    let made: Arc<Result<&'static Runtime, String>> = Arc::new(match made {
        Ok(runtime) => Ok(Box::leak(Box::new(runtime))),
        Err(error) => Err(format!("{error:#}")),
    });
    let trial = |(name, test): &(&'static str, Test)| {
        let (made, test) = (Arc::clone(&made), *test);
        let trial = Trial::test(*name, move || match made.as_ref() {
            Ok(runtime) => test(runtime).map_err(|error| format!("{error:#}").into()),
            Err(error) => Err(error.into()),
        });
        trial.with_ignored_flag(
            Emulator::chosen() == Emulator::Strict && *name == NEEDS_CLOUDFORMATION,
        )
    };
    let arguments = Arguments {
        test_threads: arguments.test_threads.or(Some(6)),
        ..arguments
    };
    let conclusion = libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect());
    let after = Arguments {
        test_threads: Some(1),
        ..arguments
    };
    let last = libtest_mimic::run(&after, LAST.iter().map(trial).collect());
    if let Ok(runtime) = made.as_ref() {
        runtime.ground.environment.end();
    }
    if conclusion.has_failed() || last.has_failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
