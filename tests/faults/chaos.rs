//! A server whose faults are switched while it runs. It knows the digest of each body it sends, counts what it executed and
//! what it cut off.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::support::message::Message;
use crate::support::{Conversation, Origin};

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// Its port refuses, its connections have ended.
    Killed,
    /// It reads, and says nothing until the fault is over.
    Stopped,
    ResetBeforeTheHead,
    ResetInTheHead,
    ResetAfterTheHead,
    ResetInTheBody,
    /// Ends in the middle of the length that it named.
    ShortLength,
    /// Ends between two chunks.
    ShortChunks,
    /// Ends its direction without an answer.
    HalfClosed,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::Killed,
        Self::Stopped,
        Self::ResetBeforeTheHead,
        Self::ResetInTheHead,
        Self::ResetAfterTheHead,
        Self::ResetInTheBody,
        Self::ShortLength,
        Self::ShortChunks,
        Self::HalfClosed,
    ];
}

/// What all servers of a test did.
#[derive(Debug, Default)]
pub struct Ledger {
    /// POSTs executed, by the id of each.
    pub executed: Mutex<HashMap<String, usize>>,
    /// Responses that were begun and not ended.
    pub cut: AtomicUsize,
}

/// One server of the storm.
pub struct Chaos {
    pub origin: Origin,
    fault: watch::Sender<Fault>,
}

impl Chaos {
    pub fn start(name: &str, ledger: &Arc<Ledger>) -> Self {
        let (fault, state) = watch::channel(Fault::Nothing);
        let (name, ledger) = (name.to_owned(), Arc::clone(ledger));
        let origin =
            Origin::scripted(move |talk| serve(talk, name.clone(), state.clone(), Arc::clone(&ledger)));
        Self { origin, fault }
    }

    pub async fn suffer(&self, fault: Fault) {
        let before = self.fault.send_replace(fault);
        match (before, fault) {
            (Fault::Killed, Fault::Killed) => {}
            (_, Fault::Killed) => self.origin.kill().await,
            (Fault::Killed, _) => self.origin.revive(),
            _ => {}
        }
    }
}

async fn serve(mut talk: Conversation, name: String, mut state: watch::Receiver<Fault>, ledger: Arc<Ledger>) {
    while let Some(request) = talk.request().await {
        if let Some(id) = request.field("x-id") {
            *ledger.executed.lock().entry(id.to_owned()).or_default() += 1;
        }
        let fault = *state.borrow_and_update();
        if fault == Fault::Stopped {
            let over = async {
                while *state.borrow_and_update() == Fault::Stopped && state.changed().await.is_ok() {}
            };
            over.await;
        }
        let Some(cut) = answer(&mut talk, &request, &name, fault).await else { continue };
        if cut {
            ledger.cut.fetch_add(1, Ordering::SeqCst);
        }
        match fault {
            Fault::HalfClosed => {
                talk.half_close().await;
                return talk.hang().await;
            }
            Fault::ShortLength | Fault::ShortChunks => return,
            _ => return talk.reset(),
        }
    }
}

/// Sends as much of the answer as the fault lets through. `None`: all of it; else whether the head had gone out.
async fn answer(talk: &mut Conversation, request: &Message, name: &str, fault: Fault) -> Option<bool> {
    let body = body_of(request);
    let digest = digest_of(&body);
    let fields = format!("HTTP/1.1 200 OK\r\nX-Server: {name}\r\nX-Digest: {digest}\r\n");
    let length = format!("{fields}Content-Length: {}\r\n\r\n", body.len());
    let (half, rest) = body.split_at(body.len() / 2);
    let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    let chunked = [format!("{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes(), chunk(half)].concat();
    let (bytes, cut) = match fault {
        Fault::ResetBeforeTheHead | Fault::HalfClosed => return Some(false),
        Fault::ResetInTheHead => (fields.into_bytes(), Some(false)),
        Fault::ResetAfterTheHead => (length.into_bytes(), Some(true)),
        Fault::ResetInTheBody | Fault::ShortLength => ([length.as_bytes(), half].concat(), Some(true)),
        Fault::ShortChunks => (chunked, Some(true)),
        Fault::Nothing | Fault::Killed | Fault::Stopped if request.target().contains("chunked") => {
            ([chunked, chunk(rest), b"0\r\n\r\n".to_vec()].concat(), None)
        }
        Fault::Nothing | Fault::Killed | Fault::Stopped => ([length.as_bytes(), &body].concat(), None),
    };
    talk.send(bytes).await;
    cut
}

/// The body sent, or as many bytes as the target ends with; never fewer than two, so that it can be cut in the middle.
fn body_of(request: &Message) -> Vec<u8> {
    if !request.body.is_empty() {
        return request.body.clone();
    }
    let wanted: usize = request.target().rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(2);
    (0..wanted.max(2)).map(|at| (at % 251) as u8).collect()
}

pub fn digest_of(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
