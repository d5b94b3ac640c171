//! `plan --offline` refuses what the API server, S3 or a grant would refuse, and says in which file, object and field.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

const SOURCE_KEY: &str = "arn:aws:kms:us-east-1:111111111111:key/src";
const REPLICA_KEY: &str = "arn:aws:kms:us-west-2:222222222222:key/dst";

/// An object across two accounts with KMS keys.
fn object() -> Value {
    json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
        "metadata": {"name": "records", "namespace": "finance"},
        "spec": {
            "source": {"accountName": "prod", "bucket": "records", "kmsKeys": [SOURCE_KEY]},
            "destination": {"accountName": "dr", "bucket": "records-dr", "kmsKey": REPLICA_KEY},
        },
    })
}

fn account(name: &str, id: &str, grants: &Value) -> Value {
    json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name},
        "spec": {"accountID": id, "grants": grants},
    })
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut object = object();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("a parent")[field] = value;
    object
}

/// Exit code, standard output and standard error of a plan of a text.
fn plan_of(text: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
    let command = command
        .args(["plan", "--offline", "-f", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("a code"),
        text(output.stdout),
        text(output.stderr),
    )
}

fn plan(documents: &[Value]) -> (i32, String, String) {
    let texts: Vec<_> = documents.iter().map(ToString::to_string).collect();
    plan_of(&texts.join("\n---\n"))
}

#[track_caller]
fn refuses(documents: &[Value], parts: &[&str]) {
    let (code, output, error) = plan(documents);
    assert_eq!((code, output.as_str()), (2, ""), "{error}");
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

/// unitycatalog/unitycatalog#1794: tools that write `arn:aws:` in `GovCloud`.
#[test]
fn the_partition_is_that_of_the_keys() {
    let gov = |region: &str, account: &str| format!("arn:aws-us-gov:kms:{region}:{account}:key/k");
    let mut object = changed(
        "/spec/source/kmsKeys",
        json!([gov("us-gov-west-1", "111111111111")]),
    );
    object["spec"]["destination"]["kmsKey"] = json!(gov("us-gov-east-1", "222222222222"));
    let (code, output, error) = plan(std::slice::from_ref(&object));
    assert_eq!(code, 0, "{error}");
    assert!(!output.contains("arn:aws:"), "{output}");
    assert!(output.contains("arn:aws-us-gov:s3:::records-dr"));

    let accounts = [
        account("prod", "111111111111", &json!([])),
        account("dr", "222222222222", &json!([])),
    ];
    let [prod, dr] = accounts;
    refuses(
        &[object, prod, dr],
        &[
            "spec.source.kmsKeys[0]",
            "is not in partition aws of AWSAccount prod",
            "spec.destination.kmsKey",
        ],
    );
}

/// crossplane-contrib/provider-aws#554: what the tool lets pass, S3 refuses.
#[test]
fn the_limits_of_the_schema_hold() {
    let rule = |name: String| json!({"name": name, "prefix": name});
    let rules: Vec<_> = (0..101).map(|n| rule(format!("r{n}"))).collect();
    let tagged = |tags: Value| changed("/spec/rules", json!([{"name": "tagged", "tags": tags}]));
    for (object, part) in [
        (
            changed("/spec/rules", json!([{"name": "a", "priority": -5}])),
            "spec.rules[0].priority: -5",
        ),
        (
            changed(
                "/spec/rules",
                json!([{"name": "a", "priority": 2_147_483_647}]),
            ),
            "spec.rules[0].priority: 2147483647",
        ),
        (
            changed("/spec/rules", json!(rules)),
            "spec.rules: there are 101",
        ),
        (
            changed("/spec/source/kmsKeys", json!(vec![SOURCE_KEY; 21])),
            "spec.source.kmsKeys: there are 21",
        ),
        (
            changed("/metadata/name", json!("n".repeat(64))),
            "metadata.name",
        ),
        (
            changed(
                "/spec/source/kmsKeys",
                json!([SOURCE_KEY, "arn:aws:kms:eu-west-1:111111111111:key/other"]),
            ),
            "spec.source.kmsKeys[1]: it is in eu-west-1, and another key in us-east-1",
        ),
        (tagged(json!({"aws:a": "b"})), "spec.rules[0].tags"),
        (tagged(json!({"a": "b\nc"})), "spec.rules[0].tags"),
    ] {
        refuses(&[object], &[part]);
    }
}

/// aws-cloudformation/cfn-lint#2454: an account ID without quotes.
#[test]
fn a_wrong_type_names_file_object_and_field() {
    let mut unquoted = account("prod", "111111111111", &json!([]));
    unquoted["spec"]["accountID"] = json!(12_345_678_901_u64);
    refuses(
        &[object(), unquoted],
        &["standard input: AWSAccount prod", "spec.accountID"],
    );
    refuses(
        &[changed("/spec/metrics", json!(false))],
        &["standard input: BucketReplication records", "spec.metrics"],
    );
    refuses(
        &[changed(
            "/spec/rules",
            json!([{"name": "a", "tags": {"year": 2024}}]),
        )],
        &["spec.rules[0].tags.year"],
    );
    refuses(
        &[changed("/spec/metric", json!("Enabled"))],
        &["BucketReplication records", "no field spec.metric"],
    );
    refuses(
        &[changed("/apiVersion", json!("bucketops.dev/v1"))],
        &["apiVersion bucketops.dev/v1 is not supported"],
    );
    let (code, _, error) = plan_of("kind: BucketReplication\nmetrics: a\nmetrics: b\n");
    assert_eq!(code, 2);
    assert!(error.contains("standard input is not YAML"), "{error}");
}

#[test]
fn lists_anchors_and_other_line_ends_are_read() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [object()]});
    let anchors = object().to_string().replacen(
        r#""spec":{"#,
        r#""spec":{"rules":[&r {"name":"a","prefix":"a/"},{<<: *r,"name":"b","prefix":"b/"}],"#,
        1,
    );
    let lines = "\u{feff}apiVersion: bucketops.dev/v1alpha1\r\nkind: BucketReplication\r\nmetadata: {name: x, namespace: finance}\r\nspec:\r\n  source: {accountName: prod, bucket: plain-src}\r\n  destination: {accountName: dr, bucket: plain-dst}\r\n";
    for text in [list.to_string(), anchors, lines.to_owned()] {
        let (code, output, error) = plan_of(&text);
        assert_eq!(code, 0, "{error}");
        assert!(output.contains("==> replication.json <=="), "{output}");
    }
}

