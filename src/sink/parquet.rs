//! The sink of Parquet files, partitioned by kind, source and day (`kind=trade/source=kraken/date=2024-11-01/`), for
//! DuckDB, pandas and the like. The day is that of `ts_event`, or of `ts_recv` without one, in UTC.
//! Invariant: only complete files have their name: each is written aside, made durable and renamed; the offset moves
//! only when nothing is held in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArrayType, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::model::Kind;
use crate::sink::columns::{Columns, Line, Values, schema};
use crate::sink::{Refusal, Sink, SinkBatch};
use crate::time::{Mono, UnixNanos};

/// Parquet files under a folder.
#[derive(Debug)]
pub struct Parquet {
    dir: PathBuf,
    held: BTreeMap<(Kind, String, String), Columns>,
    rows: usize,
    bytes: usize,
    /// When the first of the records held came.
    since: Mono,
}

impl Parquet {
    /// A sink of files under `dir`.
    pub fn new(dir: &Path) -> Self {
        Parquet { dir: dir.to_owned(), held: BTreeMap::new(), rows: 0, bytes: 0, since: Mono::default() }
    }

    /// Writes what is held, partition by partition; what is written is not held any more.
    fn flush(&mut self) -> Result<(), Refusal> {
        while let Some((partition, columns)) = self.held.pop_first() {
            let (kind, source, date) = &partition;
            let dir =
                self.dir.join(format!("kind={kind}")).join(format!("source={source}")).join(format!("date={date}"));
            if let Err(error) = write(&dir, *kind, &columns) {
                self.held.insert(partition, columns);
                return Err(Refusal::Retry(format!("cannot write to {}: {error}", dir.display()), None));
            }
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.bytes >= BYTES_MAX || self.held.len() >= PARTITIONS_MAX
    }
}

impl Sink for Parquet {
    fn deliver(&mut self, batch: &SinkBatch<'_>) -> Result<(), Refusal> {
        if self.is_full() {
            self.flush()?;
        }
        let lines: Result<Vec<Line>, _> = batch
            .lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice::<Line>)
            .collect();
        let lines = lines.map_err(|error| Refusal::Dead(format!("a line that is no record: {error}")))?;
        if self.rows == 0 {
            self.since = Mono::now();
        }
        for line in &lines {
            let at = UnixNanos::from_nanos(line.ts_event.or(line.ts_recv).unwrap_or_default());
            let date = at.to_string().chars().take_while(|char| *char != 'T').collect();
            let partition = (line.kind, line.source.clone(), date);
            self.held.entry(partition).or_insert_with(|| Columns::new(line.kind)).push(line);
        }
        self.rows += lines.len();
        self.bytes += batch.lines.len();
        Ok(())
    }

    fn settle(&mut self, force: bool) -> Result<bool, Refusal> {
        if self.rows == 0 {
            return Ok(true);
        }
        if !force && !self.is_full() && Mono::now().since(self.since) < AGE_MAX {
            return Ok(false);
        }
        self.flush()?;
        Ok(true)
    }

    fn due_in(&self) -> Option<Duration> {
        (self.rows > 0).then(|| if self.is_full() { Duration::ZERO } else { (self.since + AGE_MAX).since(Mono::now()) })
    }
}

