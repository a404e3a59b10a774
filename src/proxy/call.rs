//! gRPC: what a call adds to an exchange. Its deadline, its status, and answers that its client understands.
//!
//! After gRPC's `PROTOCOL-HTTP2.md`; gRPC-Web (`PROTOCOL-WEB.md`) is translated where the route has the filter for it.

use std::time::Duration;

use super::fault::{self, Failure};
use crate::filter::GrpcWeb;
use crate::observe::Fault;
use crate::reply::{Reply, reason};
use crate::wire::body::Framing;
use crate::wire::grpc::status::encode_message;
use crate::wire::grpc::web::{Malformed, TextDecoder, TextEncoder, trailers_frame};
use crate::wire::grpc::{Dialect, Status, request_content_type, response_content_type, timeout};
use crate::wire::head::{Head, Known};

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";

/// A call of gRPC.
#[derive(Clone, Debug)]
pub struct Call {
    dialect: Dialect,
    /// The filter that has it translated.
    web: Option<GrpcWeb>,
}

/// The time that a call gives itself, from its head on. Calls of gRPC-Web that are passed on as they are keep it too.
pub fn time(request: &Head) -> Option<Duration> {
    dialect(request)?;
    timeout::parse(request.all_named("grpc-timeout").next()?)
}

fn dialect(request: &Head) -> Option<Dialect> {
    Dialect::of_content_type(request.get(Known::ContentType)?)
}

impl Call {
    /// A call as servers understand it.
    pub fn native(request: &Head) -> Option<Self> {
        dialect(request).filter(|dialect| !dialect.is_web()).map(|dialect| Self { dialect, web: None })
    }

    /// A call that is translated.
    pub fn web(request: &Head, filter: Option<&GrpcWeb>) -> Option<Self> {
        let web = filter?.clone();
        dialect(request).filter(|dialect| dialect.is_web()).map(|dialect| Self { dialect, web: Some(web) })
    }

    pub fn is_web(&self) -> bool {
        self.web.is_some()
    }

    /// The answer to a fault: in gRPC an answer of HTTP's is always 200 (trailers-only).
    pub fn reply(&self, failure: &Failure, request: &Head, request_id: &str) -> Reply {
        let status = fault::status(failure.fault);
        let text = match request_id {
            "" => reason(status).to_owned(),
            id => format!("{} (request id {id})", reason(status)),
        };
        let reply = Reply::new(200).with("Content-Type", self.dialect.content_type().as_bytes());
        let mut reply = add_status(reply, fault::grpc_status(failure.fault), &text);
        self.allow(request, &mut reply.head);
        reply
    }

    /// What ends a response that was begun and cannot go on.
    pub fn trailers(&self, failure: &Failure) -> Head {
        let text = reason(fault::status(failure.fault));
        add_status(Reply { head: Head::new(), body: Vec::new() }, fault::grpc_status(failure.fault), text)
            .head
    }

    /// Adds what CORS asks of answers to pages of other origins.
    pub fn allow(&self, request: &Head, response: &mut Head) {
        if let Some(web) = &self.web {
            web.allow(request, response);
        }
    }

    /// Makes the head for the server gRPC's own; says how the body goes on.
    pub fn prepare_request(&self, outgoing: &mut Head, body: Framing) -> Framing {
        if !self.is_web() {
            return body;
        }
        let content_type = outgoing.get(Known::ContentType).and_then(request_content_type);
        if let Some(content_type) = content_type.map(std::borrow::Cow::into_owned) {
            outgoing.set_known(Known::ContentType, &content_type);
        }
        outgoing.set_known(Known::Te, b"trailers");
        match (self.dialect, body) {
            // How long it is shows when it is decoded.
            (Dialect::WebText, Framing::Length(_)) => Framing::Chunked,
            _ => body,
        }
    }

    /// How a request's body has to be read before it goes on.
    pub fn upload(&self) -> Option<Box<TextBody>> {
        (self.is_web() && self.dialect == Dialect::WebText).then(Box::default)
    }

    /// Makes the answer's head gRPC-Web's; `None` when the answer is no gRPC, or its body is not to be changed.
    pub fn prepare_response(&self, response: &mut Head, body: Framing) -> Option<Box<WebBody>> {
        self.web.as_ref()?;
        let from_server = response.get(Known::ContentType)?;
        let content_type = response_content_type(self.dialect, from_server)?.into_owned();
        response.set_known(Known::ContentType, &content_type);
        let text = (self.dialect == Dialect::WebText).then(TextEncoder::default);
        (body != Framing::Empty).then(|| Box::new(WebBody { text, ended: false }))
    }
}

