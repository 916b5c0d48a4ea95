//! The options of a command in hints, beside the keys of the configuration.

use std::borrow::Cow;

use crate::repository::hints;

/// Which options a command has that say how a registry is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReachOptions {
    /// None: the configuration says it.
    None,
    /// `--tls-verify` and the like, for its only registry.
    One,
    /// `--src-tls-verify` and the like.
    Source,
    /// `--dest-tls-verify` and the like.
    Target,
    Both,
}

impl ReachOptions {
    /// Those that are defined for a command.
    pub fn of(command: &clap::Command) -> Self {
        let has = |long| command.get_arguments().any(|arg| arg.get_long() == Some(long));
        match (has("tls-verify"), has("dest-tls-verify")) {
            (true, _) => Self::One,
            (_, true) => Self::Both,
            _ => Self::None,
        }
    }

    /// Those for a registry, of which these are the source and the target.
    pub fn on(self, registry: &str, source: &str, target: &str) -> Self {
        let is_in =
            |name: &str| name.strip_prefix(registry).is_some_and(|rest| rest.starts_with('/'));
        match (self, is_in(source), is_in(target)) {
            (Self::Both, true, false) => Self::Source,
            (Self::Both, false, true) => Self::Target,
            _ => self,
        }
    }

    /// The hint, and the options that do the same for this command.
    pub fn beside(self, hint: &str) -> Cow<'_, str> {
        let prefixes: &[&str] = match self {
            Self::None => return Cow::Borrowed(hint),
            Self::One => &[""],
            Self::Source => &["src-"],
            Self::Target => &["dest-"],
            Self::Both => &["src-", "dest-"],
        };
        let options = |rest: &str| {
            let options: Vec<_> = prefixes.iter().map(|it| format!("--{it}{rest}")).collect();
            options.join(" or ")
        };
        match hint {
            hints::NO_TLS => Cow::Owned(format!(
                "{hint}, or use --insecure http or {}",
                options("tls-verify=false")
            )),
            hints::UNTRUSTED => Cow::Owned(format!(
                "{hint}, or name a folder that has it with {}",
                options("cert-dir")
            )),
            hint => Cow::Borrowed(hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_of_a_registry_says_which_options_are_named() {
        let on = |registry| ReachOptions::Both.on(registry, "a.io/x:1", "b.io/y:1");
        assert_eq!(on("a.io"), ReachOptions::Source);
        assert_eq!(on("b.io"), ReachOptions::Target);
        assert_eq!(on("b.i"), ReachOptions::Both);
        assert_eq!(ReachOptions::One.on("a.io", "a.io/x", "a.io/x"), ReachOptions::One);
        for (options, expected) in [
            (ReachOptions::None, ""),
            (ReachOptions::One, ", or use --insecure http or --tls-verify=false"),
            (
                ReachOptions::Both,
                ", or use --insecure http or --src-tls-verify=false or --dest-tls-verify=false",
            ),
        ] {
            assert_eq!(options.beside(hints::NO_TLS), format!("{}{expected}", hints::NO_TLS));
        }
        assert!(ReachOptions::Target.beside(hints::UNTRUSTED).ends_with("with --dest-cert-dir"));
        assert_eq!(ReachOptions::Both.beside("log in"), "log in");
    }
}
