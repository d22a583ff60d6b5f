//! Subscriptions of a proxy's call: copies of its media for somebody else, such as a recorder.
//!
//! A proxy asks for an offer, hands it on, and brings the answer back: then copies flow, on the
//! relay's own clock. A subscriber hears what the parties hear of each other, and in a secure
//! session silence.

use std::time::{Duration, Instant};

use ng_protocol::{Ice, Options, Reply, Request, Value};
use rand::RngExt;
use relay::switchboard::limits::UNANSWERED_SUBSCRIPTION;
use relay::switchboard::{
    CallSnapshot, Copies, CopyMedia, LocalMedia, Refusal, Side, SubscriptionId,
};
use relay::wire::sdp::{Agreement, CopyOffer, Menu, Settled, Transport, Wishes};

use super::dialog::Dialog;
use super::media;
use super::refused::Refused;
use crate::dto::id;
use crate::{Control, chance, clock};

/// Longest name of a subscription that is taken, in octets.
const MAX_TAG: usize = 255;

/// A subscription, as its proxy knows it.
pub(super) struct Subscription {
    tag: Box<str>,
    id: SubscriptionId,
    sides: Copies<Side>,
    local: Copies<LocalMedia>,
    offer: CopyOffer,
    asked: Instant,
    is_answered: bool,
}

impl Subscription {
    /// What the subscriber is called.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether the relay has given it up: nobody has answered.
    fn is_forgotten(&self, now: Instant) -> bool {
        !self.is_answered && now.saturating_duration_since(self.asked) >= UNANSWERED_SUBSCRIPTION
    }
}

/// Takes ports for copies, and replies with the offer of them. The same may be asked for again.
pub(super) async fn request(
    control: &Control,
    dialog: &mut Dialog,
    request: &Request<'_>,
) -> Result<Reply, Refused> {
    let now = clock::monotonic();
    dialog.subscriptions().retain(|it| !it.is_forgotten(now));
    let sides = copied(dialog, request)?;
    let tag = name(dialog, request.to_tag)?;
    let seen = control.relay.snapshot(dialog.at()).await?;
    let known = dialog.subscriptions().iter_mut().find(|it| *it.tag == *tag);
    let subscription = match known {
        Some(known) if known.sides == sides => known,
        Some(_) => {
            return Err(Refused::because(
                "the subscription of this to-tag copies other parties: unsubscribe first",
            ));
        }
        None => {
            let begun = begin(control, dialog, &seen, sides.clone(), tag, &request.options).await?;
            dialog.subscriptions().push(begun);
            dialog.subscriptions().last_mut().expect("it was pushed above")
        }
    };
    let local: Copies<LocalMedia> =
        subscription.local.iter().map(|local| control.policy.outside(*local)).collect();
    let sdp = subscription.offer.offer(&local);
    let tag = subscription.tag.to_string();
    Ok(told(Reply::ok().with_sdp(&sdp), dialog, &seen, &sides, tag))
}

/// Sends the copies to where an answer wants them. It may come again, to hold them or to move them.
pub(super) async fn answer(
    control: &Control,
    dialog: &mut Dialog,
    request: &Request<'_>,
) -> Result<Reply, Refused> {
    let sdp = request.sdp.ok_or_else(|| Refused::because("sdp is missing"))?;
    let tag = request.to_tag.ok_or_else(|| Refused::because("to-tag is missing"))?;
    let at = dialog.at();
    let known = dialog.subscriptions().iter_mut().find(|it| *it.tag == *tag);
    let subscription = known.ok_or_else(none_of_this_name)?;
    let accepted = subscription.offer.accept(sdp, &control.policy);
    let agreed = accepted.map_err(|fault| Refused::because(fault.to_string()))?;
    let mut copies = Copies::new();
    for (agreement, local) in agreed.into_iter().zip(&subscription.local) {
        copies.push(match agreement {
            Some(agreement) => Some(wanted(control, agreement, *local, &request.options)?),
            None => None,
        });
    }
    match control.relay.listen(at, subscription.id, copies).await {
        Ok(()) => subscription.is_answered = true,
        Err(Refusal::NoSubscription) => {
            dialog.subscriptions().retain(|it| *it.tag != *tag);
            return Err(none_of_this_name());
        }
        Err(refusal) => return Err(refusal.into()),
    }
    tracing::info!(call = id::call(at.call), "media of the call is copied by NG");
    Ok(Reply::ok())
}

