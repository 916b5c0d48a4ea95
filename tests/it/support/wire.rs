//! An HTTP/1.1 server small enough to misbehave on purpose.
//!
//! A real server library repairs what tests need broken: lengths that lie, bodies that stop
//! half-way, answers that never come. Each server has a runtime of its own, so that a test may
//! block its thread, and ends when it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What stands before a request's body.
#[derive(Debug, Clone)]
pub struct Head {
    pub method: String,
    /// Percent-decoded, without the query.
    pub path: String,
    /// The path as it came: a name may be encoded once, twice or not at all.
    pub raw_path: String,
    /// As it came, without the question mark.
    pub query: String,
    pub headers: HeaderMap,
}

impl Head {
    /// The first value of a query parameter, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body goes out so many times more: for those that nobody wants to hold.
    pub more_times: usize,
    /// What `Content-Length` promises, where that is not the body's length.
    pub promised: Option<u64>,
}

impl Response {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status).header("content-type", "application/json").body(body.to_string())
    }

    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: impl AsRef<str>) {
        let name: HeaderName = name.parse().unwrap();
        self.headers.insert(name, HeaderValue::from_str(value.as_ref()).unwrap());
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Repeats the body, so that it is there `times` times. Only for whole deliveries.
    pub fn times(mut self, times: usize) -> Self {
        self.more_times = times.saturating_sub(1);
        self
    }

    /// Bytes of the body that is sent.
    pub fn length(&self) -> u64 {
        self.body.len() as u64 * (self.more_times as u64 + 1)
    }
}

/// How an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    #[default]
    Whole,
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// So many bytes, a pause, and on.
    Drip { bytes: usize, every: Duration },
    /// Chunks without an end, until the client has had enough.
    Endless,
}

/// The body of a request, as far as it came.
#[derive(Debug, Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    /// False when the connection broke, or the limit was reached, before its end.
    pub complete: bool,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    KeepOpen,
    Close,
}

/// Answers requests. It must read the body before it answers, or close.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    async fn serve(&self, head: &Head, exchange: &mut Exchange) -> Next;
}

/// One request and its answer on an open connection.
pub struct Exchange {
    head: Head,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    body_read: bool,
}

impl Exchange {
    /// The request's body, or its first `limit` bytes.
    pub async fn read_body(&mut self, limit: Option<usize>) -> Body {
        self.body_read = true;
        let limit = limit.unwrap_or(usize::MAX);
        let mut body = Body::default();
        let chunked = self.head.header("transfer-encoding") == Some("chunked");
        body.complete = if chunked {
            self.read_chunks(limit, &mut body.bytes).await.unwrap_or(false)
        } else {
            let length = self.head.header("content-length").and_then(|text| text.parse().ok());
            self.read_up_to(length.unwrap_or(0), limit, &mut body.bytes).await
        };
        body
    }

    /// Reads `length` bytes, or what comes of them, or up to the limit on the whole.
    async fn read_up_to(&mut self, length: usize, limit: usize, into: &mut Vec<u8>) -> bool {
        let wanted = length.min(limit.saturating_sub(into.len()));
        let before = into.len();
        let read = (&mut self.reader).take(wanted as u64).read_to_end(into).await;
        read.is_ok() && into.len() - before == length
    }

