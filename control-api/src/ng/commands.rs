//! Commands: what each of them does. Nothing is answered ok that was not done.

use std::sync::Arc;

use ng_protocol::{Command, Reply, Request};
use relay::switchboard::Refusal;

use super::dialog::{Dialog, Said};
use super::dialogs::Live;
use super::refused::Refused;
use super::{query, secure};
use crate::Control;
use crate::dto::id;
use crate::keys::Role;

/// Does what is asked.
pub(super) async fn obey(
    control: &Arc<Control>,
    role: Role,
    request: &Request<'_>,
) -> Result<Reply, Refused> {
    match request.command {
        Command::Ping => Ok(Reply::pong()),
        Command::Offer => offer(control, request).await,
        Command::Answer => answer(control, request).await,
        Command::Delete => delete(control, request).await,
        Command::Query => query::query(control, &*live(control, request).await?).await,
        Command::List => Ok(query::list(control, request.limit)),
        Command::Statistics => Ok(query::statistics(control)),
        Command::SecureSession => {
            secure::enter(control, &*live(control, request).await?, request).await
        }
        Command::SecureSessionCancel => {
            secure::cancel(control, &*live(control, request).await?, role).await
        }
        Command::SecureSessionQuery => {
            secure::query(control, &*live(control, request).await?, role).await
        }
        Command::StartRecording => start_recording(&*live(control, request).await?),
        other => Err(Refused::because(unable(other))),
    }
}

/// The call that a request names, if it lives.
async fn live(control: &Control, request: &Request<'_>) -> Result<Live, Refused> {
    let call_id = request.call_id.ok_or_else(|| Refused::because("call-id is missing"))?;
    let found = control.ng.dialogs.find(call_id).await;
    found.ok_or_else(|| Refused::because("there is no call of this call-id"))
}

async fn offer(control: &Control, request: &Request<'_>) -> Result<Reply, Refused> {
    let call_id = request.call_id.ok_or_else(|| Refused::because("call-id is missing"))?;
    let said = Said::of(request)?;
    let mut place = control.ng.dialogs.enter(call_id).await?;
    if let Some(dialog) = place.as_mut() {
        return Ok(Reply::ok().with_sdp(&dialog.offer(control, &said)?));
    }
    if !control.is_ready() {
        return Err(Refusal::Stopping.into());
    }
    let mut dialog = Dialog::open(control, &said).await?;
    match dialog.offer(control, &said) {
        Ok(sdp) => {
            *place = Some(dialog);
            Ok(Reply::ok().with_sdp(&sdp))
        }
        Err(refused) => {
            control.end_call(dialog.entry()).await?;
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
async fn delete(control: &Control, request: &Request<'_>) -> Result<Reply, Refused> {
    let Ok(dialog) = live(control, request).await else {
        return Ok(Reply::ok().with_warning("there is no call of this call-id"));
    };
    let is_other = |tag: &str| dialog.side_of(tag).is_none();
    let is_answered = dialog.tags().iter().all(Option::is_some);
    if request.from_tag.is_some_and(is_other) || is_answered && request.to_tag.is_some_and(is_other)
    {
        return Ok(Reply::ok().with_warning("the tags are of no party of this call: it goes on"));
    }
    control.end_call(dialog.entry()).await?;
    tracing::info!(call = id::call(dialog.at().call), "call ended by NG");
    Ok(Reply::ok())
}

/// A recording is of a whole call or of none of it.
fn start_recording(dialog: &Dialog) -> Result<Reply, Refused> {
    match dialog.entry().recorded {
        true => Ok(Reply::ok()),
        false => Err(Refused::because(
            "Sotto does not begin a recording within a call: put record-call=yes into the offer",
        )),
    }
}

/// Why a command is none of this relay's.
const fn unable(command: Command) -> &'static str {
    match command {
        Command::StopRecording => {
            "Sotto does not end a recording before its call: delete it when the call is over, by \
             DELETE /v1/calls/{id}/recording"
        }
        Command::PauseRecording => {
            "Sotto does not pause a recording: in a secure session it holds silence, use secure \
             session"
        }
        Command::PlayMedia | Command::StopMedia => {
            "Sotto does not play files: in a secure session it speaks to the caller by itself"
        }
        Command::PlayDtmf => "Sotto does not play keys: let the party send them",
        Command::SubscribeRequest | Command::SubscribeAnswer | Command::Unsubscribe => {
            "Sotto does not copy media to others: follow a call by its events"
        }
        Command::SilenceMedia | Command::UnsilenceMedia => {
            "Sotto does not put silence in place of a party but in a secure session: use secure \
             session, or block media"
        }
        Command::BlockDtmf | Command::UnblockDtmf | Command::BlockMedia | Command::UnblockMedia => {
            "Sotto does not block a party's media: use secure session"
        }
        Command::Ping
        | Command::Offer
        | Command::Answer
        | Command::Delete
        | Command::Query
        | Command::List
        | Command::Statistics
        | Command::StartRecording
        | Command::SecureSession
        | Command::SecureSessionCancel
        | Command::SecureSessionQuery => "Sotto does not do this",
    }
}
