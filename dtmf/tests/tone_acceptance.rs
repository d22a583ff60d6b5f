//! Acceptance of the tone detector: ITU-T Q.24, its ETSI and NTT variants, noise, loss and G.711.
//!
//! Every bar is a share of keys that must be reported exactly once, right and in time, or of
//! near-keys that must not be reported at all. Near-keys stand beside keys that lack only the
//! defect, so that a detector which hears nothing fails as surely as one which hears everything.
//! `SWEEP=full` runs the whole product of the cross sweep and more of everything else;
//! `SEED=n` changes the random choices.

mod tone_scene;

use dtmf::Digit;
use tone_scene::{Bars, Channel, Dice, Expect, Scene, Shape};

const CHANNELS: [Channel; 3] = [Channel::Linear, Channel::MuLaw, Channel::ALaw];

#[test]
fn every_bar_is_reached() {
    let full = std::env::var("SWEEP").is_ok_and(|sweep| sweep == "full");
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut run = Run { bars: Bars::new(), dice: Dice::new(seed), times: if full { 8 } else { 1 } };
    println!("seed {seed}");
    run.clean();
    run.frequency();
    run.twist_and_level();
    run.duration();
    run.pauses_and_holes();
    run.shapes();
    run.cross(if full { 1 } else { 11 });
    run.cards();
    run.noise();
    run.interference();
    run.losses();
    run.slips();
    run.rates();
    run.other_signals(if full { 1800 } else { 300 });
    run.bars.print();
    run.bars.assert();
}

struct Run {
    bars: Bars,
    dice: Dice,
    times: usize,
}

impl Run {
    /// Plays one scene of `keys` for every digit and channel, `repeats` times.
    fn each(
        &mut self,
        bar: &str,
        needed: f64,
        repeats: usize,
        make: impl Fn(&mut Dice, &mut Scene, Digit),
    ) {
        for channel in CHANNELS {
            for digit in Digit::ALL {
                for _ in 0..repeats * self.times {
                    let mut scene = Scene::new(&mut self.dice, 8000);
                    make(&mut self.dice, &mut scene, digit);
                    self.bars.play(bar, needed, &scene.through(channel));
                }
            }
        }
    }

    fn clean(&mut self) {
        self.each("clean 50/50 ms", 100.0, 4, |dice, scene, digit| {
            for _ in 0..3 {
                scene.key(dice, Shape::of(digit), Expect::Key).silence(0.05);
            }
        });
    }

