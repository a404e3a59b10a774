//! The whole way of a line: from `write` to the file, the pipe that stalls, the disk that is full.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn record(target: &str) -> Record<'_> {
    Record { method: b"GET", target: target.as_bytes(), version: "HTTP/1.1", ..Record::default() }
}

fn open(path: &std::path::Path) -> Arc<AccessLog> {
    AccessLog::open(&AccessLogSpec { path: path.to_owned(), ..AccessLogSpec::default() }).unwrap()
}

fn targets(text: &str) -> Vec<String> {
    let target = |line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["target"].as_str().unwrap().to_owned()
    };
    text.lines().map(target).collect()
}

fn piped(pending_limit: usize) -> (Arc<AccessLog>, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let sink = sink::Sink::of_stream(File::from(OwnedFd::from(writer))).unwrap();
    (AccessLog::start(AccessLogFormat::Json, Some(sink), pending_limit).unwrap(), reader)
}

#[test]
fn a_line_appears_without_anyone_asking_for_it() {
    let (log, mut reader) = piped(spool::PENDING_LIMIT);
    log.write(&record("/first"));
    let mut text = Vec::new();
    // Blocks until the writer thread wrote on its own.
    while text.last() != Some(&b'\n') {
        let mut piece = [0; 1024];
        let count = reader.read(&mut piece).unwrap();
        text.extend_from_slice(&piece[..count]);
    }
    assert_eq!(targets(std::str::from_utf8(&text).unwrap()), ["/first"]);
}

#[test]
fn lines_of_many_threads_are_whole_and_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path);
    thread::scope(|scope| {
        for name in 0..8 {
            let log = &log;
            scope
                .spawn(move || (0..1000).for_each(|number| log.write(&record(&format!("/{name}/{number}")))));
        }
    });
    assert!(log.flush(LONG));
    let mut found = targets(&std::fs::read_to_string(&path).unwrap());
    let of_one: Vec<_> = found.iter().filter(|target| target.starts_with("/3/")).cloned().collect();
    assert_eq!(of_one, (0..1000).map(|number| format!("/3/{number}")).collect::<Vec<_>>());
    found.sort();
    found.dedup();
    assert_eq!((found.len(), log.counts().written.count(), log.counts().dropped.count()), (8000, 8000, 0));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0, "at most 0640");
}

#[test]
fn a_thread_may_write_to_several_logs_and_outlive_them() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let paths = ["a", "b"].map(|name| folder.path().join(format!("{name}{round}")));
        let [a, b] = paths.each_ref().map(|path| open(path));
        for number in 0..4 {
            a.write(&record(&format!("/a{number}")));
            b.write(&record(&format!("/b{number}")));
        }
        assert!(a.flush_and_close(LONG) && b.flush(LONG));
        let [a, b] = paths.map(|path| targets(&std::fs::read_to_string(path).unwrap()));
        assert_eq!(
            (a, b),
            (
                ["/a0", "/a1", "/a2", "/a3"].map(str::to_owned).to_vec(),
                ["/b0", "/b1", "/b2", "/b3"].map(str::to_owned).to_vec()
            )
        );
    }
}

#[test]
fn after_a_rename_and_reopen_lines_go_to_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let log = open(&path);
    log.write(&record("/1"));
    assert!(log.flush(LONG));
    std::fs::rename(&path, &rotated).unwrap();
    log.write(&record("/2"));
    log.reopen();
    assert!(log.flush(LONG));
    log.write(&record("/3"));
    assert!(log.flush(LONG));
    assert_eq!(targets(&std::fs::read_to_string(&rotated).unwrap()), ["/1", "/2"]);
    assert_eq!(targets(&std::fs::read_to_string(&path).unwrap()), ["/3"]);
}

