//! Where the writer thread writes: a file that can be opened anew, or a standard stream.
//!
//! A pipe whose reader has stalled is waited for, but never inside a write that cannot be left: the pipe is opened once
//! more without blocking, which leaves its other users alone. Where that is not allowed, the writer looks for room first
//! and writes no more than a pipe then takes.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Bytes that a pipe takes without blocking when it says that it is writable (PIPE_BUF, pipe(7)).
const PIPE_PIECE: usize = 4096;
/// How often a stalled writer looks whether it shall end.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

pub struct Sink {
    file: File,
    /// Not for standard streams: they cannot be opened anew.
    path: Option<PathBuf>,
    blocking: Blocking,
    /// The last write ended inside a line.
    torn: bool,
}

/// How a write may block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// Only for as long as a disk takes.
    Briefly,
    /// Never; it says that it would.
    Never,
    /// For as long as a reader likes.
    Forever,
}

impl Sink {
    /// `stdout`, `stderr` or a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        match path.to_str() {
            Some("stdout") => Self::of_stream(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Some("stderr") => Self::of_stream(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            _ => {
                let file = open_without_blocking(path)?;
                let blocking = if stalls(&file)? { Blocking::Never } else { Blocking::Briefly };
                Ok(Self { path: Some(path.to_owned()), ..Self::around(file, blocking) })
            }
        }
    }

    /// Something that is open already and that others may use too.
    pub fn of_stream(file: File) -> io::Result<Self> {
        if !stalls(&file)? {
            return Ok(Self::around(file, Blocking::Briefly));
        }
        // Sockets refuse this, and so do pipes that another user made.
        let own = open_without_blocking(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())));
        Ok(match own {
            Ok(own) => Self::around(own, Blocking::Never),
            Err(_) => Self::around(file, Blocking::Forever),
        })
    }

    pub fn around(file: File, blocking: Blocking) -> Self {
        Self { file, path: None, blocking, torn: false }
    }

    /// Opens the file of the same name; on failure the old one stays.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            *self = Self::open(path)?;
        }
        Ok(())
    }

    /// Writes whole lines. While it stalls, `keep_on` is asked now and then. Tells how many lines were lost, and why.
    pub fn write(&mut self, lines: &[u8], mut keep_on: impl FnMut() -> bool) -> (u64, Option<io::Error>) {
        if self.torn {
            match self.write_all(b"\n", &mut keep_on) {
                Ok(()) => self.torn = false,
                Err((_, error)) => return (count_lines(lines), Some(error)),
            }
        }
        match self.write_all(lines, &mut keep_on) {
            Ok(()) => (0, None),
            Err((rest, error)) => {
                let written = &lines[..lines.len() - rest.len()];
                self.torn = written.last().is_some_and(|last| *last != b'\n');
                (count_lines(rest), Some(error))
            }
        }
    }

    /// On failure, what is left of `bytes`.
    fn write_all<'a>(
        &mut self,
        bytes: &'a [u8],
        keep_on: &mut impl FnMut() -> bool,
    ) -> Result<(), (&'a [u8], io::Error)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.write_some(rest, keep_on) {
                Ok(0) => return Err((rest, ErrorKind::WriteZero.into())),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err((rest, error)),
            }
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8], keep_on: &mut impl FnMut() -> bool) -> io::Result<usize> {
        if self.blocking == Blocking::Forever {
            self.wait_for_room(keep_on)?;
            return self.file.write(&bytes[..bytes.len().min(PIPE_PIECE)]);
        }
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room(keep_on)?,
                written => return written,
            }
        }
    }

    fn wait_for_room(&self, keep_on: &mut impl FnMut() -> bool) -> io::Result<()> {
        loop {
            match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&LOOK_EVERY)) {
                Ok(0) | Err(rustix::io::Errno::INTR) if !keep_on() => return Err(ErrorKind::TimedOut.into()),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether someone else decides how long a write takes.
fn stalls(file: &File) -> io::Result<bool> {
    let kind = file.metadata()?.file_type();
    Ok(kind.is_fifo() || kind.is_socket() || file.is_terminal())
}

/// Opening a named pipe without reader this way is an error instead of a wait; plain files do not mind.
fn open_without_blocking(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
