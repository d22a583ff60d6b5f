//! What is told of calls and of the relay.
//!
//! Counters are those that a script is told: in coarse steps, and without what came in a cut, since
//! exact ones would tell how many keys were pressed.

use ng_protocol::{Reply, Value};
use relay::switchboard::Side;

use super::dialog::Dialog;
use super::refused::Refused;
use crate::Control;
use crate::dto::id;
use crate::dto::leg::LegsView;
use crate::keys::Role;

/// Call-IDs that are listed unless the request says otherwise.
const DEFAULT_LIMIT: usize = 32;
/// Octets of Call-IDs in a reply.
pub(super) const MAX_LISTED: usize = 48 * 1024;
/// The same by UDP, where the sender of a request may be made up: whoever is named there is not to
/// be sent much more than was asked with.
pub(super) const MAX_LISTED_BY_UDP: usize = 1024;

/// What is known of a call.
pub(super) async fn query(control: &Control, dialog: &Dialog) -> Result<Reply, Refused> {
    let entry = dialog.entry();
    let seen = control.see(entry).await;
    let legs = seen.as_ref().map(|seen| LegsView::of(seen, Role::Script, entry.links()));
    let received = legs.as_ref().map_or([0; 2], LegsView::packets_received);
    let created = entry.created_at.unix_ms() / 1000;
    let tags: Vec<_> = Side::ALL
        .into_iter()
        .filter_map(|side| {
            let tag = dialog.tags()[side.index()]?.to_owned();
            Some((tag.into(), party(dialog, side, received[side.index()])))
        })
        .collect();
    let subscribers = dialog.subscribers().map(|tag| Value::of_text(tag.to_owned()));
    let subscriptions = Value::List(subscribers.collect());
    Ok(Reply::ok()
        .with("call", Value::of_text(id::call(entry.id)))
        .with("created", Value::count(created))
        .with("tags", Value::Dictionary(tags))
        .with("subscriptions", subscriptions)
        .with("totals", Value::dictionary([("RTP", packets(received[0] + received[1]))])))
}

/// What is known of one party.
fn party(dialog: &Dialog, side: Side, received: u64) -> Value<'static> {
    let tags = dialog.tags();
    let text = |text: Option<&str>| Value::of_text(text.unwrap_or_default().to_owned());
    let local = dialog.local()[side.index()];
    let stream = |port: u16, received| {
        Value::dictionary([("local port", Value::count(port.into())), ("stats", packets(received))])
    };
    let streams = vec![stream(local.rtp.port(), received)];
    let media = Value::dictionary([
        ("index", Value::Integer(1)),
        ("type", Value::of_text("audio")),
        ("streams", Value::List(streams)),
    ]);
    Value::dictionary([
        ("tag", text(tags[side.index()])),
        ("in dialogue with", text(tags[side.other().index()])),
        ("role", Value::of_text(side.as_str())),
        ("medias", Value::List(vec![media])),
    ])
}

fn packets(count: u64) -> Value<'static> {
    Value::dictionary([("packets", Value::count(count))])
}

/// Call-IDs of calls that live, as many as there is `room` for.
pub(super) fn list(control: &Control, limit: Option<i64>, mut room: usize) -> Reply {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT);
    let mut calls = control.ng.dialogs.list(limit.min(room));
    let found = calls.len();
    calls.retain(|call_id| {
        // Its length is written before it.
        let left = room.checked_sub(call_id.len() + 4);
        room = left.unwrap_or(0);
        left.is_some()
    });
    let is_cut_short = calls.len() < found;
    let list = Value::List(calls.into_iter().map(Value::of_text).collect());
    let reply = Reply::ok().with("calls", list);
    let warning = "there are more calls than a reply may hold: by TCP and HTTP it holds more";
    match is_cut_short {
        true => reply.with_warning(warning),
        false => reply,
    }
}

/// Figures of the relay, where rtpengine has them.
pub(super) fn statistics(control: &Control) -> Reply {
    let (calls, ports) = (control.gauges.calls(), control.gauges.free_port_pairs());
    let current = Value::dictionary([
        ("sessionsown", Value::count(calls)),
        ("sessionsforeign", Value::Integer(0)),
        ("sessionstotal", Value::count(calls)),
        ("freeportpairs", Value::count(ports)),
    ]);
    let control = Value::dictionary([("faults", Value::count(control.ng.faults.total()))]);
    let statistics =
        Value::dictionary([("currentstatistics", current), ("controlstatistics", control)]);
    Reply::ok().with("statistics", statistics)
}
