//! Reply: a response, from what is kept of its request (RFC 3261 section 8.2.6).

use std::fmt::Write;

use zeroize::Zeroizing;

use crate::fields::Basics;
use crate::flow::Flow;
use crate::message::{CALL_ID, CSEQ, FROM, Message, RECORD_ROUTE, VIA};

/// Methods that are spoken here, as `Allow` lists them.
pub(crate) const ALLOW: (&str, &str) = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE");
/// The option tags that are known here: session timers (RFC 4028).
pub(crate) const SUPPORTS: (&str, &str) = ("Supported", "timer");
/// Types of bodies that offers have.
pub(crate) const SDP: &str = "application/sdp";

/// A header of a response.
pub(crate) type Header = (&'static str, String);

/// A header that is the same in every response.
pub(crate) fn always((name, value): (&'static str, &str)) -> Header {
    (name, value.to_owned())
}

/// What a response repeats of its request, and where it goes.
pub(crate) struct Asker {
    pub(crate) flow: Flow,
    lines: String,
    /// Where requests of the dialog are to pass by; empty unless one begins.
    routes: String,
    to: String,
    is_tagged: bool,
}

impl Asker {
    /// `flow` is the way the request came.
    pub(crate) fn of(message: &Message<'_>, basics: &Basics<'_>, mut flow: Flow) -> Asker {
        let mut lines = format!("Via: {}", basics.via.received_from(flow.remote));
        let vias = message.all(VIA).enumerate().flat_map(|(at, line)| {
            let skipped = usize::from(at == 0);
            crate::fields::list(line).skip(skipped)
        });
        for via in vias {
            let _ = write!(lines, "\r\nVia: {via}");
        }
        for name in [FROM, CALL_ID, CSEQ] {
            let _ = write!(lines, "\r\n{}: {}", name.0, message.first(name).unwrap_or_default());
        }
        let mut routes = String::new();
        for route in message.all(RECORD_ROUTE) {
            let _ = write!(routes, "Record-Route: {route}\r\n");
        }
        // Without rport answers go to the port that the request names, at the address it came from.
        if !flow.transport.is_reliable() && !basics.via.wants_rport() {
            flow.remote.set_port(basics.via.port());
        }
        Asker { flow, lines, routes, to: basics.to.to_owned(), is_tagged: basics.to_tag.is_some() }
    }

    /// A response; `tag` is ours, for those that are not provisional.
    pub(crate) fn reply(
        &self,
        status: u16,
        tag: Option<&str>,
        headers: &[Header],
        sdp: Option<&str>,
    ) -> Zeroizing<Vec<u8>> {
        let mut head =
            format!("SIP/2.0 {status} {}\r\n{}\r\nTo: {}", reason(status), self.lines, self.to);
        if let Some(tag) = tag.filter(|_| !self.is_tagged) {
            let _ = write!(head, ";tag={tag}");
        }
        head.push_str("\r\n");
        if (101..300).contains(&status) {
            head.push_str(&self.routes);
        }
        finish(head, headers, sdp)
    }
}

/// A message from its first lines, further headers and a body.
pub(crate) fn finish(
    mut head: String,
    headers: &[Header],
    sdp: Option<&str>,
) -> Zeroizing<Vec<u8>> {
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if sdp.is_some() {
        let _ = write!(head, "Content-Type: {SDP}\r\n");
    }
    let body = sdp.unwrap_or_default();
    let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
    let mut octets = Zeroizing::new(Vec::with_capacity(head.len() + body.len()));
    octets.extend_from_slice(head.as_bytes());
    octets.extend_from_slice(body.as_bytes());
    octets
}

/// What a status means, for people.
const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        _ => "Refused",
    }
}
