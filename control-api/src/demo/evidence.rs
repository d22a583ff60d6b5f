//! Evidence: each promise, held against what was really seen.

use std::time::{Duration, Instant};

use dtmf::g711::Law;
use dtmf::tone::{ToneDetector, ToneEdge};

use super::interpreter::Understood;
use super::story::{self, CARD, CODE, MISTYPED, Told};

/// Digits in a row of the card number that count as a find; shorter runs occur in any timestamp.
const TELLING_RUN: usize = 8;
/// Samples of a 16-bit silence in the recording: G.711's smallest codes decode to at most this.
const SILENT: i16 = 8;
/// A recording may differ this much from the call as the script timed it.
const LENGTH_SLACK: Duration = Duration::from_millis(400);

/// One promise and what was found of it.
pub(super) struct Finding {
    pub(super) promise: &'static str,
    pub(super) holds: bool,
    pub(super) seen: String,
}

/// Judges every promise.
pub(super) fn examine(told: &Told, heard: &Understood) -> Vec<Finding> {
    let recording = Recording::read(&told.recording);
    vec![
        engine_heard_before_and_after(told),
        engine_heard_nothing_while_cut(told),
        engines_stream_is_unbroken(told),
        engine_was_told_the_result_alone(told),
        collector_concluded(told),
        caller_was_guided(heard),
        caller_heard_no_engine_while_cut(told, heard),
        merchant_alone_has_the_card(told),
        recording_is_masked(told, &recording),
        recording_is_as_long_as_the_call(told, &recording),
        nothing_kept_holds_a_digit(told),
    ]
}

/// The end of the cut, as far as is known.
fn reopened(told: &Told) -> Instant {
    told.reopened.unwrap_or(told.ended)
}

fn engine_heard_before_and_after(told: &Told) -> Finding {
    let ear = &told.engine_heard;
    let before = ear.not_silent_between(told.began, told.cut);
    let after = ear.not_silent_between(reopened(told), told.ended);
    Finding {
        promise: "the caller's voice reaches the engine before the cut and after it",
        holds: before > 20 && after > 20,
        seen: format!("{before} packets of voice before, {after} after"),
    }
}

fn engine_heard_nothing_while_cut(told: &Told) -> Finding {
    let ear = &told.engine_heard;
    let loud = ear.not_silent_between(told.cut, reopened(told));
    let all = ear.cadence(told.cut, reopened(told)).packets;
    Finding {
        promise: "masking: while the call is cut the engine hears digital silence alone",
        holds: loud == 0 && all > 50,
        seen: format!(
            "{loud} of {all} packets were not silence; keypad tones heard: {}",
            ear.keys_heard()
        ),
    }
}

fn engines_stream_is_unbroken(told: &Told) -> Finding {
    let around = Duration::from_secs(1);
    let cadence = told.engine_heard.cadence(told.cut - around, told.ended);
    let jumps = cadence.sequence_jumps + cadence.timestamp_jumps + cadence.source_changes;
    Finding {
        promise: "the engine's stream goes on unbroken over both flips",
        holds: jumps == 0 && cadence.other_sizes == 0,
        seen: format!(
            "{} packets, {jumps} jumps in its numbers, {} of another size, longest gap {} ms",
            cadence.packets,
            cadence.other_sizes,
            cadence.longest_gap.as_millis()
        ),
    }
}

fn engine_was_told_the_result_alone(told: &Told) -> Finding {
    let all = told.engine_told.join("\n");
    let tells_more =
        ["step", "attempt", "progress", "reason"].iter().any(|word| all.contains(word));
    Finding {
        promise: "the engine is told that a session is on, and then pass, and no more",
        holds: all.contains("pass") && !tells_more && telling_run(all.as_bytes()).is_none(),
        seen: told.engine_told.last().cloned().unwrap_or_default(),
    }
}

fn collector_concluded(told: &Told) -> Finding {
    let reason = told.session["reason"].as_str().unwrap_or("nothing");
    Finding {
        promise: "the collector accepts what was keyed, and the call reopens",
        holds: told.session["result"] == "pass" && told.reopened.is_some(),
        seen: format!("{reason}; reopened: {}", told.reopened.is_some()),
    }
}

/// The prompts of a payment with one slip, in their order.
const GUIDANCE: [&str; 6] = [
    "ask/payment-card-number",
    "error/invalid-card-number",
    "ask/payment-card-number.attempt-2",
    "ask/expiration-date",
    "ask/security-code",
    "passed",
];

fn caller_was_guided(heard: &Understood) -> Finding {
    let names: Vec<&str> = heard.utterances.iter().map(|said| said.name.as_str()).collect();
    let known: Vec<&str> = names.iter().copied().filter(|name| GUIDANCE.contains(name)).collect();
    let interrupted = heard.utterances.iter().filter(|said| !said.is_whole).count();
    Finding {
        promise: "the caller is asked in Spanish, told of the slip, and asked again",
        holds: known == GUIDANCE,
        seen: format!("{} prompts, {interrupted} of them ended by a key", names.len()),
    }
}

