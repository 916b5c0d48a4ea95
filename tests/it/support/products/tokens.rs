//! The bearer tokens of a product, and how clients are sent for them.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::asked::Asked;
use crate::support::scripted;

/// A kind of resource, its name, and what one asks to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub kind: String,
    pub name: String,
    pub actions: Vec<String>,
}

impl Scope {
    /// Reads `repository:acme/app:pull,push`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let actions = actions.split(',').map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }

    /// Every scope that a request for a token asks for: one parameter each in a GET, separated by
    /// spaces in a form.
    pub fn asked(asked: &Asked) -> Vec<Self> {
        Self::texts(asked).iter().filter_map(|text| Self::parse(text)).collect()
    }

    /// As `asked`, unread.
    pub fn texts(asked: &Asked) -> Vec<String> {
        let in_query = url::form_urlencoded::parse(asked.head.query.as_bytes())
            .filter(|(key, _)| key == "scope")
            .map(|(_, value)| value.into_owned());
        let in_form = asked.form().remove("scope").filter(|_| asked.method() == "POST");
        let all: Vec<String> = in_query.chain(in_form).collect();
        all.iter().flat_map(|text| text.split(' ')).map(str::to_owned).collect()
    }

    /// The part of it that somebody may have.
    pub fn granted(mut self, may: impl Fn(&str) -> bool) -> Self {
        self.actions.retain(|action| may(action));
        self
    }
}

/// What a token is good for.
#[derive(Debug, Clone)]
pub struct Issued {
    pub holder: Option<String>,
    pub access: Vec<Scope>,
    until: SystemTime,
}

/// What a shown token comes to.
#[derive(Debug, Clone)]
pub enum Shown {
    /// It is good for all that the request needs.
    Enough(Issued),
    /// There is none.
    Nothing,
    /// It is unknown, or its time is over.
    Invalid,
    /// It is good, but not for this.
    TooLittle,
}

#[derive(Default)]
pub struct Tokens {
    issued: HashMap<String, Issued>,
    serial: usize,
}

impl Tokens {
    pub fn issue(
        &mut self,
        holder: Option<&str>,
        access: Vec<Scope>,
        lifetime: Duration,
    ) -> String {
        self.serial += 1;
        let until = SystemTime::now() + lifetime;
        let seconds = until.duration_since(UNIX_EPOCH).unwrap().as_secs();
        // In the form of a JWT, for clients that look into it. Nobody checks the signature.
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let (header, claims) = (json!({ "alg": "none" }), json!({ "exp": seconds }));
        let signature = format!("signature {}", self.serial);
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let token = format!("{}.{}.{signature}", part(header), part(claims));
        let issued = Issued { holder: holder.map(str::to_owned), access, until };
        self.issued.insert(token.clone(), issued);
        token
    }

    pub fn revoke_all(&mut self) {
        self.issued.clear();
    }

    /// A token whose time is not over.
    pub fn valid(&self, token: &str) -> Option<&Issued> {
        self.issued.get(token).filter(|issued| SystemTime::now() < issued.until)
    }

    /// What is wrong with the token that a request shows, or should, for all of these. `None`: nothing.
    pub fn lacking(&self, asked: &Asked, wanted: &[(&str, &str, &str)]) -> Option<Shown> {
        let shown = self.shown(asked, wanted);
        (!matches!(shown, Shown::Enough(_))).then_some(shown)
    }

    /// Whether the request shows a token for all of these (kind, name, action).
    pub fn shown(&self, asked: &Asked, wanted: &[(&str, &str, &str)]) -> Shown {
        if asked.head.header("authorization").is_none() {
            return Shown::Nothing;
        }
        let Some(issued) = asked.bearer().and_then(|token| self.valid(token)) else {
            return Shown::Invalid;
        };
        let granted = |(kind, name, action): &(&str, &str, &str)| {
            issued.access.iter().any(|scope| {
                scope.kind == *kind
                    && scope.name == *name
                    && scope.actions.iter().any(|own| own == action || own == "*")
            })
        };
        match wanted.iter().all(granted) {
            true => Shown::Enough(issued.clone()),
            false => Shown::TooLittle,
        }
    }
}

/// `Bearer realm="…",service="…",scope="…",error="…"`.
pub fn challenge(
    realm: &str,
    service: &str,
    wanted: &[(&str, &str, &str)],
    shown: &Shown,
) -> String {
    let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
    if let Some(scope) = scripted::scope(wanted) {
        challenge += &format!(",scope=\"{scope}\"");
    }
    match shown {
        Shown::Invalid => challenge += ",error=\"invalid_token\"",
        Shown::TooLittle => challenge += ",error=\"insufficient_scope\"",
        Shown::Nothing | Shown::Enough(_) => {}
    }
    challenge
}
