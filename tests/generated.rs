//! Files that are made from the code: the CRDs, and the tables and documents in the docs. `make update` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    process::Command,
};

use bucket_replication_operator::{
    api::{
        condition::{ConditionType, Reason},
        event::EventReason,
    },
    commands::crd::definitions,
    config::Arguments,
    metrics::{PREFIX, TABLE, exported},
};
use clap::CommandFactory;
use strum::{EnumMessage, IntoEnumIterator};
use support::golden::compare;

const REPOSITORY: &str = "https://github.com/bucketops/bucket-replication-operator";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const HEAD: &str = "<!-- Made from the code by `make update`: don't edit. -->\n\n";

#[test]
fn definitions_in_crds_and_in_the_chart() {
    for (file, definition) in definitions() {
        let text = serde_saphyr::to_string(&definition).unwrap();
        compare(&format!("crds/{file}"), &text);
        compare(
            &format!("charts/bucket-replication-operator/files/crds/{file}"),
            &text,
        );
    }
}

#[test]
fn conditions_and_reasons() {
    let mut text = format!("{HEAD}# Conditions and reasons\n\n");
    text.push_str("A `BucketReplication` always has the conditions `Accepted` to `Ready`; `Reconciling` and `Stalled` are present only while they are True.\n");
    text.push_str("`Ready` has the reason and the message of the first condition that is not True and does not only wait for another. An `AWSAccount` has the condition `Ready` alone.\n\n");
    text.push_str("## Conditions\n\n| Condition | True when |\n|---|---|\n");
    for condition in ConditionType::iter() {
        writeln!(
            text,
            "| `{}` | {} |",
            condition.as_str(),
            condition.get_message().unwrap()
        )
        .unwrap();
    }
    text.push_str("\n## Reasons\n\n| Reason | When | What to do |\n|---|---|---|\n");
    for reason in Reason::iter() {
        writeln!(
            text,
            "| `{}` | {} | {} |",
            reason.as_str(),
            reason.get_message().unwrap(),
            reason.get_detailed_message().unwrap()
        )
        .unwrap();
    }
    text.push_str(
        "\n## Events\n\nAn Event is recorded when the status or the reason of `Ready` changes, with that reason. Other Events are:\n\n",
    );
    text.push_str("| Reason | When | What to do |\n|---|---|---|\n");
    for reason in EventReason::iter() {
        writeln!(
            text,
            "| `{}` | {} | {} |",
            reason.as_str(),
            reason.get_message().unwrap(),
            reason.get_detailed_message().unwrap()
        )
        .unwrap();
    }
    compare("docs/reference/conditions.md", &text);
}

/// Every text in `tests/golden`.
fn goldens() -> String {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")];
    let mut files = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "txt"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// What an object said in a test, where the condition had this reason.
fn example(goldens: &str, reason: &str) -> Option<String> {
    let said = |line: &str| {
        let (left, message) = line.split_once(": ")?;
        let (left, message) = if left.ends_with(reason) {
            (left, message)
        } else {
            message.split_once(": ")?
        };
        let left = left.split(" (").next()?;
        (left.rsplit(['=', ' ']).next() == Some(reason)).then(|| message.to_owned())
    };
    // The words of AWS itself are made up in tests.
    goldens
        .lines()
        .filter(|line| !line.contains("was answered so") && !line.contains("may not call"))
        .find_map(said)
}

/// By reason: when it occurs, what to do, and what such an object said in a test. A reason that no test makes an object say fails here.
#[test]
fn troubleshooting() {
    // Those of an AWSAccount, which unit tests of the reconciler make, that of the CRD's default, which the API server sets, and that of a visit that
    // panicked (tests/settle.rs).
    let elsewhere = [
        "DuplicateAccount",
        "WrongAccount",
        "Pending",
        "InternalError",
    ];
    let goldens = goldens();
    let mut text = format!("{HEAD}# Troubleshooting, by reason\n\n");
    text.push_str("`kubectl get bucketreplication` shows the reason of `Ready`, `kubectl describe bucketreplication` the message of each condition.\n");
    text.push_str("An example message follows most reasons.\n");
    for reason in Reason::iter() {
        let name = reason.as_str();
        let words = |line: &str| {
            line.split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == name)
        };
        assert!(
            elsewhere.contains(&name) || goldens.lines().any(words),
            "no test makes an object say {name}"
        );
        let remedy = reason.get_detailed_message().unwrap();
        if remedy == "nothing" {
            continue;
        }
        writeln!(
            text,
            "\n## {name}\n\n**When** {}.\n\n**What to do:** {remedy}.",
            reason.get_message().unwrap()
        )
        .unwrap();
        if let Some(said) = example(&goldens, name) {
            writeln!(text, "\n> {said}").unwrap();
        }
    }
    compare("docs/troubleshooting.md", &text);
}

