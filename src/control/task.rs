//! A background task that ends with its owner and never dies silently.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// A task that is aborted when this is dropped.
#[derive(Debug)]
pub struct Task(AbortHandle);

impl Task {
    /// Runs `future` on `runtime`; `name` stands in the log if it panics.
    pub fn spawn(
        runtime: &Handle,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let watched = async move {
            let _watch = Watch(name);
            future.await;
        };
        Self(runtime.spawn(watched).abort_handle())
    }

    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Watch(&'static str);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "a background task panicked; this is a bug");
        }
    }
}
