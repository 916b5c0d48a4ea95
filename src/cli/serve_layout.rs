//! `tranship serve-layout`: image layouts on disk, served as a registry.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use tokio::net::TcpListener;

use super::args::Global;
use super::exit::{CliError, Exit, failed};
use super::{output, signals};
use crate::layout::Layouts;
use crate::oci::RepositoryName;
use crate::server::{self, Bounds, Options};
use crate::text::counted;

/// Serve OCI image layouts on disk as a registry
///
/// If DIR is an image layout, it becomes one repository. If DIR is a folder, all layouts below it
/// become repositories, named by their paths. Runs until SIGINT or SIGTERM.
///
/// There is no TLS and no login: everybody who reaches the address can read, and with --writable
/// also push and delete.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tranship serve-layout /srv/images
  tranship serve-layout --listen 127.0.0.1:0 --name acme/app ./app
  tranship serve-layout --writable /srv/images        allow pushes")]
pub struct Args {
    /// Image layout, or folder of layouts
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Allow pushes and deletions; DIR is created if it does not exist
    #[arg(long)]
    writable: bool,
    /// Allow --writable on an address that other machines can reach
    #[arg(long, requires = "writable")]
    allow_remote_writes: bool,
    /// Name of the repository if DIR is a layout; by default the name of the folder
    #[arg(long, value_name = "REPOSITORY")]
    name: Option<RepositoryName>,
}

/// The document that `--output json` prints when requests are answered.
#[derive(Serialize)]
struct Listening {
    address: String,
    writable: bool,
    repositories: Vec<String>,
}

pub async fn run(global: &Global, args: Args) -> Result<Exit, CliError> {
    if args.writable && !args.listen.ip().is_loopback() && !args.allow_remote_writes {
        return Err(CliError::Usage(format!(
            "--writable on {}: other machines could push and delete there without a password; listen on 127.0.0.1, or use --allow-remote-writes if you trust the network",
            args.listen
        )));
    }
    let layouts = open(&args).await?;
    let names: Vec<String> = layouts.names().await?.iter().map(ToString::to_string).collect();
    let failed = failed(format!("listen on {}", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(&failed)?;
    let address = listener.local_addr().map_err(&failed)?;
    let stop = signals::Stop::on_signal().token;
    let is_local = address.ip().is_loopback();
    let options = Options { writable: args.writable, is_local, ..Options::default() };
    let router = server::registry(layouts, options);
    let (writable, count) = (args.writable, names.len());
    let listening = Listening { address: address.to_string(), writable, repositories: names };
    output::print(global, &listening, || {
        let access = if writable { "writable" } else { "read-only" };
        let folder = args.folder.display();
        output::print_line(format!(
            "listening on {address}, serving {folder} ({access}, {})",
            counted(count, "repository", "repositories")
        ))
    })?;
    server::serve(listener, router, Bounds::default(), stop.cancelled_owned())
        .await
        .map_err(&failed)?;
    Ok(Exit::Done)
}

async fn open(args: &Args) -> Result<Layouts, CliError> {
    let layouts = if args.writable {
        Layouts::open_or_create(&args.folder).await?
    } else {
        Layouts::open(&args.folder).await?
    };
    let Some(name) = &args.name else { return Ok(layouts) };
    let layouts = layouts.named(name.clone());
    if layouts.get(name).await?.is_none() {
        return Err(CliError::Usage(format!(
            "--name is for a single layout; {} is a folder of layouts, which have their paths as names",
            args.folder.display()
        )));
    }
    Ok(layouts)
}
