//! Decoders on mutated samples: whatever a provider sends, nothing panics and nothing is made up.
//! Two parts per source. One replaces or drops every value of every sample in turn: what still comes out must be what
//! came out before, less what depended on that value. The other damages samples at random, by proptest with a fixed
//! seed. `TIDEGATE_FUZZ_CASES=1000000` sets the number of random cases per source.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::Value;
use tidegate::model::{Judgement, Query};
use tidegate::source::{Batching, Prerequisite, Source, State, judge_offline};
use tidegate::wire::Answer;

/// Cases per source in an ordinary run.
const CASES: u32 = 20_000;

macro_rules! sources {
    ($($id:ident),+ $(,)?) => {
        $(
            mod $id {
                #[test]
                fn invents_nothing() {
                    super::check_replacements(stringify!($id));
                }
                #[test]
                fn survives_damage() {
                    super::check_damage(stringify!($id));
                }
            }
        )+
        const FUZZED: &[&str] = &[$(stringify!($id)),+];
    };
}

sources! {
    alpaca, alpha_vantage, binance, bitstamp, bybit, coinbase, coingecko, coinmarketcap, deribit, finnhub, fmp,
    frankfurter, fred, gdelt, gemini, kraken, kucoin, newsapi, okx, polygon, sec_edgar, tiingo, twelve_data,
    yahoo_finance,
}

#[test]
fn every_source_is_fuzzed() {
    let ids: Vec<&str> = tidegate::source::SOURCES.iter().map(|source| source.spec().id.as_str()).collect();
    assert_eq!(ids, FUZZED);
}

/// A sample and what it is read as.
struct Target {
    name: &'static str,
    body: &'static str,
    reading: Reading,
    nodes: Vec<Node>,
}

enum Reading {
    Query(Query),
    Prerequisite(&'static Prerequisite),
}

impl Target {
    fn new(sample: &tidegate::source::Sample, reading: Reading) -> Self {
        let nodes = nodes(sample.body);
        assert!(!nodes.is_empty(), "{}: no JSON", sample.name);
        Target { name: sample.name, body: sample.body, reading, nodes }
    }

