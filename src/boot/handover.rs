//! What one Lintel says to the next at an upgrade, over a socket pair that the new process has as its standard input.
//!
//! ```text
//! old                                              new
//! Listener*, Door*, Tickets*, Keeper?, Begin  -->  reads its config, opens what is missing
//!                                             <--  TakeOver         (or Failed, or its end: nothing has changed)
//! lets its workers go: (App, Worker*)*,
//!                      Sessions*, End         -->  settles them, waits for its first checks
//!                                             <--  Serving          (it accepts; the old one accepts no more and drains)
//! Sessions*                                   -->  those that begin until the old one has ended
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::control::workers::{AppState, WorkerState};
use crate::keeper::protocol::{self, Received};
use crate::net::Address;

/// Sessions in one message.
pub const SESSIONS: usize = 1000;

/// One message; those with a descriptor say so.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// With its listening socket.
    Listener {
        name: String,
        address: Address,
    },
    /// With the listening socket of the control interface or the metrics.
    Door {
        name: String,
        address: Address,
    },
    /// Keys of session tickets, and a name for who is let in.
    Tickets {
        listener: String,
        trust: String,
        keys: Vec<Vec<u8>>,
    },
    /// With the end of a connection to the keeper.
    Keeper,
    Begin,
    TakeOver,
    App(AppState),
    /// One of the workers of the app.
    Worker {
        pool: String,
        worker: WorkerState,
    },
    /// Socket.IO sessions of a pool: id, identity of the server, life after the last use.
    Sessions {
        pool: String,
        sessions: Vec<(String, String, Duration)>,
    },
    End,
    Serving {
        pid: u32,
        /// Names of listeners and doors whose sockets are not needed any more.
        #[serde(default)]
        listeners: Vec<String>,
        #[serde(default)]
        doors: Vec<String>,
    },
    Failed {
        why: String,
    },
}

/// One end of the connection.
#[derive(Debug)]
pub struct Talk {
    socket: AsyncFd<OwnedFd>,
    room: Vec<u8>,
}

impl Talk {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types whose descriptor changes; OwnedFd's does not"
    )]
    pub fn over(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = AsyncFd::with_interest(socket, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, room: protocol::room() })
    }

    /// Two ends: this process's, and that of the one to be.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = protocol::pair()?;
        Ok((Self::over(ours)?, theirs))
    }

    /// The end that the Lintel before has left as standard input, which becomes empty.
    pub fn of_stdin() -> io::Result<Self> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Self::over(socket)
    }

    pub async fn say(&self, message: &Message) -> io::Result<()> {
        self.pass(message, Vec::new()).await
    }

    /// Says something with a descriptor.
    pub async fn pass(&self, message: &Message, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let bytes = protocol::encode(message).map_err(io::Error::other)?;
        self.socket.async_io(Interest::WRITABLE, |socket| protocol::send(socket, &bytes, &descriptors)).await
    }

    /// The next message; an error of kind `UnexpectedEof` once the other process is gone.
    pub async fn hear(&mut self) -> io::Result<(Message, Option<OwnedFd>)> {
        let Self { socket, room } = self;
        match socket.async_io(Interest::READABLE, |socket| protocol::receive(socket, room)).await? {
            Received::Message(message, descriptors) => Ok((message, descriptors.into_iter().next())),
            Received::Closed => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_and_descriptors_arrive_and_the_end_is_heard() {
        let (mut ours, theirs) = Talk::pair().unwrap();
        let theirs = Talk::over(theirs).unwrap();
        let (_, pipe) = std::io::pipe().unwrap();
        theirs.pass(&Message::Keeper, vec![pipe.into()]).await.unwrap();
        theirs.say(&Message::Failed { why: "x".to_owned() }).await.unwrap();
        assert!(matches!(ours.hear().await.unwrap(), (Message::Keeper, Some(_))));
        assert!(matches!(ours.hear().await.unwrap(), (Message::Failed { .. }, None)));
        drop(theirs);
        assert_eq!(ours.hear().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
