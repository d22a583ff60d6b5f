//! Callers: one task a call, between its dialog and the relay.

use std::sync::Arc;

use audit_log::Listener;
use sip_server::{Invitation, LegId, PressedKey, Refusal};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::config::SipConfig;
use super::refusal;
use crate::audit::By;
use crate::dto::call::{CallRequest, CallerRequest, Secret};
use crate::dto::id;
use crate::external_id::ExternalId;
use crate::index::CallEntry;
use crate::problem::{Code, Problem};
use crate::{Control, calls};

/// What a caller asks within its call. It has no `Debug`: a key is a secret.
pub(super) enum Wish {
    /// It holds, resumes or moves.
    Offer(Zeroizing<Vec<u8>>),
    /// It has pressed a key.
    Key(PressedKey),
}

/// What the desk is to tell a caller.
pub(super) enum Order {
    /// An offer is answered.
    Answer(LegId, Zeroizing<String>),
    /// An offer is refused.
    Refuse(LegId, Refusal),
    /// The call is over.
    HangUp(LegId),
}

/// One caller, from its INVITE to the end of its call.
pub(super) struct Caller {
    pub(super) control: Arc<Control>,
    pub(super) config: Arc<SipConfig>,
    pub(super) orders: mpsc::Sender<Order>,
}

impl Caller {
    /// Places the call and sees it through. It is over when `wishes` is closed, which says that the
    /// caller is gone, or when the relay says so.
    pub(super) async fn attend(self, invitation: Invitation, mut wishes: mpsc::Receiver<Wish>) {
        let leg = invitation.leg;
        match self.place(invitation).await {
            Ok((entry, answer)) => {
                self.order(Order::Answer(leg, answer)).await;
                self.see_through(leg, &entry, &mut wishes).await;
            }
            Err(refusal) => {
                tracing::info!(status = refusal.status, "a call by SIP was refused");
                self.order(Order::Refuse(leg, refusal)).await;
            }
        }
    }

    async fn place(
        &self,
        invitation: Invitation,
    ) -> Result<(Arc<CallEntry>, Zeroizing<String>), Refusal> {
        let engine = self.config.dialplan.engine_of(&invitation.callee);
        let engine = engine.ok_or_else(refusal::unknown_number)?;
        let sdp = secret(&invitation.sdp).map_err(|problem| refusal::of(&problem))?;
        let external_id = ExternalId::parse(&invitation.call_id);
        let caller = CallerRequest { sdp, nat: self.config.nat };
        let request = CallRequest {
            caller,
            engine,
            armed: false,
            look_ahead_ms: None,
            record: None,
            external_id,
        };
        // Its address is that of the last proxy, if it is one that SIP knows of.
        let by = By::stranger(Listener::Sip, None);
        let placed = calls::place(&self.control, request, &by, |_| Ok(())).await;
        let placed = placed.map_err(|problem| refusal::of(&problem))?;
        let answer = Zeroizing::new(placed.answer().to_owned());
        self.control
            .calls
            .find(placed.call())
            .map(|entry| (entry, answer))
            .ok_or_else(|| refusal::of(&Problem::internal()))
    }

    async fn see_through(
        &self,
        leg: LegId,
        entry: &Arc<CallEntry>,
        wishes: &mut mpsc::Receiver<Wish>,
    ) {
        let mut changes = entry.story.changes();
        while !entry.story.is_closed() {
            tokio::select! {
                wish = wishes.recv() => match wish {
                    Some(Wish::Offer(sdp)) => self.change(leg, entry, &sdp).await,
                    Some(Wish::Key(key)) => self.key(entry, &key).await,
                    None => {
                        // A relay that takes no commands any more has no calls either.
                        let _ = self.control.end_call(entry).await;
                        tracing::info!(call = id::call(entry.id), "the caller is gone");
                        return;
                    }
                },
                changed = changes.changed() => if changed.is_err() { break },
            }
        }
        self.order(Order::HangUp(leg)).await;
    }

    async fn change(&self, leg: LegId, entry: &Arc<CallEntry>, sdp: &[u8]) {
        let changed = match secret(sdp) {
            Ok(sdp) => calls::change_caller(&self.control, entry, sdp.reveal()).await,
            Err(problem) => Err(problem),
        };
        self.order(match changed {
            Ok(answer) => Order::Answer(leg, answer),
            Err(problem) => Order::Refuse(leg, refusal::of(&problem)),
        })
        .await;
    }

    async fn key(&self, entry: &CallEntry, key: &PressedKey) {
        if let Some(at) = entry.at() {
            // What comes of it is nobody's to know.
            let _ = self.control.relay.key(at, key.digit()).await;
        }
    }

    async fn order(&self, order: Order) {
        // A desk that is gone has told every caller so.
        let _ = self.orders.send(order).await;
    }
}

fn secret(sdp: &[u8]) -> Result<Secret, Problem> {
    let detail = "The offer is not UTF-8.";
    std::str::from_utf8(sdp).map(Secret::new).map_err(|_| Problem::new(Code::MalformedSdp, detail))
}