#[test]
fn commands_and_flags() {
    let mut text = format!(
        "{HEAD}# Commands and flags\n\nEach flag of `run` can be set by the environment variable next to it. Flags win.\n"
    );
    for command in Arguments::command()
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        writeln!(
            text,
            "\n## `{}`\n\n{}",
            command.get_name(),
            command.get_about().unwrap()
        )
        .unwrap();
        let flags: Vec<_> = command
            .get_arguments()
            .filter(|flag| flag.get_long().is_none_or(|long| long != "help"))
            .collect();
        if flags.is_empty() {
            continue;
        }
        text.push_str("\n| Flag | Environment | Default | |\n|---|---|---|---|\n");
        for flag in flags {
            let quoted = |text: &str| {
                if text.is_empty() {
                    String::new()
                } else {
                    format!("`{text}`")
                }
            };
            let environment = flag
                .get_env()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let takes_value = flag.get_action().takes_values();
            let defaults: Vec<_> = flag
                .get_default_values()
                .iter()
                .map(|value| value.to_string_lossy().into_owned())
                .collect();
            let default = if takes_value {
                quoted(&defaults.join(","))
            } else {
                String::new()
            };
            let long = flag.get_long().map_or_else(
                || flag.get_id().as_str().to_uppercase(),
                |long| format!("--{long}"),
            );
            let short = flag.get_short().map(|short| format!("`-{short}`, "));
            let values: Vec<_> = flag
                .get_possible_values()
                .iter()
                .filter(|value| {
                    takes_value && value.get_name() != "true" && value.get_name() != "false"
                })
                .map(|value| format!("`{}`", value.get_name()))
                .collect();
            let values = match values.len() {
                0 => String::new(),
                _ => format!(": {}", values.join(", ")),
            };
            writeln!(
                text,
                "| {}`{long}` | {} | {default} | {}{values} |",
                short.unwrap_or_default(),
                quoted(&environment),
                flag.get_help().unwrap()
            )
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
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let documents: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(documents.len(), 5);
    let kept = fs::read_to_string(root.join("docs/walkthrough.md")).unwrap();
    let mut text = kept.clone();
    for (name, document) in &documents {
        let start = format!("<!-- {name} -->\n\n```json\n");
        let (before, rest) = text
            .split_once(&start)
            .unwrap_or_else(|| panic!("docs/walkthrough.md has no block {name}"));
        let (_, after) = rest.split_once("\n```").unwrap();
        text = format!("{before}{start}{document:#}\n```{after}");
    }
    compare("docs/walkthrough.md", &text);
}

#[test]
fn templates_for_accounts() {
    for account in ["finance-prod", "finance-dr"] {
        for (kind, file) in [
            ("cloudformation", "cloudformation.yaml"),
            ("terraform", "tf.json"),
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
            command.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear();
            let output = command
                .args([
                    "iam-policy",
                    "-f",
                    "deploy/iam/accounts.yaml",
                    "--account",
                    account,
                    "--template",
                    kind,
                ])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            compare(
                &format!("deploy/iam/{account}.{file}"),
                &String::from_utf8(output.stdout).unwrap(),
            );
        }
    }
}

/// The chart's README: every value with its default and the comment above it.
#[test]
fn values_of_the_chart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/bucket-replication-operator");
    let mut text = format!(
        "{HEAD}# The Helm chart\n\nIt installs the CRDs, two replicas of the operator under the restricted Pod Security Standard, what they need in the cluster and no more, and\n\
         admission policies that refuse at `kubectl apply` what the grants forbid. The CRDs stay when the chart is uninstalled, and are upgraded with it.\n\
         [How to install it]({REPOSITORY}/blob/v{VERSION}/docs/install-eks.md). `helm test` checks an installation.\n\n## Values\n\n"
    );
    text.push_str("| Value | Default | What it is |\n|---|---|---|\n");
    let (mut path, mut comment) = (Vec::<String>::new(), String::new());
    for line in fs::read_to_string(root.join("values.yaml"))
        .unwrap()
        .lines()
    {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let line = line.trim_start();
        if let Some(words) = line.strip_prefix("# ") {
            comment = format!("{comment} {words}");
        } else if let Some((name, value)) = line.split_once(':') {
            path.truncate(depth);
            path.push(name.to_owned());
            let told = std::mem::take(&mut comment);
            // A comment above a group is about the group.
            if value.is_empty() && told.is_empty() || path[0] == "resources" && depth > 0 {
                continue;
            }
            assert!(!told.is_empty(), "{} has no comment", path.join("."));
            let default = if value.is_empty() {
                String::new()
            } else {
                format!("`{}`", value.trim())
            };
            writeln!(
                text,
                "| `{}` | {default} | {} |",
                path.join("."),
                told.trim().replace('|', "\\|")
            )
            .unwrap();
        }
    }
    compare("charts/bucket-replication-operator/README.md", &text);
}

