//! The documentation: its links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::support::Tranship;
use crate::support::process::Running;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages for people, in the root, in docs/ and in deploy/.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("deploy/helm/tranship/README.md")];
    for folder in [root().to_owned(), root().join("docs")] {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    pages.sort();
    pages
}

/// A page without its examples, in which other rules hold.
fn prose(page: &Path) -> String {
    let fences = Regex::new("(?ms)^ *```.*?^ *```").unwrap();
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{page:?}: {error}"));
    fences.replace_all(&text, "").into_owned()
}

/// The anchors of a page, as GitHub and GitLab make them from the headings.
fn anchors(page: &Path) -> BTreeSet<String> {
    let mark = Regex::new("[^a-z0-9 _-]").unwrap();
    let text = prose(page);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| heading.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| mark.replace_all(&heading, "").replace(' ', "-"))
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let (mut wrong, mut found) = (Vec::new(), 0);
    for page in pages() {
        for link in link.captures_iter(&prose(&page)) {
            let link = &link[1];
            if link.contains("://") {
                continue;
            }
            found += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let markdown = target.extension().is_some_and(|end| end == "md");
            let there = target.exists()
                && (anchor.is_empty() || (markdown && anchors(&target).contains(anchor)));
            if !there {
                wrong.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(found > 150, "{found}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whoever looks for a page begins at the README.
#[test]
fn the_readme_names_every_page() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for page in pages() {
        let page = page.strip_prefix(root()).unwrap().to_str().unwrap();
        if page.starts_with("docs/") {
            assert!(readme.contains(&format!("]({page})")), "README.md does not name {page}");
        }
    }
}

/// Whoever changes from another tool begins with the example: it must be one that works.
#[tokio::test]
async fn the_examples_for_those_who_change_are_complete_configurations() {
    let block = Regex::new("(?ms)^```toml\n(.*?)^```").unwrap();
    let secret = Regex::new(r#"env = "(\w+)""#).unwrap();
    let mut checked = 0;
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("coming-from-") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        for block in block.captures_iter(&text) {
            let tranship = Tranship::new();
            tranship.write("secrets/registry", "s3cret\n");
            let secrets = tranship.home().join("secrets");
            let config = block[1].replace("/run/secrets", secrets.to_str().unwrap());
            tranship.write("tranship.toml", config);
            let mut command = tranship.command();
            command.args(["config", "check"]);
            for secret in secret.captures_iter(&block[1]) {
                command.env(&secret[1], "s3cret");
            }
            let finished = Running::new(&mut command).finish().await;
            assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{name}: {}", &block[1]);
            checked += 1;
        }
    }
    assert!(checked > 3, "{checked}");
}
