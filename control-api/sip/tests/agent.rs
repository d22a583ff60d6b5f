//! The agent, call by call: what a peer sends, and what it gets.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sip_server::{
    Access, Agent, Algorithms, Event, Flow, LegId, Refusal, Settings, Transport, Users,
};

const OFFER: &str = "v=0\r\nthe offer\r\n";
const T1: Duration = Duration::from_millis(500);

/// An agent and one peer of it.
struct Stage {
    agent: Agent,
    now: Instant,
    flow: Flow,
    branch: u32,
    /// The tag that it was last answered with.
    tag: String,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(Access::default(), 8)
    }

    fn with(access: Access, max_calls: usize) -> Stage {
        let now = Instant::now();
        let flow = Flow {
            transport: Transport::Udp,
            connection: 0,
            remote: "127.0.0.1:40000".parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
        };
        let agent = Agent::new(Settings { access, max_calls, seed: [5; 32] }, now);
        Stage { agent, now, flow, branch: 0, tag: String::new() }
    }

    fn request(&mut self, method: &str, cseq: u32, headers: &str, body: &str) -> String {
        self.branch += 1;
        let tag = if self.tag.is_empty() { String::new() } else { format!(";tag={}", self.tag) };
        format!(
            "{method} sip:+15550100@127.0.0.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.9:5062;branch=z9hG4bK{};rport\r\n\
             From: \"A, B\" <sip:a@10.0.0.9>;tag=theirs\r\nTo: <sip:+15550100@127.0.0.1>{tag}\r\n\
             Call-ID: one@10.0.0.9\r\nCSeq: {cseq} {method}\r\nContact: <sip:a@10.0.0.9:5062>\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            self.branch,
            body.len()
        )
    }

    fn invite(&mut self, cseq: u32, headers: &str) -> String {
        self.request("INVITE", cseq, &format!("{headers}Content-Type: application/sdp\r\n"), OFFER)
    }

    fn send(&mut self, text: &str) -> Vec<String> {
        self.agent.handle(self.now, self.flow, text.as_bytes());
        self.sent()
    }

    fn sent(&mut self) -> Vec<String> {
        let sent = std::iter::from_fn(|| self.agent.poll_transmit());
        sent.map(|it| String::from_utf8(it.octets.to_vec()).unwrap()).collect()
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        let mut sent = Vec::new();
        while let Some(due) = self.agent.poll_time().filter(|due| *due <= until) {
            self.now = due;
            self.agent.handle_time(due);
            sent.extend(self.sent());
        }
        self.now = until;
        sent
    }

    fn invited(&mut self) -> LegId {
        match self.agent.poll_event() {
            Some(Event::Invited(invitation)) => {
                assert_eq!(invitation.callee, "+15550100");
                assert_eq!(&invitation.sdp[..], OFFER.as_bytes());
                assert_eq!(invitation.call_id, "one@10.0.0.9");
                invitation.leg
            }
            Some(_) | None => panic!("nobody calls"),
        }
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.agent.poll_event(), Some(Event::Ended { .. }))
    }

    /// A call that is answered and acknowledged.
    fn call(&mut self, headers: &str) -> LegId {
        let invite = self.invite(1, headers);
        assert_eq!(status(&self.send(&invite)), [100]);
        let leg = self.invited();
        self.agent.answer(self.now, leg, "v=0\r\nthe answer\r\n");
        let sent = self.sent();
        assert_eq!(status(&sent), [200]);
        self.tag = tag_of(&sent[0]);
        let ack = self.request("ACK", 1, "", "");
        assert!(self.send(&ack).is_empty());
        leg
    }
}

fn status(sent: &[String]) -> Vec<u16> {
    sent.iter().map(|text| text.split(' ').nth(1).unwrap().parse().unwrap_or(0)).collect()
}

fn tag_of(text: &str) -> String {
    let to = text.lines().find(|line| line.starts_with("To: ")).unwrap();
    to.split(";tag=").nth(1).unwrap().to_owned()
}

