//! What the audit log says: one entry per attempt, and the actions of whoever runs the engine. Plain data, small enough
//! to cross cores by the hundred, and its lines. Owns no queue and no file.
//! Invariants: an entry's texts are free of secrets before they get here; a line begins with its `seq`, so that the
//! segments of the journal can carry it.

use std::ops::Range;
use std::time::Duration;

use crate::model::encode::Object;
use crate::model::{SourceId, Verdict};
use crate::time::UnixNanos;

/// One attempt: a request as it was sent, and what came of it. Its texts stand in its batch.
#[derive(Clone, Copy, Debug)]
pub struct AuditEntry {
    /// The attempt's id, unique over runs.
    pub attempt: u64,
    /// When it was sent.
    pub ts: UnixNanos,
    /// Which source of the log's table.
    pub source: u16,
    /// Which of that source's base URLs.
    pub base: u8,
    /// The method's word.
    pub method: &'static str,
    /// Path and query.
    pub target: Span,
    /// What it cost.
    pub weight: u32,
    /// The connection: new, reused, or never had.
    pub connection: Connection,
    /// The HTTP version's word; empty when none was spoken.
    pub http: &'static str,
    /// The answer's status; zero without one.
    pub status: u16,
    /// Bytes of the request.
    pub bytes_out: u32,
    /// Bytes of the answer.
    pub bytes_in: u32,
    /// How long each stage took, in microseconds.
    pub stages: Stages,
    /// From its admission to the last byte of the answer, in microseconds.
    pub elapsed_us: u32,
    /// The verdict; `None` when it was cancelled before there was one.
    pub verdict: Option<Verdict>,
    /// The finer cause; empty with `ok`.
    pub reason: &'static str,
    /// The request's body, at level `bodies`.
    pub request_body: Span,
    /// The answer's body, at level `bodies`.
    pub answer_body: Span,
}

/// How long each stage of an attempt took, in microseconds; a stage that did not happen is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Waiting for a slot and for quota.
    pub admission: u32,
    /// Waiting for a connection.
    pub pool: u32,
    /// Resolving the name.
    pub dns: u32,
    /// Connecting.
    pub connect: u32,
    /// The TLS handshake.
    pub tls: u32,
    /// From the request to the head of the answer.
    pub first_byte: u32,
    /// From the head to the last byte.
    pub body: u32,
    /// Decoding.
    pub decode: u32,
}

/// The connection of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It was opened for this attempt.
    New,
    /// There was none.
    None,
    /// It had served another exchange.
    Reused,
}

/// A place in the text of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

/// Entries that cross to the sink core together, with their texts one behind the other.
#[derive(Clone, Debug, Default)]
pub struct AuditBatch {
    /// The shard that sent them.
    pub shard: u16,
    /// The entries, in the order in which their attempts ended.
    pub entries: Vec<AuditEntry>,
    text: String,
}

/// Something that whoever runs the engine did to it, or that it decided by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditAction {
    /// When.
    pub ts: UnixNanos,
    /// What: `start`, `configuration`, `breaker`, `breaker_forced`, `stop`, `stopped`.
    pub event: &'static str,
    /// With what, in order.
    pub fields: Vec<(&'static str, String)>,
}

/// A source in the log's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSource {
    /// Its id.
    pub id: SourceId,
    /// Its base URLs, without a closing slash.
    pub bases: Vec<String>,
}

impl AuditEntry {
    /// Appends the entry as one JSON object and a newline. `table` is the log's; `batch` the entry's own.
    pub fn encode_line(&self, seq: u64, batch: &AuditBatch, table: &[AuditSource], out: &mut Vec<u8>) {
        let source = table.get(usize::from(self.source));
        let base = source.and_then(|source| source.bases.get(usize::from(self.base)));
        let mut object = Object::open(out);
        object.integer(",\"seq\":", seq);
        object.integer(",\"attempt\":", self.attempt);
        object.time(",\"ts\":", self.ts);
        object.integer(",\"shard\":", u64::from(batch.shard));
        object.text(",\"source\":", source.map_or("", |source| source.id.as_str()));
        object.plain(",\"method\":", self.method);
        object.text_pair(",\"url\":", base.map_or("", String::as_str), batch.text(self.target));
        object.integer(",\"weight\":", u64::from(self.weight));
        match self.connection {
            Connection::New => object.plain(",\"connection\":", "new"),
            Connection::None => {}
            Connection::Reused => object.plain(",\"connection\":", "reused"),
        }
        if !self.http.is_empty() {
            object.plain(",\"http\":", self.http);
        }
        if self.status != 0 {
            object.integer(",\"status\":", u64::from(self.status));
        }
        object.integer(",\"bytes_out\":", u64::from(self.bytes_out));
        object.integer(",\"bytes_in\":", u64::from(self.bytes_in));
        let stages = &self.stages;
        object.micros(",\"admission_us\":", stages.admission);
        object.micros(",\"pool_us\":", stages.pool);
        object.micros(",\"dns_us\":", stages.dns);
        object.micros(",\"connect_us\":", stages.connect);
        object.micros(",\"tls_us\":", stages.tls);
        object.micros(",\"first_byte_us\":", stages.first_byte);
        object.micros(",\"body_us\":", stages.body);
        object.micros(",\"decode_us\":", stages.decode);
        object.integer(",\"elapsed_us\":", u64::from(self.elapsed_us));
        object.plain(",\"verdict\":", self.verdict.map_or(CANCELLED, Verdict::as_str));
        if !self.reason.is_empty() {
            object.plain(",\"reason\":", self.reason);
        }
        object.text_opt(",\"request_body\":", batch.text_opt(self.request_body));
        object.text_opt(",\"answer_body\":", batch.text_opt(self.answer_body));
        object.close();
        out.push(b'\n');
    }
}

