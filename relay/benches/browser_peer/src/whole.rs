//! Whole: a relay of the crate `webrtc`, as its own examples would have it: a peer connection for
//! each caller, a UDP socket for each engine, and a task for each direction.

use std::sync::Arc;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_PCMU;
use rtc::rtp::Packet;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::shared::marshal::{Marshal, Unmarshal};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCConfigurationBuilder, RTCIceGatheringState, RTCSessionDescription, Registry,
    SettingEngineBuilder, register_default_interceptors,
};

use crate::place::NEAR;
use crate::signal::{Answer, Ice, Offer};

/// The relay.
#[derive(Default)]
pub struct Whole {
    calls: Vec<Box<dyn PeerConnection>>,
}

/// What a peer connection tells.
struct Listener {
    engine: Arc<UdpSocket>,
    gathered: mpsc::UnboundedSender<()>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Listener {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.gathered.send(());
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let _ = engine.send(&packet.marshal().unwrap()).await;
                }
            }
        });
    }
}

impl Whole {
    /// Answers a caller.
    pub async fn answer(&mut self, offer: &Offer) -> Answer {
        let engine = Arc::new(UdpSocket::bind((NEAR.ip(), 0)).await.unwrap());
        engine.connect(offer.engine).await.unwrap();
        let (sender, mut gathered) = mpsc::unbounded_channel();
        let listener = Listener { engine: Arc::clone(&engine), gathered: sender };
        let peer = connection(listener).await;
        let ssrc = 1_000_000 + self.calls.len() as u32;
        let track: Arc<dyn TrackLocal> = Arc::new(track(ssrc));
        peer.add_track(Arc::clone(&track)).await.unwrap();
        let offered = RTCSessionDescription::offer(sdp(offer)).unwrap();
        peer.set_remote_description(offered).await.unwrap();
        let answer = peer.create_answer(None).await.unwrap();
        peer.set_local_description(answer).await.unwrap();
        gathered.recv().await.unwrap();
        tokio::spawn(hear(engine, track, ssrc));
        let answer = read(&peer.local_description().await.unwrap().sdp);
        self.calls.push(peer);
        answer
    }
}

async fn connection(listener: Listener) -> Box<dyn PeerConnection> {
    let mut media = MediaEngine::default();
    media.register_default_codecs().unwrap();
    let registry = register_default_interceptors(Registry::new(), &mut media).unwrap();
    // As a server with an address of its own would have it; nobody here has a name by multicast.
    let settings = SettingEngineBuilder::new()
        .with_lite(true)
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .build();
    let built = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(media)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(listener))
        .with_udp_addrs(vec![format!("{}:0", NEAR.ip())])
        .build();
    Box::new(built.await.unwrap())
}

fn track(ssrc: u32) -> TrackLocalStaticRTP {
    let codec = RTCRtpCodec {
        mime_type: MIME_TYPE_PCMU.to_owned(),
        clock_rate: 8000,
        ..Default::default()
    };
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec,
        ..Default::default()
    };
    let (stream, name) = ("engine".to_owned(), format!("engine-{ssrc}"));
    let kind = RtpCodecKind::Audio;
    TrackLocalStaticRTP::new(MediaStreamTrack::new(stream, name.clone(), name, kind, vec![coding]))
}

/// The engine's packets, to the browser.
async fn hear(engine: Arc<UdpSocket>, track: Arc<dyn TrackLocal>, ssrc: u32) {
    let mut buffer = [0; 2048];
    while let Ok(length) = engine.recv(&mut buffer).await {
        let Ok(mut packet) = Packet::unmarshal(&mut &buffer[..length]) else { continue };
        packet.header.ssrc = ssrc;
        // Until the handshake is over there is nobody to write to.
        let _ = track.write_rtp(packet).await;
    }
}

fn sdp(offer: &Offer) -> String {
    let (ip, port) = (offer.caller.ip(), offer.caller.port());
    let Ice { ufrag, password } = &offer.ice;
    let hex: Vec<String> = offer.fingerprint.iter().map(|octet| format!("{octet:02X}")).collect();
    let fingerprint = hex.join(":");
    [
        "v=0",
        &format!("o=- 1 1 IN IP4 {ip}"),
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=msid-semantic: WMS *",
        &format!("m=audio {port} UDP/TLS/RTP/SAVPF 0"),
        &format!("c=IN IP4 {ip}"),
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        &format!("a=ice-ufrag:{ufrag}"),
        &format!("a=ice-pwd:{password}"),
        &format!("a=fingerprint:sha-256 {fingerprint}"),
        "a=setup:active",
        "a=rtpmap:0 PCMU/8000",
        "a=msid:caller caller-audio",
        "a=ssrc:7 cname:caller",
        &format!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host"),
        "a=end-of-candidates",
        "",
    ]
    .join("\r\n")
}

/// What its answer says.
fn read(sdp: &str) -> Answer {
    let value = |name: &str| {
        let found = sdp.lines().find_map(|line| line.trim().strip_prefix(name));
        found.unwrap_or_else(|| panic!("{name} in {sdp}"))
    };
    let candidate: Vec<&str> = value("a=candidate:").split(' ').collect();
    Answer {
        relay: format!("{}:{}", candidate[4], candidate[5]).parse().unwrap(),
        ice: Ice {
            ufrag: value("a=ice-ufrag:").to_owned(),
            password: value("a=ice-pwd:").to_owned(),
        },
    }
}
