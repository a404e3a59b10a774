//! WebSocket clients through Lintel and an echo server behind it.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::origin::{Conversation, Origin};
use super::time::within;

pub type Socket = WebSocketStream<TcpStream>;

/// Small buffers: a test may hold thousands of sockets.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0)
}

/// Opens a WebSocket on a path.
pub async fn try_open(address: SocketAddr, path: &str) -> Result<Socket, tungstenite::Error> {
    let stream = TcpStream::connect(address).await?;
    let request = format!("ws://a.test{path}").into_client_request()?;
    Ok(client_async_with_config(request, stream, Some(config())).await?.0)
}

pub async fn open(address: SocketAddr, path: &str) -> Socket {
    let socket = within("a WebSocket", try_open(address, path)).await;
    socket.unwrap_or_else(|error| panic!("no WebSocket: {error}"))
}

/// Sends a text and awaits the next message.
pub async fn echo(socket: &mut Socket, text: &str) -> String {
    try_echo(socket, text).await.unwrap_or_else(|error| panic!("no echo: {error}"))
}

/// As `echo`, with what went wrong.
pub async fn try_echo(socket: &mut Socket, text: &str) -> Result<String, tungstenite::Error> {
    let exchange = async {
        socket.send(Message::text(text)).await?;
        next(socket).await
    };
    within("an echo", exchange).await
}

/// The next text; pings and pongs are left out.
pub async fn next(socket: &mut Socket) -> Result<String, tungstenite::Error> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => return Ok(text.to_string()),
            Message::Close(_) => return Err(tungstenite::Error::ConnectionClosed),
            _ => {}
        }
    }
    Err(tungstenite::Error::ConnectionClosed)
}

/// A server that upgrades every request and returns every message; answers `who` with its name.
pub fn echo_origin(name: &str) -> Origin {
    let name = name.to_owned();
    Origin::scripted(move |talk| {
        let name = name.clone();
        async move {
            let _ = serve_echo(talk, &name).await;
        }
    })
}

async fn serve_echo(mut talk: Conversation, name: &str) -> Option<()> {
    let request = talk.request().await?;
    let key = request.field("sec-websocket-key")?.to_owned();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    talk.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
    .await;
    let (stream, early) = talk.stream();
    let mut socket = WebSocketStream::from_partially_read(stream, early, Role::Server, Some(config())).await;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text == "who" => socket.send(Message::text(name)).await.ok()?,
            Message::Text(_) | Message::Binary(_) => socket.send(message).await.ok()?,
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_echo_server_echoes_and_says_its_name() {
        let origin = echo_origin("one");
        let mut socket = open(origin.socket_address(), "/ws").await;
        assert_eq!(echo(&mut socket, "hello").await, "hello");
        assert_eq!(echo(&mut socket, "who").await, "one");
    }
}
