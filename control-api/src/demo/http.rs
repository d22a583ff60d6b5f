//! Client: a few lines of HTTP towards the relay, with one key.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::DemoError;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer read: a recording of the demo is under 1 MiB.
const MAX_ANSWER: u64 = 16 << 20;

/// A party's access to the REST API.
#[derive(Clone)]
pub(super) struct Client {
    base: String,
    bearer: String,
    agent: ureq::Agent,
}

/// An answer of the relay.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn new(address: SocketAddr, key: &str) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Client {
            base: format!("http://{address}"),
            bearer: format!("Bearer {key}"),
            agent: config.into(),
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let request = self.agent.get(format!("{}{path}", self.base));
        Answer::read(request.header("authorization", &self.bearer).call()?)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, ureq::Error> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        Answer::read(request.header("authorization", &self.bearer).call()?)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Answer, ureq::Error> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = request.header("authorization", &self.bearer);
        Answer::read(request.header("content-type", "application/json").send(body.to_string())?)
    }

    /// Reads a stream of events line by line until it ends.
    pub(super) fn listen(&self, path: &str, line: impl FnMut(String)) {
        let request = self.agent.get(format!("{}{path}", self.base));
        let request = request.config().timeout_global(None).build();
        let Ok(answer) = request.header("authorization", &self.bearer).call() else { return };
        let reader = BufReader::new(answer.into_body().into_reader());
        reader.lines().map_while(Result::ok).for_each(line);
    }
}

impl Answer {
    fn read(answer: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
        let status = answer.status().as_u16();
        let body = answer.into_body().with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Answer { status, body })
    }

    /// The JSON of an answer with the status that was hoped for.
    pub(super) fn expect(self, doing: &'static str, status: u16) -> Result<Value, DemoError> {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        if self.status != status {
            let detail = format!("{} {text}", self.status);
            return Err(DemoError::Relay { doing, detail });
        }
        serde_json::from_str(&text).map_err(|_| DemoError::Relay { doing, detail: text })
    }
}

/// An answer that did not come at all.
pub(super) fn unanswered(doing: &'static str) -> impl Fn(ureq::Error) -> DemoError {
    move |error| DemoError::Relay { doing, detail: error.to_string() }
}
