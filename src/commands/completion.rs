//! Completion of the command line: the script for a shell, what that script asks while a user types, and what kubectl asks for its plugin.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::{
    CompletionCandidate,
    engine::{ArgValueCompleter, complete},
    env::Shells,
};
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    api::BucketReplication,
    api_server,
    config::{Arguments, Cluster, Shell},
};

/// The variable that names the shell which asks.
const ASKED_BY: &str = "BUCKET_REPLICATION_OPERATOR_COMPLETE";
/// As which the binary is linked for kubectl, which asks it about `kubectl bucketreplication`.
const OF_KUBECTL: &str = "kubectl_complete-bucketreplication";
/// How long the names of objects may take: a user is waiting.
const NAMES_WITHIN: Duration = Duration::from_secs(2);
/// What kubectl is to do with the candidates: complete no files, and add no space (`ShellCompDirective` in the documentation of cobra).
const NO_FILES: u8 = 4;
const NO_SPACE: u8 = 2;

/// The script that a shell reads.
///
/// # Errors
/// When the shell is not known to the library.
pub fn script(shell: Shell) -> anyhow::Result<String> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).context("the shell is not known")?;
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let called = Arguments::command().get_name().to_owned();
    let mut script = vec![];
    shell.write_registration(
        ASKED_BY,
        &called,
        &called,
        &program.to_string_lossy(),
        &mut script,
    )?;
    Ok(String::from_utf8(script)?)
}

/// The candidates, if a shell or kubectl asks for them; `None`: the command is to be run.
#[must_use]
pub fn candidates() -> Option<io::Result<String>> {
    let words: Vec<_> = std::env::args_os().collect();
    let program = words.first().map(Path::new).and_then(Path::file_name);
    if program == Some(OsStr::new(OF_KUBECTL)) {
        return Some(for_kubectl(words));
    }
    let shell = std::env::var(ASKED_BY).ok()?;
    Some(for_shell(&shell, words))
}

fn for_shell(shell: &str, words: Vec<OsString>) -> io::Result<String> {
    let shells = Shells::builtins();
    let shell = shells
        .completer(shell)
        .ok_or_else(|| io::Error::other(format!("{ASKED_BY} names no shell: {shell}")))?;
    // The script calls `PROGRAM -- WORDS`.
    let typed = words.into_iter().skip_while(|word| word != "--").skip(1);
    let mut candidates = vec![];
    let folder = std::env::current_dir().ok();
    shell.write_complete(
        &mut command(),
        typed.collect(),
        folder.as_deref(),
        &mut candidates,
    )?;
    String::from_utf8(candidates).map_err(io::Error::other)
}

/// Each candidate with its help, and what to do with them.
fn for_kubectl(words: Vec<OsString>) -> io::Result<String> {
    let last = words.len().saturating_sub(1);
    let folder = std::env::current_dir().ok();
    let found = complete(&mut command(), words, last, folder.as_deref())?;
    let mut text = String::new();
    for candidate in &found {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        let _ = writeln!(text, "{value}\t{help}");
    }
    let is_folder =
        |candidate: &CompletionCandidate| candidate.get_value().to_string_lossy().ends_with('/');
    let space = if found.iter().any(is_folder) {
        NO_SPACE
    } else {
        0
    };
    let _ = writeln!(text, ":{}", NO_FILES + space);
    Ok(text)
}

/// The command, which knows the names of the objects in the cluster.
fn command() -> clap::Command {
    let named = |command: clap::Command| {
        command.mut_arg("name", |name| name.add(ArgValueCompleter::new(names)))
    };
    Arguments::command()
        .mut_subcommand("plan", named)
        .mut_subcommand("status", named)
}

/// The names that begin so; none if the cluster does not answer, since a user is typing.
fn names(begun: &OsStr) -> Vec<CompletionCandidate> {
    let words: Vec<_> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return vec![] };
    let listed = async { tokio::time::timeout(NAMES_WITHIN, listed(&words)).await };
    let Ok(Ok(names)) = runtime.block_on(listed) else {
        return vec![];
    };
    let begun = begun.to_string_lossy();
    let names = names.into_iter();
    let matching = names.filter(|name| name.starts_with(&*begun));
    matching.map(CompletionCandidate::new).collect()
}

async fn listed(words: &[String]) -> anyhow::Result<Vec<String>> {
    let cluster = Cluster {
        kubeconfig: flag(words, &["--kubeconfig"]).map(PathBuf::from),
        context: flag(words, &["--context"]),
    };
    let (client, default) = api_server::client_of(&cluster).await?;
    let namespace = flag(words, &["--namespace", "-n"]).unwrap_or(default);
    let objects = Api::<BucketReplication>::namespaced(client, &namespace);
    let list = objects.list_metadata(&ListParams::default()).await?;
    Ok(list.iter().map(ResourceExt::name_any).collect())
}

/// The value of a flag among the words that are typed so far, which may not be a complete command.
fn flag(words: &[String], names: &[&str]) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if names.contains(&word.as_str()) {
            return words.next().cloned();
        }
        let value = names
            .iter()
            .find_map(|name| word.strip_prefix(name)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.to_owned());
        }
    }
    None
}
