//! Reply: what a request is answered with.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::message::{MAX_MESSAGE, Message};
use crate::value::{Octets, Value};

/// What a request is answered with. It may hold an SDP with a key, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    members: Vec<(Octets<'static>, Value<'static>)>,
}

impl Reply {
    /// It was done.
    #[must_use]
    pub fn ok() -> Reply {
        Reply::result("ok")
    }

    /// The one answer to a ping.
    #[must_use]
    pub fn pong() -> Reply {
        Reply::result("pong")
    }

    /// It was not done, and why.
    #[must_use]
    pub fn error(reason: impl Into<Cow<'static, str>>) -> Reply {
        Reply::result("error").with("error-reason", text(reason))
    }

    /// There is no room, for a peer that knows to ask another relay.
    #[must_use]
    pub fn load_limit() -> Reply {
        Reply::result("load limit")
    }

    fn result(result: &'static str) -> Reply {
        Reply { members: vec![("result".into(), Value::of_text(result))] }
    }

    /// The same with another member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value<'static>) -> Reply {
        self.members.push((name.into(), value));
        self
    }

    /// The same with a session description.
    #[must_use]
    pub fn with_sdp(self, sdp: &str) -> Reply {
        self.with("sdp", Value::of_text(sdp.to_owned()))
    }

    /// The same with a remark.
    #[must_use]
    pub fn with_warning(self, warning: impl Into<Cow<'static, str>>) -> Reply {
        self.with("warning", text(warning))
    }

    /// Whether it says that what was asked for was not done.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.member("result").and_then(Value::text) == Some("error")
    }

    /// A member by its name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value<'static>> {
        let mut found = self.members.iter().filter(|(key, _)| key.text() == Some(name));
        found.next().map(|(_, value)| value)
    }

    /// The reply to `message`, in its syntax and under its cookie.
    #[must_use]
    pub fn write(self, message: &Message<'_>) -> Zeroizing<Vec<u8>> {
        // Room for all: a growing buffer would leave copies behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE));
        octets.extend_from_slice(message.cookie);
        octets.push(b' ');
        Value::Dictionary(self.members).write(message.syntax, &mut octets);
        // Without the room: replies are kept for a while.
        Zeroizing::new(octets.to_vec())
    }
}

fn text(text: impl Into<Cow<'static, str>>) -> Value<'static> {
    match text.into() {
        Cow::Borrowed(text) => Value::of_text(text),
        Cow::Owned(text) => Value::of_text(text),
    }
}
