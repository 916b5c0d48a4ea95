//! What is wrong with the daemon and with registries.

use super::{password, registry};

refused!(an_address_without_a_port, r#"
[daemon]
listen = "localhost"
state = ""
"#, @r#"
tranship.toml:2:10: `localhost` is not an address with a port
    2 | listen = "localhost"
      |          ^^^^^^^^^^^
hint: write it like 127.0.0.1:8642

tranship.toml:3:9: the path of the state directory is empty
    3 | state = ""
      |         ^^
"#);

refused!(a_malformed_host, r#"
[registry."https://ghcr.io"]
parallel = 2
"#, @r#"
tranship.toml:1:11: `https://ghcr.io` is not a registry host: expected `host` or `host:port`
    1 | [registry."https://ghcr.io"]
      |           ^^^^^^^^^^^^^^^^^
hint: write the host alone: `[registry."ghcr.io"]`
"#);

refused!(a_host_under_two_names, r#"
[registry."docker.io"]
parallel = 2

[registry."Index.docker.io"]
parallel = 3
"#, @r#"
tranship.toml:4:11: `Index.docker.io` is the registry docker.io, which is set already
    4 | [registry."Index.docker.io"]
      |           ^^^^^^^^^^^^^^^^^
"#);

refused!(a_literal_password, password(r#""hunter2""#), @r#"
tranship.toml:3:12: a secret is never written into the configuration itself
    3 | password = …
      |            ^
hint: write where it comes from: { env = "VARIABLE" }, { file = "path" } or { command = ["program", "argument"] }
"#);

refused!(a_literal_password_of_digits, password("123456"), @r#"
tranship.toml:3:12: a secret is never written into the configuration itself
    3 | password = …
      |            ^
hint: write where it comes from: { env = "VARIABLE" }, { file = "path" } or { command = ["program", "argument"] }
"#);

refused!(a_secret_from_two_places, password(r#"{ env = "SET", file = "there" }"#), @r#"
tranship.toml:3:12: a secret has exactly one of `env`, `file` and `command`
    3 | password = …
      |            ^
hint: write where it comes from: { env = "VARIABLE" }, { file = "path" } or { command = ["program", "argument"] }
"#);

refused!(unusable_variables, r#"
[registry."ghcr.io"]
username = "u"
password = { env = "UNSET" }

[registry."quay.io"]
username = "u"
password = { env = "EMPTY" }
"#, @r#"
tranship.toml:3:20: the environment variable UNSET is not set
    3 | password = …
      |            ^

tranship.toml:7:20: the environment variable EMPTY is empty
    7 | password = …
      |            ^
"#);

refused!(a_missing_secret_file, password(r#"{ file = "gone" }"#), @r#"
tranship.toml:3:21: cannot use gone: No such file or directory (os error 2)
    3 | password = …
      |            ^
"#);

refused!(an_empty_command, password("{ command = [] }"), @r#"
tranship.toml:3:24: the command names no program
    3 | password = …
      |            ^
"#);

refused!(a_username_without_a_password, registry(r#"username = "u""#), @r#"
tranship.toml:2:12: `username` of ghcr.io needs `password` beside it
    2 | username = "u"
      |            ^^^
"#);

refused!(a_password_without_a_username, registry(r#"password = { env = "SET" }"#), @r#"
tranship.toml:2:12: `password` of ghcr.io needs `username` beside it
    2 | password = …
      |            ^
"#);

refused!(half_a_client_certificate, r#"
[registry."ghcr.io"]
client_cert = "there"

[registry."quay.io"]
client_key = "there"
"#, @r#"
tranship.toml:2:15: `client_cert` of ghcr.io needs `client_key` beside it
    2 | client_cert = "there"
      |               ^^^^^^^

tranship.toml:5:14: `client_key` of quay.io needs `client_cert` beside it
    5 | client_key = "there"
      |              ^^^^^^^
"#);

refused!(missing_files, r#"
[registry."ghcr.io"]
ca_file = "gone"
client_cert = "."
client_key = "there"
"#, @r#"
tranship.toml:2:11: cannot use gone: No such file or directory (os error 2)
    2 | ca_file = "gone"
      |           ^^^^^^

tranship.toml:3:15: . is a folder, not a file
    3 | client_cert = "."
      |               ^^^
"#);

refused!(files_without_what_belongs_there, r#"
[registry."ghcr.io"]
insecure = "http"
ca_file = "junk"
client_cert = "junk"
client_key = "junk"
"#, @r#"
tranship.toml:3:11: junk cannot be used: there is no certificate in it, which begins with `-----BEGIN CERTIFICATE-----`; it is not a PEM file
    3 | ca_file = "junk"
      |           ^^^^^^

tranship.toml:4:15: junk cannot be used: there is no certificate in it, which begins with `-----BEGIN CERTIFICATE-----`; it is not a PEM file
    4 | client_cert = "junk"
      |               ^^^^^^

tranship.toml:5:14: junk cannot be used: there is no private key in it, which begins with `-----BEGIN PRIVATE KEY-----`; it is not a PEM file
    5 | client_key = "junk"
      |              ^^^^^^
"#);

refused!(a_rate_of_nothing, registry("requests_per_second = 0"), @r#"
tranship.toml:2:23: requests_per_second must be a number above 0
    2 | requests_per_second = 0
      |                       ^
"#);

refused!(a_realm_that_is_a_url, registry(r#"auth_realms = ["https://auth.example.com/token"]"#), @r#"
tranship.toml:2:16: `https://auth.example.com/token` is not a registry host: expected `host` or `host:port`
    2 | auth_realms = ["https://auth.example.com/token"]
      |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: name the host only, like auth.example.com
"#);
