//! Commands as skopeo's users type them: each option of skopeo works, or says what to do instead.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::support::process::Finished;
use crate::support::witness::Skopeo;
use crate::support::{
    DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship, assert_same_at,
};

const SECRET: &str = "corre:ct-horse";

/// Runs a command line, whose words are parted by spaces, as a shell would.
async fn shell(tranship: &Tranship, line: &str) -> Finished {
    let words = line.split_whitespace();
    let finished = tranship.run(words).await;
    assert!(!finished.stderr.contains(SECRET), "the password is shown: {finished:?}");
    finished
}

async fn succeed(tranship: &Tranship, line: &str) -> Finished {
    let finished = shell(tranship, line).await;
    assert_eq!(finished.code, Some(0), "{line}: {finished:?}");
    finished
}

/// A registry that lets in alice only, with an image `app:1`.
async fn private() -> DockerRegistry {
    let registry = DockerRegistry::new().htpasswd("alice", SECRET).run().await;
    Image::platforms(Family::Oci, "app", &["amd64", "arm64"]).push(&registry, "app", "1").await;
    registry
}

/// The options that a help text of skopeo lists: long name, and whether it takes a value.
fn options(help: &str) -> Vec<(String, bool)> {
    let lines = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.split_once(", --").map_or_else(
            || line.strip_prefix("--"),
            |(short, rest)| (short.len() == 2).then_some(rest),
        )?;
        let (name, rest) = line.split_once(' ')?;
        // A name of the value is parted by one space, the description by several.
        Some((name.to_owned(), !rest.starts_with(' ')))
    });
    lines.filter(|(name, _)| !matches!(name.as_str(), "help" | "version")).collect()
}

fn help_of_skopeo(command: &[&str]) -> String {
    let output = std::process::Command::new("skopeo").args(command).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What is typed for a value of this option.
fn sample(command: &str, option: &str) -> &'static str {
    match option.trim_start_matches("src-").trim_start_matches("dest-") {
        "creds" => "alice:corre:ct-horse",
        "authfile" => "auth.json",
        "cert-dir" => "certificates",
        "digestfile" => "digest",
        "retry-times" => "0",
        "retry-delay" | "command-timeout" => "20s",
        "multi-arch" => "all",
        "src" | "dest" => "docker",
        "format" if command == "inspect" => "{{.Digest}}",
        "override-os" => "linux",
        "override-arch" => "amd64",
        _ => "x",
    }
}