    fn label(&self) -> String {
        match &self.reading {
            Reading::Query(query) => format!("{} as {} {:?}", self.name, query.kind, query.symbols),
            Reading::Prerequisite(prerequisite) => format!("{} as {}", self.name, prerequisite.name),
        }
    }
}

/// Everything a source's samples can be read as: each under all queries that read it, samples that no query reads
/// (errors, instrument lists) under one query of each kind and all prerequisites.
fn targets(source: &'static dyn Source, state: &State) -> Vec<Target> {
    let spec = source.spec();
    let queries = queries(source);
    let mut targets = Vec::new();
    let mut read_kinds = Vec::new();
    for sample in spec.samples {
        let before = targets.len();
        for query in &queries {
            if records(source, state, query, sample.body).is_ok_and(|records| !records.is_empty()) {
                read_kinds.push(query.kind);
                targets.push(Target::new(sample, Reading::Query(query.clone())));
            }
        }
        if targets.len() > before {
            continue;
        }
        for kind in spec.kinds {
            let query = queries.iter().find(|query| query.kind == kind.kind).expect("a query of each kind");
            targets.push(Target::new(sample, Reading::Query(query.clone())));
        }
        let prerequisites = source.prerequisites().iter().map(Reading::Prerequisite);
        targets.extend(prerequisites.map(|reading| Target::new(sample, reading)));
    }
    for kind in spec.kinds {
        assert!(read_kinds.contains(&kind.kind), "{}: no sample gives a {}", spec.id, kind.kind);
    }
    targets
}

/// Questions of every kind: about each example, about all at once, about none, with every length of bars.
fn queries(source: &dyn Source) -> Vec<Query> {
    let mut queries = Vec::new();
    for kind in source.spec().kinds {
        let bare = Query::new(kind.kind);
        let mut asked: Vec<Query> = kind.examples.iter().map(|name| bare.clone().symbol(*name)).collect();
        if let Batching::Many(max) = kind.batching
            && kind.examples.len() > 1
        {
            let all = kind.examples.iter().take(max).map(|name| tidegate::model::Symbol::new(*name));
            asked.push(bare.clone().symbols(all));
        }
        asked.push(bare);
        if kind.intervals.is_empty() {
            queries.extend(asked);
            continue;
        }
        let usual =
            kind.intervals.iter().filter(|each| ["1m", "5m", "30m", "1h", "1d"].contains(&each.to_string().as_str()));
        for interval in usual {
            queries.extend(asked.iter().map(|query| query.clone().interval(*interval)));
        }
    }
    queries
}

/// What the source knows after its prerequisites, read from the samples.
fn state(source: &dyn Source) -> State {
    let mut state = State::default();
    for prerequisite in source.prerequisites() {
        for sample in source.spec().samples {
            let mut next = state.clone();
            let read = source.prerequisite_decode(prerequisite.name, &Answer::new(200, sample.body), &mut next);
            if read.is_ok() && next != state {
                state = next;
                break;
            }
        }
    }
    state
}

fn records(source: &dyn Source, state: &State, query: &Query, body: &str) -> Result<Vec<Value>, Judgement> {
    let batch = judge_offline(source, query, state, Answer::new(200, body.as_bytes().to_vec()))?;
    Ok(batch.records().iter().map(|record| serde_json::to_value(record).expect("a record as JSON")).collect())
}

/// A value in a sample: where it stands, and what to cut out to drop it when it is a member of an object.
#[derive(Clone, Debug)]
struct Node {
    path: String,
    value: Range<usize>,
    member: Option<Range<usize>>,
}

/// All values of a valid body.
fn nodes(body: &str) -> Vec<Node> {
    let mut out = Vec::new();
    let mut at = 0;
    scan(body.as_bytes(), &mut at, "", None, &mut out);
    out
}

fn scan(body: &[u8], at: &mut usize, path: &str, key: Option<usize>, out: &mut Vec<Node>) {
    skip_space(body, at);
    let start = *at;
    match body[*at] {
        open @ (b'{' | b'[') => {
            *at += 1;
            let mut index = 0;
            loop {
                skip_space(body, at);
                match body[*at] {
                    b'}' | b']' => break,
                    b',' => *at += 1,
                    _ if open == b'[' => {
                        scan(body, at, &format!("{path}/{index}"), None, out);
                        index += 1;
                    }
                    _ => {
                        let key_start = *at;
                        string_end(body, at);
                        let key = String::from_utf8_lossy(&body[key_start + 1..*at - 1]).into_owned();
                        skip_space(body, at);
                        *at += 1;
                        scan(body, at, &format!("{path}/{key}"), Some(key_start), out);
                    }
                }
            }
            *at += 1;
        }
        b'"' => string_end(body, at),
        _ => {
            while *at < body.len() && !matches!(body[*at], b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                *at += 1;
            }
        }
    }
    let value = start..*at;
    let member = key.map(|key| {
        let mut next = *at;
        skip_space(body, &mut next);
        if body.get(next) == Some(&b',') {
            return key..next + 1;
        }
        let before = body[..key].iter().rposition(|byte| !byte.is_ascii_whitespace()).expect("a brace or comma");
        (if body[before] == b',' { before } else { key })..*at
    });
    out.push(Node { path: path.to_owned(), value, member });
}

fn skip_space(body: &[u8], at: &mut usize) {
    while body.get(*at).is_some_and(u8::is_ascii_whitespace) {
        *at += 1;
    }
}

fn string_end(body: &[u8], at: &mut usize) {
    *at += 1;
    while body[*at] != b'"' {
        *at += if body[*at] == b'\\' { 2 } else { 1 };
    }
    *at += 1;
}

/// Put in the place of a value: other types, and numbers that no exact decimal or integer holds.
const REPLACEMENTS: &[&str] = &[
    "null",
    "true",
    "\"\"",
    "\"x\"",
    "[]",
    "{}",
    "[[]]",
    "{\"x\":{}}",
    "1e400",
    "-1e400",
    "1e-400",
    "\"1e400\"",
    "\"NaN\"",
    "\"1.2.3\"",
    "123456789012345678901234567890123456789",
    "\"123456789012345678901234567890123456789\"",
    "0.12345678901234567890123456789012345",
    "18446744073709551616",
    "1.5e",
];

/// Replaces, retypes and drops every value of every sample in turn.
fn check_replacements(id: &str) {
    let source = tidegate::source::find(id).expect("a source");
    let state = state(source);
    let mut failures = Vec::new();
    let mut checked = 0;
    for target in targets(source, &state) {
        let Reading::Query(query) = &target.reading else { continue };
        let Ok(original) = records(source, &state, query, target.body) else { continue };
        // Without its interval a bar has the length that was asked for: ask for that of the sample.
        let asked = query.interval.map(|interval| Value::from(interval.to_string()));
        if original.iter().any(|record| record["data"].get("interval") != asked.as_ref()) {
            continue;
        }
        let natives = query.symbols.iter().filter_map(|symbol| source.native(query.kind, symbol, &state).ok());
        let asked = query.symbols.iter().map(ToString::to_string).chain(natives.map(|native| native.to_string()));
        let mut names = Names { sent: String::new(), asked: asked.collect() };
        for node in &target.nodes {
            let old = &target.body[node.value.clone()];
            let splice = |range: &Range<usize>, new: &str| {
                format!("{}{new}{}", &target.body[..range.start], &target.body[range.end..])
            };
            let mut changes: Vec<(String, String)> = REPLACEMENTS
                .iter()
                .filter(|new| **new != old && !keeps_type(old, new))
                .map(|new| ((*new).to_owned(), splice(&node.value, new)))
                .collect();
            if let Some(member) = &node.member {
                changes.push(("nothing".to_owned(), splice(member, "")));
            }
            let retyped = match old.strip_prefix('"').and_then(|old| old.strip_suffix('"')) {
                Some(text) => text.to_owned(),
                None => format!("\"{old}\""),
            };
            if !old.starts_with(['{', '[']) {
                changes.push((retyped.clone(), splice(&node.value, &retyped)));
            }
            for (new, body) in changes {
                checked += 1;
                let Ok(found) = records(source, &state, query, &body) else { continue };
                names.sent = new.trim_matches('"').to_owned();
                if let Err(why) = all_within(&found, &original, &names)
                    && !excused(id, node, &why)
                {
                    failures.push(format!("{} {}: {} for {old}: {why}", target.label(), node.path, new));
                }
            }
        }
    }
    assert!(checked > 100, "{id}: {checked} replacements check nothing");
    assert!(failures.is_empty(), "{id}: {} of {checked} differ:\n{}", failures.len(), failures.join("\n"));
}

/// Whether a decoder may take `new` for a value as good as `old`.
fn keeps_type(old: &str, new: &str) -> bool {
    match old.as_bytes()[0] {
        b't' | b'f' => new == "true",
        b'[' => new.starts_with('['),
        b'{' => new.starts_with('{'),
        _ => false,
    }
}

/// Whether every record found is one of the originals, in their order, with nothing changed and nothing added.
fn all_within(found: &[Value], original: &[Value], names: &Names) -> Result<(), String> {
    let mut rest = original.iter();
    for record in found {
        let mut why = "a record too many".to_owned();
        let mut closest = usize::MAX;
        let fits = rest.clone().position(|original| match within(record, original, names, "") {
            Ok(()) => true,
            Err(differences) => {
                if differences.len() < closest {
                    closest = differences.len();
                    why = differences.join("; ");
                }
                false
            }
        });
        match fits {
            Some(at) => rest = original[original.len() - rest.len() + at + 1..].iter(),
            None => return Err(why),
        }
    }
    Ok(())
}

/// What of `found` is not in `original`. A text may be the replacement itself: a headline is whatever was sent.
fn within(found: &Value, original: &Value, names: &Names, path: &str) -> Result<(), Vec<String>> {
    let differences: Vec<String> = match (found, original) {
        (Value::Object(found), Value::Object(original)) => found
            .iter()
            .flat_map(|(key, value)| match original.get(key) {
                Some(old) => within(value, old, names, &format!("{path}/{key}")).err().unwrap_or_default(),
                None if names.is_sent(value) => Vec::new(),
                None => match value.as_str() {
                    Some(text) if names.explains(&format!("{path}/{key}"), text) => Vec::new(),
                    _ => vec![format!("{path}/{key}: {value} added")],
                },
            })
            .collect(),
        (Value::Array(found), Value::Array(original)) => {
            let mut rest = original.iter();
            let mut fits =
                |each: &&Value| names.is_sent(each) || rest.any(|old| within(each, old, names, path).is_ok());
            let mut extra = found.iter().filter(|each| !fits(each));
            extra.next().map(|each| format!("{path}: {each} added")).into_iter().collect()
        }
        (found, original) if found == original => Vec::new(),
        (Value::String(found), Value::String(_)) if names.explains(path, found) => Vec::new(),
        _ => vec![format!("{path}: {found} from {original}")],
    };
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// What a text of a record may be, other than what it was: the replacement itself, and for names those of the query.
struct Names {
    sent: String,
    asked: Vec<String>,
}

impl Names {
    fn explains(&self, path: &str, found: &str) -> bool {
        if matches!(path, "/symbol" | "/native") {
            let sent = self.sent.to_lowercase();
            let made = !sent.is_empty() && found.to_lowercase().contains(&sent);
            return made || self.asked.iter().any(|name| name == found);
        }
        found == self.sent || (path == "/data/url" && !self.sent.is_empty() && found.contains(&self.sent))
    }

    /// Whether a value that was not there before is the replacement: the place was empty, or null.
    fn is_sent(&self, value: &Value) -> bool {
        match value {
            Value::Array(values) => values.iter().all(|value| self.is_sent(value)),
            Value::String(text) => !text.is_empty() && text.eq_ignore_ascii_case(&self.sent),
            _ => false,
        }
    }
}

/// A difference that the provider's rules explain.
struct Excuse {
    source: &'static str,
    /// The end of the replaced value's path.
    path: &'static str,
    /// A part of the difference.
    difference: &'static str,
    #[allow(dead_code, reason = "read by people")]
    why: &'static str,
}

const EXCUSES: &[Excuse] = &[
    excuse("alpaca", "/latestTrade", "/ts_event", "the time of the quote where that of the trade is missing"),
    excuse("alpaca", "/latestTrade/t", "/ts_event", "the time of the quote where that of the trade is missing"),
    excuse("alpaca", "/ap", "/data/ask_size", "a side with a price of zero is empty; with another it has a size"),
    excuse("alpha_vantage", "Time Zone", "/data/start", "days start in UTC where the body names no zone"),
    excuse("alpha_vantage", "/Meta Data", "/data/start", "days start in UTC where the body names no zone"),
    excuse("bitstamp", "/microtimestamp", "/ts_event", "the same moment in whole seconds"),
    excuse("fmp", "/publisher", "/data/publisher", "the site where no publisher is named"),
    excuse("gemini", "/timestampms", "/ts_event", "the same moment in whole seconds"),
    excuse("kraken", "/1", "_size", "of two and of three values the last is the size"),
    excuse("kraken", "/2", "_size", "of two and of three values the last is the size"),
    excuse("kucoin", "hangeRate", "/data/change_pct: \"1844674407370955161600\"", "a fraction becomes percent"),
    excuse("okx", "/8", "/data/closed", "the clock tells where the row does not"),
    excuse("polygon", "/t", "/ts_event", "the participant's time where the tape's is missing"),
    excuse("polygon", "/sip_timestamp", "/ts_event", "the participant's time where the tape's is missing"),
    excuse("polygon", "/last_trade", "/ts_event", "the time of the quote where that of the trade is missing"),
    excuse("polygon", "/last_updated", "/ts_event", "the time of the quote where that of the trade is missing"),
    excuse("polygon", "/day/c", "a record too many", "a day that closes at zero has no trade; another has"),
    excuse("tiingo", "/last", "/data/last", "Tiingo's own last price where the exchange's is missing"),
    excuse("tiingo", "/lastSaleTimestamp", "/ts_event", "the time of the quote where that of the sale is missing"),
    excuse("twelve_data", "/meta", "/data/start", "a pair was asked for, and pairs are told in UTC"),
];

const fn excuse(source: &'static str, path: &'static str, difference: &'static str, why: &'static str) -> Excuse {
    Excuse { source, path, difference, why }
}

fn excused(id: &str, node: &Node, why: &str) -> bool {
    EXCUSES
        .iter()
        .any(|excuse| excuse.source == id && node.path.ends_with(excuse.path) && why.contains(excuse.difference))
}

/// One random change.
#[derive(Clone, Debug)]
enum Edit {
    Cut(u16),
    Delete(u16, u8),
    Drop(u16),
    Duplicate(u16, u8),
    Flip(u16, u8),
    Insert(u16, u8),
    Replace(u16, u8),
    Swap(u16, u16),
}

/// What is put between or into tokens: structure, broken UTF-8, escapes, a byte order mark, NUL.
const INSERTED: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"\\",
    b"-",
    b".",
    b"e",
    b"0",
    b"9",
    b" ",
    b"\n",
    b"\0",
    b"\x7f",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\xef\xbb\xbf",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"\\u12",
    b"\\x",
    b"null",
    b"//",
    b"/* */",
    b"'",
    b"NaN",
    b"Infinity",
    b"\xc3\xa9",
    b"<html>",
    b"\"a\":1,",
];

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        1 => any::<u16>().prop_map(Edit::Cut),
        2 => any::<(u16, u8)>().prop_map(|(at, len)| Edit::Delete(at, len)),
        3 => any::<u16>().prop_map(Edit::Drop),
        1 => any::<(u16, u8)>().prop_map(|(at, len)| Edit::Duplicate(at, len)),
        4 => any::<(u16, u8)>().prop_map(|(at, by)| Edit::Flip(at, by)),
        3 => any::<(u16, u8)>().prop_map(|(at, what)| Edit::Insert(at, what)),
        4 => any::<(u16, u8)>().prop_map(|(at, what)| Edit::Replace(at, what)),
        2 => any::<(u16, u16)>().prop_map(|(a, b)| Edit::Swap(a, b)),
    ]
}

