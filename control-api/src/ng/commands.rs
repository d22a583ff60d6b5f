//! Commands: what each of them does. Nothing is answered ok that was not done.

use std::sync::Arc;

use audit_log::{Detail, Event};
use ng_protocol::{Command, Reply, Request};
use relay::switchboard::{Part, RecordingAction, Refusal, Side};

use super::dialog::{Dialog, Said};
use super::dialogs::Live;
use super::refused::Refused;
use super::{Peer, play, query, recording, secure, subscribe};
use crate::Control;
use crate::audit::{self, By};
use crate::dto::id;

/// Does what is asked.
pub(super) async fn obey(
    control: &Arc<Control>,
    peer: &Peer,
    request: &Request<'_>,
) -> Result<Reply, Refused> {
    let role = peer.role;
    match request.command {
        Command::Ping => Ok(Reply::pong()),
        Command::Offer => offer(control, request, &peer.by()).await,
        Command::Answer => answer(control, request).await,
        Command::Delete => delete(control, request, &peer.by()).await,
        Command::Query => query::query(control, &*live(control, request).await?).await,
        Command::List => Ok(query::list(control, request.limit, peer.room)),
        Command::Statistics => Ok(query::statistics(control)),
        Command::SecureSession => {
            secure::enter(control, &*live(control, request).await?, request, &peer.by()).await
        }
        Command::SecureSessionCancel => {
            secure::cancel(control, &*live(control, request).await?, role, &peer.by()).await
        }
        Command::SecureSessionQuery => {
            secure::query(control, &*live(control, request).await?, role).await
        }
        Command::BlockDtmf => block(control, request, peer, (Part::KeyEvents, true)).await,
        Command::UnblockDtmf => block(control, request, peer, (Part::KeyEvents, false)).await,
        Command::BlockMedia => block(control, request, peer, (Part::Media, true)).await,
        Command::UnblockMedia => block(control, request, peer, (Part::Media, false)).await,
        Command::SilenceMedia => block(control, request, peer, (Part::Silence, true)).await,
        Command::UnsilenceMedia => block(control, request, peer, (Part::Silence, false)).await,
        Command::SubscribeRequest => {
            subscribe::request(control, &mut *live(control, request).await?, request).await
        }
        Command::SubscribeAnswer => {
            let mut dialog = live(control, request).await?;
            let reply = subscribe::answer(control, &mut dialog, request).await?;
            let call = audit::call_of(dialog.entry().id);
            let entry = peer.by().entry(Event::CallSubscribed, call, Detail::default());
            control.audit.note(entry);
            Ok(reply)
        }
        Command::Unsubscribe => unsubscribe(control, request).await,
        Command::StartRecording => record(control, peer, request, RecordingAction::Start).await,
        Command::PauseRecording => record(control, peer, request, RecordingAction::Pause).await,
        Command::StopRecording => record(control, peer, request, RecordingAction::Stop).await,
        Command::PlayMedia => play::media(control, request).await,
        Command::StopMedia => play::stop_media(control, request).await,
        Command::PlayDtmf => play::dtmf(control, request).await,
    }
}

/// The call that a request names, if it lives.
pub(super) async fn live(control: &Control, request: &Request<'_>) -> Result<Live, Refused> {
    let call_id = request.call_id.ok_or_else(|| Refused::because("call-id is missing"))?;
    let found = control.ng.dialogs.find(call_id).await;
    found.ok_or_else(|| Refused::because("there is no call of this call-id"))
}

async fn offer(control: &Control, request: &Request<'_>, by: &By) -> Result<Reply, Refused> {
    let call_id = request.call_id.ok_or_else(|| Refused::because("call-id is missing"))?;
    let said = Said::of(request)?;
    let mut place = control.ng.dialogs.enter(call_id).await?;
    if let Some(dialog) = place.as_mut() {
        return Ok(Reply::ok().with_sdp(&dialog.offer(control, &said).await?));
    }
    if !control.is_ready() {
        return Err(Refusal::Stopping.into());
    }
    let mut dialog = Dialog::open(control, &said, by).await?;
    match dialog.offer(control, &said).await {
        Ok(sdp) => {
            *place = Some(dialog);
            Ok(Reply::ok().with_sdp(&sdp))
        }
        Err(refused) => {
            dialog.end(control).await?;
            Err(refused)
        }
    }
}

