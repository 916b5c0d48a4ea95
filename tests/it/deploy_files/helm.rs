//! The chart: rendered by Helm, it gives the same as the manifests, and what its values say.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{check, deploy, document, read, root, said, text, tool, yaml};

const SECRETS: &str = "/run/secrets/tranship";
const IMAGE: &str = "{image: {repository: registry.example.com/tranship}}";

/// What Helm prints for these values, or what it says against them.
fn helm(command: &[&str], values: &str) -> Result<String, String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("values.yaml");
    fs::write(&file, values).unwrap();
    let mut helm = Command::new("helm");
    helm.args(command).arg(deploy("helm/tranship")).arg("--namespace=tranship");
    // Nothing of the user's own settings.
    helm.arg("--values").arg(file).env("HOME", folder.path());
    let output = tool(&mut helm);
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(said(&output)),
    }
}

fn render(release: &str, values: &str) -> Vec<Value> {
    let rendered = helm(&["template", release], values).unwrap_or_else(|said| panic!("{said}"));
    yaml(&rendered).into_iter().filter(|object| !object.is_null()).collect()
}

fn of_kind(objects: &[Value], kind: &str) -> Value {
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0].clone()
}

fn pod(objects: &[Value]) -> Value {
    of_kind(objects, "Deployment")["spec"]["template"].clone()
}

fn without(mut value: Value, keys: &[&str]) -> Value {
    for key in keys {
        value.as_object_mut().unwrap().remove(*key);
    }
    value
}

#[test]
fn helm_finds_no_fault_in_the_chart() {
    let said = helm(&["lint", "--strict"], IMAGE).unwrap();
    assert!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{said}");
    let manifest: toml::Table =
        toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let version = manifest["package"]["version"].as_str().unwrap();
    let chart = document("helm/tranship/Chart.yaml");
    assert_eq!(chart["appVersion"], version, "the image has the version of the program");
}

/// With its defaults, the chart is what `kubectl apply -k deploy/kubernetes` gives, but for labels,
/// the image and the rules in the configuration.
#[tokio::test]
async fn the_chart_gives_what_the_manifests_give() {
    let chart = render("tranship", IMAGE);
    let manifest = |name: &str| document(&format!("kubernetes/{name}.yaml"));

    let deployment = of_kind(&chart, "Deployment")["spec"].clone();
    let same = manifest("deployment")["spec"].clone();
    let rest = |spec: &Value| without(spec.clone(), &["selector", "template"]);
    assert_eq!(rest(&deployment), rest(&same));
    let (mut pod, same) = (deployment["template"]["spec"].clone(), &same["template"]["spec"]);
    let container = without(pod["containers"][0].clone(), &["imagePullPolicy"]);
    assert_eq!(container["image"], "registry.example.com/tranship:0.1.0");
    pod["containers"][0] = container;
    pod["containers"][0]["image"] = same["containers"][0]["image"].clone();
    assert_eq!(&pod, same);

    assert_eq!(
        without(of_kind(&chart, "Service")["spec"].clone(), &["selector"]),
        without(manifest("service")["spec"].clone(), &["selector"])
    );
    assert_eq!(
        without(of_kind(&chart, "NetworkPolicy")["spec"].clone(), &["podSelector"]),
        without(manifest("networkpolicy")["spec"].clone(), &["podSelector"])
    );
    assert_eq!(
        of_kind(&chart, "PersistentVolumeClaim")["spec"],
        manifest("persistentvolumeclaim")["spec"]
    );
    assert_eq!(
        of_kind(&chart, "ServiceAccount")["automountServiceAccountToken"],
        manifest("serviceaccount")["automountServiceAccountToken"]
    );
    let names = |kind: &str, file: &str| {
        assert_eq!(of_kind(&chart, kind)["metadata"]["name"], manifest(file)["metadata"]["name"]);
    };
    for (kind, file) in [
        ("Deployment", "deployment"),
        ("Service", "service"),
        ("ServiceAccount", "serviceaccount"),
        ("PersistentVolumeClaim", "persistentvolumeclaim"),
    ] {
        names(kind, file);
    }
    // All else has to be asked for, and secrets are not kept here.
    assert_eq!(chart.len(), 6, "{chart:?}");

    let config = of_kind(&chart, "ConfigMap")["data"]["tranship.toml"].clone();
    check(text(&config), SECRETS).await;
    let table = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(table(text(&config))["daemon"], table(&read("kubernetes/tranship.toml"))["daemon"]);
}

