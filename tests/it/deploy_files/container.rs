//! The image: what it is built from, and what it is when it runs.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::{PORT, USER, read, root, said, tool};

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
    assert!(builder.contains("-bookworm@sha256:"), "{builder}");
    assert!(base("RUNTIME").contains("debian12:nonroot@sha256:"), "{}", base("RUNTIME"));
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
