//! Servers that play a part which several topics need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::origin::Origin;

/// A server whose checks are answered with a status that can be changed.
pub fn checked(name: &'static str, status: u16) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let shared = Arc::clone(&status);
    let origin = Origin::scripted(move |mut talk| {
        let status = Arc::clone(&shared);
        async move {
            while let Some(request) = talk.request().await {
                if request.target().starts_with("/healthz") {
                    let status = status.load(Ordering::SeqCst);
                    talk.send(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")).await;
                } else {
                    talk.answer(&request, name, name.as_bytes()).await;
                }
            }
        }
    });
    (origin, status)
}

/// A server that opens a session with every handshake and answers later polls with its name.
pub fn engine_io(name: &'static str) -> Origin {
    Origin::scripted(move |mut talk| async move {
        while let Some(request) = talk.request().await {
            let body = if request.target().contains("sid=") {
                name.to_owned()
            } else {
                let sid = format!("{name}-{:016}", talk.index);
                format!(
                    "0{{\"sid\":\"{sid}\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}}"
                )
            };
            talk.answer(&request, name, body.as_bytes()).await;
        }
    })
}
