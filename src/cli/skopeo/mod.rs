//! skopeo's options, where they mean something here: what is typed from memory works, or says what to
//! write instead.
//!
//! - `side`: how a registry is reached, for the source and the target of a command by themselves.
//!   `reach`: the registries of a command, with what was said of its sides. `named`: these options in
//!   hints.
//! - `globals`: what skopeo takes before or behind every command. `retries`: how often requests are
//!   repeated. `platform`: one image out of an index. `copying`: what
//!   skopeo takes for copies. `inspecting`: an image as skopeo prints it; `image_config`: its
//!   configuration.
//! - `logins`: what it takes for `login` and `logout`. `sync`: copies of many images without a configuration.
//! - `arguments`: options that have another meaning here. `refused`: what there is nothing for.

mod arguments;
mod copying;
mod globals;
mod image_config;
mod inspecting;
mod logins;
mod named;
mod platform;
mod reach;
pub mod refused;
mod retries;
mod side;
pub mod sync;

pub use arguments::rewritten;
pub use copying::{BothSides, Copying, CopyingOne};
pub use globals::Globals;
pub use inspecting::{Inspecting, chosen};
pub use logins::{LoginPlace, LogoutPlace};
pub use named::ReachOptions;
pub use platform::{MultiArch, of_index};
pub use reach::{Reaching, Said, Sides, nothing_said_of};
pub use retries::Retries;
pub use side::{Overrides, Source, Target, ThisRegistry};

use std::time::Duration;

/// The heading in `--help`.
pub const HEADING: &str = "skopeo's options";

/// What options of these commands need: of `sync`, everything but what is for rules needs `--src`; of
/// `verify`, the options for sides need images.
pub fn with_requirements(command: clap::Command) -> clap::Command {
    let needs = |command: clap::Command, name: &str, headings: &[&str], needed: &'static str| {
        command.mut_subcommand(name, |command| {
            command.mut_args(|arg| {
                let is_ours = arg.get_help_heading().is_some_and(|it| headings.contains(&it));
                if is_ours && arg.get_id() != needed { arg.requires(needed) } else { arg }
            })
        })
    };
    let command = needs(command, "sync", &[HEADING, "Registry options"], "src");
    needs(command, "verify", &[HEADING], "source")
}

/// A duration as Go or people write it: `90s`, `1h30m`, `1.5s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let whole = || text.strip_suffix('s')?.parse().ok();
    let seconds = whole().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match seconds {
        Some(duration) => Ok(duration),
        None => humantime::parse_duration(text)
            .map_err(|_| "expected a duration, such as `90s` or `1h30m`".to_owned()),
    }
}

/// What Go takes for true and false.
fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected `true` or `false`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        let cases = [("90s", 90_000), ("1.5s", 1_500), ("1h30m", 5_400_000), ("300ms", 300)];
        for (text, milliseconds) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "soon", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
