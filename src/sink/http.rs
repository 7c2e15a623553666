//! The sink of POST requests: lines collected to batches, one request each, to any endpoint that takes NDJSON
//! (ClickHouse, QuestDB, Elasticsearch's kin behind a proxy, an own service). Uses the project's client on a core of
//! its own, since the thread of a sink blocks and the client does not.
//! Invariants: what is collected is forgotten only when the endpoint has answered 2xx, or has refused it for good; a
//! request that failed is tried again as it was, and what went before it is not; no message shows a secret.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Compression, HttpTarget, Secret, SinkHeaderText};
use crate::error::{Error, Result};
use crate::handoff::{Mailbox, MailboxSender, mailbox};
use crate::http::{Client, ClientSettings, Endpoint, Failure, Limits, ResolverHandle, Timings, TlsContext};
use crate::runtime::{Placement, launch};
use crate::sink::{Dead, Refusal, Sink, SinkBatch, SinkHost};
use crate::time::{Deadline, Mono};
use crate::wire::{Answer, Request};

/// POST requests to an endpoint.
pub struct Http {
    batch_records: u64,
    batch_bytes: usize,
    batch_age: Duration,
    compression: Compression,
    /// Never shown: keys of the headers.
    secrets: Vec<Secret>,
    core: MailboxSender<Job>,
    /// Lines that the endpoint has not answered for.
    lines: Vec<u8>,
    /// How `lines` is cut into requests, in order; they cover it without a gap.
    pieces: VecDeque<Piece>,
    /// When the first of the lines came.
    since: Mono,
    /// Single records refused one after the other.
    refused_in_row: u32,
    dead: Vec<Dead>,
}

/// Lines of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    first_seq: u64,
    count: u64,
    bytes: usize,
    /// Whether it is a part of one that was refused.
    is_part: bool,
}

/// One request for the core.
struct Job {
    body: Bytes,
    reply: SyncSender<std::result::Result<Answer, Failure>>,
}

impl Http {
    /// A sink to `target`; its core starts at once and ends with it.
    ///
    /// # Errors
    /// When the settings cannot work, or the host refuses the core.
    pub fn new(name: &str, target: &HttpTarget, host: &SinkHost) -> Result<Self> {
        let context = |error: Error| error.context(format!("sink {name}"));
        let at = target.url.find("://").map_or(0, |at| at + 3);
        let path = target.url[at..].find(['/', '?']).map_or(target.url.len(), |path| at + path);
        let endpoint = Endpoint::parse(&target.url[..path]).map_err(context)?;
        let mut path = target.url[path..].to_owned();
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        let mut headers = vec![("content-type".to_owned(), Secret::new("application/x-ndjson"))];
        match target.compression {
            Compression::None => {}
            Compression::Gzip => headers.push(("content-encoding".to_owned(), Secret::new("gzip"))),
            Compression::Zstd => headers.push(("content-encoding".to_owned(), Secret::new("zstd"))),
        }
        let mut secrets = Vec::new();
        for header in &target.headers {
            let SinkHeaderText::Known(text) = &header.text else {
                let name = &header.name;
                return Err(context(Error::config(format!("the variable of the header {name} was not looked up"))));
            };
            secrets.push(text.clone());
            headers.push((header.name.clone(), text.clone()));
        }
        let settings =
            ClientSettings { connections_max: 1, connections_per_host_max: 1, headers, ..Default::default() };
        let tls = TlsContext::new(host.ca_file.as_deref()).map_err(context)?;
        let resolver = ResolverHandle::system()?;
        // What is wrong with the headers is told here and not on the core.
        settings.check().map_err(context)?;
        let (core, jobs) = mailbox(1);
        let timeout = target.timeout;
        launch(&format!("sink-{name}-http"), Placement::Unpinned, move || {
            serve(settings, tls, resolver, endpoint, path, timeout, jobs)
        })?;
        Ok(Http {
            batch_records: target.batch_records as u64,
            batch_bytes: target.batch_bytes,
            batch_age: target.batch_age,
            compression: target.compression,
            secrets,
            core,
            lines: Vec::new(),
            pieces: VecDeque::new(),
            since: Mono::default(),
            refused_in_row: 0,
            dead: Vec::new(),
        })
    }