/// Nothing listens there, so whatever is understood fails soon.
fn arguments(command: &str) -> &'static str {
    match command {
        "copy" => "copy docker://127.0.0.1:1/app:1 docker://127.0.0.1:1/b:1 --retry-times 0",
        "inspect" => "inspect docker://127.0.0.1:1/app:1 --retry-times 0",
        "list-tags" => "list-tags docker://127.0.0.1:1/app --retry-times 0",
        "delete" => "delete docker://127.0.0.1:1/app:1 --retry-times 0",
        "sync" => "sync --src docker --dest docker 127.0.0.1:1/app 127.0.0.1:1/b --retry-times 0",
        "login" => "login 127.0.0.1:1",
        "logout" => "logout 127.0.0.1:1",
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_option_of_skopeo_works_or_says_what_to_do_instead() {
    let tranship = Tranship::new();
    tranship.write("auth.json", "{}");
    tranship.write("certificates/README", "");
    let globals = options(&help_of_skopeo(&[]));
    assert!(globals.len() >= 9, "{globals:?}");
    let mut count = 0;
    for command in ["copy", "inspect", "list-tags", "delete", "sync", "login", "logout"] {
        let own = options(&help_of_skopeo(&[command]));
        assert!(own.len() >= 2, "{command}: {own:?}");
        for (option, takes_value) in own.iter().chain(&globals) {
            let base = match (command, option.as_str()) {
                ("sync", "src" | "dest" | "retry-times") | (_, "retry-times") => arguments(command)
                    .replace(" --retry-times 0", "")
                    .replace(&format!("--{option} docker"), ""),
                ("logout", "all") => "logout".to_owned(),
                _ => arguments(command).to_owned(),
            };
            let mut line = format!("{base} --{option}");
            if *takes_value {
                line = format!("{line} {}", sample(command, option));
            }
            let finished = shell(&tranship, &line).await;
            count += 1;
            let told = &finished.stderr;
            for word in ["unexpected argument", "tip:", "required arguments", "invalid value"] {
                assert!(!told.contains(word), "{line}: {told}");
            }
            if told.contains("is not supported") {
                assert_eq!(finished.code, Some(2), "{line}: {told}");
                assert!(
                    told.contains(&format!("--{option}")) && told.contains("hint: "),
                    "{line}: {told}"
                );
            }
        }
    }
    assert!(count > 150, "only {count} were tried");
}

#[tokio::test]
async fn what_cannot_be_says_what_to_do_instead() {
    let tranship = Tranship::new();
    for (line, message) in [
        ("copy --format v2s2 a b", "hint: leave it out; `skopeo copy --format` converts"),
        ("copy --sign-by KEY a b", "`cosign sign`"),
        ("copy --encryption-key jwe:k a b", "`skopeo copy` encrypts"),
        ("copy --policy p.json a b", "`cosign verify`"),
        ("--tmpdir /x inspect a", "set the environment variable TMPDIR"),
        ("copy docker-daemon:app:1 b", "`docker save -o FILE`"),
        ("copy containers-storage:app b", "`podman push IMAGE oci:DIR`"),
        ("copy a docker-archive:x.tar", "into which `skopeo copy` converts it"),
        ("sync --src docker --dest dir a /x", "--dest oci writes OCI image layouts"),
        ("sync --src-creds a:b", "--src <TRANSPORT>"),
        ("logout --all", "one registry at a time"),
        ("copy --src-creds a:b --src-no-creds r.io/a r.io/b", "use one of them"),
        ("copy --src-creds a r.io/a r.io/b", "there is no password for a"),
        ("copy --src-password a r.io/a r.io/b", "--src-password needs --src-username"),
        ("copy --authfile none.json r.io/a r.io/b", "there is no auth file none.json"),
        ("copy --all --platform linux/amd64 r.io/a r.io/b", "contradict each other"),
        ("copy --preserve-digests --platform linux/amd64 r.io/a r.io/b", "add --index sparse"),
        ("inspect --format {{.Nope r.io/a", "--output json, and jq"),
        ("inspect --raw --format {{.Name}} r.io/a", "--raw prints bytes as they are stored"),
        ("verify --override-os linux r.io/a r.io/b", "this has no meaning for `verify`"),
    ] {
        let finished = shell(&tranship, line).await;
        assert_eq!(finished.code, Some(2), "{line}: {finished:?}");
        assert!(finished.stderr.contains(message), "{line}: {finished:?}");
    }
}

#[tokio::test]
async fn credentials_are_given_for_each_side() {
    let source = private().await;
    let target = DockerRegistry::new().htpasswd("bob", "b").run().await;
    let tranship = Tranship::new();
    let (from, to) = (source.reference("app", "1"), target.reference("app", "1"));
    let insecure = "--src-tls-verify=false --dest-tls-verify=false";
    let line = format!(
        "copy --src-creds alice:{SECRET} --dest-creds bob:b {insecure} docker://{from} docker://{to} -vv"
    );
    let copied = succeed(&tranship, &line).await;
    assert_same_at((&source, "app", "1"), (&target, "app", "1")).await;
    for side in ["src", "dest"] {
        let warning = format!(
            "can see what --{side}-creds holds: write it to a file and use --{side}-creds-file FILE"
        );
        assert!(copied.stderr.contains(&warning), "{copied:?}");
    }
    // A user name and a password of their own.
    let line = format!(
        "copy --src-username alice --src-password {SECRET} --dest-username bob --dest-password b {insecure} docker://{from} docker://{to}"
    );
    succeed(&tranship, &line).await;
    let line = format!(
        "copy --src-creds alice:wrong --dest-creds bob:b {insecure} docker://{from} docker://{to}"
    );
    let refused = shell(&tranship, &line).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
}

/// The source is read with other credentials than the target is written with, at one registry.
#[tokio::test]
async fn one_registry_may_have_credentials_for_each_side() {
    let registry = private().await;
    let tranship = Tranship::new();
    let (from, to) = (registry.reference("app", "1"), registry.reference("copy", "1"));
    let sides = "--src-tls-verify=false --dest-tls-verify=false";
    let line = format!(
        "copy {sides} --src-creds alice:{SECRET} --dest-no-creds docker://{from} docker://{to}"
    );
    let refused = shell(&tranship, &line).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("copy"), "{refused:?}");
    let line = format!(
        "copy {sides} --src-creds alice:{SECRET} --dest-creds alice:{SECRET} docker://{from} docker://{to}"
    );
    succeed(&tranship, &line).await;
    assert_same_at((&registry, "app", "1"), (&registry, "copy", "1")).await;
}

