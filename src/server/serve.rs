//! Connections: taken, served, and ended in time when the server stops.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::crowd::{Busy, Crowd};

/// What clients of a server may take up.
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
    /// Connections at once. For a further one, the one is closed that has been idle longest; where
    /// all are at work, it waits.
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

/// When no connection can be taken, it is mostly because too many files are open.
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
    let crowd = Crowd::default();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            stream = accept(&listener),
                if connections.len() < bounds.connections || crowd.has_idle() => stream,
            () = crowd.idle(), if connections.len() >= bounds.connections => continue,
        };
        if connections.len() >= bounds.connections {
            crowd.make_room();
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(bounds.write_timeout));
        let seat = Arc::new(crowd.join());
        let id = seat.id();
        let service = TowerToHyperService::new(router.clone());
        let service = hyper::service::service_fn(move |request| {
            // Until the answer's last byte has been handed over.
            let (_busy, answer) = (seat.busy(), service.call(request));
            async move { Ok::<_, Infallible>(answer.await?.map(|body| Watched { body, _busy })) }
        });
        let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = graceful.watch(connection);
        let connection = connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
        crowd.ended_by(id, connection);
    }
    drop(listener);
    if tokio::time::timeout(bounds.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off, because they did not end in time");
    }
    Ok(())
}

/// The body of an answer, whose connection is at work as long as it lasts.
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

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small or sent in large chunks: to wait for more delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, oneshot};
    use tokio::task::JoinHandle;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(100);

    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        task: JoinHandle<io::Result<()>>,
    }

    /// A server whose only answer waits for `answer`, and says when it `began` to.
    async fn run(
        began: Arc<Notify>,
        answer: Arc<Notify>,
        head: Duration,
        grace: Duration,
    ) -> Running {
        let router = Router::new().fallback(move || {
            let (began, answer) = (Arc::clone(&began), Arc::clone(&answer));
            async move {
                began.notify_one();
                answer.notified().await;
                "answered"
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let bounds = Bounds { head_timeout: head, grace, ..Bounds::default() };
        let task = tokio::spawn(serve(listener, router, bounds, shutdown));
        Running { address, stop, task }
    }

    async fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the connection ends, which it must do.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        let _ = tokio::time::timeout(LONG, read).await.expect("the connection ends");
        text
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_before_the_end() {
        let (began, answer) = <(Arc<Notify>, Arc<Notify>)>::default();
        let server = run(Arc::clone(&began), Arc::clone(&answer), LONG, LONG).await;
        let idle = send(server.address, "").await;
        let stream = send(server.address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        began.notified().await;
        server.stop.send(()).unwrap();
        answer.notify_one();
        assert!(rest(stream).await.ends_with("answered"));
        server.task.await.unwrap().unwrap();
        assert_eq!(rest(idle).await, "");
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test]
    async fn a_request_without_end_is_cut_off() {
        let (began, answer) = <(Arc<Notify>, Arc<Notify>)>::default();
        let server = run(Arc::clone(&began), answer, LONG, SHORT).await;
        let stream = send(server.address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        began.notified().await;
        server.stop.send(()).unwrap();
        server.task.await.unwrap().unwrap();
        assert_eq!(rest(stream).await, "");
    }

    /// More than the kernel keeps for a client that reads nothing.
    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_not_kept() {
        let router = Router::new().fallback(async || vec![b'x'; 64 << 20]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds { write_timeout: SHORT, connections: 1, ..Bounds::default() };
        let task = tokio::spawn(serve(listener, router, bounds, std::future::pending()));
        let mut deaf = send(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        // There is one place, and so an answer for somebody else only when that is free again.
        let mut other = send(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut first = [0; 12];
        tokio::time::timeout(LONG, other.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        let mut rest = Vec::new();
        // However it was cut off, it was cut off.
        let _ = tokio::time::timeout(LONG, deaf.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.len() < 64 << 20);
        task.abort();
    }

    #[tokio::test]
    async fn who_says_nothing_makes_room() {
        let router = Router::new().fallback(async || "answered");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds { head_timeout: LONG * 10, connections: 2, ..Bounds::default() };
        let task = tokio::spawn(serve(listener, router, bounds, std::future::pending()));
        let (first, _second) = (send(address, "").await, send(address, "GET").await);
        let third = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert!(rest(send(address, third).await).await.ends_with("answered"));
        assert_eq!(rest(first).await, "");
        task.abort();
    }

    #[tokio::test]
    async fn half_a_head_is_not_waited_for() {
        let server = run(Arc::default(), Arc::default(), SHORT, SHORT).await;
        let stream = send(server.address, "GET / HTTP/1.1\r\nHo").await;
        assert!(!rest(stream).await.contains("200 OK"));
        server.stop.send(()).unwrap();
        server.task.await.unwrap().unwrap();
    }
}
