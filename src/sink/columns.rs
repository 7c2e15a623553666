//! Records as columns: which columns each kind has, their Parquet types, and the values of many records, column by
//! column. Owns no file.
//! Invariant: nothing is rounded or left out: a record with a value that fits no column exactly carries its whole data as
//! JSON in `data_json`.

use parquet::data_type::{ByteArray, FixedLenByteArray};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::{Dec, Kind};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Dec,
    Flag,
    Int,
    Levels,
    Text,
    Texts,
    Time,
}

/// A line of the journal, as far as columns need it.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) source: String,
    pub(super) kind: Kind,
    symbol: Option<String>,
    native: Option<String>,
    pub(super) ts_event: Option<i64>,
    pub(super) ts_recv: Option<i64>,
    ts_publish: Option<i64>,
    attempt: Option<i64>,
    data: Map<String, Value>,
}

/// The values of one leaf column with their levels.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) values: Values,
    /// One per place: 1 where there is a value. Empty for a column that always has one.
    pub(super) definitions: Vec<i16>,
    /// One per place: 0 where a record begins. Empty for a column that is no list.
    pub(super) repetitions: Vec<i16>,
}

/// Values by their physical type.
#[derive(Debug)]
pub(super) enum Values {
    /// Booleans.
    Flags(Vec<bool>),
    /// Decimals.
    Fixed(Vec<FixedLenByteArray>),
    /// Integers and times.
    Ints(Vec<i64>),
    /// Texts.
    Texts(Vec<ByteArray>),
}

/// Records of one kind, column by column.
#[derive(Debug)]
pub(super) struct Columns {
    kind: Kind,
    pub(super) leaves: Vec<Leaf>,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) rows: usize,
}

impl Columns {
    /// No records yet.
    pub(super) fn new(kind: Kind) -> Self {
        let mut leaves = vec![Leaf::new(Form::Int)];
        for (_, form) in HEAD.iter().chain(data_columns(kind)).chain(TAIL) {
            leaves.push(Leaf::new(*form));
            if *form == Form::Levels {
                leaves.push(Leaf::new(*form));
            }
        }
        Columns { kind, leaves, first_seq: 0, last_seq: 0, rows: 0 }
    }

    /// Adds a record.
    pub(super) fn push(&mut self, line: &Line) {
        let mut leaves = self.leaves.iter_mut();
        let mut next = || leaves.next();
        if let Some(Leaf { values: Values::Ints(values), .. }) = next() {
            values.push(line.seq as i64);
        }
        let heads = [line.symbol.as_deref(), line.native.as_deref()];
        heads.into_iter().for_each(|head| push(next(), head.map(text)));
        let times = [line.ts_event, line.ts_recv, line.ts_publish];
        times.into_iter().for_each(|time| push(next(), time.map(One::Int)));
        push(next(), line.attempt.map(One::Int));
        let (mut known, mut fits) = (0, true);
        for (name, form) in data_columns(self.kind) {
            let value = line.data.get(*name);
            known += usize::from(value.is_some());
            match form {
                Form::Levels => {
                    let (prices, sizes) = (next(), next());
                    fits &= push_levels(prices, sizes, value);
                }
                Form::Texts => fits &= push_texts(next(), value),
                form => {
                    let one = value.and_then(|value| convert(*form, value));
                    fits &= value.is_none() || one.is_some();
                    push(next(), one);
                }
            }
        }
        fits &= known == line.data.len();
        let whole = (!fits).then(|| text(&Value::Object(line.data.clone()).to_string()));
        push(next(), whole);
        self.first_seq = if self.rows == 0 { line.seq } else { self.first_seq.min(line.seq) };
        self.last_seq = self.last_seq.max(line.seq);
        self.rows += 1;
    }
}

impl Leaf {
    fn new(form: Form) -> Self {
        let values = match form {
            Form::Dec | Form::Levels => Values::Fixed(Vec::new()),
            Form::Flag => Values::Flags(Vec::new()),
            Form::Int | Form::Time => Values::Ints(Vec::new()),
            Form::Text | Form::Texts => Values::Texts(Vec::new()),
        };
        Leaf { values, definitions: Vec::new(), repetitions: Vec::new() }
    }

    fn add(&mut self, one: One) {
        match (&mut self.values, one) {
            (Values::Flags(values), One::Flag(value)) => values.push(value),
            (Values::Fixed(values), One::Dec(value)) => values.push(value),
            (Values::Ints(values), One::Int(value)) => values.push(value),
            (Values::Texts(values), One::Text(value)) => values.push(value),
            _ => debug_assert!(false, "a value of another column"),
        }
    }
}

