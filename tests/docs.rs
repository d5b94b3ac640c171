//! The code blocks of all Markdown files: what they show is taken by the CRDs, the command line, the Makefile and the chart of this repository.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use bucket_replication_operator::{
    api::{AwsAccount, BucketReplication},
    commands::crd::definitions,
    config::Arguments,
};
use clap::Parser;
use kube::core::cel::Validator;
use serde_json::{Value, json};

const CHART: &str = "charts/bucket-replication-operator";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files of the repository, by their path in it.
fn pages() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir()
                && !["target", "node_modules"].contains(&name.as_str())
                && !name.starts_with('.')
            {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.insert(
                    path.strip_prefix(root())
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                    fs::read_to_string(&path).unwrap(),
                );
            }
        }
    }
    found
}

/// A code block.
struct Block {
    /// File and line, for people.
    place: String,
    language: String,
    text: String,
}

/// The code blocks of a page.
fn blocks_of(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = vec![];
    let mut open: Option<(usize, String, Block)> = None;
    for (number, line) in text.lines().enumerate() {
        let inner = line.trim_start();
        let fence: String = inner.chars().take_while(|c| *c == '`').collect();
        open = match open {
            None if fence.len() >= 3 => {
                let language = inner[fence.len()..].trim().to_owned();
                let block = Block {
                    place: format!("{page}:{}", number + 1),
                    language,
                    text: String::new(),
                };
                Some((line.len() - inner.len(), fence, block))
            }
            Some((_, end, block)) if inner.trim_end() == end => {
                blocks.push(block);
                None
            }
            Some((indent, end, mut block)) => {
                let outside = line.len().min(indent).min(line.len() - inner.len());
                block.text.push_str(&line[outside..]);
                block.text.push('\n');
                Some((indent, end, block))
            }
            None => None,
        };
    }
    assert!(open.is_none(), "{page} has a code block without an end");
    blocks
}

/// The blocks of these languages, of which there have to be some of each.
fn blocks(languages: &[&str]) -> Vec<Block> {
    let all: Vec<_> = pages()
        .iter()
        .flat_map(|(page, text)| blocks_of(page, text))
        .collect();
    for language in languages {
        assert!(
            all.iter().any(|block| block.language == *language),
            "no block of {language} was found"
        );
    }
    all.into_iter()
        .filter(|block| languages.contains(&block.language.as_str()))
        .collect()
}

