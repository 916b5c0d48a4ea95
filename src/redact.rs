//! Hides the secrets in use wherever they appear in a text.
//!
//! A server that is asked with a password or a token can repeat it in any part of its answer. So every
//! secret is remembered here when it is read or issued, and everything that strangers say is searched
//! for all of them, in the forms in which they are sent. There is one memory for the whole process: a
//! server may repeat what another one was sent.

use std::borrow::Cow;
use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

/// What stands in the place of a secret.
const HIDDEN: &str = "[REDACTED]";

/// Shorter secrets are not searched for: they are parts of words, and to hide those would show more
/// than it hides.
const SHORTEST: usize = 6;

/// So many secrets are remembered, the latest ones: what a server can repeat was just sent to it, and
/// passwords are remembered anew whenever they are looked up.
const MOST: usize = 512;

static IN_USE: Mutex<Memory> = Mutex::new(Memory { secrets: VecDeque::new() });

/// The latest secrets.
struct Memory {
    secrets: VecDeque<Known>,
}

struct Known {
    /// The user name of a password.
    username: Option<String>,
    /// How it may be repeated; itself first.
    forms: Vec<SecretString>,
}

/// From now on, this secret is hidden.
pub fn remember(secret: &SecretString) {
    IN_USE.lock().remember(secret.expose_secret(), None);
}

/// As [`remember`], for a password, which is sent with its user name.
pub fn remember_password(username: &str, password: &SecretString) {
    IN_USE.lock().remember(password.expose_secret(), Some(username));
}

/// The text without any secret in use.
pub fn hide(text: &str) -> Cow<'_, str> {
    IN_USE.lock().hide(text)
}

impl Memory {
    fn remember(&mut self, secret: &str, username: Option<&str>) {
        let is_known = |known: &Known| {
            let itself = known.forms.first().map(ExposeSecret::expose_secret);
            itself == Some(secret) && (username.is_none() || known.username.as_deref() == username)
        };
        if secret.len() < SHORTEST || self.secrets.iter().rev().any(is_known) {
            return;
        }
        if self.secrets.len() == MOST {
            self.secrets.pop_front();
        }
        let forms = forms(secret, username);
        self.secrets.push_back(Known { username: username.map(str::to_owned), forms });
    }

    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for form in self.secrets.iter().flat_map(|known| &known.forms) {
            let form = form.expose_secret();
            if shown.contains(form) {
                shown = Cow::Owned(shown.replace(form, HIDDEN));
            }
        }
        shown
    }
}

/// A secret as it may be repeated: itself first, then percent-encoded, as a part of JSON, and in base64
/// (without padding), alone and behind the user name.
fn forms(secret: &str, username: Option<&str>) -> Vec<SecretString> {
    let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let in_json = serde_json::Value::from(secret).to_string();
    let mut forms = vec![
        secret.to_owned(),
        encoded.replace('+', "%20"),
        encoded,
        in_json.trim_matches('"').to_owned(),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    if let Some(username) = username {
        let both = format!("{username}:{secret}");
        forms.extend([STANDARD_NO_PAD.encode(&both), URL_SAFE_NO_PAD.encode(&both)]);
    }
    let itself = forms.remove(0);
    forms.retain(|form| *form != itself);
    // The longest first, so that what contains another one is hidden as a whole.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    std::iter::once(itself).chain(forms).map(SecretString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(secrets: &[(&str, Option<&str>)]) -> Memory {
        let mut memory = Memory { secrets: VecDeque::new() };
        for (secret, username) in secrets {
            memory.remember(secret, *username);
        }
        memory
    }

    #[test]
    fn secrets_are_hidden_in_every_form() {
        let memory = memory(&[("p\"ss w+rd/é", Some("bot")), ("eyJ.tok-en_1", None)]);
        for (text, expected) in [
            ("got p\"ss w+rd/é, no", "got [REDACTED], no"),
            ("Bearer eyJ.tok-en_1 eyJ.tok-en_1", "Bearer [REDACTED] [REDACTED]"),
            ("?p=p%22ss%20w%2Brd%2F%C3%A9&x", "?p=[REDACTED]&x"),
            ("p%22ss+w%2Brd%2F%C3%A9", "[REDACTED]"),
            (r#"{"got":"p\"ss w+rd/é"}"#, r#"{"got":"[REDACTED]"}"#),
            ("nothing", "nothing"),
        ] {
            assert_eq!(memory.hide(text), expected);
        }
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            for text in ["bot:p\"ss w+rd/é", "p\"ss w+rd/é", "eyJ.tok-en_1"] {
                let text = format!("({})", engine.encode(text));
                assert_eq!(memory.hide(&text), "([REDACTED])");
            }
        }
    }

    #[test]
    fn short_secrets_are_not_searched_for() {
        assert_eq!(memory(&[("admin", None), ("", None)]).hide("the admin"), "the admin");
    }

    #[test]
    fn a_password_that_was_read_before_it_was_used_gets_its_forms() {
        let memory = memory(&[("s3cr3t", None), ("s3cr3t", Some("bot")), ("s3cr3t", Some("bot"))]);
        assert_eq!(memory.secrets.len(), 2);
        let sent = STANDARD_NO_PAD.encode("bot:s3cr3t");
        assert_eq!(memory.hide(&format!("Basic {sent}==")), "Basic [REDACTED]==");
    }

    #[test]
    fn the_latest_are_remembered() {
        let mut memory = memory(&[]);
        for number in 0..=MOST {
            memory.remember(&format!("secret-{number:08}"), None);
        }
        assert_eq!(memory.secrets.len(), MOST);
        assert_eq!(memory.hide("secret-00000000 secret-00000001"), "secret-00000000 [REDACTED]");
    }
}
