//! What an operator installs: read as what it is for reads it, and compared with what the program
//! really has. What cannot be run here (a container engine, a cluster) is held to its rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::Tranship;

const PORT: u64 = 8642;
/// The user of distroless images.
const USER: u64 = 65532;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn deploy(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs a tool of the machine, which must be there: a check that is left out is no check.
fn tool(command: &mut Command) -> Output {
    let name = command.get_program().to_owned();
    command
        .output()
        .unwrap_or_else(|error| panic!("{name:?} (scripts/test installs what is needed): {error}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// The documents of YAML text, as python3-yaml reads them.
fn yaml(text: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    // Debian's python3-yaml is for Debian's python3.
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let tried = Command::new(python).args(["-c", "import yaml"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    let python = python.expect("python3 has yaml (scripts/test installs python3-yaml)");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("documents.yaml");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(python);
    let output = tool(command.args(["-c", program]).stdin(fs::File::open(&file).unwrap()));
    assert!(output.status.success(), "{}\n{text}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn document(name: &str) -> Value {
    let mut documents = yaml(&read(name));
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Checks a configuration as the daemon would, with secrets at hand where it looks for them.
/// Gives it as `tranship config show` understands it.
async fn checked(name: &str, secrets: &str) -> toml::Table {
    let tranship = Tranship::new();
    let folder = tranship.home().join("secrets");
    fs::create_dir(&folder).unwrap();
    for secret in ["token", "events", "dockerhub"] {
        fs::write(folder.join(secret), "s3cret\n").unwrap();
    }
    let config = read(name);
    assert!(config.contains(&format!("\"{secrets}/token\"")), "{name} has a token: {config}");
    let config = config.replace(secrets, folder.to_str().unwrap());
    tranship.write("tranship.toml", config);
    tranship.succeed(["config", "check"]).await;
    toml::from_str(&tranship.succeed(["config", "show"]).await.stdout).unwrap()
}

/// Seconds of a time like `45s`.
fn seconds(text: &str) -> u64 {
    humantime::parse_duration(text).unwrap().as_secs()
}

/// What the daemon may take from the signal to its end: the grace, and what follows it.
fn time_to_stop(config: &toml::Table) -> u64 {
    let grace = config["daemon"]["grace"].as_str().unwrap();
    // Runs that are stopped hard, webhooks, answers under way.
    seconds(grace) + 5 + 5 + 3
}

fn api_has(path: &str) -> bool {
    tranship::server::api::document()["paths"].get(path).is_some()
}

// -- the container --------------------------------------------------------------------------------

/// The instructions of the Dockerfile, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

#[test]
fn the_image_is_built_from_pinned_images_and_is_not_root() {
    let instructions = instructions();
    let known = [
        "ARG",
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "LABEL",
        "ENV",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    ];
    for (name, rest) in &instructions {
        assert!(known.contains(&name.as_str()), "{name} {rest}");
    }
    let of = |name: &str| {
        let of = instructions.iter().filter(|(instruction, _)| instruction == name);
        of.map(|(_, rest)| rest.as_str()).collect::<Vec<_>>()
    };
    let base = |argument: &str| {
        let prefix = format!("{argument}=");
        of("ARG").into_iter().find_map(|arg| arg.strip_prefix(&prefix)).unwrap().to_owned()
    };
    assert_eq!(of("FROM"), ["${BUILDER} AS build", "${RUNTIME}"]);
    let manifest: toml::Table =
        toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let rust = manifest["package"]["rust-version"].as_str().unwrap();
    let builder = base("BUILDER");
    assert!(builder.contains(&format!("/rust:{rust}.")), "{builder} is Rust {rust}");
    // The builder's glibc must not be newer than the one that it runs with.
    assert!(builder.ends_with("bookworm") && base("RUNTIME").contains("debian12:nonroot"));
    assert_eq!(of("USER"), [format!("{USER}:{USER}")]);
    assert_eq!(of("EXPOSE"), [PORT.to_string()]);
    // Without a shell there is nothing that could split a line into words.
    for command in of("ENTRYPOINT").iter().chain(&of("CMD")) {
        let words: Vec<String> = serde_json::from_str(command).unwrap();
        assert!(!words.is_empty(), "{command}");
    }
    assert_eq!(of("ENTRYPOINT"), ["[\"/usr/bin/tranship\"]"]);
    let build = of("RUN").join(" ");
    assert!(build.contains("cargo build --release --locked"), "{build}");
    assert!(build.contains("/out/usr/bin/tranship"), "{build}");
    let features = manifest["features"].as_table().unwrap();
    assert!(features.contains_key("otlp"), "the Dockerfile names this feature");
    for label in ["title", "licenses", "version", "revision"] {
        assert!(of("LABEL")[0].contains(&format!("org.opencontainers.image.{label}=")), "{label}");
    }
}

/// With nothing but what .dockerignore lets through and the Dockerfile copies, cargo finds all
/// targets, and the sources find all files that they include.
#[test]
fn what_the_image_is_built_from_is_enough() {
    let context = TempDir::new().unwrap();
    let ignore = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let let_in: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "all else stays out");
    for path in &let_in {
        if let Some(folder) = path.strip_suffix("/*.rs") {
            fs::create_dir_all(context.path().join(folder)).unwrap();
            for entry in fs::read_dir(root().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.file_name().unwrap();
                    fs::copy(&path, context.path().join(folder).join(name)).unwrap();
                }
            }
            continue;
        }
        let to = context.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = tool(Command::new("cp").arg("-r").arg(root().join(path)).arg(&to));
        assert!(copied.status.success(), "{path}: {}", said(&copied));
    }
    let build = TempDir::new().unwrap();
    for (_, copy) in instructions().iter().filter(|(name, _)| name == "COPY") {
        if copy.starts_with("--from") {
            continue;
        }
        let words: Vec<&str> = copy.split(' ').collect();
        let (to, from) = words.split_last().unwrap();
        for from in from {
            let source = context.path().join(from);
            assert!(source.exists(), "{from} is not in the context");
            let to = build.path().join(to);
            assert!(tool(Command::new("cp").arg("-r").arg(&source).arg(to)).status.success());
        }
    }
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version=1"])
        .current_dir(build.path())
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", said(&cargo));

    let includes = regex::Regex::new(r#"include_(?:str|bytes)!\("([^"]+)"\)"#).unwrap();
    let mut folders = vec![build.path().join("src")];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Tests are not built there.
                if path.file_name().is_none_or(|name| name != "tests") {
                    folders.push(path);
                }
                continue;
            }
            let Ok(source) = fs::read_to_string(&path) else { continue };
            for include in includes.captures_iter(&source) {
                found += 1;
                let included = folder.join(&include[1]);
                assert!(included.exists(), "{} includes {}", path.display(), &include[1]);
            }
        }
    }
    assert!(found > 0, "the demo includes its configuration");
}

// -- compose --------------------------------------------------------------------------------------

/// What every service of the compose file must have, and where its files come from.
#[test]
fn the_compose_file_is_closed_and_complete() {
    let compose = document("compose.yaml");
    let named = |section: &str| {
        compose[section].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
    };
    let (volumes, secrets) = (named("volumes"), named("secrets"));
    let mut used = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert_eq!(list(&service["security_opt"])[0], "no-new-privileges:true", "{name}");
        let (_, tag) = text(&service["image"]).rsplit_once(':').expect("a pinned image");
        assert_ne!(tag, "latest", "{name}");
        for port in list(&service["ports"]) {
            assert!(text(port).starts_with("127.0.0.1:"), "{name} is open to others: {port}");
        }
        for volume in list(&service["volumes"]) {
            let from = text(volume).split(':').next().unwrap();
            if from.starts_with("./") {
                assert!(deploy(from).exists(), "{name} mounts {from}");
                assert!(text(volume).ends_with(":ro"), "{name} could write to {from}");
            } else {
                assert!(volumes.contains(from), "{name} mounts {from}");
                used.0.insert(from.to_owned());
            }
        }
        for secret in service["secrets"].as_array().into_iter().flatten() {
            assert!(secrets.contains(text(secret)), "{name} needs {secret}");
            used.1.insert(text(secret).to_owned());
        }
        let depends = service["depends_on"].as_object().into_iter().flatten();
        for (other, _) in depends {
            assert!(compose["services"][other]["healthcheck"].is_object(), "{name} on {other}");
        }
    }
    assert_eq!(used, (volumes, secrets));
    for secret in compose["secrets"].as_object().unwrap().values() {
        let file = text(&secret["file"]);
        assert!(file.starts_with("./compose/secrets/"), "{file} is not ignored by git");
    }
    assert_eq!(read("compose/.gitignore"), "/secrets/\n");
    let build = &compose["services"]["tranship"]["build"];
    let context = deploy(text(&build["context"]));
    assert!(context.join(text(&build["dockerfile"])).exists());
}

#[tokio::test]
async fn the_compose_file_and_the_configurations_in_it_agree() {
    let compose = document("compose.yaml");
    let config = checked("compose/tranship/tranship.toml", "/run/secrets").await;
    let tranship = &compose["services"]["tranship"];
    assert_eq!(config["daemon"]["listen"].as_str(), Some(&*format!("0.0.0.0:{PORT}")));
    assert_eq!(list(&tranship["ports"])[0], format!("127.0.0.1:{PORT}:{PORT}"));
    assert!(seconds(text(&tranship["stop_grace_period"])) >= time_to_stop(&config));
    let state = config["daemon"]["state"].as_str().unwrap();
    let mounts = list(&tranship["volumes"]);
    assert!(mounts.iter().any(|mount| mount == &format!("state:{state}")), "{mounts:?}");
    assert!(mounts.iter().any(|mount| text(mount).ends_with(":/etc/tranship:ro")), "{mounts:?}");

    // What the registry is told, by its own shell.
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("events"), "s3cret\n").unwrap();
    let script = text(&list(&compose["services"]["registry"]["command"])[0])
        .replace("$$", "$")
        .replace("/run/secrets", folder.path().to_str().unwrap())
        .replace("exec registry serve /etc/docker/registry/config.yml", "env");
    let output = tool(Command::new("sh").args(["-c", &script]));
    let variables = String::from_utf8(output.stdout).unwrap();
    let (_, endpoints) = variables.split_once("REGISTRY_NOTIFICATIONS_ENDPOINTS=").unwrap();
    let endpoints: String = endpoints
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with(['-', ' ']))
        .map(|line| format!("{line}\n"))
        .collect();
    let endpoint = yaml(&endpoints)[0][0].clone();
    assert_eq!(endpoint["headers"]["Authorization"], serde_json::json!(["Bearer s3cret"]));
    let (source, events) = config["events"].as_table().unwrap().iter().next().unwrap();
    let path = format!("/api/v1/events/{source}");
    assert_eq!(endpoint["url"], format!("http://tranship:{PORT}{path}"));
    assert!(api_has("/api/v1/events/{source}"));
    let registry = events["registry"].as_str().unwrap();
    assert!(registry.starts_with("registry:"), "{registry} is the service beside");
    assert_eq!(config["registry"][registry]["insecure"].as_str(), Some("http"));

    let prometheus = document("compose/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["job_name"], "tranship");
    assert_eq!(job["static_configs"][0]["targets"][0], format!("tranship:{PORT}"));
    for name in ["compose/prometheus.yml", "prometheus/alerts.yml"] {
        fs::copy(deploy(name), folder.path().join(Path::new(name).file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("prometheus.yml");
    let output = tool(Command::new("promtool").args(["check", "config"]).arg(file));
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("rules found"), "{}", said(&output));
}

// -- systemd --------------------------------------------------------------------------------------

/// The unit with its drop-in, in a folder where systemd-analyze finds both, and the program that
/// is started in the place of the real one.
fn unit(folder: &Path) -> PathBuf {
    let drop_in = folder.join("tranship.service.d");
    fs::create_dir(&drop_in).unwrap();
    fs::copy(deploy("systemd/secrets.conf"), drop_in.join("secrets.conf")).unwrap();
    let unit = read("systemd/tranship.service");
    let path = folder.join("tranship.service");
    fs::write(&path, unit.replace("/usr/local/bin/tranship", env!("CARGO_BIN_EXE_tranship")))
        .unwrap();
    path
}

fn setting(unit: &str, name: &str) -> String {
    let prefix = format!("{name}=");
    let value = unit.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("{name} is not set")).to_owned()
}

#[test]
fn systemd_understands_the_unit_and_finds_it_hardened() {
    let folder = TempDir::new().unwrap();
    let unit = unit(folder.path());
    let output = tool(Command::new("systemd-analyze").arg("verify").arg(&unit));
    // It also says what it thinks of the machine's own units.
    let about = said(&output);
    let about: Vec<&str> = about.lines().filter(|line| line.contains("tranship")).collect();
    assert!(output.status.success() && about.is_empty(), "{}", said(&output));
    // 10 is open, 2.0 is what few services reach.
    let mut command = Command::new("systemd-analyze");
    let output = tool(command.args(["security", "--offline=true", "--threshold=20"]).arg(&unit));
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("Overall exposure level"), "{}", said(&output));
}

#[tokio::test]
async fn the_unit_and_its_configuration_agree() {
    let unit = read("systemd/tranship.service");
    let config = checked("systemd/tranship.toml", "/run/credentials/tranship.service").await;
    assert!(seconds(&setting(&unit, "TimeoutStopSec")) >= time_to_stop(&config));
    let state = config["daemon"]["state"].as_str().unwrap();
    assert_eq!(state, format!("/var/lib/{}", setting(&unit, "StateDirectory")));
    assert_eq!(setting(&unit, "StateDirectoryMode"), "0700");
    let start = setting(&unit, "ExecStart");
    let arguments: Vec<&str> = start.split(' ').skip(1).collect();
    assert_eq!(arguments, ["serve", "--config", "/etc/tranship/tranship.toml"]);
    let tranship = Tranship::new();
    tranship.succeed(["serve", "--help"]).await;
    // The scheduler naps a minute at most, or a third of this.
    assert!(seconds(&setting(&unit, "WatchdogSec")) >= 30);

    let credentials: BTreeSet<String> = read("systemd/secrets.conf")
        .lines()
        .filter_map(|line| line.strip_prefix("LoadCredential="))
        .map(|credential| credential.split(':').next().unwrap().to_owned())
        .collect();
    let named = regex::Regex::new(r"/run/credentials/tranship\.service/(\w+)").unwrap();
    let file = read("systemd/tranship.toml");
    let named: BTreeSet<String> =
        named.captures_iter(&file).map(|named| named[1].to_owned()).collect();
    assert_eq!(credentials, named);
}

// -- Kubernetes -----------------------------------------------------------------------------------

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
