//! What reading a configuration needs at hand: the folder of the file, the environment, and a
//! place to put problems, so that reading goes on after the first.

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde_spanned::Spanned;

use super::Environment;
use super::problem::Problems;

pub struct Reader<'a> {
    pub text: &'a str,
    /// Absolute; relative paths in the file start here.
    pub folder: PathBuf,
    pub env: Environment<'a>,
    pub problems: Problems,
}

impl Reader<'_> {
    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// The line of a byte of the text, counted from 1.
    pub fn line(&self, byte: usize) -> usize {
        self.text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
    }

    /// A key that may be left out: `Some(None)` if it is, `None` if its value is wrong.
    pub fn optional<V, T>(
        &mut self,
        value: Option<V>,
        read: impl FnOnce(V, &mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match value {
            None => Some(None),
            Some(value) => read(value, self).map(Some),
        }
    }

    /// A path to a file that must be there.
    pub fn file(&mut self, text: &Spanned<String>) -> Option<PathBuf> {
        let path = self.path(text.get_ref());
        match std::fs::metadata(&path) {
            Ok(metadata) if !metadata.is_dir() => return Some(path),
            Ok(_) => {
                self.report(text.span(), format!("{} is a folder, not a file", path.display()))
            }
            Err(e) => self.report(text.span(), format!("cannot use {}: {e}", path.display())),
        }
        None
    }

    /// A value in its text form.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, text: &Spanned<String>) -> Option<T> {
        self.check(text.span(), text.get_ref().parse())
    }

    /// All values of a list; every malformed one is reported.
    pub fn parse_all<T: FromStr<Err: Display>>(
        &mut self,
        texts: &[Spanned<String>],
    ) -> Option<Vec<T>> {
        let values: Vec<Option<T>> = texts.iter().map(|text| self.parse(text)).collect();
        values.into_iter().collect()
    }

    pub fn duration(&mut self, text: &Spanned<String>) -> Option<Duration> {
        let duration = humantime::parse_duration(text.get_ref());
        if duration.is_err() {
            let message = format!("`{}` is not a duration", text.get_ref());
            self.problems.report_with_hint(
                text.span(),
                message,
                "write a number with its unit, like 90s, 15m, 24h or 7d",
            );
        }
        duration.ok()
    }

    /// A number of bytes.
    pub fn size(&mut self, text: &Spanned<String>) -> Option<u64> {
        let size = text.get_ref().parse::<bytesize::ByteSize>();
        if size.is_err() {
            let message = format!("`{}` is not a size", text.get_ref());
            self.problems.report_with_hint(
                text.span(),
                message,
                "write a number with its unit, like 64MiB or 2GB",
            );
        }
        size.ok().map(|size| size.as_u64())
    }

    /// The value, or `None` with a problem reported.
    pub fn check<T>(&mut self, span: Range<usize>, result: Result<T, impl Display>) -> Option<T> {
        result.map_err(|error| self.report(span, error)).ok()
    }

    pub fn report(&mut self, span: Range<usize>, message: impl Display) {
        self.problems.report(span, message);
    }

    pub fn report_with_hint(&mut self, span: Range<usize>, message: impl Display, hint: &str) {
        self.problems.report_with_hint(span, message, hint);
    }

    /// Whether a name of a source of `what` is short and plain. `why` stands in front of the hint.
    pub fn check_name_of_source(&mut self, name: &Spanned<String>, what: &str, why: &str) -> bool {
        let text = name.get_ref();
        let valid = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !valid {
            let message = format!("`{text}` is not a name for a source of {what}");
            let hint = format!("{why}at most 64 letters, digits, `-` and `_`");
            self.report_with_hint(name.span(), message, &hint);
        }
        valid
    }
}

/// The folder of a file, absolute.
pub fn folder_of(file: &Path) -> std::io::Result<PathBuf> {
    let file = std::path::absolute(file)?;
    Ok(file.parent().unwrap_or(&file).to_owned())
}