#[test]
fn the_grants_of_given_accounts_hold() {
    let granted = |team: &str, bucket: &str, keys: &str| {
        json!([{
            "namespaces": {"matchLabels": {"team": team}}, "kmsKeys": [keys],
            "sources": [{"bucket": bucket, "destinationAccountNames": ["dr"]}], "destinations": [{"bucket": bucket}],
        }])
    };
    let files = |bucket: &str, keys: &str| {
        vec![
            object(),
            account("prod", "111111111111", &granted("finance", bucket, keys)),
            account("dr", "222222222222", &granted("finance", bucket, keys)),
        ]
    };
    let namespace = |team: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "finance", "labels": {"team": team}}});
    let (code, _, error) = plan(&files("records*", "*"));
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("namespace finance is not in the files"),
        "{error}"
    );
    refuses(
        &files("payroll", "*"),
        &["NotGranted", "replicate from bucket records"],
    );
    refuses(
        &files("*", "arn:aws:kms:*:*:key/other"),
        &["NotGranted", "use key"],
    );

    let with = |team: &str| [files("*", "*"), vec![namespace(team)]].concat();
    let (code, _, error) = plan(&with("finance"));
    assert_eq!((code, error.as_str()), (0, ""));
    refuses(&with("hr"), &["NotGranted"]);
}

