//! The guide for operators: what it names is there, and what it quotes is what the program says.

use std::fs;
use std::path::Path;

use super::root;

fn guide() -> String {
    fs::read_to_string(root().join("docs/operations.md")).unwrap()
}

/// All sources, with texts that are broken over lines in one.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if let Ok(source) = fs::read_to_string(&path) {
            all.push_str(&source);
        }
    }
}

#[test]
fn messages_in_the_table_of_troubles_are_the_programs_own() {
    let mut all = String::new();
    sources(&root().join("src"), &mut all);
    let broken = regex::Regex::new(r"\\\n\s*").unwrap();
    let all = broken.replace_all(&all, "");
    let quoted = regex::Regex::new("`([^`]+)`").unwrap();
    let guide = guide();
    let (_, table) = guide.split_once("## Trouble").unwrap();
    let mut found = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split(" | ").next().unwrap();
        for message in quoted.captures_iter(cell) {
            for fragment in message[1].split('…').map(str::trim).filter(|part| part.len() > 1) {
                // All commands add these words in one place.
                let fragment = fragment.strip_prefix("failed to ").unwrap_or(fragment);
                assert!(all.contains(fragment), "the program never says `{fragment}`: {row}");
                found += 1;
            }
        }
    }
    assert!(found > 12, "{found}");
}

#[test]
fn its_links_lead_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)#:]+)(?:#[^)]*)?\)").unwrap();
    let guide = guide();
    let mut found = 0;
    for link in link.captures_iter(&guide) {
        assert!(root().join("docs").join(&link[1]).exists(), "{}", &link[1]);
        found += 1;
    }
    assert!(found > 10, "{found}");
}