fn documents(block: &Block) -> Vec<Value> {
    let read: Vec<Value> = serde_saphyr::from_multiple(&block.text)
        .unwrap_or_else(|error| panic!("{}: no YAML: {error}", block.place));
    read.into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

fn assert_none(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// Whether the API server would find `pattern` in `text`: CEL's regular expressions are those of a schema.
fn matches(pattern: &Value, text: &Value) -> bool {
    let schema = json!({"type": "string", "x-kubernetes-validations": [{"rule": format!("self.matches({pattern})"), "message": "no match"}]});
    Validator::new().validate(&schema, text, None).is_ok()
}

/// What a schema, without its CEL rules, has against a value. The root's `metadata` is Kubernetes' own.
fn violations(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    let number = |bound: &str| {
        schema[bound]
            .as_u64()
            .map(|number| usize::try_from(number).unwrap())
    };
    let mut size = |least: &str, most: &str, size: usize| {
        if number(least).is_some_and(|least| size < least)
            || number(most).is_some_and(|most| size > most)
        {
            found.push(format!("{path}: {least} or {most}"));
        }
    };
    match value {
        Value::Object(fields) => {
            size("minProperties", "maxProperties", fields.len());
            for field in schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if !fields.contains_key(field) {
                    found.push(format!("{path}.{field}: is missing"));
                }
            }
            for (name, field) in fields {
                let known = schema["properties"]
                    .get(name)
                    .or_else(|| schema.get("additionalProperties"));
                match known {
                    Some(schema) => violations(&format!("{path}.{name}"), schema, field, found),
                    None if path.is_empty()
                        && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
                    None => found.push(format!("{path}.{name}: there is no such field")),
                }
            }
        }
        Value::Array(items) => {
            size("minItems", "maxItems", items.len());
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            let identity = |item: &Value| {
                keys.map_or_else(
                    || item.to_string(),
                    |keys| {
                        json!(
                            keys.iter()
                                .map(|key| &item[key.as_str().unwrap()])
                                .collect::<Vec<_>>()
                        )
                        .to_string()
                    },
                )
            };
            if !schema["x-kubernetes-list-type"].is_null()
                && items.iter().map(identity).collect::<BTreeSet<_>>().len() < items.len()
            {
                found.push(format!("{path}: an item stands twice"));
            }
            for item in items {
                violations(&format!("{path}[]"), &schema["items"], item, found);
            }
        }
        Value::String(text) => {
            size("minLength", "maxLength", text.chars().count());
            if schema["pattern"].is_string() && !matches(&schema["pattern"], value) {
                found.push(format!(
                    "{path}: {text:?} does not match {}",
                    schema["pattern"]
                ));
            }
            if schema["enum"]
                .as_array()
                .is_some_and(|allowed| !allowed.contains(value))
            {
                found.push(format!("{path}: {text:?} is none of {}", schema["enum"]));
            }
        }
        Value::Number(given) => {
            let (given, least, most) = (
                given.as_f64(),
                schema["minimum"].as_f64(),
                schema["maximum"].as_f64(),
            );
            if least.is_some_and(|least| given < Some(least))
                || most.is_some_and(|most| given > Some(most))
            {
                found.push(format!("{path}: minimum or maximum"));
            }
        }
        Value::Bool(_) | Value::Null => {}
    }
}

/// What our CRDs and types have against an object of ours.
fn refusals(document: &Value) -> Vec<String> {
    let kind = document["kind"].as_str().unwrap_or_default();
    let Some((_, definition)) = definitions()
        .into_iter()
        .find(|(_, definition)| definition.spec.names.kind == kind)
    else {
        return vec![format!("there is no kind {kind}")];
    };
    let read = match kind {
        "AWSAccount" => serde_json::from_value::<AwsAccount>(document.clone()).map(|_| ()),
        _ => serde_json::from_value::<BucketReplication>(document.clone()).map(|_| ()),
    };
    let mut found: Vec<_> = read
        .err()
        .map(|error| error.to_string())
        .into_iter()
        .collect();
    let version = json!(definition.spec.versions[0]);
    if document["apiVersion"]
        != format!(
            "{}/{}",
            definition.spec.group,
            version["name"].as_str().unwrap()
        )
    {
        found.push(format!(
            "apiVersion {} is not served",
            document["apiVersion"]
        ));
    }
    let schema = &version["schema"]["openAPIV3Schema"];
    violations("", schema, document, &mut found);
    found.extend(
        Validator::new()
            .validate(schema, document, None)
            .err()
            .map(|errors| errors.to_string()),
    );
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let namespaced = definition.spec.scope == "Namespaced";
    if name.is_empty() || namespaced != document["metadata"]["namespace"].is_string() {
        found.push(
            "metadata.name, or metadata.namespace where the kind has one, is missing".to_owned(),
        );
    }
    found
}

#[test]
fn objects_of_ours_are_taken() {
    let mut mistakes = vec![];
    let mut ours = 0;
    for block in blocks(&["yaml"]) {
        for document in documents(&block) {
            if document["apiVersion"]
                .as_str()
                .is_some_and(|version| version.starts_with("bucketops.dev/"))
            {
                ours += 1;
                mistakes.extend(
                    refusals(&document)
                        .into_iter()
                        .map(|refusal| format!("{}: {refusal}", block.place)),
                );
            }
        }
    }
    assert_none(&mistakes);
    assert!(ours > 10, "{ours} objects");
}

/// The check above is one only as long as it refuses.
#[test]
fn a_wrong_object_is_not_taken() {
    let good = json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication", "metadata": {"name": "tax", "namespace": "finance"},
        "spec": {"source": {"accountName": "prod", "bucket": "source-bucket"}, "destination": {"accountName": "dr", "bucket": "dest-bucket"}, "rules": [{"name": "a"}]},
    });
    assert_eq!(refusals(&good), Vec::<String>::new());
    for (pointer, value, expected) in [
        ("/apiVersion", json!("bucketops.dev/v1"), "is not served"),
        ("/kind", json!("Replication"), "no kind"),
        ("/metadata/namespace", Value::Null, "metadata.namespace"),
        (
            "/metadata/name",
            json!("x".repeat(64)),
            "at most 63 characters",
        ),
        ("/spec/source/bucket", json!("Source"), "does not match"),
        (
            "/spec/source/bucket",
            json!("dest-bucket"),
            "is the source bucket",
        ),
        (
            "/spec/source",
            json!({"accountName": "prod"}),
            ".spec.source.bucket: is missing",
        ),
        ("/spec/rules", json!([]), "minItems"),
        (
            "/spec/rules",
            json!([{"name": "a"}, {"name": "a"}]),
            "stands twice",
        ),
        (
            "/spec/rules/0",
            json!({"name": "a", "priority": -1}),
            "minimum",
        ),
        (
            "/spec/rules/0",
            json!({"name": "a", "prefixes": ["x"]}),
            "no such field",
        ),
        (
            "/spec/rules/0",
            json!({"name": "a", "state": "On"}),
            "is none of",
        ),
        (
            "/spec/rules/0",
            json!({"name": "a", "prefix": "x*"}),
            "wildcard",
        ),
    ] {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        let found = refusals(&wrong).join("\n");
        assert!(found.contains(expected), "{pointer}: {found}");
    }
}