/// Applies `edits`; the places of values are those of the whole body, so that a second change may hit anything.
fn damage(target: &Target, edits: &[Edit]) -> Vec<u8> {
    let mut body = target.body.as_bytes().to_vec();
    for edit in edits {
        let place = |at: u16| usize::from(at) % (body.len() + 1);
        let node = |at: u16| &target.nodes[usize::from(at) % target.nodes.len()];
        let clamp = |range: &Range<usize>| range.start.min(body.len())..range.end.min(body.len());
        match *edit {
            Edit::Cut(at) => body.truncate(place(at)),
            Edit::Delete(at, len) => {
                let from = place(at);
                body.drain(clamp(&(from..from + usize::from(len % 32))));
            }
            Edit::Drop(at) => {
                let node = node(at);
                let range = clamp(node.member.as_ref().unwrap_or(&node.value));
                body.drain(range);
            }
            Edit::Duplicate(at, len) => {
                let from = place(at);
                let copy = body[clamp(&(from..from + usize::from(len)))].to_vec();
                body.splice(from..from, copy);
            }
            Edit::Flip(at, by) => {
                let at = place(at);
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= by;
                }
            }
            Edit::Insert(at, what) => {
                let at = place(at);
                body.splice(at..at, INSERTED[usize::from(what) % INSERTED.len()].iter().copied());
            }
            Edit::Replace(at, what) => {
                let range = clamp(&node(at).value);
                let depth = match usize::from(what) % (REPLACEMENTS.len() + 3) {
                    few if few < REPLACEMENTS.len() => {
                        body.splice(range, REPLACEMENTS[few].bytes());
                        continue;
                    }
                    more => [60, 70, 2_000][more - REPLACEMENTS.len()],
                };
                let (open, close) = if what & 1 == 0 { ("[", "]") } else { ("{\"a\":", "}") };
                let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                body.splice(range, nested.into_bytes());
            }
            Edit::Swap(a, b) => {
                let (first, second) = (node(a).value.clone(), node(b).value.clone());
                let (first, second) = if first.start <= second.start { (first, second) } else { (second, first) };
                if first.end <= second.start && second.end <= body.len() {
                    let (early, late) = (body[first.clone()].to_vec(), body[second.clone()].to_vec());
                    body.splice(second, early);
                    body.splice(first, late);
                }
            }
        }
    }
    body
}