    fn frequency(&mut self) {
        for (bar, offset, hertz) in [
            ("frequency both 1.5 %", 0.015, 0.0),
            ("frequency both 1.5 % + 2 Hz", 0.015, 2.0),
            ("frequency both 1.8 %", 0.018, 0.0),
        ] {
            self.each(bar, 100.0, 1, |dice, scene, digit| {
                for (low, high) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
                    let mut shape = Shape::of(digit);
                    shape.detune(low * offset, high * offset);
                    shape.low_hertz += low * hertz;
                    shape.high_hertz += high * hertz;
                    scene.key(dice, shape, Expect::Key).silence(0.06);
                }
            });
        }
        for (bar, offset) in
            [("one tone off 3.5 %: refused", 0.035), ("one tone off 4.5 %: refused", 0.045)]
        {
            self.each(bar, 100.0, 1, |dice, scene, digit| {
                for (low, high) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 1.0)] {
                    for seconds in [0.05, 0.2] {
                        let mut shape = Shape::of(digit);
                        shape.seconds = seconds;
                        scene.key(dice, shape, Expect::Key).silence(0.06);
                        shape.detune(low * offset, high * offset);
                        scene.key(dice, shape, Expect::Nothing).silence(0.06);
                    }
                }
            });
        }
    }

    fn twist_and_level(&mut self) {
        self.each("twist -6..+10 dB", 100.0, 1, |dice, scene, digit| {
            for twist in -6..=10 {
                let mut shape = Shape::of(digit);
                shape.twist(f64::from(twist), -8.0);
                scene.key(dice, shape, Expect::Key).silence(0.06);
            }
        });
        self.each("twist -12, +16 dB: refused", 100.0, 1, |dice, scene, digit| {
            for twist in [-12.0, 16.0] {
                let mut shape = Shape::of(digit);
                shape.twist(twist, -8.0);
                scene.key(dice, shape, Expect::Nothing).silence(0.06);
            }
        });
        self.each("level 0..-25 dBm0, 40 ms", 100.0, 1, |dice, scene, digit| {
            for level in [0.0, -1.0, -3.0, -6.0, -10.0, -15.0, -20.0, -25.0] {
                let mut shape = Shape::of(digit);
                (shape.low_dbm0, shape.high_dbm0, shape.seconds) = (level, level, 0.04);
                scene.key(dice, shape, Expect::Key).silence(0.06);
            }
        });
        self.each("level -55 dBm0: refused", 100.0, 1, |dice, scene, digit| {
            let mut shape = Shape::of(digit);
            (shape.low_dbm0, shape.high_dbm0) = (-55.0, -55.0);
            scene.key(dice, shape, Expect::Nothing).silence(0.06);
        });
    }

    fn duration(&mut self) {
        self.each("tone 40 ms and more", 100.0, 2, |dice, scene, digit| {
            for ms in [40.0, 41.0, 43.0, 45.0, 50.0, 60.0, 80.0, 100.0, 160.0, 300.0] {
                let mut shape = Shape::of(digit);
                shape.seconds = ms / 1e3;
                scene.key(dice, shape, Expect::Key).silence(0.05);
            }
        });
        self.each("tone 23 ms and less: refused", 100.0, 2, |dice, scene, digit| {
            for ms in [5.0, 10.0, 15.0, 20.0, 22.0, 23.0] {
                let mut shape = Shape::of(digit);
                shape.seconds = ms / 1e3;
                scene.key(dice, shape, Expect::Nothing).silence(0.05);
            }
        });
        self.each("tone 23 ms, 15 dB SNR: refused", 100.0, 2, |dice, scene, digit| {
            for (seconds, expect) in [(0.023, Expect::Nothing), (0.04, Expect::Key)] {
                let mut shape = Shape::of(digit);
                shape.seconds = seconds;
                scene.key(dice, shape, expect).silence(0.05);
            }
            scene.noise(dice, 15.0);
        });
        self.each("tone 10 s", 100.0, 1, |dice, scene, digit| {
            let mut shape = Shape::of(digit);
            shape.seconds = if digit == Digit::Five { 10.0 } else { 1.0 };
            scene.key(dice, shape, Expect::Key).silence(0.05);
        });
    }

    fn pauses_and_holes(&mut self) {
        for gap in [0.04, 0.045, 0.06] {
            let bar = format!("pause {:.0} ms parts two keys", gap * 1e3);
            self.each(&bar, 100.0, 2, |dice, scene, digit| {
                for _ in 0..4 {
                    scene.key(dice, Shape::of(digit), Expect::Key).silence(gap);
                }
                let other = Shape::of(dice.digit());
                scene.key(dice, other, Expect::Key).silence(0.05);
            });
        }
        for (hole, needed) in [(0.010, 100.0), (0.018, 99.0)] {
            let bar = format!("hole {:.0} ms bridged", hole * 1e3);
            self.each(&bar, needed, 4, |dice, scene, digit| {
                let mut shape = Shape::of(digit);
                shape.seconds = 0.1 + dice.unit() * 0.1;
                let from = 0.036 + dice.unit() * (shape.seconds - hole - 0.05);
                scene.key(dice, shape, Expect::Key).hole(from, hole).silence(0.06);
            });
        }
        for (on, off) in [(0.045, 0.048), (0.05, 0.043), (0.04, 0.053)] {
            let bar = format!("93 ms a digit ({:.0}/{:.0})", on * 1e3, off * 1e3);
            self.each(&bar, 100.0, 1, |dice, scene, digit| {
                for _ in 0..8 {
                    let mut shape = Shape::of(if dice.unit() < 0.3 { digit } else { dice.digit() });
                    shape.seconds = on;
                    scene.key(dice, shape, Expect::Key).silence(off);
                }
            });
        }
    }

    fn shapes(&mut self) {
        self.each("ramps of 5 and 10 ms", 100.0, 1, |dice, scene, digit| {
            for ramp in [0.001, 0.005, 0.01] {
                let mut shape = Shape::of(digit);
                (shape.seconds, shape.ramp) = (0.045, ramp);
                scene.key(dice, shape, Expect::Key).silence(0.06);
            }
        });
        self.each("level drifts 12 dB in the tone", 100.0, 1, |dice, scene, digit| {
            for drift in [-12.0, 12.0] {
                let mut shape = Shape::of(digit);
                shape.seconds = 0.15;
                scene.key(dice, shape, Expect::Key).drift(drift).silence(0.06);
            }
        });
    }

    /// Digits, frequencies, levels, lengths and pauses in all combinations, every `step`th.
    fn cross(&mut self, step: usize) {
        let offsets: [f64; 17] = [
            0.0, 0.005, -0.005, 0.01, -0.01, 0.015, -0.015, 0.018, -0.018, 0.035, -0.035, 0.04,
            -0.04, 0.05, -0.05, 0.06, -0.06,
        ];
        let twists: [f64; 13] =
            [-6.0, -5.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 9.0, 10.0];
        let lengths = [0.015, 0.02, 0.023, 0.04, 0.045, 0.05, 0.06, 0.08, 0.1, 0.2];
        let pauses = [0.04, 0.05, 0.1];
        let product = 16 * offsets.len() * twists.len() * lengths.len() * pauses.len();
        for nth in (0..product).step_by(step) {
            let (digit, nth_rest) = (Digit::ALL[nth % 16], nth / 16);
            let (offset, rest) = (offsets[nth_rest % 17], nth_rest / 17);
            let (twist, rest) = (twists[rest % 13], rest / 13);
            let (seconds, pause) = (lengths[rest % 10], pauses[rest / 10]);
            let mut shape = Shape::of(digit);
            shape.twist(twist, -8.0);
            shape.seconds = seconds;
            let sign = if self.dice.unit() < 0.5 { -1.0 } else { 1.0 };
            let refused = offset.abs() > 0.03;
            shape.detune(offset, if refused { 0.0 } else { sign * offset });
            let good = seconds >= 0.04 && !refused;
            let expect = if good { Expect::Key } else { Expect::Nothing };
            let mut scene = Scene::new(&mut self.dice, 8000);
            scene.key(&mut self.dice, shape, expect).silence(pause);
            scene.key(&mut self.dice, shape, expect).silence(0.05);
            let bar = if good { "cross: accepted" } else { "cross: refused" };
            self.bars.play(bar, 100.0, &scene.through(CHANNELS[nth % 3]));
        }
    }

    fn cards(&mut self) {
        self.each("card entries, 25 dB SNR", 100.0, 2, |dice, scene, _| {
            let level = -5.0 - 15.0 * dice.unit();
            let (low, high) = (dice.between(-0.015, 0.015), dice.between(-0.015, 0.015));
            let twist = dice.between(-4.0, 8.0);
            for _ in 0..23 {
                let mut shape = Shape::of(dice.digit());
                shape.twist(twist, level);
                shape.detune(low, high);
                shape.seconds = dice.between(0.045, 0.2);
                scene.key(dice, shape, Expect::Key).silence(dice.between(0.045, 0.3));
            }
            scene.noise(dice, 25.0);
        });
    }

    fn noise(&mut self) {
        for (snr, needed) in [(15.0, 100.0), (10.0, 100.0), (8.0, 99.9), (6.0, 80.0)] {
            self.each(&format!("noise, {snr} dB SNR, 50 ms"), needed, 5, |dice, scene, digit| {
                for _ in 0..4 {
                    scene.key(dice, Shape::of(digit), Expect::Key).silence(0.06);
                }
                scene.noise(dice, snr);
            });
        }
    }

    fn interference(&mut self) {
        self.each("dial tone 350+440, 10 dB below", 100.0, 2, |dice, scene, digit| {
            for _ in 0..3 {
                scene.key(dice, Shape::of(digit), Expect::Key).silence(0.06);
            }
            scene.sines(&[350.0, 440.0], Shape::LEVEL - 10.0);
        });
        self.each("echo 10 dB down within 20 ms", 100.0, 3, |dice, scene, digit| {
            for _ in 0..3 {
                scene.key(dice, Shape::of(digit), Expect::Key).silence(0.05);
            }
            scene.echo(dice.between(0.001, 0.02), -10.0);
        });
        self.each("direct current", 100.0, 1, |dice, scene, digit| {
            for level in [-10.0, -25.0] {
                let mut shape = Shape::of(digit);
                (shape.low_dbm0, shape.high_dbm0) = (level, level);
                scene.key(dice, shape, Expect::Key).silence(0.06);
            }
            scene.direct_current(dice.between(-2000.0, 2000.0));
        });
    }

    fn losses(&mut self) {
        let needed = [
            (0.01, [99.3, 100.0, 100.0]),
            (0.03, [96.8, 100.0, 100.0]),
            (0.05, [94.3, 99.6, 100.0]),
            // Of 100 ms all but a packet's worth may be heard, but one time in two thousand is not.
            (0.10, [88.1, 99.3, 99.9]),
        ];
        for (rate, shares) in needed {
            for (seconds, share) in [0.05, 0.08, 0.1].into_iter().zip(shares) {
                let bar = format!("lost {:.0} % of packets, {:.0} ms", rate * 100.0, seconds * 1e3);
                self.each(&bar, share, 7, |dice, scene, digit| {
                    for _ in 0..4 {
                        let mut shape =
                            Shape::of(if dice.unit() < 0.5 { digit } else { dice.digit() });
                        shape.seconds = seconds;
                        scene.key(dice, shape, Expect::Key).silence(0.07);
                    }
                    scene.lose(dice, rate);
                });
            }
        }
    }

    fn slips(&mut self) {
        self.each("a slip of 1..8 samples in 80 ms", 100.0, 6, |dice, scene, digit| {
            let mut shape = Shape::of(digit);
            shape.seconds = 0.08;
            let at = dice.between(0.0, 0.08);
            let samples = (dice.unit() * 8.0) as usize + 1;
            scene.key(dice, shape, Expect::Key).slip(at, samples, dice.unit() < 0.5).silence(0.06);
        });
    }

    fn rates(&mut self) {
        for rate in [16_000, 48_000] {
            for digit in Digit::ALL {
                let mut scene = Scene::new(&mut self.dice, rate);
                for sign in [-0.018, 0.0, 0.018] {
                    for seconds in [0.04, 0.08] {
                        let mut shape = Shape::of(digit);
                        shape.detune(sign, -sign);
                        shape.seconds = seconds;
                        scene.key(&mut self.dice, shape, Expect::Key).silence(0.05);
                        shape.seconds = 0.022;
                        scene.key(&mut self.dice, shape, Expect::Nothing).silence(0.05);
                    }
                }
                self.bars.play(&format!("at {rate} Hz"), 100.0, &scene.through(Channel::Linear));
            }
        }
    }

    fn other_signals(&mut self, noise_seconds: usize) {
        let bar = "dial tones, busy, SIT, R1, R2, sweeps";
        for channel in CHANNELS {
            for mut scene in tone_scene::other_signals(&mut self.dice) {
                self.bars.play(bar, 100.0, &scene.through(channel));
            }
        }
        // Minutes, not hours: now and then two lone harmonics are a key by every limit.
        for level in [-5.0, -15.0] {
            for channel in CHANNELS {
                let mut scene = Scene::new(&mut self.dice, 8000);
                scene.silence(60.0).voice(&mut self.dice, level);
                self.bars.play("harmonics like speech", 100.0, &scene.through(channel));
            }
        }
        for level in [-10.0, -20.0, -30.0] {
            let mut scene = Scene::new(&mut self.dice, 8000);
            scene.silence(noise_seconds as f64 / 3.0).hiss(&mut self.dice, level);
            self.bars.play("white noise", 100.0, &scene.through(Channel::Linear));
        }
    }
}