    /// Sends everything that was collected, request by request.
    fn flush(&mut self) -> std::result::Result<(), Refusal> {
        let mut at = 0;
        let mut outcome = Ok(());
        while let Some(piece) = self.pieces.front().copied() {
            match self.post(&self.lines[at..at + piece.bytes]) {
                Verdict::Taken => {
                    self.refused_in_row = 0;
                    self.pieces.pop_front();
                    at += piece.bytes;
                }
                Verdict::Refused(why) if piece.count > 1 && self.refused_in_row < REFUSED_IN_ROW_MAX => {
                    tracing::debug!(first_seq = piece.first_seq, count = piece.count, %why, "a request is halved");
                    self.halve(at);
                }
                Verdict::Refused(why) => {
                    self.bury(at, why);
                    at += piece.bytes;
                }
                Verdict::TooLarge(why) if piece.count > 1 => {
                    tracing::debug!(first_seq = piece.first_seq, count = piece.count, %why, "a request is halved");
                    self.batch_bytes = self.batch_bytes.min(piece.bytes.div_ceil(2)).max(1);
                    self.halve(at);
                }
                Verdict::TooLarge(why) => {
                    self.bury(at, why);
                    at += piece.bytes;
                }
                Verdict::Later(why, after) => {
                    outcome = Err(Refusal::Retry(why, after));
                    break;
                }
            }
        }
        self.lines.drain(..at);
        outcome
    }

    /// Cuts the first piece, which begins at `at`, in two.
    fn halve(&mut self, at: usize) {
        let Some(piece) = self.pieces.pop_front() else { return };
        let left = piece.count / 2;
        let lines = &self.lines[at..at + piece.bytes];
        let bytes = memchr::memchr_iter(b'\n', lines).nth(left as usize - 1).map_or(piece.bytes, |end| end + 1);
        let (first_seq, count) = (piece.first_seq + left, piece.count - left);
        self.pieces.push_front(Piece { first_seq, count, bytes: piece.bytes - bytes, is_part: true });
        self.pieces.push_front(Piece { count: left, bytes, is_part: true, ..piece });
    }

    /// Gives the first piece up. What was cut from the same request goes its own way, unless nothing of it was taken.
    fn bury(&mut self, at: usize, why: String) {
        let Some(piece) = self.pieces.pop_front() else { return };
        self.refused_in_row += 1;
        if !piece.is_part || self.pieces.front().is_none_or(|next| !next.is_part) {
            self.refused_in_row = 0;
        }
        let lines = self.lines[at..at + piece.bytes].to_vec();
        self.dead.push(Dead { first_seq: piece.first_seq, count: piece.count, lines, why });
    }

    /// Sends one request.
    fn post(&self, lines: &[u8]) -> Verdict {
        let body = match pack(self.compression, lines) {
            Ok(body) => body,
            Err(error) => return Verdict::Later(format!("cannot pack a request: {error}"), None),
        };
        let (reply, answered) = sync_channel(1);
        if self.core.send(Job { body, reply }).is_err() {
            return Verdict::Later("the core of its client has ended; restart to have it go on".to_owned(), None);
        }
        match answered.recv() {
            Ok(Ok(answer)) => self.judge(&answer),
            Ok(Err(failure)) => Verdict::Later(self.redact(&failure.to_string()), None),
            Err(_) => Verdict::Later("the core of its client has ended; restart to have it go on".to_owned(), None),
        }
    }

    /// What an answer means for the lines. Refusals of the address, the key or the rate say nothing about the lines:
    /// they are tried again for ever, and the sink lags meanwhile.
    fn judge(&self, answer: &Answer) -> Verdict {
        if answer.is_success() {
            return Verdict::Taken;
        }
        let excerpt = self.redact(&answer.excerpt(EXCERPT_BYTES));
        let said = if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") };
        let why = format!("expected a status of 2xx, found {}{said}", answer.status);
        match answer.status {
            413 => Verdict::TooLarge(why),
            400 | 409 | 422 => Verdict::Refused(why),
            _ => Verdict::Later(why, answer.retry_after()),
        }
    }

    fn redact(&self, text: &str) -> String {
        // The scheme before the secret (`Bearer`) is none; a short one would riddle messages.
        let words = self.secrets.iter().map(|secret| secret.expose().rsplit(' ').next().unwrap_or_default());
        words
            .filter(|word| word.len() >= SECRET_BYTES_MIN)
            .fold(text.to_owned(), |text, word| text.replace(word, "***"))
    }

