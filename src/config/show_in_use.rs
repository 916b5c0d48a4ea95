//! `[in_use.NAME]` as it was meant, written as TOML.

use super::in_use::{InUseFormat, InUseFrom, InUseSource};
use super::show::{Writer, duration, list, quoted};

pub fn show(name: &str, source: &InUseSource, out: &mut Writer) {
    out.header(&format!("[in_use.{name}]"));
    match &source.format {
        InUseFormat::Kubernetes { paths } => {
            out.key("format", quoted("kubernetes"));
            out.key("paths", list(paths));
        }
        InUseFormat::List => out.key("format", quoted("list")),
    }
    match &source.from {
        InUseFrom::Files(files) => {
            out.key("file", list(files.iter().map(|file| file.display())));
        }
        InUseFrom::Command { words, timeout } => {
            out.key("command", list(words));
            out.key("timeout", duration(*timeout));
        }
    }
    if !source.aliases.is_empty() {
        let alias = |(run, kept)| format!("{} = {}", quoted(run), quoted(kept));
        let aliases: Vec<_> = source.aliases.iter().map(alias).collect();
        out.key("aliases", format!("{{ {} }}", aliases.join(", ")));
    }
    out.key("remember", duration(source.remember));
    out.key("allow_empty", source.allow_empty);
}