/// Each attack in the docs is shown by a test that is there.
#[test]
fn attacks_have_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = |folder: &str| -> Vec<(String, String)> {
        let mut folders = vec![root.join(folder)];
        let mut found = vec![];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|kind| kind == "rs") {
                    found.push((
                        path.file_stem().unwrap().to_string_lossy().into_owned(),
                        fs::read_to_string(path).unwrap(),
                    ));
                }
            }
        }
        found
    };
    let all: Vec<_> = ["src", "crates", "tests"]
        .into_iter()
        .flat_map(sources)
        .collect();
    let text = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let (_, table) = text.split_once("## Attacks").unwrap();
    let rows: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Attempt"))
        .collect();
    assert!(rows.len() >= 24, "{} rows", rows.len());
    for row in rows {
        let tests: Vec<_> = row
            .split('|')
            .nth(3)
            .unwrap()
            .split('`')
            .filter(|part| part.contains("::"))
            .collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (module, name) = (
                test.split("::").next().unwrap(),
                test.rsplit("::").next().unwrap(),
            );
            let there = |(file, text): &(String, String)| {
                file == module && text.contains(&format!("fn {name}("))
            };
            assert!(all.iter().any(there), "{test} is no test");
        }
    }
}

#[test]
fn metrics() {
    let mut text = format!(
        "{HEAD}# Metrics\n\nServed on `/metrics` of each replica, as OpenMetrics if the header Accept names it, else in Prometheus's text format. Counters end with `_total`.\nIn addition to these, each replica serves the usual metrics of its process: `process_cpu_seconds_total`, `process_resident_memory_bytes`,\n`process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds` and `process_start_time_seconds`.\n\n"
    );
    text.push_str("| Name | Kind | Labels | What it says |\n|---|---|---|---|\n");
    for (name, kind, labels, help) in TABLE {
        let name = exported(name);
        let total = if kind == "counter" { "_total" } else { "" };
        writeln!(text, "| `{name}{total}` | {kind} | {labels} | {help} |").unwrap();
    }
    compare("docs/reference/metrics.md", &text);
}

