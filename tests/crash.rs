//! Two hundred kills of the program under load, at random moments: what stands in the journal is sound and goes on
//! without a gap or a repeat, nothing that a sink was given is gone or changed, and every sink has everything in the end.
//!
//! A sink is given only what has been synced. So a line that the endpoint or the file had before a kill is one that was
//! durable, and has to stand in the journal at its number, byte for byte, after any number of kills. Two lanes, each
//! with a data directory of its own, share the rounds; both cores are busy, which moves the moments further. A kill leaves
//! the kernel's cache alone: what a disk loses is tested beside the journal, through the seam in its file operations.

mod common;

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::{Endpoint, FINE, Folder, Reply, seq_of, simulator};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use tidegate::collector::{JournalReader, Reading};

#[test]
fn two_hundred_kills_lose_nothing_and_repeat_no_number() {
    let sim = simulator();
    let toml = sim.toml(None, None).unwrap();
    // The second lane syncs after every batch.
    let lanes = ["20ms", "0s"].map(|interval| {
        let toml = toml.clone();
        std::thread::spawn(move || Lane::new(&toml, interval).run())
    });
    let seen: Vec<Seen> = lanes.into_iter().map(|lane| lane.join().unwrap()).collect();
    sim.stop().unwrap();
    for seen in &seen {
        eprintln!("{seen:?}");
        // Without these the kills would have hit an idle engine.
        assert!(seen.records > 500 && seen.held_to_account > 500, "{seen:?}");
    }
}

/// What a lane has gone through.
#[derive(Debug, Default)]
struct Seen {
    kills: u32,
    /// Kills that left the beginning of a frame.
    torn: u32,
    records: usize,
    /// Lines that sinks had and that were found in the journal; one that came twice counts twice.
    held_to_account: usize,
}

