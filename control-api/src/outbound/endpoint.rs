//! Endpoint: where a configured URL leads, read so strictly that no part of it is a guess.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::Uri;

/// Longest URL, in octets.
const MAX_URL: usize = 2048;
/// Longest host name (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

/// How the endpoint is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// HTTP over TLS.
    Https,
    /// HTTP in clear: only where the caller of [`Endpoint::parse`] lets it pass.
    Http,
}

/// Who the endpoint is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// A name to resolve.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

/// Where a URL leads. Printed, it is its scheme, host and port: a path or query may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Who it is.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
    /// Path and query, as the request line has them.
    pub target: String,
}

/// What is wrong with a URL; nothing of it is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL with a host.
    #[error("must be an absolute URL such as https://host/path, of {MAX_URL} octets at most")]
    Malformed,
    /// Another scheme than https.
    #[error("must begin with https://")]
    Scheme,
    /// It names a user.
    #[error("must not hold a user or password: say those in their own members")]
    UserInfo,
    /// It has a part that is never sent.
    #[error("must not have a fragment (#...)")]
    Fragment,
    /// The host is a number in one of the many forms that only some programs read.
    #[error("has a host that is no name and no address: write 127.0.0.1 or [::1]")]
    Host,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        if text.len() > MAX_URL || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EndpointError::Malformed);
        }
        // The parser below drops a fragment without a word.
        if text.contains('#') {
            return Err(EndpointError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| EndpointError::Malformed)?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            Some(_) => return Err(EndpointError::Scheme),
            None => return Err(EndpointError::Malformed),
        };
        let authority = uri.authority().ok_or(EndpointError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let host = Host::parse(authority.host()).ok_or(EndpointError::Host)?;
        let named_port = authority.as_str().len() > authority.host().len();
        let port = match (authority.port_u16(), scheme) {
            (Some(0), _) => return Err(EndpointError::Malformed),
            (Some(port), _) => port,
            (None, _) if named_port => return Err(EndpointError::Malformed),
            (None, Scheme::Https) => 443,
            (None, Scheme::Http) => 80,
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Endpoint { scheme, host, port, target: target.to_owned() })
    }

    /// The `Host` header (RFC 9110 section 7.2): without the scheme's own port.
    #[must_use]
    pub fn host_header(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Https, 443) | (Scheme::Http, 80) => self.host.to_string(),
            (Scheme::Https | Scheme::Http, port) => format!("{}:{port}", self.host),
        }
    }
}

impl Host {
    /// A name of letters, digits and hyphens, or an address in its one usual form. A name whose
    /// last label is a number would be read as an IPv4 address by some resolvers (`127.1`,
    /// `0x7f000001`, `2130706433`), so it is none.
    fn parse(text: &str) -> Option<Host> {
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return inner.parse::<Ipv6Addr>().ok().map(|ip| Host::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Some(Host::Ip(ip.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-')
        };
        let last = name.rsplit('.').next()?;
        let numeric = last.bytes().all(|b| b.is_ascii_digit())
            || last.starts_with("0x")
            || last.starts_with("0X");
        let good = name.len() <= MAX_HOST && name.split('.').all(label) && !numeric;
        good.then(|| Host::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, EndpointError, Host, Scheme};

    #[test]
    fn urls_are_read() {
        let endpoint = Endpoint::parse("https://Pay.Example.com/v1/charge?x=1").unwrap();
        assert_eq!(endpoint.host, Host::Name("pay.example.com".to_owned()));
        assert_eq!((endpoint.scheme, endpoint.port), (Scheme::Https, 443));
        assert_eq!(endpoint.target, "/v1/charge?x=1");
        assert_eq!(endpoint.host_header(), "pay.example.com");
        assert_eq!(endpoint.to_string(), "https://pay.example.com:443", "no path, no query");

        let endpoint = Endpoint::parse("https://[::1]:8443").unwrap();
        assert_eq!((endpoint.host_header().as_str(), endpoint.port), ("[::1]:8443", 8443));
        assert_eq!(endpoint.target, "/");
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        let cases = [
            ("", EndpointError::Malformed),
            ("/path", EndpointError::Malformed),
            ("example.com", EndpointError::Malformed),
            ("https:///path", EndpointError::Malformed),
            ("https://a b/", EndpointError::Malformed),
            ("https://ex\u{e4}mple.com/", EndpointError::Malformed),
            ("https://example.com:/", EndpointError::Malformed),
            ("https://example.com:0/", EndpointError::Malformed),
            ("https://example.com:99999/", EndpointError::Malformed),
            ("ftp://example.com/", EndpointError::Scheme),
            ("file://example.com/etc/passwd", EndpointError::Scheme),
            ("https://user@example.com/", EndpointError::UserInfo),
            ("https://user:word@example.com/", EndpointError::UserInfo),
            ("https://example.com/#frag", EndpointError::Fragment),
            ("https://2130706433/", EndpointError::Host),
            ("https://0x7f000001/", EndpointError::Host),
            ("https://0x7f.1/", EndpointError::Host),
            ("https://127.1/", EndpointError::Host),
            ("https://0177.0.0.1/", EndpointError::Host),
            ("https://127.0.0.0x1/", EndpointError::Host),
            ("https://1.2.3.4.5/", EndpointError::Host),
            ("https://exa..mple/", EndpointError::Host),
            ("https://-x.example/", EndpointError::Host),
        ];
        for (text, error) in cases {
            assert_eq!(Endpoint::parse(text), Err(error), "{text}");
        }
        let long = format!("https://example.com/{}", "a".repeat(2048));
        assert_eq!(Endpoint::parse(&long), Err(EndpointError::Malformed));
    }
}