/// Every metric that an alert or a panel asks for is one of ours.
#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let mut known = vec![];
    for (name, kind, ..) in TABLE {
        let suffix = match kind {
            "counter" => "_total",
            "histogram" => "_bucket",
            _ => "",
        };
        known.push(format!("{}{suffix}", exported(name)));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("charts/bucket-replication-operator/files/monitoring");
    let mut used = std::collections::BTreeSet::new();
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        used.extend(
            words
                .filter(|word| word.starts_with(&format!("{PREFIX}_")))
                .map(ToOwned::to_owned),
        );
    }
    assert!(
        used.iter().all(|name| known.contains(name)),
        "{used:?} {known:?}"
    );
    assert!(
        known.iter().all(|name| used.contains(name)),
        "nothing shows some of {known:?}: {used:?}"
    );
}

/// What is packaged and read elsewhere: the chart with its alerts. Links into the repository name files, and headings, that exist in this version.
#[test]
fn links_of_the_chart_hold_where_it_is_packaged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let chart = root.join("charts/bucket-replication-operator");
    let mut links = 0;
    for file in [
        "README.md",
        "Chart.yaml",
        "values.yaml",
        "templates/NOTES.txt",
        "files/monitoring/alerts.yaml",
        "files/monitoring/dashboard.json",
    ] {
        let text = fs::read_to_string(chart.join(file)).unwrap();
        assert!(
            !text.contains("](.."),
            "{file} has a link that leaves the chart"
        );
        for (at, _) in text.match_indices(&format!("{REPOSITORY}/blob/")) {
            let link = &text[at + REPOSITORY.len() + "/blob/".len()..];
            let end = link.find([')', '"', '\'', ' ', '\n']).unwrap_or(link.len());
            let rest = link[..end]
                .strip_prefix(&format!("v{VERSION}/"))
                .unwrap_or_else(|| panic!("{file}: {} is of another version", &link[..end]));
            let (path, heading) = rest.split_once('#').unwrap_or((rest, ""));
            let page = fs::read_to_string(root.join(path))
                .unwrap_or_else(|error| panic!("{file}: {path}: {error}"));
            let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
            let known = headings.map(|line| anchor(line.trim_start_matches('#')));
            assert!(
                heading.is_empty() || known.into_iter().any(|known| known == heading),
                "{file}: {path} has no heading {heading}"
            );
            links += 1;
        }
    }
    assert!(links > 3, "{links} links");
}

/// Links into the repository that are not made from anything name this version; `make update` corrects them.
#[test]
fn links_name_this_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let start = format!("{REPOSITORY}/blob/v");
    for file in [
        "charts/bucket-replication-operator/Chart.yaml",
        "charts/bucket-replication-operator/files/monitoring/alerts.yaml",
        "tests/alerts.yaml",
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let mut parts = text.split(&start);
        let mut current = parts.next().unwrap().to_owned();
        for part in parts {
            let (_, rest) = part.split_once('/').unwrap();
            write!(current, "{start}{VERSION}/{rest}").unwrap();
        }
        compare(file, &current);
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let alerts: serde_json::Value = serde_saphyr::from_str(&read(
        "charts/bucket-replication-operator/files/monitoring/alerts.yaml",
    ))
    .unwrap();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let names: Vec<_> = rules
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap())
        .collect();
    for (name, rule) in names.iter().zip(rules) {
        let runbook = format!("docs/runbooks.md#{}", name.to_lowercase());
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&runbook), "{name}: {url}");
        assert!(
            rule["expr"].as_str().unwrap().contains("cluster"),
            "{name} mixes clusters"
        );
    }
    let is_of = |rule: &&serde_json::Value| rule["alert"] == "BucketReplicationNotReady";
    let not_ready = rules.iter().find(is_of).unwrap();
    let left_out = not_ready["expr"].as_str().unwrap();
    let left_out: BTreeSet<_> = left_out.split('"').nth(1).unwrap().split('|').collect();
    let intended = Reason::iter().filter(|reason| reason.is_intended());
    assert_eq!(left_out, intended.map(Reason::as_str).collect());
    let runbooks = read("docs/runbooks.md");
    let headings = runbooks.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(headings.collect::<Vec<_>>(), names);
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
