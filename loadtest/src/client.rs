//! Client: a few lines of HTTP towards a relay, with one key.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer read: a recording of a minute is under 2 MiB.
const MAX_ANSWER: u64 = 16 << 20;

/// A party's access to the REST API.
#[derive(Clone)]
pub struct Client {
    base: String,
    bearer: String,
    agent: ureq::Agent,
}

/// An answer of the relay.
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// The relay did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the relay did not {doing}: {detail}")]
pub struct NotDone {
    /// What was asked.
    pub doing: &'static str,
    /// What came instead.
    pub detail: String,
}

impl Client {
    /// Access to the relay at `address` with an API key, which may be empty.
    #[must_use]
    pub fn new(address: SocketAddr, key: &str) -> Client {
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

    /// Asks for `path`.
    ///
    /// # Errors
    /// No answer came.
    pub fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let request = self.agent.get(format!("{}{path}", self.base));
        Answer::read(request.header("authorization", &self.bearer).call()?)
    }

    /// Deletes `path`.
    ///
    /// # Errors
    /// No answer came.
    pub fn delete(&self, path: &str) -> Result<Answer, ureq::Error> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        Answer::read(request.header("authorization", &self.bearer).call()?)
    }

    /// Posts JSON to `path`.
    ///
    /// # Errors
    /// No answer came.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer, ureq::Error> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = request.header("authorization", &self.bearer);
        Answer::read(request.header("content-type", "application/json").send(body.to_string())?)
    }

    /// Reads a stream of events line by line until it ends.
    pub fn listen(&self, path: &str, line: impl FnMut(String)) {
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
    ///
    /// # Errors
    /// Another status, or no JSON.
    pub fn expect(self, doing: &'static str, status: u16) -> Result<Value, NotDone> {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        if self.status != status {
            let detail = format!("{} {text}", self.status);
            return Err(NotDone { doing, detail });
        }
        serde_json::from_str(&text).map_err(|_| NotDone { doing, detail: text })
    }
}

/// An answer that did not come at all.
pub fn unanswered(doing: &'static str) -> impl Fn(ureq::Error) -> NotDone {
    move |error| NotDone { doing, detail: error.to_string() }
}