/// The user guide shows the samples; each that has one's name is that one.
#[test]
fn the_user_guide_shows_the_samples_as_they_are() {
    let identity = |document: &Value| {
        (
            document["kind"].to_string(),
            document["metadata"]["namespace"].to_string(),
            document["metadata"]["name"].to_string(),
        )
    };
    let mut samples: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    for file in fs::read_dir(root().join("deploy/samples")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            samples
                .entry(identity(&document))
                .or_default()
                .push(document);
        }
    }
    let mut shown = 0;
    for block in blocks(&["yaml"])
        .iter()
        .filter(|block| block.place.starts_with("docs/user-guide.md:"))
    {
        for document in documents(block) {
            if let Some(candidates) = samples.get(&identity(&document)) {
                shown += 1;
                assert!(
                    candidates.contains(&document),
                    "{}: the sample in deploy/samples says something else",
                    block.place
                );
            }
        }
    }
    assert!(shown > 5, "{shown} samples");
}

/// YAML that is no object is values of the chart.
#[test]
fn values_are_those_of_the_chart() {
    fn unknown(path: &str, given: &Value, known: &Value, found: &mut Vec<String>) {
        for (name, value) in given.as_object().into_iter().flatten() {
            match known.get(name) {
                Some(known) => unknown(&format!("{path}.{name}"), value, known, found),
                None if known.as_object().is_some_and(serde_json::Map::is_empty) => {}
                None => found.push(format!("{path}.{name}")),
            }
        }
    }
    let values = chart_values();
    let mut mistakes = vec![];
    let mut checked = 0;
    for block in blocks(&["yaml"]) {
        for document in documents(&block) {
            let fields = document.as_object().cloned().unwrap_or_default();
            if !fields.contains_key("apiVersion")
                && fields.keys().any(|name| values.get(name).is_some())
            {
                checked += 1;
                unknown(&block.place, &document, &values, &mut mistakes);
            }
        }
    }
    assert_none(&mistakes);
    assert!(checked > 0, "no values were found");
}

#[test]
fn json_is_json() {
    let wrong = |block: &Block| {
        serde_json::from_str::<Value>(&block.text)
            .err()
            .map(|error| format!("{}: {error}", block.place))
    };
    assert_none(
        &blocks(&["json"])
            .iter()
            .filter_map(wrong)
            .collect::<Vec<_>>(),
    );
}

/// What of a block is typed: of a console, what follows its prompts.
fn typed(block: &Block) -> String {
    if block.language != "console" {
        return block.text.clone();
    }
    let mut script = String::new();
    let mut is_worth_reading_deeper = false;
    for line in block.text.lines() {
        let Some(line) = line
            .strip_prefix("$ ")
            .or_else(|| is_worth_reading_deeper.then(|| line.strip_prefix("> ").unwrap_or(line)))
        else {
            continue;
        };
        script.push_str(line);
        script.push('\n');
        is_worth_reading_deeper = line.ends_with('\\');
    }
    script
}