#[test]
fn what_selects_the_pod_is_what_the_pod_has() {
    let chart = render("mirror", IMAGE);
    let labels = pod(&chart)["metadata"]["labels"].clone();
    assert_eq!(labels["app.kubernetes.io/instance"], "mirror");
    assert_eq!(of_kind(&chart, "Deployment")["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(of_kind(&chart, "Service")["spec"]["selector"], labels);
    assert_eq!(of_kind(&chart, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels);
    let account = &of_kind(&chart, "ServiceAccount")["metadata"]["name"];
    assert_eq!(
        (account, &pod(&chart)["spec"]["serviceAccountName"]),
        (&json!("mirror-tranship"), account)
    );
    let volumes = pod(&chart)["spec"]["volumes"].clone();
    assert_eq!(volumes[0]["configMap"]["name"], of_kind(&chart, "ConfigMap")["metadata"]["name"]);
    let claim = of_kind(&chart, "PersistentVolumeClaim");
    assert_eq!(volumes[2]["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
    assert_eq!(claim["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
}

#[test]
fn monitoring_and_the_ingress_are_those_of_the_manifests() {
    let values = format!(
        "{}\nserviceMonitor: {{enabled: true, labels: {{release: prom}}}}\n\
         prometheusRule: {{enabled: true, labels: {{release: prom}}}}\n\
         ingress: {{enabled: true, className: nginx}}\n",
        "image: {repository: r.example.com/tranship}"
    );
    let chart = render("mirror", &values);
    let monitor = of_kind(&chart, "ServiceMonitor");
    let same = document("kubernetes/monitoring/servicemonitor.yaml");
    assert_eq!(monitor["spec"]["endpoints"], same["spec"]["endpoints"]);
    assert_eq!(monitor["metadata"]["labels"]["release"], "prom");
    let service = of_kind(&chart, "Service");
    for (key, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][key], value, "{key}");
    }
    // The job that the alerts are about, whatever the release is called.
    let job = text(&monitor["spec"]["jobLabel"]);
    assert_eq!(service["metadata"]["labels"][job], "tranship");
    assert_eq!(of_kind(&chart, "PrometheusRule")["spec"], document("prometheus/alerts.yml"));

    let ingress = of_kind(&chart, "Ingress")["spec"].clone();
    let mut same = document("kubernetes/ingress/ingress.yaml")["spec"].clone();
    same["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "mirror-tranship".into();
    assert_eq!(ingress, same);

    let docs = format!("{values}prometheusRule: {{enabled: true, docs: \"https://wiki/x\"}}\n")
        .replacen("prometheusRule: {enabled: true, labels: {release: prom}}\n", "", 1);
    let rules = of_kind(&render("mirror", &docs), "PrometheusRule")["spec"].to_string();
    assert!(rules.contains("\"https://wiki/x/runbook.md#transhipdown\""), "{rules}");
}

#[test]
fn values_change_what_they_are_for() {
    let with = |values: &str| {
        render("tranship", &format!("image: {{repository: r.example.com/t}}\n{values}"))
    };
    let digest = format!("sha256:{}", "0".repeat(64));
    let pinned = format!("{{image: {{repository: r.example.com/t, digest: \"{digest}\"}}}}");
    let container = |chart: &[Value]| pod(chart)["spec"]["containers"][0].clone();
    assert_eq!(
        container(&render("tranship", &pinned))["image"],
        format!("r.example.com/t@{digest}")
    );

    let own = with("config: {existingConfigMap: mine}\npersistence: {existingClaim: old}\n");
    assert_eq!(pod(&own)["spec"]["volumes"][0]["configMap"]["name"], "mine");
    assert_eq!(pod(&own)["spec"]["volumes"][2]["persistentVolumeClaim"]["claimName"], "old");
    assert!(!own.iter().any(|object| object["kind"] == "ConfigMap"));
    assert!(!own.iter().any(|object| object["kind"] == "PersistentVolumeClaim"));

    // The daemon reloads by itself; a new pod is only for those who want one.
    let annotation = |config: &str| pod(&with(config))["metadata"]["annotations"].clone();
    assert_eq!(annotation("config: {text: \"a = 1\"}"), Value::Null);
    let one = annotation("config: {text: \"a = 1\", restartOnChange: true}");
    let other = annotation("config: {text: \"a = 2\", restartOnChange: true}");
    assert!(one["checksum/config"].is_string() && one != other, "{one} {other}");

    let more = with(
        "env: [{name: HTTPS_PROXY, value: \"http://proxy:3128\"}]\n\
         envFrom: [{secretRef: {name: more}}]\n\
         secrets: {existingSecret: mine}\nca: {existingSecret: authorities}\nextraArgs: [-v]\n",
    );
    assert_eq!(container(&more)["env"][0]["name"], "HTTPS_PROXY");
    assert_eq!(container(&more)["envFrom"][0]["secretRef"]["name"], "more");
    let args = ["serve", "--log-format", "json", "-v", "--config", "/etc/tranship/tranship.toml"];
    assert_eq!(container(&more)["args"], json!(args));
    let volumes = pod(&more)["spec"]["volumes"].clone();
    assert_eq!(volumes[1]["secret"]["secretName"], "mine");
    assert_eq!(volumes[3]["secret"]["secretName"], "authorities");
    assert_eq!(container(&more)["volumeMounts"][3]["mountPath"], "/etc/tranship-ca");

    let ports = with("networkPolicy: {egressPorts: [443, 5000], ingressFrom: []}\n");
    let policy = of_kind(&ports, "NetworkPolicy")["spec"].clone();
    assert_eq!(policy["egress"][1]["ports"][1], json!({"protocol": "TCP", "port": 5000}));
    assert_eq!((&policy["ingress"], &policy["policyTypes"][0]), (&Value::Null, &json!("Ingress")));
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    let refused = |values: &str, because: &str| {
        let said = helm(&["template", "tranship"], values).unwrap_err();
        assert!(said.contains(because), "{values}: {said}");
    };
    refused("{}", "image.repository is not set. No image is published yet");
    refused("{image: {repositry: x}}", "repositry");
    refused("{image: {repository: x, digest: abc}}", "digest");
    refused(
        "{image: {repository: x}, ca: {existingSecret: a, existingConfigMap: b}}",
        "set only one of ca.existingConfigMap and ca.existingSecret",
    );
    refused("{image: {repository: x}, terminationGracePeriodSeconds: 5}", "terminationGrace");
}

/// The example in its README is one that the chart takes and the daemon understands.
#[tokio::test]
async fn the_example_of_the_chart_works() {
    let readme = read("helm/tranship/README.md");
    let (_, example) = readme.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let chart = render("tranship", example);
    let config = check(text(&of_kind(&chart, "ConfigMap")["data"]["tranship.toml"]), SECRETS).await;
    assert_eq!(config["sync"].as_array().unwrap().len(), 1);
    let link = regex::Regex::new(r"\]\(([^)#:]+)(?:#[^)]*)?\)").unwrap();
    for link in link.captures_iter(&readme) {
        assert!(deploy("helm/tranship").join(&link[1]).exists(), "{}", &link[1]);
    }
}