#[tokio::test]
async fn credentials_come_from_files_and_stand_before_what_is_kept() {
    let registry = private().await;
    let tranship = Tranship::new();
    let app = registry.reference("app", "1");
    tranship.write("login", format!("alice:{SECRET}\n"));
    let look = |options: &str| format!("inspect --tls-verify=false {options} docker://{app}");
    let told = succeed(&tranship, &look("--creds-file login")).await;
    assert!(!told.stderr.contains("WARN"), "{told:?}");

    let mut command = tranship.command();
    let line = look("--creds-file -");
    command.args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let login = format!("alice:{SECRET}\n");
    child.stdin.take().unwrap().write_all(login.as_bytes()).await.unwrap();
    assert!(child.wait().await.unwrap().success());

    // What is kept is wrong, and then right; what is typed wins.
    let keep = |password: &str| {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("alice:{password}"));
        let auths = serde_json::json!({ "auths": { registry.host(): { "auth": auth } } });
        (auths.to_string(), ".docker/config.json")
    };
    let (auths, file) = keep("wrong");
    tranship.write(file, auths);
    succeed(&tranship, &look("--creds-file login")).await;
    let (auths, file) = keep(SECRET);
    tranship.write(file, &auths);
    succeed(&tranship, &look("")).await;
    let refused = shell(&tranship, &look("--no-creds")).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");

    // An auth file that is named stands before the configuration.
    std::fs::remove_file(tranship.home().join(file)).unwrap();
    tranship.write("auth.json", &auths);
    let config = format!(
        "[registry.\"{}\"]\nusername = \"alice\"\npassword = {{ env = \"WRONG\" }}\n",
        registry.host()
    );
    tranship.write("tranship.toml", config);
    let mut command = tranship.command();
    let line = look("--authfile auth.json");
    command.args(line.split_whitespace()).env("WRONG", "wrong");
    let finished = crate::support::process::Running::new(&mut command).finish().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_login_is_kept_and_shown_where_it_is_wished() {
    let registry = private().await;
    let tranship = Tranship::new();
    let host = registry.host();
    let line =
        format!("login --tls-verify=false --authfile a.json -u alice --password-stdin {host}");
    let mut command = tranship.command();
    command.args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    child.stdin.take().unwrap().write_all(SECRET.as_bytes()).await.unwrap();
    assert!(child.wait().await.unwrap().success());
    let shown = succeed(&tranship, &format!("login --get-login --authfile a.json {host}")).await;
    assert_eq!(shown.stdout, "alice\n");
    let app = registry.reference("app", "1");
    succeed(&tranship, &format!("inspect --tls-verify=false --authfile a.json docker://{app}"))
        .await;
    succeed(&tranship, &format!("logout --authfile a.json {host}")).await;
    let shown = shell(&tranship, &format!("login --get-login --authfile a.json {host}")).await;
    assert_eq!(shown.code, Some(1), "{shown:?}");
    assert!(shown.stderr.contains("there is no login for"), "{shown:?}");
}

