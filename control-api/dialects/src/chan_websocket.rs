//! Asterisk's WebSocket channel (`chan_websocket`), as Asterisk: octets of sound, and control
//! messages as text, JSON or plain (Asterisk's documentation, "WebSocket").
//!
//! An engine's commands are understood in both forms; events are told in the one that is chosen.
//! The queue has Asterisk's levels: at 900 frames of 20 ms `MEDIA_XOFF` is told, below 800
//! `MEDIA_XON`. Half a sample at the end of a message is dropped, unless buffering is on, when the
//! next message has the other half.

use dtmf::Digit;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::introduction::uuid;
use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, MAX_MARK, Message, Notice, Reached,
    payload,
};

/// What Asterisk offers for media.
pub const SUBPROTOCOLS: &[&str] = &["media"];
/// Length of a frame, in which the queue is counted.
const FRAME_MS: u32 = 20;
/// Frames that wait when `MEDIA_XOFF` is told: 18 s.
const XOFF: usize = 900;
/// Frames that wait no longer when `MEDIA_XON` is told: 16 s.
const XON: usize = 800;
/// Octets of an id: a mark's name has one letter and a colon before it.
const MAX_ID: usize = MAX_MARK - 2;

/// One connection to an engine that expects Asterisk.
pub struct ChanWebsocket {
    introduction: Introduction,
    is_plain: bool,
    queued: usize,
    is_full: bool,
    is_buffering: bool,
    is_paused: bool,
    is_flushing: bool,
    reports_drained: bool,
    half: Option<u8>,
    direction: Direction,
}

/// Which way sound goes, as the engine sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Both,
    In,
    Out,
}

/// A command and what it may have.
#[derive(Deserialize)]
struct Command {
    command: String,
    correlation_id: Option<String>,
    direction: Option<String>,
}

impl Command {
    /// One line: the command, and behind it the one thing that it may have.
    fn plain(line: &str) -> Command {
        let (command, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let rest = (!rest.trim().is_empty()).then(|| rest.trim().to_owned());
        Command { command: command.to_owned(), correlation_id: rest.clone(), direction: rest }
    }

    fn read(message: &Message) -> Result<Command, Fault> {
        match message {
            Message::Text(text) if !text.trim_start().starts_with('{') => Ok(Command::plain(text)),
            Message::Text(_) | Message::Binary(_) => payload::json(message),
        }
    }

    /// A mark of ours: a letter, and the engine's id behind it.
    fn mark(self, letter: char) -> Result<Act, Fault> {
        match self.correlation_id {
            Some(id) if id.len() > MAX_ID => Err(Fault::LongMark),
            Some(id) => Ok(Act::Mark(format!("{letter}:{id}"))),
            None => Ok(Act::Mark(letter.to_string())),
        }
    }
}

impl ChanWebsocket {
    /// A connection that has not begun.
    #[must_use]
    pub fn new(introduction: Introduction, is_plain: bool) -> ChanWebsocket {
        ChanWebsocket {
            introduction,
            is_plain,
            queued: 0,
            is_full: false,
            is_buffering: false,
            is_paused: false,
            is_flushing: false,
            reports_drained: false,
            half: None,
            direction: Direction::Both,
        }
    }

    /// An event: its fields in JSON, or what stands behind its name in plain text.
    fn say(&self, event: &str, mut fields: Value, plain: &str, effects: &mut Effects) {
        let text = if self.is_plain {
            format!("{event}{plain}")
        } else {
            fields["event"] = event.into();
            fields["channel_id"] = uuid(self.introduction.call).into();
            fields.to_string()
        };
        effects.send.push(Message::Text(text));
    }

    /// Frames that wait.
    fn frames(&self) -> usize {
        self.queued.div_ceil(self.introduction.encoding.octets(FRAME_MS))
    }

