//! What people write by habit, from other tools and other formats, and the line that is meant.
//!
//! A line is only suggested if it is valid where it stands. Values of tables that may hold secrets are
//! never repeated.
//!
//! - `keys`: what is meant by an unknown key. `words`: the words of other tools, table by table; `made`:
//!   lines that are made of the values there.
//! - `values`: what is meant by a value that cannot be used; `hosts`: by a host. `formats`: by what is
//!   not TOML.

mod formats;
mod hosts;
mod keys;
mod made;
mod values;
mod words;

pub use formats::{OtherFormat, not_toml};
pub use hosts::host;
pub use keys::{stands_for, unknown_key};
pub use values::value;
