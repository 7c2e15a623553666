//! Writing, tearing, flipping, refusing: the journal against what disks and kills do to it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::format::{SegmentHeader, segment_path};
use super::*;
use crate::runtime::{Placement, launch};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-journal-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn on_core<T: Send + 'static, F: Future<Output = T>>(main: impl FnOnce() -> F + Send + 'static) -> T {
    launch("journal", Placement::Unpinned, main).unwrap().join().unwrap()
}

fn line(seq: u64) -> String {
    format!(
        "{{\"seq\":{seq},\"source\":\"binance\",\"kind\":\"trade\",\"data\":{{\"price\":\"{}.5\"}}}}\n",
        seq * 7919 % 1_000
    )
}

fn lines(first: u64, count: u64) -> Vec<u8> {
    (first..first + count).flat_map(|seq| line(seq).into_bytes()).collect()
}

/// Appends batches of `sizes`; syncs after each.
async fn append(journal: &mut Journal, sizes: &[u64]) {
    for size in sizes {
        let first = journal.next_seq();
        journal.append(&lines(first, *size), *size, first).await.unwrap();
        journal.sync().await.unwrap();
    }
}

/// Writes a journal of one closed segment.
fn write(dir: &Path, sizes: &'static [u64]) {
    let dir = dir.to_owned();
    on_core(move || async move {
        let (mut journal, _) = Journal::open(&dir, JournalSettings::default(), "r1").unwrap();
        append(&mut journal, sizes).await;
        journal.close().await.unwrap();
    });
}

/// Everything that can be read: records by seq, and what was told to be missing.
fn read_all(dir: &Path, from: u64) -> (Vec<(u64, String)>, Vec<String>) {
    let mut reader = JournalReader::open(dir, from);
    let (mut records, mut told) = (Vec::new(), Vec::new());
    loop {
        match reader.read().unwrap() {
            Reading::Batch(batch) => {
                let text = std::str::from_utf8(batch.lines).unwrap();
                assert_eq!(text.lines().count() as u64, batch.count);
                records.extend(
                    text.split_inclusive('\n').zip(batch.first_seq..).map(|(line, seq)| (seq, line.to_owned())),
                );
            }
            Reading::Gap(seqs, why) => told.push(format!("{seqs:?} {why}")),
            Reading::Waiting => break,
        }
    }
    told.extend(reader.damage().map(str::to_owned));
    (records, told)
}

fn expect_sound(dir: &Path, first: u64, last: u64) {
    let report = verify(dir, 10).unwrap();
    assert_eq!(report.damage, Vec::<String>::new());
    assert_eq!(report.torn_tail, None);
    assert_eq!((report.first_seq, report.last_seq), (first, last));
    assert_eq!(report.records, last + 1 - first);
    let (records, told) = read_all(dir, 0);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(records, (first..=last).map(|seq| (seq, line(seq))).collect::<Vec<_>>());
}

#[test]
fn what_is_written_reads_back_and_plain_zstd_reads_it_too() {
    let folder = Folder::new("plain");
    write(&folder.0, &[3, 1, 500]);
    expect_sound(&folder.0, 1, 504);
    let file = std::fs::File::open(segment_path(&folder.0, 1)).unwrap();
    assert_eq!(zstd::stream::decode_all(file).unwrap(), lines(1, 504));
    assert_eq!(read_all(&folder.0, 3).0.first().unwrap().0, 3);
    assert_eq!(read_all(&folder.0, 505).0, Vec::new());
}

#[test]
fn segments_rotate_and_runs_go_on() {
    let folder = Folder::new("rotate");
    let dir = folder.0.clone();
    let settings = JournalSettings { segment_bytes: 300, ..JournalSettings::default() };
    on_core(move || async move {
        for run in 0..3 {
            let (mut journal, recovery) = Journal::open(&dir, settings.clone(), "r").unwrap();
            assert_eq!(recovery.last_seq, run * 50);
            append(&mut journal, &[10; 5]).await;
            assert!(journal.segment_count() > 1);
            // A run that is killed closes nothing.
            if run == 1 {
                journal.close().await.unwrap();
            }
        }
    });
    expect_sound(&folder.0, 1, 150);
}

