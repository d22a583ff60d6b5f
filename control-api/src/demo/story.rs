//! Story: what happens in the demo, and the raw record of it.

use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dtmf::Digit;
use loadtest::client::{Client, NotDone, unanswered};
use loadtest::relay_process::Failure;
use loadtest::{Ear, KeyMethod, sdp};
use relay::io::Clock;
use serde_json::{Value, json};

use super::DemoOptions;
use super::merchant::Merchant;
use super::party::Party;
use super::stage::{MERCHANT_KEY, Stage};
use crate::clock;

/// A number that payment providers publish for tests.
pub(super) const CARD: &str = "4242424242424242";
/// The same with a slip of the finger: its check digit is wrong.
pub(super) const MISTYPED: &str = "4242424242424224";
pub(super) const CODE: &str = "123";
/// What the caller is guided in.
pub(super) const LANGUAGE: &str = "es";

const TALK: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);
/// A caller who has listened for so long without a sound takes the prompt to be over.
const PROMPT_OVER: Duration = Duration::from_millis(700);
/// A caller in a hurry keys so early in a prompt.
const HURRY: Duration = Duration::from_millis(800);
/// Longest wait for a verdict, and for the route to reopen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose column a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Caller,
    Script,
    EngineTold,
}

/// Something that was done or said.
pub(super) struct Line {
    pub(super) at: Instant,
    pub(super) column: Column,
    pub(super) text: String,
}

/// Everything the demo has seen.
pub(super) struct Told {
    pub(super) began: Instant,
    pub(super) cut: Instant,
    pub(super) reopened: Option<Instant>,
    pub(super) ended: Instant,
    pub(super) lines: Vec<Line>,
    pub(super) engine_heard: Ear,
    pub(super) caller_heard: Ear,
    pub(super) session: Value,
    pub(super) sealed: Fetched,
    pub(super) engine_told: Vec<String>,
    pub(super) recording: Vec<u8>,
    pub(super) stored: Vec<u8>,
    pub(super) log: String,
}

/// What became of the sealed data.
pub(super) struct Fetched {
    /// What the merchant found in it.
    pub(super) opened: Option<Value>,
    /// What anybody else was answered: the one who runs the relay, and the engine.
    pub(super) refused: [u16; 2],
    /// What the merchant was answered the second time.
    pub(super) again: u16,
}

/// Plays the story and gathers the evidence.
pub(super) fn tell(options: DemoOptions) -> Result<Told, Failure> {
    let clock = Clock::new();
    let no_key = || Failure::Kernel { doing: "make a key", source: ErrorKind::Other.into() };
    let merchant = Merchant::new().ok_or_else(no_key)?;
    let stage = Stage::set(&merchant.public_key(), options.broken)?;
    let kernel = |source| Failure::Kernel { doing: "open a socket", source };
    let caller = Party::start(0xca11_e200, options.method, clock.clone()).map_err(kernel)?;
    let engine = Party::start(0xe291_4e00, KeyMethod::Events, clock.clone()).map_err(kernel)?;
    let mut scene = Scene {
        clock,
        stage,
        caller,
        engine,
        lines: Vec::new(),
        call: String::new(),
        known: String::new(),
    };
    let began = scene.clock.now();
    scene.open_call()?;
    let events = scene.listen_as_engine();
    std::thread::sleep(TALK);
    let cut = scene.enter()?;
    scene.pay(options.method)?;
    let reopened = scene.wait_for_reopening()?;
    let sealed = scene.fetch(merchant)?;
    std::thread::sleep(TALK);
    scene.finish(began, cut, reopened, sealed, &events)
}

struct Scene {
    clock: Clock,
    stage: Stage,
    caller: Party,
    engine: Party,
    lines: Vec<Line>,
    call: String,
    known: String,
}

impl Scene {
    fn open_call(&mut self) -> Result<(), Failure> {
        let doing = "open a call";
        let request = json!({
            "caller": { "sdp": sdp::offer(self.caller.address(), None) },
            "engine": { "type": "rtp", "address": self.engine.address().to_string() },
            "record": true,
        });
        let answer = self.operator().post("/v1/calls", &request).map_err(unanswered(doing))?;
        let opened = answer.expect(doing, 201)?;
        let odd = || NotDone { doing, detail: opened.to_string() };
        self.call = format!("/v1/calls/{}", opened["id"].as_str().ok_or_else(odd)?);
        let sdp = opened["caller"]["sdp"].as_str().ok_or_else(odd)?;
        self.caller.talk_to(sdp::media_address(sdp).ok_or_else(odd)?);
        let engine = opened["engine"]["address"].as_str().and_then(|text| text.parse().ok());
        self.engine.talk_to(engine.ok_or_else(odd)?);
        self.note(Column::Script, "POST /v1/calls -> 201");
        self.note(Column::Caller, "talks");
        Ok(())
    }

