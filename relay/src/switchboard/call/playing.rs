//! Playing in a call: a party hears the relay in place of the other one, on the same unbroken stream.
//! Never in a cut, and never an engine whose call is armed: its delay is the caller's alone.

use std::time::{Duration, Instant};

use super::Call;
use crate::switchboard::command::Refusal;
use crate::switchboard::id::{Parties, Side};
use crate::switchboard::play_request::PlayRequest;
use crate::switchboard::playing::Playing;
use crate::switchboard::press::Presses;
use crate::switchboard::routing::Phase;

impl Call {
    /// Has parties hear a sound from now on, each in place of the other one and of any other sound:
    /// all of them, or none.
    pub(in crate::switchboard) fn play(
        &mut self,
        now: Instant,
        to: impl Into<Parties>,
        request: PlayRequest,
    ) -> Result<(), Refusal> {
        let sides = to.into().sides();
        sides.iter().try_for_each(|side| self.check_hearing(*side))?;
        for (side, request) in sides.iter().zip(std::iter::repeat_n(request, sides.len())) {
            self.cover(now, *side).play(request);
        }
        Ok(())
    }

    /// Ends the sound that a party hears, and says where in it that was.
    pub(in crate::switchboard) fn stop_playing(&mut self, to: Side) -> Option<Duration> {
        let playing = self.playing.as_mut()?[to.index()].as_mut()?;
        let place = playing.stop();
        if playing.is_over() {
            self.end_playing(to);
        }
        place
    }

    /// Has parties press a key, all of them or none: each other one is told of it after those that
    /// wait.
    pub(in crate::switchboard) fn press(
        &mut self,
        now: Instant,
        presses: Presses,
    ) -> Result<(), Refusal> {
        for side in Side::ALL.into_iter().filter(|side| presses[side.index()].is_some()) {
            self.check_hearing(side.other())?;
            self.check_keypad(side.other())?;
        }
        for (side, press) in Side::ALL.into_iter().zip(presses) {
            let Some(press) = press else { continue };
            if !self.cover(now, side.other()).press(*press) {
                return Err(Refusal::TooManyKeys);
            }
        }
        Ok(())
    }

    /// What a party hears of us is over, whatever was left of it: it hears the other one again, from
    /// the next packet on, if nothing else keeps that back.
    pub(super) fn end_playing(&mut self, to: Side) {
        let Some(stage) = &mut self.playing else { return };
        if stage[to.index()].take().is_none() {
            return;
        }
        if stage.iter().all(Option::is_none) {
            self.playing = None;
        }
        if !self.blocked[to.other().index()].silenced {
            self.egress(to).resume();
        }
    }

    /// Whether the other party hears us in place of this one, which goes no further meanwhile.
    pub(super) fn is_covered(&self, side: Side) -> bool {
        self.playing.as_ref().is_some_and(|stage| stage[side.other().index()].is_some())
    }

    /// Refuses to play where the stream is not free for it, or nobody would hear it.
    fn check_hearing(&self, to: Side) -> Result<(), Refusal> {
        match (self.phase(), to) {
            (Phase::Open, _) | (Phase::Armed, Side::Caller) => {}
            (Phase::Armed, Side::Engine) => return Err(Refusal::CallIsArmed),
            (Phase::Secure(_) | Phase::Draining(_) | Phase::Held(_), _) => {
                return Err(Refusal::CallIsCut);
            }
            (Phase::Closed, _) => return Err(Refusal::UnknownCall),
        }
        match self.legs[to.index()].media().they_receive {
            true => Ok(()),
            false => Err(Refusal::NotListening),
        }
    }

    /// Refuses a key where as many wait as may.
    fn check_keypad(&self, to: Side) -> Result<(), Refusal> {
        let playing = self.playing.as_ref().and_then(|stage| stage[to.index()].as_ref());
        match playing.is_none_or(Playing::has_room) {
            true => Ok(()),
            false => Err(Refusal::TooManyKeys),
        }
    }

