//! The manifests: in step with each other and with the configuration, and restricted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{
    PORT, USER, api_has, checked, deploy, document, list, read, said, text, time_to_stop, tool,
    yaml,
};

/// The objects that a folder's kustomization names, and nothing in the folder is left out.
fn objects(folder: &str) -> Vec<Value> {
    let kustomization = document(&format!("{folder}/kustomization.yaml"));
    let resources: BTreeSet<&str> = list(&kustomization["resources"]).iter().map(text).collect();
    let files: BTreeSet<String> = fs::read_dir(deploy(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml")
        .collect();
    assert_eq!(resources, files.iter().map(String::as_str).collect());
    resources.iter().flat_map(|file| yaml(&read(&format!("{folder}/{file}")))).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

#[tokio::test]
async fn the_manifests_agree_with_each_other_and_with_the_configuration() {
    let objects = objects("kubernetes");
    let kustomization = document("kubernetes/kustomization.yaml");
    let config = checked("kubernetes/tranship.toml", "/run/secrets/tranship").await;
    assert_eq!(config["daemon"]["listen"].as_str(), Some(&*format!("0.0.0.0:{PORT}")));

    let deployment = &of_kind(&objects, "Deployment")["spec"];
    assert_eq!(
        (&deployment["replicas"], &deployment["strategy"]["type"]),
        (&1.into(), &"Recreate".into())
    );
    let pod = &deployment["template"];
    let labels = &pod["metadata"]["labels"];
    assert_eq!(&deployment["selector"]["matchLabels"], labels);
    let service = of_kind(&objects, "Service");
    let policy = of_kind(&objects, "NetworkPolicy");
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);

    let spec = &pod["spec"];
    let stop = spec["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(stop >= time_to_stop(&config), "{stop}");
    assert_eq!(spec["serviceAccountName"], of_kind(&objects, "ServiceAccount")["metadata"]["name"]);
    let container = &spec["containers"][0];
    assert_eq!(container["image"], kustomization["images"][0]["name"]);
    assert_ne!(kustomization["images"][0]["newTag"], "latest");
    let port = &container["ports"][0];
    assert_eq!(port["containerPort"], PORT);
    assert_eq!(service["spec"]["ports"][0]["port"], PORT);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], port["name"]);
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], port["name"]);
        assert!(api_has(path));
    }

    // Each volume has its source and its mount, and the configuration looks where they are.
    let mounted = |name: &str| {
        let mounts = list(&container["volumeMounts"]);
        let mount = mounts.iter().find(|mount| mount["name"] == name);
        text(&mount.unwrap_or_else(|| panic!("{name} is not mounted"))["mountPath"]).to_owned()
    };
    let volumes = list(&spec["volumes"]);
    assert_eq!(volumes.len(), list(&container["volumeMounts"]).len());
    let generated = &kustomization["configMapGenerator"][0];
    assert_eq!(volumes[0]["configMap"]["name"], generated["name"]);
    let file = text(&generated["files"][0]);
    let args: Vec<&str> = list(&container["args"]).iter().map(text).collect();
    assert_eq!(args.last(), Some(&&*format!("{}/{file}", mounted("config"))));
    assert_eq!(args[0], "serve");
    assert_eq!(mounted("secrets"), "/run/secrets/tranship");
    let secret = text(&volumes[1]["secret"]["secretName"]);
    let how = read("kubernetes/kustomization.yaml");
    assert!(how.contains(&format!("create secret generic {secret} ")), "{how}");
    let claim = of_kind(&objects, "PersistentVolumeClaim");
    assert_eq!(volumes[2]["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
    let state = Path::new(config["daemon"]["state"].as_str().unwrap());
    // Kubernetes opens the volume itself to the pod's group.
    assert_eq!(state.parent().unwrap(), Path::new(&mounted("state")));
    assert!(!objects.iter().any(|object| object["kind"] == "Secret"), "secrets are not kept here");
}

/// What the `restricted` profile of Kubernetes' pod security standards asks for, and more.
#[test]
fn the_pod_is_restricted() {
    let objects = objects("kubernetes");
    let namespace = &of_kind(&objects, "Namespace")["metadata"];
    assert_eq!(namespace["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(namespace["name"], document("kubernetes/kustomization.yaml")["namespace"]);
    let spec = &of_kind(&objects, "Deployment")["spec"]["template"]["spec"];
    let pod = &spec["securityContext"];
    assert_eq!(pod["runAsNonRoot"], true);
    for id in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(pod[id], USER, "{id}");
    }
    assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
    let container = &spec["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(of_kind(&objects, "ServiceAccount")["automountServiceAccountToken"], false);
    let resources = &spec["containers"][0]["resources"];
    assert!(resources["requests"]["cpu"].is_string() && resources["limits"]["memory"].is_string());
    let policy = &of_kind(&objects, "NetworkPolicy")["spec"];
    assert_eq!(policy["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
    let from = list(&policy["ingress"][0]["from"]);
    assert!(!from.is_empty() && from.iter().all(|from| from["namespaceSelector"].is_object()));
}

/// Only the endpoint for events, with TLS, at the port of the service.
#[test]
fn the_ingress_publishes_push_events_and_nothing_else() {
    let ingress = of_kind(&objects("kubernetes/ingress"), "Ingress")["spec"].clone();
    let service = document("kubernetes/service.yaml");
    let rule = &ingress["rules"][0];
    assert_eq!(ingress["tls"][0]["hosts"], serde_json::json!([rule["host"]]));
    assert!(ingress["tls"][0]["secretName"].is_string());
    let paths = list(&rule["http"]["paths"]);
    assert_eq!((paths.len(), list(&ingress["rules"]).len()), (1, 1));
    assert!(api_has(&format!("{}{{source}}", text(&paths[0]["path"]))), "{}", paths[0]["path"]);
    let backend = &paths[0]["backend"]["service"];
    assert_eq!(backend["name"], service["metadata"]["name"]);
    assert_eq!(backend["port"]["name"], service["spec"]["ports"][0]["name"]);
    let namespace = &document("kubernetes/ingress/kustomization.yaml")["namespace"];
    assert_eq!(namespace, &document("kubernetes/kustomization.yaml")["namespace"]);
}

#[test]
fn the_prometheus_operator_gets_the_same_alerts() {
    let service = document("kubernetes/service.yaml");
    let monitor = of_kind(&objects("kubernetes/monitoring"), "ServiceMonitor")["spec"].clone();
    assert_eq!(monitor["selector"]["matchLabels"], service["metadata"]["labels"]);
    let endpoint = &monitor["endpoints"][0];
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    assert!(api_has(text(&endpoint["path"])));
    assert_eq!(service["metadata"]["name"], "tranship", "the job that the alerts are about");

    let output = tool(&mut Command::new(deploy("kubernetes/monitoring/prometheusrule.sh")));
    assert!(output.status.success(), "{}", said(&output));
    let rule = yaml(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((rule.len(), &rule[0]["kind"]), (1, &"PrometheusRule".into()));
    assert_eq!(rule[0]["spec"], document("prometheus/alerts.yml"));
}
