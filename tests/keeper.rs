//! The keeper as Lintel uses it: the real program, real processes. What it starts, what it tells, and what it leaves behind,
//! which must be nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/time.rs"]
#[allow(dead_code)] // its other parts are for other targets
mod time;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lintel::keeper::{Exit, Keeper, Order, Report, Signal, SpawnError, Spawned, To};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::process::Pid;
use time::{eventually, within};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::UnboundedReceiver;

const LINTEL: &str = env!("CARGO_BIN_EXE_lintel");
/// Set for the process that is killed in `what_a_killed_lintel_leaves_ends_within_two_seconds`.
const VICTIM: &str = "LINTEL_TEST_VICTIM";
/// Everything has ended two seconds after Lintel; the rest is for a machine that is busy with other tests.
const ALL_GONE: Duration = Duration::from_secs(3);

/// A family that does not want to end: a worker, its child, and a child that left the group. Prints their process ids, the
/// worker's last, when they no longer mind SIGTERM.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $!; setsid sleep 1000 & echo $!; echo $$; \
                        while :; do sleep 1000; done";

struct Kept {
    keeper: Keeper,
    reports: UnboundedReceiver<Report>,
}

impl Kept {
    fn start() -> Self {
        Self::start_as(Path::new(LINTEL))
    }

    fn start_as(program: &Path) -> Self {
        let (keeper, reports) = Keeper::start(program).expect("the keeper starts");
        Self { keeper, reports }
    }

    async fn spawn(&self, order: Order) -> Spawned {
        within("a process is started", self.keeper.spawn(order)).await.expect("a process is started")
    }

    async fn report(&mut self) -> Report {
        within("a report of the keeper", self.reports.recv()).await.expect("a report of the keeper")
    }

    /// How the only process that was started ends.
    async fn exit(&mut self) -> Exit {
        match self.report().await {
            Report::Exited { how, .. } => how,
            Report::Lost => panic!("the keeper is lost"),
        }
    }
}

fn order(run: u64, command: &[&str]) -> Order {
    Order {
        run,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        directory: "/".into(),
        env: vec![("PATH".into(), std::env::var("PATH").unwrap())],
        socket: None,
        user: None,
        group: None,
    }
}

fn script(run: u64, script: &str) -> Order {
    order(run, &["/bin/sh", "-c", script])
}

/// A pipe until its end.
async fn all(descriptor: OwnedFd) -> String {
    let mut pipe = pipe::Receiver::from_owned_fd(descriptor).expect("a pipe");
    let mut text = String::new();
    within("the end of a pipe", pipe.read_to_string(&mut text)).await.expect("a pipe is read");
    text
}

