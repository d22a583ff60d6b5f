//! Sotto as the relay under load, driven over REST.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

use loadtest::client::{Answer, Client, NotDone, unanswered};
use loadtest::relay_process::{Failure, RelayFolder, RelayProcess};
use loadtest::sdp;
use rand::CryptoRng;
use serde_json::{Value, json};

use super::peer::{CallKind, OpenedCall, Peer, Verdict, caller_key, leg};
use super::process::Process;

/// A Sotto that runs.
pub(crate) struct Sotto {
    relay: Runs,
    operator: Client,
}

enum Runs {
    /// Started for the test, and ended after it.
    Here(RelayProcess),
    /// By somebody else, in a process that may be known.
    Elsewhere(Option<u32>),
}

impl Sotto {
    /// Starts the program with one worker, receiving at `media`; `io` is its media I/O, as
    /// `sotto serve --io` names it.
    pub(crate) fn start(binary: &Path, io: &str, media: Ipv4Addr) -> Result<Sotto, Failure> {
        let folder = RelayFolder::new(binary.to_owned(), "sotto-loadtest")?;
        let key = folder.add_key("operator")?;
        let media = media.to_string();
        let arguments = ["--media-ip", &media, "--workers", "1", "--io", io];
        // Whoever measures says where it runs.
        let config = "[media]\npin = false\n";
        let relay = RelayProcess::start(folder, config, &arguments, &[("RUST_LOG", "warn")])?;
        let operator = relay.client(&key);
        Ok(Sotto { relay: Runs::Here(relay), operator })
    }

    /// Finds one that runs, whose REST API takes this key.
    pub(crate) fn find(address: SocketAddr, key: &str, pid: Option<u32>) -> Result<Sotto, Failure> {
        let operator = Client::new(address, key);
        let doing = "list its calls";
        operator.get("/v1/calls").map_err(unanswered(doing))?.expect(doing, 200)?;
        Ok(Sotto { relay: Runs::Elsewhere(pid), operator })
    }

    fn describe(&self, call: &str) -> Result<Value, Failure> {
        let doing = "describe a secure session";
        let answer = self.operator.get(&session(call)).map_err(unanswered(doing))?;
        Ok(answer.expect(doing, 200)?)
    }
}

impl Peer for Sotto {
    fn process(&self) -> Process {
        match &self.relay {
            Runs::Here(relay) => Process::new(relay.pid()),
            Runs::Elsewhere(pid) => Process::elsewhere(*pid),
        }
    }

    fn open(
        &mut self,
        ends: [SocketAddrV4; 2],
        kind: CallKind,
        rng: &mut dyn CryptoRng,
    ) -> Result<OpenedCall, Failure> {
        let [caller, engine] = ends;
        let ours = kind.srtp.then(|| caller_key(rng));
        let request = json!({
            "caller": { "sdp": sdp::offer(caller.into(), ours.as_ref()) },
            "engine": { "type": "rtp", "address": engine.to_string() },
            "record": kind.record,
        });
        let doing = "open a call";
        let answer = self.operator.post("/v1/calls", &request).map_err(unanswered(doing))?;
        let opened = answer.expect(doing, 201)?;
        let odd = || NotDone { doing, detail: opened.to_string() };
        let id = opened["id"].as_str().ok_or_else(odd)?.to_owned();
        let answer = opened["caller"]["sdp"].as_str().ok_or_else(odd)?;
        let theirs = ours.as_ref().and_then(|_| sdp::key(answer));
        if theirs.is_some() != kind.srtp {
            return Err(odd().into());
        }
        let to_caller = sdp::media_address(answer).and_then(v4).ok_or_else(odd)?;
        let to_engine = opened["engine"]["address"].as_str().and_then(|text| text.parse().ok());
        let legs = [
            leg(to_caller, ours.as_ref(), theirs.as_ref()),
            leg(to_engine.ok_or_else(odd)?, None, None),
        ];
        Ok(OpenedCall { id, legs })
    }