    /// Puts us in place of the other party, if we are not there already.
    fn cover(&mut self, now: Instant, to: Side) -> &mut Playing {
        let from = to.other();
        let was_ours = self.is_hushed(from);
        self.playing.get_or_insert_default()[to.index()].get_or_insert_default();
        self.hand_over(now, from, was_ours);
        self.playing.get_or_insert_default()[to.index()].get_or_insert_default()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::sync::Arc;

    use dtmf::Digit;
    use dtmf::g711::Law;
    use dtmf::telephone_event::TelephoneEvent;
    use rand::{SeedableRng, rngs::StdRng};

    use super::super::tests::{call, call_in, send_in, session};
    use super::*;
    use crate::codec::{Codec, Decoder, MAX_SAMPLES, SampleRate};
    use crate::prompts::Sound;
    use crate::switchboard::command::{Part, SessionRequest};
    use crate::switchboard::leg::Component;
    use crate::switchboard::limits::PRESS_QUEUE;
    use crate::switchboard::media::LookAhead;
    use crate::switchboard::ntp_anchor::NtpAnchor;
    use crate::switchboard::outbox::Outbox;
    use crate::switchboard::press::Press;
    use crate::switchboard::routing::EngineAudio;
    use crate::wire::ntp::NtpTime;
    use crate::wire::rtp::{Header, RtpPacket, is_rtcp};

    const MS: Duration = Duration::from_millis(1);
    const FRAME: Duration = Duration::from_millis(20);
    /// What the caller's voice is made of: no sample of a counted sound.
    const VOICE: u8 = 0xd5;

    /// A caller who talks, and what its engine hears.
    struct Scene {
        call: Call,
        now: Instant,
        start: Instant,
        sequence: u16,
        heard: Vec<(Instant, Header, Vec<u8>)>,
    }

    impl Scene {
        fn new(call: impl FnOnce(Instant) -> Call) -> Scene {
            let start = Instant::now();
            Scene { call: call(start), now: start, start, sequence: 0, heard: Vec::new() }
        }

        /// The caller talks for so many frames; how many came to the engine.
        fn talk(&mut self, frames: usize) -> usize {
            let before = self.heard.len();
            for _ in 0..frames {
                self.now += FRAME;
                self.sequence += 1;
                let (sequence, timestamp) = (self.sequence, u32::from(self.sequence) * 160);
                let mut buffer = [0; 256];
                let voice = &[VOICE; 160];
                let passed =
                    send_in(&mut self.call, self.now, 0, sequence, timestamp, voice, &mut buffer);
                if let Some(sent) = passed {
                    self.hear(self.now, &buffer[sent.range]);
                }
                self.listen(self.now + FRAME / 2);
            }
            self.heard.len() - before
        }

        fn listen(&mut self, now: Instant) {
            let ntp = NtpAnchor::new(self.start, NtpTime::from_unix(Duration::ZERO));
            let mut buffer = [0; 2048];
            while let Some(sent) = self.call.generate(now, ntp, Side::Engine, &mut buffer) {
                self.hear(now, &buffer[sent.range]);
            }
        }

        fn hear(&mut self, now: Instant, datagram: &[u8]) {
            if !is_rtcp(datagram[1]) {
                let packet = RtpPacket::parse(datagram).unwrap();
                self.heard.push((now, packet.header, datagram[packet.payload].to_vec()));
            }
        }

        /// Octets of the caller among the last so many packets.
        fn voice(&self, packets: usize) -> usize {
            let last = &self.heard[self.heard.len() - packets..];
            last.iter().flat_map(|it| &it.2).filter(|&&octet| octet == VOICE).count()
        }

        fn play(&mut self, samples: usize) {
            let request = PlayRequest::new(Arc::new(Sound::counted(samples)));
            self.call.play(self.now, Side::Engine, request).unwrap();
        }

        /// Whether a packet of the engine goes on to the caller.
        fn say_as_engine(&mut self, sequence: u16) -> bool {
            let mut buffer = [0; 256];
            let from = self.call.legs[Side::Engine.index()].media().remote_rtp;
            let header =
                Header { marker: false, payload_type: 0, sequence, timestamp: 160, ssrc: 7 };
            header.write(buffer.first_chunk_mut().unwrap());
            let ntp = NtpAnchor::new(self.start, NtpTime::from_unix(Duration::ZERO));
            let (side, outbox) = (Side::Engine, &mut Outbox::default());
            let (now, component) = (self.now, Component::Rtp);
            let call = &mut self.call;
            call.handle_packet(now, ntp, side, component, from, &mut buffer, 172, outbox).is_some()
        }

        fn press(&mut self, key: Digit) -> Result<(), Refusal> {
            let press = Press::new(key, 250 * MS, 8, 100 * MS).unwrap();
            self.call.press(self.now, press.by(Side::Caller.into()))
        }
    }

    #[test]
    fn a_sound_is_heard_in_place_of_the_other_party_on_one_unbroken_stream() {
        let mut scene = Scene::new(call);
        assert_eq!((scene.talk(10), scene.voice(10)), (10, 1600), "the control: it is heard");
        scene.play(2000);
        let frames = scene.talk(12);
        assert_eq!(scene.voice(frames), 0, "nothing of the caller while it plays");
        let sound: Vec<u8> =
            scene.heard[10..10 + frames].iter().flat_map(|it| it.2.clone()).collect();
        assert_eq!(sound[..1900], (0..1900).map(|at| (at % 100) as u8).collect::<Vec<_>>());
        scene.talk(3);
        assert!(scene.call.playing.is_none(), "it is over");
        let frames = scene.talk(10);
        assert_eq!((frames, scene.voice(10)), (10, 1600), "and the caller is heard again");
        for pair in scene.heard.windows(2) {
            let ([before, after], ssrc) = ([pair[0].1, pair[1].1], scene.heard[0].1.ssrc);
            assert_eq!(after.ssrc, ssrc);
            assert_eq!(after.sequence, before.sequence.wrapping_add(1));
            assert_eq!(after.timestamp, before.timestamp.wrapping_add(160));
        }
    }

    #[test]
    fn a_cut_ends_what_is_played_and_keys_that_wait_and_neither_comes_again() {
        let mut scene = Scene::new(call);
        scene.talk(10);
        scene.play(160_000);
        for key in [Digit::One, Digit::Two] {
            scene.press(key).unwrap();
        }
        scene.talk(5);
        let last = scene.heard.last().unwrap().1;
        assert_eq!(last.payload_type, 101, "the control: a key is told");
        scene.call.enter(scene.now, session(), &mut Outbox::default()).unwrap();
        let frames = scene.talk(20);
        let silence = vec![Law::Mu.silence(); 160];
        assert!(
            frames >= 19
                && scene.heard[scene.heard.len() - frames..].iter().all(|it| it.2 == silence)
        );
        assert!(scene.call.playing.is_none());
        let request = PlayRequest::new(Arc::new(Sound::counted(100)));
        for to in Side::ALL {
            let again = PlayRequest::new(Arc::new(Sound::counted(100)));
            assert_eq!(scene.call.play(scene.now, to, again), Err(Refusal::CallIsCut));
        }
        assert_eq!(scene.press(Digit::One), Err(Refusal::CallIsCut));
        assert_eq!(scene.call.stop_playing(Side::Engine), None);
        scene.call.close(scene.now, &mut Outbox::default());
        assert_eq!(scene.call.play(scene.now, Side::Caller, request), Err(Refusal::UnknownCall));
    }

    #[test]
    fn a_key_is_one_event_in_place_of_the_voice() {
        let mut scene = Scene::new(call);
        scene.talk(5);
        scene.press(Digit::Five).unwrap();
        scene.press(Digit::Pound).unwrap();
        scene.talk(50);
        let events: Vec<_> = scene.heard.iter().filter(|it| it.1.payload_type == 101).collect();
        let mut presses = events.chunk_by(|a, b| a.1.timestamp == b.1.timestamp);
        for code in [5, 11] {
            let press = presses.next().unwrap();
            let told =
                press.iter().map(|it| TelephoneEvent::from_octets(it.2[..].try_into().unwrap()));
            let told: Vec<_> = told.collect();
            assert!(told.iter().all(|it| it.event == code && it.volume == 8));
            assert_eq!(told.iter().filter(|it| it.end && it.duration == 2000).count(), 3);
            assert_eq!(press.iter().filter(|it| it.1.marker).count(), 1);
            assert!(press[0].1.marker && told[0].duration == 160);
        }
        assert!(presses.next().is_none());
        let numbers: Vec<u16> = scene.heard.iter().map(|it| it.1.sequence).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
        // Audio goes on where it would be, had there been no key.
        let audio = scene.heard.iter().filter(|it| it.1.payload_type == 0);
        let audio: Vec<_> = audio.map(|it| (it.0, it.1.timestamp)).collect();
        for pair in audio.windows(2) {
            let [(before, first), (after, second)] = [pair[0], pair[1]];
            let ms = after.duration_since(before).as_millis() as u32;
            assert!((second.wrapping_sub(first)).abs_diff(ms * 8) <= 160, "{ms} ms");
        }
        assert_eq!((scene.talk(5), scene.voice(5)), (5, 800));
    }

    #[test]
    fn an_armed_call_s_engine_hears_no_sound_and_its_caller_not_sooner() {
        let mut scene = Scene::new(call);
        scene.talk(5);
        scene.play(160_000);
        scene.press(Digit::One).unwrap();
        scene.talk(5);
        scene.call.arm(scene.now, LookAhead::default(), &mut Outbox::default()).unwrap();
        assert!(scene.call.playing.is_none(), "arming ends it");
        let armed = scene.now;
        scene.talk(10);
        let first = scene.heard.iter().find(|it| it.0 > armed && it.2.contains(&VOICE)).unwrap().0;
        assert!(first >= armed + 60 * MS, "{:?}", first - armed);
        let request = PlayRequest::new(Arc::new(Sound::counted(100)));
        assert_eq!(scene.call.play(scene.now, Side::Engine, request), Err(Refusal::CallIsArmed));
        assert_eq!(scene.press(Digit::One), Err(Refusal::CallIsArmed));
        let request = PlayRequest::new(Arc::new(Sound::counted(100)));
        scene.call.play(scene.now, Side::Caller, request).unwrap();
        assert!(scene.call.egress(Side::Caller).is_silent());
        let (frames, voice) = (scene.talk(10), scene.voice(10));
        assert_eq!((frames, voice), (10, 1600), "what the caller hears is no matter to its engine");
    }

    #[test]
    fn who_is_silenced_is_so_when_the_sound_is_over() {
        let mut scene = Scene::new(call);
        scene.talk(5);
        scene.play(160_000);
        scene.talk(2);
        scene.call.block(scene.now, Side::Caller, Part::Silence, true);
        let place = scene.call.stop_playing(Side::Engine).unwrap();
        assert!((20..=60).contains(&place.as_millis()), "{place:?}");
        let frames = scene.talk(10);
        assert!(frames >= 9 && scene.voice(frames) == 0);
        scene.play(160);
        scene.call.block(scene.now, Side::Caller, Part::Silence, false);
        let frames = scene.talk(1);
        assert_eq!(scene.voice(frames), 0, "the sound is in its place");
        scene.talk(2);
        assert_eq!((scene.talk(5), scene.voice(5)), (5, 800));
    }

    #[test]
    fn so_many_keys_wait_and_nobody_who_is_away_hears_any() {
        let mut scene = Scene::new(call);
        for _ in 0..PRESS_QUEUE {
            scene.press(Digit::One).unwrap();
        }
        assert_eq!(scene.press(Digit::One), Err(Refusal::TooManyKeys));
        let mut held = Scene::new(|now| {
            let mut call = call(now);
            let ours = "127.0.0.1".parse().unwrap();
            let nobody = crate::switchboard::LegMedia::nobody(ours);
            call.reoffer(now, Side::Engine, nobody, &mut StdRng::from_seed([1; 32]));
            call
        });
        assert_eq!(held.press(Digit::One), Err(Refusal::NotListening));
        assert!(held.call.playing.is_none());
    }

    #[test]
    fn both_parties_hear_it_or_neither() {
        let sound = || PlayRequest::new(Arc::new(Sound::counted(160_000)));
        let key = || Press::new(Digit::One, 250 * MS, 8, 100 * MS).unwrap().by(Parties::Both);
        let mut open = Scene::new(call);
        open.call.play(open.now, Parties::Both, sound()).unwrap();
        open.call.press(open.now, key()).unwrap();
        let stage = open.call.playing.as_ref().unwrap();
        assert!(stage.iter().all(Option::is_some), "the control: both hear it");
        // One of the two keypads is full: the other one takes no key either.
        for _ in 1..PRESS_QUEUE {
            let press = Press::new(Digit::One, 250 * MS, 8, 100 * MS).unwrap();
            open.call.press(open.now, press.by(Side::Engine.into())).unwrap();
        }
        assert_eq!(open.call.press(open.now, key()), Err(Refusal::TooManyKeys));
        for _ in 1..PRESS_QUEUE {
            open.press(Digit::One).unwrap();
        }
        assert_eq!(open.press(Digit::One), Err(Refusal::TooManyKeys));
        let mut armed = Scene::new(call);
        armed.call.arm(armed.now, LookAhead::default(), &mut Outbox::default()).unwrap();
        let away = |side: Side| {
            Scene::new(move |now| {
                let mut call = call(now);
                let nobody = crate::switchboard::LegMedia::nobody("127.0.0.1".parse().unwrap());
                call.reoffer(now, side, nobody, &mut StdRng::from_seed([1; 32]));
                call
            })
        };
        let scenes = [
            (armed, Refusal::CallIsArmed),
            (away(Side::Engine), Refusal::NotListening),
            (away(Side::Caller), Refusal::NotListening),
        ];
        for (mut scene, refusal) in scenes {
            assert_eq!(scene.call.play(scene.now, Parties::Both, sound()), Err(refusal));
            assert_eq!(scene.call.press(scene.now, key()), Err(refusal));
            assert!(scene.call.playing.is_none(), "nobody hears anything: {refusal}");
        }
    }

    /// Where in a frame time behind the caller's last packet the engine's next frame is due.
    fn place(scene: &mut Scene) -> Duration {
        let due = scene.call.egress(Side::Engine).due().unwrap();
        let nanos = (due + 5 * FRAME).duration_since(scene.now).as_nanos() % FRAME.as_nanos();
        Duration::from_nanos(nanos as u64)
    }

    #[test]
    fn a_cut_finds_the_middle_between_packets_that_a_sound_has_drifted_from() {
        for drift in 0..20 {
            let mut scene = Scene::new(call);
            scene.talk(5);
            scene.play(160_000);
            scene.talk(3);
            // The caller's clock is slower than ours.
            scene.now += drift * MS;
            scene.listen(scene.now);
            scene.talk(3);
            if (1..=19).contains(&drift) {
                assert!(place(&mut scene) != FRAME / 2, "the control: it has drifted");
            }
            let before = scene.heard.last().unwrap().0;
            // Whenever the cut comes between two packets.
            let cut = scene.now + (drift * 7 % 20) * MS;
            scene.listen(cut);
            let before = scene.heard.last().unwrap().0.max(before);
            scene.call.enter(cut, session(), &mut Outbox::default()).unwrap();
            assert_eq!(place(&mut scene), FRAME / 2, "{drift} ms");
            let due = scene.call.egress(Side::Engine).due().unwrap();
            assert!(due >= cut, "at its place, not at once");
            assert!(due < before + 2 * FRAME, "no gap: {:?}", due - before);
            let caller = scene.call.egress(Side::Caller).due().unwrap();
            let engine = scene.call.egress(Side::Engine).due().unwrap();
            let apart = engine.max(caller).duration_since(engine.min(caller));
            assert_eq!(apart.as_nanos() % FRAME.as_nanos(), 0, "both are made in one turn");
        }
    }

    #[test]
    fn an_engine_that_talks_in_a_cut_is_silenced_and_heard_again_without_a_gap() {
        for before in [false, true] {
            let mut scene = Scene::new(call);
            scene.talk(5);
            scene.call.block(scene.now, Side::Engine, Part::Silence, before);
            let request = SessionRequest { engine_audio: EngineAudio::Pass, ..session() };
            scene.call.enter(scene.now, request, &mut Outbox::default()).unwrap();
            scene.call.block(scene.now, Side::Engine, Part::Silence, true);
            assert!(scene.call.egress(Side::Caller).is_silent(), "our silence leaves no gap");
            scene.call.block(scene.now, Side::Engine, Part::Silence, false);
            assert!(!scene.call.egress(Side::Caller).is_silent());
            assert!(scene.say_as_engine(1), "and it is heard");
            assert!(scene.call.egress(Side::Engine).is_silent(), "nothing of the caller opens");
            scene.call.block(scene.now, Side::Caller, Part::Silence, true);
            scene.call.block(scene.now, Side::Caller, Part::Silence, false);
            assert!(scene.call.egress(Side::Engine).is_silent(), "whatever is asked");
        }
    }

    /// A saw of 500 Hz, six tenths of whose power is at that frequency, in whatever codec the party has.
    #[test]
    fn a_sound_is_heard_in_every_codec() {
        let (mu, a) = (Codec::G711(Law::Mu), Codec::G711(Law::A));
        let l16 = [SampleRate::Narrow, SampleRate::Wide, SampleRate::SuperWide].map(Codec::L16);
        let codecs = [mu, a, Codec::G722, Codec::Opus].into_iter().chain(l16);
        for (codec, caller) in codecs.flat_map(|codec| [(codec, mu), (codec, codec)]) {
            let mut scene = Scene::new(|now| call_in(now, [caller, codec]));
            let wave = (0..8000).map(|at: i32| (at % 16 - 8) as i16 * 1000);
            let codes: Vec<u8> = wave.map(|sample| Law::Mu.encode(sample)).collect();
            let request = PlayRequest::new(Arc::new(Sound::of(&codes)));
            scene.call.play(scene.now, Side::Engine, request).unwrap();
            let rate = codec.rate_beside(caller);
            let mut decoder = Decoder::new(codec, rate).unwrap();
            let mut pcm = Vec::new();
            for _ in 0..40 {
                scene.now += FRAME;
                scene.listen(scene.now);
            }
            for (_, header, payload) in &scene.heard {
                assert_eq!(header.payload_type, 0);
                let mut frame = [0; MAX_SAMPLES];
                let count = decoder.decode(payload, &mut frame).unwrap();
                pcm.extend_from_slice(&frame[..count]);
            }
            let share = share_of(500.0 / f64::from(rate), &pcm[pcm.len() / 2..]);
            assert!(share > 0.5, "{codec} beside {caller}: {share}");
        }
    }

    /// What part of the power is at a frequency, in parts of the sampling rate.
    fn share_of(frequency: f64, pcm: &[i16]) -> f64 {
        let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
        for (at, &sample) in pcm.iter().enumerate() {
            let angle = std::f64::consts::TAU * frequency * at as f64;
            let sample = f64::from(sample);
            re += sample * angle.cos();
            im += sample * angle.sin();
            power += sample * sample;
        }
        2.0 * (re * re + im * im) / (pcm.len() as f64 * power)
    }
}
