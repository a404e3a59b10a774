//! Files are put aside, compressed, and thrown away.

use std::io::Read;
use std::time::Instant;

use super::*;
use crate::worker::spec::RotateSpec;

const NOON: Duration = Duration::from_secs(1_795_348_800);

fn rotate(size: &str) -> RotateSpec {
    RotateSpec { size: size.parse().unwrap(), keep: 3, compress: false, ..RotateSpec::default() }
}

fn shelf(folder: &Path, rotate: RotateSpec) -> Shelf {
    Shelf::open(folder, "api", Some(Rules(rotate))).unwrap()
}

/// Names in a folder without their pool and date, and what the files hold.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().replace("2026-11-22T", "");
        let bytes = std::fs::read(&path).unwrap();
        let mut text = String::new();
        match name.ends_with(".gz") {
            true => _ = flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
            false => text = String::from_utf8(bytes).unwrap(),
        }
        files.push((name, text));
    }
    files.sort();
    files
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_iter().map(|(name, _)| name).collect()
}

/// Looks until nothing is left to compress.
fn settle(shelf: &mut Shelf, now: Duration) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        shelf.look(now).unwrap();
        let Some(packing) = &shelf.packing else { return };
        while !packing.is_finished() {
            assert!(Instant::now() < deadline, "compressing takes too long");
            thread::yield_now();
        }
    }
}

#[test]
fn a_full_file_is_put_aside_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = shelf(folder.path(), RotateSpec { keep: 2, ..rotate("100B") });
    for number in 0..8 {
        let now = NOON + Duration::from_secs(number);
        shelf.put(0, &format!("{number} {}\n", "x".repeat(40)), now).unwrap();
        shelf.look(now).unwrap();
    }
    shelf.put(3, "other\n", NOON).unwrap();
    assert_eq!(
        names(folder.path()),
        ["api-0-12-00-04.000.log", "api-0-12-00-06.000.log", "api-0.log", "api-3.log"]
    );
    let text = files(folder.path()).iter().map(|(_, text)| text.clone()).collect::<String>();
    let numbers: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(numbers, ["2", "3", "4", "5", "6", "7", "other"]);
}

#[test]
fn old_files_are_compressed_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut shelf = shelf(folder.path(), RotateSpec { compress: true, ..rotate("10B") });
    for number in 0..4 {
        shelf.put(0, &format!("line {number}\n"), NOON).unwrap();
    }
    settle(&mut shelf, NOON);
    let held = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(
        files(folder.path()),
        [
            held("api-0-12-00-00.000.log.gz", "line 0\n"),
            held("api-0-12-00-00.001.log.gz", "line 1\n"),
            held("api-0-12-00-00.002.log.gz", "line 2\n"),
            held("api-0.log", "line 3\n"),
        ]
    );
    assert_eq!(shelf.rest(NOON), None, "there is nothing to look at any more");
}

#[test]
fn a_file_goes_by_its_age_also_while_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let daily = RotateSpec { age: Some("1d".parse().unwrap()), ..rotate("1MiB") };
    let day = Duration::from_secs(86_400);
    let mut first = shelf(folder.path(), daily.clone());
    first.put(0, "2026-11-22T12:00:00.000Z stdout one\n", NOON).unwrap();
    assert_eq!(first.rest(NOON + day / 2), Some(day / 2));
    drop(first);
    // Another process knows the age by the first line.
    let mut second = shelf(folder.path(), daily.clone());
    second.put(0, "2026-11-23T11:59:59.000Z stdout two\n", NOON + day - Duration::from_secs(1)).unwrap();
    second.look(NOON + day - Duration::from_secs(1)).unwrap();
    assert_eq!(names(folder.path()), ["api-0.log"]);
    second.look(NOON + day).unwrap();
    assert_eq!(names(folder.path()), ["api-0-2026-11-23T12-00-00.000.log"]);
    second.put(0, "2026-11-24T00:00:00.000Z stdout three\n", NOON + day).unwrap();
    drop(second);
    // One that was off for days does not add to an old file.
    shelf(folder.path(), daily).put(0, "late\n", NOON + 9 * day).unwrap();
    let texts: Vec<usize> = files(folder.path()).iter().map(|(_, text)| text.lines().count()).collect();
    assert_eq!(texts, [2, 1, 1]);
}

