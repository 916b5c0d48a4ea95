//! Reading sources: files, programs, and the memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::cleanup::in_use::{Problem, Usage, read};
use crate::config::in_use::{InUseFormat, InUseFrom, InUseSource};
use crate::secret::Environment;
use crate::state::State;

const LIMIT: u64 = 4096;

fn source(format: InUseFormat, from: InUseFrom) -> InUseSource {
    InUseSource {
        format,
        from,
        aliases: BTreeMap::new(),
        remember: Duration::from_secs(14 * 86_400),
        allow_empty: false,
    }
}

fn command(words: &[&str]) -> InUseSource {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let timeout = Duration::from_secs(20);
    source(InUseFormat::List, InUseFrom::Command { words, timeout })
}

/// A shell stands for a program of the user's.
fn shell(script: &str) -> InUseSource {
    command(&["sh", "-c", script])
}

struct Bench {
    folder: TempDir,
    state: State,
    sources: BTreeMap<String, InUseSource>,
    now: Timestamp,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            state: State::in_memory(),
            sources: BTreeMap::new(),
            now: "2026-06-01T03:00:00Z".parse().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn files(&mut self, name: &str, format: InUseFormat, files: &[&str]) -> &mut InUseSource {
        let files = files.iter().map(|file| self.path(file)).collect();
        let source = source(format, InUseFrom::Files(files));
        self.sources.insert(name.to_owned(), source);
        self.sources.get_mut(name).unwrap()
    }

    fn later(&mut self, days: i64, seconds: i64) {
        self.now += SignedDuration::from_secs(days * 86_400 + seconds);
    }

    async fn read(&self, names: &[&str]) -> Result<Usage, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let environment = Environment::new(|name| (name == "PATH").then(|| "/usr/bin:/bin".into()));
        read(LIMIT, &self.sources, &names, &self.state, &environment, self.now).await.map_err(
            |errors| {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                errors.join("\n").replace(self.folder.path().to_str().unwrap(), "DIR")
            },
        )
    }

    /// The tags of `r.io/app` that are in use, with where.
    async fn tags(&self, names: &[&str]) -> Vec<String> {
        let usage = self.read(names).await.unwrap_or_else(|e| panic!("{e}"));
        let in_use = usage.of(&"r.io".parse().unwrap(), &"app".parse().unwrap());
        let tags = in_use.tags.into_iter();
        let dir = self.folder.path().to_str().unwrap();
        tags.map(|(tag, places)| format!("{tag} {}", places.join("; ")).replace(dir, "DIR"))
            .collect()
    }
}

#[tokio::test]
async fn sources_of_both_formats_are_read_from_files_and_programs() {
    let mut bench = Bench::new();
    bench.write("a.txt", "\u{feff}r.io/app:a\n");
    bench.write("b.txt", "r.io/app:b\nr.io/app:a\n");
    bench.files("lists", InUseFormat::List, &["a.txt", "b.txt"]);
    let pod = r#"{"kind":"Pod","metadata":{"name":"p"},"x":{"image":"r.io/app:x"},"spec":{"containers":[{"image":"m.io/hub/app:pod"}]}}"#;
    bench.write("pod.json", pod);
    let paths = vec!["$.x.image".parse().unwrap()];
    let prod = bench.files("prod", InUseFormat::Kubernetes { paths }, &["pod.json"]);
    prod.aliases.insert("m.io/hub".parse().unwrap(), "r.io".parse().unwrap());
    bench.sources.insert("says".to_owned(), shell("echo r.io/app:said"));
    // Warnings are no answer, however many there are.
    let talkative = shell("head -c 200000 /dev/zero >&2; echo r.io/app:warned");
    bench.sources.insert("warns".to_owned(), talkative);
    // There is no shell of our own.
    bench.sources.insert("plain".to_owned(), command(&["echo", "r.io/app:$HOME;x"]));
    assert_eq!(
        bench.tags(&["lists", "prod", "says", "warns"]).await,
        [
            "a lists: DIR/a.txt; lists: DIR/b.txt",
            "b lists: DIR/b.txt",
            "pod prod: Pod p",
            "said says: the output of `sh`",
            "warned warns: the output of `sh`",
            "x prod: Pod p",
        ]
    );
    let error = bench.read(&["plain"]).await.unwrap_err();
    assert!(error.contains("names no image on line 1: `r.io/app:$HOME;x`"), "{error}");
    // Only the sources that are named count.
    assert!(bench.tags(&[]).await.is_empty());
}