#[test]
fn output_that_can_t_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let Ok(full) = full else { return };
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("object.json");
    std::fs::write(&file, object().to_string()).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
    let command = command.args(["plan", "--offline", "-f"]).arg(file);
    let output = command.stdout(full).stderr(Stdio::piped()).output();
    let output = output.expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("standard output can't be written"),
        "{error}"
    );
}

/// Exit code and standard error of a command without a cluster.
fn without_a_cluster(program: &std::path::Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program);
    command
        .args(words)
        .env_clear()
        .env("KUBECONFIG", "/nonexistent");
    let output = command.output().expect("the binary");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("a code"),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_cause_is_said_once() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
    for words in [["status", "tax"], ["plan", "tax"]] {
        let (code, _, said) = without_a_cluster(program, &words);
        assert_eq!(code, 2, "{said}");
        assert_eq!(
            said.matches("No such file or directory").count(),
            1,
            "{said}"
        );
    }
}

#[test]
fn a_policy_for_no_account_is_an_error() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
    let (code, printed, said) = without_a_cluster(
        program,
        &["iam-policy", "-f", "deploy/samples/walkthrough.yaml"],
    );
    assert_eq!((code, printed.as_str()), (2, ""), "{said}");
    assert!(said.contains("no AWSAccount in the files"), "{said}");
}

#[test]
fn a_plugin_is_called_as_it_is_typed() {
    let plugin =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl-bucketreplication");
    let _ = std::fs::remove_file(&plugin);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bucket-replication-operator"), &plugin)
        .expect("a link");
    let (code, printed, _) = without_a_cluster(&plugin, &["status", "--help"]);
    assert_eq!(code, 0);
    assert!(
        printed.contains("Usage: kubectl bucketreplication status"),
        "{printed}"
    );
}

/// A folder of files with these texts.
fn folder(name: &str, files: &[(&str, String)]) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    for (file, text) in files {
        let file = folder.join(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    }
    folder
}

fn of_folder(folder: &std::path::Path, words: &[&str]) -> (i32, String, String) {
    let folder = folder.to_string_lossy();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
    without_a_cluster(
        program,
        &[&["plan", "--offline", "-f", &folder], words].concat(),
    )
}

#[test]
fn all_objects_of_a_folder_are_planned() {
    let named = |name: &str, source: &str, prefix: &str| {
        let mut object = changed("/metadata/name", json!(name));
        object["spec"]["source"]["bucket"] = json!(source);
        object["spec"]["rules"] = json!([{"name": name, "prefix": prefix}]);
        object.to_string()
    };
    let folder = folder(
        "plans",
        &[
            ("a.yaml", named("tax", "records", "tax/")),
            ("b.json", named("legal", "records", "legal/")),
            ("notes.txt", "no object: [".to_owned()),
            ("deep/c.yml", named("logs", "logs", "")),
        ],
    );
    let (code, printed, said) = of_folder(&folder, &["-o", "json"]);
    assert_eq!(code, 0, "{said}");
    let planned: Value = serde_json::from_str(&printed).expect("JSON");
    let rules = planned["replication.json"]["Rules"].as_array();
    assert_eq!(
        rules.map(Vec::len),
        Some(2),
        "both rules of the bucket: {planned:#}"
    );

    let (code, printed, said) = of_folder(&folder, &["--recursive", "-o", "json"]);
    assert_eq!(code, 0, "{said}");
    let planned: Value = serde_json::from_str(&printed).expect("JSON");
    let buckets = planned["buckets"].as_array().expect("several");
    let of = |bucket: &Value| (bucket["bucket"].clone(), bucket["objects"].clone());
    assert_eq!(
        buckets.iter().map(of).collect::<Vec<_>>(),
        [
            (json!("logs"), json!(["finance/logs"])),
            (json!("records"), json!(["finance/tax", "finance/legal"]))
        ]
    );
    let (_, printed, _) = of_folder(&folder, &["-R"]);
    for document in [
        "==> logs/replication.json <==",
        "==> records/permissions.json <==",
    ] {
        assert!(printed.contains(document), "{printed}");
    }
    // Each warning is given once, whichever object it is about.
    assert_eq!(
        said.matches("AWSAccount prod is not in the files").count(),
        1,
        "{said}"
    );
}