#[tokio::test]
async fn certificates_are_not_checked_or_come_from_a_directory() {
    let registry = DockerRegistry::new().client_certificates().run().await;
    let plain = DockerRegistry::start().await;
    let secured = DockerRegistry::new().tls().run().await;
    for registry in [&registry, &plain, &secured] {
        Image::single(Family::Oci, "app", &[100]).push(registry, "app", "1").await;
    }
    let tranship = Tranship::new();
    let look = |at: &DockerRegistry, options: &str| {
        format!("inspect --retry-times 0 {options} docker://{}", at.reference("app", "1"))
    };
    assert_eq!(shell(&tranship, &look(&secured, "")).await.code, Some(1));
    succeed(&tranship, &look(&secured, "--tls-verify=false")).await;
    let verified = format!("--tls-verify --insecure {}=no-verify", secured.host());
    assert_eq!(shell(&tranship, &look(&secured, &verified)).await.code, Some(1));

    // Plain http is used only if it was allowed.
    let mark = plain.mark().await;
    assert_eq!(shell(&tranship, &look(&plain, "")).await.code, Some(1));
    assert_eq!(shell(&tranship, &look(&plain, "--tls-verify=true")).await.code, Some(1));
    let asked = plain.requests_since(mark).await;
    assert_eq!(asked.count("GET", Kind::Manifest), 0, "{asked:?}");
    succeed(&tranship, &look(&plain, "--tls-verify=false")).await;

    let folder = tranship.home().join("certificates");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(registry.ca_file(), folder.join("ca.crt")).unwrap();
    std::fs::copy(registry.client_cert_file(), folder.join("client.cert")).unwrap();
    std::fs::copy(registry.client_key_file(), folder.join("client.key")).unwrap();
    let mut line = look(&registry, "--cert-dir certificates");
    succeed(&tranship, &line).await;
    line.push_str(" --tls-verify=false");
    succeed(&tranship, &line).await;
    let to = plain.reference("app", "2");
    let from = registry.reference("app", "1");
    let line = format!(
        "copy --src-cert-dir certificates --dest-tls-verify=false docker://{from} docker://{to}"
    );
    succeed(&tranship, &line).await;
    std::fs::remove_file(folder.join("client.key")).unwrap();
    let alone = shell(&tranship, &look(&registry, "--cert-dir certificates")).await;
    assert!(alone.stderr.contains("client.cert needs"), "{alone:?}");
}

/// No token server is asked.
#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let registry = Scripted::start();
    Image::single(Family::Oci, "app", &[10]).load(&registry, "app", "1");
    let tranship = Tranship::new();
    let app = registry.reference("app", "1");
    let line = format!("inspect --tls-verify=false --registry-token tok docker://{app}");
    let told = succeed(&tranship, &line).await;
    assert!(told.stderr.contains("can see what --registry-token holds"), "{told:?}");
    let traffic = registry.traffic();
    let sent = traffic.iter().filter(|seen| seen.kind == Kind::Manifest);
    let sent: Vec<_> = sent.map(|seen| seen.headers.get("authorization").cloned()).collect();
    let token = http::HeaderValue::from_static("Bearer tok");
    assert!(!sent.is_empty() && sent.iter().all(|it| it.as_ref() == Some(&token)), "{sent:?}");
    // Which scheme the registry speaks was asked without it.
    let asked: Vec<_> = traffic.iter().filter(|seen| seen.kind == Kind::Ping).collect();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|seen| !seen.headers.contains_key("authorization")), "{asked:?}");
}

#[tokio::test]
async fn one_image_of_an_index_is_copied_as_skopeo_does() {
    let (source, ours, theirs) =
        tokio::join!(DockerRegistry::start(), DockerRegistry::start(), DockerRegistry::start());
    let image = Image::platforms(Family::Docker, "app", &["amd64", "arm64"]);
    image.push(&source, "app", "1").await;
    let (tranship, skopeo) = (Tranship::new(), Skopeo::new());
    let from = source.reference("app", "1");
    let insecure = "--src-tls-verify=false --dest-tls-verify=false";
    for (tag, options) in
        [("arm", "--override-arch arm64"), ("os", "--override-os linux --override-arch amd64")]
    {
        let (to, other) = (ours.reference("app", tag), theirs.reference("app", tag));
        let line = format!(
            "{options} copy {insecure} --preserve-digests --digestfile digest docker://{from} docker://{to}"
        );
        succeed(&tranship, &line).await;
        skopeo.run(&line.replace("--digestfile digest", "").replace(&to, &other)).await;
        assert_same_at((&ours, "app", tag), (&theirs, "app", tag)).await;
        let written = std::fs::read_to_string(tranship.home().join("digest")).unwrap();
        assert_eq!(written, image.children[usize::from(tag == "arm")].digest, "{tag}");
    }
    let to = ours.reference("app", "missing");
    let line = format!("copy {insecure} --override-arch s390x docker://{from} docker://{to}");
    let missing = shell(&tranship, &line).await;
    assert!(
        missing
            .stderr
            .contains("it has no image for linux/s390x, only for linux/amd64, linux/arm64"),
        "{missing:?}"
    );

    // All of it, with more tags; and then the index alone, as its images are there.
    let to = ours.reference("app", "all");
    let line = format!(
        "copy {insecure} -a --override-arch arm64 --preserve-digests --additional-tag more,most --remove-signatures docker://{from} docker://{to} -q"
    );
    let quiet = succeed(&tranship, &line).await;
    assert_eq!(quiet.stdout, "");
    for tag in ["all", "more", "most"] {
        assert_same_at((&source, "app", "1"), (&ours, "app", tag)).await;
    }
    let to = ours.reference("app", "index");
    let mark = ours.mark().await;
    let line = format!("copy {insecure} --multi-arch index-only docker://{from} docker://{to}");
    let copied = succeed(&tranship, &line).await;
    assert!(copied.stdout.contains("the index without its images"), "{copied:?}");
    assert_same_at((&source, "app", "1"), (&ours, "app", "index")).await;
    let asked = ours.requests_since(mark).await;
    assert_eq!(asked.count("PUT", Kind::Manifest), 1, "{asked:?}");
    assert_eq!(asked.count("POST", Kind::Upload), 0, "{asked:?}");

    let line = format!(
        "copy {insecure} --multi-arch system --dry-run docker://{from} docker://{}",
        ours.reference("app", "dry")
    );
    let dry = succeed(&tranship, &line).await;
    assert!(dry.stdout.starts_with("would copy "), "{dry:?}");
    assert!(!ours.endpoint().tags("app").await.contains(&"dry".to_owned()));
}

