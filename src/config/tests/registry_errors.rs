//! What is wrong with the daemon and with registries.

use super::errors;

#[test]
fn an_address_without_a_port() {
    let text = r#"
[daemon]
listen = "localhost"
state = ""
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:10: `localhost` is not an address with a port
        2 | listen = "localhost"
          |          ^^^^^^^^^^^
    hint: write it like 127.0.0.1:8642

    tranship.toml:3:9: the folder of the state is empty
        3 | state = ""
          |         ^^
    "#);
}

#[test]
fn a_malformed_host() {
    let text = r#"
[registry."https://ghcr.io"]
parallel = 2
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:1:11: `https://ghcr.io` is not a registry host: expected `host` or `host:port`
        1 | [registry."https://ghcr.io"]
          |           ^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_host_under_two_names() {
    let text = r#"
[registry."docker.io"]
parallel = 2

[registry."Index.docker.io"]
parallel = 3
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:4:11: `Index.docker.io` is the registry docker.io, which is set already
        4 | [registry."Index.docker.io"]
          |           ^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_literal_password() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
password = "hunter2"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:12: a secret is never written into the configuration itself
        3 | password = …
          |            ^
    hint: write where it comes from: { env = "VARIABLE" }, { file = "path" } or { command = ["program", "argument"] }
    "#);
}

#[test]
fn a_literal_password_of_digits() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
password = 123456
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:12: a secret is never written into the configuration itself
        3 | password = …
          |            ^
    hint: write where it comes from: { env = "VARIABLE" }, { file = "path" } or { command = ["program", "argument"] }
    "#);
}

#[test]
fn a_secret_from_two_places() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
password = { env = "SET", file = "there" }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:12: a secret has exactly one of `env`, `file` and `command`
        3 | password = …
          |            ^
    hint: write where it comes from: { env = "VARIABLE" }, { file = "path" } or { command = ["program", "argument"] }
    "#);
}

#[test]
fn unusable_variables() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
password = { env = "UNSET" }

[registry."quay.io"]
username = "u"
password = { env = "EMPTY" }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:20: the environment variable UNSET is not set
        3 | password = …
          |            ^

    tranship.toml:7:20: the environment variable EMPTY is empty
        7 | password = …
          |            ^
    "#);
}

#[test]
fn a_missing_secret_file() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
password = { file = "gone" }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:21: cannot use gone: No such file or directory (os error 2)
        3 | password = …
          |            ^
    "#);
}

#[test]
fn an_empty_command() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
password = { command = [] }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:3:24: the command names no program
        3 | password = …
          |            ^
    "#);
}

#[test]
fn a_username_without_a_password() {
    let text = r#"
[registry."ghcr.io"]
username = "u"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:12: `username` of ghcr.io needs `password` beside it
        2 | username = "u"
          |            ^^^
    "#);
}

#[test]
fn a_password_without_a_username() {
    let text = r#"
[registry."ghcr.io"]
password = { env = "SET" }
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:12: `password` of ghcr.io needs `username` beside it
        2 | password = …
          |            ^
    "#);
}

#[test]
fn half_a_client_certificate() {
    let text = r#"
[registry."ghcr.io"]
client_cert = "there"

[registry."quay.io"]
client_key = "there"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:15: `client_cert` of ghcr.io needs `client_key` beside it
        2 | client_cert = "there"
          |               ^^^^^^^

    tranship.toml:5:14: `client_key` of quay.io needs `client_cert` beside it
        5 | client_key = "there"
          |              ^^^^^^^
    "#);
}

#[test]
fn missing_files() {
    let text = r#"
[registry."ghcr.io"]
ca_file = "gone"
client_cert = "."
client_key = "there"
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:11: cannot use gone: No such file or directory (os error 2)
        2 | ca_file = "gone"
          |           ^^^^^^

    tranship.toml:3:15: . is a folder, not a file
        3 | client_cert = "."
          |               ^^^
    "#);
}

#[test]
fn a_rate_of_nothing() {
    let text = r#"
[registry."ghcr.io"]
requests_per_second = 0
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:23: requests_per_second must be a number above 0
        2 | requests_per_second = 0
          |                       ^
    "#);
}

#[test]
fn a_realm_that_is_a_url() {
    let text = r#"
[registry."ghcr.io"]
auth_realms = ["https://auth.example.com/token"]
"#;
    insta::assert_snapshot!(errors(text), @r#"
    tranship.toml:2:16: `https://auth.example.com/token` is not a registry host: expected `host` or `host:port`
        2 | auth_realms = ["https://auth.example.com/token"]
          |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: name the host only, like auth.example.com
    "#);
}
