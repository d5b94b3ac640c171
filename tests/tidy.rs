//! What holds of the code as a whole: which part may use which, what is pure, and that every file says what it is for.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} under {under}");
    found
}

/// The code without its comments and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn assert_without(under: &str, words: &[&str], why: &str) {
    for (path, text) in files(under, "rs") {
        let code = code(&text);
        for word in words {
            assert!(
                !code.contains(word),
                "{} uses {word}: {why}",
                path.display()
            );
        }
    }
}

#[test]
fn what_decides_is_pure() {
    let effects = [
        "aws_sdk",
        "aws_config",
        "tokio",
        "async ",
        ".await",
        "std::env",
        "std::fs",
        "Timestamp::now",
        "SystemTime",
        "Instant",
        "rand",
        "tracing",
    ];
    for part in ["crates/documents", "crates/replication"] {
        assert_without(part, &effects, "decisions take what they need as arguments");
    }
}

/// The compiler refuses what a crate does not depend on, so that the arrows are those of the manifests.
#[test]
fn the_crates_of_the_core_know_no_runtime_no_client_and_no_sdk() {
    let crates = [
        ("documents", vec![]),
        ("api", vec![]),
        ("replication", vec!["api", "documents"]),
    ];
    for (name, own) in crates {
        let path = root().join("crates").join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(path).unwrap();
        let (_, rest) = manifest.split_once("[dependencies]\n").unwrap();
        let dependencies: Vec<_> = rest
            .lines()
            .take_while(|line| !line.starts_with('['))
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        for line in &dependencies {
            let named = line.split(['.', ' ']).next().unwrap();
            let forbidden = ["tokio", "futures", "tracing", "axum", "tower", "reqwest"];
            assert!(
                !forbidden.contains(&named) && !named.starts_with("aws-"),
                "{name} depends on {named}"
            );
            assert!(
                named != "kube"
                    || line.contains("default-features = false, features = [\"derive\"]"),
                "{name} uses more of kube than types: {line}"
            );
        }
        let of_workspace: Vec<_> = dependencies
            .iter()
            .filter(|line| line.contains("path = "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(of_workspace, own, "{name}");
    }
}

#[test]
fn dependencies_point_one_way() {
    assert_without(
        "src/cloud",
        &["crate::controller", "crate::commands", "kube::"],
        "AWS knows no Kubernetes",
    );
    assert_without(
        "src/controller",
        &["aws_sdk", "aws_smithy", "crate::commands"],
        "Kubernetes knows AWS only by the trait",
    );
}

/// The paths that a `use` tree names, as far as they begin with `crate`.
fn paths(code: &str) -> Vec<String> {
    fn tree(prefix: &str, text: &str, found: &mut Vec<String>) {
        let (mut depth, mut start) = (0, 0);
        let mut parts = vec![];
        for (place, character) in text.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&text[start..place]);
                    start = place + 1;
                }
                _ => {}
            }
        }
        parts.push(&text[start..]);
        for part in parts
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match part.split_once('{') {
                Some((before, inside)) => {
                    let inside = inside.rsplit_once('}').unwrap().0;
                    tree(&format!("{prefix}{before}"), inside, found);
                }
                None => found.push(format!("{prefix}{part}")),
            }
        }
    }
    let mut found = vec![];
    for (place, _) in code.match_indices("crate::") {
        let rest = &code[place + "crate::".len()..];
        let is_use = code[..place].trim_end().ends_with("use");
        if is_use {
            tree("", rest.split(';').next().unwrap(), &mut found);
        } else {
            let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
            found.push(rest.split(|c| !name(c)).next().unwrap().to_owned());
        }
    }
    found
}

