//! Dialog: one call of a proxy: two tags, two legs, and the offer that waits for its answer.
//!
//! The first offerer is the caller, unless it says otherwise. Nothing is agreed on either leg
//! before the answer: until then both have ports, and neither hears or sends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ng_protocol::{Offerer, Options, Request};
use relay::codec::Codec;
use relay::switchboard::{LocalMedia, Side};
use relay::{CallAt, CallRequest, OpenedCall};
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::media::{self, LegTalk};
use super::recording;
use super::refused::Refused;
use super::subscribe::Subscription;
use crate::audit::By;
use crate::dto::id;
use crate::engines::EngineProfile;
use crate::external_id::ExternalId;
use crate::index::CallEntry;
use crate::{Control, calls, clock};

/// How long an offer may wait for its first answer: proxies give a call three minutes and more to
/// be answered (RFC 3261 section 16.6, timer C).
const MAX_RINGING: Duration = Duration::from_secs(300);
/// Longest tag that is taken, in octets.
const MAX_TAG: usize = 255;

/// What an offer or answer says.
pub(super) struct Said<'r> {
    pub(super) call_id: &'r str,
    pub(super) from_tag: &'r str,
    pub(super) to_tag: Option<&'r str>,
    pub(super) sdp: &'r [u8],
    pub(super) options: &'r Options,
}

impl<'r> Said<'r> {
    /// What a request says; refused if a part is missing.
    pub(super) fn of(request: &'r Request<'r>) -> Result<Said<'r>, Refused> {
        let missing = |name| Refused::because(format!("{name} is missing"));
        let call_id = request.call_id.ok_or_else(|| missing("call-id"))?;
        let from_tag = request.from_tag.ok_or_else(|| missing("from-tag"))?;
        let sdp = request.sdp.ok_or_else(|| missing("sdp"))?;
        if from_tag.len() > MAX_TAG || request.to_tag.is_some_and(|tag| tag.len() > MAX_TAG) {
            return Err(Refused::because(format!("a tag must have {MAX_TAG} octets at most")));
        }
        if request.to_tag == Some(from_tag) {
            return Err(Refused::because(
                "from-tag and to-tag are the same: they are of two parties",
            ));
        }
        Ok(Said { call_id, from_tag, to_tag: request.to_tag, sdp, options: &request.options })
    }

    fn digest(&self) -> [u8; 32] {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest(&SHA256, self.sdp).as_ref());
        sum
    }
}

/// The parties' tags, by [`Side::index`]. They change with what is agreed on: a request that is
/// refused has changed none.
type Tags = [Option<Box<str>>; 2];

/// One call of a proxy.
pub(super) struct Dialog {
    entry: Arc<CallEntry>,
    at: CallAt,
    tags: Tags,
    /// Where each party's signalling comes from, by [`Side::index`], where the proxy tells.
    sources: [Option<IpAddr>; 2],
    talks: [LegTalk; 2],
    local: [LocalMedia; 2],
    pending: Option<Pending>,
    subscriptions: Vec<Subscription>,
    is_answered: bool,
    /// It was ended here, and the event that tells so is on its way.
    is_ended: bool,
    opened: Instant,
}

/// An offer and what it waits for.
struct Pending {
    /// Who has made it.
    side: Side,
    sdp: Zeroizing<Vec<u8>>,
    options: Options,
    /// The offer as the other party gets it.
    offer: Zeroizing<String>,
    /// The answer for who has made it, once there is one.
    answer: Option<Zeroizing<String>>,
    /// The other party's answer that came last.
    answered_by: Option<[u8; 32]>,
}

impl Dialog {
    /// Opens a call for a first offer.
    pub(super) async fn open(
        control: &Control,
        said: &Said<'_>,
        by: &By,
    ) -> Result<Dialog, Refused> {
        let record = said.options.record == Some(true);
        if record && control.recordings.is_none() {
            return Err(Refused::because(recording::OFF));
        }
        let side = match said.options.offerer {
            Offerer::Caller => Side::Caller,
            Offerer::Engine => Side::Engine,
        };
        // What can't be agreed on takes no ports.
        let agreement = LegTalk::default().hear_offer(control, side, said.sdp, None)?;
        let mut families = [agreement.remote_rtp.is_ipv6(); 2];
        families[side.other().index()] = said.options.is_ipv6.unwrap_or(families[0]);
        let call = id::new_call();
        let entry = CallEntry::new(call, clock::now(), record, false, EngineProfile::default());
        // A Call-ID that another live call goes by here names this one for its proxy alone.
        let external_id = ExternalId::parse(said.call_id);
        let external_id = external_id.filter(|it| control.calls.id_of(it).is_none());
        let entry = control.calls.expect(entry.called(external_id)).map_err(calls::in_use)?;
        let [caller, engine] = families.map(media::unknown_party);
        let request =
            CallRequest { call, caller, engine, armed: None, record, links: [None, None] };
        let opened = control.relay.open_call(request).await;
        let OpenedCall { at, caller, engine } =
            opened.inspect_err(|_| control.calls.forget(call))?;
        entry.opened(at);
        tracing::info!(call = id::call(call), record, "call opened by NG");
        control.audit.note_opened(by, &entry);
        let mut dialog = Dialog {
            entry,
            at,
            tags: [None, None],
            sources: [None, None],
            talks: Default::default(),
            local: [caller, engine],
            pending: None,
            subscriptions: Vec::new(),
            is_answered: false,
            is_ended: false,
            opened: clock::monotonic(),
        };
        dialog.tags[side.index()] = Some(said.from_tag.into());
        dialog.tags[side.other().index()] = said.to_tag.map(Into::into);
        dialog.sources[side.index()] = said.options.received_from;
        Ok(dialog)
    }

