//! One listener's accepts on one engine thread, spread evenly over all of them.
//!
//! Every thread accepts from the same socket, so a busy one does not hold connections up. Whoever accepts hands the
//! connection to the thread with the fewest open ones; mostly that is itself.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::engines::{Order, Seat, serve};
use super::front::Gateway;
use crate::listener::{Accepted, Pass};
use crate::proxy::connection;
use crate::proxy::engine::Engine;
use crate::server::process_ms;
use crate::snapshot::Listener;

/// A connection with its place, on its way to the thread that serves it.
pub struct Incoming {
    pub listener: Arc<Listener>,
    accepted: Accepted,
    pass: Pass,
    /// Port that the listener is bound to; 0 for a unix socket.
    port: u16,
}

impl Incoming {
    /// Registers it with the thread that calls.
    pub fn open(self) -> std::io::Result<connection::Accepted> {
        let address = self.accepted.peer;
        let transport = self.accepted.into_transport()?;
        Ok(connection::Accepted {
            listener: self.listener,
            transport,
            address,
            port: self.port,
            pass: self.pass,
        })
    }
}

/// Accepts until draining begins or the socket is given up, and then what the system has accepted already.
pub async fn run(engine: Rc<Engine>, seat: Rc<Seat>, emptied: Rc<Notify>, gateway: Gateway) {
    let Gateway { front, share, port, mut open } = gateway;
    let mut acceptor = match share.into_acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => {
            let listener = front.listener.load();
            tracing::error!(listener = &*listener.name, %error, "this thread cannot accept connections");
            return;
        }
    };
    let take = |accepted: Accepted| {
        let listener = front.listener.load_full();
        listener.metrics.connections.add(1);
        match front.entrance.admit(process_ms(Instant::now())) {
            Ok(pass) => place(&engine, &seat, &emptied, Incoming { listener, accepted, pass, port }),
            // Dropping it closes it.
            Err(_) => connection::refuse_newcomer(&engine, &listener, accepted.peer),
        }
    };
    let mut drained = pin!(engine.drained());
    loop {
        tokio::select! {
            biased;
            accepted = acceptor.accept() => match accepted {
                Ok(accepted) => take(accepted),
                Err(_) => return,
            },
            () = &mut drained => break,
            // Told so, or the sender is gone.
            _ = open.changed() => break,
        }
    }
    while let Some(accepted) = acceptor.accept_now() {
        take(accepted);
    }
}

fn place(engine: &Rc<Engine>, seat: &Rc<Seat>, emptied: &Rc<Notify>, incoming: Incoming) {
    // While draining, another thread may have ended already.
    let thread = if engine.process.is_draining() { seat.number } else { seat.load.lightest(seat.number) };
    seat.load.add(thread);
    if thread == seat.number {
        serve(engine, seat, emptied, incoming);
    } else if let Some(orders) = seat.orders.get(thread)
        && orders.send(Order::Serve(incoming)).is_err()
    {
        seat.load.sub(thread);
    }
}
