//! Configs of the HTTP/2 tests: who listens, and who is behind.

use crate::support::lintel::front;
use crate::support::{Lintel, Origin};

/// For a pool whose servers fail on purpose.
pub const NO_EJECTION: &str = "outlier_detection: { consecutive_failures: 1000 }";
/// For a pool whose failures are to be seen.
pub const NO_RETRIES: &str = "outlier_detection: { consecutive_failures: 1000 }\nretries: { attempts: 0 }";
/// For servers that speak HTTP/2.
pub const TO_HTTP2: &str = "protocol: http2\noutlier_detection: { consecutive_failures: 1000 }";

/// As `front`, with a listener of HTTP/2 without TLS that has these further lines.
pub fn h2c(servers: &[&Origin], listener: &str, pool: &str) -> String {
    let listener: String = listener.lines().map(|line| format!("    {line}\n")).collect();
    let plain = "    address: \"127.0.0.1:0\"\n";
    front(servers, pool).replace(plain, &format!("{plain}    protocols: [http2]\n{listener}"))
}

/// A Lintel with an HTTP/2 listener `http` before these servers.
pub async fn before(servers: &[&Origin], pool: &str) -> Lintel {
    Lintel::start(h2c(servers, "", pool)).await
}

/// As `before`, with further lines of the listener.
pub async fn listening(listener: &str, server: &Origin) -> Lintel {
    Lintel::start(h2c(&[server], listener, NO_EJECTION)).await
}