#[test]
fn an_end_at_any_moment_leaves_every_line_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(b"two\n").unwrap();
    // Put aside and not compressed; compressed halfway; compressed, but the plain file is still there.
    std::fs::write(place("api-0-2026-11-22T10-00-00.000.log"), "zero\n").unwrap();
    std::fs::write(place("api-0-2026-11-22T11-00-00.000.log"), "one\n").unwrap();
    std::fs::write(place("api-0-2026-11-22T11-00-00.000.log.gz.part"), "half").unwrap();
    std::fs::write(place("api-0-2026-11-22T11-30-00.000.log"), "two\n").unwrap();
    std::fs::write(place("api-0-2026-11-22T11-30-00.000.log.gz"), zipped.finish().unwrap()).unwrap();
    std::fs::write(place("api-0.log"), "three\n").unwrap();
    let mut shelf = shelf(folder.path(), RotateSpec { compress: true, ..rotate("1KiB") });
    settle(&mut shelf, NOON);
    shelf.put(0, "four\n", NOON).unwrap();
    let held = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(
        files(folder.path()),
        [
            held("api-0-10-00-00.000.log.gz", "zero\n"),
            held("api-0-11-00-00.000.log.gz", "one\n"),
            held("api-0-11-30-00.000.log.gz", "two\n"),
            held("api-0.log", "three\nfour\n"),
        ]
    );
}

#[test]
fn all_files_together_stay_below_the_total_and_others_files_stay() {
    const TOTAL: u64 = 4000;
    let folder = tempfile::tempdir().unwrap();
    let foreign = ["api.log", "api-0.log.1", "web-0.log", "api-0-notes.log", "notes.txt"];
    for name in foreign {
        std::fs::write(folder.path().join(name), "x".repeat(3000)).unwrap();
    }
    // Of a worker that there is no more.
    std::fs::write(folder.path().join("api-9.log"), "x".repeat(900)).unwrap();
    let total = Some(format!("{TOTAL}B").parse().unwrap());
    let mut shelf = shelf(folder.path(), RotateSpec { keep: 100, total, ..rotate("1000B") });
    let own = |folder: &Path| -> u64 {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let own = names.filter(|entry| Name::parse("api", entry.file_name().to_str().unwrap()).is_some());
        own.map(|entry| entry.metadata().unwrap().len()).sum()
    };
    let mut random = fastrand::Rng::with_seed(7);
    let (mut most, mut asides) = (0, 0);
    for step in 0..3000 {
        let now = NOON + Duration::from_secs(step);
        let line = format!("{}\n", "y".repeat(random.usize(..200)));
        shelf.put(random.u32(..5), &line, now).unwrap();
        shelf.look(now).unwrap();
        most = most.max(own(folder.path()));
        asides = asides.max(names(folder.path()).len());
    }
    assert!((TOTAL / 2..=TOTAL).contains(&most), "at most {most} bytes");
    assert!(asides > foreign.len() + 5, "old files are kept: {:?}", names(folder.path()));
    let left = names(folder.path());
    assert!(foreign.iter().all(|name| left.iter().any(|found| found == name)), "{left:?}");
    assert!(!folder.path().join("api-9.log").exists());
}

#[test]
fn others_may_rename_and_remove_files_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let current = folder.path().join("api-0.log");
    let mut shelf = Shelf::open(folder.path(), "api", None).unwrap();
    std::fs::write(&current, "hal").unwrap();
    shelf.put(0, "one\n", NOON).unwrap();
    std::fs::rename(&current, folder.path().join("api-0.log.1")).unwrap();
    shelf.put(0, "two\n", NOON).unwrap();
    std::fs::remove_file(&current).unwrap();
    shelf.put(0, "three\n", NOON).unwrap();
    assert_eq!(std::fs::read_to_string(&current).unwrap(), "three\n");
    // As `copytruncate` does it.
    File::options().write(true).open(&current).unwrap().set_len(0).unwrap();
    shelf.put(0, "four\n", NOON).unwrap();
    assert_eq!(std::fs::read_to_string(&current).unwrap(), "four\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("api-0.log.1")).unwrap(), "hal\none\n");
    std::fs::remove_dir_all(folder.path()).unwrap();
    shelf.put(0, "five\n", NOON).unwrap();
    assert_eq!(std::fs::read_to_string(&current).unwrap(), "five\n");
}

#[test]
fn what_stands_where_a_file_should_be_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    std::fs::write(place("secret"), "untouched").unwrap();
    std::os::unix::fs::symlink(place("secret"), place("api-0.log")).unwrap();
    std::fs::create_dir(place("api-1.log")).unwrap();
    let pipe = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, place("api-2.log"), rustix::fs::FileType::Fifo, pipe, 0).unwrap();
    let mut shelf = shelf(folder.path(), rotate("1KiB"));
    for worker in 0..3 {
        shelf.put(worker, "line\n", NOON).unwrap_err();
    }
    assert_eq!(std::fs::read_to_string(place("secret")).unwrap(), "untouched");
    shelf.put(3, "line\n", NOON).unwrap();
    assert_eq!(std::fs::metadata(place("api-3.log")).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn files_keep_their_order_when_the_clock_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("api-0-2026-11-22T12-00-05.000.log"), "old\n").unwrap();
    let mut shelf = shelf(folder.path(), rotate("4B"));
    shelf.look(NOON).unwrap();
    for text in ["a\n", "bbbb\n", "c\n"] {
        shelf.put(0, text, NOON).unwrap();
    }
    let texts: Vec<String> = files(folder.path()).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["old\n", "a\n", "bbbb\n", "c\n"]);
}
