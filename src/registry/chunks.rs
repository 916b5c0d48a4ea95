//! The bytes of one chunk of an upload, and which bytes of a blob they are.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::HeaderValue;

use crate::repository::BlobBody;

/// A chunk is sent in pieces of this size, so that its progress can be observed.
const PIECE: usize = 64 << 10;

/// Takes exactly `wanted` bytes out of the body; `None` when its sender gives up or ends early.
pub async fn fill(held: &mut BytesMut, body: &mut BlobBody, wanted: usize) -> Option<Bytes> {
    while held.len() < wanted {
        held.extend_from_slice(&body.chunks.next().await?.ok()?);
    }
    Some(held.split_to(wanted).freeze())
}

pub fn pieces(chunk: Bytes) -> BlobBody {
    let length = chunk.len();
    let pieces = (0..length)
        .step_by(PIECE)
        .map(move |at| Ok(chunk.slice(at..length.min(at.saturating_add(PIECE)))));
    BlobBody { length: length as u64, chunks: futures_util::stream::iter(pieces).boxed() }
}

/// `Content-Range` of a chunk as the specification wants it: inclusive, without `bytes`.
pub fn range(offset: u64, length: u64) -> HeaderValue {
    let text = format!("{offset}-{}", offset + length - 1);
    // Digits and a dash are valid in a header.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0-0"))
}

/// How many bytes a session holds, from its `Range: 0-<last>`.
///
/// Fresh sessions say `0-0` although no byte is there, and Quay `bytes=0--1`. A session that
/// holds exactly one byte cannot be told from a fresh one, so it counts as fresh.
pub fn stored_bytes(range: &str) -> u64 {
    let last = range
        .trim_start_matches("bytes=")
        .split_once('-')
        .and_then(|(_, last)| last.parse::<u64>().ok());
    match last {
        None | Some(0) => 0,
        Some(last) => last.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_of_sessions() {
        let cases =
            [("0-0", 0), ("0-99", 100), ("bytes=0-99", 100), ("bytes=0--1", 0), ("", 0), ("x", 0)];
        assert_eq!(stored_bytes(&format!("0-{}", u64::MAX)), u64::MAX);
        for (range, expected) in cases {
            assert_eq!(stored_bytes(range), expected, "{range}");
        }
    }
}