/// Statuses that an answer may come with; mostly a good one.
const STATUSES: &[u16] =
    &[200, 200, 200, 200, 200, 200, 200, 200, 203, 304, 400, 401, 403, 404, 418, 429, 500, 503, 999];

/// Damages samples at random: every answer is judged, none panics.
fn check_damage(id: &str) {
    let source = tidegate::source::find(id).expect("a source");
    let state = state(source);
    let targets = targets(source, &state);
    let cases = match std::env::var("TIDEGATE_FUZZ_CASES") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("TIDEGATE_FUZZ_CASES: expected a number, found {text:?}")),
        Err(_) => CASES,
    };
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x7469_6465),
        ..ProptestConfig::default()
    };
    let strategy = (any::<u16>(), any::<u8>(), proptest::collection::vec(edit(), 1..4));
    let run = TestRunner::new(config).run(&strategy, |(target, status, edits)| {
        let target = &targets[usize::from(target) % targets.len()];
        let answer = Answer::new(STATUSES[usize::from(status) % STATUSES.len()], damage(target, &edits));
        match &target.reading {
            Reading::Query(query) => {
                if let Err(judgement) = judge_offline(source, query, &state, answer) {
                    prop_assert!(!judgement.message.is_empty(), "{}: a refusal without a word", target.label());
                }
            }
            Reading::Prerequisite(prerequisite) => {
                let mut state = state.clone();
                drop(source.prerequisite_decode(prerequisite.name, &answer, &mut state));
            }
        }
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{id}: {failure}");
    }
}
