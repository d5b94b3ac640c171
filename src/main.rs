//! Arguments in, exit code out: the only place that prints and exits.

use std::{
    ffi::OsStr,
    io::{ErrorKind, IsTerminal, Write, stderr, stdout},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use bucket_replication_operator::{
    api_server,
    cloud::aws::Aws,
    commands,
    config::{Arguments, Command, Settings},
    controller,
    leader::{Candidate, Leadership},
    metrics::Metrics,
    replication::names::{InstallationId, fingerprint},
    server::{self, Readiness},
    telemetry::Telemetry,
};
use clap::{CommandFactory, FromArgMatches};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

fn main() -> ExitCode {
    match commands::completion::candidates() {
        None => command(),
        Some(Ok(candidates)) => written(&candidates, ExitCode::SUCCESS),
        Some(Err(error)) => {
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main]
async fn command() -> ExitCode {
    let arguments = match parsed() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // 1 is "there are changes", as with `kubectl diff`.
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match Box::pin(outcome(arguments.command)).await {
        Ok((text, code)) => written(&text, code),
        Err(error) => {
            let _ = writeln!(stderr(), "error: {}", commands::said::said(&error));
            ExitCode::from(2)
        }
    }
}

/// Writes to standard output. A text that can't be written is an error.
fn written(text: &str, code: ExitCode) -> ExitCode {
    match stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        // A reader that closed the pipe has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "error: standard output can't be written: {error}");
            ExitCode::from(2)
        }
    }
}

/// The arguments. As a plugin of kubectl, the command is called as it is typed.
fn parsed() -> Result<Arguments, clap::Error> {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program).file_name().and_then(OsStr::to_str);
    let command = match name.and_then(|name| name.strip_prefix("kubectl-")) {
        Some(plugin) => Arguments::command().bin_name(format!("kubectl {plugin}")),
        None => Arguments::command(),
    };
    Arguments::from_arg_matches(&command.try_get_matches()?)
}

/// What a command prints, and its exit code.
async fn outcome(command: Command) -> anyhow::Result<(String, ExitCode)> {
    let one_if = |condition| {
        if condition {
            ExitCode::from(1)
        } else {
            ExitCode::SUCCESS
        }
    };
    match command {
        Command::Run(settings) => {
            run(&settings).await?;
            Ok((String::new(), ExitCode::SUCCESS))
        }
        Command::Completion(arguments) => {
            let script = commands::completion::script(arguments.shell)?;
            Ok((script, ExitCode::SUCCESS))
        }
        Command::Crd => Ok((commands::crd::run()?, ExitCode::SUCCESS)),
        Command::IamPolicy(arguments) => {
            let text = commands::iam_policy::run(&arguments).await?;
            Ok((text, ExitCode::SUCCESS))
        }
        Command::Check(arguments) => {
            let found = commands::check::run(&arguments).await?;
            Ok((found.text, one_if(!found.well)))
        }
        Command::Status(arguments) => {
            let colored = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            if arguments.watch {
                let show = |text: &str| stdout().write_all(text.as_bytes());
                let ended = commands::status::watch(&arguments, colored, show).await;
                return if ended.as_ref().is_err_and(is_closed_pipe) {
                    Ok((String::new(), ExitCode::SUCCESS))
                } else {
                    ended.map(|()| (String::new(), ExitCode::SUCCESS))
                };
            }
            let found = commands::status::run(&arguments, colored).await?;
            for warning in &found.warnings {
                let _ = writeln!(stderr(), "{warning}");
            }
            Ok((found.text, one_if(!found.ready)))
        }
        Command::Plan(arguments) => {
            let printed = Box::pin(commands::plan::run(&arguments)).await?;
            for warning in &printed.warnings {
                let _ = writeln!(stderr(), "warning: {warning}");
            }
            for error in &printed.errors {
                let _ = writeln!(stderr(), "error: {error}");
            }
            if printed.errors.is_empty() {
                Ok((printed.text, one_if(printed.changes)))
            } else {
                Ok((printed.text, ExitCode::from(2)))
            }
        }
    }
}

/// Whether a reader of the output has read enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

async fn run(settings: &Settings) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(settings)?;
    let worked = Box::pin(work(settings)).await;
    telemetry.end();
    worked
}

async fn work(settings: &Settings) -> anyhow::Result<()> {
    let (metrics, ready) = (Metrics::default(), Readiness::default());
    let client = api_server::client(&metrics).await?;
    let watch_client = api_server::watch_client(&metrics).await?;
    let installation = installation(&client, settings).await?;
    tracing::info!(%installation, version = env!("CARGO_PKG_VERSION"), "starting");
    let aws = Aws::from_environment(installation.clone(), metrics.clone()).await;
    let (stop, stopped) = watch::channel(false);
    let stopping = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let served = tokio::spawn(server::serve(
        settings.listen_address,
        metrics.clone(),
        ready.clone(),
        stopping(stopped.clone()),
    ));
    let synced = || {
        ready.set();
        tracing::info!("every watch is synced");
    };
    let candidate = settings
        .leader_election
        .then(|| Candidate::of(client.clone(), settings));
    let stopping = || stopping(stopped.clone());
    let work = async |leadership| {
        let _writing = metrics.writing();
        let (client, watch_client, aws) = (client.clone(), watch_client.clone(), aws.clone());
        controller::run(
            client,
            watch_client,
            aws,
            installation.clone(),
            settings,
            metrics.clone(),
            leadership,
            synced,
            stopping(),
        )
        .await
    };
    let mut work = std::pin::pin!(async {
        match candidate {
            None => work(Leadership::alone()).await,
            Some(candidate) => {
                // A replica that waits for the lease is ready.
                ready.set();
                candidate.lead(work, stopping).await
            }
        }
    });
    tokio::select! {
        ended = &mut work => return ended,
        ended = served => return Err(not_served(ended, settings)),
        signaled = signaled() => signaled?,
    }
    tracing::info!("stopping: running visits finish");
    let _ = stop.send(true);
    work.await
}

/// Why `/metrics` is no longer served.
fn not_served(
    ended: Result<std::io::Result<()>, tokio::task::JoinError>,
    settings: &Settings,
) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => anyhow::Error::new(error)
            .context(format!("{} can't be served", settings.listen_address)),
        Ok(Ok(())) | Err(_) => anyhow::anyhow!("the server of /metrics ended"),
    }
}

/// Until the process is asked to end.
async fn signaled() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn installation(client: &Client, settings: &Settings) -> anyhow::Result<InstallationId> {
    match settings.installation_id.clone() {
        Some(installation) => Ok(installation),
        None => default_installation(client, settings).await,
    }
}

/// The identity of the cluster and of the release in it, so that two releases never share an ID.
async fn default_installation(
    client: &Client,
    settings: &Settings,
) -> anyhow::Result<InstallationId> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = namespaces.get_metadata("kube-system").await.context(
        "the UID of namespace kube-system, from which the default installation ID is derived, can't be read: set --installation-id",
    )?;
    let cluster = system.uid().unwrap_or_default();
    Ok(fingerprint(
        &[
            &cluster,
            &settings.release.namespace,
            &settings.release.name,
        ],
        10,
    )
    .parse()?)
}
