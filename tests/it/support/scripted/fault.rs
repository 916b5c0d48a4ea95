//! Rules: which request goes wrong, how often, and in what way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::support::traffic::Kind;
use crate::support::wire::{Delivery, Head, Response};

/// A way for one request to go wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This answer instead of the right one. The request's body is read and dropped. `{authorization}`
    /// in it becomes the request's own, and `{credential}` what stands behind its scheme.
    Answer(Response),
    /// The right length, but one byte of the body is another.
    WrongBytes,
    /// The body is followed by as many bytes more; the length says so.
    Longer(usize),
    /// All of the body is promised, only so many bytes come, then the connection ends.
    CutAnswerAfter(usize),
    /// The connection ends without an answer.
    Cut,
    /// The connection ends after so many bytes of the request's body. What arrived is kept in
    /// the upload, if the registry keeps partial uploads.
    CutRequestAfter(usize),
    /// The request is carried out, but the connection ends without an answer.
    CutAfterwards,
    /// A body without end.
    Endless,
    /// No answer until `Scripted::release`; then the usual one.
    Hang,
    /// The usual answer after a while.
    Delay(Duration),
    /// The usual answer, so many bytes at a time.
    Drip { bytes: usize, every: Duration },
    /// The usual answer with this header set.
    Header(String, String),
    /// The usual answer without this header.
    NoHeader(String),
    /// The upload is forgotten: 404 BLOB_UPLOAD_UNKNOWN.
    SessionLost,
    /// A redirect (307) to the same path and query at this URL.
    Redirect(String),
    /// A page of tags whose `Link` leads back to itself.
    PageLinksToItself,
    /// A page of made-up tags that always has a next one.
    EndlessPages,
    /// A page of referrers with an annotation of so many bytes, which always has a next one.
    EndlessReferrers(usize),
}

impl Fault {
    /// An answer with this status and no body; refine with `header`, `body` and `error`.
    pub fn status(status: u16) -> Self {
        Self::Answer(Response::new(status))
    }

    /// 429 as registries send it, with `Retry-After` if given.
    pub fn too_many_requests(retry_after: Option<&str>) -> Self {
        let fault = Self::status(429).error("TOOMANYREQUESTS", "too many requests");
        match retry_after {
            Some(value) => fault.header("retry-after", value),
            None => fault,
        }
    }

    pub fn wrong_content_type(media_type: &str) -> Self {
        Self::Header("content-type".to_owned(), media_type.to_owned())
    }

    pub fn wrong_content_digest(digest: &str) -> Self {
        Self::Header("docker-content-digest".to_owned(), digest.to_owned())
    }

    pub fn no_content_digest() -> Self {
        Self::NoHeader("docker-content-digest".to_owned())
    }

    /// Adds a header to an answer.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.refine(|response| response.header(name, value))
    }

    /// Gives an answer a body.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.refine(|response| response.body(body))
    }

    /// Gives an answer the specification's error body.
    pub fn error(self, code: &str, message: &str) -> Self {
        self.refine(|response| {
            let body = super::handler::error(response.status, code, message);
            Response { headers: response.headers, ..body }
                .header("content-type", "application/json")
        })
    }

    fn refine(self, change: impl FnOnce(Response) -> Response) -> Self {
        match self {
            Self::Answer(response) => Self::Answer(change(response)),
            other => panic!("{other:?} has no answer of its own"),
        }
    }

    /// An answer of its own, with what the request said.
    pub fn repeat(response: &Response, head: &Head) -> Response {
        let authorization = head.headers.get("authorization");
        let authorization = authorization.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let (_, credential) = authorization.split_once(' ').unwrap_or_default();
        let repeat = |text: &str| {
            text.replace("{authorization}", authorization).replace("{credential}", credential)
        };
        let mut repeated = response.clone();
        for value in repeated.headers.values_mut() {
            if let Ok(text) = value.to_str() {
                *value = repeat(text).parse().unwrap();
            }
        }
        if let Ok(text) = std::str::from_utf8(&response.body) {
            repeated.body = repeat(text).into();
        }
        repeated
    }

    /// What becomes of the right answer, and how it goes out.
    pub fn spoil(&self, mut response: Response) -> (Response, Delivery) {
        let mut delivery = Delivery::Whole;
        match self {
            Self::WrongBytes => {
                let mut body = response.body.to_vec();
                if let Some(byte) = body.last_mut() {
                    *byte ^= 1;
                }
                response.body = body.into();
            }
            Self::Longer(by) => {
                let mut body = response.body.to_vec();
                body.resize(body.len() + by, b'x');
                response.body = body.into();
            }
            Self::CutAnswerAfter(bytes) => delivery = Delivery::CutAfter(*bytes),
            Self::Endless => delivery = Delivery::Endless,
            Self::Drip { bytes, every } => {
                delivery = Delivery::Drip { bytes: *bytes, every: *every };
            }
            Self::Header(name, value) => response.set(name, value),
            Self::NoHeader(name) => {
                response.headers.remove(name.as_str());
            }
            // The others act before there is an answer.
            _ => {}
        }
        (response, delivery)
    }
}