impl AuditBatch {
    /// An empty batch of a shard, with room for so many entries.
    pub fn new(shard: u16, entries: usize) -> Self {
        AuditBatch { shard, entries: Vec::with_capacity(entries), text: String::new() }
    }

    /// Appends a text; gives its place.
    pub fn put(&mut self, write: impl FnOnce(&mut String)) -> Span {
        let start = self.text.len();
        write(&mut self.text);
        // A batch is handed on long before its texts reach 4 GiB.
        Span { start: start as u32, len: (self.text.len() - start) as u32 }
    }

    /// Bytes of all texts.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Forgets everything but the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
    }

    /// Appends all entries as lines; the first has `seq`.
    pub fn encode_lines(&self, seq: u64, table: &[AuditSource], out: &mut Vec<u8>) {
        for (entry, seq) in self.entries.iter().zip(seq..) {
            entry.encode_line(seq, self, table, out);
        }
    }

    fn text(&self, span: Span) -> &str {
        let range: Range<usize> = span.start as usize..(span.start as usize).saturating_add(span.len as usize);
        self.text.get(range).unwrap_or_default()
    }

    fn text_opt(&self, span: Span) -> Option<&str> {
        (span.len > 0).then(|| self.text(span))
    }
}

impl AuditAction {
    /// An action at `ts`.
    pub fn new(event: &'static str, ts: UnixNanos) -> Self {
        AuditAction { ts, event, fields: Vec::new() }
    }

    /// The same action with one more field.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// Appends the action as one JSON object and a newline.
    pub fn encode_line(&self, seq: u64, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.integer(",\"seq\":", seq);
        object.time(",\"ts\":", self.ts);
        object.plain(",\"event\":", self.event);
        for (name, value) in &self.fields {
            object.named_text(name, value);
        }
        object.close();
        out.push(b'\n');
    }
}

/// A duration in the microseconds of an entry; more than an hour is as good as an hour.
pub fn audit_micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// Stands for the verdict of an attempt that was cancelled.
pub const CANCELLED: &str = "cancelled";

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<AuditSource> {
        vec![AuditSource { id: SourceId("binance"), bases: vec!["https://api.binance.com".into()] }]
    }

    fn entry(batch: &mut AuditBatch) -> AuditEntry {
        AuditEntry {
            attempt: 7,
            ts: UnixNanos::from_nanos(1_700_000_000_000_000_001),
            source: 0,
            base: 0,
            method: "GET",
            target: batch.put(|text| text.push_str("/api?x=\"1\"")),
            weight: 2,
            connection: Connection::Reused,
            http: "1.1",
            status: 200,
            bytes_out: 91,
            bytes_in: 512,
            stages: Stages { first_byte: 80, decode: 3, ..Stages::default() },
            elapsed_us: 90,
            verdict: Some(Verdict::Ok),
            reason: "",
            request_body: Span::default(),
            answer_body: Span::default(),
        }
    }

    fn check(entry: AuditEntry, batch: &AuditBatch, expected: &str) {
        let mut line = Vec::new();
        entry.encode_line(41, batch, &table(), &mut line);
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, format!("{expected}\n"));
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }

    #[test]
    fn an_entry_is_one_line_of_what_happened() {
        let mut batch = AuditBatch { shard: 3, ..AuditBatch::default() };
        let ok = entry(&mut batch);
        check(
            ok,
            &batch,
            r#"{"seq":41,"attempt":7,"ts":1700000000000000001,"shard":3,"source":"binance","method":"GET","url":"https://api.binance.com/api?x=\"1\"","weight":2,"connection":"reused","http":"1.1","status":200,"bytes_out":91,"bytes_in":512,"first_byte_us":80,"decode_us":3,"elapsed_us":90,"verdict":"ok"}"#,
        );
        let failed = AuditEntry {
            connection: Connection::None,
            http: "",
            status: 0,
            bytes_out: 0,
            bytes_in: 0,
            stages: Stages::default(),
            verdict: None,
            reason: "engine",
            answer_body: batch.put(|text| text.push_str("é\n")),
            ..ok
        };
        check(
            failed,
            &batch,
            r#"{"seq":41,"attempt":7,"ts":1700000000000000001,"shard":3,"source":"binance","method":"GET","url":"https://api.binance.com/api?x=\"1\"","weight":2,"bytes_out":0,"bytes_in":0,"elapsed_us":90,"verdict":"cancelled","reason":"engine","answer_body":"é\n"}"#,
        );
    }

    #[test]
    fn an_action_has_its_fields_in_order() {
        let action = AuditAction::new("breaker_forced", UnixNanos::from_nanos(5)).with("source", "a\"b").with("n", 1);
        let mut line = Vec::new();
        action.encode_line(2, &mut line);
        let expected = "{\"seq\":2,\"ts\":5,\"event\":\"breaker_forced\",\"source\":\"a\\\"b\",\"n\":\"1\"}\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn a_place_that_is_none_is_empty() {
        let batch = AuditBatch::default();
        assert_eq!(batch.text(Span { start: 4, len: u32::MAX }), "");
    }
}