/// Writes one complete file into `dir`.
fn write(dir: &Path, kind: Kind, columns: &Columns) -> Result<(), ParquetError> {
    fs::create_dir_all(dir)?;
    // One writer per folder: what a kill left is written over.
    let aside = dir.join(".being-written.tmp");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let schema = Arc::new(parse_message_type(&schema(kind))?);
    let out = BufWriter::with_capacity(256 << 10, File::create(&aside)?);
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let mut leaves = columns.leaves.iter();
    while let Some(mut column) = group.next_column()? {
        let Some(leaf) = leaves.next() else {
            return Err(ParquetError::General("more columns in the schema than values".to_owned()));
        };
        let some = |levels: &'_ Vec<i16>| !levels.is_empty();
        let definitions = some(&leaf.definitions).then_some(leaf.definitions.as_slice());
        let repetitions = some(&leaf.repetitions).then_some(leaf.repetitions.as_slice());
        match &leaf.values {
            Values::Flags(values) => column.typed::<BoolType>().write_batch(values, definitions, repetitions)?,
            Values::Fixed(values) => {
                column.typed::<FixedLenByteArrayType>().write_batch(values, definitions, repetitions)?
            }
            Values::Ints(values) => column.typed::<Int64Type>().write_batch(values, definitions, repetitions)?,
            Values::Texts(values) => column.typed::<ByteArrayType>().write_batch(values, definitions, repetitions)?,
        };
        column.close()?;
    }
    group.close()?;
    let out = writer.into_inner()?;
    let file = out.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()?;
    let name = format!("{:020}-{:020}.parquet", columns.first_seq, columns.last_seq);
    fs::rename(&aside, dir.join(name))?;
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// Records held in memory at most.
const ROWS_MAX: usize = 200_000;
/// Bytes of lines held at most; as columns they take about as much.
const BYTES_MAX: usize = 64 << 20;
/// Files one flush makes at most: a backfill over years has a partition per day.
const PARTITIONS_MAX: usize = 512;
/// A record is in a file after this time, and half a minute on average.
const AGE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    #[test]
    fn files_read_back_with_decimals_nanoseconds_and_lists() {
        let dir = std::env::temp_dir().join(format!("tidegate-parquet-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let lines = concat!(
            r#"{"seq":1,"source":"kraken","kind":"trade","symbol":"BTC-USD","ts_event":1730419200000000001,"ts_recv":5,"data":{"id":"9","price":"60000.10","size":"0.00000001","side":"buy"}}"#,
            "\n",
            r#"{"seq":2,"source":"kraken","kind":"book","symbol":"BTC-USD","ts_recv":86400000000000,"data":{"bids":[["1.5","2"],["1.4","3"]],"asks":[],"sequence":18446744073709551615}}"#,
            "\n",
            r#"{"seq":3,"source":"kraken","kind":"trade","symbol":"ETH-USD","ts_event":1730419200000000002,"ts_recv":5,"data":{"price":"2500","size":"1"}}"#,
            "\n",
        );
        let mut sink = Parquet::new(&dir);
        sink.deliver(&SinkBatch { first_seq: 1, count: 3, lines: lines.as_bytes() }).unwrap();
        assert!(!sink.settle(false).unwrap());
        assert!(sink.settle(true).unwrap());
        let rows = |path: &str| -> Vec<String> {
            let reader = SerializedFileReader::new(File::open(dir.join(path)).unwrap()).unwrap();
            reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect()
        };
        let trades = rows("kind=trade/source=kraken/date=2024-11-01/00000000000000000001-00000000000000000003.parquet");
        assert_eq!(trades.len(), 2);
        assert!(
            trades[0].contains("price: 60000.100000000000000000") && trades[0].contains("size: 0.000000010000000000"),
            "{trades:?}"
        );
        assert!(trades[1].contains("id: null"), "{trades:?}");
        let books = rows("kind=book/source=kraken/date=1970-01-02/00000000000000000002-00000000000000000002.parquet");
        assert!(books[0].contains("bids: [{price: 1.500000000000000000, size: 2.000000000000000000}"), "{books:?}");
        assert!(books[0].contains("asks: []") && books[0].contains("sequence: 18446744073709551615"), "{books:?}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_line_that_is_no_record_is_refused_for_good() {
        let mut sink = Parquet::new(Path::new("/proc/tidegate"));
        let refused = sink.deliver(&SinkBatch { first_seq: 1, count: 1, lines: b"{}\n" });
        assert!(matches!(refused, Err(Refusal::Dead(_))), "{refused:?}");
        assert!(sink.settle(true).unwrap());
    }
}