#[test]
fn a_call_is_answered_until_it_is_acknowledged_and_ended_by_its_caller() {
    let mut stage = Stage::new();
    let invite = stage.invite(1, "Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n");
    let trying = stage.send(&invite);
    assert!(trying[0].starts_with("SIP/2.0 100 Trying\r\nVia: SIP/2.0/UDP 10.0.0.9:5062;"));
    assert!(trying[0].contains(";received=127.0.0.1;rport=40000\r\n"));
    assert_eq!(status(&stage.send(&invite)), [100], "a second one is no second call");
    let leg = stage.invited();
    assert!(stage.agent.poll_event().is_none());
    stage.agent.answer(stage.now, leg, "v=0\r\nthe answer\r\n");
    let answer = stage.sent().remove(0);
    for part in [
        "SIP/2.0 200 OK\r\n",
        "\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\n",
        "\r\nContact: <sip:127.0.0.1:5060>\r\n",
        "\r\nContent-Length: 17\r\n\r\nv=0\r\nthe answer\r\n",
    ] {
        assert!(answer.contains(part), "{part:?} in {answer}");
    }
    // RFC 3261 section 17.2.1: after T1, and twice as long each time.
    assert_eq!(stage.wait(T1 * 8), [answer.as_str(); 3]);
    assert_eq!(stage.send(&invite), [answer.as_str()]);
    stage.tag = tag_of(&answer);
    let ack = stage.request("ACK", 1, "", "");
    assert!(stage.send(&ack).is_empty() && stage.wait(T1 * 20).is_empty());
    let tag = std::mem::take(&mut stage.tag);
    let same = stage.invite(1, "");
    assert_eq!(status(&stage.send(&same)), [482], "the same call by another way");
    stage.tag = tag;
    let bye = stage.request("BYE", 2, "", "");
    assert_eq!(status(&stage.send(&bye)), [200]);
    assert!(stage.has_ended());
    assert_eq!(status(&stage.send(&bye)), [200], "answered again");
    assert_eq!(stage.agent.calls(), 0);
    let late = stage.request("INFO", 3, "", "");
    assert_eq!(status(&stage.send(&late)), [481]);
    stage.wait(T1 * 200);
    assert!(stage.agent.poll_time().is_none(), "nothing is left behind");
}

#[test]
fn our_bye_goes_by_the_way_the_call_came_and_through_its_proxies() {
    for (routes, begins, route) in [
        ("", "BYE sip:a@10.0.0.9:5062 SIP/2.0\r\n", None),
        (
            "Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\n",
            "BYE sip:a@10.0.0.9:5062 SIP/2.0\r\n",
            Some("\r\nRoute: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\n"),
        ),
        (
            "Record-Route: <sip:p1>, <sip:p2;lr>\r\n",
            "BYE sip:p1 SIP/2.0\r\n",
            Some("\r\nRoute: <sip:p2;lr>\r\nRoute: <sip:a@10.0.0.9:5062>\r\n"),
        ),
    ] {
        let mut stage = Stage::new();
        let leg = stage.call(routes);
        stage.agent.hang_up(stage.now, leg);
        let transmit = stage.agent.poll_transmit().unwrap();
        assert_eq!(transmit.flow.remote, stage.flow.remote);
        let bye = String::from_utf8(transmit.octets.to_vec()).unwrap();
        assert!(bye.starts_with(begins), "{bye}");
        assert!(route.is_none_or(|route| bye.contains(route)), "{bye}");
        assert!(
            bye.contains(";tag=theirs\r\n") && bye.contains(&format!(";tag={}\r\n", stage.tag))
        );
        assert_eq!(stage.wait(T1), [bye.as_str()], "sent again");
        let via = bye.lines().find(|line| line.starts_with("Via: ")).unwrap();
        let answer = format!("SIP/2.0 200 OK\r\n{via}\r\nCSeq: 1 BYE\r\n\r\n");
        assert!(stage.send(&answer).is_empty() && stage.wait(T1 * 100).is_empty());
        assert!(stage.agent.calls() == 0 && stage.agent.poll_event().is_none());
    }
}