    /// Subscribes with the engine's key: all that the engine can learn beside the audio.
    fn listen_as_engine(&self) -> Receiver<(Instant, String)> {
        let (sender, receiver) = channel();
        let (client, clock) = (self.stage.engine.clone(), self.clock.clone());
        let path = format!("{}/events", self.call);
        std::thread::spawn(move || {
            client.listen(&path, |line| drop(sender.send((clock.now(), line))));
        });
        receiver
    }

    fn enter(&mut self) -> Result<Instant, Failure> {
        let doing = "enter a secure session";
        let fields = ["payment-card-number", "expiration-date", "security-code"];
        let fields = fields.map(|step| json!({ "type": step, "max_attempts": 3 }));
        let plan = json!({
            "fields": fields,
            "prompts": { "language": LANGUAGE },
            "sink": { "type": "seal", "key_id": MERCHANT_KEY },
        });
        let path = format!("{}/secure-session", self.call);
        let answer = self.operator().post(&path, &plan).map_err(unanswered(doing))?;
        let cut = self.clock.now();
        answer.expect(doing, 201)?;
        self.note(Column::Script, "POST .../secure-session -> 201");
        Ok(cut)
    }

    /// The caller does as it is told, with one slip.
    fn pay(&mut self, method: KeyMethod) -> Result<(), Failure> {
        let expiry = expiry();
        self.listen()?;
        self.key(method, "a wrong card number, #", &format!("{MISTYPED}#"))?;
        self.listen()?;
        self.key(method, "the card number, #", &format!("{CARD}#"))?;
        self.listen()?;
        self.key(method, "the date", &expiry)?;
        // Whoever knows what comes does not wait for the end of the prompt.
        std::thread::sleep(HURRY);
        self.key(method, "the code", CODE)?;
        self.note(Column::Caller, "talks");
        Ok(())
    }

    /// Waits, as a caller does, until the relay has said something and is done with it.
    fn listen(&mut self) -> Result<(), Failure> {
        let since = self.clock.now();
        self.until("guide the caller", |scene| {
            scene.follow()?;
            let last = scene.caller.ear().last_sound().filter(|last| *last > since);
            Ok(last.is_some_and(|last| scene.clock.now() - last > PROMPT_OVER))
        })
    }

    fn key(&mut self, method: KeyMethod, what: &str, keys: &str) -> Result<(), Failure> {
        let how = match method {
            KeyMethod::Events => "(events)",
            KeyMethod::Redundant { .. } => "(redundant events)",
            KeyMethod::Tones => "(tones)",
        };
        self.note(Column::Caller, &format!("keys {what} {how}"));
        self.caller.mouth().press(keys.bytes().filter_map(Digit::from_ascii));
        self.until("let the caller key", |scene| {
            scene.follow()?;
            Ok(scene.caller.mouth().is_done())
        })
    }

    /// Everybody tries to fetch the sealed data; the merchant opens it.
    fn fetch(&mut self, merchant: Merchant) -> Result<Fetched, Failure> {
        let doing = "hand out sealed data";
        let path = format!("{}/secure-session/sealed", self.call);
        let ask = |client: &Client| client.post(&path, &json!({})).map_err(unanswered(doing));
        let stage = &self.stage;
        let refused = [ask(&stage.operator)?.status, ask(&stage.engine)?.status];
        let (first, again) = (ask(&stage.payment)?, ask(&stage.payment)?.status);
        let sealed: Value = serde_json::from_slice(&first.body).unwrap_or_default();
        let opened = sealed["jwe"].as_str().and_then(|jwe| merchant.open(jwe));
        let opens = if opened.is_some() { "opens it" } else { "cannot open it" };
        self.note(
            Column::Script,
            &format!("merchant: POST ../sealed -> {}; {opens}", first.status),
        );
        Ok(Fetched { opened, refused, again })
    }