    fn enter(&mut self, call: &str) -> Result<(), Failure> {
        let doing = "enter a secure session";
        let answer = self.operator.post(&session(call), &endless()).map_err(unanswered(doing))?;
        Ok(answer.expect(doing, 201).map(|_| ())?)
    }

    fn flipped_within(&self, share: f64) -> Result<Option<f64>, Failure> {
        match &self.relay {
            Runs::Here(relay) => Ok(flipped_within(&relay.metrics()?, share)),
            // Its histogram tells of other flips as well.
            Runs::Elsewhere(_) => Ok(None),
        }
    }

    fn collect(&mut self, call: &str) -> Result<(), Failure> {
        let doing = "enter a secure session";
        let plan = json!({
            "fields": [{ "type": "payment-card-number", "max_attempts": 3 }],
            "prompts": { "enabled": false },
        });
        let answer = self.operator.post(&session(call), &plan).map_err(unanswered(doing))?;
        Ok(answer.expect(doing, 201).map(|_| ())?)
    }

    fn verdict(&mut self, call: &str) -> Result<Verdict, Failure> {
        let known = self.describe(call)?;
        Ok(match (known["state"].as_str(), known["result"].as_str()) {
            (Some("ended"), Some("pass")) => Verdict::Passed,
            (Some("ended"), _) => {
                Verdict::Failed(known["reason"].as_str().unwrap_or_default().to_owned())
            }
            (_, _) => Verdict::Pending,
        })
    }

    fn leave(&mut self, call: &str) -> Result<(), Failure> {
        let doing = "cancel a secure session";
        let answer = self.operator.delete(&session(call)).map_err(unanswered(doing))?;
        expect_success(doing, &answer)
    }

    fn close(&mut self, call: &str) -> Result<(), Failure> {
        let doing = "end a call";
        let path = format!("/v1/calls/{call}");
        let answer = self.operator.delete(&path).map_err(unanswered(doing))?;
        expect_success(doing, &answer)
    }
}

fn session(call: &str) -> String {
    format!("/v1/calls/{call}/secure-session")
}

fn expect_success(doing: &'static str, answer: &Answer) -> Result<(), Failure> {
    match answer.status {
        200..=299 => Ok(()),
        status => Err(NotDone { doing, detail: status.to_string() }.into()),
    }
}

/// A session that lasts as long as a session may, without a word to the caller.
fn endless() -> Value {
    json!({
        "fields": [{
            "type": "payment-card-number",
            "first_key_timeout_ms": 60_000,
            "field_timeout_ms": 120_000,
            "max_attempts": 3,
        }],
        "deadline_ms": 300_000,
        "prompts": { "enabled": false },
    })
}

/// The bound of the histogram's first bucket that this share of flips is within, in ms.
fn flipped_within(metrics: &str, share: f64) -> Option<f64> {
    let buckets = metrics.lines().filter_map(|line| {
        let (bound, count) =
            line.strip_prefix("sotto_flip_seconds_bucket{le=\"")?.split_once("\"} ")?;
        // "+Inf" is a number too.
        Some((bound.parse::<f64>().ok()? * 1e3, count.parse::<f64>().ok()?))
    });
    let buckets: Vec<(f64, f64)> = buckets.collect();
    let (_, all) = buckets.last().filter(|(_, all)| *all > 0.0)?;
    buckets.iter().find(|(_, count)| *count >= share * all).map(|(bound, _)| *bound)
}

fn v4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(v4) => Some(v4),
        SocketAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_flips_is_within_the_first_bucket_that_holds_as_many() {
        let bucket =
            |bound, count| format!("sotto_flip_seconds_bucket{{le=\"{bound}\"}} {count}\n");
        let told = bucket("0.00005", 90) + &bucket("0.002", 99) + &bucket("+Inf", 100);
        let within = |share| flipped_within(&told, share);
        assert_eq!((within(0.5), within(0.99)), (Some(0.05), Some(2.0)));
        assert_eq!(within(1.0), Some(f64::INFINITY));
        assert_eq!(flipped_within(&bucket("+Inf", 0), 0.5), None);
        assert_eq!(flipped_within("", 0.5), None);
    }
}
