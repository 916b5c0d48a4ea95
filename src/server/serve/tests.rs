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

async fn start(
    router: Router,
    bounds: Bounds,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> (SocketAddr, JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, router, bounds, shutdown)))
}

/// A server whose only answer waits for `answer`, and says when it `began` to.
async fn run(began: Arc<Notify>, answer: Arc<Notify>, head: Duration, grace: Duration) -> Running {
    let router = Router::new().fallback(move || {
        let (began, answer) = (Arc::clone(&began), Arc::clone(&answer));
        async move {
            began.notify_one();
            answer.notified().await;
            "answered"
        }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let bounds = Bounds { head_timeout: head, grace, ..Bounds::default() };
    let (address, task) = start(router, bounds, shutdown).await;
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
    let bounds = Bounds { write_timeout: SHORT, connections: 1, ..Bounds::default() };
    let (address, task) = start(router, bounds, std::future::pending()).await;
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
async fn an_idle_connection_is_closed_for_a_new_one() {
    let router = Router::new().fallback(async || "answered");
    let bounds = Bounds { head_timeout: LONG * 10, connections: 2, ..Bounds::default() };
    let (address, task) = start(router, bounds, std::future::pending()).await;
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