fn add_status(mut reply: Reply, status: Status, text: &str) -> Reply {
    reply.head.add(STATUS, itoa::Buffer::new().format(status.code()).as_bytes());
    reply.with(MESSAGE, encode_message(text).as_bytes())
}

/// A call's final status, as its server said it: in the trailers, or in a head that is all there is.
pub fn final_status(response: &Head, trailers: Option<&Head>) -> u8 {
    let said = trailers.into_iter().chain([response]).find_map(|head| {
        let code = head.all_named(STATUS).next()?;
        Some(Status::of_code(code).unwrap_or(Status::Unknown))
    });
    let unsaid = || if response.status == 200 { Status::Unknown } else { Status::of_http(response.status) };
    said.unwrap_or_else(unsaid).code()
}

/// The status of a call that failed here.
pub fn failed_status(fault: Fault) -> u8 {
    fault::grpc_status(fault).code()
}

/// A request's body in base64.
#[derive(Debug, Default)]
pub struct TextBody {
    decoder: TextDecoder,
    decoded: Vec<u8>,
    sent: usize,
}

impl TextBody {
    /// Takes a piece of what the client sent.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        self.decoded.clear();
        self.sent = 0;
        self.decoder.decode(piece, &mut self.decoded)
    }

    /// Bytes for the server.
    pub fn waiting(&self) -> &[u8] {
        self.decoded.get(self.sent..).unwrap_or_default()
    }

    pub fn advance(&mut self, count: usize) {
        self.sent += count;
    }

    /// Whether a body may end here.
    pub fn finish(&self) -> Result<(), Malformed> {
        self.decoder.finish()
    }
}

/// A response's body on its way to a browser.
#[derive(Debug)]
pub struct WebBody {
    text: Option<TextEncoder>,
    ended: bool,
}

impl WebBody {
    /// Writes a piece of what the server sent; messages are the same in both dialects.
    pub fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match &mut self.text {
            Some(text) => text.encode(piece, out),
            None => out.extend_from_slice(piece),
        }
    }

    /// Writes what stayed behind, so that the client has all there is while the server is silent.
    pub fn pause(&mut self, out: &mut Vec<u8>) {
        if let Some(text) = &mut self.text {
            text.finish(out);
        }
    }

    /// Writes the last frame, once.
    pub fn end(&mut self, trailers: Option<&Head>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let mut frame = Vec::new();
        let fields = trailers.into_iter().flat_map(Head::iter);
        trailers_frame(fields.map(|field| (field.name, field.value)), &mut frame);
        self.write(&frame, out);
        self.pause(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new();
        for (name, value) in fields {
            head.add(name, value.as_bytes());
        }
        head
    }

    #[test]
    fn the_status_is_where_the_server_said_it() {
        let ok = Head::response(200, "OK");
        let (five, nine) = (head(&[("grpc-status", "5")]), head(&[("grpc-status", "9")]));
        assert_eq!(final_status(&ok, Some(&five)), 5);
        assert_eq!(final_status(&nine, None), 9);
        assert_eq!(final_status(&nine, Some(&five)), 5, "the trailers have the last word");
        assert_eq!(final_status(&ok, None), Status::Unknown.code());
        assert_eq!(final_status(&Head::response(503, ""), None), Status::Unavailable.code());
        assert_eq!(final_status(&head(&[("grpc-status", "99")]), None), Status::Unknown.code());
    }

    #[test]
    fn only_calls_have_a_time_and_only_native_ones_are_calls_by_themselves() {
        let call = head(&[("content-type", "application/grpc+proto"), ("grpc-timeout", "250m")]);
        assert_eq!(time(&call), Some(Duration::from_millis(250)));
        assert!(Call::native(&call).is_some() && Call::web(&call, None).is_none());
        let page = head(&[("content-type", "text/html"), ("grpc-timeout", "250m")]);
        assert_eq!(time(&page), None);
        let web = head(&[("content-type", "application/grpc-web")]);
        assert!(Call::native(&web).is_none() && Call::web(&web, None).is_none());
    }

    #[test]
    fn a_fault_is_answered_with_a_status_in_the_head() {
        let call = Call { dialect: Dialect::Grpc, web: None };
        let failure = Failure::from(Fault::NoServerUp);
        let reply = call.reply(&failure, &Head::new(), "abc");
        let text = |name: &str| {
            reply.head.all_named(name).next().map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!((reply.head.status, reply.body.len()), (200, 0));
        assert_eq!(text("grpc-status").as_deref(), Some("14"));
        assert!(text("grpc-message").unwrap().contains("abc"));
        assert_eq!(text("content-type").as_deref(), Some("application/grpc"));
    }
}
