//! BaseUrl: where models reach this relay's MCP servers.

use std::net::{IpAddr, SocketAddr};

use axum::http::Uri;
use axum::http::uri::Authority;
use relay::switchboard::CallId;

use crate::dto::id;

/// Names that a request over loopback may have in its `Host`.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Scheme, host, port and perhaps a path, without a slash at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseUrl {
    text: String,
    host: String,
}

impl BaseUrl {
    /// Reads a URL: `https`, or `http` to this machine, since a token goes with each request; no
    /// user, query or fragment.
    #[must_use]
    pub fn parse(text: &str) -> Option<BaseUrl> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let plain = !authority.as_str().contains('@') && !text.contains(['?', '#']);
        let private = match uri.scheme_str()? {
            "https" => true,
            "http" => LOOPBACK.contains(&authority.host()),
            _ => false,
        };
        (plain && private).then(|| BaseUrl {
            text: text.trim_end_matches('/').to_owned(),
            host: authority.host().to_owned(),
        })
    }

    /// The listener's own address, if that is this machine's alone.
    #[must_use]
    pub fn of_listener(address: SocketAddr) -> Option<BaseUrl> {
        let ip: IpAddr = address.ip().to_canonical();
        ip.is_loopback()
            .then(|| BaseUrl { text: format!("http://{address}"), host: address.ip().to_string() })
    }

    /// Where a call's MCP server is.
    #[must_use]
    pub fn of_call(&self, call: CallId) -> String {
        format!("{}/v1/calls/{}/mcp", self.text, id::call(call))
    }

    /// Whether a request's `Host` names this relay, or loopback, which a proxy may write. Ports
    /// don't matter: a name is what DNS rebinding can't choose.
    #[must_use]
    pub fn is_host(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let ours = std::iter::once(self.host.as_str()).chain(LOOPBACK);
        ours.into_iter().any(|name| authority.host().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use relay::switchboard::CallId;

    use super::BaseUrl;

    #[test]
    fn tokens_are_sent_under_tls_or_stay_on_the_machine() {
        for good in ["https://relay.example", "https://relay.example:8443/sotto/", "http://[::1]:1"]
        {
            assert!(BaseUrl::parse(good).is_some(), "{good}");
        }
        let bad = [
            "",
            "relay.example",
            "/v1",
            "http://relay.example",
            "http://127.0.0.1.example",
            "ftp://relay.example",
            "https://user@relay.example",
            "https://relay.example/?q",
            "https://relay.example/#f",
        ];
        for bad in bad {
            assert!(BaseUrl::parse(bad).is_none(), "{bad}");
        }
        assert!(BaseUrl::of_listener("127.0.0.1:80".parse().unwrap()).is_some());
        assert!(BaseUrl::of_listener("0.0.0.0:80".parse().unwrap()).is_none());
    }

    #[test]
    fn a_path_in_front_is_kept() {
        let base = BaseUrl::parse("https://relay.example/sotto/").unwrap();
        let url = base.of_call(CallId(1));
        assert!(url.starts_with("https://relay.example/sotto/v1/calls/call_000"), "{url}");
        assert!(url.ends_with("1/mcp"), "{url}");
    }

    #[test]
    fn a_host_is_this_relay_or_this_machine() {
        let base = BaseUrl::parse("https://relay.example:8443").unwrap();
        for ours in ["relay.example:8443", "Relay.Example", "127.0.0.1:8080", "[::1]", "localhost"]
        {
            assert!(base.is_host(ours), "{ours}");
        }
        for other in
            ["", "evil.example", "relay.example.evil.example", "a@b@c", "127.0.0.1.example"]
        {
            assert!(!base.is_host(other), "{other}");
        }
    }
}
