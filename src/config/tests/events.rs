//! Sources of push events: what they mean, how they are shown, and what is wrong with them.

use super::{errors, parse};
use crate::config::show::word;
use crate::config::{EventFormat, EventSource, SecretSource};

#[test]
fn sources_are_read_and_shown() {
    let name = |format| format!("{}-1", word(format).trim_matches('"'));
    let mut text = String::new();
    for format in EventFormat::ALL {
        let name = name(format);
        text += &format!("[events.{name}]\nformat = {}\nregistry = \"R.io:5000\"\n", word(format));
    }
    text += "secret = { env = \"SET\" }\n";
    let config = parse(&text).unwrap();
    assert_eq!(config.events.len(), EventFormat::ALL.len());
    for format in EventFormat::ALL {
        let secret = (format == EventFormat::Zot).then(|| SecretSource::Env("SET".into()));
        let expected = EventSource { format, registry: "r.io:5000".parse().unwrap(), secret };
        assert_eq!(config.events[&name(format)], expected);
    }
    let shown = config.show();
    assert!(shown.contains("\n[events.zot-1]\nformat = \"zot\"\n"), "{shown}");
    assert!(shown.contains("\nsecret = { env = \"SET\" }\n"), "{shown}");
    assert_eq!(parse(&shown).unwrap(), config);
}

#[test]
fn without_a_secret_the_daemon_must_listen_on_loopback() {
    let events = "[events.open]\nformat = \"quay\"\nregistry = \"quay.io\"\n\
                  [events.closed]\nformat = \"quay\"\nregistry = \"quay.io\"\nsecret = { env = \"SET\" }\n";
    let listening = |listen: &str| {
        format!("[daemon]\nlisten = \"{listen}\"\ntoken = {{ env = \"SET\" }}\n{events}")
    };
    for listen in ["127.0.0.1:1", "[::1]:1"] {
        assert!(parse(&listening(listen)).is_ok(), "{listen}");
    }
    for listen in ["[::]:1", "192.0.2.7:1"] {
        assert_eq!(parse(&listening(listen)).unwrap_err().problems().len(), 1, "{listen}");
    }
    insta::assert_snapshot!(errors(&listening("0.0.0.0:1")), @r#"
    tranship.toml:4:9: other machines could reach 0.0.0.0:1, and the events `open` would be accepted from any sender
        4 | [events.open]
          |         ^^^^
    hint: set `secret` here, or `listen` on 127.0.0.1 in [daemon]
    "#);
}

refused!(everything_wrong_at_once, r#"
[events."a b"]
format = "quay"
registry = "https://quay.io"
secret = "hunter2"
"#, @r#"
tranship.toml:1:9: `a b` is not a name for a source of events
    1 | [events."a b"]
      |         ^^^^^
hint: it is a part of an address: at most 64 letters, digits, `-` and `_`

tranship.toml:3:12: `https://quay.io` is not a registry host: expected `host` or `host:port`
    3 | registry = "https://quay.io"
      |            ^^^^^^^^^^^^^^^^^
hint: write `registry = "quay.io"`

tranship.toml:4:10: a secret is never written into the configuration itself
    4 | secret = …
      |          ^
hint: write where it comes from: { env = "VARIABLE" }, { file = "path" } or { command = ["program", "argument"] }
"#);

refused!(an_unknown_format, r#"
[events.hub]
format = "dockerhub"
registry = "docker.io"
"#, @r#"
tranship.toml:2:10: `dockerhub` is not allowed here (did you mean `docker-hub`?)
    2 | format = "dockerhub"
      |          ^^^^^^^^^^^
hint: allowed here: distribution, harbor, docker-hub, ghcr, quay, acr, zot
"#);

refused!(a_source_without_a_registry, r#"
[events.hub]
format = "docker-hub"
"#, @r#"
tranship.toml:1:1: key `registry` is missing in [events.hub]
    1 | [events.hub]
      | ^^^^^^^^^^^^
"#);

refused!(an_unknown_key, r#"
[events.hub]
format = "docker-hub"
registry = "docker.io"
secrets = "hunter2"
"#, @r#"
tranship.toml:4:1: unknown key `secrets` in [events.hub] (did you mean `secret`?)
    4 | secrets = …
      | ^^^^^^^
hint: allowed here: format, registry, secret
"#);
