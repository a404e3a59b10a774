//! What happens, for whoever listens: Lintel's own records of the program log from INFO up, whatever its level and form.
//!
//! While nobody listens a record costs one look at a counter. Nobody is waited for: a listener that is slower than what
//! happens loses the oldest records and is told how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::Registry;

use crate::clock;

/// Records that wait for the slowest listener.
const WAITING: usize = 256;

/// Sends what happens to all who listen.
#[derive(Clone, Debug)]
pub struct Events(Arc<Channel>);

#[derive(Debug)]
struct Channel {
    sender: broadcast::Sender<Arc<Event>>,
    number: AtomicU64,
}

/// One record.
#[derive(Debug)]
pub struct Event {
    /// Counts from 1 as long as somebody listens.
    pub number: u64,
    /// One line of JSON.
    pub text: String,
}

impl Default for Events {
    fn default() -> Self {
        Self(Arc::new(Channel { sender: broadcast::channel(WAITING).0, number: AtomicU64::new(0) }))
    }
}

impl Events {
    /// What happens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.sender.subscribe()
    }

    /// The layer that takes records in.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let own = Targets::new().with_target("lintel", LevelFilter::INFO);
        Tap(self.clone()).with_filter(own).boxed()
    }
}

struct Tap(Events);

impl<S: tracing::Subscriber> Layer<S> for Tap {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let channel = &self.0.0;
        if channel.sender.receiver_count() == 0 {
            return;
        }
        let mut fields = Fields { message: String::new(), fields: Map::new() };
        event.record(&mut fields);
        let record = json!({
            "at": jiff::Timestamp::from_duration(jiff::SignedDuration::try_from(clock::since_epoch()).unwrap_or_default()).unwrap_or_default().to_string(),
            "level": event.metadata().level().as_str().to_ascii_lowercase(),
            "target": event.metadata().target(),
            "message": fields.message,
            "fields": fields.fields,
        });
        let number = channel.number.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = channel.sender.send(Arc::new(Event { number, text: record.to_string() }));
    }
}

struct Fields {
    message: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => _ = self.fields.insert(name.to_owned(), value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.take(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn records_of_ours_from_info_up_are_sent_while_somebody_listens() {
        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("nobody hears it");
            let mut listener = events.listen();
            tracing::info!(target: "lintel::pool", pool = "api", count = 3, share = 0.5, ready = true, "server is up");
            tracing::debug!(target: "lintel::pool", "too small");
            tracing::error!(target: "hyper::proto", "not ours");
            let event = listener.try_recv().unwrap();
            let record: Value = serde_json::from_str(&event.text).unwrap();
            assert_eq!(event.number, 1);
            assert_eq!(record["message"], "server is up");
            assert_eq!(record["level"], "info");
            assert_eq!(record["fields"], json!({ "pool": "api", "count": 3, "share": 0.5, "ready": true }));
            assert!(record["at"].as_str().unwrap().ends_with('Z'));
            assert!(listener.try_recv().is_err());
        });
    }

    #[test]
    fn a_slow_listener_loses_the_oldest_and_is_told_how_many() {
        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.layer());
        tracing::subscriber::with_default(subscriber, || {
            let mut listener = events.listen();
            for count in 0..WAITING + 10 {
                tracing::info!(target: "lintel::test", count, "happens");
            }
            match listener.try_recv() {
                Err(broadcast::error::TryRecvError::Lagged(missed)) => assert_eq!(missed, 10),
                other => panic!("{other:?}"),
            }
        });
    }
}
