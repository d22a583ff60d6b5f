//! SIP: any octets are a message, a stream's next part, or neither, and no answer is without bounds.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use sip_server::{Access, Agent, Event, Flow, Frame, Framer, Settings, Transport};

const ANSWER: &str = "v=0\r\n";

fuzz_target!(|octets: &[u8]| {
    let now = Instant::now();
    let settings = Settings { access: Access::default(), max_calls: 4, seed: [1; 32] };
    let mut agent = Agent::new(settings, now);
    let address = ([127, 0, 0, 1], 5060).into();
    let flow = Flow { transport: Transport::Udp, connection: 0, remote: address, local: address };
    // What an agent takes as datagrams, parted by a NUL, which no message has.
    for datagram in octets.split(|octet| *octet == 0).take(8) {
        agent.handle(now, flow, datagram);
        while let Some(event) = agent.poll_event() {
            match event {
                Event::Invited(invitation) => agent.answer(now, invitation.leg, ANSWER),
                Event::Offered { leg, .. } => agent.answer(now, leg, ANSWER),
                Event::Keyed { leg, .. } | Event::Ended { leg } => agent.hang_up(now, leg),
            }
        }
        assert!(agent.calls() <= 4);
    }
    for transmit in std::iter::from_fn(|| agent.poll_transmit()) {
        // A head is repeated once, and little is added to it.
        assert!(transmit.octets.len() <= octets.len() * 2 + 2048);
    }
    let mut framer = Framer::default();
    for part in octets.chunks(61) {
        framer.push(part);
        while let Ok(Some(frame)) = framer.next_frame() {
            match frame {
                Frame::Message(message) => agent.handle(now, flow, &message),
                Frame::Ping => {}
            }
        }
    }
});