fn caller_heard_no_engine_while_cut(told: &Told, heard: &Understood) -> Finding {
    let before = told.caller_heard.not_silent_between(told.began, told.cut);
    let cut = told.cut + Duration::from_millis(20)..reopened(told);
    let strange = heard.strange.iter().filter(|at| cut.contains(*at)).count();
    Finding {
        promise: "the engine cannot talk to the caller while the call is cut",
        holds: strange == 0 && before > 20,
        seen: format!(
            "{before} packets of the engine before; during the cut {strange} that are neither \
             silence nor a prompt"
        ),
    }
}

fn merchant_alone_has_the_card(told: &Told) -> Finding {
    let sealed = &told.sealed;
    let opened = sealed.opened.as_ref();
    let has = |name: &str, keyed: &str| opened.is_some_and(|content| content[name] == keyed);
    let has_all = has("payment-card-number", CARD)
        && has("expiration-date", &story::expiry())
        && has("security-code", CODE);
    let [operator, engine] = sealed.refused;
    Finding {
        promise: "the merchant opens the card that was keyed, once, and nobody else can fetch it",
        holds: has_all && sealed.refused == [403, 403] && sealed.again != 200,
        seen: format!(
            "card, date and code as keyed: {has_all}; operator: {operator}; engine: {engine}; \
             merchant once more: {}",
            sealed.again
        ),
    }
}

fn recording_is_masked(told: &Told, recording: &Recording) -> Finding {
    let (from, to) = (told.cut - told.began, reopened(told) - told.began);
    let loud = recording.loud_samples(from, to);
    let (before, keys) = (recording.loud_samples(Duration::ZERO, from), recording.keys());
    Finding {
        promise: "masking: the recording is silent where the call was cut",
        holds: loud == 0 && before > 1000 && keys == 0,
        seen: format!(
            "{} ms of sound of the caller, {keys} keypad tones; {} ms before the cut",
            loud / 8,
            before / 8
        ),
    }
}

fn recording_is_as_long_as_the_call(told: &Told, recording: &Recording) -> Finding {
    let (length, call) = (recording.length(), told.ended - told.began);
    Finding {
        promise: "the recording is as long as the call",
        holds: length.abs_diff(call) < LENGTH_SLACK,
        seen: format!("{} ms of {} ms", length.as_millis(), call.as_millis()),
    }
}

fn nothing_kept_holds_a_digit(told: &Told) -> Finding {
    let in_log = telling_run(told.log.as_bytes()).is_some();
    let in_files = telling_run(&told.stored).is_some();
    let control = telling_run(format!("x{CARD}y").as_bytes()).is_some();
    Finding {
        promise: "no log and no file holds a card number, the wrong one neither",
        holds: !in_log && !in_files && control && !told.log.is_empty(),
        seen: format!(
            "{} lines of log at TRACE: {}; {} octets of files: {}",
            told.log.lines().count(),
            if in_log { "FOUND" } else { "clean" },
            told.stored.len(),
            if in_files { "FOUND" } else { "clean" }
        ),
    }
}

/// Where a telling part of a keyed card number stands, as ASCII or as event codes.
fn telling_run(octets: &[u8]) -> Option<usize> {
    let forms = [CARD, MISTYPED].map(|number| {
        let codes: Vec<u8> = number.bytes().map(|digit| digit - b'0').collect();
        [number.as_bytes().to_vec(), codes]
    });
    octets.windows(TELLING_RUN).position(|window| {
        let of = |number: &Vec<u8>| number.windows(TELLING_RUN).any(|run| run == window);
        forms.iter().flatten().any(of)
    })
}

/// The caller's channel of the exported recording.
struct Recording {
    caller: Vec<i16>,
}

impl Recording {
    fn read(wav: &[u8]) -> Recording {
        let Ok(reader) = hound::WavReader::new(wav) else {
            return Recording { caller: Vec::new() };
        };
        let samples = reader.into_samples().map_while(Result::ok);
        Recording { caller: samples.step_by(2).collect() }
    }

    fn length(&self) -> Duration {
        Duration::from_micros(self.caller.len() as u64 * 125)
    }

    fn loud_samples(&self, from: Duration, to: Duration) -> usize {
        let index = |span: Duration| (span.as_micros() as usize / 125).min(self.caller.len());
        // The tape rounds a cut outwards to whole frames, never inwards.
        let span = &self.caller[index(from)..index(to)];
        span.iter().filter(|sample| sample.unsigned_abs() > SILENT.unsigned_abs()).count()
    }

    fn keys(&self) -> usize {
        let law = Law::Mu;
        debug_assert_eq!(law.decode(law.silence()), 0);
        let mut keys = 0;
        ToneDetector::new().hear(&self.caller, &mut |report| match report.edge {
            ToneEdge::Begin(_) => keys += 1,
            ToneEdge::Hint | ToneEdge::End(_) => {}
        });
        keys
    }
}