    /// The call, as the rest of the control plane knows it.
    pub(super) fn entry(&self) -> &Arc<CallEntry> {
        &self.entry
    }

    /// Its place in the media plane.
    pub(super) fn at(&self) -> CallAt {
        self.at
    }

    /// The parties' tags, by [`Side::index`].
    pub(super) fn tags(&self) -> [Option<&str>; 2] {
        [self.tags[0].as_deref(), self.tags[1].as_deref()]
    }

    /// Where our sides are, by [`Side::index`].
    pub(super) fn local(&self) -> [LocalMedia; 2] {
        self.local
    }

    /// Whether the parties have agreed.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Who is offered copies of its media, or sent them; the relay bounds how many there are.
    pub(super) fn subscriptions(&mut self) -> &mut Vec<Subscription> {
        &mut self.subscriptions
    }

    /// What they are called.
    pub(super) fn subscribers(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.iter().map(Subscription::tag)
    }

    /// Whether the call has ended, by whomever.
    pub(super) fn is_over(&self) -> bool {
        self.is_ended || self.entry.story.is_closed()
    }

    /// Ends the call.
    pub(super) async fn end(&mut self, control: &Control) -> Result<(), Refused> {
        control.end_call(&self.entry).await?;
        self.is_ended = true;
        Ok(())
    }