    /// Follows the session until the parties hear each other again, and returns the last instant
    /// at which they certainly did not; `None` if they never do.
    fn wait_for_reopening(&mut self) -> Result<Option<Instant>, Failure> {
        let mut still_cut = self.clock.now();
        let outcome = self.until("reopen the call", |scene| {
            let asked = scene.clock.now();
            let session = scene.follow()?;
            if session["state"] == "ended" {
                return Ok(true);
            }
            // The cut was in force when this was asked, and it may have ended right after.
            still_cut = asked;
            Ok(false)
        });
        match outcome {
            Ok(()) => Ok(Some(still_cut)),
            Err(Failure::Relay(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn finish(
        mut self,
        began: Instant,
        cut: Instant,
        reopened: Option<Instant>,
        sealed: Fetched,
        events: &Receiver<(Instant, String)>,
    ) -> Result<Told, Failure> {
        let session = self.session()?;
        let as_engine = self.stage.engine.get(&format!("{}/secure-session", self.call));
        let as_engine = as_engine.map_err(unanswered("tell the engine"))?;
        let doing = "end the call";
        let gone = self.operator().delete(&self.call).map_err(unanswered(doing))?;
        let ended = self.clock.now();
        self.note(Column::Script, &format!("DELETE the call -> {}", gone.status));
        let path = format!("{}/recording", self.call);
        let recording = self.operator().get(&path).map_err(unanswered("export a recording"))?;
        if recording.status != 200 {
            let detail = recording.status.to_string();
            return Err(NotDone { doing: "export a recording", detail }.into());
        }
        let stored = self.stage.relay.stored()?;
        let log = self.stage.relay.stop()?;
        let mut engine_told = Vec::new();
        for (at, text) in events.try_iter() {
            if let Some(data) = text.strip_prefix("data:") {
                self.lines.push(Line { at, column: Column::EngineTold, text: brief(data) });
            }
            // Empty lines end an event, and comments keep the stream alive.
            if !text.is_empty() && !text.starts_with(':') {
                engine_told.push(text);
            }
        }
        let answer = String::from_utf8_lossy(&as_engine.body);
        engine_told.push(format!("GET .../secure-session -> {answer}"));
        Ok(Told {
            began,
            cut,
            reopened,
            ended,
            lines: self.lines,
            engine_heard: self.engine.stop(),
            caller_heard: self.caller.stop(),
            session,
            sealed,
            engine_told,
            recording: recording.body,
            stored,
            log,
        })
    }

    /// Notes where the session stands, if that has changed.
    fn follow(&mut self) -> Result<Value, Failure> {
        let session = self.session()?;
        let now_known = summary(&session);
        if now_known != self.known {
            self.note(Column::Script, &now_known);
            self.known = now_known;
        }
        Ok(session)
    }

    fn operator(&self) -> &Client {
        &self.stage.operator
    }

    fn session(&self) -> Result<Value, Failure> {
        let doing = "describe the secure session";
        let path = format!("{}/secure-session", self.call);
        Ok(self.operator().get(&path).map_err(unanswered(doing))?.expect(doing, 200)?)
    }

    fn note(&mut self, column: Column, text: &str) {
        self.lines.push(Line { at: self.clock.now(), column, text: text.to_owned() });
    }

    fn until(
        &mut self,
        doing: &'static str,
        mut done: impl FnMut(&mut Scene) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let end = self.clock.now() + PATIENCE;
        while self.clock.now() < end {
            if done(self)? {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(NotDone { doing, detail: "it took too long".to_owned() }.into())
    }
}

/// The card's date, MMYY: it is valid for two years more.
pub(super) fn expiry() -> String {
    format!("12{:02}", (clock::now().day().year + 2) % 100)
}

/// One line about where a session stands.
fn summary(session: &Value) -> String {
    let word = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
    match (session["state"].as_str(), session["result"].as_str()) {
        (Some("collecting"), _) => format!("{}, attempt {}", word("step"), session["attempt"]),
        (Some("draining"), Some(result)) => {
            format!("{result} ({}); cut until quiet", word("reason"))
        }
        (Some("ended"), Some(_)) => "reopened".to_owned(),
        (Some(state), Some(result)) => format!("{state}: {result} ({})", word("reason")),
        (Some(state), None) => state.to_owned(),
        (None, _) => "unknown".to_owned(),
    }
}

/// The kind of an event and its result.
fn brief(data: &str) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    let kind = event["type"].as_str().unwrap_or("event");
    match event["data"]["result"].as_str().or(event["result"].as_str()) {
        Some(result) => format!("{kind}: {result}"),
        None => kind.to_owned(),
    }
}
