//! Records as NDJSON lines: the encoder of the journal's hot path.
//! Invariants: the bytes are those of serde_json on the same record; nothing is allocated but growth of the output.

use crate::model::{
    Balance, Bar, Book, Data, Dec, Filing, Level, News, Observation, Quote, Rate, Record, Side, Ticker,
};
use crate::model::{Interval, VolumeUnit};
use crate::time::UnixNanos;

impl Record {
    /// Appends the record as one JSON object and a newline.
    pub fn encode_line(&self, out: &mut Vec<u8>) {
        self.encode_line_as(self.seq, out);
    }

    /// The same with another `seq`: the sink core numbers records as it writes them.
    pub fn encode_line_as(&self, seq: u64, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        if seq != 0 {
            object.integer(",\"seq\":", seq);
        }
        object.text(",\"source\":", self.source.as_str());
        object.plain(",\"kind\":", self.kind().as_str());
        object.text_opt(",\"symbol\":", self.symbol.as_ref().map(|symbol| symbol.as_str()));
        object.text_opt(",\"native\":", self.native.as_ref().map(|native| native.as_str()));
        object.time_opt(",\"ts_event\":", self.ts_event);
        if self.ts_recv != UnixNanos::EPOCH {
            object.time(",\"ts_recv\":", self.ts_recv);
        }
        if self.ts_publish != UnixNanos::EPOCH {
            object.time(",\"ts_publish\":", self.ts_publish);
        }
        if self.attempt != 0 {
            object.integer(",\"attempt\":", self.attempt);
        }
        object.key(",\"data\":");
        match &self.data {
            Data::Ticker(data) => ticker(data, object.out),
            Data::Quote(data) => quote(data, object.out),
            Data::Trade(data) => trade(data, object.out),
            Data::Bar(data) => bar(data, object.out),
            Data::Book(data) => book(data, object.out),
            Data::News(data) => news(data, object.out),
            Data::Filing(data) => filing(data, object.out),
            Data::Observation(data) => observation(data, object.out),
            Data::Rate(data) => rate(data, object.out),
            Data::Balance(data) => balance(data, object.out),
        }
        object.close();
        out.push(b'\n');
    }
}

fn ticker(data: &Ticker, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.dec(",\"last\":", data.last);
    object.dec_opt(",\"last_size\":", data.last_size);
    object.dec_opt(",\"open\":", data.open);
    object.dec_opt(",\"high\":", data.high);
    object.dec_opt(",\"low\":", data.low);
    object.dec_opt(",\"prev_close\":", data.prev_close);
    object.dec_opt(",\"change\":", data.change);
    object.dec_opt(",\"change_pct\":", data.change_pct);
    object.dec_opt(",\"vwap\":", data.vwap);
    object.dec_opt(",\"volume\":", data.volume);
    object.dec_opt(",\"quote_volume\":", data.quote_volume);
    object.dec_opt(",\"bid\":", data.bid);
    object.dec_opt(",\"bid_size\":", data.bid_size);
    object.dec_opt(",\"ask\":", data.ask);
    object.dec_opt(",\"ask_size\":", data.ask_size);
    object.integer_opt(",\"trades\":", data.trades);
    object.unit_opt(data.volume_unit);
    object.close();
}

fn quote(data: &Quote, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.dec_opt(",\"bid\":", data.bid);
    object.dec_opt(",\"bid_size\":", data.bid_size);
    object.dec_opt(",\"ask\":", data.ask);
    object.dec_opt(",\"ask_size\":", data.ask_size);
    object.unit_opt(data.volume_unit);
    object.close();
}

fn trade(data: &crate::model::Trade, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.text_opt(",\"id\":", data.id.as_deref());
    object.dec(",\"price\":", data.price);
    object.dec(",\"size\":", data.size);
    if let Some(side) = data.side {
        let word = match side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        };
        object.plain(",\"side\":", word);
    }
    object.unit_opt(data.volume_unit);
    object.close();
}