    /// Whether nobody has answered it, and nobody will.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        let is_late = now.saturating_duration_since(self.opened) >= MAX_RINGING;
        is_late && !self.is_answered && !self.is_over()
    }

    /// Ends a call that nobody has answered.
    pub(super) async fn give_up(&mut self, control: &Control) {
        tracing::info!(call = id::call(self.at.call), "nobody has answered the call: it ends");
        // A worker that is busy is asked again.
        let _ = self.end(control).await;
    }

    /// The party that a tag is of.
    pub(super) fn side_of(&self, tag: &str) -> Option<Side> {
        Side::ALL.into_iter().find(|side| self.tags[side.index()].as_deref() == Some(tag))
    }

    /// Takes an offer in, and returns what the other party is offered. The ports stay.
    pub(super) async fn offer(
        &mut self,
        control: &Control,
        said: &Said<'_>,
    ) -> Result<Zeroizing<String>, Refused> {
        let (side, tags) = self.offerer(said)?;
        self.check_source(side, said.options)?;
        if let Some(pending) = &self.pending
            && (pending.side, &**pending.sdp, &pending.options) == (side, said.sdp, said.options)
            && pending.answer.is_none()
        {
            self.tags = tags;
            return Ok(pending.offer.clone());
        }
        // What can't be agreed on is not offered to anybody.
        let mut agreement = self.talks[side.index()].hear_offer(control, side, said.sdp, None)?;
        let media = media::leg(control, &mut agreement, said.options)?;
        control.relay.check_claim(self.at, side, media).await?;
        let other = side.other();
        let local = self.local[other.index()];
        let talk = &mut self.talks[other.index()];
        let offer = talk.propose(control, other, (said.sdp, said.options), local)?;
        self.pending = Some(Pending {
            side,
            sdp: Zeroizing::new(said.sdp.to_vec()),
            options: said.options.clone(),
            offer: offer.clone(),
            answer: None,
            answered_by: None,
        });
        self.tags = tags;
        Ok(offer)
    }

    /// Who offers, and the tags that hold once the offer does. A party that is not known yet, or
    /// whose tag has changed, is known by the other's.
    fn offerer(&self, said: &Said<'_>) -> Result<(Side, Tags), Refused> {
        let mut tags = self.tags.clone();
        if let Some(side) = self.side_of(said.from_tag) {
            if let Some(other) = said.to_tag {
                tags[side.other().index()] = Some(other.into());
            }
            return Ok((side, tags));
        }
        let other = said.to_tag.and_then(|tag| self.side_of(tag));
        let side = other.map(Side::other).ok_or_else(unknown_tags)?;
        tags[side.index()] = Some(said.from_tag.into());
        Ok((side, tags))
    }

    /// Takes an answer in, puts it into force with the offer it is for, and returns what the
    /// offerer is answered. The same answer may come again, and another one of another branch.
    pub(super) async fn answer(
        &mut self,
        control: &Control,
        said: &Said<'_>,
    ) -> Result<Zeroizing<String>, Refused> {
        let no_offer = || Refused::because("no offer waits for an answer on this call");
        let offerer = self.pending.as_ref().ok_or_else(no_offer)?.side;
        let tags = self.meet_answerer(offerer, said)?;
        self.check_source(offerer.other(), said.options)?;
        let sdp = said.digest();
        if let Some(Pending { answered_by, answer: Some(answer), .. }) = &self.pending
            && *answered_by == Some(sdp)
        {
            self.tags = tags;
            return Ok(answer.clone());
        }
        let side = offerer.other();
        let (mut agreement, agreed) =
            self.talks[side.index()].hear_answer(control, side, said.sdp)?;
        self.check_family(side, agreement.remote_rtp)?;
        let heard = agreement.codec;
        let media = media::leg(control, &mut agreement, said.options)?;
        let mut pending = self.pending.take().ok_or_else(no_offer)?;
        // Whatever fails from here on leaves no offer behind: the proxy has to make it anew.
        let answer = match pending.answer.take() {
            Some(answer) => answer,
            None => self.answer_offerer(control, &pending, heard).await?,
        };
        control.relay.reoffer_claimed(self.at, side, media).await?;
        self.talks[side.index()].is_agreed(agreed);
        self.has_sent(side, said.options);
        self.is_answered = true;
        self.tags = tags;
        let answered_by = Some(sdp);
        self.pending = Some(Pending { answer: Some(answer.clone()), answered_by, ..pending });
        Ok(answer)
    }

    /// Puts an offer into force and answers it, if it can be in the codec that was answered with.
    async fn answer_offerer(
        &mut self,
        control: &Control,
        pending: &Pending,
        heard: Codec,
    ) -> Result<Zeroizing<String>, Refused> {
        let side = pending.side;
        let talk = &mut self.talks[side.index()];
        let mut agreement = talk.hear_offer(control, side, &pending.sdp, Some(heard))?;
        let media = media::leg(control, &mut agreement, &pending.options)?;
        control.relay.reoffer_claimed(self.at, side, media).await?;
        let answer = agreement.answer(control.policy.outside(self.local[side.index()]));
        let text = Zeroizing::new(answer.text().to_owned());
        talk.is_agreed(answer.into_previous());
        self.has_sent(side, &pending.options);
        Ok(text)
    }

    /// Refuses a party that speaks from where the other one is: tags are written by whoever sends,
    /// and either party knows both.
    fn check_source(&self, side: Side, options: &Options) -> Result<(), Refused> {
        let [own, other] = [side, side.other()].map(|side| self.sources[side.index()]);
        match options.received_from {
            Some(from) if other == Some(from) && own.is_some_and(|own| own != from) => {
                Err(Refused::because("the tags are of one party, and received-from is the other's"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What a party has sent holds, and so does where it came from.
    fn has_sent(&mut self, side: Side, options: &Options) {
        let source = &mut self.sources[side.index()];
        *source = options.received_from.or(*source);
    }

    /// Refuses an answer from a family that our ports for this party are not of.
    fn check_family(&self, side: Side, peer: SocketAddr) -> Result<(), Refused> {
        match self.local[side.index()].rtp.is_ipv6() == peer.is_ipv6() {
            true => Ok(()),
            false => Err(media::other_family()),
        }
    }

    /// Knows the answerer by the tag that is not the offerer's, and returns the tags that hold once
    /// the answer does. Proxies write both either way round.
    fn meet_answerer(&self, offerer: Side, said: &Said<'_>) -> Result<Tags, Refused> {
        let to_tag = said.to_tag.ok_or_else(|| Refused::because("to-tag is missing"))?;
        let known = self.tags[offerer.index()].as_deref();
        let answerer = match (known == Some(said.from_tag), known == Some(to_tag)) {
            (true, _) => to_tag,
            (false, true) => said.from_tag,
            (false, false) => return Err(unknown_tags()),
        };
        let mut tags = self.tags.clone();
        tags[offerer.other().index()] = Some(answerer.into());
        Ok(tags)
    }
}

fn unknown_tags() -> Refused {
    Refused::because("neither tag is of a party of this call")
}