#[test]
fn what_no_cluster_could_have_is_refused() {
    let twice = [object(), object()];
    refuses(
        &twice,
        &["BucketReplication records", "is in standard input as well"],
    );
    let accounts = [
        object(),
        account("prod", "111111111111", &json!([])),
        account("prod", "222222222222", &json!([])),
    ];
    refuses(&accounts, &["AWSAccount prod", "as well"]);
    refuses(
        &[object(), changed("/kind", json!("BucketReplicaton"))],
        &["there is no kind \"BucketReplicaton\""],
    );
    let mut nameless = object();
    nameless["metadata"] = json!({"namespace": "finance"});
    refuses(&[nameless], &["metadata.name is missing"]);
    // Objects of other APIs may be beside them.
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let (code, _, said) = plan(&[object(), other.clone(), other]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn objects_that_are_refused_are_named_and_the_others_are_planned() {
    let mut wrong = changed("/metadata/name", json!("wrong"));
    wrong["spec"]["rules"] = json!([{"name": "a", "priority": -5}]);
    let folder = folder(
        "refused",
        &[
            ("good.yaml", object().to_string()),
            ("wrong.yaml", wrong.to_string()),
        ],
    );
    let (code, printed, said) = of_folder(&folder, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(printed.contains("==> replication.json <=="), "{printed}");
    let file = folder.join("wrong.yaml");
    let named = format!("error: {}: BucketReplication wrong: ", file.display());
    assert!(
        said.contains(&named) && said.contains("spec.rules[0].priority"),
        "{said}"
    );
}

#[test]
fn a_folder_without_objects_says_what_it_looked_for() {
    let outer = folder("outer", &[("inner/a.yaml", object().to_string())]);
    let (code, _, said) = of_folder(&outer, &[]);
    assert_eq!(code, 2);
    assert!(
        said.contains("*.yaml") && said.contains("--recursive"),
        "{said}"
    );
    let empty = folder("empty", &[("a.yaml", "kind: Namespace".to_owned())]);
    let (code, _, said) = of_folder(&empty, &[]);
    assert_eq!(code, 2);
    assert!(said.contains("no BucketReplication in the files"), "{said}");
}

/// What bash puts in the place of the last word of a line, after the script that `completion bash` prints.
fn completed_by_bash(line: &[&str]) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_bucket-replication-operator");
    let script = format!(
        "source <({program} completion bash)\n\
         COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMP_TYPE=9\n\
         $(complete -p bucket-replication-operator | sed 's/.*-F \\([^ ]*\\).*/\\1/') \"$1\" \"${{!#}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script, "bash"]).args(line);
    let output = bash
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .expect("bash");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    const PROGRAM: &str = "bucket-replication-operator";
    assert_eq!(completed_by_bash(&[PROGRAM, "iam"]), ["iam-policy"]);
    assert_eq!(
        completed_by_bash(&[PROGRAM, "iam-policy", "--temp"]),
        ["--template"]
    );
    assert_eq!(
        completed_by_bash(&[PROGRAM, "iam-policy", "--template", "c"]),
        ["cloudformation"]
    );
}

#[test]
fn every_shell_has_a_script() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, said) = without_a_cluster(program, &["completion", shell]);
        assert_eq!(code, 0, "{said}");
        assert!(
            script.contains("BUCKET_REPLICATION_OPERATOR_COMPLETE"),
            "{script}"
        );
    }
}