    fn play(&mut self, octets: &[u8], effects: &mut Effects) {
        if self.direction == Direction::In {
            return;
        }
        let mut octets: Vec<u8> = self.half.take().into_iter().chain(octets.to_owned()).collect();
        if !octets.len().is_multiple_of(self.introduction.encoding.sample()) {
            self.half = octets.pop().filter(|_| self.is_buffering);
        }
        effects.acts.push(Act::Play(octets));
    }

    fn flush(&mut self, effects: &mut Effects) {
        self.is_flushing = true;
        self.is_buffering = false;
        self.half = None;
        effects.acts.push(Act::Clear);
        if std::mem::take(&mut self.is_paused) {
            effects.acts.push(Act::Resume);
        }
    }

    fn status(&self, effects: &mut Effects) {
        let (frames, full) = (self.frames(), self.is_full);
        let (bulk, paused) = (self.is_buffering, self.is_paused);
        let plain = format!(
            " channel_id:{} queue_length:{frames} xon_level:{XON} xoff_level:{XOFF} \
             queue_full:{full} bulk_media:{bulk} media_paused:{paused}",
            uuid(self.introduction.call)
        );
        let fields = json!({
            "queue_length": frames,
            "xon_level": XON,
            "xoff_level": XOFF,
            "queue_full": full,
            "bulk_media": bulk,
            "media_paused": paused,
        });
        self.say("STATUS", fields, &plain, effects);
    }

    /// Once, as soon as nothing waits.
    fn report_drained(&mut self, effects: &mut Effects) {
        if self.queued == 0 && std::mem::take(&mut self.reports_drained) {
            self.say("QUEUE_DRAINED", json!({}), "", effects);
        }
    }

    fn command(&mut self, command: Command, effects: &mut Effects) -> Result<(), Fault> {
        match command.command.as_str() {
            "HANGUP" => effects.acts.push(Act::HangUp),
            "START_MEDIA_BUFFERING" => self.is_buffering = true,
            "STOP_MEDIA_BUFFERING" => {
                self.is_buffering = false;
                self.half = None;
                effects.acts.push(command.mark('b')?);
            }
            "FLUSH_MEDIA" => self.flush(effects),
            "PAUSE_MEDIA" => {
                self.is_paused = true;
                effects.acts.push(Act::Pause);
            }
            "CONTINUE_MEDIA" => {
                self.is_paused = false;
                effects.acts.push(Act::Resume);
            }
            "MARK_MEDIA" => effects.acts.push(command.mark('m')?),
            "GET_STATUS" => self.status(effects),
            "REPORT_QUEUE_DRAINED" => {
                self.reports_drained = true;
                self.report_drained(effects);
            }
            "SET_MEDIA_DIRECTION" => self.direction = direction(command.direction.as_deref())?,
            // `ANSWER`: the call is answered already. Others are newer than this.
            _ => {}
        }
        Ok(())
    }
}

fn direction(name: Option<&str>) -> Result<Direction, Fault> {
    match name {
        Some("both") => Ok(Direction::Both),
        Some("in") => Ok(Direction::In),
        Some("out") => Ok(Direction::Out),
        Some(_) | None => Err(Fault::Malformed),
    }
}

/// What Asterisk calls an encoding.
const fn format(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Pcmu => "ulaw",
        Encoding::Pcma => "alaw",
        Encoding::L16(16_000) => "slin16",
        Encoding::L16(24_000) => "slin24",
        Encoding::L16(_) => "slin",
    }
}

