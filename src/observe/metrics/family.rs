//! From cells to Prometheus: families with name, help and labels, and the tables that know which cells live.
//!
//! A table holds its cells weakly: who serves holds the handle, and when the last handle drops, its series are gone.
//! A handle asked for twice (an old and a new snapshot of one route) is the same cells, so that counters go on.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use super::cell::{BOUNDS_US, CounterBy, Histogram};
use crate::observe::Label;

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric: its documentation, and how to read it from the cells of type `T`.
pub struct Family<T> {
    pub name: &'static str,
    pub kind: Kind,
    /// Labels after those of the cells.
    pub labels: &'static [&'static str],
    pub help: &'static str,
    pub read: fn(&T, &mut Samples<'_>),
}

/// Cells of one thing that is observed, with the labels that name it and the families that read it.
pub trait Cells: Default + Send + Sync + 'static {
    const LABELS: &'static [&'static str];
    const FAMILIES: &'static [Family<Self>];
}

/// Shared cells. The default is detached: it counts and is shown nowhere.
pub struct Handle<T>(Arc<Named<T>>);

/// All living cells of one type, by their labels' values.
pub struct Table<T> {
    named: Mutex<Names<T>>,
}

/// What one family has to say.
pub struct Samples<'a> {
    of_cells: &'a [LabelPair],
    labels: &'static [&'static str],
    kind: Kind,
    metrics: Vec<proto::Metric>,
}

struct Named<T> {
    labels: Vec<LabelPair>,
    cells: T,
}

struct Names<T> {
    living: BTreeMap<Vec<String>, Weak<Named<T>>>,
    /// Names of the dead are swept when the map has grown to this, so that a sweep costs a constant per name.
    sweep_at: usize,
}

const FEWEST_TO_SWEEP: usize = 64;

impl<T: Cells> Table<T> {
    /// The cells with these values of `T::LABELS`, new unless someone still holds them.
    pub fn handle(&self, values: &[&str]) -> Handle<T> {
        let key: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        let mut names = self.named.lock();
        if let Some(named) = names.living.get(&key).and_then(Weak::upgrade) {
            return Handle(named);
        }
        if names.living.len() >= names.sweep_at {
            names.living.retain(|_, named| named.strong_count() > 0);
            names.sweep_at = FEWEST_TO_SWEEP.max(names.living.len() * 2);
        }
        let labels = T::LABELS.iter().zip(values).map(|(name, value)| pair(name, value)).collect();
        let named = Arc::new(Named { labels, cells: T::default() });
        names.living.insert(key, Arc::downgrade(&named));
        Handle(named)
    }

    /// Names remembered, of the living and of the dead that are not swept yet.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.named.lock().living.len()
    }

    /// Appends the text of every family that has samples. One family at a time, so that the encoder's copy stays small.
    pub fn render(&self, text: &mut String) {
        let living: Vec<_> = self.named.lock().living.values().filter_map(Weak::upgrade).collect();
        for family in T::FAMILIES {
            let mut samples =
                Samples { of_cells: &[], labels: family.labels, kind: family.kind, metrics: Vec::new() };
            for named in &living {
                samples.of_cells = &named.labels;
                (family.read)(&named.cells, &mut samples);
            }
            if !samples.metrics.is_empty() {
                encode(family, samples.metrics, text);
            }
        }
    }
}

impl Samples<'_> {
    /// Adds one number with the values of the family's own labels.
    pub fn value(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.metric(labels);
        if self.kind == Kind::Gauge {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        } else {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        self.metrics.push(metric);
    }

    /// Adds one number for each value of a label.
    pub fn by<L: Label>(&mut self, counters: &CounterBy<L>) {
        for label in L::ALL {
            self.value(&[label.as_str()], counters.of(*label).count() as f64);
        }
    }

    /// Only what happened: for families that would be long lists of zeros.
    pub fn by_seen<L: Label>(&mut self, counters: &CounterBy<L>) {
        for label in L::ALL.iter().filter(|label| counters.of(**label).count() > 0) {
            self.value(&[label.as_str()], counters.of(*label).count() as f64);
        }
    }

    pub fn histogram(&mut self, histogram: &Histogram) {
        let counts = histogram.cumulative();
        let buckets = BOUNDS_US.iter().zip(counts).map(|(bound_us, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound_us as f64 / 1e6);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut form = proto::Histogram::default();
        form.set_bucket(buckets.collect());
        form.set_sample_count(counts.last().copied().unwrap_or_default());
        form.set_sample_sum(histogram.sum_seconds());
        let mut metric = self.metric(&[]);
        metric.set_histogram(form);
        self.metrics.push(metric);
    }

    fn metric(&self, values: &[&str]) -> proto::Metric {
        let own = self.labels.iter().zip(values).map(|(name, value)| pair(name, value));
        proto::Metric::from_label(self.of_cells.iter().cloned().chain(own).collect())
    }
}

fn encode<T>(family: &Family<T>, metrics: Vec<proto::Metric>, text: &mut String) {
    let mut form = MetricFamily::default();
    form.set_name(family.name.to_owned());
    form.set_help(family.help.to_owned());
    form.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    form.set_metric(metrics);
    if let Err(error) = TextEncoder::new().encode_utf8(&[form], text) {
        tracing::error!(metric = family.name, %error, "a metric could not be rendered");
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

impl<T> Deref for Handle<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.cells
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Handle<T> {
    fn default() -> Self {
        Self(Arc::new(Named { labels: Vec::new(), cells: T::default() }))
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.labels.iter().map(|pair| (pair.name(), pair.value()))).finish()
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { named: Mutex::new(Names { living: BTreeMap::new(), sweep_at: FEWEST_TO_SWEEP }) }
    }
}