    async fn read_chunks(&mut self, limit: usize, into: &mut Vec<u8>) -> Option<bool> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).await.ok()?;
            let length = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
            if !self.read_up_to(length, limit, into).await {
                return Some(false);
            }
            line.clear();
            self.reader.read_line(&mut line).await.ok()?;
            if length == 0 {
                return Some(true);
            }
        }
    }

    /// Sends an answer. After anything but a whole one the connection is of no further use.
    pub async fn respond(&mut self, response: &Response, delivery: Delivery) -> Next {
        // An answer to HEAD has no body that could fall short of its promise.
        let kept = response.promised.is_none() || self.head.method == "HEAD";
        match self.send(response, delivery).await {
            Ok(()) if delivery == Delivery::Whole && kept => Next::KeepOpen,
            _ => Next::Close,
        }
    }

    async fn send(&mut self, response: &Response, delivery: Delivery) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", response.status).into_bytes();
        for (name, value) in &response.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        if delivery == Delivery::Endless {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            self.writer.write_all(&head).await?;
            return self.send_without_end().await;
        }
        // 204 and 304 have no body and must not promise one (RFC 9110 §8.6).
        if !matches!(response.status, 204 | 304) {
            let length = response.promised.unwrap_or(response.length());
            head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        let body: &[u8] = if self.head.method == "HEAD" { b"" } else { &response.body };
        match delivery {
            Delivery::CutAfter(bytes) => {
                head.extend_from_slice(&body[..bytes.min(body.len())]);
                self.writer.write_all(&head).await?;
            }
            Delivery::Drip { bytes, every } => {
                self.writer.write_all(&head).await?;
                for piece in body.chunks(bytes.max(1)) {
                    tokio::time::sleep(every).await;
                    self.writer.write_all(piece).await?;
                }
            }
            Delivery::Whole | Delivery::Endless => {
                // One write for small answers: fewer packets, and quicker tests.
                if body.len() <= 16 << 10 && response.more_times == 0 {
                    head.extend_from_slice(body);
                    self.writer.write_all(&head).await?;
                } else {
                    self.writer.write_all(&head).await?;
                    for _ in 0..=response.more_times {
                        self.writer.write_all(body).await?;
                    }
                }
            }
        }
        self.writer.flush().await
    }

    async fn send_without_end(&mut self) -> std::io::Result<()> {
        let mut chunk = format!("{:x}\r\n", 64 << 10).into_bytes();
        chunk.resize(chunk.len() + (64 << 10), b' ');
        chunk.extend_from_slice(b"\r\n");
        loop {
            self.writer.write_all(&chunk).await?;
        }
    }
}

/// A listening server; dropping it closes every connection.
pub struct Server {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Listens on a free loopback port.
    pub fn start(service: Arc<dyn Service>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("harness-server")
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&service)));
            }
        });
        Self { address, runtime: Some(runtime) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Allowed inside of another runtime, unlike waiting for the threads.
            runtime.shutdown_background();
        }
    }
}

/// Serves one connection until either side closes it.
async fn converse(stream: TcpStream, service: Arc<dyn Service>) {
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    while let Some(head) = read_head(&mut reader).await {
        let mut exchange = Exchange { head: head.clone(), reader, writer, body_read: false };
        let next = service.serve(&head, &mut exchange).await;
        if next == Next::Close || !exchange.body_read {
            return;
        }
        Exchange { reader, writer, .. } = exchange;
    }
}

async fn read_head(reader: &mut BufReader<OwnedReadHalf>) -> Option<Head> {
    let mut lines = reader.take(64 << 10).lines();
    let request_line = lines.next_line().await.ok()??;
    let mut words = request_line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    // A proxy gets the whole address (RFC 9112 §3.2.2).
    let behind_host = |rest: &'_ str| rest.find('/').map(|at| at + "http://".len());
    let path_at = target.strip_prefix("http://").and_then(behind_host).unwrap_or_default();
    let target = &target[path_at..];
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (raw_path, path, query) = (path.to_owned(), decode(path), query.to_owned());
    let mut headers = HeaderMap::new();
    loop {
        let line = lines.next_line().await.ok()??;
        if line.is_empty() {
            return Some(Head { method, path, raw_path, query, headers });
        }
        let (name, value) = line.split_once(':')?;
        let value = HeaderValue::from_str(value.trim()).ok()?;
        headers.append(name.parse::<HeaderName>().ok()?, value);
    }
}

/// Undoes percent-encoding once; a plus sign stays one, as paths have it.
pub fn decode(path: &str) -> String {
    let escaped = format!("p={}", path.replace('+', "%2B"));
    url::form_urlencoded::parse(escaped.as_bytes()).next().unwrap().1.into_owned()
}