/// Numbers on lines of their own, as many as are wanted.
async fn numbers(pipe: &mut pipe::Receiver, count: usize) -> Vec<i32> {
    let mut text = String::new();
    while text.matches('\n').count() < count {
        let mut bytes = [0; 1024];
        let read = within("numbers in a pipe", pipe.read(&mut bytes)).await.expect("a pipe is read");
        assert_ne!(read, 0, "only {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    text.lines().map(|line| line.trim().parse().expect("a number")).collect()
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).expect("a process id")
}

/// Neither runs nor waits to be reaped by the keeper.
fn is_gone(number: i32) -> bool {
    // The first process of a container may be one that reaps nobody.
    let left_to_init = status_of(number).is_none_or(|(state, parent)| state == "Z" && parent == 1);
    left_to_init || rustix::process::test_kill_process(pid(number)) == Err(rustix::io::Errno::SRCH)
}

async fn gone(numbers: &[i32]) {
    for number in numbers {
        eventually(&format!("process {number} is gone"), async || is_gone(*number).then_some(())).await;
    }
}

/// The state and the parent of a process that is there.
fn status_of(number: i32) -> Option<(String, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name is in parentheses and may have any character.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn parent_of(number: u32) -> i32 {
    status_of(i32::try_from(number).unwrap()).expect("the process is there").1
}

#[tokio::test]
async fn codes_and_signals_are_told() {
    let mut kept = Kept::start();
    for (run, text, how) in [
        (1, "exit 0", Exit::Code(0)),
        (2, "exit 3", Exit::Code(3)),
        (3, "exit 255", Exit::Code(255)),
        (4, "kill -KILL $$", Exit::Signal(9)),
        (5, "kill -TERM $$", Exit::Signal(15)),
        // As usual in a program, although neither Rust nor the keeper has it as usual for itself.
        (6, "kill -PIPE $$", Exit::Signal(13)),
        (7, "kill -HUP $$", Exit::Signal(1)),
    ] {
        let spawned = kept.spawn(script(run, text)).await;
        assert_eq!(kept.report().await, Report::Exited { run, pid: spawned.pid, how }, "{text}");
    }
}

#[tokio::test]
async fn what_it_writes_arrives_and_its_input_is_empty() {
    let mut kept = Kept::start();
    let spawned = kept.spawn(script(1, "cat; echo to stdout; echo to stderr >&2; pwd")).await;
    assert_eq!(kept.exit().await, Exit::Code(0));
    assert_eq!(all(spawned.stdout).await, "to stdout\n/\n");
    assert_eq!(all(spawned.stderr).await, "to stderr\n");
}

#[tokio::test]
async fn its_environment_is_what_was_ordered() {
    let mut kept = Kept::start();
    let mut order = order(1, &["env"]);
    order.env.push(("WORD".into(), "with spaces, = and\nlines".into()));
    let spawned = kept.spawn(order.clone()).await;
    assert_eq!(kept.exit().await, Exit::Code(0));
    let path = std::env::var("PATH").unwrap();
    let ordered = format!("PATH={path}\nWORD=with spaces, = and\nlines\n");
    assert_eq!(all(spawned.stdout).await, ordered);

    let folder = tempfile::tempdir().unwrap();
    order.socket = Some(folder.path().join("0.sock"));
    let spawned = kept.spawn(order).await;
    kept.exit().await;
    let text = all(spawned.stdout).await;
    let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(lines["LISTEN_PID"], spawned.pid.to_string());
    assert_eq!(text.len(), ordered.len() + format!("LISTEN_PID={}\n", spawned.pid).len(), "{text}");
}

#[tokio::test]
async fn descriptor_3_listens_and_outlives_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.sock");
    let mut kept = Kept::start();
    let mut order = script(1, "readlink /proc/$$/fd/0 /proc/$$/fd/3; sleep 1000");
    order.socket = Some(path.clone());
    let spawned = kept.spawn(order.clone()).await;
    let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
    let mut text = String::new();
    while text.matches('\n').count() < 2 {
        text.push(char::from(within("two lines", stdout.read_u8()).await.unwrap()));
    }
    assert!(text.starts_with("/dev/null\nsocket:["), "{text}");

    // Nobody accepts, and yet a connection is made; it waits for whoever comes.
    let mut queued = UnixStream::connect(&path).unwrap();
    kept.keeper.signal(1, Signal::KILL, To::Group);
    assert_eq!(kept.exit().await, Exit::Signal(9));
    let mut queued_meanwhile = UnixStream::connect(&path).unwrap();
    order.run = 2;
    let listen =
        "require('net').createServer(c => c.end('served by ' + process.env.LISTEN_PID)).listen({ fd: 3 })";
    order.command = vec!["node".into(), "-e".into(), listen.into()];
    let spawned = kept.spawn(order).await;
    for connection in [&mut queued, &mut queued_meanwhile] {
        connection.set_read_timeout(Some(time::DEADLINE)).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("served by {}", spawned.pid));
    }

    kept.keeper.signal(2, Signal::KILL, To::Process);
    kept.exit().await;
    UnixStream::connect(&path).unwrap();
    kept.keeper.close_socket(&path);
    eventually("the socket is closed", async || UnixStream::connect(&path).err()).await;
}