/// The schema of a kind's files, in Parquet's own notation.
pub(super) fn schema(kind: Kind) -> String {
    let mut text = format!("message {kind} {{ required int64 seq (INTEGER(64,false));");
    for (name, form) in HEAD.iter().chain(data_columns(kind)).chain(TAIL) {
        let name = if *name == "date" { DATE } else { name };
        text.push_str(&match form {
            Form::Dec => format!("optional fixed_len_byte_array(16) {name} ({DECIMAL});"),
            Form::Flag => format!("optional boolean {name};"),
            Form::Int => format!("optional int64 {name} (INTEGER(64,false));"),
            Form::Levels => format!(
                "required group {name} (LIST) {{ repeated group list {{ required group element {{ \
                 required fixed_len_byte_array(16) price ({DECIMAL}); \
                 required fixed_len_byte_array(16) size ({DECIMAL}); }} }} }}"
            ),
            Form::Text => format!("optional binary {name} (STRING);"),
            Form::Texts => format!(
                "required group {name} (LIST) {{ repeated group list {{ required binary element (STRING); }} }}"
            ),
            Form::Time => format!("optional int64 {name} (TIMESTAMP(NANOS,true));"),
        });
    }
    text.push('}');
    text
}

/// One value on its way into a column.
enum One {
    Dec(FixedLenByteArray),
    Flag(bool),
    Int(i64),
    Text(ByteArray),
}

fn text(text: &str) -> One {
    One::Text(ByteArray::from(text.as_bytes().to_vec()))
}

fn push(leaf: Option<&mut Leaf>, one: Option<One>) {
    let Some(leaf) = leaf else { return };
    leaf.definitions.push(i16::from(one.is_some()));
    if let Some(one) = one {
        leaf.add(one);
    }
}

/// Adds one record's list; an empty one takes a place without a value.
fn push_list(leaf: Option<&mut Leaf>, list: Vec<One>) {
    let Some(leaf) = leaf else { return };
    if list.is_empty() {
        leaf.definitions.push(0);
        leaf.repetitions.push(0);
    }
    for (index, one) in list.into_iter().enumerate() {
        leaf.definitions.push(1);
        leaf.repetitions.push(i16::from(index > 0));
        leaf.add(one);
    }
}

fn push_texts(leaf: Option<&mut Leaf>, value: Option<&Value>) -> bool {
    let list = match value {
        None => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(text)).collect(),
        Some(_) => None,
    };
    let fits = list.is_some();
    push_list(leaf, list.unwrap_or_default());
    fits
}

fn push_levels(prices: Option<&mut Leaf>, sizes: Option<&mut Leaf>, value: Option<&Value>) -> bool {
    let level = |level: &Value| match level.as_array().map(Vec::as_slice) {
        Some([price, size]) => Some((convert(Form::Dec, price)?, convert(Form::Dec, size)?)),
        _ => None,
    };
    let list: Option<Vec<(One, One)>> = match value {
        None => Some(Vec::new()),
        Some(Value::Array(levels)) => levels.iter().map(level).collect(),
        Some(_) => None,
    };
    let fits = list.is_some();
    let (left, right) = list.unwrap_or_default().into_iter().unzip();
    push_list(prices, left);
    push_list(sizes, right);
    fits
}

/// The value for a plain column; `None` when it does not fit exactly.
fn convert(form: Form, value: &Value) -> Option<One> {
    match form {
        Form::Dec => decimal(value.as_str()?.parse().ok()?).map(One::Dec),
        Form::Flag => value.as_bool().map(One::Flag),
        Form::Int => value.as_u64().map(|value| One::Int(value as i64)),
        Form::Text => value.as_str().map(text),
        Form::Time => value.as_i64().map(One::Int),
        Form::Levels | Form::Texts => None,
    }
}

/// The big-endian integer of a decimal with [`PLACES`] places; `None` when it has more digits on either side.
fn decimal(dec: Dec) -> Option<FixedLenByteArray> {
    let (mut mantissa, mut places) = (dec.mantissa(), dec.places());
    while places > PLACES {
        if mantissa % 10 != 0 {
            return None;
        }
        mantissa /= 10;
        places -= 1;
    }
    let value = mantissa.checked_mul(10_i128.pow(PLACES - places))?;
    let fits = value.unsigned_abs() < 10_u128.pow(DIGITS);
    fits.then(|| FixedLenByteArray::from(ByteArray::from(value.to_be_bytes().to_vec())))
}