#[tokio::test]
async fn a_command_ends_in_time() {
    let tranship = Tranship::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let line = format!("--command-timeout 300ms inspect docker://{host}/app:1");
    let ended = shell(&tranship, &line).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the command has taken longer than 300ms"), "{ended:?}");
}

#[tokio::test]
async fn tags_are_listed_and_deleted_as_typed_for_skopeo() {
    let registry = private().await;
    Image::single(Family::Oci, "other", &[10]).push(&registry, "app", "2").await;
    let tranship = Tranship::new();
    let app = format!("docker://{}/app", registry.host());
    let options =
        format!("--creds alice:{SECRET} --tls-verify=false --retry-times 2 --retry-delay 1s");
    let listed = succeed(&tranship, &format!("list-tags {options} {app}")).await;
    assert_eq!(listed.stdout, "1\n2\n");
    succeed(&tranship, &format!("delete {options} --with-siblings {app}:2")).await;
    let listed = succeed(&tranship, &format!("list-tags {options} {app}")).await;
    assert_eq!(listed.stdout, "1\n");
}

/// tranship's own commands reach registries with the same options.
#[tokio::test]
async fn other_commands_take_the_options_of_a_registry() {
    let run = || DockerRegistry::new().tls().htpasswd("bot", "s3cret").run();
    let (source, target) = tokio::join!(run(), run());
    let image = Image::single(Family::Oci, "app", &[10]);
    image.push(&source, "acme/app", "1").await;
    image.push(&target, "app", "1").await;
    let tranship = Tranship::new();
    tranship.write("login", "bot:s3cret");
    for (folder, registry) in [("from", &source), ("to", &target)] {
        tranship.write(&format!("{folder}/ca.crt"), std::fs::read(registry.ca_file()).unwrap());
    }
    let (from, to) = (source.host(), target.host());
    let one = "--creds-file login --cert-dir from";
    let listed = succeed(&tranship, &format!("list-repos {one} {from}")).await;
    assert_eq!(listed.stdout, format!("{from}/acme/app\n"));
    let digest = succeed(&tranship, &format!("manifest-digest {one} {from}/acme/app:1")).await;
    assert!(digest.stdout.starts_with("sha256:"), "{digest:?}");
    let unverified = format!("list-repos --creds-file login --tls-verify=false {from}");
    assert_eq!(succeed(&tranship, &unverified).await.stdout, listed.stdout);
    let anonymous =
        shell(&tranship, &format!("list-repos --no-creds --cert-dir from {from}")).await;
    assert!(anonymous.stderr.contains("hint: log in with"), "{anonymous:?}");

    let images = format!("{from}/acme/app:1 {to}/app:1");
    let sides = "--src-creds-file login --src-cert-dir from --dest-creds-file login --dest-tls-verify=false";
    let equal = succeed(&tranship, &format!("verify {sides} {images}")).await;
    assert!(equal.stdout.starts_with("1 of 1 image equal"), "{equal:?}");
    let other = shell(&tranship, &format!("verify {sides} --dest-creds-file none {images}")).await;
    assert_eq!(other.code, Some(2), "{other:?}");
    // Rules have the settings of their registries.
    let rules = shell(&tranship, "verify --src-cert-dir from").await;
    assert_eq!(rules.code, Some(2), "{rules:?}");
    assert!(rules.stderr.contains("required arguments were not provided"), "{rules:?}");
}