/// The commands of a script as words, without comments, here-documents, redirections and what they name.
fn commands(script: &str) -> Vec<Vec<String>> {
    let script = without_here_documents(&script.replace("\\\n", " "));
    let mut commands = vec![vec![]];
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let mut redirects = false;
    let mut characters = script.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, '#') if word.is_none() => while characters.next_if(|c| *c != '\n').is_some() {},
            (None, ' ' | '\t' | '\n' | '|' | ';' | '&' | '>' | '<') => {
                // The number before a redirection is no word.
                let ended = word
                    .take()
                    .filter(|word| !matches!(character, '>' | '<') || word.parse::<u8>().is_err());
                if let Some(ended) = ended
                    && !std::mem::take(&mut redirects)
                {
                    commands.last_mut().unwrap().push(ended);
                }
                redirects |= matches!(character, '>' | '<');
                if matches!(character, '\n' | '|' | ';' | '&') {
                    commands.push(vec![]);
                }
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

fn without_here_documents(script: &str) -> String {
    let mut kept = String::new();
    let mut until: Option<String> = None;
    for line in script.lines() {
        if until.is_some() {
            until = until.filter(|end| line.trim() != end);
            continue;
        }
        until = line
            .split_once("<<")
            .map(|(_, end)| end.trim_matches(|c: char| !c.is_alphanumeric()).to_owned());
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

fn shells() -> Vec<Block> {
    blocks(&["sh", "console"])
}

fn all_commands() -> Vec<(String, Vec<String>)> {
    let found: Vec<_> = shells()
        .iter()
        .flat_map(|block| {
            commands(&typed(block))
                .into_iter()
                .map(|words| (block.place.clone(), words))
        })
        .collect();
    assert!(found.len() > 20, "{} commands", found.len());
    found
}

#[test]
fn shell_lines_are_shell() {
    for block in shells() {
        let script = typed(&block);
        assert!(
            !script.trim().is_empty(),
            "{}: nothing is typed",
            block.place
        );
        let answer = Command::new("bash")
            .args(["-n", "-c", &script])
            .output()
            .unwrap();
        assert!(
            answer.status.success(),
            "{}: {}",
            block.place,
            String::from_utf8_lossy(&answer.stderr)
        );
    }
}

#[test]
fn the_operator_takes_its_command_lines() {
    let mut mistakes = vec![];
    let mut checked = BTreeSet::new();
    for (place, words) in all_commands() {
        let rest = match words
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            ["bucket-replication-operator", ..] => &words[1..],
            ["kubectl", "bucketreplication", ..] => &words[2..],
            _ => continue,
        };
        let line =
            std::iter::once("bucket-replication-operator").chain(rest.iter().map(String::as_str));
        match Arguments::try_parse_from(line) {
            Err(error) if error.use_stderr() => mistakes.push(format!("{place}: {error}")),
            _ => checked.extend(rest.first().cloned()),
        }
    }
    assert_none(&mistakes);
    assert!(
        checked.contains("plan") && checked.contains("iam-policy"),
        "{checked:?}"
    );
}

#[test]
fn make_has_the_targets() {
    let makefile: String = ["Makefile", "tests/tools/tools.mk"]
        .map(|path| fs::read_to_string(root().join(path)).unwrap())
        .concat();
    let rule = |line: &'_ str| {
        line.split_once(':')
            .filter(|(names, _)| !names.starts_with(['\t', '#', '.']))
            .map(|(names, _)| names.to_owned())
    };
    let targets: BTreeSet<_> = makefile
        .lines()
        .filter_map(rule)
        .flat_map(|names| {
            names
                .split_whitespace()
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let mut checked = 0;
    for (place, words) in all_commands()
        .into_iter()
        .filter(|(_, words)| words[0] == "make")
    {
        for target in words[1..]
            .iter()
            .filter(|word| !word.starts_with('-') && !word.contains('='))
        {
            checked += 1;
            assert!(
                targets.contains(target),
                "{place}: make {target} is no target of the Makefile"
            );
        }
    }
    assert!(checked > 0, "no make line was found");
}

#[test]
fn paths_are_there() {
    let mut checked = 0;
    for (place, words) in all_commands() {
        for word in &words {
            let path = word.trim_start_matches("file://").trim_start_matches("./");
            if ["deploy/", "charts/", "docs/", "crds/"]
                .iter()
                .any(|folder| path.starts_with(folder))
            {
                checked += 1;
                assert!(root().join(path).exists(), "{place}: {path} does not exist");
            }
        }
    }
    assert!(checked > 0, "no path was found");
}

fn chart_values() -> Value {
    serde_saphyr::from_str(&fs::read_to_string(root().join(CHART).join("values.yaml")).unwrap())
        .unwrap()
}

/// Cuts `text` where `at` stands, but not after a backslash or within braces, as Helm does.
fn cut(text: &str, at: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    let mut escaped = false;
    for character in text.chars() {
        depth += i32::from(character == '{') - i32::from(character == '}');
        match character {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            c if c == at && !escaped && depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
        escaped = false;
    }
    parts
}

/// Whether a setting of `helm --set` names a value of the chart.
fn is_value(setting: &str, values: &Value) -> bool {
    // A backslash before a dot has to outlive the cut at the equals sign.
    let Some((key, _)) = setting.split_once('=') else {
        return false;
    };
    let mut at = values;
    for name in cut(key, '.') {
        match at.get(name.split('[').next().unwrap()) {
            Some(below) => at = below,
            None => return at.as_object().is_some_and(serde_json::Map::is_empty),
        }
    }
    true
}

#[test]
fn helm_sets_values_of_the_chart() {
    let values = chart_values();
    let mut checked = 0;
    for (place, words) in all_commands()
        .into_iter()
        .filter(|(_, words)| words[0] == "helm" && words.len() > 1)
    {
        let after = |flag: &str| {
            words
                .iter()
                .zip(words.iter().skip(1))
                .filter(|(word, _)| *word == flag)
                .map(|(_, next)| next.clone())
                .collect::<Vec<_>>()
        };
        for setting in ["--set", "--set-string"]
            .iter()
            .flat_map(|flag| after(flag))
        {
            // `cut` takes the backslashes away, which belong to the keys here.
            for setting in cut(&setting.replace('\\', "\\\\"), ',') {
                checked += 1;
                assert!(
                    is_value(&setting, &values),
                    "{place}: --set {setting} names no value of the chart"
                );
            }
        }
    }
    assert!(checked > 3, "{checked} settings");
}

#[test]
fn links_to_elsewhere_are_well_formed() {
    for (page, text) in pages() {
        for scheme in ["https://", "http://"] {
            for (position, _) in text.match_indices(scheme) {
                let link = text[position..]
                    .split(|c: char| c.is_whitespace() || ")>\"'`|]".contains(c))
                    .next()
                    .unwrap_or_default();
                let link = link.trim_end_matches(['.', ',', ';', ':']);
                let host = link
                    .parse::<axum::http::Uri>()
                    .ok()
                    .and_then(|uri| uri.host().map(ToOwned::to_owned));
                assert!(
                    host.is_some_and(|host| host.contains('.') || host == "localhost"),
                    "{page}: {link} is no link"
                );
            }
        }
    }
}

#[test]
fn a_script_is_read_as_a_shell_reads_it() {
    let script = "# a comment\ncat > a.json <<'EOF'\nmake nothing\nEOF\nx -f 'a b' \\\n  --set 'k\\.l=v' 2> err | y \"c\"d; z && w > out -n # more\n";
    let read: Vec<_> = commands(script)
        .into_iter()
        .map(|words| words.join("·"))
        .collect();
    assert_eq!(
        read,
        ["cat", "x·-f·a b·--set·k\\.l=v", "y·cd", "z", "w·-n"].map(ToOwned::to_owned)
    );
    let console = Block {
        place: String::new(),
        language: "console".into(),
        text: "$ a \\\n> b\nanswer\n$ c\n".into(),
    };
    assert_eq!(typed(&console), "a \\\nb\nc\n");
    let values = json!({"a": {"b": {}}, "c": []});
    let known = ["a.b.x\\.y/z=1", "c={d,e}", "c[0].x=1"].map(|setting| is_value(setting, &values));
    assert_eq!(
        (known, is_value("a.d=1", &values), is_value("a", &values)),
        ([true, true, false], false, false)
    );
}
