//! `inspect --config`, which is something else for skopeo than for tranship.
//!
//! For tranship, `--config FILE` names its configuration. skopeo's `--config` has no value and prints
//! the image's: it is meant where what follows cannot be a file, which is so whenever the image is
//! written as skopeo wants it, with its transport.

use std::ffi::OsString;

/// The name of skopeo's option.
const IMAGE_CONFIG: &str = "--image-config";

/// What an image's name begins with for skopeo.
const TRANSPORTS: [&str; 10] = [
    "docker://",
    "oci:",
    "oci-archive:",
    "dir:",
    "docker-archive:",
    "docker-daemon:",
    "containers-storage:",
    "ostree:",
    "sif:",
    "tarball:",
];

/// The arguments of the program, with `--image-config` for what skopeo calls `--config`.
pub fn rewritten(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(command) = arguments.iter().position(|argument| argument == "inspect") else {
        return arguments;
    };
    for at in command + 1..arguments.len() {
        let ends = arguments.get(at).is_some_and(|argument| argument == "--");
        if ends {
            break;
        }
        if arguments.get(at).is_some_and(|argument| argument == "--config")
            && !is_file(arguments.get(at + 1))
            && let Some(option) = arguments.get_mut(at)
        {
            *option = IMAGE_CONFIG.into();
        }
    }
    arguments
}

/// Whether the argument behind `--config` can be a file.
fn is_file(argument: Option<&OsString>) -> bool {
    let Some(argument) = argument else { return false };
    let text = argument.to_string_lossy();
    !text.starts_with('-') && !TRANSPORTS.iter().any(|transport| text.starts_with(transport))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_meant_where_no_file_follows() {
        let cases = [
            ("inspect --config docker://r.io/app", "inspect --image-config docker://r.io/app"),
            ("inspect docker://r.io/app --config", "inspect docker://r.io/app --image-config"),
            ("inspect --config --raw oci:x", "inspect --image-config --raw oci:x"),
            ("inspect --config tranship.toml r.io/app", "inspect --config tranship.toml r.io/app"),
            (
                "inspect --config a.toml --config docker://r.io/app",
                "inspect --config a.toml --image-config docker://r.io/app",
            ),
            ("--config a.toml inspect r.io/app", "--config a.toml inspect r.io/app"),
            ("copy --config docker://r.io/app x", "copy --config docker://r.io/app x"),
            ("inspect --config=a.toml r.io/app", "inspect --config=a.toml r.io/app"),
            ("inspect -- --config", "inspect -- --config"),
        ];
        for (typed, expected) in cases {
            let words = typed.split(' ').map(OsString::from).collect();
            assert_eq!(rewritten(words).join(" ".as_ref()), expected, "{typed}");
        }
    }
}
