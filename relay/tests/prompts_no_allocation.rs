//! Prompts are said without allocation: phrases, playing, beeps and silence.

use dtmf::brand::Brand;
use dtmf::{Digit, FailReason, FieldError, Step};
use relay::prompts::{Cue, Player, Prompts};

#[test]
fn saying_prompts_allocates_nothing() {
    let prompts = Prompts::builtin();
    let voice = prompts.voice("ar".parse().unwrap()).unwrap();
    let mut frame = [0; 160];
    let mut frames = 0;
    let counted = allocation_counter::measure(|| {
        let mut player = Player::new();
        for step in Step::ALL {
            let cue = Cue::Ask {
                step,
                attempt: 3,
                error: Some(FieldError::InvalidAmount),
                brand: Some(Brand::Amex),
                date_order: None,
            };
            player.play(&voice.phrase(cue));
            player.fill(&voice, &mut frame);
            player.stop();
            player.beep();
            player.append(&voice.phrase(Cue::Repeat { step })).unwrap();
            player.append(&voice.phrase(Cue::Failed(FailReason::InternalError))).unwrap();
            player.append(&voice.last_four(&[Digit::Four; 4])).unwrap();
            while player.fill(&voice, &mut frame) {
                frames += 1;
                assert!(!player.is_idle() || player.remaining(&voice).is_zero());
            }
        }
    });
    assert!(frames > 1000, "it was said");
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 160])));
    assert_eq!(counted.count_total, 1);
}