#[tokio::test]
async fn descriptor_3_is_the_listener_even_if_another_came_along() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("lintel");
    std::fs::write(&program, format!("#!/bin/sh\nexec 3</etc/passwd 4</etc/passwd {LINTEL} \"$@\"\n"))
        .unwrap();
    Command::new("chmod").arg("+x").arg(&program).status().unwrap();
    let mut kept = Kept::start_as(&program);
    let mut order = script(1, "readlink /proc/$$/fd/3");
    order.socket = Some(folder.path().join("0.sock"));
    let spawned = kept.spawn(order).await;
    assert_eq!(kept.exit().await, Exit::Code(0));
    let text = all(spawned.stdout).await;
    assert!(text.starts_with("socket:["), "{text}");
}

#[tokio::test]
async fn the_limit_on_open_files_is_the_one_the_keeper_was_started_with() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("lintel");
    std::fs::write(&program, format!("#!/bin/sh\nulimit -Sn 500\nexec {LINTEL} \"$@\"\n")).unwrap();
    Command::new("chmod").arg("+x").arg(&program).status().unwrap();
    let mut kept = Kept::start_as(&program);
    let spawned = kept.spawn(script(1, "ulimit -Sn")).await;
    kept.exit().await;
    assert_eq!(all(spawned.stdout).await, "500\n");
}

#[tokio::test]
async fn a_signal_is_for_the_process_or_for_its_group() {
    let mut kept = Kept::start();
    // The child says which signal came first: the one sent to the group, or the one that the worker sends it.
    let text = "sh -c 'trap \"exit 5\" USR1; trap \"exit 6\" USR2; echo 2; while :; do sleep 0.01; done' & child=$!; \
                trap 'kill -USR2 $child; wait $child; exit $?' USR1; echo 1; while :; do wait; done";
    for (to, code) in [(To::Process, 6), (To::Group, 5)] {
        let spawned = kept.spawn(script(1, text)).await;
        let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
        numbers(&mut stdout, 2).await;
        kept.keeper.signal(1, Signal::USR1, to);
        assert_eq!(kept.exit().await, Exit::Code(code), "{to:?}");
    }
    // One has ended, and one there never was.
    kept.keeper.signal(1, Signal::TERM, To::Group);
    kept.keeper.signal(77, Signal::TERM, To::Process);
    kept.spawn(script(3, "exit 0")).await;
    assert_eq!(kept.exit().await, Exit::Code(0));
}

#[tokio::test]
async fn a_workers_children_do_not_outlive_it() {
    let mut kept = Kept::start();
    // A child, and one whose parent has ended before.
    let text = "trap '' TERM; sleep 1000 & echo $!; echo $(sleep 1000 >&- & echo $!); exit 3";
    let spawned = kept.spawn(script(1, text)).await;
    assert_eq!(kept.exit().await, Exit::Code(3));
    let text = all(spawned.stdout).await;
    let children: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(children.len(), 2);
    gone(&children).await;

    let spawned = kept.spawn(script(2, "sleep 1000 & echo $!; while :; do sleep 1000; done")).await;
    let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
    let children = numbers(&mut stdout, 1).await;
    kept.keeper.signal(2, Signal::KILL, To::Process);
    assert_eq!(kept.exit().await, Exit::Signal(9));
    gone(&children).await;
}

#[tokio::test]
async fn whom_a_worker_leaves_behind_is_not_taken_for_a_worker() {
    let mut kept = Kept::start();
    // Its child, which left the group, ends somewhat later and by itself.
    let text = "echo $(setsid sh -c 'sleep 0.2 >&- & echo $!')";
    let spawned = kept.spawn(script(1, text)).await;
    let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
    let children = numbers(&mut stdout, 1).await;
    assert_eq!(kept.exit().await, Exit::Code(0));
    gone(&children).await;
    kept.spawn(script(2, "exit 0")).await;
    assert!(matches!(kept.report().await, Report::Exited { run: 2, .. }));
}