fn bar(data: &Bar, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    if let Some(interval) = data.interval {
        object.interval(",\"interval\":", interval);
    }
    object.time(",\"start\":", data.start);
    object.time_opt(",\"end\":", data.end);
    object.dec(",\"open\":", data.open);
    object.dec(",\"high\":", data.high);
    object.dec(",\"low\":", data.low);
    object.dec(",\"close\":", data.close);
    object.dec_opt(",\"volume\":", data.volume);
    object.dec_opt(",\"quote_volume\":", data.quote_volume);
    object.integer_opt(",\"trades\":", data.trades);
    if let Some(closed) = data.closed {
        object.key(",\"closed\":");
        object.out.extend_from_slice(if closed { b"true" } else { b"false" });
    }
    object.unit_opt(data.volume_unit);
    object.close();
}

fn book(data: &Book, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.levels(",\"bids\":", &data.bids);
    object.levels(",\"asks\":", &data.asks);
    object.integer_opt(",\"sequence\":", data.sequence);
    object.unit_opt(data.volume_unit);
    object.close();
}

fn news(data: &News, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.text_opt(",\"id\":", data.id.as_deref());
    object.text_opt(",\"headline\":", data.headline.as_deref());
    object.text_opt(",\"summary\":", data.summary.as_deref());
    object.text_opt(",\"url\":", data.url.as_deref());
    object.text_opt(",\"publisher\":", data.publisher.as_deref());
    object.texts(",\"authors\":", data.authors.iter().map(String::as_str));
    object.texts(",\"symbols\":", data.symbols.iter().map(|symbol| symbol.as_str()));
    object.text_opt(",\"language\":", data.language.as_deref());
    object.close();
}

fn filing(data: &Filing, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.text(",\"accession\":", &data.accession);
    object.text_opt(",\"form\":", data.form.as_deref());
    object.text_opt(",\"company\":", data.company.as_deref());
    object.text_opt(",\"cik\":", data.cik.as_deref());
    object.text_opt(",\"url\":", data.url.as_deref());
    object.text_opt(",\"filed\":", data.filed.as_deref());
    object.text_opt(",\"period\":", data.period.as_deref());
    object.close();
}

fn observation(data: &Observation, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.text_opt(",\"series\":", data.series.as_deref());
    object.text(",\"period\":", &data.period);
    object.dec_opt(",\"value\":", data.value);
    object.text_opt(",\"unit\":", data.unit.as_deref());
    object.close();
}

fn rate(data: &Rate, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.text(",\"base\":", &data.base);
    object.text(",\"quote\":", &data.quote);
    object.dec(",\"value\":", data.value);
    object.text_opt(",\"date\":", data.date.as_deref());
    object.close();
}

fn balance(data: &Balance, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.text(",\"asset\":", &data.asset);
    object.dec(",\"free\":", data.free);
    object.dec_opt(",\"locked\":", data.locked);
    object.close();
}