/// Each module of the core by its name, with its wing and the modules that it uses.
fn modules() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let sources: Vec<_> = files("crates/replication/src", "rs")
        .into_iter()
        .filter_map(|(path, text)| {
            let path = path
                .strip_prefix("crates/replication/src")
                .unwrap()
                .to_owned();
            let wing = path.parent().unwrap().to_string_lossy().into_owned();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (!wing.is_empty() && name != "mod").then(|| (name, wing, code(&text)))
        })
        .collect();
    // A wing passes on what its modules define: whoever uses that depends on the module.
    let mut passed_on = BTreeMap::new();
    for (path, text) in files("crates/replication/src", "rs") {
        if path.ends_with("mod.rs") || path.ends_with("lib.rs") {
            for line in code(&text).split("pub use ").skip(1) {
                let tree = line.split(';').next().unwrap();
                let Some((from, items)) = tree.split_once("::") else {
                    continue;
                };
                for item in items.split(|c: char| !c.is_alphanumeric() && c != '_') {
                    passed_on.insert(item.to_owned(), from.trim().to_owned());
                }
            }
        }
    }
    let names: BTreeSet<_> = sources.iter().map(|(name, ..)| name.clone()).collect();
    sources
        .iter()
        .map(|(name, wing, code)| {
            let used = paths(code).into_iter().filter_map(|path| {
                let wings = sources.iter().map(|(_, wing, _)| wing.as_str());
                let wings: BTreeSet<_> = wings.collect();
                let parts: Vec<_> = path
                    .split("::")
                    .filter(|part| !wings.contains(part))
                    .collect();
                let module = parts.iter().find(|part| names.contains(**part));
                let through = parts
                    .iter()
                    .find_map(|part| passed_on.get(*part).filter(|from| names.contains(*from)));
                module
                    .map(|module| (*module).to_owned())
                    .or(through.cloned())
            });
            let used = used.filter(|used| used != name).collect();
            (name.clone(), (wing.clone(), used))
        })
        .collect()
}

/// Each wing of the core uses only those before it, and no module depends on itself by way of others.
#[test]
fn the_core_has_no_circle() {
    const WINGS: [&str; 6] = [
        "observation",
        "request",
        "composition",
        "plan",
        "visit",
        "verification",
    ];
    let modules = modules();
    assert!(modules.len() > 30, "{} modules", modules.len());
    let place = |wing: &str| WINGS.iter().position(|known| *known == wing).unwrap();
    let mut uses = 0;
    for (name, (wing, used)) in &modules {
        for other in used {
            uses += 1;
            let of_other = &modules[other].0;
            assert!(
                place(of_other) <= place(wing),
                "{wing}/{name} uses {of_other}/{other}, which comes later"
            );
        }
    }
    assert!(uses > 80, "{uses} uses");
    let mut left: BTreeMap<_, _> = modules
        .iter()
        .map(|(name, (_, used))| (name.clone(), used.clone()))
        .collect();
    while !left.is_empty() {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, used)| used.iter().all(|other| !left.contains_key(other)))
            .map(|(name, _)| name.clone())
            .collect();
        assert!(!free.is_empty(), "a circle among {:?}", left.keys());
        left.retain(|name, _| !free.contains(name));
    }
}

/// The arms of each `match` in the code: their patterns.
fn matches(code: &str) -> Vec<Vec<String>> {
    let mut found = vec![];
    for (place, _) in code.match_indices("match ") {
        let Some(open) = code[place..].find(" {\n") else {
            continue;
        };
        let (mut depth, mut pattern, mut patterns) = (0, String::new(), vec![]);
        let mut is_pattern = true;
        let mut characters = code[place + open + 2..].chars().peekable();
        while let Some(character) = characters.next() {
            if depth == 0 && character == '}' {
                break;
            }
            if depth == 0 && character == '=' && characters.peek() == Some(&'>') {
                patterns.push(std::mem::take(&mut pattern).trim().to_owned());
                is_pattern = false;
                continue;
            }
            depth += match character {
                '{' | '(' | '[' => 1,
                '}' | ')' | ']' => -1,
                _ => 0,
            };
            let ends = depth == 0 && (character == ',' || (character == '}' && !is_pattern));
            if ends && !is_pattern {
                is_pattern = true;
                pattern.clear();
            } else if is_pattern {
                pattern.push(character);
            }
        }
        found.push(patterns);
    }
    found
}