#[tokio::test]
async fn nothing_is_left_when_the_handle_is_dropped() {
    let mut kept = Kept::start();
    let mut all = Vec::new();
    let mut pipes = Vec::new();
    for run in 1..=3 {
        let spawned = kept.spawn(script(run, STUBBORN)).await;
        all.push(parent_of(spawned.pid));
        let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
        all.extend(numbers(&mut stdout, 3).await);
        pipes.push(stdout);
    }
    let clone = kept.keeper.clone();
    drop(kept.keeper);
    clone.spawn(script(4, "exit 0")).await.expect("the other handle still works");
    assert!(matches!(within("a report", kept.reports.recv()).await, Some(Report::Exited { run: 4, .. })));
    let since = Instant::now();
    drop(clone);
    gone(&all).await;
    assert!(since.elapsed() < ALL_GONE, "{:?}", since.elapsed());
    assert_eq!(within("the end of reports", kept.reports.recv()).await, None);
}

#[tokio::test]
async fn workers_get_the_time_to_end_when_the_handle_is_dropped() {
    let kept = Kept::start();
    let folder = tempfile::tempdir().unwrap();
    let farewell = folder.path().join("farewell");
    let text =
        format!("trap 'sleep 0.3; echo bye > {}; exit' TERM; echo 1; sleep 1000 & wait", farewell.display());
    let spawned = kept.spawn(script(1, &text)).await;
    let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
    numbers(&mut stdout, 1).await;
    drop(kept);
    eventually("the worker says farewell", async || {
        (std::fs::read_to_string(&farewell).ok()? == "bye\n").then_some(())
    })
    .await;
}

