//! Play: what proxies have the parties of a call hear: sounds, and keys of the other party.

use std::sync::Arc;
use std::time::Duration;

use dtmf::Digit;
use ng_protocol::{Playback, Reply, Request, Value, Written};
use relay::prompts::Sound;
use relay::switchboard::limits::{
    MAX_PLAY, MAX_PRESS, MAX_PRESS_PAUSE, MAX_REPEATS, MIN_PRESS, MIN_PRESS_PAUSE,
};
use relay::switchboard::{Parties, PlayRequest, Press};

use super::commands::live;
use super::dialog::Dialog;
use super::refused::Refused;
use crate::Control;

/// How long a key is held unless a request says otherwise: what proxies know of rtpengine, as the
/// other two are.
const HELD: Duration = Duration::from_millis(250);
/// The pause before a key that follows another.
const PAUSE: Duration = Duration::from_millis(100);
/// A key's volume, in dB below 0 dBm0.
const VOLUME: u8 = 8;
/// The quietest one.
const MAX_VOLUME: i64 = 63;

/// Has parties hear a sound. What is read for it is read before the call is held: nothing that a
/// proxy asks for the same call, a cut least of all, waits for a disk.
pub(super) async fn media(control: &Control, request: &Request<'_>) -> Result<Reply, Refused> {
    parties(&*live(control, request).await?, request)?;
    let playback = &request.playback;
    refuse_what_is_not_known(playback)?;
    let sound = sound(control, playback).await?;
    let length = sound.length().as_millis();
    let play = how_much(PlayRequest::new(sound), playback)?;
    let dialog = live(control, request).await?;
    control.relay.play(dialog.at(), parties(&dialog, request)?, play).await?;
    Ok(Reply::ok().with("duration", Value::count(length as u64)))
}

/// Ends the sounds that parties hear, if they hear any, and tells where the first was.
pub(super) async fn stop_media(control: &Control, request: &Request<'_>) -> Result<Reply, Refused> {
    let dialog = live(control, request).await?;
    let mut place = None;
    for side in parties(&dialog, request)?.sides() {
        place = place.or(control.relay.stop_playing(dialog.at(), *side).await?);
    }
    Ok(match place {
        Some(place) => Reply::ok().with("last-frame-pos", Value::count(place.as_millis() as u64)),
        None => Reply::ok(),
    })
}

/// Has parties press a key: each other one is told of it.
pub(super) async fn dtmf(control: &Control, request: &Request<'_>) -> Result<Reply, Refused> {
    let playback = &request.playback;
    let missing = || Refused::because("code is missing: the key, 0 to 15 or one of 0-9 * # A-D");
    let wrong = || Refused::because("code must be 0 to 15, or one of 0-9 * # A-D");
    let key = playback.code.ok_or_else(missing)?.key().and_then(Digit::from_event_code);
    let key = key.ok_or_else(wrong)?;
    let (held, was_held) = time("duration", playback.duration, HELD, [MIN_PRESS, MAX_PRESS])?;
    let pauses = [MIN_PRESS_PAUSE, MAX_PRESS_PAUSE];
    let (pause, was_pause) = time("pause", playback.pause, PAUSE, pauses)?;
    let volume = volume(playback.volume)?;
    let dialog = live(control, request).await?;
    let press = Press::new(key, held, volume, pause).ok_or_else(wrong)?;
    control.relay.press(dialog.at(), parties(&dialog, request)?, press).await?;
    Ok(match was_held && was_pause {
        true => Reply::ok(),
        false => {
            Reply::ok().with_warning("duration and pause are 100 to 5000 ms: the nearest holds")
        }
    })
}

/// The parties that a request names.
fn parties(dialog: &Dialog, request: &Request<'_>) -> Result<Parties, Refused> {
    if request.options.is_for_all {
        return Ok(Parties::Both);
    }
    let missing = || Refused::because("from-tag is missing: the party's, or the flag all");
    let side = dialog.side_of(request.from_tag.ok_or_else(missing)?);
    side.map(Parties::One).ok_or_else(|| Refused::because("from-tag is of no party of this call"))
}