/// A new question, step or reason is named by the compiler wherever something has to be said about it.
#[test]
fn no_match_over_what_grows_has_a_default_arm() {
    const GROWING: [&str; 5] = ["Step::", "Question::", "Answer::", "Reason::", "Target::"];
    let own = |path: &Path| {
        let name = path.file_stem().unwrap().to_string_lossy();
        matches!(name.as_ref(), "step" | "target" | "question" | "condition")
    };
    let mut checked = 0;
    for (path, text) in files("src", "rs").into_iter().chain(files("crates", "rs")) {
        for patterns in matches(&code(&text)) {
            let grows = |pattern: &String| {
                GROWING.iter().any(|name| {
                    pattern
                        .trim_start_matches(',')
                        .trim_start()
                        .starts_with(name)
                }) || (own(&path) && pattern.starts_with("Self::"))
            };
            if patterns.iter().filter(|pattern| grows(pattern)).count() < 2 {
                continue;
            }
            checked += 1;
            assert!(
                !patterns.iter().any(|pattern| pattern == "_"),
                "{}: a match over {:?} has a default arm",
                path.display(),
                patterns.first()
            );
        }
    }
    assert!(checked > 8, "{checked} matches");
}

/// The functions of the code, each with its lines.
fn functions(code: &str) -> Vec<(String, Vec<&str>)> {
    let lines: Vec<_> = code.lines().collect();
    let mut found = vec![];
    for (place, line) in lines.iter().enumerate() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        let after = ["", "pub ", "pub(crate) ", "pub(super) "]
            .iter()
            .find_map(|visible| {
                let rest = words.strip_prefix(visible)?;
                let rest = rest.strip_prefix("const ").unwrap_or(rest);
                rest.strip_prefix("async ")
                    .unwrap_or(rest)
                    .strip_prefix("fn ")
            });
        let Some(after) = after else { continue };
        let end = lines[place..]
            .iter()
            .position(|line| line.trim() == "}" && line.len() == indent + 1);
        if let Some(end) = end {
            let name = after.split(['(', '<']).next().unwrap();
            found.push((name.to_owned(), lines[place..=place + end].to_vec()));
        }
    }
    found
}

/// Whether a function is one match and nothing else: a table, whose arms are read one by one.
fn is_a_table(function: &[&str]) -> bool {
    let start = function
        .iter()
        .position(|line| line.trim_end().ends_with(" {"))
        .unwrap();
    let body = &function[start + 1..function.len() - 1];
    let opens = body.first().is_some_and(|line| {
        line.trim_start().starts_with("match ") || line.trim_start().starts_with("Some(match ")
    });
    let indent = |line: &str| line.len() - line.trim_start().len();
    let outside = body
        .iter()
        .filter(|line| !line.is_empty() && indent(line) <= indent(body[0]));
    opens && outside.count() <= 4
}

#[test]
fn a_file_and_a_function_can_be_read_at_once() {
    const MOST_OF_A_FILE: usize = 400;
    const MOST_OF_A_FUNCTION: usize = 60;
    for (path, text) in files("src", "rs").into_iter().chain(files("crates", "rs")) {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = text.lines().count();
        assert!(
            lines <= MOST_OF_A_FILE,
            "{} has {lines} lines without its tests",
            path.display()
        );
        for (name, function) in functions(text) {
            assert!(
                function.len() <= MOST_OF_A_FUNCTION || is_a_table(&function),
                "{} {name} has {} lines",
                path.display(),
                function.len()
            );
        }
    }
}

#[test]
fn only_main_prints_and_exits() {
    for (path, text) in files("src", "rs").into_iter().chain(files("crates", "rs")) {
        if path != Path::new("src/main.rs") {
            let code = code(&text);
            for word in ["stdout()", "process::exit", "ExitCode"] {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for (path, text) in ["src", "crates", "tests"]
        .into_iter()
        .flat_map(|under| files(under, "rs"))
    {
        assert!(
            text.starts_with("//! "),
            "{} has no first line",
            path.display()
        );
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for vague in ["util", "helper", "manager", "common", "misc"] {
            assert!(!name.contains(vague), "{} is vague", path.display());
        }
    }
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    let mut links = 0;
    for (path, text) in files(".", "md") {
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let (file, _) = target.split_once('#').unwrap_or((target, ""));
            links += 1;
            assert!(
                root().join(&path).parent().unwrap().join(file).exists(),
                "{} links to {target}",
                path.display()
            );
        }
    }
    assert!(links > 5, "{links} links");
}
