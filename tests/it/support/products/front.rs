//! Takes a request through the record, the faults and the limits, to the product's own rules.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use async_trait::async_trait;

use super::asked::Asked;
use super::backend::Backend;
use super::inventory::Inventory;
use super::people::People;
use super::tokens::Tokens;
use super::{Product, forward};
use crate::support::scripted::{Fault, Rules};
use crate::support::traffic::{Kind, Seen};
use crate::support::wire::{Delivery, Exchange, Head, Next, Response, Service};

/// A part of a product, for its record and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    Registry,
    Token,
    Api,
    /// Where blobs lie, on a host of its own that takes no credentials.
    Storage,
}

/// The registry that stores gave no answer: the client gets none either.
#[derive(Debug)]
pub struct Broken;

/// Everything that the ports of a product share.
pub struct Front<P: Product> {
    pub backend: Backend,
    pub client: reqwest::Client,
    pub knobs: Mutex<P::Knobs>,
    pub people: Mutex<People>,
    pub tokens: Mutex<Tokens>,
    pub inventory: Mutex<Inventory>,
    pub rules: Rules,
    pub down: Mutex<HashMap<Area, Response>>,
    pub budgets: Mutex<HashMap<Area, usize>>,
    /// By how many entries every page but the first is off.
    pub shift: Mutex<isize>,
    pub seen: Mutex<Vec<(Area, Seen)>>,
    hosts: OnceLock<Vec<String>>,
    started: Instant,
}

impl<P: Product> Front<P> {
    pub fn new(backend: Backend) -> Self {
        Self {
            backend,
            client: forward::client(),
            knobs: Mutex::default(),
            people: Mutex::default(),
            tokens: Mutex::default(),
            inventory: Mutex::default(),
            rules: Rules::default(),
            down: Mutex::default(),
            budgets: Mutex::default(),
            shift: Mutex::default(),
            seen: Mutex::default(),
            hosts: OnceLock::new(),
            started: Instant::now(),
        }
    }

    /// Learns the addresses of its ports.
    pub fn opened(&self, hosts: Vec<String>) {
        self.hosts.set(hosts).unwrap();
    }

    /// `host:port` of a port.
    pub fn host(&self, door: usize) -> &str {
        &self.hosts.get().unwrap()[door]
    }

    pub fn knobs(&self) -> P::Knobs {
        self.knobs.lock().unwrap().clone()
    }

    pub fn shift(&self) -> isize {
        *self.shift.lock().unwrap()
    }

    /// Takes a tag away, here and in the registry that stores.
    pub async fn untag(&self, repository: &str, tag: &str) {
        self.backend.remove_tag(repository, tag).await;
        self.inventory.lock().unwrap().remove(repository, tag);
    }

    /// Takes a manifest and its tags away, here and in the registry that stores.
    pub async fn remove(&self, repository: &str, digest: &str) {
        self.backend.remove_manifest(repository, digest).await;
        self.inventory.lock().unwrap().remove(repository, digest);
    }

    /// Records a request as it arrives, with its path as it came.
    fn record(&self, area: Area, asked: &Asked) -> usize {
        let mut seen = self.seen.lock().unwrap();
        let of_request = Seen {
            method: asked.method().to_owned(),
            path: asked.head.raw_path.clone(),
            query: asked.head.query.clone(),
            kind: Kind::of(asked.path()),
            status: None,
            headers: asked.head.headers.clone(),
            body_length: asked.body.len() as u64,
            answer_length: 0,
            at: self.started.elapsed(),
        };
        seen.push((area, of_request));
        seen.len() - 1
    }

    /// The answer that a limit or an outage gives.
    fn withheld(&self, area: Area, asked: &Asked) -> Option<Response> {
        if let Some(answer) = self.down.lock().unwrap().get(&area) {
            return Some(answer.clone());
        }
        let mut budgets = self.budgets.lock().unwrap();
        let left = budgets.get_mut(&area)?;
        if *left == 0 {
            drop(budgets);
            return Some(P::exhausted(self, asked));
        }
        *left -= 1;
        None
    }
}

/// One port of a product.
pub struct Door<P: Product> {
    number: usize,
    front: Arc<Front<P>>,
}

impl<P: Product> Door<P> {
    pub fn new(number: usize, front: &Arc<Front<P>>) -> Self {
        Self { number, front: Arc::clone(front) }
    }
}

#[async_trait]
impl<P: Product> Service for Door<P> {
    async fn serve(&self, head: &Head, exchange: &mut Exchange) -> Next {
        let front = &self.front;
        let body = exchange.read_body(None).await;
        if !body.complete {
            return Next::Close;
        }
        let asked = Asked { door: self.number, head: head.clone(), body: body.bytes.into() };
        let area = P::area(&asked);
        let index = front.record(area, &asked);
        let fault = front.rules.fault_for(head);
        let answer = match &fault {
            Some(Fault::Cut) => return Next::Close,
            Some(Fault::Answer(response)) => Ok(Fault::repeat(response, head)),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(*time).await;
                P::answer(front, &asked).await
            }
            _ => match front.withheld(area, &asked) {
                Some(response) => Ok(response),
                None => P::answer(front, &asked).await,
            },
        };
        let (Ok(response), false) = (answer, matches!(fault, Some(Fault::CutAfterwards))) else {
            return Next::Close;
        };
        let (response, delivery) = match fault {
            Some(fault) => fault.spoil(response),
            None => (response, Delivery::Whole),
        };
        {
            let seen = &mut front.seen.lock().unwrap()[index].1;
            seen.status = Some(response.status);
            seen.answer_length = response.length();
        }
        exchange.respond(&response, delivery).await
    }
}
