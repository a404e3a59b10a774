//! Where the writer thread writes: a file that can be opened anew, or a standard stream.
//!
//! A pipe whose reader has stalled is waited for, but never inside a write that cannot be left: the writer looks
//! whether there is room first, and writes no more than a pipe takes at once.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
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
    /// Writes to it may block for as long as someone else likes: a pipe, a terminal, a socket.
    may_stall: bool,
    /// The last write ended inside a line.
    torn: bool,
}

impl Sink {
    /// `stdout`, `stderr` or a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        match path.to_str() {
            Some("stdout") => Self::of_stream(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Some("stderr") => Self::of_stream(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            _ => {
                let sink = Self::of_stream(open_file(path)?)?;
                Ok(Self { path: Some(path.to_owned()), ..sink })
            }
        }
    }

    /// Something that is already open.
    pub fn of_stream(file: File) -> io::Result<Self> {
        let may_stall = !file.metadata()?.is_file();
        Ok(Self { file, path: None, may_stall, torn: false })
    }

    /// Opens the file of the same name; on failure the old one stays.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = self.path.take() {
            let fresh = Self::open(&path);
            self.path = Some(path);
            *self = fresh?;
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
            let piece = if self.may_stall { &rest[..rest.len().min(PIPE_PIECE)] } else { rest };
            let written = match self.wait_for_room(keep_on) {
                Ok(()) => self.file.write(piece),
                Err(error) => Err(error),
            };
            match written {
                Ok(0) => return Err((rest, ErrorKind::WriteZero.into())),
                Ok(count) => rest = &rest[count..],
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err((rest, error)),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self, keep_on: &mut impl FnMut() -> bool) -> io::Result<()> {
        while self.may_stall {
            match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&LOOK_EVERY)) {
                Ok(0) | Err(rustix::io::Errno::INTR) if !keep_on() => return Err(ErrorKind::TimedOut.into()),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Not blocking, so that a named pipe without reader is an error at once; plain files do not mind.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