impl Dialect for ChanWebsocket {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        let connection = uuid(self.introduction.stream);
        let channel = format!("WebSocket/{connection}");
        let format = format(self.introduction.encoding);
        let size = self.introduction.encoding.octets(FRAME_MS);
        let plain = format!(
            " connection_id:{connection} channel:{channel} channel_id:{} format:{format} \
             optimal_frame_size:{size} ptime:{FRAME_MS}",
            uuid(self.introduction.call)
        );
        let fields = json!({
            "connection_id": connection,
            "channel": channel,
            "format": format,
            "optimal_frame_size": size,
            "ptime": FRAME_MS,
            "channel_variables": self.introduction.parameters_and_numbers(),
        });
        self.say("MEDIA_START", fields, &plain, effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        if self.direction != Direction::Out {
            effects.send.push(Message::Binary(frame.to_owned()));
        }
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        let digit = char::from(key.to_ascii()).to_string();
        let plain = [" digit:", &digit].concat();
        self.say("DTMF_END", json!({"digit": digit}), &plain, effects);
    }

    fn marked(&mut self, name: &str, reached: Reached, effects: &mut Effects) {
        // An engine that flushes is told of nothing in it; one that waits is.
        if reached == Reached::Cleared && self.is_flushing {
            return;
        }
        let (letter, id) = name.split_once(':').map_or((name, None), |(l, id)| (l, Some(id)));
        let event = match letter {
            "b" => "MEDIA_BUFFERING_COMPLETED",
            "m" => "MEDIA_MARK_PROCESSED",
            // None of ours.
            _ => return,
        };
        let plain = id.map(|id| format!(" {id}")).unwrap_or_default();
        let fields = id.map_or(json!({}), |id| json!({"correlation_id": id}));
        self.say(event, fields, &plain, effects);
    }

    fn cleared(&mut self, _: u64, _: &mut Effects) {
        self.is_flushing = false;
    }

    fn backlog(&mut self, queued: usize, effects: &mut Effects) {
        self.queued = queued;
        let frames = self.frames();
        if !self.is_full && frames >= XOFF {
            self.is_full = true;
            self.say("MEDIA_XOFF", json!({}), "", effects);
        } else if self.is_full && frames < XON {
            self.is_full = false;
            self.say("MEDIA_XON", json!({}), "", effects);
        }
        self.report_drained(effects);
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        let Some(secure) = notice.secure().filter(|_| self.introduction.tells_secure) else {
            return;
        };
        let field = |name| secure.get(name).and_then(Value::as_str);
        let words = ["state", "result"].into_iter().filter_map(|name| Some((name, field(name)?)));
        let plain: String = words.map(|(name, word)| format!(" {name}:{word}")).collect();
        self.say("SECURE", secure, &plain, effects);
    }