/// Not a test by itself: the process that the next one kills.
#[tokio::test]
async fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let kept = Kept::start();
    let spawned = kept.spawn(script(1, STUBBORN)).await;
    let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
    let family = numbers(&mut stdout, 3).await;
    for number in family.into_iter().chain([parent_of(spawned.pid)]) {
        eprintln!("{number}");
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_a_killed_lintel_leaves_ends_within_two_seconds() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut lintel = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let mut stderr = pipe::Receiver::from_owned_fd(reader.into()).unwrap();
    let all = numbers(&mut stderr, 4).await;
    let since = Instant::now();
    lintel.kill().unwrap();
    lintel.wait().unwrap();
    gone(&all).await;
    assert!(since.elapsed() < ALL_GONE, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_hundred_at_once() {
    let mut kept = Kept::start();
    let spawns = (0..100).map(|run| {
        let keeper = kept.keeper.clone();
        tokio::spawn(async move { keeper.spawn(script(run, &format!("echo {run}; exit {run}"))).await })
    });
    let mut pids = BTreeMap::new();
    for (run, spawn) in spawns.collect::<Vec<_>>().into_iter().enumerate() {
        let spawned = within("a start", spawn).await.unwrap().unwrap();
        assert_eq!(all(spawned.stdout).await, format!("{run}\n"));
        pids.insert(run as u64, spawned.pid);
    }
    let mut reported = BTreeMap::new();
    while reported.len() < 100 {
        let Report::Exited { run, pid, how } = kept.report().await else { panic!("lost") };
        assert_eq!(how, Exit::Code(i32::try_from(run).unwrap()));
        reported.insert(run, pid);
    }
    assert_eq!(reported, pids);
}

#[tokio::test]
async fn four_are_forked_within_50_ms() {
    let kept = Kept::start();
    let mut fastest = Duration::MAX;
    // The best of some: the machine has other things to do, such as the other tests.
    for round in 0..100 {
        let since = Instant::now();
        let spawn = |index: u64| kept.keeper.spawn(script(round * 4 + index, "exit 0"));
        let spawned =
            within("four starts", async { tokio::join!(spawn(0), spawn(1), spawn(2), spawn(3)) }).await;
        fastest = fastest.min(since.elapsed());
        assert!(spawned.0.is_ok() && spawned.1.is_ok() && spawned.2.is_ok() && spawned.3.is_ok());
        if fastest < Duration::from_millis(50) {
            return;
        }
    }
    panic!("the fastest took {fastest:?}");
}

#[tokio::test]
async fn a_command_that_is_not_there_is_127_and_says_so() {
    let mut kept = Kept::start();
    for (run, program, reason) in [
        (
            1,
            "no-such-program",
            "lintel: cannot start `no-such-program`: No such file or directory (os error 2)\n",
        ),
        (2, "/etc/passwd", "lintel: cannot start `/etc/passwd`: Permission denied (os error 13)\n"),
    ] {
        let spawned = kept.spawn(order(run, &[program, "--flag"])).await;
        assert_eq!(kept.exit().await, Exit::Code(127));
        assert_eq!(all(spawned.stderr).await, reason);
    }
}

#[tokio::test]
async fn orders_that_cannot_be_met_are_refused_with_a_reason() {
    let mut kept = Kept::start();
    kept.spawn(script(1, "sleep 1000")).await;
    let good = || script(2, "exit 0");
    let too_large = vec![("LARGE".to_owned(), "x".repeat(300 * 1024))];
    let longer_than_the_kernel_takes = vec![("LARGE".to_owned(), "x".repeat(200 * 1024))];
    for (order, reason) in [
        (Order { run: 1, ..good() }, "run 1 has not ended"),
        (Order { command: Vec::new(), ..good() }, "there is no command"),
        (Order { directory: "/no/such".into(), ..good() }, "there is no folder `/no/such`"),
        (Order { user: Some("no-such".into()), ..good() }, "there is no user `no-such` in /etc/passwd"),
        (Order { group: Some("no-such".into()), ..good() }, "there is no group `no-such` in /etc/group"),
        (Order { socket: Some("/etc/passwd".into()), ..good() }, "`/etc/passwd` is taken by another program"),
        (Order { env: vec![("A\0B".into(), String::new())], ..good() }, "nul byte found"),
        (Order { env: too_large, ..good() }, "the order is too large: "),
        (Order { env: longer_than_the_kernel_takes, ..good() }, "Argument list too long"),
    ] {
        let error = within("an answer", kept.keeper.spawn(order)).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    kept.spawn(good()).await;
    assert_eq!(kept.exit().await, Exit::Code(0));
}

#[tokio::test]
async fn a_user_and_a_group_are_changed_to_and_no_other_group_is_kept() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can
    }
    let mut kept = Kept::start();
    let table = [
        (1, Some("nobody"), None, "nobody nogroup nogroup\n"),
        (2, Some("nobody"), Some("daemon"), "nobody daemon daemon\n"),
        (3, None, Some("daemon"), "root daemon daemon\n"),
    ];
    for (run, user, group, names) in table {
        let mut order = script(run, "echo $(id -un) $(id -gn) $(id -Gn)");
        order.user = user.map(str::to_owned);
        order.group = group.map(str::to_owned);
        let spawned = kept.spawn(order).await;
        assert_eq!(kept.exit().await, Exit::Code(0));
        assert_eq!(all(spawned.stdout).await, names);
    }
    // The kernel takes the wish to end with the parent back when the user changes.
    let mut order = script(4, "echo $$; while :; do sleep 1000; done");
    order.user = Some("nobody".to_owned());
    let spawned = kept.spawn(order).await;
    let keeper = parent_of(spawned.pid);
    let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
    let worker = numbers(&mut stdout, 1).await;
    rustix::process::kill_process(pid(keeper), Signal::KILL).unwrap();
    assert_eq!(kept.report().await, Report::Lost);
    gone(&worker).await;
}

#[tokio::test]
async fn what_asks_the_keeper_to_end_does_not_end_it() {
    let mut kept = Kept::start();
    let spawned = kept.spawn(script(1, "sleep 1000")).await;
    let keeper = parent_of(spawned.pid);
    assert_eq!(rustix::process::getsid(Some(pid(keeper))).unwrap(), pid(keeper));
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        rustix::process::kill_process(pid(keeper), signal).unwrap();
    }
    kept.spawn(script(2, "exit 4")).await;
    assert_eq!(kept.exit().await, Exit::Code(4));
}

