//! Bodies of messages that are being received: so many of each source, and so many in all.
//!
//! Whose signature is about the body can only be judged when all of it has come. Where there is no room
//! for another one, a body is given up for it: of the address that sends the most of them, the one that
//! has taken the longest. An honest sender's body comes at once with its head.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::StatusCode;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;

/// Bytes of a message; those of real registries have a few kilobytes.
const MAX_BODY: usize = 4 << 20;
/// How long a body may take in all.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Bodies that are received at once. A body mostly comes with its head, so that this many are
/// enough for thousands a second; and senders that dawdle can neither take up all connections nor
/// much memory.
const BODIES: usize = 64;
/// Of one source.
const BODIES_OF_SOURCE: usize = 16;

#[derive(Default)]
pub(super) struct Receiving(Mutex<Open>);

#[derive(Default)]
struct Open {
    /// The oldest first.
    bodies: Vec<Coming>,
    next: u64,
}

struct Coming {
    id: u64,
    source: String,
    from: IpAddr,
    given_up: CancellationToken,
}

/// The place of one body, until dropped.
struct Place<'a> {
    receiving: &'a Receiving,
    id: u64,
    given_up: CancellationToken,
}

impl Receiving {
    /// The whole body of a message to this source, if it is not too large and comes in time.
    pub async fn body(&self, source: &str, from: IpAddr, body: Body) -> Result<Bytes, Problem> {
        let place = self.join(source, from);
        tokio::select! {
            read = timely(body) => read,
            () = place.given_up.cancelled() => {
                let detail = "too many messages are being received: try again shortly";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
            }
        }
    }

    fn join(&self, source: &str, from: IpAddr) -> Place<'_> {
        let mut open = self.0.lock();
        if let Some(id) = open.in_the_way_of(source) {
            open.remove(id);
        }
        let (id, given_up) = (open.next, CancellationToken::new());
        open.next += 1;
        let coming = Coming { id, source: source.to_owned(), from, given_up: given_up.clone() };
        open.bodies.push(coming);
        Place { receiving: self, id, given_up }
    }
}

impl Open {
    /// The body to give up before there is room for another one of this source.
    fn in_the_way_of(&self, source: &str) -> Option<u64> {
        let of_source = || self.bodies.iter().filter(|body| body.source == source);
        let crowd: Vec<&Coming> = if of_source().count() >= BODIES_OF_SOURCE {
            of_source().collect()
        } else if self.bodies.len() >= BODIES {
            self.bodies.iter().collect()
        } else {
            return None;
        };
        let mut senders: HashMap<IpAddr, usize> = HashMap::new();
        for body in &crowd {
            *senders.entry(body.from).or_default() += 1;
        }
        let most = senders.values().max().copied();
        let oldest = crowd.iter().find(|body| senders.get(&body.from).copied() == most);
        oldest.map(|body| body.id)
    }

    fn remove(&mut self, id: u64) {
        if let Some(at) = self.bodies.iter().position(|body| body.id == id) {
            self.bodies.remove(at).given_up.cancel();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.receiving.0.lock().remove(self.id);
    }
}

/// The whole body of a request, if it is not too large and comes in time.
pub(super) async fn timely(body: Body) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(BODY_TIMEOUT, read(body)).await;
    read.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))
    })
}

/// Reads all of a body.
async fn read(body: Body) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the body broke off"))?;
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {MAX_BODY} bytes"),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    /// Which of the bodies were given up, by their order.
    fn given_up(places: &[Place<'_>]) -> Vec<usize> {
        (0..places.len()).filter(|at| places[*at].given_up.is_cancelled()).collect()
    }

    #[test]
    fn a_source_gives_up_its_own_bodies() {
        let receiving = Receiving::default();
        let other = receiving.join("other", address(1));
        let mut places: Vec<_> =
            (0..BODIES_OF_SOURCE).map(|_| receiving.join("hub", address(1))).collect();
        assert!(given_up(&places).is_empty());
        places.push(receiving.join("hub", address(2)));
        places.push(receiving.join("hub", address(3)));
        assert_eq!(given_up(&places), [0, 1]);
        assert!(!other.given_up.is_cancelled());
        // Those that have come make room.
        places.truncate(BODIES_OF_SOURCE);
        places.push(receiving.join("hub", address(2)));
        assert_eq!(given_up(&places), [0, 1]);
    }

    #[test]
    fn the_address_with_the_most_bodies_gives_up_its_oldest() {
        let receiving = Receiving::default();
        let of = |source: usize| format!("source {}", source % 8);
        let few: Vec<_> = (0..8).map(|at| receiving.join(&of(at), address(1))).collect();
        let mut many: Vec<_> = (8..BODIES).map(|at| receiving.join(&of(at), address(2))).collect();
        many.push(receiving.join("another", address(3)));
        assert_eq!((given_up(&few), given_up(&many)), (vec![], vec![0]));
    }
}