async fn answer(control: &Control, request: &Request<'_>) -> Result<Reply, Refused> {
    let said = Said::of(request)?;
    let mut dialog = live(control, request).await?;
    Ok(Reply::ok().with_sdp(&dialog.answer(control, &said).await?))
}

/// Ends a call. Proxies delete branches and calls that are gone as a matter of course: that is no
/// error.
async fn delete(control: &Control, request: &Request<'_>, by: &By) -> Result<Reply, Refused> {
    let Ok(mut dialog) = live(control, request).await else {
        return Ok(Reply::ok().with_warning("there is no call of this call-id"));
    };
    let is_other = |tag: &str| dialog.side_of(tag).is_none();
    let is_answered = dialog.tags().iter().all(Option::is_some);
    if request.from_tag.is_some_and(is_other) || is_answered && request.to_tag.is_some_and(is_other)
    {
        return Ok(Reply::ok().with_warning("the tags are of no party of this call: it goes on"));
    }
    dialog.end(control).await?;
    let call = dialog.at().call;
    tracing::info!(call = id::call(call), "call ended by NG");
    control.audit.note(by.entry(Event::CallHungUp, audit::call_of(call), Detail::default()));
    Ok(Reply::ok())
}

/// Ends a subscription. With its call it has ended already: that is no error.
async fn unsubscribe(control: &Arc<Control>, request: &Request<'_>) -> Result<Reply, Refused> {
    match live(control, request).await {
        Ok(mut dialog) => subscribe::end(control, &mut dialog, request).await,
        Err(_) => Ok(Reply::ok().with_warning("there is no call of this call-id")),
    }
}

/// Keeps a part of a party's media from the other one, or no longer. A secure session is none of its
/// business: what it cuts stays cut. Once it replies, nothing that comes in is passed on.
async fn block(
    control: &Control,
    request: &Request<'_>,
    peer: &Peer,
    (part, blocked): (Part, bool),
) -> Result<Reply, Refused> {
    let dialog = live(control, request).await?;
    for side in parties(&dialog, request, part)? {
        control.relay.block(dialog.at(), *side, part, blocked).await?;
    }
    let call = audit::call_of(dialog.entry().id);
    control.audit.note(peer.by().entry(Event::CallChanged, call, Detail::default()));
    let reply = Reply::ok();
    Ok(match (part, blocked) {
        (Part::KeyEvents, true) => reply.with_warning(
            "key events are withheld, tones in the audio are not: a number is safe in a secure \
             session alone",
        ),
        (Part::KeyEvents, false) | (Part::Silence | Part::Media, _) => reply,
    })
}

/// Whose media a command is about: both parties' keys unless it is said to be directional, the media
/// of the one it names unless it is said to be for all.
fn parties(dialog: &Dialog, request: &Request<'_>, part: Part) -> Result<&'static [Side], Refused> {
    let is_for_all = match part {
        Part::KeyEvents => !request.options.is_directional,
        Part::Silence | Part::Media => request.options.is_for_all,
    };
    let Some(tag) = request.from_tag.filter(|_| !is_for_all) else { return Ok(&Side::ALL) };
    match dialog.side_of(tag) {
        Some(Side::Caller) => Ok(&[Side::Caller]),
        Some(Side::Engine) => Ok(&[Side::Engine]),
        None => Err(Refused::because("from-tag is of no party of this call")),
    }
}

/// Begins, pauses or ends the recording of a call.
async fn record(
    control: &Control,
    peer: &Peer,
    request: &Request<'_>,
    action: RecordingAction,
) -> Result<Reply, Refused> {
    let dialog = live(control, request).await?;
    let reply = recording::obey(control, &dialog, action, peer.role).await?;
    let event = match action {
        RecordingAction::Start => Event::RecordingStarted,
        RecordingAction::Pause => Event::RecordingPaused,
        RecordingAction::Stop => Event::RecordingStopped,
    };
    let recording = audit::recording_of(dialog.entry().id);
    control.audit.note(peer.by().entry(event, recording, Detail::default()));
    Ok(reply)
}
