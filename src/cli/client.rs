//! Asks the control interface of a running Lintel, which a command finds by the config file.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::admin::{CONTROL_HEADER, token};
use crate::control::directories;
use crate::net::Address;

/// An answer whose body is still to be read.
pub struct Answer {
    pub status: u16,
    body: Box<dyn BufRead>,
}

/// Sends a request to the Lintel that runs with this config.
pub fn ask(config: &Path, method: &str, target: &str) -> anyhow::Result<Answer> {
    let loaded = super::load(config)?;
    let place = match &loaded.file.admin.address {
        Some(address) => address.clone(),
        None => Address::Unix(run_directory(&loaded)?.join("admin.sock")),
    };
    let mut stream = connect(&place).with_context(|| {
        format!("no Lintel answers at {place}; is `lintel run -c {}` up?", config.display())
    })?;
    // A unix socket needs none; over TCP whatever changes something does.
    let key = match (&place, &loaded.file.admin.token) {
        (Address::Unix(_), _) | (_, None) => String::new(),
        (_, Some(secret)) => {
            let token = token::read_text(&secret.file).context("cannot ask without the token of admin.token.file")?;
            format!("Authorization: Bearer {token}\r\n")
        }
    };
    // Of HTTP/1.0, so that the answer is all that comes until the end, without chunks.
    let request = format!(
        "{method} {target} HTTP/1.0\r\nHost: localhost\r\n{CONTROL_HEADER}: 1\r\n{key}Content-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    read_head(BufReader::new(stream))
}

fn run_directory(loaded: &crate::config::Loaded) -> anyhow::Result<PathBuf> {
    let runtime = &loaded.file.runtime;
    let found = directories::resolve(&directories::Surroundings {
        state: runtime.state_directory.as_deref(),
        run: runtime.run_directory.as_deref(),
        environment: &|name| std::env::var_os(name),
        root: Path::new("/"),
    })?;
    Ok(found.run)
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn connect(place: &Address) -> std::io::Result<Box<dyn Stream>> {
    Ok(match place {
        Address::Unix(path) => Box::new(UnixStream::connect(path)?),
        Address::Inet(address) => Box::new(TcpStream::connect(address)?),
        host @ Address::Host { .. } => Box::new(TcpStream::connect(host.to_string())?),
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