struct Lane {
    folder: Folder,
    interval: &'static str,
    came: Receiver<String>,
    /// Every line of the journal so far; number 1 is first.
    lines: Vec<String>,
    /// Which of them the endpoint and the file have.
    sinks: [(&'static str, Vec<bool>); 2],
    /// Up to where the file of the file sink has been read.
    read_to: u64,
    random: fastrand::Rng,
    seen: Seen,
}

impl Lane {
    fn new(toml: &str, interval: &'static str) -> Lane {
        let folder = Folder::new(&format!("crash-{interval}"));
        let endpoint = Endpoint::down();
        let address = endpoint.address;
        folder.write(
            "t.toml",
            &format!(
                "{toml}\n[journal]\nsegment_bytes = \"64KiB\"\nfsync_interval = \"{interval}\"\n\
                 [[sinks]]\ntype = \"http\"\nname = \"db\"\nurl = \"http://{address}/in\"\nbatch_age = \"20ms\"\n\
                 [[sinks]]\ntype = \"file\"\nname = \"lines\"\npath = \"lines.ndjson\"\n\
                 [[sinks]]\ntype = \"parquet\"\nname = \"pq\"\ndir = \"pq\"\n"
            ),
        );
        let count = Arc::new(AtomicU32::new(0));
        let came = endpoint.up(move |_| match count.fetch_add(1, Ordering::Relaxed) % 23 {
            7 => Reply::Say(500, "busy"),
            15 => Reply::Reset,
            _ => FINE,
        });
        let sinks = [("db", Vec::new()), ("lines", Vec::new())];
        let (lines, random) = (Vec::new(), fastrand::Rng::new());
        Lane { folder, interval, came, lines, sinks, read_to: 0, random, seen: Seen::default() }
    }

    fn run(mut self) -> Seen {
        // A kill may come before the first run has made the folders, and then there is nothing to look at.
        self.end_in_order();
        for round in 1..=KILLS_PER_LANE {
            let mut child = self.command("60s").spawn().unwrap();
            let lived = Duration::from_millis(self.random.u64(5..=900));
            // The moment of the kill is the subject, and not a condition that could be waited for.
            std::thread::sleep(lived);
            if round % 10 == 0 {
                self.verify("beside it");
            }
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert!(status.code().is_none(), "it had ended by itself: {status}");
            self.seen.kills += 1;
            let told = self.verify(&format!("round {round}, killed after {lived:?}"));
            self.seen.torn += u32::from(told.contains("torn"));
            self.follow();
            self.hold_sinks_to_account();
            if round % ORDERLY_EVERY == 0 {
                self.end_in_order();
            }
        }
        self.seen.records = self.lines.len();
        self.seen
    }

    fn command(&self, time: &str) -> std::process::Command {
        let mut command =
            self.folder.command(&["load", "--config", "t.toml", "--rate", "500", "--for", time, "--data", "data"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command
    }

    fn verify(&self, when: &str) -> String {
        let verified = self.folder.run(&["verify", "--data", "data"]);
        let told = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
        assert!(verified.status.success(), "{}: {when}: {told}", self.interval);
        told
    }

    /// Reads what stands in the journal: all that was there is there, and what is behind it goes on by one.
    fn follow(&mut self) {
        let overlap = self.lines.len().saturating_sub(OVERLAP);
        let found = self.read(overlap as u64 + 1);
        let known = &self.lines[overlap..];
        assert!(found.len() >= known.len(), "{} records were there, {} are", known.len(), found.len());
        for (line, known) in found.iter().zip(known) {
            assert_eq!(line, known, "{}: a record has changed", self.interval);
        }
        self.lines.extend_from_slice(&found[known.len()..]);
    }

    fn read(&self, from: u64) -> Vec<String> {
        let mut reader = JournalReader::open(&self.folder.path("data/journal"), from);
        let mut lines = Vec::new();
        loop {
            match reader.read().unwrap() {
                Reading::Batch(batch) => {
                    let text = std::str::from_utf8(batch.lines).unwrap();
                    for line in text.lines() {
                        assert_eq!(seq_of(line), Some(from + lines.len() as u64), "{}", self.interval);
                        lines.push(line.to_owned());
                    }
                }
                Reading::Gap(seqs, why) => panic!("{}: {seqs:?} are missing: {why}", self.interval),
                Reading::Waiting => return lines,
            }
        }
    }

    /// What sinks were given stands in the journal, and they have what their offsets say.
    fn hold_sinks_to_account(&mut self) {
        let bodies: Vec<String> = self.came.try_iter().collect();
        let file = self.new_lines_of_the_file();
        for (index, texts) in [bodies, vec![file]].iter().enumerate() {
            for line in texts.iter().flat_map(|text| text.lines()) {
                let (name, has) = &mut self.sinks[index];
                let at = seq_of(line).unwrap() as usize - 1;
                assert_eq!(self.lines.get(at).map(String::as_str), Some(line), "{name} had what the journal has not");
                has.resize(self.lines.len(), false);
                has[at] = true;
                self.seen.held_to_account += 1;
            }
        }
        for (name, has) in &self.sinks {
            let Ok(offset) = std::fs::read(self.folder.path(&format!("data/state/offsets/{name}.json"))) else {
                continue;
            };
            let offset: serde_json::Value = serde_json::from_slice(&offset).unwrap();
            let committed = offset["seq"].as_u64().unwrap() as usize;
            let missing = (0..committed).find(|at| !has.get(*at).is_some_and(|has| *has));
            assert_eq!(missing, None, "{}: {name} has committed {committed}", self.interval);
        }
    }

    fn new_lines_of_the_file(&mut self) -> String {
        let Ok(mut file) = std::fs::File::open(self.folder.path("lines.ndjson")) else { return String::new() };
        let mut text = String::new();
        file.seek(SeekFrom::Start(self.read_to)).unwrap();
        file.read_to_string(&mut text).unwrap();
        // Half a line that a kill left is cut by the next run.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        self.read_to += text.len() as u64;
        text
    }

    /// A run to its end: every sink has everything, and plain zstd reads what our reader does.
    fn end_in_order(&mut self) {
        let ended = self.command("200ms").status().unwrap();
        assert!(ended.success(), "{}: {ended}", self.interval);
        assert!(!self.verify("in order").contains("torn"));
        self.follow();
        self.hold_sinks_to_account();
        for (name, has) in &self.sinks {
            let missing = (0..self.lines.len()).find(|at| !has.get(*at).is_some_and(|has| *has));
            assert_eq!(missing, None, "{}: {name} has not everything", self.interval);
        }
        let all = self.read(1);
        assert!(all == self.lines, "{}: the journal is not what it was", self.interval);
        let mut segments: Vec<_> =
            std::fs::read_dir(self.folder.path("data/journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
        segments.sort();
        let plain: Vec<u8> =
            segments.iter().flat_map(|path| zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).collect();
        assert!(std::str::from_utf8(&plain).unwrap().lines().eq(self.lines.iter()), "{}", self.interval);
        self.check_parquet();
    }

    fn check_parquet(&self) {
        let mut times = HashMap::<u64, u32>::new();
        let mut folders = vec![self.folder.path("pq")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "parquet") {
                    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
                    for row in reader.get_row_iter(None).unwrap() {
                        *times.entry(row.unwrap().get_ulong(0).unwrap()).or_default() += 1;
                    }
                }
            }
        }
        let missing = (1..=self.lines.len() as u64).find(|seq| !times.contains_key(seq));
        assert_eq!(missing, None, "{}: the parquet files have not everything", self.interval);
        assert_eq!(times.len(), self.lines.len(), "{}: they have what the journal has not", self.interval);
    }
}

const KILLS_PER_LANE: u32 = 100;
const ORDERLY_EVERY: u32 = 25;
/// How much of what was known is read again after each kill; all of it is when a run ended in order.
const OVERLAP: usize = 2_000;
