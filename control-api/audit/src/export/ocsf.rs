//! Ocsf: an entry as the Open Cybersecurity Schema Framework has it: Authentication where somebody
//! proved himself or could not, API Activity for all else.

use serde_json::{Map, Value, json};

use super::Exported;
use crate::entry::{Actor, Entry, Object};
use crate::event::{Event, Kind, Method, Outcome};

/// The version of the schema.
pub const VERSION: &str = "1.3.0";
/// Category "Identity & Access Management" with its class "Authentication".
const AUTHENTICATION: Class = Class { category: 3, class: 3002 };
/// Category "Application Activity" with its class "API Activity".
const API_ACTIVITY: Class = Class { category: 6, class: 6003 };
/// `severity_id`s "Informational" and "Medium".
const INFORMATIONAL: u8 = 1;
const MEDIUM: u8 = 3;
/// `activity_id`s of Authentication: a key proves itself with each request.
const LOGON: u8 = 1;
/// `activity_id`s of API Activity.
const CREATE: u8 = 1;
const READ: u8 = 2;
const UPDATE: u8 = 3;
const DELETE: u8 = 4;
/// In any class: what the others do not cover.
const OTHER: u8 = 99;
/// `type_id` of a user: "User" and "System".
const USER: u8 = 1;
const SYSTEM: u8 = 3;

#[derive(Clone, Copy)]
struct Class {
    category: u8,
    class: u32,
}

/// One event.
#[must_use]
pub fn event(exported: &Exported) -> Value {
    let of_keys = [Event::AuthAccepted, Event::AuthDenied, Event::AuthForbidden, Event::AuthAlarm];
    if of_keys.contains(&exported.record.entry.event) {
        authentication(exported)
    } else {
        api_activity(exported)
    }
}

fn authentication(exported: &Exported) -> Value {
    let entry = &exported.record.entry;
    let activity = if entry.event == Event::AuthAccepted || entry.event == Event::AuthDenied {
        LOGON
    } else {
        OTHER
    };
    let mut event = common(exported, AUTHENTICATION, activity);
    event.insert("user".into(), user(&entry.actor));
    event.insert("service".into(), json!({ "name": service(entry) }));
    event.insert("is_remote".into(), entry.origin.peer.is_some().into());
    Value::Object(event)
}

fn api_activity(exported: &Exported) -> Value {
    let entry = &exported.record.entry;
    let mut event = common(exported, API_ACTIVITY, activity(entry));
    let operation = entry.detail.operation.as_ref();
    let operation = operation.map_or(entry.event.as_str(), |word| word.as_str());
    let mut api = json!({ "operation": operation, "service": { "name": service(entry) } });
    if let Some(status) = entry.detail.status {
        api["response"] = json!({ "code": status });
    }
    event.insert("api".into(), api);
    event.insert("resources".into(), json!([resource(&entry.object)]));
    Value::Object(event)
}

/// What both classes have.
fn common(exported: &Exported, class: Class, activity: u8) -> Map<String, Value> {
    let entry = &exported.record.entry;
    let (status, severity) = match entry.outcome {
        Outcome::Success => (1, INFORMATIONAL),
        Outcome::Failure => (2, MEDIUM),
    };
    let source = match entry.origin.peer {
        Some(peer) => json!({ "ip": peer.address.to_string(), "port": peer.port }),
        None => json!({ "svc_name": "sotto" }),
    };
    let members = json!({
        "activity_id": activity,
        "actor": { "user": user(&entry.actor) },
        "category_uid": class.category,
        "class_uid": class.class,
        "metadata": {
            "event_code": entry.event.as_str(),
            "log_name": "audit",
            "original_time": entry.at.to_string(),
            "product": { "name": "Sotto", "vendor_name": "Sotto" },
            "sequence": exported.record.seq,
            "uid": exported.hash.to_string(),
            "version": VERSION,
        },
        "raw_data": exported.line,
        "severity_id": severity,
        "src_endpoint": source,
        "status_id": status,
        "time": entry.at.unix_ms(),
        "type_uid": class.class * 100 + u32::from(activity),
    });
    let mut members = match members {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    // What is called "other" has to be named.
    if activity == OTHER {
        members.insert("activity_name".into(), entry.event.as_str().into());
    }
    if let Some(reason) = &entry.detail.reason {
        members.insert("status_detail".into(), reason.as_str().into());
    }
    members
}

fn user(actor: &Actor) -> Value {
    match actor {
        Actor::Nobody => json!({ "name": "nobody", "type_id": 0 }),
        Actor::Relay => json!({ "name": "relay", "type_id": SYSTEM }),
        Actor::Key(name) => json!({ "type_id": USER, "uid": name.as_str() }),
    }
}

/// The door, as the service that was spoken to.
fn service(entry: &Entry) -> String {
    format!("sotto/{}", entry.origin.listener.as_str())
}

fn resource(object: &Object) -> Value {
    let key = object.key.as_ref().map(|key| key.as_str().to_owned());
    let own = match object.kind {
        Kind::Session => object.session,
        Kind::Call | Kind::Recording => object.call,
        Kind::Key
        | Kind::ModelToken
        | Kind::SealedData
        | Kind::WebhookEvent
        | Kind::Configuration
        | Kind::AuditLog
        | Kind::Api
        | Kind::Process => object.id,
    };
    let uid = own.map(|id| id.to_string()).or(key);
    let mut resource = json!({ "type": object.kind.as_str() });
    match uid {
        Some(uid) => resource["uid"] = uid.into(),
        None => resource["name"] = object.kind.as_str().into(),
    }
    // The call is the group that a session belongs to.
    if let Some(call) = object.call {
        resource["group"] = json!({ "uid": call.to_string() });
    }
    resource
}

/// What a request does by its method; what an event does by its name where there is no request.
fn activity(entry: &Entry) -> u8 {
    match entry.detail.method {
        Some(Method::Post) => CREATE,
        Some(Method::Get | Method::Head) => READ,
        Some(Method::Put | Method::Patch) => UPDATE,
        Some(Method::Delete) => DELETE,
        None => match entry.event.as_str().rsplit_once('.').map(|(_, verb)| verb) {
            Some("created" | "issued" | "opened" | "started" | "entered") => CREATE,
            Some("read" | "fetched" | "exported" | "verified" | "loaded") => READ,
            Some("changed" | "rotated" | "rewrapped") => UPDATE,
            Some("erased" | "revoked" | "ended") => DELETE,
            Some(_) | None => OTHER,
        },
    }
}
