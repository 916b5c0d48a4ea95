//! What clients may take of the daemon. Whatever they do, its health is known to everybody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::daemon_events_told::{SECRET, signature};
use crate::support::daemon::Answer;
use crate::support::openapi::Document;
use crate::support::{Daemon, Tranship};

const LIMIT: Duration = Duration::from_secs(60);
const EVENTS: &str = "/api/v1/events/{source}";

async fn daemon() -> Daemon {
    let home = Tranship::new();
    home.write("token", "t0ken\n");
    let text = "token = { file = \"token\" }\n[events.hub]\nformat = \"distribution\"\n\
                registry = \"r.example\"\nsecret = { file = \"token\" }\n";
    Daemon::start_in(home, text).await
}

async fn send(daemon: &Daemon, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&daemon.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the connection ends, which it must do.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // However it ends, it ends.
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("an end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The daemon lives, as a probe finds that waits a second.
async fn assert_alive(daemon: &Daemon) {
    let answer = tokio::time::timeout(Duration::from_secs(5), daemon.get("/healthz")).await;
    assert_eq!(answer.expect("an answer within a probe's patience").status, 200);
}

/// One byte a second of what follows `head`, until the daemon has had enough. Gives its answer
/// and how long it was patient.
async fn drip(daemon: &Daemon, head: &str) -> (String, Duration) {
    let began = Instant::now();
    let stream = send(daemon, head).await;
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let read = async {
        let _ = tokio::time::timeout(LIMIT, reader.read_to_end(&mut answer)).await.expect("an end");
    };
    let write = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Who cannot write any more may still read.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

#[tokio::test]
async fn slow_clients_are_not_waited_for() {
    let daemon = Arc::new(daemon().await);
    let post = "POST /api/v1/events/hub HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t0ken\r\n\
                Content-Length: 1000\r\n\r\n";
    // More than a source has places for bodies.
    let bodies = (0..80).map(|_| drip(&daemon, post));
    let head = drip(&daemon, "GET /healthz HTTP/1.1\r\nHost: ");
    let probes = async {
        for _ in 0..20 {
            assert_alive(&daemon).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (bodies, (head, patience), ()) = tokio::join!(join_all(bodies), head, probes);
    assert!(!head.contains(" 200 ") && patience < Duration::from_secs(20), "{patience:?} {head}");
    let with = |status: &str| {
        let status = format!("HTTP/1.1 {status} ");
        bodies.iter().filter(move |(answer, _)| answer.starts_with(&status)).collect::<Vec<_>>()
    };
    let (late, crowded) = (with("408"), with("503"));
    assert_eq!((late.len(), crowded.len()), (16, 64), "{bodies:?}");
    for (answer, patience) in late {
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(*patience < Duration::from_secs(30), "{patience:?}");
    }
    for (answer, _) in crowded {
        assert!(answer.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{answer}");
    }
}

/// A signature can be judged only when its body has come.
#[tokio::test]
async fn slow_strangers_keep_no_honest_sender_out() {
    let home = Tranship::new();
    home.write("secret", SECRET);
    let text = "[events.github]\nformat = \"ghcr\"\nregistry = \"ghcr.io\"\n\
                secret = { file = \"secret\" }\n";
    let daemon = Daemon::start_in(home, text).await;
    let head = "POST /api/v1/events/github HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n";
    // Who does not even show a signature is not listened to.
    let answer = rest(&mut send(&daemon, &format!("{head}\r\n")).await).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let forged = format!("{head}X-Hub-Signature-256: sha256={}\r\n\r\n{{", "0".repeat(64));
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(send(&daemon, &forged).await);
        if strangers.len() % 20 == 0 {
            let body = r#"{"zen":"Speak like a human."}"#;
            let signed = signature(body);
            let headers = [("x-github-event", "ping"), ("x-hub-signature-256", &*signed)];
            let answer = daemon.post_with("/api/v1/events/github", &headers, body).await;
            assert_eq!(answer.status, 202, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let daemon = daemon().await;
    let mut silent = Vec::new();
    // More than the daemon holds, some of them in mid-head.
    for at in 0..600 {
        silent.push(send(&daemon, if at % 2 == 0 { "" } else { "GET /he" }).await);
        if at % 100 == 99 {
            assert_alive(&daemon).await;
        }
    }
    // Those that came first made room.
    assert_eq!(rest(&mut silent[0]).await, "");
}

#[tokio::test]
async fn heads_and_bodies_have_their_sizes() {
    let daemon = daemon().await;
    let many: String = (0..70).map(|at| format!("h{at}: x\r\n")).collect();
    let large = format!("h: {}\r\n", "x".repeat(20 << 10));
    for headers in [many, large] {
        let text = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let answer = rest(&mut send(&daemon, &text).await).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    // Without a length, so that only what arrives can be counted.
    let head = "POST /api/v1/events/hub HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t0ken\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let stream = send(&daemon, head).await;
    let (mut reader, mut writer) = stream.into_split();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let write = async {
        let mut sent = 0;
        while sent < 64 && writer.write_all(chunk.as_bytes()).await.is_ok() {
            sent += 1;
        }
        sent
    };
    let read = async {
        let mut answer = vec![0; 12];
        tokio::time::timeout(LIMIT, reader.read_exact(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    };
    let (sent, answer) = tokio::join!(write, read);
    assert_eq!(answer, "HTTP/1.1 413");
    assert!(sent < 64, "all {sent} MiB were taken");
    assert_alive(&daemon).await;
}

async fn burst(daemon: &Daemon, path: &str, count: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..count.div_ceil(100) {
        answers.extend(join_all((0..100).map(|_| daemon.get(path))).await);
    }
    answers
}

/// Strangers use up what strangers have, and no more.
#[tokio::test]
async fn too_many_requests_are_refused_and_nobody_else() {
    let daemon = daemon().await;
    let mut document = Document::of(&daemon).await;
    let guesses = (0..400).map(|_| async {
        let wrong = [("authorization", "Bearer wrong")];
        daemon.post_with("/api/v1/reload", &wrong, "").await.status
    });
    let guessed = join_all(guesses).await;
    let count = |status: u16| guessed.iter().filter(|seen| **seen == status).count();
    assert!(count(401) >= 200 && count(429) > 0, "{guessed:?}");
    assert_eq!(count(401) + count(429), 400);
    let right = [("authorization", "Bearer t0ken")];
    assert_eq!(daemon.post_with("/api/v1/reload", &right, "").await.status, 200);
    for path in ["/api/v1/status", "/metrics"] {
        let answers = burst(&daemon, path, 1_000).await;
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
        assert!(!refused.is_empty(), "{path}");
        assert_eq!(refused[0].headers["retry-after"], "1");
        document.check("GET", path, refused[0]);
        assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status)), "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        let alive = burst(&daemon, path, 1_000).await;
        assert!(alive.iter().all(|answer| answer.status == 200), "{path}");
    }
    // Events have a rate of their own: forged ones use up nobody else's.
    let message = daemon.post_with("/api/v1/events/hub", &right, r#"{"events":[]}"#).await;
    document.check("POST", EVENTS, &message);
    assert_eq!(message.status, 202);
}
