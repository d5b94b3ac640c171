//! Files that are made from the code: the CRDs, and the tables and documents in the docs. `make update` writes them anew.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test that can't go on has failed")]

mod support;

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, process::Command};

use bucket_replication_operator::{
    api::condition::{ConditionType, Reason},
    commands::crd::definitions,
    config::Arguments,
};
use clap::CommandFactory;
use strum::{EnumMessage, IntoEnumIterator};
use support::golden::compare;

const HEAD: &str = "<!-- Made from the code by `make update`: don't edit. -->\n\n";

#[test]
fn definitions_in_crds_and_in_the_chart() {
    for (file, definition) in definitions() {
        let text = serde_saphyr::to_string(&definition).unwrap();
        compare(&format!("crds/{file}"), &text);
        compare(&format!("charts/bucket-replication-operator/files/crds/{file}"), &text);
    }
}

#[test]
fn conditions_and_reasons() {
    let mut text = format!("{HEAD}# Conditions and reasons\n\n");
    text.push_str("A `BucketReplication` always has the conditions `Accepted` to `Ready`; `Reconciling` and `Stalled` are there only while they hold.\n");
    text.push_str("`Ready` has the reason and the message of the first condition that does not hold. An `AwsAccount` has the condition `Ready` alone.\n\n");
    text.push_str("## Conditions\n\n| Condition | True when |\n|---|---|\n");
    for condition in ConditionType::iter() {
        writeln!(text, "| `{}` | {} |", condition.as_str(), condition.get_message().unwrap()).unwrap();
    }
    text.push_str("\n## Reasons\n\n| Reason | When | What to do |\n|---|---|---|\n");
    for reason in Reason::iter() {
        writeln!(text, "| `{}` | {} | {} |", reason.as_str(), reason.get_message().unwrap(), reason.get_detailed_message().unwrap())
            .unwrap();
    }
    compare("docs/reference/conditions.md", &text);
}

#[test]
fn commands_and_flags() {
    let mut text =
        format!("{HEAD}# Commands and flags\n\nEach flag of `run` can be set by the environment variable beside it. Flags win.\n");
    for command in Arguments::command().get_subcommands().filter(|command| command.get_name() != "help") {
        writeln!(text, "\n## `{}`\n\n{}", command.get_name(), command.get_about().unwrap()).unwrap();
        let flags: Vec<_> = command.get_arguments().filter(|flag| flag.get_long().is_some_and(|long| long != "help")).collect();
        if flags.is_empty() {
            continue;
        }
        text.push_str("\n| Flag | Environment | Default | |\n|---|---|---|---|\n");
        for flag in flags {
            let quoted = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
            let environment = flag.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let takes_value = flag.get_action().takes_values();
            let defaults: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
            let default = if takes_value { quoted(&defaults.join(",")) } else { String::new() };
            writeln!(text, "| `--{}` | {} | {default} | {} |", flag.get_long().unwrap(), quoted(&environment), flag.get_help().unwrap())
                .unwrap();
        }
    }
    compare("docs/reference/command-line.md", &text);
}

/// The documents that `plan` prints for the walkthrough's sample stand in the docs between `<!-- NAME -->` and the end of the block.
#[test]
fn documents_of_the_walkthrough() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
    command.current_dir(root).args([
        "plan",
        "--offline",
        "--output",
        "json",
        "-f",
        "deploy/samples/walkthrough.yaml",
        "-f",
        "deploy/samples/accounts.yaml",
    ]);
    let output = command.env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let documents: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(documents.len(), 5);
    let kept = fs::read_to_string(root.join("docs/walkthrough.md")).unwrap();
    let mut text = kept.clone();
    for (name, document) in &documents {
        let start = format!("<!-- {name} -->\n\n```json\n");
        let (before, rest) = text.split_once(&start).unwrap_or_else(|| panic!("docs/walkthrough.md has no block {name}"));
        let (_, after) = rest.split_once("\n```").unwrap();
        text = format!("{before}{start}{document:#}\n```{after}");
    }
    compare("docs/walkthrough.md", &text);
}