    /// Adds lines behind the others, cut to the limits of a request.
    fn collect(&mut self, batch: &SinkBatch<'_>) {
        if self.pieces.is_empty() {
            self.since = Mono::now();
        }
        for (seq, line) in (batch.first_seq..).zip(batch.lines.split_inclusive(|byte| *byte == b'\n')) {
            let bytes = line.len();
            match self.pieces.back_mut() {
                Some(last)
                    if !last.is_part
                        && last.first_seq + last.count == seq
                        && last.count < self.batch_records
                        && last.bytes + bytes <= self.batch_bytes =>
                {
                    last.count += 1;
                    last.bytes += bytes;
                }
                _ => self.pieces.push_back(Piece { first_seq: seq, count: 1, bytes, is_part: false }),
            }
        }
        self.lines.extend_from_slice(batch.lines);
    }

    /// Whether there is a whole request.
    fn is_full(&self) -> bool {
        self.pieces.len() > 1
            || self.lines.len() >= self.batch_bytes
            || self.pieces.front().is_some_and(|piece| piece.count >= self.batch_records)
    }
}

impl Sink for Http {
    fn deliver(&mut self, batch: &SinkBatch<'_>) -> std::result::Result<(), Refusal> {
        if self.is_full() {
            self.flush()?;
        }
        self.collect(batch);
        Ok(())
    }

    fn settle(&mut self, force: bool) -> std::result::Result<bool, Refusal> {
        if self.pieces.is_empty() {
            return Ok(true);
        }
        if !force && !self.is_full() && Mono::now().since(self.since) < self.batch_age {
            return Ok(false);
        }
        self.flush()?;
        Ok(true)
    }

    fn due_in(&self) -> Option<Duration> {
        if self.pieces.is_empty() {
            return None;
        }
        Some(if self.is_full() { Duration::ZERO } else { (self.since + self.batch_age).since(Mono::now()) })
    }

    fn take_dead(&mut self) -> Vec<Dead> {
        std::mem::take(&mut self.dead)
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("bytes", &self.lines.len()).field("pieces", &self.pieces).finish_non_exhaustive()
    }
}

/// What the endpoint says of a request.
enum Verdict {
    /// It is tried again, after so long when the endpoint says.
    Later(String, Option<Duration>),
    /// Lines in it will never be taken.
    Refused(String),
    Taken,
    TooLarge(String),
}

/// The core: one request after the other, until the sink is gone.
async fn serve(
    settings: ClientSettings,
    tls: TlsContext,
    resolver: ResolverHandle,
    endpoint: Endpoint,
    path: String,
    timeout: Duration,
    mut jobs: Mailbox<Job>,
) {
    let Ok(client) = Client::new(settings, &tls, resolver) else { return };
    let limits = Limits {
        pool_wait: timeout,
        connect: timeout,
        tls: timeout,
        first_byte: timeout,
        body: timeout,
        body_bytes_max: ANSWER_BYTES_MAX,
        ..Limits::default()
    };
    while let Some(job) = jobs.recv().await {
        let request = Request::post(path.clone(), job.body);
        let deadline = Deadline::after(Mono::now(), timeout);
        let mut timings = Timings::default();
        let mut answer = client.exchange(&endpoint, &request, &limits, deadline, &mut timings).await;
        // A connection that the endpoint closed while it was idle is no refusal: records may come twice anyway.
        if answer.as_ref().is_err_and(was_closed_while_idle) {
            answer = client.exchange(&endpoint, &request, &limits, deadline, &mut timings).await;
        }
        let _ = job.reply.send(answer);
    }
    client.close().await;
}

fn was_closed_while_idle(failure: &Failure) -> bool {
    failure.reused && matches!(failure.reason, "closed_early" | "reset")
}

fn pack(compression: Compression, lines: &[u8]) -> std::io::Result<Bytes> {
    Ok(match compression {
        Compression::None => Bytes::copy_from_slice(lines),
        Compression::Gzip => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(lines)?;
            packer.finish()?.into()
        }
        Compression::Zstd => zstd::bulk::compress(lines, ZSTD_LEVEL)?.into(),
    })
}

