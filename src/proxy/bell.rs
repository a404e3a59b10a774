//! Wakes the tasks of one engine thread that wait for an end: of draining, of a listener, of the process.
//!
//! It says only that something changed; whoever is woken looks for itself. One that waits for the life of its connection
//! costs two loads at every poll, and no lock.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::engine::Process;
use crate::life::{Life, Stage};

/// Who is to be woken.
#[derive(Debug, Default)]
pub struct Bell {
    places: RefCell<Places>,
}

#[derive(Debug, Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Bell {
    /// Wakes everyone who listens.
    pub fn ring(&self) {
        self.places.borrow().wakers.iter().flatten().for_each(Waker::wake_by_ref);
    }

    fn listen(&self) -> Ear<'_> {
        Ear { bell: self, place: None }
    }
}

/// A place among those who are woken, from the first poll on until it is dropped.
#[derive(Debug)]
struct Ear<'b> {
    bell: &'b Bell,
    place: Option<usize>,
}

impl Ear<'_> {
    fn register(&mut self, cx: &Context<'_>) {
        let mut places = self.bell.places.borrow_mut();
        let place = *self.place.get_or_insert_with(|| {
            places.free.pop().unwrap_or_else(|| {
                places.wakers.push(None);
                places.wakers.len() - 1
            })
        });
        let Some(waker) = places.wakers.get_mut(place) else { return };
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut places = self.bell.places.borrow_mut();
        // Dropped after the borrow: it may be the last thing that holds its task.
        let waker = places.wakers.get_mut(place).and_then(Option::take);
        places.free.push(place);
        drop(places);
        drop(waker);
    }
}

/// Ready when draining has begun.
#[derive(Debug)]
pub struct Drained<'e> {
    process: &'e Process,
    ear: Ear<'e>,
}

impl<'e> Drained<'e> {
    pub fn new(process: &'e Process, bell: &'e Bell) -> Self {
        Self { process, ear: bell.listen() }
    }

    pub fn poll_begun(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.process.is_draining() {
            return Poll::Ready(());
        }
        self.ear.register(cx);
        Poll::Pending
    }
}

impl Future for Drained<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_begun(cx)
    }
}

/// Ready when what came by a listener is cut off: at the end of draining, or of the listener's own end.
#[derive(Debug)]
pub struct Cut<'e> {
    process: &'e Process,
    listener: &'e Life,
    ear: Ear<'e>,
}

impl<'e> Cut<'e> {
    pub fn new(process: &'e Process, bell: &'e Bell, listener: &'e Life) -> Self {
        Self { process, listener, ear: bell.listen() }
    }

    pub fn poll_over(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.process.is_cut() || self.listener.is(Stage::Over) {
            return Poll::Ready(());
        }
        self.ear.register(cx);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_listen_are_woken_and_look_for_themselves() {
        let (process, bell, listener) = (Process::new(), Bell::default(), Life::default());
        let mut cut = Cut::new(&process, &bell, &listener);
        let mut polls = 0;
        let waiting = std::future::poll_fn(|cx| {
            polls += 1;
            cut.poll_over(cx)
        });
        let ending = async {
            bell.ring();
            tokio::task::yield_now().await;
            listener.enter(Stage::Over);
            bell.ring();
        };
        tokio::join!(waiting, ending);
        assert!(polls > 1);
    }

    #[test]
    fn places_are_used_again() {
        let (process, bell) = (Process::new(), Bell::default());
        let cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let (mut one, mut other) = (Drained::new(&process, &bell), Drained::new(&process, &bell));
            assert!(one.poll_begun(&cx).is_pending() && other.poll_begun(&cx).is_pending());
            assert!(one.poll_begun(&cx).is_pending());
            assert_eq!(bell.places.borrow().wakers.len(), 2);
        }
        assert!(bell.places.borrow().wakers.iter().all(Option::is_none));
        process.drain();
        assert!(Drained::new(&process, &bell).poll_begun(&cx).is_ready());
    }
}
