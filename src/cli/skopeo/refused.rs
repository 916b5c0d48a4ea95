//! skopeo's options that there is nothing for: each is refused with what to do instead. They are no
//! part of the definition that help, completions and manual pages are made from.

use std::convert::Infallible;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::exit::{CliError, Exit};

/// An option that is refused.
struct Refused {
    long: &'static str,
    short: Option<char>,
    takes_value: bool,
    /// Empty: before and behind every command.
    commands: &'static [&'static str],
    /// Why there is no such option.
    why: &'static str,
    instead: &'static str,
}

const COPIES: &[&str] = &["copy", "sync"];
const COPY: &[&str] = &["copy"];
const ONE_IMAGE: &[&str] = &["inspect", "delete"];

const SIGN: (&str, &str) =
    ("tranship does not sign images", "copy first, then sign at the target, as with `cosign sign`");
const CRYPT: (&str, &str) = (
    "tranship copies layers as they are, encrypted or not",
    "leave it out; `skopeo copy` encrypts and decrypts",
);
const COMPRESS: (&str, &str) = (
    "tranship copies layers as they are, so that digests and signatures stay valid",
    "leave it out; `skopeo copy` recompresses",
);
const FORMAT: (&str, &str) = (
    "tranship copies manifests as they are, so that digests and signatures stay valid",
    "leave it out; `skopeo copy --format` converts",
);
const DAEMON: (&str, &str) = (
    "tranship does not talk to the Docker daemon",
    "`docker push` to a registry, or `docker save -o FILE` (Docker 25 or later) and read oci-archive:FILE",
);
const BLOBS: (&str, &str) = (
    "layouts share no directory of blobs",
    "leave it out; layouts below one folder share their blobs by hard links if a rule or `tranship sync --dest oci` writes them",
);
const POLICY: (&str, &str) = (
    "tranship does not check signatures, so it has no policy for them",
    "leave it out, or check before copying, as with `cosign verify`",
);

const fn flag(
    long: &'static str,
    commands: &'static [&'static str],
    (why, instead): (&'static str, &'static str),
) -> Refused {
    Refused { long, short: None, takes_value: false, commands, why, instead }
}

const fn option(
    long: &'static str,
    commands: &'static [&'static str],
    words: (&'static str, &'static str),
) -> Refused {
    Refused { takes_value: true, ..flag(long, commands, words) }
}

const REFUSED: [Refused; 27] = [
    Refused { short: Some('f'), ..option("format", COPIES, FORMAT) },
    option("sign-by", COPIES, SIGN),
    option("sign-by-sigstore", COPIES, SIGN),
    option("sign-by-sigstore-private-key", COPIES, SIGN),
    option("sign-by-sq-fingerprint", COPIES, SIGN),
    option("sign-passphrase-file", COPIES, SIGN),
    option("sign-identity", COPY, SIGN),
    option("encryption-key", COPY, CRYPT),
    option("encrypt-layer", COPY, CRYPT),
    option("decryption-key", COPY, CRYPT),
    flag("dest-compress", COPY, COMPRESS),
    flag("dest-decompress", COPY, COMPRESS),
    option("dest-compress-format", COPY, COMPRESS),
    option("dest-compress-level", COPY, COMPRESS),
    flag("dest-force-compress-format", COPY, COMPRESS),
    option("src-daemon-host", COPY, DAEMON),
    option("dest-daemon-host", COPY, DAEMON),
    option("daemon-host", ONE_IMAGE, DAEMON),
    option("src-shared-blob-dir", COPY, BLOBS),
    option("dest-shared-blob-dir", COPY, BLOBS),
    option("shared-blob-dir", ONE_IMAGE, BLOBS),
    Refused {
        short: Some('a'),
        ..flag(
            "all",
            &["logout"],
            (
                "tranship logs out of one registry at a time",
                "name the registry, or remove the auth file",
            ),
        )
    },
    option("policy", &[], POLICY),
    option("registries.d", &[], POLICY),
    option(
        "registries-conf",
        &[],
        (
            "tranship does not read registries.conf",
            "use the [registry] tables of tranship.toml, or --insecure",
        ),
    ),
    option(
        "tmpdir",
        &[],
        (
            "only archives need temporary files, where TMPDIR says",
            "set the environment variable TMPDIR",
        ),
    ),
    option(
        "user-agent-prefix",
        &[],
        ("tranship names itself to registries in one way only", "leave it out"),
    ),
];

impl Refused {
    fn arg(&self) -> Arg {
        // The values may be secrets, and are not kept.
        let arg = Arg::new(self.long)
            .long(self.long)
            .action(ArgAction::Append)
            .hide(true)
            // Nobody names a registry to log out of all.
            .exclusive(self.commands == ["logout"])
            .global(self.commands.is_empty());
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        if self.takes_value {
            arg.value_parser(|_: &str| Ok::<_, Infallible>(true))
        } else {
            arg.num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(super::truth)
        }
    }
}

/// The command line with the options that are refused.
pub fn with_refused(mut command: Command) -> Command {
    for refused in &REFUSED {
        if refused.commands.is_empty() {
            command = command.arg(refused.arg());
        }
        for name in refused.commands {
            command = command.mut_subcommand(name, |subcommand| subcommand.arg(refused.arg()));
        }
    }
    command
}

/// Refuses what was given of them.
pub fn check(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    for refused in &REFUSED {
        if !refused.commands.is_empty() && !refused.commands.contains(&name) {
            continue;
        }
        let given = matches.try_get_many::<bool>(refused.long).ok().flatten();
        if given.is_some_and(|values| values.copied().any(|given| given)) {
            return Err(CliError::Hinted {
                exit: Exit::Usage,
                message: format!("--{} is not supported: {}", refused.long, refused.why),
                hint: refused.instead,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent_with_them() {
        with_refused(crate::cli::command()).debug_assert();
    }

    #[test]
    fn values_are_taken_and_forgotten() {
        let check = |arguments: &[&str]| {
            let command = with_refused(crate::cli::command());
            let matches = command.try_get_matches_from([&["tranship"], arguments].concat());
            check(&matches.unwrap()).err().map(|error| error.to_string())
        };
        let refused = |arguments: &[&str]| check(arguments).unwrap_or_default();
        let key = refused(&["copy", "--decryption-key", "k:secret", "a", "b"]);
        assert!(key.starts_with("--decryption-key is not supported: "), "{key}");
        assert!(!key.contains("secret"), "{key}");
        assert!(refused(&["copy", "--dest-compress", "a", "b"]).contains("as they are"));
        assert!(refused(&["logout", "-a"]).contains("one registry at a time"));
        assert!(refused(&["copy", "-f", "oci", "a", "b"]).contains("manifests as they are"));
        assert!(refused(&["--policy", "p", "copy", "a", "b"]).contains("signatures"));
        assert!(refused(&["copy", "a", "b", "--tmpdir=/t"]).contains("TMPDIR"));
        assert_eq!(check(&["copy", "--dest-compress=false", "a", "b"]), None);
        assert_eq!(check(&["copy", "a", "b"]), None);
    }
}
