//! The templates of the chart, by what they make of values: no cluster is needed for these.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use testbed::process::program;

const CHART: &str = "charts/bucket-replication-operator";

/// What Helm makes of values, or its words.
fn try_render(release: &str, values: &Value) -> Result<Vec<Value>, String> {
    let mut helm = Command::new(program("helm").unwrap());
    helm.args([
        "template",
        release,
        CHART,
        "--namespace",
        "system",
        "--values",
        "-",
    ])
    .current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child = helm
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(values.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = text
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    Ok(documents.filter(|document| !document.is_null()).collect())
}

fn render(values: &Value) -> Vec<Value> {
    try_render("brepl", &with_image(values)).unwrap()
}

/// The values, with an image if they name none.
fn with_image(values: &Value) -> Value {
    let mut values = values.clone();
    let repository = &mut values["image"]["repository"];
    if repository.is_null() {
        *repository = json!("r/operator");
    }
    values
}

fn all<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = all(objects, kind);
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    found[0]
}

fn container(objects: &[Value]) -> &Value {
    &one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
}

fn variable(objects: &[Value], name: &str) -> Option<String> {
    let variables = container(objects)["env"].as_array().unwrap();
    let found: Vec<_> = variables
        .iter()
        .filter(|variable| variable["name"] == name)
        .collect();
    assert!(found.len() < 2, "{name} stands twice");
    found
        .first()
        .map(|variable| variable["value"].as_str().unwrap().to_owned())
}