/// The rules of one server, in the order in which they came into force.
#[derive(Clone, Default)]
pub struct Rules(Arc<Mutex<Vec<Rule>>>);

/// A rule in force.
struct Rule {
    method: String,
    kind: Option<Kind>,
    containing: Vec<String>,
    authorized: bool,
    skip: usize,
    left: usize,
    fault: Fault,
    fired: Arc<AtomicUsize>,
}

impl Rule {
    fn matches(&self, head: &Head) -> bool {
        let target = format!("{}?{}", head.path, head.query);
        self.left > 0
            && (self.method == "*" || self.method == head.method)
            && self.kind.is_none_or(|kind| kind == Kind::of(&head.path))
            && self.containing.iter().all(|text| target.contains(text))
            && (!self.authorized || head.headers.contains_key("authorization"))
    }
}

/// A rule that is being written. It comes into force with `fail`.
pub struct RuleBuilder {
    rules: Rules,
    rule: Rule,
}

/// A rule in force, to ask how often it struck.
pub struct Fired(Arc<AtomicUsize>);

impl Fired {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl RuleBuilder {
    /// Only requests whose path or query contains this text: a digest, a tag, a repository.
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.rule.containing.push(text.into());
        self
    }

    /// Only requests with an `Authorization`.
    pub fn authorized(mut self) -> Self {
        self.rule.authorized = true;
        self
    }

    /// Lets the first `count` matching requests pass.
    pub fn after(mut self, count: usize) -> Self {
        self.rule.skip = count;
        self
    }

    /// Strikes so often, then no more. Without this, it always strikes.
    pub fn times(mut self, count: usize) -> Self {
        self.rule.left = count;
        self
    }

    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Puts the rule in force. Of several that match a request, the oldest strikes.
    pub fn fail(mut self, fault: Fault) -> Fired {
        self.rule.fault = fault;
        let fired = Fired(Arc::clone(&self.rule.fired));
        self.rules.0.lock().unwrap().push(self.rule);
        fired
    }
}

impl Rules {
    /// Begins a rule for requests of this method (`*`: any) and kind (`None`: any).
    pub fn on(&self, method: &str, kind: Option<Kind>) -> RuleBuilder {
        let rule = Rule {
            method: method.to_owned(),
            kind,
            containing: Vec::new(),
            authorized: false,
            skip: 0,
            left: usize::MAX,
            fault: Fault::Cut,
            fired: Arc::default(),
        };
        RuleBuilder { rules: self.clone(), rule }
    }

    /// Ends every rule.
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// The fault that this request meets, if any. Uses it up.
    pub fn fault_for(&self, head: &Head) -> Option<Fault> {
        let mut rules = self.0.lock().unwrap();
        for rule in rules.iter_mut().filter(|rule| rule.matches(head)) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.left = if rule.left == usize::MAX { usize::MAX } else { rule.left - 1 };
            rule.fired.fetch_add(1, Ordering::SeqCst);
            return Some(rule.fault.clone());
        }
        None
    }
}
