//! Content encodings: gzip, deflate, br and zstd, undone in bounded steps under a cap.
//! Works on a body that is whole on the wire. Invariants: never more than the cap plus one step is allocated, whatever
//! the body claims; a stream that ends early is an error, never a shorter body.

use std::io::{self, Read};

use crate::http::failure::{self, Failure, Phase};
use crate::runtime::yield_if_needed;
use crate::wire::Headers;
use flate2::{Decompress, FlushDecompress, Status};

/// What the client can undo, for `Accept-Encoding`.
pub(super) const ACCEPTED: &str = "gzip, deflate, br, zstd";

/// Undoes the encodings that the headers name, last first.
pub(super) async fn decoded(headers: &Headers, body: Vec<u8>, cap: usize, host: &str) -> Result<Vec<u8>, Failure> {
    let mut body = body;
    if body.is_empty() || !headers.contains("content-encoding") {
        return Ok(body);
    }
    let bad = |found: &str| {
        let message = format!("{host}: expected a content encoding of {ACCEPTED}, found {found}");
        Failure::after(Phase::Body, failure::BAD_ENCODING, message, false)
    };
    let mut encodings = Vec::new();
    for value in headers.all("content-encoding") {
        let text = std::str::from_utf8(value).map_err(|_| bad("bytes that are no text"))?;
        encodings.extend(text.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()));
    }
    if encodings.len() > ENCODINGS_MAX {
        return Err(bad("a long chain of encodings"));
    }
    for name in encodings.iter().rev() {
        let decoded = match name.as_str() {
            "identity" => continue,
            "gzip" | "x-gzip" => drain(flate2::bufread::MultiGzDecoder::new(body.as_slice()), cap).await,
            "deflate" => inflate(&body, cap).await,
            "br" => drain(brotli_decompressor::Decompressor::new(body.as_slice(), STEP_BYTES), cap).await,
            "zstd" => unzstd(&body, cap).await,
            other => return Err(bad(other)),
        };
        body = decoded.map_err(|error| match error {
            Undecoded::Bomb => {
                let message = format!("{host}: expected at most {cap} bytes in {} bytes of {name}", body.len());
                Failure::after(Phase::Body, failure::BOMB, message, false)
            }
            Undecoded::Broken(error) => {
                let message = format!("{host}: the {name} body does not decode: {error}");
                Failure::after(Phase::Body, failure::BAD_ENCODING, message, false)
            }
        })?;
    }
    Ok(body)
}

enum Undecoded {
    Bomb,
    Broken(io::Error),
}

async fn drain(mut from: impl Read, cap: usize) -> Result<Vec<u8>, Undecoded> {
    let mut body = Vec::new();
    let mut step = vec![0_u8; STEP_BYTES];
    loop {
        match from.read(&mut step) {
            Ok(0) => return Ok(body),
            Ok(count) if body.len() + count > cap => return Err(Undecoded::Bomb),
            Ok(count) => body.extend_from_slice(&step[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Undecoded::Broken(error)),
        }
        yield_if_needed().await;
    }
}

async fn unzstd(body: &[u8], cap: usize) -> Result<Vec<u8>, Undecoded> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(Undecoded::Broken)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(Undecoded::Broken)?;
    drain(decoder, cap).await
}

/// `deflate` is the zlib format (RFC 9110 section 8.4.1.2); some servers send the bare stream, which looks different.
async fn inflate(body: &[u8], cap: usize) -> Result<Vec<u8>, Undecoded> {
    let is_zlib = body.len() >= 2 && body[0] & 0x0F == 8 && u16::from_be_bytes([body[0], body[1]]).is_multiple_of(31);
    let mut state = Decompress::new(is_zlib);
    let mut out = Vec::new();
    let mut step = vec![0_u8; STEP_BYTES];
    loop {
        let (taken, made) = (state.total_in() as usize, state.total_out());
        let status = state.decompress(&body[taken..], &mut step, FlushDecompress::None);
        let status = status.map_err(|error| Undecoded::Broken(io::Error::other(error)))?;
        let count = (state.total_out() - made) as usize;
        if out.len() + count > cap {
            return Err(Undecoded::Bomb);
        }
        out.extend_from_slice(&step[..count]);
        match status {
            Status::StreamEnd => return Ok(out),
            // Neither input taken nor output made: the stream ends before its end.
            Status::Ok | Status::BufError if count == 0 && state.total_in() as usize == taken => {
                return Err(Undecoded::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            Status::Ok | Status::BufError => {}
        }
        yield_if_needed().await;
    }
}

const STEP_BYTES: usize = 16 << 10;
/// Nobody stacks more than two.
const ENCODINGS_MAX: usize = 3;
/// 8 MiB: what RFC 9659 allows on the web.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