#[tokio::test]
async fn a_lost_keeper_is_told_and_takes_its_workers_along() {
    let mut kept = Kept::start();
    let spawned = kept.spawn(script(1, "trap '' TERM; sleep 1000 & echo $!; wait")).await;
    let keeper = parent_of(spawned.pid);
    let mut stdout = pipe::Receiver::from_owned_fd(spawned.stdout).unwrap();
    let child = numbers(&mut stdout, 1).await[0];
    rustix::process::kill_process(pid(keeper), Signal::KILL).unwrap();
    assert_eq!(kept.report().await, Report::Lost);
    gone(&[keeper, i32::try_from(spawned.pid).unwrap(), child]).await;
    let error = kept.keeper.spawn(script(2, "exit 0")).await.unwrap_err();
    assert!(matches!(error, SpawnError::Lost), "{error}");
    kept.keeper.signal(1, Signal::TERM, To::Group);
    kept.keeper.close_socket(Path::new("/nowhere"));
}

#[tokio::test]
async fn a_process_whose_start_nobody_waits_for_is_killed() {
    let mut kept = Kept::start();
    let mut abandoned = Box::pin(kept.keeper.spawn(script(1, "sleep 1000")));
    assert!(futures_util::poll!(abandoned.as_mut()).is_pending());
    drop(abandoned);
    assert!(matches!(kept.report().await, Report::Exited { run: 1, how: Exit::Signal(9), .. }));
}

#[tokio::test]
async fn a_broken_message_ends_the_keeper_and_not_in_a_panic() {
    let flags = SocketFlags::CLOEXEC;
    let spawn =
        r#"{"spawn":{"run":1,"command":["sleep","1000"],"directory":"/","env":[["PATH","/usr/bin:/bin"]]}}"#;
    for broken in
        [&b"{"[..], b"\0", b"{\"spawn\":{\"run\":\"1\"}}", b"{\"signal\":{}}", b"null", &[b'x'; 100_000]]
    {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let keeper = Command::new(LINTEL).arg("keeper").stdin(theirs).stderr(Stdio::piped()).spawn().unwrap();
        for message in [spawn.as_bytes(), broken] {
            rustix::net::send(&ours, message, SendFlags::empty()).unwrap();
        }
        // `sleep` ends on SIGTERM, so this does not take the whole time.
        let output = tokio::task::spawn_blocking(|| keeper.wait_with_output());
        let output = within("the end of the keeper", output).await.unwrap().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("lintel: a message is not understood: "), "{stderr}");
    }
}

#[test]
fn it_is_not_for_people_and_says_so() {
    let output = Command::new(LINTEL).arg("keeper").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("started by `lintel run` alone"), "{stderr}");
    let orphan = ["worker-setup", "--keeper", "1", "--open-files", "100", "--", "echo", "started"];
    let output = Command::new(LINTEL).args(orphan).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "lintel: the keeper is gone\n");
    let help = Command::new(LINTEL).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(!help.contains("keeper") && !help.contains("worker-setup"), "{help}");
}

#[test]
fn there_is_no_keeper_without_a_runtime_or_a_program() {
    assert!(Keeper::start(Path::new(LINTEL)).is_err());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let missing = PathBuf::from("/no/such/lintel");
    assert_eq!(Keeper::start(&missing).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
