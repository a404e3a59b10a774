//! What Lintel and its keeper say to each other: one JSON message per datagram, with descriptors beside it.
//!
//! Lintel may be of a newer version than its keeper, which stays over an upgrade: messages are only ever added. Nothing here
//! waits: a socket that is not ready is an error of kind `WouldBlock`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The most bytes of one message; an order is nearly all environment, and the kernel's own limit on one string of it is half
/// of this.
pub(crate) const MESSAGE_LIMIT: usize = 256 * 1024;

/// The pipes of stdout and stderr; no message carries more.
const MOST_DESCRIPTORS: usize = 2;

/// What to start, and how.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Names the process in signals and reports. No two that live may have the same.
    pub run: u64,
    /// The program, looked up in the `PATH` of `env` if it has no slash, and its arguments.
    pub command: Vec<String>,
    /// Where it starts.
    pub directory: PathBuf,
    /// All of its environment; with a socket, `LISTEN_PID` is added.
    pub env: Vec<(String, String)>,
    /// The path of a unix socket, which the process gets as descriptor 3: bound and listening (backlog 511, mode 0600). The
    /// keeper holds it over restarts, so connections queue meanwhile.
    pub socket: Option<PathBuf>,
    /// The user to run as, by name; Lintel's own if none. Only root may choose.
    pub user: Option<String>,
    /// The group to run as, by name; the user's first if none. Only root may choose.
    pub group: Option<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this code. 127 also if its program could not be started; stderr has the reason.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// The process that was started.
    Process,
    /// All of its process group: with what it started itself.
    Group,
}

/// What Lintel asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Spawn(Order),
    Signal { run: u64, signal: i32, to: To },
    CloseSocket { path: PathBuf },
    /// Comes with the end of a connection to the Lintel that is to follow this one, and with the end of one to this Lintel,
    /// which is Lintel again where its successor ends while it holds the other end of that.
    Successor,
    /// The successor is Lintel from now on.
    Yield,
}

/// What the keeper says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Comes with the read ends of its stdout and stderr.
    Spawned {
        run: u64,
        pid: u32,
    },
    Refused {
        run: u64,
        reason: String,
    },
    Exited {
        run: u64,
        pid: u32,
        how: Exit,
    },
    /// To who takes over, for each process there is: as `Spawned`.
    Running {
        run: u64,
        pid: u32,
    },
    /// To who takes over: that was all, and now it is Lintel.
    Yours,
}

/// What came out of the socket.
#[derive(Debug)]
pub(crate) enum Received<T> {
    Message(T, Vec<OwnedFd>),
    /// The other side is gone.
    Closed,
}

/// Why a message cannot be sent, whoever would receive it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("{0} bytes are more than the {MESSAGE_LIMIT} that one message may have")]
    TooLarge(usize),
    #[error(transparent)]
    NotText(#[from] serde_json::Error),
}

impl fmt::Debug for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment is where secrets are; it is not shown.
        formatter
            .debug_struct("Order")
            .field("run", &self.run)
            .field("command", &self.command)
            .field("directory", &self.directory)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Two ends of a connection. Neither waits, and neither is passed on to programs by accident.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&one, &other] {
        // A datagram must fit the buffer, and the default (net.core.wmem_default, mostly 208 KiB) is below our limit. The
        // kernel doubles what it is asked for, and lowers it first to net.core.wmem_max.
        sockopt::set_socket_send_buffer_size(end, MESSAGE_LIMIT)?;
    }
    Ok((one, other))
}

/// A message as bytes.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_LIMIT { Err(EncodeError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// Sends one message whole, or not at all.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message. One that cannot be understood is an error of kind `InvalidData`.
///
/// `buffer` is room for a message: `room()`.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received<T>> {
    let broken = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(buffer)];
    let received = rustix::net::recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            descriptors.extend(sent);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return broken("a message is larger than any may be");
    }
    match buffer.get(..received.bytes) {
        // The end of a connection reads as no bytes, and no message has none.
        None | Some([]) => Ok(Received::Closed),
        Some(bytes) => match serde_json::from_slice(bytes) {
            Ok(message) => Ok(Received::Message(message, descriptors)),
            Err(error) => broken(&format!("a message is not understood: {error}")),
        },
    }
}

/// Room for `receive` to read into.
pub(crate) fn room() -> Vec<u8> {
    vec![0; MESSAGE_LIMIT]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn order(value: String) -> Order {
        Order {
            run: 7,
            command: vec!["node".into(), "server.js".into()],
            directory: "/srv".into(),
            env: vec![("SECRET".into(), value)],
            socket: None,
            user: None,
            group: None,
        }
    }

    #[test]
    fn the_largest_order_passes_and_a_larger_one_does_not() {
        let overhead = encode(&Request::Spawn(order(String::new()))).unwrap().len();
        let largest = encode(&Request::Spawn(order("x".repeat(MESSAGE_LIMIT - overhead)))).unwrap();
        let (one, other) = pair().unwrap();
        send(&one, &largest, &[]).unwrap();
        let Received::Message(Request::Spawn(received), _) = receive(&other, &mut room()).unwrap() else {
            panic!("another message than was sent");
        };
        assert_eq!(received.env[0].1.len(), MESSAGE_LIMIT - overhead);
        let error = encode(&Request::Spawn(order("x".repeat(MESSAGE_LIMIT)))).unwrap_err();
        assert!(matches!(error, EncodeError::TooLarge(size) if size == MESSAGE_LIMIT + overhead), "{error}");
    }

    #[test]
    fn descriptors_travel_with_their_message_and_are_not_passed_on_to_programs() {
        let (one, other) = pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(&one, b"1", &[writer.into()]).unwrap();
        send(&one, b"2", &[]).unwrap();
        let Received::Message(1_u32, mut descriptors) = receive(&other, &mut room()).unwrap() else {
            panic!("not the first message");
        };
        assert_eq!(descriptors.len(), 1);
        let writer = descriptors.remove(0);
        assert!(rustix::io::fcntl_getfd(&writer).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        rustix::io::write(&writer, b"hello").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        let second = receive::<u32>(&other, &mut room()).unwrap();
        assert!(matches!(second, Received::Message(2, none) if none.is_empty()));
    }

    #[test]
    fn an_empty_socket_a_closed_one_and_a_broken_message_are_told_apart() {
        let (one, other) = pair().unwrap();
        let empty = receive::<Request>(&other, &mut room()).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        for text in [&b"{"[..], b"\xff", b"{\"spawn\":{}}", b"{\"signal\":{\"run\":-1}}", b"[]"] {
            send(&one, text, &[]).unwrap();
            let broken = receive::<Request>(&other, &mut room()).unwrap_err();
            assert_eq!(broken.kind(), io::ErrorKind::InvalidData, "{broken}");
        }
        send(&one, b"[\"longer than the room for it\"]", &[]).unwrap();
        let broken = receive::<Request>(&other, &mut [0; 8]).unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::InvalidData);
        drop(one);
        assert!(matches!(receive::<Request>(&other, &mut room()).unwrap(), Received::Closed));
    }

    #[test]
    fn an_order_does_not_show_its_environment() {
        assert!(!format!("{:?}", order("hunter2".into())).contains("hunter2"));
    }
}