#[test]
fn a_cut_at_any_byte_of_the_last_two_frames_is_repaired() {
    let folder = Folder::new("torn");
    write(&folder.0, &[5, 4, 3]);
    let path = segment_path(&folder.0, 1);
    let whole = std::fs::read(&path).unwrap();
    let mut ends = vec![0_usize];
    let mut segment = segment::Segment::open(&path).unwrap();
    while let segment::Step::Batch(_) = segment.step().unwrap() {
        ends.push(segment.position() as usize);
    }
    assert_eq!(ends.len(), 4);
    let dir = folder.0.clone();
    on_core(move || async move {
        for cut in ends[1]..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let report = verify(&dir, 10).unwrap();
            assert!(report.is_sound(), "cut at {cut}: {report:?}");
            assert_eq!(report.torn_tail.is_some(), !ends.contains(&cut), "cut at {cut}");
            let kept = [5, 9, 12][ends[1..].iter().filter(|end| **end <= cut).count() - 1];
            assert_eq!(read_all(&dir, 0).0.len() as u64, kept);
            let (mut journal, recovery) = Journal::open(&dir, JournalSettings::default(), "r2").unwrap();
            assert_eq!((recovery.last_seq, recovery.cuts.len()), (kept, usize::from(!ends.contains(&cut))), "{cut}");
            append(&mut journal, &[2]).await;
            journal.close().await.unwrap();
            expect_sound(&dir, 1, kept + 2);
            std::fs::remove_file(segment_path(&dir, kept + 1)).unwrap();
        }
        // A kill in the very first write leaves less than a header.
        for cut in 0..ends[1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(verify(&dir, 10).unwrap().is_sound(), "cut at {cut}");
            let (journal, recovery) = Journal::open(&dir, JournalSettings::default(), "r2").unwrap();
            assert_eq!((recovery.last_seq, journal.next_seq()), (0, 1), "cut at {cut}");
            assert!(!path.exists());
        }
    });
}

#[test]
fn a_flipped_bit_is_never_silently_wrong() {
    let folder = Folder::new("flip");
    write(&folder.0, &[5, 40, 3, 20]);
    let path = segment_path(&folder.0, 1);
    let whole = std::fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..1_500 {
        let bit = random.usize(..whole.len() * 8);
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &changed).unwrap();
        let (records, told) = read_all(&folder.0, 0);
        records.iter().for_each(|(seq, text)| assert_eq!(*text, line(*seq), "bit {bit}"));
        let report = verify(&folder.0, 10).unwrap();
        if records.len() < 68 {
            assert!(!told.is_empty() || report.torn_tail.is_some(), "bit {bit}: {report:?}");
            assert!(!report.is_sound() || report.torn_tail.is_some(), "bit {bit}: {report:?}");
        }
        let recovery = recover::recover(&folder.0).unwrap();
        let last_sound = records.last().map_or(0, |(seq, _)| *seq);
        assert_eq!(recovery.last_seq, last_sound, "bit {bit}");
        if last_sound < 68 {
            assert!(!recovery.cuts.is_empty(), "bit {bit}");
        }
        std::fs::read_dir(&folder.0).unwrap().for_each(|entry| std::fs::remove_file(entry.unwrap().path()).unwrap());
    }
}