    fn end(&mut self, _: &mut Effects) {
        // Closing the socket is all that Asterisk does.
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        if let Message::Binary(octets) = message {
            self.play(octets, effects);
            return Ok(());
        }
        self.command(Command::read(message)?, effects)
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::json;

    use super::ChanWebsocket;
    use crate::testing::{act, hear, heard, introduction, json, said, sent};
    use crate::{Act, Dialect, Encoding, Fault, Message, Notice, Reached, Verdict};

    const CHANNEL: &str = "abababab-abab-abab-abab-abababababab";
    const CONNECTION: &str = "01010101-0101-0101-0101-010101010101";

    fn channel(is_plain: bool) -> ChanWebsocket {
        ChanWebsocket::new(introduction(Encoding::Pcmu), is_plain)
    }

    fn lines(messages: Vec<Message>) -> Vec<String> {
        let line = |message| match message {
            Message::Text(text) => text,
            Message::Binary(_) => panic!("octets, not text"),
        };
        messages.into_iter().map(line).collect()
    }

    #[test]
    fn a_call_is_told_as_asterisk_tells_it() {
        let mut channel = channel(false);
        assert_eq!(
            said(|effects| channel.open(effects)),
            [json!({
                "event": "MEDIA_START", "connection_id": CONNECTION,
                "channel": format!("WebSocket/{CONNECTION}"), "channel_id": CHANNEL,
                "format": "ulaw", "optimal_frame_size": 160, "ptime": 20,
                "channel_variables":
                    {"tenant": "a", "from_number": "+15550100", "to_number": "+15550199"},
            })]
        );
        let frame = sent(|effects| channel.audio(&[1, 2], effects));
        assert!(frame == [Message::Binary(vec![1, 2])]);
        assert_eq!(
            said(|effects| channel.key(Digit::Five, effects)),
            [json!({"event": "DTMF_END", "channel_id": CHANNEL, "digit": "5"})]
        );
        assert!(sent(|effects| channel.end(effects)).is_empty());
    }

    #[test]
    fn a_call_is_told_in_plain_text_too() {
        let mut channel = channel(true);
        channel.introduction.tells_secure = true;
        assert_eq!(
            lines(sent(|effects| channel.open(effects))),
            [format!(
                "MEDIA_START connection_id:{CONNECTION} channel:WebSocket/{CONNECTION} \
                 channel_id:{CHANNEL} format:ulaw optimal_frame_size:160 ptime:20"
            )]
        );
        let line = |messages| lines(messages).remove(0);
        let key = line(sent(|effects| channel.key(Digit::Five, effects)));
        assert_eq!(key, "DTMF_END digit:5");
        let Act::Mark(mark) = act(&mut channel, "MARK_MEDIA one") else { panic!("a mark") };
        let told = line(sent(|effects| channel.marked(&mark, Reached::Played, effects)));
        assert_eq!(told, "MEDIA_MARK_PROCESSED one");
        let Act::Mark(end) = act(&mut channel, "STOP_MEDIA_BUFFERING") else { panic!("a mark") };
        let told = line(sent(|effects| channel.marked(&end, Reached::Played, effects)));
        assert_eq!(told, "MEDIA_BUFFERING_COMPLETED");
        let status = heard(&mut channel, "GET_STATUS").unwrap_or_default().send;
        assert_eq!(
            line(status),
            format!(
                "STATUS channel_id:{CHANNEL} queue_length:0 xon_level:800 xoff_level:900 \
                 queue_full:false bulk_media:false media_paused:false"
            )
        );
        let ended = Notice::SecureEnded(Verdict::Pass);
        let told = line(sent(|effects| channel.notice(ended, effects)));
        assert_eq!(told, "SECURE state:ended result:pass");
    }

    #[test]
    fn the_queue_is_told_of_at_its_levels() {
        let mut channel = channel(false);
        let mut told = |frames: usize| {
            let said = said(|effects| channel.backlog(frames * 160, effects));
            said.into_iter().map(|event| event["event"].clone()).collect::<Vec<_>>()
        };
        assert!(told(899).is_empty());
        assert_eq!(told(900), [json!("MEDIA_XOFF")]);
        assert!(told(1000).is_empty() && told(800).is_empty());
        assert_eq!(told(799), [json!("MEDIA_XON")]);
        assert!(told(899).is_empty() && told(0).is_empty());
    }

    #[test]
    fn what_an_engine_asks_for_is_done() {
        let mut channel = channel(false);
        let mut asked = |command: &str| {
            let text = json!({"command": command}).to_string();
            heard(&mut channel, &text).unwrap_or_default().acts
        };
        assert!(matches!(asked("HANGUP")[..], [Act::HangUp]));
        assert!(matches!(asked("PAUSE_MEDIA")[..], [Act::Pause]));
        assert!(matches!(asked("CONTINUE_MEDIA")[..], [Act::Resume]));
        assert!(matches!(asked("FLUSH_MEDIA")[..], [Act::Clear]));
        asked("PAUSE_MEDIA");
        assert!(matches!(asked("FLUSH_MEDIA")[..], [Act::Clear, Act::Resume]));
        assert!(asked("ANSWER").is_empty() && asked("DANCE").is_empty());
    }

    #[test]
    fn marks_come_back_unless_they_are_flushed() {
        let mut channel = channel(false);
        let mark = r#"{"command":"MARK_MEDIA","correlation_id":"a:b"}"#;
        let Act::Mark(name) = act(&mut channel, mark) else { panic!("a mark") };
        let processed = json!({"event": "MEDIA_MARK_PROCESSED", "channel_id": CHANNEL, "correlation_id": "a:b"});
        let told = said(|effects| channel.marked(&name, Reached::Played, effects));
        assert_eq!(told.first(), Some(&processed));
        // Thrown away by another hand than the engine's, which may wait for it.
        let told = said(|effects| channel.marked(&name, Reached::Cleared, effects));
        assert_eq!(told, [processed]);
        act(&mut channel, "FLUSH_MEDIA");
        assert!(said(|effects| channel.marked(&name, Reached::Cleared, effects)).is_empty());
        said(|effects| channel.cleared(0, effects));
        let Act::Mark(name) = act(&mut channel, "MARK_MEDIA") else { panic!("a mark") };
        let told = said(|effects| channel.marked(&name, Reached::Played, effects));
        assert_eq!(told, [json!({"event": "MEDIA_MARK_PROCESSED", "channel_id": CHANNEL})]);
    }

    #[test]
    fn an_empty_queue_is_reported_once() {
        let mut channel = channel(false);
        let drained = json!({"event": "QUEUE_DRAINED", "channel_id": CHANNEL});
        let asked = heard(&mut channel, "REPORT_QUEUE_DRAINED").unwrap_or_default().send;
        let asked: Vec<_> = asked.into_iter().map(json).collect();
        assert_eq!(asked.first(), Some(&drained));
        said(|effects| channel.backlog(160, effects));
        let asked = heard(&mut channel, "REPORT_QUEUE_DRAINED").unwrap_or_default();
        assert!(asked.send.is_empty());
        assert_eq!(said(|effects| channel.backlog(0, effects)), [drained]);
        assert!(said(|effects| channel.backlog(0, effects)).is_empty());
    }

    #[test]
    fn halves_of_a_sample_meet_if_they_are_buffered() {
        let played = |channel: &mut ChanWebsocket, octets: &[u8]| {
            let heard = hear(channel, &Message::Binary(octets.to_owned())).unwrap_or_default();
            match &heard.acts[..] {
                [Act::Play(octets)] => octets.clone(),
                _ => panic!("sound"),
            }
        };
        let mut channel = ChanWebsocket::new(introduction(Encoding::L16(8000)), false);
        assert_eq!(played(&mut channel, &[1, 2, 3]), [1, 2]);
        assert_eq!(played(&mut channel, &[5, 6]), [5, 6]);
        assert!(heard(&mut channel, "START_MEDIA_BUFFERING").is_ok());
        assert_eq!(played(&mut channel, &[1, 2, 3]), [1, 2]);
        assert_eq!(played(&mut channel, &[4, 5, 6]), [3, 4, 5, 6]);
    }

    #[test]
    fn sound_goes_the_way_that_is_chosen() {
        let mut channel = channel(false);
        let mut ways = |direction: &str| {
            let text = json!({"command": "SET_MEDIA_DIRECTION", "direction": direction});
            assert!(heard(&mut channel, &text.to_string()).is_ok());
            let heard = !sent(|effects| channel.audio(&[0xff], effects)).is_empty();
            let played = hear(&mut channel, &Message::Binary(vec![0xff])).unwrap_or_default();
            (heard, !played.acts.is_empty())
        };
        assert_eq!(ways("in"), (true, false));
        assert_eq!(ways("out"), (false, true));
        assert_eq!(ways("both"), (true, true));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let fault = |text: &str| heard(&mut channel(false), text).err();
        assert_eq!(fault("{"), Some(Fault::Malformed));
        assert_eq!(fault("{}"), Some(Fault::Malformed));
        assert_eq!(fault("SET_MEDIA_DIRECTION up"), Some(Fault::Malformed));
        assert_eq!(fault(&format!("MARK_MEDIA {}", "x".repeat(255))), Some(Fault::LongMark));
    }
}