#[test]
fn when_reopening_fails_the_old_file_stays_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("logs");
    std::fs::create_dir(&inner).unwrap();
    let log = open(&inner.join("access.log"));
    std::fs::rename(&inner, folder.path().join("moved")).unwrap();
    log.reopen();
    assert!(log.flush(LONG));
    log.write(&record("/1"));
    assert!(log.flush_and_close(LONG));
    let text = std::fs::read_to_string(folder.path().join("moved/access.log")).unwrap();
    assert_eq!(targets(&text), ["/1"]);
}

#[test]
fn a_stalled_reader_costs_lines_and_no_time_and_all_are_counted() {
    // More than a pipe holds.
    const LIMIT: usize = 256 * 1024;
    let (log, mut reader) = piped(LIMIT);
    let total = 10_000;
    for number in 0..total {
        log.write(&record(&format!("/{number}")));
    }
    let counts = log.counts();
    assert!(counts.dropped.count() > 0);
    // Nobody reads: closing gives up at its deadline.
    assert!(!log.flush(Duration::from_millis(1)));
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert!(log.flush(LONG));
    let written = counts.written.count();
    assert_eq!(written + counts.dropped.count(), total);
    // It recovers by itself.
    log.write(&record("/last"));
    assert!(log.flush_and_close(LONG));
    log.write(&record("/too late"));
    assert_eq!(counts.written.count() + counts.dropped.count(), total + 2);
    drop(log);
    let found = targets(&reading.join().unwrap());
    assert_eq!((found.len() as u64, found.last().map(String::as_str)), (written + 1, Some("/last")));
}

#[test]
fn closing_gives_up_at_its_deadline_when_nobody_reads() {
    let (log, reader) = piped(spool::PENDING_LIMIT);
    for _ in 0..2000 {
        log.write(&record("/"));
    }
    assert!(!log.flush_and_close(Duration::from_millis(50)));
    drop(reader);
}

#[test]
fn a_full_disk_loses_lines_and_never_the_program() {
    let log = open(std::path::Path::new("/dev/full"));
    log.write(&record("/1"));
    log.write(&record("/2"));
    assert!(log.flush(LONG));
    assert_eq!((log.counts().written.count(), log.counts().dropped.count()), (0, 2));
    log.write(&record("/3"));
    assert!(!log.flush_and_close(LONG));
    assert_eq!(log.counts().dropped.count(), 3);
}

#[test]
fn a_reader_that_left_is_no_reason_to_end() {
    let (log, reader) = piped(spool::PENDING_LIMIT);
    drop(reader);
    log.write(&record("/1"));
    assert!(log.flush(LONG));
    assert_eq!(log.counts().dropped.count(), 1);
}

#[test]
fn after_a_torn_line_the_next_one_begins_afresh() {
    for blocking in [sink::Blocking::Never, sink::Blocking::Forever] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        let mut sink = match blocking {
            sink::Blocking::Never => sink::Sink::of_stream(file).unwrap(),
            _ => sink::Sink::around(file, blocking),
        };
        let line = [vec![b'x'; 5000], vec![b'\n']].concat();
        // Until the pipe is full inside a line.
        let mut wrote = 0;
        while sink.write(&line, || false).0 == 0 {
            wrote += 1;
        }
        let mut text = vec![0; 32 * 1024];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(sink.write(b"next\n", || false).0, 0);
        drop(sink);
        reader.read_to_end(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() > wrote && lines.last() == Some(&"next"));
        assert!(lines[..wrote].iter().all(|line| line.len() == 5000));
    }
}

#[test]
fn off_opens_and_writes_nothing() {
    let spec = AccessLogSpec { path: "/nowhere/at/all".into(), enabled: false, ..AccessLogSpec::default() };
    let log = AccessLog::open(&spec).unwrap();
    log.write(&record("/"));
    assert!(log.flush(LONG) && log.flush_and_close(LONG));
    assert_eq!(log.counts().written.count(), 0);
    assert!(AccessLog::open(&AccessLogSpec { enabled: true, ..spec }).is_err());
}
