//! Requests: what each operation of the API is in the audit log.

use std::sync::Arc;

use audit_log::{Detail, Entry, Event, Id, KeyName, Kind, Listener, Method, Object, Word};
use axum::extract::Request;
use axum::response::Response;
use relay::switchboard::CallId;

use super::Audit;
use super::entries::{By, because, call_of, failed, key_of, recording_of};
use crate::auth::Witness;
use crate::calls::KEY_PATH;
use crate::dto::id;
use crate::index::CallIndex;
use crate::keys::Denied;
use crate::problem::Problem;
use crate::server::Client;
use crate::webhooks::delivery::DeliveryId;
use crate::{mcp, ng, twilio};

/// What an operation is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// An entry of this kind, about something of that kind, done or not.
    As(Event, Kind),
    /// One only if it was not done: what was done is told where it is done.
    OnlyRefused(Event, Kind),
    /// None, unless whoever asks may not.
    Nothing,
}

/// The one table: what changes something, and what gives out what is kept of callers. A key that is
/// handed in is told by nobody: entries would tell how many there were, and when.
fn told(method: &str, operation: &str) -> Told {
    use Told::{As, Nothing, OnlyRefused};
    match (method, operation) {
        ("POST", "/v1/calls" | "/v1/whip") => OnlyRefused(Event::CallOpened, Kind::Call),
        ("DELETE", "/v1/calls/{call_id}" | "/v1/whip/{call_id}") | ("POST", twilio::PATH) => {
            As(Event::CallHungUp, Kind::Call)
        }
        ("POST", "/v1/calls/{call_id}/caller/offer") | ("PUT", "/v1/calls/{call_id}/engine") => {
            As(Event::CallChanged, Kind::Call)
        }
        ("PUT", "/v1/calls/{call_id}/arm") => As(Event::SessionArmed, Kind::Call),
        ("DELETE", "/v1/calls/{call_id}/arm") => As(Event::SessionDisarmed, Kind::Call),
        ("POST", "/v1/calls/{call_id}/secure-session" | "/v1/tools/collect_payment") => {
            OnlyRefused(Event::ApiRequest, Kind::Call)
        }
        ("DELETE", "/v1/calls/{call_id}/secure-session") => As(Event::SessionCancelled, Kind::Call),
        ("POST", "/v1/calls/{call_id}/secure-session/sealed") => {
            As(Event::SealedFetched, Kind::SealedData)
        }
        ("POST", "/v1/calls/{call_id}/model-tokens") => {
            As(Event::ModelTokenIssued, Kind::ModelToken)
        }
        ("DELETE", "/v1/calls/{call_id}/model-tokens") => {
            As(Event::ModelTokenRevoked, Kind::ModelToken)
        }
        ("POST", "/v1/webhook-deliveries/{delivery_id}/replay") => {
            As(Event::WebhookReplayed, Kind::WebhookEvent)
        }
        ("GET", "/v1/calls/{call_id}/recording") => As(Event::RecordingExported, Kind::Recording),
        // What it was, the relay tells besides.
        ("POST", "/v1/calls/{call_id}/recording") => As(Event::ApiRequest, Kind::Recording),
        ("DELETE", "/v1/calls/{call_id}/recording") => As(Event::RecordingErased, Kind::Recording),
        // Fields' codes would be key times.
        (_, KEY_PATH) => Nothing,
        // Told by the session that a model starts, and by each command of a proxy.
        ("POST", mcp::PATH | ng::http::PATH) => Nothing,
        ("POST", "/v1/keys") => As(Event::KeyCreated, Kind::Key),
        ("POST", "/v1/keys/{key_id}/rotate") => As(Event::KeyRotated, Kind::Key),
        ("POST", "/v1/keys/{key_id}/revoke") => As(Event::KeyRevoked, Kind::Key),
        ("GET", "/v1/audit") => As(Event::LogRead, Kind::AuditLog),
        ("POST" | "PUT" | "PATCH" | "DELETE", _) => As(Event::ApiRequest, Kind::Api),
        _ => Nothing,
    }
}

/// A request while it is being answered.
pub(crate) struct Asked {
    method: &'static str,
    operation: Box<str>,
    client: Option<Client>,
    witness: Witness,
    call: Option<CallId>,
    delivery: Option<DeliveryId>,
    key: Option<KeyName>,
}

impl Asked {
    /// A request that has just come.
    pub(crate) fn begin(method: &'static str, operation: &str, request: &mut Request) -> Asked {
        let path = request.uri().path();
        let call = path.split('/').find_map(id::parse_call);
        let delivery = path.split('/').find_map(DeliveryId::parse);
        let key = key_in(path);
        Asked {
            method,
            operation: operation.into(),
            client: request.extensions().get().copied(),
            witness: Witness::of(request),
            call,
            delivery,
            key,
        }
    }