fn refuse_what_is_not_known(playback: &Playback<'_>) -> Result<(), Refused> {
    match (playback.db_id, playback.repeat_duration) {
        (Some(_), _) => Err(Refused::because(
            "Sotto has no database: put the sound into ng.media_directory and name its file, or \
             send it as a blob",
        )),
        (None, Some(_)) => Err(Refused::because(
            "Sotto does not know repeat-duration: say repeat-times, and duration for the whole",
        )),
        (None, None) => Ok(()),
    }
}

/// The sound that a request brings or names.
async fn sound(control: &Control, playback: &Playback<'_>) -> Result<Arc<Sound>, Refused> {
    let sounds = &control.ng.sounds;
    match (playback.file, playback.blob) {
        (Some(_), Some(_)) => Err(Refused::because("file and blob are both there: send one")),
        (Some(file), None) => {
            let wrong = || Refused::because("file must be the name of a file");
            sounds.of_file(file.text().ok_or_else(wrong)?).await
        }
        (None, Some(blob)) => {
            let wrong = || Refused::because("blob must be the octets of a WAV file");
            sounds.of_blob(blob.octets().ok_or_else(wrong)?).await
        }
        (None, None) => Err(Refused::because(
            "file is missing: the name of a WAV file in ng.media_directory, or its octets as blob",
        )),
    }
}

/// How much of the sound is played.
fn how_much(mut play: PlayRequest, playback: &Playback<'_>) -> Result<PlayRequest, Refused> {
    if let Some(start) = milliseconds("start-pos", playback.start_pos)? {
        let behind = || Refused::because("start-pos is behind the end of the sound");
        play = play.from(start).ok_or_else(behind)?;
    }
    if let Some(times) = playback.repeat_times {
        let wrong = || Refused::because(format!("repeat-times must be 1 to {MAX_REPEATS}"));
        let times = times.number().and_then(|it| u16::try_from(it).ok()).ok_or_else(wrong)?;
        play = play.times(times).ok_or_else(wrong)?;
    }
    if let Some(limit) = milliseconds("duration", playback.duration)? {
        let most = MAX_PLAY.as_millis();
        let wrong = || Refused::because(format!("duration must be 1 to {most} ms"));
        play = play.at_most(limit).ok_or_else(wrong)?;
    }
    Ok(play)
}

fn milliseconds(
    name: &'static str,
    written: Option<Written<'_>>,
) -> Result<Option<Duration>, Refused> {
    let Some(written) = written else { return Ok(None) };
    let milliseconds = written.number().and_then(|it| u64::try_from(it).ok());
    let wrong = || Refused::because(format!("{name} must be a number of milliseconds"));
    Ok(Some(Duration::from_millis(milliseconds.ok_or_else(wrong)?)))
}

/// A time of a key, moved to the nearest bound, as rtpengine does, and whether it was within.
fn time(
    name: &'static str,
    written: Option<Written<'_>>,
    usual: Duration,
    [least, most]: [Duration; 2],
) -> Result<(Duration, bool), Refused> {
    let asked = milliseconds(name, written)?.unwrap_or(usual);
    let time = asked.clamp(least, most);
    Ok((time, time == asked))
}

/// Decibels below 0 dBm0, whichever sign they have.
fn volume(written: Option<Written<'_>>) -> Result<u8, Refused> {
    let Some(written) = written else { return Ok(VOLUME) };
    let wrong = || Refused::because(format!("volume must be 0 to {MAX_VOLUME} dB below 0 dBm0"));
    let volume = written.number().ok_or_else(wrong)?.checked_abs();
    let volume = volume.filter(|it| *it <= MAX_VOLUME).ok_or_else(wrong)?;
    u8::try_from(volume).map_err(|_| wrong())
}
