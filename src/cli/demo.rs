//! `tranship demo`: the whole thing on this machine, without network and without set-up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::args::{Global, Output};
use super::exit::{CliError, Exit, failed};
use super::lines::Lines;
use super::{output, session, signals};
use crate::demo::{self, DemoReport, Step, World};
use crate::secret::Environment;
use crate::text::counted;

/// Try tranship on this machine, without a network
///
/// Starts two local registries, pushes sample images to the first, mirrors them to the second with
/// a real configuration, and shows what each step costs. Every step is checked; the exit code is 0
/// only if all checks pass. All files are removed afterwards, unless --keep is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship demo
  tranship demo --keep ./demo      keep the configuration and the images")]
pub struct Args {
    /// Keep the configuration and the images in this folder, which must be empty or not exist yet
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    let (folder, temporary) = match args.keep {
        Some(folder) => (empty_folder(folder)?, None),
        None => {
            let made = TempDir::with_prefix("tranship-demo-");
            let place = std::env::temp_dir();
            let made = made.map_err(failed(format!("create {}", place.display())))?;
            (made.path().to_owned(), Some(made))
        }
    };
    let text = global.output == Output::Text && !global.quiet;
    if text {
        output::print_line("tranship demo: from one registry to another, all on this machine")?;
    }
    let mut number = 0;
    let mut watch = |step: &Step| {
        number += 1;
        if text {
            // A reader that has gone is noticed when the report is finished.
            let _ = output::print_lines(&step_text(number, step));
        }
    };
    let program = std::env::args().next().unwrap_or_else(|| "tranship".to_owned());
    let world = World {
        // Nobody's credentials are needed here, so none are looked for.
        environment: Environment::new(|_| None),
        jitter: session::jitter,
        clock: session::now,
    };
    let mut report = signals::unless_stopped(async {
        let report = demo::run(&folder, world, &program, &mut watch).await;
        report.map_err(|error| CliError::Failed(error.to_string()))
    })
    .await?;
    // A temporary folder is removed when it is dropped.
    if temporary.is_some() {
        report.next.clear();
        (report.source.folder, report.target.folder) = (None, None);
    }
    output::print(global, &report, || match global.quiet {
        true => Ok(()),
        false => output::print_lines(&closing(&report, &folder, &program)),
    })?;
    Ok(if report.success { Exit::Done } else { Exit::Failed })
}

fn empty_folder(path: PathBuf) -> Result<PathBuf, CliError> {
    let failed = failed(format!("create {}", path.display()));
    std::fs::create_dir_all(&path).map_err(&failed)?;
    if std::fs::read_dir(&path).map_err(&failed)?.next().is_some() {
        return Err(CliError::Usage(format!(
            "{} is not empty: name a folder that is empty or not there yet",
            path.display()
        )));
    }
    Ok(path)
}

fn step_text(number: usize, step: &Step) -> Lines {
    let mut lines = Lines::one("");
    lines.line(format!("{number}. {}", step.title));
    step.story.iter().for_each(|line| lines.line(format!("   {line}")));
    if step.blobs_sent + step.blobs_mounted > 0 {
        lines.line(format!(
            "   {} sent ({}), {} mounted from another repository of the target",
            counted(step.blobs_sent, "blob", "blobs"),
            output::bytes(step.bytes_sent),
            step.blobs_mounted
        ));
    }
    lines.line(format!(
        "   requests: source {}; target {}; {}",
        requests(&step.source_requests),
        requests(&step.target_requests),
        output::seconds(step.seconds)
    ));
    for check in &step.checks {
        let sign = if check.passed { "ok" } else { "FAILED" };
        let found = check.found.as_ref().map(|found| format!(" ({found})")).unwrap_or_default();
        lines.line(format!("   {sign}: {}{found}", check.what));
    }
    lines
}

/// `12 (8 GET, 4 HEAD)`
fn requests(counts: &BTreeMap<String, u64>) -> String {
    let total: u64 = counts.values().sum();
    if total == 0 {
        return "none".to_owned();
    }
    let parts: Vec<String> =
        counts.iter().map(|(method, count)| format!("{count} {method}")).collect();
    format!("{total} ({})", parts.join(", "))
}

fn closing(report: &DemoReport, folder: &Path, program: &str) -> Lines {
    let mut lines = Lines::one("");
    lines.line(if report.success {
        format!("All of it worked, in {}.", output::seconds(report.seconds))
    } else {
        "Some checks failed: see FAILED above.".to_owned()
    });
    lines.line("");
    if report.next.is_empty() {
        lines.line("What next?");
        lines.line(format!(
            "   {program} demo --keep ./demo    run again, and keep the configuration and images"
        ));
        lines.line(format!(
            "   {program} sync --help           write your own rules: start from config.example.toml"
        ));
        return lines;
    }
    lines.line(format!(
        "Kept in {}: tranship.toml (the rules), source and target (the images, as OCI layouts).",
        folder.display()
    ));
    lines.line("The registries of the demo have stopped. To continue:");
    for next in &report.next {
        lines.line(format!("   # {}", next.what));
        lines.line(format!("   {}", next.command));
    }
    lines
}