/// Of a request that is refused record by record, the rest is given up after so many: a table that takes none would
/// otherwise be asked twice for each.
const REFUSED_IN_ROW_MAX: u32 = 100;
/// Enough to say what is wrong.
const EXCERPT_BYTES: usize = 300;
const ANSWER_BYTES_MAX: usize = 1 << 20;
const SECRET_BYTES_MIN: usize = 4;
const ZSTD_LEVEL: i32 = 1;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::SocketAddr;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::config::SinkHeader;
    use crate::sink::testing::{FINE, Posted, Reply, serve};

    fn target(address: SocketAddr) -> HttpTarget {
        let header = |name: &str, text: &str| SinkHeader {
            name: name.to_owned(),
            text: SinkHeaderText::Known(Secret::new(text)),
        };
        HttpTarget {
            url: format!("http://{address}/in?query=INSERT%20INTO%20t"),
            headers: vec![header("Authorization", "Bearer hunter2"), header("X-Table", "t")],
            batch_records: 1_000,
            batch_bytes: 1 << 20,
            batch_age: Duration::from_secs(3_600),
            timeout: Duration::from_secs(20),
            compression: Compression::None,
        }
    }

    fn sink(target: &HttpTarget) -> Http {
        Http::new("db", target, &SinkHost::default()).unwrap()
    }

    /// An endpoint that tells what came and answers by a list, and then 200.
    fn scripted(script: Vec<Reply>) -> (SocketAddr, Receiver<Posted>) {
        let (tell, came) = channel();
        let mut script = script.into_iter();
        let address = serve(move |posted| {
            let _ = tell.send(posted.clone());
            script.next().unwrap_or(FINE)
        });
        (address, came)
    }

    fn lines(seqs: std::ops::RangeInclusive<u64>) -> String {
        seqs.map(|seq| format!("{{\"seq\":{seq},\"source\":\"x\"}}\n")).collect()
    }

    fn deliver(sink: &mut Http, seqs: std::ops::RangeInclusive<u64>) -> std::result::Result<(), Refusal> {
        let (first_seq, count) = (*seqs.start(), seqs.clone().count() as u64);
        sink.deliver(&SinkBatch { first_seq, count, lines: lines(seqs).as_bytes() })
    }

    #[test]
    fn batches_are_collected_into_requests() {
        let (address, came) = scripted(Vec::new());
        let mut sink = sink(&HttpTarget { batch_records: 5, ..target(address) });
        deliver(&mut sink, 1..=2).unwrap();
        assert!(!sink.settle(false).unwrap());
        assert!(came.try_recv().is_err(), "neither full nor old");
        deliver(&mut sink, 3..=12).unwrap();
        assert!(sink.settle(true).unwrap());
        assert!(sink.due_in().is_none());
        let bodies: Vec<Posted> = came.try_iter().collect();
        let texts: Vec<String> = bodies.iter().map(Posted::text).collect();
        assert_eq!(texts, [lines(1..=5), lines(6..=10), lines(11..=12)]);
        let head = &bodies[0].head;
        for part in [
            "post /in?query=insert%20into%20t http/1.1\r\n",
            "\r\ncontent-type: application/x-ndjson\r\n",
            "\r\nauthorization: bearer hunter2\r\n",
            "\r\nx-table: t\r\n",
        ] {
            assert!(head.contains(part), "{head}");
        }
    }

    #[test]
    fn a_batch_that_is_old_goes_although_it_is_small() {
        let (address, came) = scripted(Vec::new());
        let mut sink = sink(&HttpTarget { batch_age: Duration::ZERO, ..target(address) });
        deliver(&mut sink, 1..=2).unwrap();
        assert_eq!(sink.due_in(), Some(Duration::ZERO));
        assert!(sink.settle(false).unwrap());
        assert_eq!(came.try_iter().count(), 1);
    }

    #[test]
    fn bodies_are_packed() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let (address, came) = scripted(Vec::new());
            let mut sink = sink(&HttpTarget { compression, ..target(address) });
            deliver(&mut sink, 1..=100).unwrap();
            assert!(sink.settle(true).unwrap());
            let posted = came.recv().unwrap();
            let mut text = String::new();
            let encoding = match compression {
                Compression::Gzip => {
                    flate2::read::GzDecoder::new(posted.body.as_slice()).read_to_string(&mut text).unwrap();
                    "gzip"
                }
                _ => {
                    text = String::from_utf8(zstd::bulk::decompress(&posted.body, 1 << 20).unwrap()).unwrap();
                    "zstd"
                }
            };
            assert_eq!(text, lines(1..=100));
            assert!(posted.head.contains(&format!("\r\ncontent-encoding: {encoding}\r\n")), "{}", posted.head);
        }
    }

    #[test]
    fn what_fails_is_tried_again_as_it_was() {
        let check = |reply: Reply, part: &str, expected: Option<Duration>| {
            let (address, came) = scripted(vec![reply]);
            let timeout = if matches!(reply, Reply::Hang) { 300 } else { 20_000 };
            let mut sink = sink(&HttpTarget { timeout: Duration::from_millis(timeout), ..target(address) });
            deliver(&mut sink, 1..=3).unwrap();
            match sink.settle(true) {
                Err(Refusal::Retry(why, after)) => {
                    assert!(why.contains(part) && !why.contains("hunter2"), "{why}");
                    assert_eq!(after, expected, "{why}");
                }
                other => panic!("{reply:?}: {other:?}"),
            }
            assert!(sink.settle(true).unwrap(), "{reply:?}");
            let texts: Vec<String> = came.try_iter().map(|posted| posted.text()).collect();
            assert_eq!(texts, [lines(1..=3), lines(1..=3)], "{reply:?}");
            assert!(sink.take_dead().is_empty());
        };
        check(Reply::Status(500, "", "out of memory"), "found 500: out of memory", None);
        check(Reply::Status(429, "retry-after: 7\r\n", ""), "found 429", Some(Duration::from_secs(7)));
        check(Reply::Status(401, "", "bad token hunter2"), "found 401: bad token ***", None);
        check(Reply::Status(404, "", "no table t"), "found 404: no table t", None);
        check(Reply::Status(307, "location: http://elsewhere/\r\n", ""), "found 307", None);
        check(Reply::Reset, "reset", None);
        check(Reply::Hang, "deadline", None);
    }

    #[test]
    fn an_endpoint_that_is_away_is_tried_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut sink = sink(&target(address));
        deliver(&mut sink, 1..=3).unwrap();
        let refused = sink.settle(true);
        assert!(matches!(&refused, Err(Refusal::Retry(why, None)) if why.contains("connect_refused")), "{refused:?}");
    }

    #[test]
    fn a_connection_that_was_closed_while_idle_is_no_refusal() {
        let (address, came) = scripted(vec![Reply::Close]);
        let mut sink = sink(&target(address));
        for seqs in [1..=2, 3..=4] {
            deliver(&mut sink, seqs).unwrap();
            assert!(sink.settle(true).unwrap());
        }
        assert_eq!(came.try_iter().count(), 2);
    }

    #[test]
    fn a_hang_on_a_connection_that_served_before_is_told_as_one() {
        let (address, came) = scripted(vec![FINE, Reply::Hang]);
        let mut sink = sink(&HttpTarget { timeout: Duration::from_millis(300), ..target(address) });
        deliver(&mut sink, 1..=2).unwrap();
        assert!(sink.settle(true).unwrap());
        deliver(&mut sink, 3..=4).unwrap();
        let refused = sink.settle(true);
        assert!(
            matches!(&refused, Err(Refusal::Retry(why, None)) if !why.contains("before the request")),
            "{refused:?}"
        );
        assert_eq!(came.try_iter().count(), 2);
    }

    fn seq_of(line: &str) -> Option<u64> {
        line.strip_prefix("{\"seq\":")?.split(',').next()?.parse().ok()
    }

    /// Refuses requests with a record whose seq is in `bad`.
    fn picky(status: u16, bad: fn(u64) -> bool) -> (SocketAddr, Receiver<String>) {
        let (tell, came) = channel();
        let address = serve(move |posted| {
            let text = posted.text();
            let mut seqs = text.lines().filter_map(seq_of);
            if seqs.any(bad) {
                return Reply::Status(status, "", "cannot parse");
            }
            let _ = tell.send(text);
            FINE
        });
        (address, came)
    }

    #[test]
    fn bad_records_are_found_by_halving_and_the_rest_goes_on() {
        for status in [400, 422] {
            let (address, came) = picky(status, |seq| seq == 3 || seq == 7);
            let mut sink = sink(&target(address));
            deliver(&mut sink, 1..=10).unwrap();
            assert!(sink.settle(true).unwrap());
            let taken: String = came.try_iter().collect();
            assert_eq!(taken, [lines(1..=2), lines(4..=6), lines(8..=10)].concat());
            let dead = sink.take_dead();
            let found: Vec<(u64, u64)> = dead.iter().map(|dead| (dead.first_seq, dead.count)).collect();
            assert_eq!(found, [(3, 1), (7, 1)]);
            assert_eq!(dead[0].lines, lines(3..=3).as_bytes());
            assert!(dead[0].why.contains("cannot parse"), "{}", dead[0].why);
            // The next request is whole again.
            deliver(&mut sink, 11..=20).unwrap();
            assert!(sink.settle(true).unwrap());
            assert_eq!(came.try_iter().collect::<Vec<_>>(), [lines(11..=20)]);
        }
    }

    #[test]
    fn a_table_that_takes_nothing_is_not_asked_for_each_record() {
        let (tell, came) = channel();
        let address = serve(move |_| {
            let _ = tell.send(());
            Reply::Status(400, "", "no such column")
        });
        let mut sink = sink(&target(address));
        deliver(&mut sink, 1..=1_000).unwrap();
        assert!(sink.settle(true).unwrap());
        let dead = sink.take_dead();
        assert_eq!(dead.iter().map(|dead| dead.count).sum::<u64>(), 1_000);
        let buried: String = dead.iter().map(|dead| String::from_utf8_lossy(&dead.lines)).collect();
        assert_eq!(buried, lines(1..=1_000));
        let asked = came.try_iter().count();
        assert!(asked < 300, "{asked}");
    }

    #[test]
    fn a_request_that_is_too_large_is_halved_and_later_ones_are_smaller() {
        let (tell, came) = channel();
        let address = serve(move |posted| {
            let is_large = posted.body.len() > 500;
            let _ = tell.send(is_large);
            if is_large { Reply::Status(413, "", "") } else { FINE }
        });
        let mut sink = sink(&target(address));
        for round in 0..3 {
            deliver(&mut sink, round * 50 + 1..=round * 50 + 50).unwrap();
            assert!(sink.settle(true).unwrap());
        }
        assert!(sink.take_dead().is_empty());
        let refused: Vec<bool> = came.try_iter().collect();
        assert!(refused[0] && !refused[8..].contains(&true), "{refused:?}");
        // One record that is too large for itself is given up.
        let large = format!("{{\"seq\":151,\"text\":\"{}\"}}\n", "x".repeat(600));
        sink.deliver(&SinkBatch { first_seq: 151, count: 1, lines: large.as_bytes() }).unwrap();
        assert!(sink.settle(true).unwrap());
        assert_eq!(sink.take_dead().len(), 1);
    }

    #[test]
    fn what_was_taken_before_a_failure_is_not_sent_again() {
        let (address, came) = scripted(vec![FINE, Reply::Status(503, "", ""), FINE]);
        let mut sink = sink(&HttpTarget { batch_records: 2, ..target(address) });
        deliver(&mut sink, 1..=6).unwrap();
        assert!(matches!(sink.settle(true), Err(Refusal::Retry(..))));
        assert!(sink.settle(true).unwrap());
        let texts: Vec<String> = came.try_iter().map(|posted| posted.text()).collect();
        assert_eq!(texts, [lines(1..=2), lines(3..=4), lines(3..=4), lines(5..=6)]);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let address = "127.0.0.1:1".parse().unwrap();
        let mut bad = target(address);
        bad.headers[0].text = SinkHeaderText::Variable { before: String::new(), variable: "X".to_owned() };
        let refused = Http::new("db", &bad, &SinkHost::default()).unwrap_err().to_string();
        assert!(refused.contains("sink db") && refused.contains("Authorization"), "{refused}");
        let host = SinkHost { ca_file: Some("/nowhere.pem".into()) };
        let refused = Http::new("db", &target(address), &host).unwrap_err().to_string();
        assert!(refused.contains("/nowhere.pem"), "{refused}");
    }
}