/// The columns of a kind's data, by their names in the record.
const fn data_columns(kind: Kind) -> &'static [(&'static str, Form)] {
    use Form::{Dec, Flag, Int, Levels, Text, Texts, Time};
    match kind {
        Kind::Ticker => &[
            ("last", Dec),
            ("last_size", Dec),
            ("open", Dec),
            ("high", Dec),
            ("low", Dec),
            ("prev_close", Dec),
            ("change", Dec),
            ("change_pct", Dec),
            ("vwap", Dec),
            ("volume", Dec),
            ("quote_volume", Dec),
            ("bid", Dec),
            ("bid_size", Dec),
            ("ask", Dec),
            ("ask_size", Dec),
            ("trades", Int),
            ("volume_unit", Text),
        ],
        Kind::Quote => &[("bid", Dec), ("bid_size", Dec), ("ask", Dec), ("ask_size", Dec), ("volume_unit", Text)],
        Kind::Trade => &[("id", Text), ("price", Dec), ("size", Dec), ("side", Text), ("volume_unit", Text)],
        Kind::Bar => &[
            ("interval", Text),
            ("start", Time),
            ("end", Time),
            ("open", Dec),
            ("high", Dec),
            ("low", Dec),
            ("close", Dec),
            ("volume", Dec),
            ("quote_volume", Dec),
            ("trades", Int),
            ("closed", Flag),
            ("volume_unit", Text),
        ],
        Kind::Book => &[("bids", Levels), ("asks", Levels), ("sequence", Int), ("volume_unit", Text)],
        Kind::News => &[
            ("id", Text),
            ("headline", Text),
            ("summary", Text),
            ("url", Text),
            ("publisher", Text),
            ("authors", Texts),
            ("symbols", Texts),
            ("language", Text),
        ],
        Kind::Filing => &[
            ("accession", Text),
            ("form", Text),
            ("company", Text),
            ("cik", Text),
            ("url", Text),
            ("filed", Text),
            ("period", Text),
        ],
        Kind::Observation => &[("series", Text), ("period", Text), ("value", Dec), ("unit", Text)],
        Kind::Rate => &[("base", Text), ("quote", Text), ("value", Dec), ("date", Text)],
        Kind::Balance => &[("asset", Text), ("free", Dec), ("locked", Dec)],
    }
}

/// Columns of every kind, after `seq` and before the data. `kind`, `source` and the date are in the path.
const HEAD: &[(&str, Form)] = &[
    ("symbol", Form::Text),
    ("native", Form::Text),
    ("ts_event", Form::Time),
    ("ts_recv", Form::Time),
    ("ts_publish", Form::Time),
    ("attempt", Form::Int),
];
const TAIL: &[(&str, Form)] = &[("data_json", Form::Text)];
/// A rate's own date: `date` is the folder's, and readers refuse a column that comes from both.
const DATE: &str = "rate_date";
/// The same in all files, so that they can be read together: what providers send has at most 18 places (wei).
const DECIMAL: &str = "DECIMAL(38,18)";
const DIGITS: u32 = 38;
const PLACES: u32 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_fit_exactly_or_not_at_all() {
        let check = |text: &str, expected: Option<i128>| {
            let found =
                decimal(text.parse().unwrap()).map(|bytes| i128::from_be_bytes(bytes.data().try_into().unwrap()));
            assert_eq!(found, expected, "{text}");
        };
        check("0", Some(0));
        check("-1.50", Some(-1_500_000_000_000_000_000));
        check("0.000000000000000001", Some(1));
        check("0.0000000000000000010", Some(1));
        check("0.0000000000000000001", None);
        check("99999999999999999999", Some(99_999_999_999_999_999_999 * 10_i128.pow(18)));
        check("100000000000000000000", None);
        check("79228162514264337593543950335", None);
    }

    #[test]
    fn every_schema_parses_and_has_the_leaves_it_promises() {
        for kind in Kind::ALL {
            let parsed = parquet::schema::parser::parse_message_type(&schema(kind)).unwrap();
            let descriptor = parquet::schema::types::SchemaDescriptor::new(parsed.into());
            assert_eq!(descriptor.num_columns(), Columns::new(kind).leaves.len(), "{kind}");
        }
    }

    #[test]
    fn what_fits_no_column_goes_along_whole() {
        let line = |data: &str| -> Line {
            serde_json::from_str(&format!(r#"{{"seq":7,"source":"x","kind":"rate","data":{data}}}"#)).unwrap()
        };
        let mut columns = Columns::new(Kind::Rate);
        columns.push(&line(r#"{"base":"EUR","quote":"USD","value":"1.1"}"#));
        columns.push(&line(r#"{"base":"EUR","quote":"USD","value":"0.0000000000000000000000001"}"#));
        columns.push(&line(r#"{"base":"EUR","quote":"USD","value":"2","later":1}"#));
        let whole = columns.leaves.last().unwrap();
        assert_eq!(whole.definitions, [0, 1, 1]);
        assert_eq!((columns.rows, columns.first_seq, columns.last_seq), (3, 7, 7));
    }
}
