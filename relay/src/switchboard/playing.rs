//! Playing: what a party hears of the relay in place of the other one: a sound, keys, or both in turns.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::egress::Said;
use super::limits::{MIN_PRESS_PAUSE, PRESS_QUEUE};
use super::play_request::{PlayRequest, SoundPlay};
use super::press::{KeyDown, KeyEvents, Press, Pressed};
use crate::codec::NARROW;

/// Samples of quiet behind the last key, so that one that comes soon is heard as another.
const REST: u32 = MIN_PRESS_PAUSE.as_millis() as u32 * (NARROW / 1000);

/// What a party hears of the relay in place of the other one. Keys come first; a sound waits for them
/// where it is.
#[derive(Default)]
pub(super) struct Playing {
    sound: Option<SoundPlay>,
    waiting: ArrayVec<Press, PRESS_QUEUE>,
    keypad: Keypad,
}

/// What each party of a call hears, by [`Side::index`](super::id::Side::index); most calls have none.
pub(super) type Stage = [Option<Playing>; 2];

/// What the last key is at.
#[derive(Default)]
enum Keypad {
    #[default]
    Idle,
    Down(KeyDown),
    /// Samples since the last key was let go.
    Rest(u32),
}

impl Playing {
    /// Plays this sound from now on, in place of whatever sounds.
    pub(super) fn play(&mut self, request: PlayRequest) {
        self.sound = Some(request.begin());
    }

    /// Whether one more key may wait.
    pub(super) fn has_room(&self) -> bool {
        !self.waiting.is_full()
    }

    /// Has a key pressed when those before it are; false if too many wait.
    pub(super) fn press(&mut self, press: Press) -> bool {
        self.waiting.try_push(press).is_ok()
    }

    /// Ends the sound, and says where it was.
    pub(super) fn stop(&mut self) -> Option<Duration> {
        self.sound.take().map(|sound| sound.place())
    }

    /// Makes the next frame: writes its samples, or says what is sent in place of it. The party is
    /// told of keys by `events`, or hears their tones.
    pub(super) fn frame(&mut self, pcm: &mut [i16], events: Option<KeyEvents>) -> Said {
        self.press_next(events);
        match &mut self.keypad {
            Keypad::Down(key) => {
                let pressed = key.frame(pcm, events);
                if let Some(since) = key.over() {
                    self.keypad = Keypad::Rest(since);
                }
                match pressed {
                    Pressed::Event(report) => Said::Key(report),
                    Pressed::Tone => Said::Sound,
                    Pressed::Broken => Said::Nothing,
                }
            }
            Keypad::Rest(since) => {
                *since = since.saturating_add(pcm.len() as u32);
                Said::Nothing
            }
            Keypad::Idle => match &mut self.sound {
                Some(sound) => {
                    sound.fill(pcm);
                    Said::Sound
                }
                None => Said::Nothing,
            },
        }
    }

    /// Whether there is nothing more to be heard.
    pub(super) fn is_over(&self) -> bool {
        let is_quiet = match self.keypad {
            Keypad::Idle => true,
            Keypad::Down(_) => false,
            Keypad::Rest(since) => since >= REST,
        };
        is_quiet && self.waiting.is_empty() && self.sound.as_ref().is_none_or(SoundPlay::is_over)
    }

    /// The next key goes down, if its time has come; behind the last one the sound goes on.
    fn press_next(&mut self, events: Option<KeyEvents>) {
        let since = match self.keypad {
            Keypad::Idle => u32::MAX,
            Keypad::Down(_) => return,
            Keypad::Rest(since) => since,
        };
        match self.waiting.first() {
            Some(next) if since >= next.pause() => {
                self.keypad = Keypad::Down(KeyDown::new(self.waiting.remove(0), events));
            }
            None if since >= REST => self.keypad = Keypad::Idle,
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dtmf::Digit;
    use dtmf::telephone_event::TelephoneEvent;

    use super::*;
    use crate::prompts::Sound;

    const MS: Duration = Duration::from_millis(1);
    const EVENTS: Option<KeyEvents> = Some(KeyEvents { payload_type: 101, clock: 8000 });

    fn press(key: Digit, pause: u32) -> Press {
        Press::new(key, 100 * MS, 8, pause * MS).unwrap()
    }

    /// A letter for each frame of 20 ms until it is over: a key's end, another packet of a key, sound
    /// or nothing.
    fn frames(playing: &mut Playing) -> String {
        let mut told = String::new();
        while !playing.is_over() {
            told.push(match playing.frame(&mut [0; 160], EVENTS) {
                Said::Key(report) if TelephoneEvent::from_octets(report.octets).end => 'e',
                Said::Key(_) => 'k',
                Said::Sound => 's',
                Said::Nothing => '-',
            });
            assert!(told.len() < 1000, "it ends");
        }
        told
    }

    #[test]
    fn keys_come_one_after_the_other_with_their_pauses() {
        let mut playing = Playing::default();
        assert!(playing.is_over());
        assert!(playing.press(press(Digit::One, 5000)), "nothing is before it");
        assert!(playing.press(press(Digit::Two, 100)) && playing.press(press(Digit::Three, 160)));
        // The end is told twice more in the pause.
        assert_eq!(frames(&mut playing), "kkkkeee---kkkkeee------kkkkeee---");
    }

    #[test]
    fn a_sound_waits_where_it_is_while_keys_are_pressed() {
        let mut playing = Playing::default();
        playing.play(PlayRequest::new(Arc::new(Sound::counted(480))));
        assert!(matches!(playing.frame(&mut [0; 160], EVENTS), Said::Sound));
        assert!(playing.press(press(Digit::One, 100)));
        assert_eq!(frames(&mut playing), "kkkkeee---ss");
    }

    #[test]
    fn a_sound_is_replaced_or_stopped_and_keys_are_not() {
        let mut playing = Playing::default();
        playing.play(PlayRequest::new(Arc::new(Sound::counted(160_000))));
        let _ = playing.frame(&mut [0; 160], EVENTS);
        playing.play(PlayRequest::new(Arc::new(Sound::counted(320))));
        assert!(playing.press(press(Digit::One, 100)));
        assert_eq!(playing.stop(), Some(Duration::ZERO));
        assert_eq!(playing.stop(), None);
        assert_eq!(frames(&mut playing), "kkkkeee---");
    }

    #[test]
    fn so_many_keys_wait_and_no_more() {
        let mut playing = Playing::default();
        let taken = (0..100).take_while(|_| playing.press(press(Digit::One, 100))).count();
        assert_eq!(taken, PRESS_QUEUE);
    }
}
