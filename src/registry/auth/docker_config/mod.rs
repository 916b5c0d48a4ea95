//! docker's auth file: `config.json`, or podman's and skopeo's `auth.json` of the same form.
//!
//! `location`: where it is; `file`: what it holds; `write`: changes it, for `login` and `logout`.

mod file;
mod location;
mod write;

pub(super) use file::{AuthFile, Entry, blocking, server_name};
pub use location::{Form, Place, auth_file_to_write, auth_files};
pub use write::{Keeper, erase, store};
