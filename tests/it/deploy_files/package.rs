//! scripts/package: what is in the package and the archive, and what dpkg does with the package. All
//! of it in a root of its own: nothing of this machine changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{read, root, said, tool};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How Debian calls the architecture of the tests.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("packages are not made for {other}"),
    }
}

/// Packs the program of the tests, without what is for debuggers. Gives the files, by their names.
fn packed(folder: &Path) -> Vec<String> {
    let program = folder.join("program");
    let mut strip = Command::new("strip");
    succeed(strip.arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_tranship")));
    let mut package = Command::new(root().join("scripts/package"));
    package.arg("--fast").arg("--out").arg(folder).arg("--binary").arg(&program);
    succeed(package.env("SOURCE_DATE_EPOCH", "1795000000"));
    fs::remove_file(program).unwrap();
    let made = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = made.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn succeed(command: &mut Command) -> String {
    let output = tool(command);
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

/// dpkg with a root and a database of its own, and with the maintainer scripts told so.
struct Machine {
    root: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: TempDir::new().unwrap() };
        for folder in ["info", "updates", "triggers"] {
            fs::create_dir_all(machine.path("var/lib/dpkg").join(folder)).unwrap();
        }
        for file in ["status", "available"] {
            fs::write(machine.path("var/lib/dpkg").join(file), "").unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    fn dpkg(&self, arguments: &[&str]) -> String {
        // As root of a namespace, where the tests do not run as root.
        let mut dpkg = match rustix::process::geteuid().is_root() {
            true => Command::new("dpkg"),
            false => {
                let mut unshare = Command::new("unshare");
                unshare.args(["--map-root-user", "dpkg"]);
                unshare
            }
        };
        dpkg.arg(format!("--root={}", self.root.path().display()));
        // Its dependencies are not in this root.
        dpkg.args(["--force-script-chrootless", "--force-depends", "--force-confold"]);
        succeed(dpkg.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    }
}

/// The same package with another version and another configuration to start from.
fn newer(deb: &Path) -> PathBuf {
    let folder = deb.parent().unwrap().join("newer");
    succeed(Command::new("dpkg-deb").arg("-R").arg(deb).arg(&folder));
    let control = folder.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    fs::write(
        &control,
        text.replace(&format!("Version: {VERSION}\n"), &format!("Version: {VERSION}+newer\n")),
    )
    .unwrap();
    let config = folder.join("etc/tranship/tranship.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}# newer\n")).unwrap();
    let newer = deb.parent().unwrap().join("newer.deb");
    succeed(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zgzip", "-z1", "--build"])
            .arg(&folder)
            .arg(&newer),
    );
    newer
}

#[test]
fn a_package_is_installed_upgraded_and_removed() {
    let folder = TempDir::new().unwrap();
    let names = packed(folder.path());
    let deb = format!("tranship_{VERSION}_{}.deb", architecture());
    let archive = format!("tranship-{VERSION}-{}-linux-gnu.tar.gz", std::env::consts::ARCH);
    assert_eq!(names, ["SHA256SUMS", &archive, &deb]);
    succeed(Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(folder.path()));
    let deb = folder.path().join(deb);

    let field = |name: &str| {
        let output = tool(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!((field("Package"), field("Version")), ("tranship".to_owned(), VERSION.to_owned()));
    // This one is linked dynamically, as the tests are.
    assert!(field("Depends").starts_with("ca-certificates, libc6 (>= 2."), "{}", field("Depends"));
    let content = succeed(Command::new("dpkg-deb").arg("--contents").arg(&deb));
    assert!(content.lines().all(|line| line.contains(" root/root ")), "{content}");
    assert!(!content.contains("/usr/local/"), "{content}");

    let machine = Machine::new();
    let told = machine.dpkg(&["--install", deb.to_str().unwrap()]);
    assert!(told.contains("README.Debian for how to start the daemon"), "{told}");
    assert!(machine.path("usr/share/doc/tranship/README.Debian").exists());
    let program = machine.path("usr/bin/tranship");
    assert_eq!(succeed(Command::new(&program).arg("--version")), format!("tranship {VERSION}\n"));
    let modes = [
        ("usr/bin/tranship", 0o755),
        ("etc/tranship/tranship.toml", 0o644),
        ("etc/tranship/secrets", 0o700),
        ("usr/lib/systemd/system/tranship.service", 0o644),
    ];
    for (name, mode) in modes {
        assert_eq!(machine.mode(name), mode, "{name}");
    }
    // The unit is the one that is tested, with the program where the package has it.
    let unit = fs::read_to_string(machine.path("usr/lib/systemd/system/tranship.service")).unwrap();
    let same = read("systemd/tranship.service").replace("/usr/local/bin/", "/usr/bin/");
    let (_, same) = same.split_once("[Unit]").unwrap();
    assert_eq!(unit.strip_prefix("[Unit]"), Some(same));
    assert!(unit.contains("ExecStart=/usr/bin/tranship serve "), "{unit}");
    let drop_in = "etc/systemd/system/tranship.service.d/secrets.conf";
    assert_eq!(fs::read_to_string(machine.path(drop_in)).unwrap(), read("systemd/secrets.conf"));
    let pages = fs::read_dir(machine.path("usr/share/man/man1")).unwrap().count();
    assert!(pages > 20, "{pages}");
    let licences = machine.path("usr/share/doc/tranship/LICENSES-OF-LIBRARIES.gz");
    let licences = succeed(Command::new("zcat").arg(licences));
    assert!(licences.contains("\ntokio ") && licences.contains("Permission is hereby granted"));

    // What the administrator has changed stays, and so does what the daemon has written.
    fs::write(machine.path("etc/tranship/tranship.toml"), "# mine\n").unwrap();
    let audit = machine.path("var/lib/private/tranship/audit/1.jsonl");
    fs::create_dir_all(audit.parent().unwrap()).unwrap();
    fs::write(&audit, "{}\n").unwrap();
    let told = machine.dpkg(&["--install", newer(&deb).to_str().unwrap()]);
    assert!(!told.contains("README.Debian"), "said once: {told}");
    let config = machine.path("etc/tranship/tranship.toml");
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");
    let shipped = fs::read_to_string(machine.path("etc/tranship/tranship.toml.dpkg-dist"));
    assert!(shipped.is_ok_and(|text| text.ends_with("# newer\n")), "{told}");

    fs::write(machine.path("etc/tranship/secrets/token"), "s3cret\n").unwrap();
    machine.dpkg(&["--remove", "tranship"]);
    assert!(!program.exists() && config.exists() && audit.exists());
    let told = machine.dpkg(&["--purge", "tranship"]);
    assert!(!config.exists() && audit.exists());
    assert!(told.contains("var/lib/private/tranship is kept. Delete it if"), "{told}");
    assert!(told.contains("etc/tranship/secrets is kept"), "{told}");
}

/// What the maintainer scripts ask systemd for, on a machine that runs it: in a namespace in which
/// the programs that they call only note how they were called.
#[test]
fn the_maintainer_scripts_ask_systemd_for_what_is_needed() {
    let folder = TempDir::new().unwrap();
    for program in ["systemctl", "deb-systemd-helper", "deb-systemd-invoke"] {
        let file = folder.path().join(program);
        fs::write(&file, format!("#!/bin/sh\necho {program} $* >>$CALLS\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let calls = |script: &str, arguments: &str| {
        let file = folder.path().join("calls");
        fs::write(&file, "").unwrap();
        let run = format!(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/system && {} {arguments}",
            root().join("deploy/debian").join(script).display()
        );
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "sh", "-c", &run]);
        succeed(unshare.env("PATH", path).env("CALLS", &file).env_remove("DPKG_ROOT"));
        fs::read_to_string(file).unwrap()
    };
    let state = "deb-systemd-helper update-state tranship.service\n";
    let reload = "systemctl --system daemon-reload\n";
    let restart = "deb-systemd-invoke try-restart tranship.service\n";
    // Never enabled or started by itself.
    assert_eq!(calls("postinst", "configure ''"), format!("{state}{reload}"));
    assert_eq!(calls("postinst", "configure 0.1.0"), format!("{state}{reload}{restart}"));
    assert_eq!(calls("postinst", "abort-upgrade 0.1.0"), "");
    assert_eq!(calls("prerm", "upgrade 0.2.0"), "");
    assert_eq!(calls("prerm", "remove"), "deb-systemd-invoke stop tranship.service\n");
    assert_eq!(calls("postrm", "remove"), reload);
    let purge = "deb-systemd-helper purge tranship.service\n";
    assert_eq!(calls("postrm", "purge"), format!("{purge}{reload}"));
}

#[test]
fn the_same_program_gives_the_same_bytes() {
    let [one, other] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let names = packed(one.path());
    assert_eq!(packed(other.path()), names);
    for name in names {
        let [one, other] =
            [&one, &other].map(|folder| fs::read(folder.path().join(&name)).unwrap());
        assert!(one == other, "{name}");
    }
}