#[test]
fn who_never_acknowledges_or_answers_is_given_up() {
    let mut stage = Stage::new();
    let invite = stage.invite(1, "");
    stage.send(&invite);
    let leg = stage.invited();
    stage.agent.answer(stage.now, leg, OFFER);
    stage.agent.hang_up(stage.now, leg);
    assert_eq!(status(&stage.sent()), [200], "no BYE before the ACK");
    let sent = stage.wait(T1 * 64);
    assert!(sent.last().unwrap().starts_with("BYE "));
    assert!(stage.wait(T1 * 63).iter().all(|text| text.starts_with("BYE ")));
    stage.wait(T1 * 2);
    assert_eq!(stage.agent.calls(), 0);
}

#[test]
fn a_call_is_taken_back_before_it_is_answered() {
    let mut stage = Stage::new();
    let invite = stage.invite(1, "");
    stage.send(&invite);
    let leg = stage.invited();
    let cancel = invite.replace("INVITE", "CANCEL");
    assert_eq!(status(&stage.send(&cancel)), [200, 487]);
    assert!(stage.has_ended());
    assert_eq!(status(&stage.wait(T1)), [487]);
    assert!(stage.send(&invite.replace("INVITE", "ACK")).is_empty());
    assert!(stage.wait(T1 * 100).is_empty());
    stage.agent.answer(stage.now, leg, OFFER);
    assert!(stage.sent().is_empty(), "an answer that comes late is nobody's");
    let stray = stage.request("CANCEL", 9, "", "");
    assert_eq!(status(&stage.send(&stray)), [481]);
}

#[test]
fn a_call_may_be_refused_with_a_reason() {
    let mut stage = Stage::new();
    let invite = stage.invite(1, "");
    stage.send(&invite);
    let leg = stage.invited();
    let advice = Some("no \"ports\"\r\nBad: header".to_owned());
    stage.agent.refuse(stage.now, leg, &Refusal { status: 503, retry_after: Some(5), advice });
    let refused = stage.sent().remove(0);
    assert!(refused.contains("\r\nRetry-After: 5\r\n"), "{refused}");
    assert!(
        refused.contains("\r\nWarning: 399 sotto \"no 'ports'''Bad: header\"\r\n"),
        "{refused}"
    );
    assert_eq!(stage.agent.calls(), 0);
    assert_eq!(stage.send(&invite), [refused]);
}

#[test]
fn offers_within_a_call_are_answered_or_refused_and_the_call_goes_on() {
    let mut stage = Stage::new();
    let leg = stage.call("");
    let again = stage.invite(2, "");
    assert_eq!(status(&stage.send(&again)), [100]);
    assert!(matches!(stage.agent.poll_event(), Some(Event::Offered { .. })));
    let glare = stage.invite(3, "");
    assert_eq!(status(&stage.send(&glare)), [500], "one at a time");
    stage.agent.answer(stage.now, leg, OFFER);
    assert_eq!(status(&stage.sent()), [200]);
    let ack = stage.request("ACK", 3, "", "");
    stage.send(&ack);
    let stale = stage.invite(2, "");
    assert_eq!(status(&stage.send(&stale)), [500]);
    let update = stage.request("UPDATE", 4, "", "");
    assert_eq!(status(&stage.send(&update)), [200]);
    let empty = stage.request("INVITE", 5, "", "");
    assert_eq!(status(&stage.send(&empty)), [488]);
    assert_eq!(stage.agent.calls(), 1);
}

#[test]
fn keys_of_info_come_once() {
    let mut stage = Stage::new();
    stage.call("");
    let kind = "Content-Type: application/dtmf-relay\r\n";
    let info = stage.request("INFO", 2, kind, "Signal=7\r\nDuration=100\r\n");
    assert_eq!(status(&stage.send(&info)), [200]);
    assert_eq!(status(&stage.send(&info)), [200]);
    match stage.agent.poll_event() {
        Some(Event::Keyed { key, .. }) => assert!(key.digit().to_ascii() == b'7'),
        Some(_) | None => panic!("no key"),
    }
    assert!(stage.agent.poll_event().is_none());
    let flash = stage.request("INFO", 3, "Content-Type: application/dtmf\r\n", "16");
    assert_eq!(status(&stage.send(&flash)), [200]);
    let other = stage.request("INFO", 4, "Content-Type: text/plain\r\n", "7");
    let refused = stage.send(&other);
    assert!(refused[0].contains("Accept: application/dtmf-relay, application/dtmf\r\n"));
    assert_eq!(status(&refused), [415]);
    assert!(stage.agent.poll_event().is_none());
}

