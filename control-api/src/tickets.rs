//! Tickets: what opens one stream once, for clients that can send no header: browsers' event streams
//! and WebSockets.
//!
//! A ticket stands in a URL, where proxies and browsers keep it. So it is good for half a minute, one
//! stream and one use, and it is taken out of the URL before anything else looks at it. There are none
//! unless the configuration says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::auth::{OpenStream, Permit};
use crate::dto::json::JsonBytes;
use crate::dto::ticket::{TicketIssued, TicketRequest};
use crate::keys::{Denied, KeyId, Principal, hex};
use crate::problem::{Code, Problem, ProblemBody};
use crate::{Control, chance, clock, ng};

/// How long a ticket is good: time for one request to be made.
pub const LIFE: Duration = Duration::from_secs(30);
/// Tickets that are good at a time; one takes about 300 octets.
pub const MAX_TICKETS: usize = 1024;
/// Those of one key, so that one can't take them all.
pub const MAX_OF_KEY: usize = 64;
/// Octets of a ticket, which can't be guessed.
const TICKET_OCTETS: usize = 32;
/// Longest path of a stream.
const MAX_PATH: usize = 256;
/// The parameter that it is sent in.
const PARAMETER: &str = "ticket";

type Hash = [u8; 32];

struct Ticket {
    principal: Principal,
    path: String,
    until: Instant,
}

/// The tickets that are good.
pub struct Tickets {
    are_issued: bool,
    kept: Mutex<HashMap<Hash, Ticket>>,
}

/// A ticket that came with a request; it has no `Debug`, and is wiped when dropped.
#[derive(Clone)]
pub(crate) struct PresentedTicket(Arc<Zeroizing<String>>);

impl Tickets {
    /// None yet; and none ever, unless they are issued.
    #[must_use]
    pub fn new(are_issued: bool) -> Tickets {
        Tickets { are_issued, kept: Mutex::default() }
    }

    /// Makes a ticket for a stream.
    fn issue(
        &self,
        principal: &Principal,
        path: String,
        now: Instant,
    ) -> Result<Zeroizing<String>, Problem> {
        let octets = chance::octets::<TICKET_OCTETS>().map_err(|_| Problem::internal())?;
        let text = Zeroizing::new(hex(Zeroizing::new(octets).as_slice()));
        let mut kept = self.lock();
        kept.retain(|_, ticket| now < ticket.until);
        let of_key = |key: &KeyId| kept.values().filter(|it| it.principal.key == *key).count();
        if kept.len() >= MAX_TICKETS || of_key(&principal.key) >= MAX_OF_KEY {
            let detail = "Use the tickets there are, or wait half a minute for them to end.";
            return Err(Problem::new(Code::TooManyStreams, detail));
        }
        let ticket = Ticket { principal: principal.clone(), path, until: now + LIFE };
        kept.insert(hash(&text), ticket);
        Ok(text)
    }