/// Ends a subscription. One that is over is no error: it ends with its call, too.
pub(super) async fn end(
    control: &Control,
    dialog: &mut Dialog,
    request: &Request<'_>,
) -> Result<Reply, Refused> {
    let tag = request.to_tag.ok_or_else(|| Refused::because("to-tag is missing"))?;
    let over = || Reply::ok().with_warning("there is no subscription of this to-tag");
    let at = dialog.at();
    let Some(place) = dialog.subscriptions().iter().position(|it| *it.tag == *tag) else {
        return Ok(over());
    };
    let id = dialog.subscriptions()[place].id;
    let ended = control.relay.unsubscribe(at, id).await;
    match ended {
        Ok(()) => {}
        Err(Refusal::NoSubscription) => {
            dialog.subscriptions().remove(place);
            return Ok(over());
        }
        Err(refusal) => return Err(refusal.into()),
    }
    dialog.subscriptions().remove(place);
    tracing::info!(call = id::call(at.call), "media of the call is no longer copied");
    Ok(Reply::ok())
}

/// Whose media is to be copied.
fn copied(dialog: &Dialog, request: &Request<'_>) -> Result<Copies<Side>, Refused> {
    if !dialog.is_answered() {
        return Err(Refused::because("the call is not answered yet: there is nothing to copy"));
    }
    if request.options.is_egress {
        return Err(Refused::because(
            "Sotto copies what a party says, not what it hears: leave out egress and name the other \
             party",
        ));
    }
    if request.options.is_for_all {
        return Ok(Side::ALL.into());
    }
    let mut sides = Copies::new();
    for tag in request.from_tag.iter().filter(|_| request.from_tags.is_empty()) {
        sides.push(party(dialog, tag)?);
    }
    for tag in &request.from_tags {
        let side = party(dialog, tag)?;
        if !sides.contains(&side) {
            sides.push(side);
        }
    }
    match sides.is_empty() {
        true => Err(Refused::because("from-tag is missing: whose media, or all for both parties'")),
        false => Ok(sides),
    }
}

fn party(dialog: &Dialog, tag: &str) -> Result<Side, Refused> {
    let unknown = || Refused::because("from-tag is of no party of this call");
    dialog.side_of(tag).ok_or_else(unknown)
}

/// What the subscription is called: as was asked, or by a name of ours.
fn name(dialog: &Dialog, wanted: Option<&str>) -> Result<Box<str>, Refused> {
    match wanted {
        Some(tag) if tag.is_empty() || tag.len() > MAX_TAG => {
            Err(Refused::because(format!("to-tag must have 1 to {MAX_TAG} octets")))
        }
        Some(tag) if dialog.side_of(tag).is_some() => Err(Refused::because(
            "to-tag is of a party of this call: it names the subscription, leave it out for a new one",
        )),
        Some(tag) => Ok(tag.into()),
        None => Ok(format!("sub{:016x}", random_number()?).into()),
    }
}

fn random_number() -> Result<u64, Refused> {
    chance::generator().map(|mut it| it.random()).map_err(|_| media::no_random())
}

/// Makes the offer and takes its ports.
async fn begin(
    control: &Control,
    dialog: &Dialog,
    seen: &CallSnapshot,
    sides: Copies<Side>,
    tag: Box<str>,
    options: &Options,
) -> Result<Subscription, Refused> {
    let mut wishes = Vec::new();
    for side in &sides {
        wishes.push(wishes_of(control, seen, *side, options)?);
    }
    let first = sides.first().map_or(Side::Caller, |side| *side);
    let is_ipv6 = options.is_ipv6.unwrap_or(dialog.local()[first.index()].rtp.is_ipv6());
    let mut random = chance::generator().map_err(|_| media::no_random())?;
    // What can't be offered takes no ports.
    let offer = CopyOffer::new(wishes, &control.policy, &mut random)?;
    let id = SubscriptionId(random.random());
    let local = control.relay.subscribe(dialog.at(), id, sides.clone(), is_ipv6).await?;
    let asked = clock::monotonic();
    Ok(Subscription { tag, id, sides, local, offer, asked, is_answered: false })
}