#[test]
fn the_defaults_are_two_replicas_that_survive_a_node() {
    let objects = render(&json!({}));
    let deployment = &one(&objects, "Deployment")["spec"];
    assert_eq!(deployment["replicas"], 2);
    assert_eq!(
        variable(&objects, "LEADER_ELECTION").as_deref(),
        Some("true")
    );
    assert_eq!(
        one(&objects, "PodDisruptionBudget")["spec"]["maxUnavailable"],
        1
    );
    let spread = deployment["template"]["spec"]["topologySpreadConstraints"]
        .as_array()
        .unwrap();
    assert_eq!(
        spread
            .iter()
            .map(|constraint| constraint["topologyKey"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    );
    for absent in [
        "NetworkPolicy",
        "ServiceMonitor",
        "PrometheusRule",
        "ConfigMap",
        "Secret",
    ] {
        assert!(all(&objects, absent).is_empty(), "{absent}");
    }
    assert!(all(&render(&json!({"replicaCount": 1})), "PodDisruptionBudget").is_empty());
}

#[test]
fn every_pod_is_restricted() {
    let objects = render(&json!({}));
    let pods = [
        &one(&objects, "Deployment")["spec"]["template"]["spec"],
        &one(&objects, "Pod")["spec"],
    ];
    for pod in pods {
        let security = &pod["securityContext"];
        assert!(
            security["runAsNonRoot"] == true
                && security["seccompProfile"]["type"] == "RuntimeDefault",
            "{pod}"
        );
        let container = &pod["containers"][0]["securityContext"];
        assert!(
            container["allowPrivilegeEscalation"] == false
                && container["readOnlyRootFilesystem"] == true,
            "{pod}"
        );
        assert_eq!(container["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(pod["automountServiceAccountToken"], true);
    }
    assert_eq!(
        one(&objects, "ServiceAccount")["automountServiceAccountToken"],
        false
    );
}

#[test]
fn neither_service_nor_budget_takes_the_test_for_a_replica() {
    let objects = render(&json!({}));
    let labels = &one(&objects, "Pod")["metadata"]["labels"];
    for selector in [
        &one(&objects, "Service")["spec"]["selector"],
        &one(&objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ] {
        let selects = |labels: &Value| {
            selector
                .as_object()
                .unwrap()
                .iter()
                .all(|(key, value)| labels[key] == *value)
        };
        assert!(
            selects(&one(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"])
                && !selects(labels),
            "{selector}"
        );
    }
}

#[test]
fn crds_come_with_the_chart_and_stay() {
    let policy = |values: Value| -> Vec<Value> {
        let objects = render(&values);
        let crds = all(&objects, "CustomResourceDefinition").into_iter();
        crds.map(|crd| crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone())
            .collect()
    };
    assert_eq!(policy(json!({})), [json!("keep"), json!("keep")]);
    assert_eq!(
        policy(json!({"crds": {"keep": false}})),
        [Value::Null, Value::Null]
    );
    assert!(policy(json!({"crds": {"install": false}})).is_empty());
}

#[test]
fn some_namespaces_only_get_roles_of_their_own() {
    let objects =
        render(&json!({"watchNamespaces": ["finance", "legal"], "rbac": {"aggregate": false}}));
    assert_eq!(
        variable(&objects, "WATCH_NAMESPACES").as_deref(),
        Some("finance,legal")
    );
    let places: Vec<_> = all(&objects, "Role")
        .iter()
        .map(|role| role["metadata"]["namespace"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(places, ["system", "finance", "legal"]);
    let cluster = one(&objects, "ClusterRole")["rules"].as_array().unwrap();
    let named: Vec<_> = cluster
        .iter()
        .map(|rule| (rule["resources"].clone(), rule["verbs"].clone()))
        .collect();
    assert_eq!(
        named,
        [
            (json!(["awsaccounts"]), json!(["list", "watch"])),
            (json!(["namespaces"]), json!(["get", "list", "watch"]))
        ]
    );
}

/// Umbrella charts switch their dependencies on by a value of this name.
#[test]
fn a_chart_that_depends_on_it_can_switch_it_on() {
    let objects = render(&json!({"enabled": true, "global": {"any": "thing"}}));
    assert_eq!(all(&objects, "Deployment").len(), 1);
}

#[test]
fn what_is_switched_off_is_not_there() {
    let objects = render(
        &json!({"rbac": {"create": false}, "admission": {"enabled": false}, "metrics": {"service": {"enabled": false}}}),
    );
    for kind in [
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "Service",
    ] {
        assert!(all(&objects, kind).is_empty(), "{kind}");
    }
    let aggregated = |values: Value| all(&render(&values), "ClusterRole").len();
    assert_eq!(
        (
            aggregated(json!({})),
            aggregated(json!({"rbac": {"aggregate": false}}))
        ),
        (3, 1)
    );
}

#[test]
fn identities_of_aws() {
    let role = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::999999999999:role/operator"});
    let irsa = render(
        &json!({"serviceAccount": {"annotations": role}, "aws": {"region": "eu-central-1"}}),
    );
    assert_eq!(
        one(&irsa, "ServiceAccount")["metadata"]["annotations"],
        role
    );
    assert_eq!(
        variable(&irsa, "AWS_REGION").as_deref(),
        Some("eu-central-1")
    );
    let own = render(&json!({"serviceAccount": {"create": false, "name": "mine"}}));
    assert!(all(&own, "ServiceAccount").is_empty());
    assert_eq!(
        one(&own, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"],
        "mine"
    );
    assert!(
        all(&own, "ClusterRoleBinding")
            .iter()
            .all(|binding| binding["subjects"][0]["name"] == "mine")
    );
    // Pod Identity is associated outside of the cluster: nothing but the way to its agent is needed.
    let policy = render(&json!({"networkPolicy": {"enabled": true}}));
    assert!(
        one(&policy, "NetworkPolicy")["spec"]["egress"]
            .to_string()
            .contains("169.254.170.23/32")
    );
}

#[test]
fn images_by_tag_and_by_digest() {
    let image = |values: Value| {
        container(&render(&values))["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let digest = format!("sha256:{}", "a".repeat(64));
    assert_eq!(
        image(json!({})),
        format!("r/operator:{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        image(json!({"image": {"repository": "r/x", "tag": "1"}})),
        "r/x:1"
    );
    assert_eq!(
        image(json!({"image": {"repository": "r/x", "tag": "1", "digest": digest}})),
        format!("r/x@{digest}")
    );
}

#[test]
fn what_is_extra_comes_beside_what_the_chart_sets() {
    let objects = render(&json!({
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/ca/ca.crt"}], "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}], "podLabels": {"team": "storage"}, "podAnnotations": {"a": "b"},
        "controller": {"otlpEndpoint": "http://collector.monitoring:4317"}, "nodeSelector": {"disk": "none"}, "priorityClassName": "high",
        "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}, "imagePullSecrets": [{"name": "registry"}],
    }));
    assert_eq!(
        variable(&objects, "SSL_CERT_FILE").as_deref(),
        Some("/ca/ca.crt")
    );
    assert_eq!(
        variable(&objects, "OTEL_EXPORTER_OTLP_ENDPOINT").as_deref(),
        Some("http://collector.monitoring:4317")
    );
    assert_eq!(
        variable(&render(&json!({})), "OTEL_EXPORTER_OTLP_ENDPOINT"),
        None
    );
    let template = &one(&objects, "Deployment")["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(pod["volumes"][0]["name"], "ca");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/ca");
    assert!(
        template["metadata"]["labels"]["team"] == "storage"
            && template["metadata"]["annotations"]["a"] == "b"
    );
    assert_eq!(pod["priorityClassName"], "high");
    for pod in [pod, &one(&objects, "Pod")["spec"]] {
        assert!(
            pod["nodeSelector"]["disk"] == "none"
                && pod["tolerations"][0]["operator"] == "Exists"
                && pod["affinity"].is_object(),
            "{pod}"
        );
    }
    assert_eq!(pod["imagePullSecrets"][0]["name"], "registry");
}

#[test]
fn monitoring_says_what_the_files_say() {
    let values = |labels: Value| {
        json!({"metrics": {
            "serviceMonitor": {"enabled": true, "labels": labels}, "prometheusRule": {"enabled": true, "labels": labels}, "dashboard": {"enabled": true},
        }})
    };
    let objects = render(&values(json!({"release": "prometheus"})));
    let file = |name: &str| {
        fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(CHART)
                .join("files/monitoring")
                .join(name),
        )
        .unwrap()
    };
    let rule = one(&objects, "PrometheusRule");
    assert_eq!(
        rule["spec"],
        serde_saphyr::from_str::<Value>(&file("alerts.yaml")).unwrap()
    );
    let monitor = one(&objects, "ServiceMonitor");
    assert!(
        monitor["metadata"]["labels"]["release"] == "prometheus"
            && rule["metadata"]["labels"]["release"] == "prometheus"
    );
    let service = one(&objects, "Service");
    let selector = monitor["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap();
    assert!(
        selector
            .iter()
            .all(|(key, value)| service["metadata"]["labels"][key] == *value)
    );
    assert_eq!(
        monitor["spec"]["endpoints"][0]["port"],
        service["spec"]["ports"][0]["name"]
    );
    let dashboard = one(&objects, "ConfigMap");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let shown: Value = serde_json::from_str(
        dashboard["data"]["bucket-replication.json"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(
        shown,
        serde_json::from_str::<Value>(&file("dashboard.json")).unwrap()
    );
}

#[test]
fn names_are_cut_where_kubernetes_takes_no_longer_ones() {
    // The longest that Helm takes.
    let release = "a-release-with-a-name-that-is-long-as-helm-takes-them";
    let render = |values: Value| try_render(release, &with_image(&values)).unwrap();
    let overridden = [
        render(json!({"fullnameOverride": "x".repeat(70)})),
        render(json!({})),
    ];
    let overridden = overridden.each_ref().map(|objects| {
        [
            "Deployment",
            "Pod",
            "PodDisruptionBudget",
            "Service",
            "ServiceAccount",
        ]
        .map(|kind| {
            one(objects, kind)["metadata"]["name"]
                .as_str()
                .unwrap()
                .to_owned()
        })
    });
    for name in overridden.iter().flatten() {
        assert!(name.len() <= 63 && !name.ends_with('-'), "{name}");
    }
}

/// What a user may have mistyped is told before anything is installed.
#[test]
fn values_that_make_no_sense_are_refused() {
    for (values, told) in [
        (json!({"replica": 2}), "replica"),
        (json!({"replicaCount": -1}), "replicaCount"),
        (json!({"metrics": null}), "metrics"),
        (json!({"fullnameOverride": "Bad_Name"}), "fullnameOverride"),
        (
            json!({"controller": {"leaseDuration": "1s"}}),
            "leaseDuration",
        ),
        (
            json!({"image": {"repository": ""}}),
            "image.repository is required",
        ),
        (
            json!({"podLabels": {"app.kubernetes.io/name": "mine"}}),
            "label app.kubernetes.io/name is the chart's own",
        ),
        (
            json!({"commonLabels": {"app.kubernetes.io/instance": "mine"}}),
            "label app.kubernetes.io/instance is the chart's own",
        ),
        (
            json!({"watchNamespaces": ["finance", "finance"]}),
            "watchNamespaces",
        ),
        (json!({"aws": {"httpsProxy": "proxy:3128"}}), "httpsProxy"),
        (json!({"aws": {"noProxy": "a,b"}}), "noProxy"),
        (json!({"installationID": "Prod"}), "installationID"),
        (json!({"installationID": "a-b"}), "installationID"),
        (json!({"watchNamespaces": ["a,b"]}), "watchNamespaces"),
        (json!({"watchNamespaces": "finance"}), "watchNamespaces"),
        (json!({"aws": {"region": "Frankfurt"}}), "region"),
        (
            json!({"aws": {"endpointURL": "ministack:4566"}}),
            "endpointURL",
        ),
        (
            json!({"controller": {"driftPeriod": "ten minutes"}}),
            "driftPeriod",
        ),
        (json!({"controller": {"driftPeriod": 600}}), "driftPeriod"),
        (json!({"controller": {"concurrency": 0}}), "concurrency"),
        (
            json!({"controller": {"otlpEndpoint": "collector:4317"}}),
            "otlpEndpoint",
        ),
        (json!({"controller": {"logFormat": "xml"}}), "logFormat"),
        (json!({"image": {"digest": "latest"}}), "digest"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "pullPolicy"),
        (
            json!({"metrics": {"serviceMonitor": {"interval": "often"}}}),
            "interval",
        ),
        (
            json!({"serviceAccount": {"create": false}}),
            "serviceAccount.name is needed",
        ),
        (
            json!({"metrics": {"serviceMonitor": {"enabled": true}, "service": {"enabled": false}}}),
            "needs metrics.service.enabled",
        ),
    ] {
        let refused = try_render("brepl", &with_image(&values))
            .err()
            .unwrap_or_else(|| panic!("{values} was taken"));
        assert!(refused.contains(told), "{values}: {refused}");
    }
}

/// What `OpenShift`'s restricted-v2 admits: it assigns users and groups itself ("Managing security context constraints" in its documentation).
#[test]
fn openshift_admits_every_pod() {
    let objects = render(&json!({
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}], "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    }));
    let volumes = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for pod in [
        &one(&objects, "Deployment")["spec"]["template"]["spec"],
        &one(&objects, "Pod")["spec"],
    ] {
        let container = &pod["containers"][0];
        for security in [&pod["securityContext"], &container["securityContext"]] {
            for assigned in [
                "runAsUser",
                "runAsGroup",
                "fsGroup",
                "supplementalGroups",
                "seLinuxOptions",
                "privileged",
            ] {
                assert!(security[assigned].is_null(), "{assigned}: {security}");
            }
        }
        for shared in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[shared].is_null(), "{shared}");
        }
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            let mut kinds = volume
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "name");
            assert!(
                kinds.all(|kind| volumes.contains(&kind.as_str())),
                "{volume}"
            );
        }
        let ports = container["ports"].as_array().into_iter().flatten();
        assert!(
            ports
                .clone()
                .all(|port| port["hostPort"].is_null()
                    && port["containerPort"].as_u64() > Some(1024))
        );
    }
}

#[test]
fn common_labels_are_everywhere_and_selectors_stay() {
    let labelled = render(&json!({
        "commonLabels": {"cost-center": "42", "helm.sh/chart": "not-yours"}, "podLabels": {"team": "storage"}, "serviceAccount": {"labels": {"own": "yes"}},
        "metrics": {"serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true}}, "networkPolicy": {"enabled": true},
    }));
    let template = &one(&labelled, "Deployment")["spec"]["template"]["metadata"]["labels"];
    for labels in labelled
        .iter()
        .map(|object| &object["metadata"]["labels"])
        .chain([template])
    {
        assert_eq!(labels["cost-center"], "42", "{labels}");
        let is_chart = labels["app.kubernetes.io/version"].is_string();
        assert!(!is_chart || labels["helm.sh/chart"] != "not-yours");
    }
    assert_eq!(template["team"], "storage");
    assert_eq!(
        one(&labelled, "ServiceAccount")["metadata"]["labels"]["own"],
        "yes"
    );
    let selector = |objects: &[Value]| one(objects, "Deployment")["spec"]["selector"].clone();
    assert_eq!(selector(&labelled), selector(&render(&json!({}))));
}

#[test]
fn a_proxy_is_for_aws_and_not_for_what_gives_credentials() {
    let objects = render(&json!({
        "aws": {"httpsProxy": "http://proxy.example.com:3128", "noProxy": [".internal"]}, "networkPolicy": {"enabled": true},
    }));
    assert_eq!(
        variable(&objects, "HTTPS_PROXY").as_deref(),
        Some("http://proxy.example.com:3128")
    );
    let without = variable(&objects, "NO_PROXY").unwrap();
    let without: Vec<_> = without.split(',').collect();
    for host in ["169.254.170.23", "169.254.169.254", ".internal"] {
        assert!(without.contains(&host), "{without:?}");
    }
    let ports =
        |values: Value| one(&render(&values), "NetworkPolicy")["spec"]["egress"].to_string();
    let policy =
        |url: &str| ports(json!({"aws": {"httpsProxy": url}, "networkPolicy": {"enabled": true}}));
    assert!(policy("http://proxy.example.com:3128").contains(r#"{"port":3128,"protocol":"TCP"}"#));
    assert!(policy("http://proxy.example.com").contains(r#"{"port":80,"protocol":"TCP"}"#));
    for variable_of_it in ["HTTPS_PROXY", "NO_PROXY"] {
        assert_eq!(variable(&render(&json!({})), variable_of_it), None);
    }
}

#[test]
fn further_arguments_objects_and_relabelings() {
    let relabeling =
        json!([{"action": "replace", "targetLabel": "cluster", "replacement": "prod"}]);
    let objects = render(&json!({
        "extraArgs": ["--event-window=1s"], "deploymentAnnotations": {"a": "b"},
        "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}}],
        "metrics": {
            "service": {"annotations": {"c": "d"}},
            "serviceMonitor": {"enabled": true, "scrapeTimeout": "10s", "relabelings": relabeling, "metricRelabelings": relabeling},
        },
    }));
    assert_eq!(
        container(&objects)["args"],
        json!(["run", "--event-window=1s"])
    );
    assert_eq!(container(&render(&json!({})))["args"], json!(["run"]));
    assert_eq!(
        one(&objects, "Deployment")["metadata"]["annotations"]["a"],
        "b"
    );
    assert_eq!(
        one(&objects, "Service")["metadata"]["annotations"]["c"],
        "d"
    );
    assert_eq!(
        one(&objects, "ConfigMap")["metadata"]["name"],
        "brepl-extra"
    );
    let endpoint = &one(&objects, "ServiceMonitor")["spec"]["endpoints"][0];
    assert!(
        endpoint["relabelings"] == relabeling
            && endpoint["metricRelabelings"] == relabeling
            && endpoint["scrapeTimeout"] == "10s"
            && endpoint["honorLabels"] == true,
        "{endpoint}"
    );
}