    /// Whose ticket it is, if it is good for a stream of that path. However that goes, it is used.
    pub(crate) fn redeem(
        &self,
        PresentedTicket(text): &PresentedTicket,
        stream: Option<&str>,
        now: Instant,
    ) -> Result<Principal, Denied> {
        if !self.are_issued {
            return Err(Denied::InUrl);
        }
        // Found by its hash: the time that takes tells nothing of it.
        let ticket = self.lock().remove(&hash(text));
        let good = ticket.filter(|it| now < it.until && Some(&*it.path) == stream);
        good.map(|ticket| ticket.principal).ok_or(Denied::Ticket)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Ticket>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(text: &str) -> Hash {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    octets
}

/// Takes a ticket out of a request's URL, so that no handler and no log sees it there. Two are left
/// where they are: they will be refused.
pub(crate) fn take_out(request: &mut Request) {
    let Some(query) = request.uri().query() else { return };
    let prefix = "ticket=";
    let (tickets, others): (Vec<_>, Vec<_>) =
        query.split('&').partition(|parameter| parameter.starts_with(prefix));
    let [ticket] = tickets[..] else { return };
    let ticket = PresentedTicket(Arc::new(Zeroizing::new(ticket[prefix.len()..].to_owned())));
    let path = request.uri().path();
    let rest = match others.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", others.join("&")),
    };
    let mut parts = request.uri().clone().into_parts();
    let Ok(rest) = rest.parse() else { return };
    parts.path_and_query = Some(rest);
    let Ok(uri) = Uri::from_parts(parts) else { return };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(ticket);
}

/// Makes a ticket that opens one stream, once.
///
/// It is for clients that can send no header with it: `GET` the path within half a minute with
/// `?ticket=` and what is answered here. The paths are `/v1/calls/{call_id}/events` and `/ng`. What the
/// stream tells is what the key would be told, and it ends with the key. `404` says that the
/// configuration lets no ticket be made (`control.url_tickets`). The ticket is told once, so this
/// operation takes no `Idempotency-Key`.
#[utoipa::path(
    post, path = "/v1/tickets", tag = "keys", request_body = TicketRequest,
    responses(
        (status = 201, body = TicketIssued),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn issue(
    State(control): State<Arc<Control>>,
    permit: Permit<OpenStream>,
    body: JsonBytes,
) -> Result<(StatusCode, Json<TicketIssued>), Problem> {
    if !control.tickets.are_issued {
        let detail = "Tickets are made where the configuration says control.url_tickets = true.";
        return Err(Problem::new(Code::NotFound, detail));
    }
    let TicketRequest { path } = body.read()?;
    if !is_stream(&path) {
        let detail = "must be /v1/calls/{call_id}/events or /ng";
        return Err(Problem::invalid("/path", detail));
    }
    let ticket = control.tickets.issue(&permit.principal, path.clone(), clock::monotonic())?;
    let url = format!("{path}?{PARAMETER}={}", *ticket);
    let issued =
        TicketIssued { ticket: ticket.to_string(), url, expires_at: clock::now().after(LIFE) };
    Ok((StatusCode::CREATED, Json(issued)))
}

fn is_stream(path: &str) -> bool {
    let call = path.strip_prefix("/v1/calls/").and_then(|rest| rest.strip_suffix("/events"));
    let is_events = call.is_some_and(|call| !call.is_empty() && !call.contains(['/', '?', '#']));
    path.len() <= MAX_PATH && (is_events || path == ng::http::PATH)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::extract::Request;
    use zeroize::Zeroizing;

    use super::{LIFE, MAX_OF_KEY, PresentedTicket, Tickets, is_stream, take_out};
    use crate::clock;
    use crate::keys::{Denied, Principal, Role};

    const PATH: &str = "/v1/calls/call_1/events";

    fn issue(tickets: &Tickets) -> PresentedTicket {
        let principal = Principal::of_role(Role::Script);
        let issued = tickets.issue(&principal, PATH.to_owned(), clock::monotonic());
        PresentedTicket(Arc::new(issued.unwrap()))
    }

    #[test]
    fn a_ticket_is_good_once_for_one_stream_and_half_a_minute() {
        let (tickets, now) = (Tickets::new(true), clock::monotonic());
        let ticket = issue(&tickets);
        assert!(tickets.redeem(&ticket, Some(PATH), now).is_ok());
        assert_eq!(tickets.redeem(&ticket, Some(PATH), now), Err(Denied::Ticket));
        for stream in [Some("/ng"), None] {
            let ticket = issue(&tickets);
            assert_eq!(tickets.redeem(&ticket, stream, now), Err(Denied::Ticket));
            assert_eq!(tickets.redeem(&ticket, Some(PATH), now), Err(Denied::Ticket), "used");
        }
        let late = issue(&tickets);
        let end = clock::monotonic() + LIFE;
        assert_eq!(tickets.redeem(&late, Some(PATH), end), Err(Denied::Ticket));
        let made_up = PresentedTicket(Arc::new(Zeroizing::new("0".repeat(64))));
        assert_eq!(tickets.redeem(&made_up, Some(PATH), now), Err(Denied::Ticket));
    }

    #[test]
    fn a_key_has_few() {
        let tickets = Tickets::new(true);
        let principal = Principal::of_role(Role::Script);
        let more = |now| tickets.issue(&principal, PATH.to_owned(), now).is_ok();
        let now = clock::monotonic();
        assert!((0..MAX_OF_KEY).all(|_| more(now)) && !more(now) && more(now + LIFE));
    }

    #[test]
    fn it_is_taken_out_of_the_url() {
        let taken = |uri: &str| {
            let mut request = Request::get(uri).body(Body::empty()).unwrap();
            take_out(&mut request);
            let found = request.extensions().get::<PresentedTicket>();
            (request.uri().to_string(), found.map(|PresentedTicket(text)| text.to_string()))
        };
        let found = |uri: &str, ticket: &str| (uri.to_owned(), Some(ticket.to_owned()));
        assert_eq!(taken("/a?ticket=7"), found("/a", "7"));
        assert_eq!(taken("/a?b=1&ticket=7&c=2"), found("/a?b=1&c=2", "7"));
        assert_eq!(taken("/a?ticket=7&ticket=8"), ("/a?ticket=7&ticket=8".to_owned(), None));
        assert_eq!(taken("/a?tickets=7"), ("/a?tickets=7".to_owned(), None));
    }

    #[test]
    fn streams_are_known() {
        assert!(is_stream(PATH) && is_stream("/ng"));
        for other in
            ["", "/v1/calls", "/v1/calls//events", "/v1/calls/a/b/events", "/v1/calls/a?/events"]
        {
            assert!(!is_stream(other), "{other}");
        }
    }
}
