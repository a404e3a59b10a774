//! Expectations, Via, and what is said about the client (RFC 9110 sections 7.6.3, 10.1.1, RFC 7239).

use crate::case::{Case, Got, Seen::*, Setup, case, passed, refused};

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    vec![
        // Expect
        case("expect-continue", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", "RFC 9110 10.1.1: the body is there already, so 100 may be left out").got(&[Got::May(100), Got::Status(200), Got::Kept]).seen(&[Body("abc")]),
        case("expect-continue-case", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-CONTINUE\r\nContent-Length: 3\r\n\r\nabc", "RFC 9110 10.1.1: case-insensitive").got(&[Got::May(100), Got::Status(200), Got::Kept]).seen(&[Body("abc")]),
        case("expect-continue-chunked", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "RFC 9110 10.1.1: any body").got(&[Got::May(100), Got::Status(200), Got::Kept]).seen(&[Body("abc")]),
        case("expect-continue-without-body", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "RFC 9110 10.1.1: a client MUST NOT, but nothing is unclear").got(&[Got::May(100), Got::Status(200), Got::Kept]).seen(&[Lines(&["GET / HTTP/1.1"])]),
        case("expect-continue-in-1-0", "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", "RFC 9110 10.1.1: ignored in HTTP/1.0, and no 1xx to it").got(&[Got::Status(200), Got::Closed]).seen(&[Body("abc"), Lacks("expect")]),
        case("expect-unknown", "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "RFC 9110 10.1.1: MAY be answered 417").got(&[Got::Status(417)]).seen(&[Nothing]),
        case("expect-unknown-beside-continue", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, tea\r\nContent-Length: 3\r\n\r\nabc", "RFC 9110 10.1.1: one unknown is enough").got(&[Got::Status(417)]).seen(&[Nothing]),
        case("expect-unknown-second-line", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: tea\r\nContent-Length: 3\r\n\r\nabc", "RFC 9110 5.3: two lines are one list").got(&[Got::Status(417)]).seen(&[Nothing]),
        // Via
        passed("via-added", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[Contains("via", "1.1 ")], "RFC 9110 7.6.3: a gateway MUST send Via inbound"),
        passed("via-appended", "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 fred, 1.1 p.example.net\r\n\r\n", &[Contains("via", "1.0 fred, 1.1 p.example.net, 1.1 ")], "RFC 9110 7.6.3: in the order of the hops"),
        case("via-of-1-0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "RFC 9110 7.6.3: the version that was received").got(&[Got::Status(200)]).seen(&[Contains("via", "1.0 ")]),
        passed("via-of-another-lintel", "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 lintel, 1.1 lintel-00000000\r\n\r\n", &[Contains("via", "1.1 lintel, 1.1 lintel-00000000, 1.1 ")], "only one's own id is a loop; two Lintels in a row are none"),
        // What an untrusted client says about itself
        passed("forwarded-for-replaced", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", &[Has("x-forwarded-for", "127.0.0.1")], "who is not trusted does not say who asks"),
        passed("forwarded-for-replaced-all-lines", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n\r\n", &[Has("x-forwarded-for", "127.0.0.1")], "every line of it"),
        passed("forwarded-for-disguised", "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n", &[Lacks("x_forwarded_for")], "CGI-like servers read _ as -"),
        passed("forwarded-proto-replaced", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n", &[Has("x-forwarded-proto", "http")], "an app would believe it is on TLS"),
        passed("forwarded-host-replaced", "GET / HTTP/1.1\r\nHost: a:81\r\nX-Forwarded-Host: evil.test\r\n\r\n", &[Has("x-forwarded-host", "a:81")], "an app would make links to it"),
        passed("forwarded-port-replaced", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Port: 6666\r\n\r\n", &[Omits("x-forwarded-port", "6666")], "an app would make links to it"),
        passed("forwarded-replaced", "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=6.6.6.6;proto=https;host=evil.test\r\n\r\n", &[Omits("forwarded", "6.6.6.6"), Omits("forwarded", "evil"), Contains("forwarded", "for=127.0.0.1"), Contains("forwarded", "proto=http")], "RFC 7239 8.1: as X-Forwarded-For"),
        passed("real-ip-replaced", "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 6.6.6.6\r\n\r\n", &[Omits("x-real-ip", "6.6.6.6")], "as X-Forwarded-For"),
        passed("request-id-replaced", "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: forged\r\n\r\n", &[Omits("x-request-id", "forged"), Present("x-request-id")], "only a trusted peer names a request"),
        passed("client-certificate-removed", "GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: CN=root\r\nX-Client-Cert-Fingerprint: 00\r\nX-Client-Cert-Verified: SUCCESS\r\n\r\n", &[Lacks("x-client-cert-subject"), Lacks("x-client-cert-fingerprint"), Lacks("x-client-cert-verified")], "headers that a client cannot forge"),
        // What a trusted peer says about its client
        passed("trusted-forwarded-for-appended", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", &[Contains("x-forwarded-for", "6.6.6.6, 127.0.0.1")], "appended to, as all proxies do").setup(Setup::Trusting),
        passed("trusted-forwarded-appended", "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=6.6.6.6;proto=https\r\n\r\n", &[Contains("forwarded", "for=6.6.6.6;proto=https, for=127.0.0.1")], "RFC 7239 4: appended to").setup(Setup::Trusting),
        passed("trusted-forwarded-proto-stays", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.test\r\n\r\n", &[Has("x-forwarded-proto", "https"), Has("x-forwarded-host", "b.test")], "the peer ended TLS").setup(Setup::Trusting),
        passed("trusted-request-id-stays", "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-123\r\n\r\n", &[Has("x-request-id", "abc-123")], "one name for one request over all hops").setup(Setup::Trusting),
        // HTTP/1.1 needs a host for what is forwarded
        refused("forwarding-needs-no-body-for-refusal", 400, "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 100000\r\n\r\nabc", "RFC 9112 3.2: refused from the head alone, whatever body was announced"),
    ]
}
