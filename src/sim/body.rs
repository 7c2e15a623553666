//! Bodies as the simulator sends them: whole, or piece by piece, and some never come to their end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc, FlushCompress};
use hyper::body::{Frame, SizeHint};

use crate::runtime;
use crate::sim::connection::{End, Link};

/// A body.
pub enum Body {
    /// Comes piece by piece.
    Paced(Box<Paced>),
    /// Comes at once.
    Whole(Bytes),
}

/// A body that comes piece by piece.
pub struct Paced {
    pieces: Box<dyn Iterator<Item = Bytes>>,
    pause: Duration,
    timer: Option<Pin<Box<dyn Future<Output = ()>>>>,
    left: u64,
    /// The connection that is reset when the pieces are at their end.
    cut: Option<Rc<Link>>,
}

impl Body {
    /// The bytes one by one, with a pause before each but the first.
    pub fn dripped(body: Bytes, pause: Duration) -> Body {
        let left = body.len() as u64;
        let pieces = Box::new((0..body.len()).map(move |at| body.slice(at..=at)));
        Body::Paced(Box::new(Paced { pieces, pause, timer: None, left, cut: None }))
    }

    /// The first half; then the connection is reset.
    pub fn cut(body: &Bytes, link: Rc<Link>) -> Body {
        let left = body.len() as u64;
        let pieces = Box::new(std::iter::once(body.slice(..body.len() / 2)));
        Body::Paced(Box::new(Paced { pieces, pause: CUT_AFTER, timer: None, left, cut: Some(link) }))
    }

    /// So many bytes of white space and a brace: no more memory than one piece.
    pub fn flood(bytes: usize) -> Body {
        let piece = Bytes::from(vec![b' '; PIECE_BYTES.min(bytes)]);
        let (count, rest) = (bytes / PIECE_BYTES, bytes % PIECE_BYTES);
        let whole = std::iter::repeat_n(piece.clone(), count);
        let pieces = whole.chain((rest > 0).then(|| piece.slice(..rest.min(piece.len()))));
        let pieces = Box::new(pieces);
        Body::Paced(Box::new(Paced { pieces, pause: Duration::ZERO, timer: None, left: bytes as u64, cut: None }))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Body::Whole(body) if body.is_empty() => Poll::Ready(None),
            Body::Whole(body) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(body))))),
            Body::Paced(paced) => paced.poll_piece(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Paced(paced) => paced.left == 0 && paced.cut.is_none(),
            Body::Whole(body) => body.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Body::Paced(paced) => paced.left,
            Body::Whole(body) => body.len() as u64,
        })
    }
}

impl Paced {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
        let Some(piece) = self.pieces.next() else {
            let Some(link) = &self.cut else { return Poll::Ready(None) };
            link.end(End::Reset);
            return Poll::Pending;
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        if !self.pause.is_zero() {
            self.timer = Some(Box::pin(runtime::sleep(self.pause)));
        }
        Poll::Ready(Some(piece))
    }
}

/// A gzip body that unpacks to `bytes` of white space, rounded up to whole pieces. One piece is packed and repeated: after
/// a full flush a deflate stream depends on nothing before it (RFC 1951 section 3.2.3), and checksums can be joined.
pub fn bomb(bytes: usize) -> std::io::Result<Bytes> {
    use std::io::Write as _;
    let piece = vec![b' '; BOMB_PIECE_BYTES];
    let mut packed = flate2::Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(64 << 10);
    packed.compress_vec(&piece, &mut block, FlushCompress::Full).map_err(std::io::Error::other)?;
    let mut one = Crc::new();
    one.update(&piece);
    let count = bytes.div_ceil(BOMB_PIECE_BYTES).max(1);
    let mut sum = Crc::new();
    let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    for _ in 0..count {
        body.extend_from_slice(&block);
        sum.combine(&one);
    }
    body.extend_from_slice(&DeflateEncoder::new(Vec::new(), Compression::none()).finish()?);
    body.write_all(&sum.sum().to_le_bytes())?;
    body.write_all(&sum.amount().to_le_bytes())?;
    Ok(Bytes::from(body))
}

const PIECE_BYTES: usize = 64 << 10;
const BOMB_PIECE_BYTES: usize = 1 << 20;
/// Long enough for the first half to leave before the reset.
const CUT_AFTER: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_unpacks_to_its_size() {
        use std::io::Read as _;
        let packed = bomb(3 << 20).unwrap();
        assert!(packed.len() < 16 << 10, "{}", packed.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked.len(), 3 << 20);
        assert!(unpacked.iter().all(|byte| *byte == b' '));
    }

    #[test]
    fn a_flood_has_its_size() {
        for bytes in [1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 5] {
            let Body::Paced(mut flood) = Body::flood(bytes) else { panic!("a flood is paced") };
            assert_eq!(flood.pieces.by_ref().map(|piece| piece.len()).sum::<usize>(), bytes);
        }
    }
}
