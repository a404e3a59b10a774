//! Asks the control interface of a running Lintel, which a command finds by the config file.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::tls;
use crate::admin::{CONTROL_HEADER, token};
use crate::config::{self, Places};
use crate::control::directories;
use crate::net::Address;

/// An answer whose body is still to be read.
pub struct Answer {
    pub status: u16,
    body: Box<dyn BufRead>,
}

/// Sends a request to the Lintel that runs with this config, be the file good or not: a command is needed most when its
/// file has problems, and may be typed in a shell without the variables that the file asks for.
pub fn ask(config: &Path, method: &str, target: &str) -> anyhow::Result<Answer> {
    let places = config::places(config, &|name| std::env::var(name).ok());
    let usual = Address::Unix(run_directory(&places)?.join("admin.sock"));
    let place = places.admin.clone().unwrap_or_else(|| usual.clone());
    match connect(&place) {
        Ok(line) => send(line, &place, &places, method, target),
        // A file whose `admin.address` is not in force yet.
        Err(_) if place != usual && runs_with(config, &usual, &places) => {
            send(connect(&usual)?, &usual, &places, method, target)
        }
        Err(error) => {
            let hint = if places.admin.is_some() || error.kind() == ErrorKind::NotFound {
                "; if `admin.address` was changed since it started, send it SIGHUP"
            } else {
                ""
            };
            let file = config.display();
            Err(anyhow::Error::new(error)
                .context(format!("no Lintel answers at {place}; is `lintel run -c {file}` up?{hint}")))
        }
    }
}

/// Whether the Lintel at a place has read this very file: another one is not to be told anything.
fn runs_with(config: &Path, place: &Address, places: &Places) -> bool {
    let asked = connect(place).ok().and_then(|stream| send(stream, place, places, "GET", "/config").ok());
    let answer = asked.filter(Answer::is_success).and_then(|answer| answer.json().ok());
    let read = answer.and_then(|answer| answer["file"].as_str().map(PathBuf::from));
    read.is_some() && read == std::path::absolute(config).ok()
}

fn send(line: Line, place: &Address, places: &Places, method: &str, target: &str) -> anyhow::Result<Answer> {
    // A unix socket needs none; over TCP whatever changes something does.
    let key = match (place, &places.token) {
        (Address::Unix(_), _) | (_, None) => String::new(),
        (_, Some(file)) => {
            let token = token::read_text(file).context("cannot ask without the token of admin.token.file")?;
            format!("Authorization: Bearer {token}\r\n")
        }
    };
    let mut stream: Box<dyn Stream> = match line {
        Line::Unix(stream) => Box::new(stream),
        Line::Tcp(stream) if places.certificates.is_empty() => Box::new(stream),
        Line::Tcp(stream) => Box::new(tls::shake_hands(stream, &places.certificates)?),
    };
    // Of HTTP/1.0, so that the answer is all that comes until the end, without chunks.
    let request = format!(
        "{method} {target} HTTP/1.0\r\nHost: localhost\r\n{CONTROL_HEADER}: 1\r\n{key}Content-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    read_head(BufReader::new(stream))
}

fn run_directory(places: &Places) -> anyhow::Result<PathBuf> {
    let found = directories::resolve(&directories::Surroundings {
        state: places.state.as_deref(),
        run: places.run.as_deref(),
        environment: &|name| std::env::var_os(name),
        root: Path::new("/"),
    })?;
    Ok(found.run)
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// A connection on which nothing was said yet.
enum Line {
    Unix(UnixStream),
    Tcp(TcpStream),
}

fn connect(place: &Address) -> std::io::Result<Line> {
    Ok(match place {
        Address::Unix(path) => Line::Unix(UnixStream::connect(path)?),
        Address::Inet(address) => Line::Tcp(TcpStream::connect(address)?),
        host @ Address::Host { .. } => Line::Tcp(TcpStream::connect(host.to_string())?),
    })
}

fn read_head(mut stream: BufReader<Box<dyn Stream>>) -> anyhow::Result<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let Some(status) = status else {
        bail!("the control interface answered with something that is not HTTP")
    };
    loop {
        let mut field = String::new();
        if stream.read_line(&mut field)? == 0 || field == "\r\n" {
            break;
        }
    }
    Ok(Answer { status, body: Box::new(stream) })
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The whole body as JSON, whatever the status.
    pub fn value(mut self) -> anyhow::Result<Value> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text).unwrap_or_else(|_| serde_json::json!({ "error": text.trim() })))
    }

    /// The whole body as JSON; an answer that is no success becomes an error with its reason.
    pub fn json(mut self) -> anyhow::Result<Value> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if (200..300).contains(&self.status) {
            return Ok(value);
        }
        let reason =
            value.get("error").and_then(Value::as_str).or(value.as_str()).unwrap_or("no reason given");
        bail!("{}", reason.trim())
    }

    /// The body line by line, while it comes.
    pub fn lines(self) -> impl Iterator<Item = std::io::Result<String>> {
        self.body.lines()
    }
}
