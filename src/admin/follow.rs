//! Answers that go on with what comes: the output of workers, and what happens in Lintel.
//!
//! Each ends with its reader. One that is slower than what comes loses the oldest and is told how many.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Bytes, Frame};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{Semaphore, mpsc};

use super::office::{refuse, written};
use super::page::{Page, with_body};
use crate::control::workers::Line;
use crate::observe::events::Event;

/// Pieces on their way to one reader.
const WAITING: usize = 64;
/// Readers at once, so that there is room for those who ask something else.
const MOST: usize = 32;
/// Between two signs of life to who follows events.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Room for those who follow.
#[derive(Debug)]
pub struct Followers(Arc<Semaphore>);

impl Default for Followers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

/// Where the pieces come from.
pub(super) enum Source {
    Lines { coming: Receiver<Line>, worker: Option<u32> },
    Events(Receiver<Arc<Event>>),
}

impl Source {
    /// The next piece; `None` after the last.
    async fn next(&mut self) -> Option<String> {
        match self {
            Self::Lines { coming, worker } => loop {
                match coming.recv().await {
                    Ok(line) if worker.is_none_or(|worker| line.worker == worker) => {
                        return Some(written(&line));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => {
                        return Some(format!("... {missed} lines came faster than they were read\n"));
                    }
                    Err(RecvError::Closed) => return None,
                }
            },
            Self::Events(coming) => match tokio::time::timeout(KEEP_ALIVE, coming.recv()).await {
                Ok(Ok(event)) => Some(format!("id: {}\ndata: {}\n\n", event.number, event.text)),
                Ok(Err(RecvError::Lagged(missed))) => {
                    Some(format!("event: missed\ndata: {{\"missed\":{missed}}}\n\n"))
                }
                Ok(Err(RecvError::Closed)) => None,
                Err(_) => Some(": still here\n\n".to_owned()),
            },
        }
    }
}

impl Followers {
    /// An answer that begins with what is `there` and goes on with what comes, as long as somebody takes it.
    pub(super) fn follow(&self, content_type: &'static str, there: String, mut source: Source) -> Page {
        let Ok(room) = Arc::clone(&self.0).try_acquire_owned() else {
            let why = format!("{MOST} follow logs or events already; end one of them");
            return refuse(StatusCode::SERVICE_UNAVAILABLE, &why);
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let _room = room;
            let mut text = there;
            while sender.send(Bytes::from(text)).await.is_ok() {
                text = tokio::select! {
                    coming = source.next() => match coming {
                        Some(text) => text,
                        None => return,
                    },
                    () = sender.closed() => return,
                };
            }
        });
        with_body(StatusCode::OK, content_type, Coming(receiver).boxed_unsync())
    }
}

/// A body whose pieces come from elsewhere.
struct Coming(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Coming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