/// A table that one caller fills is one that no other call has room in.
#[test]
fn one_caller_s_requests_leave_room_for_other_calls() {
    let mut stage = Stage::new();
    let leg = stage.call("");
    let kind = "Content-Type: application/dtmf\r\n";
    for cseq in 2..9000 {
        let info = stage.request("INFO", cseq, kind, "#");
        assert_eq!(status(&stage.send(&info)), [200]);
        assert!(matches!(stage.agent.poll_event(), Some(Event::Keyed { .. })));
        if cseq == 8999 {
            assert_eq!(status(&stage.send(&info)), [200], "the last is known still");
            assert!(stage.agent.poll_event().is_none());
        }
        stage.wait(Duration::from_millis(2));
    }
    // What waits for an answer is not the oldest that goes.
    let hold = stage.invite(9000, "");
    assert_eq!(status(&stage.send(&hold)), [100]);
    assert!(matches!(stage.agent.poll_event(), Some(Event::Offered { .. })));
    for cseq in 9001..9100 {
        let info = stage.request("INFO", cseq, kind, "#");
        assert_eq!(status(&stage.send(&info)), [200]);
    }
    stage.agent.answer(stage.now, leg, OFFER);
    assert_eq!(status(&stage.sent()), [200]);

    let tag = std::mem::take(&mut stage.tag);
    let other = stage.invite(1, "").replace("one@10.0.0.9", "two@10.0.0.9");
    assert_eq!(status(&stage.send(&other)), [100], "another call has room");
    stage.tag = tag;
    let bye = stage.request("BYE", 9100, "", "");
    assert_eq!(status(&stage.send(&bye)), [200]);
    assert_eq!(status(&stage.send(&bye)), [200], "a copy of it is answered");
}

#[test]
fn what_is_not_understood_has_its_status() {
    for (from, to, wanted) in [
        ("Contact", "Require: 100rel, timer\r\nContact", 420),
        ("application/sdp", "multipart/mixed", 415),
        ("sip:+15550100@127.0.0.1 SIP", "mailto:a@b SIP", 416),
        ("Contact", "Supported: timer\r\nSession-Expires: 30\r\nContact", 422),
        ("Contact: <sip:a@10.0.0.9:5062>\r\n", "", 400),
        ("INVITE", "REGISTER", 405),
        ("INVITE", "OPTIONS", 200),
        ("INVITE", "BYE", 481),
        ("INVITE", "SUBSCRIBE", 405),
    ] {
        let mut stage = Stage::new();
        let request = stage.invite(1, "").replace(from, to);
        let sent = stage.send(&request);
        assert_eq!(status(&sent), [wanted], "{from:?} as {to:?}");
        if wanted == 420 {
            assert!(sent[0].contains("\r\nUnsupported: 100rel\r\n"));
        }
        assert_eq!(stage.agent.calls(), 0);
        assert!(stage.agent.poll_time().is_none(), "nothing is kept of {to:?}");
    }
    let mut stage = Stage::new();
    let silent = stage.request("INVITE", 1, "", "");
    assert!(stage.send(&silent)[0].contains("Warning: 399 sotto \"send an offer"));
}

#[test]
fn a_session_that_nobody_refreshes_ends() {
    let mut stage = Stage::new();
    let timer = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    let invite = stage.invite(1, timer);
    stage.send(&invite);
    let leg = stage.invited();
    stage.agent.answer(stage.now, leg, OFFER);
    let answer = stage.sent().remove(0);
    assert!(answer.contains("\r\nRequire: timer\r\nSession-Expires: 90;refresher=uac\r\n"));
    stage.tag = tag_of(&answer);
    let ack = stage.request("ACK", 1, "", "");
    stage.send(&ack);
    stage.wait(Duration::from_secs(50));
    let refresh = stage.request("UPDATE", 2, timer, "");
    assert_eq!(status(&stage.send(&refresh)), [200]);
    assert!(stage.wait(Duration::from_secs(50)).is_empty());
    let sent = stage.wait(Duration::from_secs(11));
    assert!(sent[0].starts_with("BYE ") && stage.has_ended());
}

