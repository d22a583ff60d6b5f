//! Redacted: settings that are, or may hold, secrets. They are never shown whole.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize, Serializer};

/// What stands in a secret's place.
const HIDDEN: &str = "[redacted]";

/// A setting that only whom it is meant for is told.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// The setting.
    #[must_use]
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// A URL. Many services take a token in its path or query for the only proof of who asks, so it is
/// shown up to its host.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct HiddenUrl(String);

impl HiddenUrl {
    /// Scheme, host and port, and whether there was more.
    #[must_use]
    pub fn shown(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return HIDDEN.to_owned() };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, more) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((_, host)) => (format!("{HIDDEN}@"), host),
            None => (String::new(), authority),
        };
        let more = match more {
            "" | "/" => more.to_owned(),
            _ => format!("/{HIDDEN}"),
        };
        format!("{scheme}://{user}{host}{more}")
    }
}

impl Deref for HiddenUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for HiddenUrl {
    fn from(url: &str) -> HiddenUrl {
        HiddenUrl(url.to_owned())
    }
}

impl fmt::Debug for HiddenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for HiddenUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::{Hidden, HiddenUrl};

    #[test]
    fn a_url_is_shown_up_to_its_host() {
        for (url, shown) in [
            ("https://pay.example.com", "https://pay.example.com"),
            ("https://pay.example.com:8443/", "https://pay.example.com:8443/"),
            ("https://pay.example.com/hooks/t0ken", "https://pay.example.com/[redacted]"),
            ("wss://agent.example.com?key=t0ken", "wss://agent.example.com/[redacted]"),
            ("https://me:t0ken@agent.example.com/", "https://[redacted]@agent.example.com/"),
            ("t0ken", "[redacted]"),
        ] {
            let url = HiddenUrl::from(url);
            assert_eq!(url.shown(), shown);
            let written = [format!("{url:?}"), serde_json::to_string(&url).unwrap_or_default()];
            assert!(written.iter().all(|text| !text.contains("t0ken")), "{written:?}");
        }
    }

    #[test]
    fn what_is_hidden_is_never_written() {
        let hidden = Hidden("t0ken".to_owned());
        assert_eq!(serde_json::to_string(&hidden).unwrap_or_default(), "\"[redacted]\"");
        assert_eq!((format!("{hidden:?}"), hidden.reveal()), ("[redacted]".into(), "t0ken".into()));
    }
}
