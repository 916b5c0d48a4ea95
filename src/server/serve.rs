//! Connections: accepted, served, and closed in time when the server stops.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::connection_limit::{Busy, Connections};

/// The address that a request comes from: an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

/// Limits on what the clients of a server may use.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long a client may take to send a request's head, and so how long a connection may idle.
    pub head_timeout: Duration,
    /// How long a client may take none of an answer that waits for it.
    pub write_timeout: Duration,
    /// Header fields of one request; more are answered with 431.
    pub headers: usize,
    /// Bytes of a request's head; more are answered with 431. At least 8 KiB.
    pub head_bytes: usize,
    /// Open connections. A further one closes the one that has been idle longest; while all are
    /// busy, it waits.
    pub connections: usize,
    /// How long requests may go on after the server was told to stop.
    pub grace: Duration,
}

impl Default for Bounds {
    /// For clients of a registry: many at once, and slow ones among them.
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            headers: 100,
            head_bytes: 400 << 10,
            connections: 4096,
            grace: Duration::from_secs(10),
        }
    }
}

/// The pause after a connection could not be accepted, mostly because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `shutdown` is done and the requests under way have ended; those that have not
/// ended after the bounds' grace are cut off.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_headers(bounds.headers)
        .max_buf_size(bounds.head_bytes);
    let graceful = GracefulShutdown::new();
    // Dropping the set ends what is still in it.
    let mut connections = JoinSet::new();
    let open = Connections::default();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, from) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            stream = accept(&listener),
                if connections.len() < bounds.connections || open.has_idle() => stream,
            () = open.idle(), if connections.len() >= bounds.connections => continue,
        };
        if connections.len() >= bounds.connections {
            open.make_room();
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(bounds.write_timeout));
        let opened = open.join();
        let id = opened.id();
        let service = TowerToHyperService::new(router.clone());
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(from));
            // Until the answer's last byte has been handed over.
            let (_busy, answer) = (opened.busy(), service.call(request));
            async move { Ok::<_, Infallible>(answer.await?.map(|body| Watched { body, _busy })) }
        });
        let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = graceful.watch(connection);
        let connection = connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
        open.ended_by(id, connection);
    }
    drop(listener);
    if tokio::time::timeout(bounds.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off, because they did not end in time");
    }
    Ok(())
}

/// The body of an answer, which keeps its connection busy until it is sent.
struct Watched {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Answers are small or sent in large chunks: to wait for more delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                return (stream, from.ip());
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
