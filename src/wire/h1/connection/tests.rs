//! Bodies reach the other connection whole, by whichever way they go.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::UnixStream;

use super::*;
use crate::net::Transport;

fn socket() -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection::new(Stream::Plain(Transport::from(ours))), theirs)
}

/// A connection that the kernel knows nothing of.
fn memory() -> (Connection, DuplexStream) {
    let (ours, theirs) = duplex(4096);
    (Connection::new(Stream::Plain(Transport::other(ours))), theirs)
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|nth| (nth / 7 % 251) as u8).collect()
}

/// Moves a body of `length` bytes to its end. Says whether bytes of it were ever in a pipe.
async fn forward(from: &mut Connection, to: &mut Connection) -> Result<bool, ReadBodyError> {
    let mut was_spliced = false;
    while poll_fn(|cx| from.poll_body(cx)).await? == Piece::Bytes {
        was_spliced |= matches!(from.way, Way::Spliced(Some(_)));
        poll_fn(|cx| from.poll_forward(cx, to)).await?;
    }
    assert!(to.finish_body(None));
    poll_fn(|cx| to.poll_flush(cx)).await?;
    Ok(was_spliced)
}

fn begin(from: &mut Connection, to: &mut Connection, framing: Framing) {
    from.begin_incoming(framing, u64::MAX);
    to.outbound.push(b"head ");
    to.outbound.begin_body(framing);
}

/// What arrives of `sent` behind a head, and whether it went through the kernel. The first 1,000 bytes are there early.
async fn arrives(
    (mut from, mut server): (Connection, impl AsyncWrite + Unpin),
    (mut to, mut client): (Connection, impl tokio::io::AsyncRead + Unpin),
    sent: &[u8],
    way: Way,
) -> (Vec<u8>, bool) {
    let framing = Framing::Length(sent.len() as u64);
    begin(&mut from, &mut to, framing);
    from.way = way;
    let (early, late) = sent.split_at(sent.len().min(1000));
    server.write_all(early).await.unwrap();
    let serving = async {
        server.write_all(late).await.unwrap();
        // Bytes behind the body are those of another message.
        server.write_all(b"surplus").await.unwrap();
    };
    let forwarding = async {
        let was_spliced = forward(&mut from, &mut to).await.unwrap();
        assert!(
            from.is_body_done() && matches!(from.way, Way::Copied | Way::OnlyCopied | Way::Spliced(None))
        );
        assert_eq!((from.body_read(), to.written()), (sent.len() as u64, 5 + sent.len() as u64));
        assert_eq!(from.read, from.body_read() + from.inbound.len() as u64);
        drop(to);
        was_spliced
    };
    let mut got = Vec::new();
    let reading = async { client.read_to_end(&mut got).await.unwrap() };
    let ((), was_spliced, _) = tokio::join!(serving, forwarding, reading);
    assert_eq!(got.get(..5), Some(&b"head "[..]));
    (got.split_off(5), was_spliced)
}

#[tokio::test]
async fn a_large_body_goes_through_the_kernel_whole_and_nothing_behind_it() {
    let sent = body(3_000_000);
    let (got, was_spliced) = arrives(socket(), socket(), &sent, Way::Copied).await;
    assert!(was_spliced && got == sent);
}

#[tokio::test]
async fn a_small_body_and_one_from_memory_or_to_memory_are_copied() {
    let (small, large) = (body(17_000), body(300_000));
    let (got, was_spliced) = arrives(socket(), socket(), &small, Way::Copied).await;
    assert!(!was_spliced && got == small);
    let (got, was_spliced) = arrives(memory(), socket(), &large, Way::Copied).await;
    assert!(!was_spliced && got == large);
    let (got, was_spliced) = arrives(socket(), memory(), &large, Way::Copied).await;
    assert!(!was_spliced && got == large);
}

#[tokio::test]
async fn where_the_kernel_refuses_the_body_is_copied_from_there_on() {
    let sent = body(300_000);
    let (got, was_spliced) = arrives(memory(), socket(), &sent, Way::Spliced(None)).await;
    assert!(!was_spliced && got == sent, "it cannot fill a pipe");
    let (got, was_spliced) = arrives(socket(), memory(), &sent, Way::Spliced(None)).await;
    assert!(was_spliced && got == sent, "it cannot empty one");
}

#[tokio::test]
async fn a_chunked_body_and_one_that_is_not_sent_on_are_never_spliced() {
    let ((mut from, mut server), (mut to, _client)) = (socket(), socket());
    begin(&mut from, &mut to, Framing::Length(1_000_000));
    // As to HEAD: no byte of it may go out.
    to.outbound.begin_body(Framing::Empty);
    let sent = body(1_000_000);
    let (_, was_spliced) = tokio::join!(server.write_all(&sent), forward(&mut from, &mut to));
    assert!(!was_spliced.unwrap());
    assert_eq!(to.written(), 5);
    begin(&mut from, &mut to, Framing::Chunked);
    let chunk = [b"30000\r\n", &sent[..0x30000], b"\r\n0\r\n\r\n"].concat();
    let mut client = _client;
    let (_, was_spliced, _) = tokio::join!(server.write_all(&chunk), forward(&mut from, &mut to), async {
        let mut got = vec![0; 0x30000];
        client.read_exact(&mut got).await
    });
    assert!(!was_spliced.unwrap());
}

#[tokio::test]
async fn an_early_end_is_seen_behind_what_was_spliced() {
    let ((mut from, mut server), (mut to, mut client)) = (socket(), socket());
    begin(&mut from, &mut to, Framing::Length(1_000_000));
    let sent = body(700_000);
    let serving = async {
        server.write_all(&sent).await.unwrap();
        drop(server);
    };
    let forwarding = async {
        let error = forward(&mut from, &mut to).await.unwrap_err();
        assert!(matches!(error, ReadBodyError::Truncated), "{error}");
        assert!(!to.finish_body(None));
        drop(to);
    };
    let mut got = Vec::new();
    let ((), (), read) = tokio::join!(serving, forwarding, client.read_to_end(&mut got));
    read.unwrap();
    assert!(got[5..] == sent);
}

#[tokio::test]
async fn bytes_in_a_pipe_that_nobody_wants_are_taken_like_any_others() {
    let ((mut from, mut server), (mut to, mut client)) = (socket(), socket());
    begin(&mut from, &mut to, Framing::Length(200_000));
    let sent = body(200_000);
    let serving = async { server.write_all(&sent).await.unwrap() };
    let dropping = async {
        while !matches!(from.way, Way::Spliced(Some(_))) {
            assert_eq!(poll_fn(|cx| from.poll_body(cx)).await.unwrap(), Piece::Bytes);
            if from.announced() == from.available {
                poll_fn(|cx| from.poll_forward(cx, &mut to)).await.unwrap();
            }
        }
        assert_eq!(from.piece(), b"");
        while poll_fn(|cx| from.poll_body(cx)).await.unwrap() == Piece::Bytes {
            from.drop_piece();
        }
        assert_eq!(from.body_read(), 200_000);
    };
    let mut first = [0; 5];
    let ((), (), _) = tokio::join!(serving, dropping, client.read_exact(&mut first));
}

#[test]
fn a_body_that_ends_with_the_connection_is_not_over_before() {
    let mut out = Outbound::default();
    out.begin_body(Framing::Close);
    assert!(out.finish_body(None) && out.ends_with_connection(), "what waits of it may never go out");
    out.begin_body(Framing::Length(0));
    assert!(out.finish_body(None) && !out.ends_with_connection());
}
