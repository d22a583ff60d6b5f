//! Sotto: a relay with one worker in this process, browser's legs or SDES on the callers' side.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use dtmf::g711::Law;
use relay::codec::Codec;
use relay::io::IoMethod;
use relay::switchboard::dtls::{DtlsRole, Fingerprint, Identity};
use relay::switchboard::ice::IceCredentials;
use relay::switchboard::{BrowserPeer, CallId, DtlsPeer, LegMedia, SourceRule};
use relay::wire::stun::IcePassword;
use relay::{CallRequest, RelayConfig, Started};

use crate::place::NEAR;
use crate::signal::{Answer, Contender, Ice, Offer, sdes};

const PORTS: RangeInclusive<u16> = 20_000..=23_999;

/// A relay, and who it is to browsers.
pub struct Sotto {
    started: Started,
    identity: Identity,
    contender: Contender,
    calls: u128,
}

impl Sotto {
    /// Starts it; its threads stay where this one is.
    pub fn start(contender: Contender, way: &str) -> Sotto {
        let config = RelayConfig {
            media_v4: Some(NEAR.v4()),
            media_v6: None,
            ports: PORTS,
            workers: 1,
            pin: false,
            io: IoMethod::ALL.into_iter().find(|one| one.as_str() == way).unwrap(),
            // Where all peers are, if they are here.
            io_interfaces: NEAR.ip().is_loopback().then(|| "lo".to_owned()).into_iter().collect(),
            media_timeout: Duration::from_secs(60),
            recordings: None,
            seed: [7; 32],
            unix_time: Duration::from_secs(1_800_000_000),
        };
        let started = relay::start(&config).unwrap();
        Sotto { started, identity: Identity::generate().unwrap(), contender, calls: 0 }
    }

    /// Opens a call.
    pub async fn answer(&mut self, offer: &Offer) -> Answer {
        self.calls += 1;
        let ours = Ice { ufrag: format!("ours{}", self.calls), password: "o".repeat(24) };
        let caller = match self.contender {
            Contender::Sdes => {
                LegMedia { srtp: Some(sdes()), ..leg(offer.caller, SourceRule::Signalled) }
            }
            Contender::Sotto | Contender::Webrtc => leg(offer.caller, self.browser(&ours, offer)),
        };
        let engine = leg(offer.engine, SourceRule::Signalled);
        let call = CallId(self.calls);
        let request = CallRequest { call, caller, engine, armed: None, record: false, links: [None, None] };
        let opened = self.started.relay.open_call(request).await.unwrap();
        Answer { relay: opened.caller.rtp, ice: ours }
    }

    fn browser(&self, ours: &Ice, offer: &Offer) -> SourceRule {
        SourceRule::Browser(Box::new(BrowserPeer {
            ours: credentials(ours),
            theirs: credentials(&offer.ice),
            dtls: DtlsPeer {
                identity: self.identity.clone(),
                fingerprint: Fingerprint(offer.fingerprint),
                role: DtlsRole::Server,
            },
        }))
    }
}

fn credentials(ice: &Ice) -> IceCredentials {
    IceCredentials { ufrag: ice.ufrag.clone(), password: IcePassword::new(&ice.password) }
}

fn leg(remote: SocketAddr, source: SourceRule) -> LegMedia {
    LegMedia {
        remote_rtp: remote,
        remote_rtcp: remote,
        rtcp_mux: true,
        codec: Codec::G711(Law::Mu),
        payload_type: 0,
        telephone_event: None,
        redundancy: None,
        wants_events: false,
        ptime: Duration::from_millis(20),
        they_send: true,
        they_receive: true,
        srtp: None,
        source,
    }
}
