//! Who is Lintel to the keeper, in whatever order it hears of it.

use super::*;

fn keeper(lintel: OwnedFd) -> Process {
    rustix::io::ioctl_fionbio(&lintel, true).unwrap();
    Process::new(lintel, 1024)
}

fn is_told_to_serve(end: &OwnedFd) -> bool {
    rustix::io::ioctl_fionbio(end, true).unwrap();
    matches!(
        protocol::receive(end, &mut protocol::room()),
        Ok(Received::Message(Answer::Yours, descriptors)) if descriptors.is_empty()
    )
}

/// A Lintel that has yielded goes at once, and a worker may end in that very moment.
#[test]
fn a_lintel_that_went_with_messages_unread_is_followed_by_whom_it_yielded_to() {
    let exit = Answer::Exited { run: 1, pid: 2, how: Exit::Code(0) };
    for (yields, is_told_before) in [(true, true), (true, false), (false, true), (false, false)] {
        let ((lintel, ours), (next, to_next), (before, to_before)) =
            (protocol::pair().unwrap(), protocol::pair().unwrap(), protocol::pair().unwrap());
        let mut keeper = keeper(ours);
        let said = |request: &Request, ends: &[OwnedFd]| {
            protocol::send(&lintel, &protocol::encode(request).unwrap(), ends).unwrap();
        };
        said(&Request::Successor, &[to_next, to_before]);
        keeper.read_requests();
        if is_told_before {
            keeper.answer(&exit, Vec::new());
            keeper.send_answers();
        }
        if yields {
            said(&Request::Yield, &[]);
        }
        drop(lintel);
        if is_told_before {
            keeper.read_requests();
        } else {
            keeper.answer(&exit, Vec::new());
            keeper.send_answers();
        }
        keeper.send_answers();
        assert_eq!(is_told_to_serve(&next), yields, "yields: {yields}, told before: {is_told_before}");
        assert_eq!(is_told_to_serve(&before), !yields, "yields: {yields}, told before: {is_told_before}");
    }
}