#[tokio::test]
async fn everything_that_is_wrong_is_an_error() {
    let mut bench = Bench::new();
    bench.write("fine.txt", "r.io/app:1\n");
    bench.write("wrong.txt", "r.io/app:1\nr.io/App\n");
    bench.write("long.txt", "#".repeat(LIMIT as usize + 1));
    bench.write("full.txt", "#".repeat(LIMIT as usize));
    bench.write("cut.json", "{\"kind\":\"List\",\"items\":[");
    std::fs::create_dir(bench.path("folder")).unwrap();
    let kubernetes = || InUseFormat::Kubernetes { paths: Vec::new() };
    bench.files("a", InUseFormat::List, &["fine.txt", "none.txt", "wrong.txt", "full.txt"]);
    bench.files("b", InUseFormat::List, &["long.txt"]);
    bench.files("c", InUseFormat::List, &["folder"]);
    bench.files("d", kubernetes(), &["cut.json"]);
    bench
        .sources
        .insert("e".to_owned(), shell("echo r.io/app:1; echo 'no such context' >&2; exit 1"));
    bench.sources.insert("f".to_owned(), shell("exit 1"));
    bench.sources.insert("g".to_owned(), shell("exec yes r.io/app:1"));
    bench.sources.insert("h".to_owned(), command(&["no-such-program", "--token=s3cret"]));
    bench.sources.insert("i".to_owned(), shell("echo r.io/App"));
    bench.files("fine", InUseFormat::List, &["fine.txt"]);
    let error =
        bench.read(&["fine", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).await.unwrap_err();
    insta::assert_snapshot!(error, @r"
    [in_use.a]: DIR/none.txt is not there
    [in_use.a]: DIR/wrong.txt names no image on line 2: `r.io/App`: `App` is not a repository name: upper-case letters are not allowed
    [in_use.b]: DIR/long.txt is longer than 4096 bytes
    [in_use.c]: DIR/folder is not a file
    [in_use.d]: DIR/cut.json is cut short: EOF while parsing a list at line 1 column 24
    [in_use.e]: the command `sh` failed: no such context
    [in_use.f]: the command `sh` failed without a word
    [in_use.g]: the command `sh` printed more than 4096 bytes
    [in_use.h]: the command `no-such-program` is not in PATH
    [in_use.i]: the output of `sh` names no image on line 1: `r.io/App`: `App` is not a repository name: upper-case letters are not allowed
    [in_use.j]: there is no such source in the configuration
    ");
    assert!(bench.read(&["fine"]).await.is_ok());
}

#[tokio::test]
async fn a_program_that_hangs_is_given_up() {
    let mut bench = Bench::new();
    let mut hangs = command(&["sleep", "60"]);
    let InUseFrom::Command { timeout, .. } = &mut hangs.from else { panic!("a command") };
    *timeout = Duration::from_millis(100);
    bench.sources.insert("prod".to_owned(), hangs);
    assert_eq!(
        bench.read(&["prod"]).await.unwrap_err(),
        "[in_use.prod]: the command `sleep` gave no answer within 0.1 seconds"
    );
}

#[tokio::test]
async fn what_ran_lately_is_still_in_use() {
    let mut bench = Bench::new();
    let prod = bench.files("prod", InUseFormat::List, &["list"]);
    prod.aliases.insert("m.io".parse().unwrap(), "r.io".parse().unwrap());
    bench.write("list", "m.io/app:1\nr.io/app:2\n");
    bench.tags(&["prod"]).await;
    bench.write("list", "r.io/app:3\nr.io/app:2\n");
    bench.later(14, -1);
    let last = "1 prod: DIR/list, last seen 2026-06-01T03:00:00Z";
    assert_eq!(bench.tags(&["prod"]).await, [last, "2 prod: DIR/list", "3 prod: DIR/list"]);
    bench.later(0, 1);
    assert_eq!(bench.tags(&["prod"]).await, ["2 prod: DIR/list", "3 prod: DIR/list"]);
    // A rule that does not name the source knows nothing of it.
    bench.write("other", "r.io/app:9\n");
    bench.files("other", InUseFormat::List, &["other"]);
    assert_eq!(bench.tags(&["other"]).await, ["9 other: DIR/other"]);
    // Without a memory, only what runs now.
    bench.sources.get_mut("prod").unwrap().remember = Duration::ZERO;
    bench.write("list", "r.io/app:3\n");
    assert_eq!(bench.tags(&["prod"]).await, ["3 prod: DIR/list"]);
}

#[tokio::test]
async fn nothing_after_something_is_an_error() {
    let mut bench = Bench::new();
    bench.files("prod", InUseFormat::List, &["list"]);
    bench.write("list", "# nothing yet\n");
    assert!(bench.tags(&["prod"]).await.is_empty());
    bench.write("list", "r.io/app:1\nr.io/app:2\n");
    assert_eq!(bench.tags(&["prod"]).await.len(), 2);
    bench.write("list", "");
    let said = "[in_use.prod]: lists nothing, although it listed 2 images before: if that is right, set allow_empty = true";
    for _ in 0..2 {
        bench.later(20, 0);
        assert_eq!(bench.read(&["prod"]).await.unwrap_err(), said);
    }
    // What was remembered is remembered from when it was seen, and not from the mistake.
    bench.later(-30, 0);
    bench.sources.get_mut("prod").unwrap().allow_empty = true;
    let remembered = bench.tags(&["prod"]).await;
    assert!(remembered[0].ends_with("last seen 2026-06-01T03:00:00Z"), "{remembered:?}");
    bench.sources.get_mut("prod").unwrap().allow_empty = false;
    assert_eq!(bench.tags(&["prod"]).await.len(), 2, "nothing is what it listed before");
}

/// A source with a mistake is not noted; the others are.
#[tokio::test]
async fn a_mistake_costs_no_memory() {
    let mut bench = Bench::new();
    bench.files("prod", InUseFormat::List, &["list"]);
    bench.files("other", InUseFormat::List, &["other"]);
    bench.write("list", "r.io/app:1\n");
    bench.write("other", "r.io/app:2\n");
    bench.tags(&["prod", "other"]).await;
    bench.write("list", "r.io/app:3\nr.io/App\n");
    bench.write("other", "r.io/app:4\n");
    assert!(bench.read(&["prod", "other"]).await.is_err());
    bench.write("list", "r.io/app:5\n");
    bench.write("other", "r.io/app:6\n");
    let tags: String =
        bench.tags(&["prod", "other"]).await.iter().map(|line| line[..1].to_owned()).collect();
    assert_eq!(tags, "12456");
}

#[test]
fn problems_are_named() {
    let problem = Problem::Forgotten("the disk is gone".to_owned());
    assert_eq!(
        problem.to_string(),
        "what was in use lately is kept in the state, which cannot be used: the disk is gone; with remember = \"0s\" only what runs now stays"
    );
}