/// A hook that answers the next operations of one sort with what is in the list.
fn faults(operation: Operation, list: impl IntoIterator<Item = Option<Fault>>) -> FaultHook {
    let list = RefCell::new(list.into_iter().collect::<VecDeque<_>>());
    Rc::new(move |asked| if asked == operation { list.borrow_mut().pop_front().flatten() } else { None })
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

#[test]
fn a_refused_batch_can_be_given_again() {
    let folder = Folder::new("full");
    let dir = folder.0.clone();
    // The hook is made on the core: it does not leave it.
    type Faults = fn() -> Vec<Option<Fault>>;
    let checks: Vec<(Operation, Faults, u32)> = vec![
        (Operation::Write, || vec![Some(Fault::Fail(full())), None, Some(Fault::Fail(full()))], 2),
        (Operation::Write, || vec![None, Some(Fault::FailAfter(20, full())), Some(Fault::FailAfter(3, full()))], 2),
        (Operation::Write, || vec![Some(Fault::Short(1)), Some(Fault::Short(5)), None, Some(Fault::Short(9))], 0),
        (Operation::Write, || vec![None, Some(Fault::Short(10)), Some(Fault::Fail(full()))], 1),
        (
            Operation::Create,
            || vec![Some(Fault::Fail(io::Error::from_raw_os_error(libc::EROFS))), Some(Fault::Fail(full()))],
            2,
        ),
        (Operation::SyncDir, || vec![Some(Fault::Fail(full()))], 1),
        (Operation::SyncData, || vec![None, Some(Fault::Fail(full())), Some(Fault::Fail(full()))], 2),
    ];
    on_core(move || async move {
        for (operation, list, refusals) in checks {
            let _ = std::fs::remove_dir_all(&dir);
            let hook = faults(operation, list());
            let opened = Journal::open_with_faults(&dir, JournalSettings::default(), "r1", Some(hook));
            let mut journal = opened.unwrap().0;
            let mut refused = 0;
            for _ in 0..4 {
                let first = journal.next_seq();
                while journal.append(&lines(first, 7), 7, first).await.is_err() {
                    refused += 1;
                }
                while journal.sync().await.is_err() {
                    refused += 1;
                }
            }
            assert_eq!(refused, refusals, "{operation:?}");
            assert_eq!(journal.durable_seq(), 28);
            journal.close().await.unwrap();
            expect_sound(&dir, 1, 28);
        }
    });
}

#[test]
fn what_a_failed_sync_lost_is_written_again() {
    let folder = Folder::new("sync");
    let dir = folder.0.clone();
    on_core(move || async move {
        let hook = faults(Operation::SyncData, [None, Some(Fault::Fail(io::Error::from_raw_os_error(libc::EIO)))]);
        let (mut journal, _) = Journal::open_with_faults(&dir, JournalSettings::default(), "r1", Some(hook)).unwrap();
        append(&mut journal, &[5]).await;
        let path = segment_path(&dir, 1);
        let durable = std::fs::metadata(&path).unwrap().len();
        journal.append(&lines(6, 5), 5, 6).await.unwrap();
        assert!(journal.sync().await.is_err());
        assert_eq!(journal.durable_seq(), 5);
        // The kernel gave the pages up.
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(durable).unwrap();
        append(&mut journal, &[2]).await;
        assert_eq!(journal.durable_seq(), 12);
        journal.close().await.unwrap();
        expect_sound(&dir, 1, 12);
    });
}

#[test]
fn ten_thousand_segments_open_within_a_second() {
    let folder = Folder::new("many");
    let mut packer = compressor().unwrap();
    for first in (1..=30_000).step_by(3) {
        let mut bytes = SegmentHeader::new("r1", first).to_frame();
        bytes.extend_from_slice(&packer.compress(&lines(first, 3)).unwrap());
        std::fs::write(segment_path(&folder.0, first), bytes).unwrap();
    }
    let start = Mono::now();
    let (journal, recovery) = Journal::open(&folder.0, JournalSettings::default(), "r2").unwrap();
    let took = Mono::now().since(start);
    assert_eq!((recovery.last_seq, journal.next_seq()), (30_000, 30_001));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(read_all(&folder.0, 29_000).0.len(), 1_001);
}

#[test]
fn a_reader_follows_the_writer_and_tells_what_is_gone() {
    let folder = Folder::new("follow");
    let dir = folder.0.clone();
    on_core(move || async move {
        let settings = JournalSettings { segment_bytes: 200, ..JournalSettings::default() };
        let (mut journal, _) = Journal::open(&dir, settings, "r1").unwrap();
        let mut reader = JournalReader::open(&dir, 1);
        assert!(matches!(reader.read().unwrap(), Reading::Waiting));
        for round in 0..6_u64 {
            append(&mut journal, &[4]).await;
            match reader.read().unwrap() {
                Reading::Batch(batch) => assert_eq!((batch.first_seq, batch.count), (round * 4 + 1, 4)),
                other => panic!("{other:?}"),
            }
            assert!(matches!(reader.read().unwrap(), Reading::Waiting));
        }
        let place = reader.place().unwrap();
        append(&mut journal, &[4]).await;
        let mut resumed = JournalReader::open_at(&dir, 25, place);
        assert!(matches!(resumed.read().unwrap(), Reading::Batch(batch) if batch.first_seq == 25));
        // A hint that does not fit is not believed.
        let mut misled = JournalReader::open_at(&dir, 2, Place { segment: place.segment, position: 9 });
        assert!(matches!(misled.read().unwrap(), Reading::Batch(batch) if (batch.first_seq, batch.count) == (2, 3)));
        let removed = Cell::new(0);
        for first in (1..24).step_by(4) {
            removed.set(removed.get() + u32::from(std::fs::remove_file(segment_path(&dir, first)).is_ok()));
        }
        assert!(removed.get() > 1);
        let mut late = JournalReader::open(&dir, 2);
        assert!(matches!(late.read().unwrap(), Reading::Gap(seqs, _) if *seqs.start() == 2 && *seqs.end() > 2));
        assert!(matches!(late.read().unwrap(), Reading::Batch(_)));
        journal.close().await.unwrap();
    });
}

#[test]
fn retention_leaves_what_was_not_read() {
    let folder = Folder::new("retain");
    let dir = folder.0.clone();
    on_core(move || async move {
        let settings = JournalSettings { segment_bytes: 100, retention_bytes: 1, ..JournalSettings::default() };
        let (mut journal, _) = Journal::open(&dir, settings.clone(), "r1").unwrap();
        append(&mut journal, &[4; 5]).await;
        assert_eq!(journal.retain(7).await.unwrap(), 1);
        assert_eq!(read_all(&dir, 0).0.first().unwrap().0, 5);
        journal.settings.delete_unread = true;
        assert_eq!(journal.retain(0).await.unwrap(), 3);
        journal.close().await.unwrap();
        expect_sound(&dir, 17, 20);
    });
}