#[test]
fn a_stranger_is_asked_for_a_secret_and_leaves_nothing_behind() {
    let users = Users::new("sotto", Algorithms::Both, [("phone", "secret")]);
    let mut stage = Stage::with(Access { users: Some(users), trunks: Vec::new() }, 8);
    let mut answers = 0;
    for cseq in 1..=200 {
        let invite = stage.invite(cseq, "");
        let sent = stage.send(&invite);
        assert!(status(&sent).iter().all(|status| *status == 401));
        answers += sent.len();
        if let Some(text) = sent.first() {
            let challenges = text.lines().filter(|line| line.starts_with("WWW-Authenticate: "));
            let named: Vec<bool> = challenges.map(|line| line.contains("SHA-256")).collect();
            assert_eq!(named, [true, false]);
        }
    }
    assert_eq!(answers, 40, "a bounded number at once");
    assert!(stage.agent.calls() == 0 && stage.agent.poll_time().is_none());
    assert!(stage.agent.poll_event().is_none());

    let mut stage = Stage::new();
    stage.flow.remote = "192.0.2.1:5060".parse().unwrap();
    let invite = stage.invite(1, "");
    assert_eq!(status(&stage.send(&invite)), [403], "without a secret only this machine calls");
}

#[test]
fn there_is_room_for_so_many_calls() {
    let mut stage = Stage::with(Access::default(), 2);
    let mut sent = Vec::new();
    for number in 0..3 {
        let invite = stage.invite(1, "").replace("one@", &format!("{number}@"));
        sent.extend(stage.send(&invite));
    }
    assert_eq!(status(&sent), [100, 100, 503]);
    assert!(sent[2].contains("\r\nRetry-After: "));
}

#[test]
fn nothing_is_sent_again_by_tcp_but_what_awaits_an_ack() {
    let mut stage = Stage::new();
    stage.flow.transport = Transport::Tcp;
    stage.flow.connection = 7;
    let leg = stage.call("");
    assert!(stage.agent.is_used(7) && !stage.agent.is_used(8));
    stage.agent.hang_up(stage.now, leg);
    let bye = stage.sent().remove(0);
    assert!(bye.contains("Via: SIP/2.0/TCP 127.0.0.1:5060;"), "{bye}");
    assert!(stage.wait(T1 * 63).is_empty());
}

#[test]
fn a_tag_that_was_guessed_is_in_no_call() {
    let mut stage = Stage::new();
    stage.call("");
    let right = stage.tag.clone();
    for (tag, call_id) in [("0".repeat(32), "one@"), (right, "other@")] {
        stage.tag = tag;
        let bye = stage.request("BYE", 2, "", "").replace("one@", call_id);
        assert_eq!(status(&stage.send(&bye)), [481]);
    }
    assert_eq!(stage.agent.calls(), 1);
}

proptest! {
    #[test]
    fn any_octets_are_borne(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut stage = Stage::new();
        stage.agent.handle(stage.now, stage.flow, &octets);
        prop_assert!(stage.agent.calls() == 0);
    }

    /// A message that is right but in a few places is read or refused, and never answered by what
    /// is no message.
    #[test]
    fn any_change_of_a_call_is_borne(
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6),
        cut in 0..800_usize,
    ) {
        let mut stage = Stage::new();
        stage.call("");
        let mut octets = stage.invite(2, "Record-Route: <sip:p;lr>\r\nRequire: timer\r\n").into_bytes();
        for (at, value) in changes {
            let at = usize::from(at) % octets.len();
            octets[at] = value;
        }
        octets.truncate(octets.len().min(cut.max(1)));
        stage.agent.handle(stage.now, stage.flow, &octets);
        for text in stage.sent() {
            prop_assert!(text.starts_with("SIP/2.0 ") && text.contains("\r\n\r\n"));
            let head = text.split("\r\n\r\n").next().unwrap();
            prop_assert!(head.split("\r\n").skip(1).all(|line| line.contains(':')), "{}", head);
        }
    }
}