/// An object being written. Keys come ready for the wire, `,"key":`; the comma of the first is left out.
pub(super) struct Object<'a> {
    pub(super) out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, is_empty: true }
    }

    pub(super) fn close(&mut self) {
        self.out.push(b'}');
    }

    pub(super) fn key(&mut self, key: &'static str) {
        self.out.extend_from_slice(&key.as_bytes()[usize::from(self.is_empty)..]);
        self.is_empty = false;
    }

    pub(super) fn integer(&mut self, key: &'static str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    pub(super) fn integer_opt(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.integer(key, value);
        }
    }

    pub(super) fn time(&mut self, key: &'static str, time: UnixNanos) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(time.as_nanos()).as_bytes());
    }

    fn time_opt(&mut self, key: &'static str, time: Option<UnixNanos>) {
        if let Some(time) = time {
            self.time(key, time);
        }
    }

    fn dec(&mut self, key: &'static str, dec: Dec) {
        self.key(key);
        quoted_dec(dec, self.out);
    }

    fn dec_opt(&mut self, key: &'static str, dec: Option<Dec>) {
        if let Some(dec) = dec {
            self.dec(key, dec);
        }
    }

    /// A word that needs no escaping.
    pub(super) fn plain(&mut self, key: &'static str, word: &'static str) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    pub(super) fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        quoted(text, self.out);
    }

    pub(super) fn text_opt(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// A text in two parts, one behind the other.
    pub(super) fn text_pair(&mut self, key: &'static str, first: &str, second: &str) {
        self.key(key);
        self.out.push(b'"');
        escaped(first, self.out);
        escaped(second, self.out);
        self.out.push(b'"');
    }

    /// A text under a name that needs no escaping.
    pub(super) fn named_text(&mut self, name: &str, text: &str) {
        self.out.extend_from_slice(if self.is_empty { b"\"" } else { b",\"" });
        self.is_empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        quoted(text, self.out);
    }

    /// Microseconds; left out when there are none.
    pub(super) fn micros(&mut self, key: &'static str, micros: u32) {
        if micros != 0 {
            self.integer(key, u64::from(micros));
        }
    }

    /// A list of texts; left out when it is empty.
    fn texts<'t>(&mut self, key: &'static str, texts: impl Iterator<Item = &'t str>) {
        let mut is_first = true;
        for text in texts {
            if is_first {
                self.key(key);
            }
            self.out.push(if is_first { b'[' } else { b',' });
            quoted(text, self.out);
            is_first = false;
        }
        if !is_first {
            self.out.push(b']');
        }
    }

    fn levels(&mut self, key: &'static str, levels: &[Level]) {
        self.key(key);
        self.out.push(b'[');
        for (index, Level(price, size)) in levels.iter().enumerate() {
            self.out.extend_from_slice(if index == 0 { b"[" } else { b",[" });
            quoted_dec(*price, self.out);
            self.out.push(b',');
            quoted_dec(*size, self.out);
            self.out.push(b']');
        }
        self.out.push(b']');
    }

    fn interval(&mut self, key: &'static str, interval: Interval) {
        use std::io::Write;
        self.key(key);
        // Formatting into memory cannot fail.
        let _ = write!(self.out, "\"{interval}\"");
    }

    fn unit_opt(&mut self, unit: Option<VolumeUnit>) {
        match unit {
            None => {}
            Some(VolumeUnit::Contracts) => self.plain(",\"volume_unit\":", "contracts"),
            Some(VolumeUnit::Quote) => self.plain(",\"volume_unit\":", "quote"),
        }
    }
}

/// A decimal in quotes: the digits of the mantissa with the point put in by the number of places.
fn quoted_dec(dec: Dec, out: &mut Vec<u8>) {
    let (mantissa, places) = (dec.mantissa(), dec.places() as usize);
    let value = mantissa.unsigned_abs();
    // Dividing 128-bit integers costs several times as much, and nearly every value fits 64.
    let (mut short, mut long) = (itoa::Buffer::new(), itoa::Buffer::new());
    let digits = match u64::try_from(value) {
        Ok(value) => short.format(value),
        Err(_) => long.format(value),
    }
    .as_bytes();
    out.push(b'"');
    if mantissa < 0 {
        out.push(b'-');
    }
    if places == 0 {
        out.extend_from_slice(digits);
    } else if digits.len() > places {
        let (whole, fraction) = digits.split_at(digits.len() - places);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.extend_from_slice(&ZEROS[..places - digits.len()]);
        out.extend_from_slice(digits);
    }
    out.push(b'"');
}

/// A text in quotes, escaped as JSON needs it and no further.
fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text, out);
    out.push(b'"');
}