    /// Writes what the answer says that was done, or was not.
    pub(crate) fn complete(self, audit: &Audit, calls: &CallIndex, response: &Response) {
        if audit.log.is_none() {
            return;
        }
        let status = response.status().as_u16();
        match (status, told(self.method, &self.operation)) {
            (401 | 403, _) => audit.note_denied(self.denied(response, calls)),
            (200..=399, Told::As(event, kind)) => {
                audit.note(self.entry(event, kind, response, calls));
            }
            (400.., Told::As(event, kind) | Told::OnlyRefused(event, kind)) => {
                audit.note(failed(self.entry(event, kind, response, calls)));
            }
            (_, Told::As(..) | Told::OnlyRefused(..) | Told::Nothing) => {}
        }
    }

    fn by(&self) -> By {
        let by = match self.witness.principal() {
            Some(principal) => By::key(principal, self.client),
            None => By::stranger(Listener::Control, self.client),
        };
        match &*self.operation {
            mcp::PATH => by.through(Listener::Mcp),
            ng::http::PATH => by.through(Listener::Ng),
            _ => by,
        }
    }

    fn denied(&self, response: &Response, calls: &CallIndex) -> Entry {
        let (event, object) = match (self.witness.principal(), self.witness.suspect()) {
            (Some(_), _) => (Event::AuthForbidden, self.object(Kind::Api, false, calls)),
            // The key that was named, which its holder has not sent; the actor is nobody.
            (None, Some(key)) => (Event::AuthDenied, key_of(key)),
            (None, None) => (Event::AuthDenied, Object::of(Kind::Api)),
        };
        failed(self.by().entry(event, object, self.detail(response)))
    }

    fn entry(&self, event: Event, kind: Kind, response: &Response, calls: &CallIndex) -> Entry {
        let is_done = response.status().is_success();
        self.by().entry(event, self.object(kind, is_done, calls), self.detail(response))
    }

    /// What it was about. Ids that a client wrote are named only if there is something of that id.
    fn object(&self, kind: Kind, is_done: bool, calls: &CallIndex) -> Object {
        let known = |call: &CallId| is_done || calls.find(*call).is_some();
        let call = self.witness.call().or(self.call).filter(known);
        match (kind, call) {
            (Kind::Call, Some(call)) => call_of(call),
            (Kind::Recording, Some(call)) => recording_of(call),
            (_, call) => {
                let id = self.delivery.filter(|_| is_done && kind == Kind::WebhookEvent);
                let id = id.map(|delivery| Id(delivery.number()));
                let key = self.key.clone().filter(|_| is_done && kind == Kind::Key);
                Object { call: call.map(|call| Id(call.0)), id, key, ..Object::of(kind) }
            }
        }
    }

    fn detail(&self, response: &Response) -> Detail {
        let problem = response.extensions().get::<Arc<Problem>>();
        // Whoever is not let in is told the same whatever the reason is; here it stands.
        let denied = self.witness.denied().map(Denied::as_str);
        let reason = denied.or(problem.map(|problem| problem.code.row().1));
        Detail {
            method: Method::read(self.method),
            operation: Word::read(&self.operation),
            status: Some(response.status().as_u16()),
            ..reason.map_or(Detail::default(), because)
        }
    }
}

/// The key that a path names, in the words of a stranger.
fn key_in(path: &str) -> Option<KeyName> {
    let (id, _) = path.strip_prefix("/v1/keys/")?.split_once('/')?;
    KeyName::read(id)
}

#[cfg(test)]
mod tests {
    use audit_log::Word;

    use super::{Told, told};
    use crate::calls::KEY_PATH;
    use crate::openapi;

    #[test]
    fn every_operation_that_changes_something_is_told_but_for_keys() {
        let contract: serde_json::Value = serde_json::from_str(&openapi::contract()).unwrap();
        for (path, methods) in contract["paths"].as_object().unwrap() {
            assert!(Word::read(path).is_some(), "{path} is a word");
            for method in methods.as_object().unwrap().keys() {
                let told = told(&method.to_uppercase(), path);
                let is_read_out = path.ends_with("/recording") || path == "/v1/audit";
                let is_silent = method == "get" && !is_read_out;
                let is_silent = is_silent || path == KEY_PATH;
                assert_eq!(told == Told::Nothing, is_silent, "{method} {path}");
            }
        }
    }
}
