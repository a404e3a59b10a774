//! Clients that ask all the time while a test changes something, on kept and on new connections, and what they got.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::support::client::{Connection, try_get};
use crate::support::{eventually, within};

/// Requests that go on until `stop`.
pub struct Load {
    answers: Arc<Mutex<Vec<Result<String, String>>>>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients, each with a request every 20 ms; every other one keeps its connection.
    pub fn start(address: SocketAddr, clients: usize) -> Self {
        let (answers, over): (Arc<Mutex<Vec<_>>>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        let client = |number: usize| {
            let (answers, over) = (Arc::clone(&answers), Arc::clone(&over));
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(20));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut kept: Option<Connection> = None;
                while !over.load(Ordering::SeqCst) {
                    ticks.tick().await;
                    let answer = if number.is_multiple_of(2) {
                        try_get(address, "/load").await
                    } else {
                        if kept.is_none() {
                            kept = Some(Connection::open(address).await);
                        }
                        let connection = kept.as_mut().expect("it was just opened");
                        connection.send("GET /load HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
                        connection.try_response_to("GET").await
                    };
                    let answer = answer.and_then(|response| match response.status() {
                        200 => Ok(response.text()),
                        status => Err(format!("{status}: {}", response.text())),
                    });
                    if answer.is_err() {
                        kept = None;
                    }
                    answers.lock().push(answer);
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { answers, over, clients }
    }

    /// Awaits so many more answers.
    pub async fn more(&self, count: usize) {
        let before = self.answers.lock().len();
        let came = async || (self.answers.lock().len() >= before + count).then_some(());
        eventually("the load goes on", came).await;
    }

    /// Ends it; every request must have been served. Gives the bodies, in the order in which they came.
    pub async fn stop(self) -> Vec<String> {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            within("a client of the load ends", client).await.expect("no client panics");
        }
        let answers = std::mem::take(&mut *self.answers.lock());
        let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(
            failed.is_empty(),
            "{} of {} failed: {:?}",
            failed.len(),
            answers.len(),
            &failed[..failed.len().min(5)]
        );
        answers.into_iter().flatten().collect()
    }
}