fn wishes_of(
    control: &Control,
    seen: &CallSnapshot,
    side: Side,
    options: &Options,
) -> Result<Wishes, Refused> {
    let default = match control.policy.srtp_only {
        true => Transport::Savp,
        false => Transport::Avp,
    };
    let transport = media::transport(Some(default), options)?;
    match transport {
        Transport::DtlsSavp | Transport::DtlsSavpf => return Err(no_dtls()),
        Transport::Avp | Transport::Avpf | Transport::Savp | Transport::Savpf => {}
    }
    match options.ice {
        Ice::Force => return Err(no_dtls()),
        Ice::Unsaid | Ice::Remove => {}
    }
    Ok(Wishes {
        transport,
        ice: false,
        rtcp_mux: media::rtcp_mux(options, false),
        suites: media::suites(options),
        menu: Menu::of_copies(seen.legs[side.index()].codec),
    })
}

fn no_dtls() -> Refused {
    Refused::because(
        "Sotto copies media without DTLS and ICE: ask for RTP/AVP, or RTP/SAVP with keys in the SDP",
    )
}

/// Where a copy goes, as the relay needs it.
fn wanted(
    control: &Control,
    mut agreement: Agreement<Settled>,
    local: LocalMedia,
    options: &Options,
) -> Result<CopyMedia, Refused> {
    let leg = media::leg(control, &mut agreement, options)?;
    if local.rtp.is_ipv6() != leg.remote_rtp.is_ipv6() {
        return Err(media::other_family());
    }
    Ok(CopyMedia {
        remote: leg.remote_rtp,
        codec: leg.codec,
        payload_type: leg.payload_type,
        ptime: leg.ptime,
        they_receive: leg.they_receive,
        key: leg.srtp.map(|keys| keys.outbound),
    })
}

/// Who is copied, in the words that proxies read: the parties' tags, and each stream's label.
fn told(reply: Reply, dialog: &Dialog, seen: &CallSnapshot, sides: &[Side], tag: String) -> Reply {
    let tags = dialog.tags();
    let text = |side: Side| Value::of_text(tags[side.index()].unwrap_or_default().to_owned());
    let stream = |side: Side| {
        let leg = &seen.legs[side.index()];
        let mode = match (leg.they_send, leg.they_receive) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        };
        [
            ("index", Value::Integer(1)),
            ("type", Value::of_text("audio")),
            ("mode", Value::of_text(mode)),
        ]
    };
    let with = |members: [(&'static str, Value<'static>); 3], name: &'static str, value| {
        let mut all: Vec<_> = members.map(|(name, value)| (name.into(), value)).into();
        all.push((name.into(), value));
        Value::Dictionary(all)
    };
    let label = |at: usize| Value::of_text(at.to_string());
    let medias = sides.iter().enumerate().map(|(at, side)| {
        let medias = Value::List(vec![with(stream(*side), "label", label(at))]);
        Value::dictionary([("tag", text(*side)), ("medias", medias)])
    });
    let labels = sides
        .iter()
        .enumerate()
        .map(|(at, side)| (at.to_string().into(), with(stream(*side), "tag", text(*side))));
    let mut reply = reply
        .with("to-tag", Value::of_text(tag))
        .with("from-tags", Value::List(sides.iter().map(|side| text(*side)).collect()))
        .with("tag-medias", Value::List(medias.collect()))
        .with("media-labels", Value::Dictionary(labels.collect()));
    if let [side] = sides {
        reply = reply.with("from-tag", text(*side));
    }
    reply
}

fn none_of_this_name() -> Refused {
    let seconds = Duration::as_secs(&UNANSWERED_SUBSCRIPTION);
    Refused::because(format!(
        "there is no subscription of this to-tag: one that is not answered ends after {seconds} s"
    ))
}