/// A text without its quotes. Copies runs without escapes whole.
fn escaped(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = escape_at(bytes, at) {
        out.extend_from_slice(&bytes[copied..found]);
        match bytes[found] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit & 15)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[hex(control >> 4), hex(control)]);
            }
        }
        at = found + 1;
        copied = at;
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// The first byte from `at` on that JSON wants escaped; looks at eight bytes at a time.
fn escape_at(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(word) = bytes.get(at..at + 8) {
        // A slice of eight bytes is an array of eight bytes.
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        // Marks the high bit of each byte that is zero; exact for the lowest one, which is all that is used.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let marks = below_space | zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')).map(|found| at + found)
}

/// As many zeros as a decimal has places at most.
const ZEROS: [u8; 28] = [b'0'; 28];
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

#[cfg(test)]
mod tests {
    use compact_str::CompactString;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{IntervalUnit, Native, SourceId, Symbol, Trade};

    fn check(record: &Record) {
        let mut expected = serde_json::to_vec(record).unwrap();
        expected.push(b'\n');
        let mut encoded = Vec::new();
        record.encode_line(&mut encoded);
        assert_eq!(String::from_utf8(encoded).unwrap(), String::from_utf8(expected).unwrap());
    }

    fn record(data: Data) -> Record {
        Record {
            seq: 7,
            source: SourceId("binance"),
            symbol: None,
            native: None,
            ts_event: None,
            ts_recv: UnixNanos::EPOCH,
            ts_publish: UnixNanos::EPOCH,
            attempt: 0,
            data,
        }
    }

    fn dec() -> impl Strategy<Value = Dec> {
        let mantissa = prop_oneof![
            Just(0_i128),
            any::<i32>().prop_map(i128::from),
            any::<i64>().prop_map(i128::from),
            -(1_i128 << 96) + 1..(1_i128 << 96)
        ];
        (mantissa, 0_u32..=28).prop_map(|(mantissa, places)| Dec::from_parts(mantissa, places).unwrap())
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a-z\"\\\\\n\u{0}-\u{1f}\u{7f}é€😀]{0,40}", "[A-Z]{1,20}"]
    }

    fn name() -> impl Strategy<Value = CompactString> {
        text().prop_map(CompactString::from)
    }

    fn opt<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>>
    where
        S::Value: Clone,
    {
        prop::option::of(strategy)
    }

    fn unit() -> impl Strategy<Value = Option<VolumeUnit>> {
        prop_oneof![Just(None), Just(Some(VolumeUnit::Contracts)), Just(Some(VolumeUnit::Quote))]
    }

    fn interval() -> impl Strategy<Value = Interval> {
        use IntervalUnit::*;
        let unit = prop_oneof![Just(Second), Just(Minute), Just(Hour), Just(Day), Just(Week), Just(Month)];
        (any::<u16>(), unit).prop_map(|(count, unit)| Interval::new(count, unit))
    }

    fn data() -> impl Strategy<Value = Data> {
        let ticker = (dec(), prop::collection::vec(opt(dec()), 14), opt(any::<u64>()), unit()).prop_map(
            |(last, some, trades, volume_unit)| {
                Data::Ticker(Box::new(Ticker {
                    last,
                    last_size: some[0],
                    open: some[1],
                    high: some[2],
                    low: some[3],
                    prev_close: some[4],
                    change: some[5],
                    change_pct: some[6],
                    vwap: some[7],
                    volume: some[8],
                    quote_volume: some[9],
                    bid: some[10],
                    bid_size: some[11],
                    ask: some[12],
                    ask_size: some[13],
                    trades,
                    volume_unit,
                }))
            },
        );
        let quote = (opt(dec()), opt(dec()), opt(dec()), opt(dec()), unit()).prop_map(
            |(bid, bid_size, ask, ask_size, volume_unit)| {
                Data::Quote(Quote { bid, bid_size, ask, ask_size, volume_unit })
            },
        );
        let side = prop_oneof![Just(None), Just(Some(Side::Buy)), Just(Some(Side::Sell))];
        let trade = (opt(name()), dec(), dec(), side, unit())
            .prop_map(|(id, price, size, side, volume_unit)| Data::Trade(Trade { id, price, size, side, volume_unit }));
        let times = (any::<i64>(), opt(any::<i64>()));
        let bar =
            (opt(interval()), times, prop::collection::vec(dec(), 6), opt(any::<u64>()), opt(any::<bool>()), unit())
                .prop_map(|(interval, (start, end), decs, trades, closed, volume_unit)| {
                    Data::Bar(Box::new(Bar {
                        interval,
                        start: UnixNanos::from_nanos(start),
                        end: end.map(UnixNanos::from_nanos),
                        open: decs[0],
                        high: decs[1],
                        low: decs[2],
                        close: decs[3],
                        volume: trades.map(|_| decs[4]),
                        quote_volume: closed.map(|_| decs[5]),
                        trades,
                        closed,
                        volume_unit,
                    }))
                });
        let levels = || prop::collection::vec((dec(), dec()).prop_map(|(price, size)| Level(price, size)), 0..4);
        let book = (levels(), levels(), opt(any::<u64>()), unit()).prop_map(|(bids, asks, sequence, volume_unit)| {
            Data::Book(Box::new(Book { bids, asks, sequence, volume_unit }))
        });
        let some = || (opt(text()), opt(text()), opt(name()), opt(name()));
        let lists = (prop::collection::vec(text(), 0..3), prop::collection::vec(name(), 0..3));
        let news = (some(), some(), lists).prop_map(
            |((headline, summary, id, language), (url, publisher, _, _), (authors, symbols))| {
                Data::News(Box::new(News { id, headline, summary, url, publisher, authors, symbols, language }))
            },
        );
        let filing =
            (some(), some(), name()).prop_map(|((company, url, form, cik), (_, _, filed, period), accession)| {
                Data::Filing(Box::new(Filing { accession, form, company, cik, url, filed, period }))
            });
        let observation = (opt(name()), name(), opt(dec()), opt(name()))
            .prop_map(|(series, period, value, unit)| Data::Observation(Observation { series, period, value, unit }));
        let rate = (name(), name(), dec(), opt(name()))
            .prop_map(|(base, quote, value, date)| Data::Rate(Rate { base, quote, value, date }));
        let balance = (name(), dec(), opt(dec()))
            .prop_map(|(asset, free, locked)| Data::Balance(Balance { asset, free, locked }));
        prop_oneof![ticker, quote, trade, bar, book, news, filing, observation, rate, balance]
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_serde_json(
            data in data(),
            seq in any::<u64>(),
            symbol in opt(text()),
            native in opt(text()),
            times in (opt(any::<i64>()), any::<i64>(), any::<i64>()),
            attempt in any::<u64>(),
        ) {
            check(&Record {
                seq,
                symbol: symbol.map(Symbol::new),
                native: native.map(Native::new),
                ts_event: times.0.map(UnixNanos::from_nanos),
                ts_recv: UnixNanos::from_nanos(times.1),
                ts_publish: UnixNanos::from_nanos(times.2),
                attempt,
                ..record(data)
            });
        }
    }

    #[test]
    fn every_byte_is_escaped_as_json_wants_it() {
        for byte in 0..=0x7f_u8 {
            for at in 0..17 {
                let mut text = "a".repeat(at);
                text.push(char::from(byte));
                text.push_str(&"é".repeat(5));
                check(&record(Data::Rate(Rate { base: text.into(), ..Rate::default() })));
            }
        }
    }

    #[test]
    fn decimals_keep_sign_and_places() {
        for text in ["0", "0.000", "-0.5", "-12.50", "0.0000000000000000000000000001", "-79228162514264337593543950335"]
        {
            let mut out = Vec::new();
            quoted_dec(text.parse().unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{text}\""));
        }
    }
}
