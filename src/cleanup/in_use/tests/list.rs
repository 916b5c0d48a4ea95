//! Lists of images.

use proptest::prelude::*;

use super::noted;
use crate::cleanup::in_use::list;

fn read(text: &[u8]) -> Result<Vec<String>, String> {
    noted(|sightings| list::read(text, "images.txt", sightings))
}

#[test]
fn every_form_of_a_line_is_read() {
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let text = format!(
        "# what runs by hand\r\n\n  nginx  \nghcr.io/acme/app:1@sha256:{a}\r\nghcr.io/acme/app:1\n\
         docker://quay.io/x/y:z\nsha256:{b}\n{a}\n\t\n#nginx:no\nnginx:latest"
    );
    let expected = [
        "docker.io/library/nginx:latest",
        "ghcr.io/acme/app:1",
        &format!("ghcr.io/acme/app:1@sha256:{a}"),
        "quay.io/x/y:z",
        &format!("sha256:{a}"),
        &format!("sha256:{b}"),
    ];
    let expected: Vec<_> = expected.iter().map(|image| format!("{image} < images.txt")).collect();
    assert_eq!(read(text.as_bytes()).unwrap(), expected);
    assert!(read(b"").unwrap().is_empty());
    assert!(read(b"# nothing\n").unwrap().is_empty());
}

#[test]
fn a_line_that_names_no_image_is_an_error() {
    for (text, expected) in [
        ("nginx\n\nnginx:1 # why", "on line 3: `nginx:1 # why`: `1 # why` is not a tag"),
        ("Nginx", "on line 1: `Nginx`: `library/Nginx` is not a repository name"),
        ("sha256:abc", "on line 1: `sha256:abc`: `sha256:abc` is not a digest"),
        ("r.io/app@sha384:abc", "digest algorithm `sha384` is not supported"),
        ("https://r.io/app", "on line 1: `https://r.io/app`: `https://` is not supported"),
        ("oci:folder/x y", "on line 1"),
    ] {
        let error = read(text.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert_eq!(read(b"nginx\n\xff").unwrap_err(), "is not UTF-8");
}

proptest! {
    #[test]
    fn garbage_never_panics(text: String, bytes: Vec<u8>) {
        let _ = read(text.as_bytes());
        let _ = read(&bytes);
    }

    /// A line is either silent, or it is an image, or all fails.
    #[test]
    fn no_line_is_passed_over(lines in prop::collection::vec("(#.{0,5}| *|[a-c](:[a-c])?|[A-C ]{1,3})", 0..6)) {
        let text = lines.join("\n");
        let wrong = lines.iter().any(|line| line.contains(|c: char| c.is_ascii_uppercase()) && !line.starts_with('#'));
        match read(text.as_bytes()) {
            Err(_) => prop_assert!(wrong, "{}", text),
            Ok(read) => {
                prop_assert!(!wrong, "{}", text);
                for line in lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                    let tagged = if line.contains(':') { line.to_owned() } else { format!("{line}:latest") };
                    prop_assert!(read.contains(&format!("docker.io/library/{tagged} < images.txt")), "{}", text);
                }
            }
        }
    }
}
