//! Digest: who a caller is, by a secret that never crosses the wire (RFC 7616, RFC 8760).
//!
//! A nonce holds its own time and a tag under a key of ours, so that a challenge leaves no state
//! behind. A nonce is written down only once somebody has proven to know a secret with it; from then
//! on its count may only rise, and nobody gets in by repeating what was overheard.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::{Duration, Instant};

use md5::Md5;
use rand::Rng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::fields::parameter;

/// How long a nonce may be used. Phones keep one from call to call, and are told `stale` after it.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Nonces in use that are remembered; one takes about 100 octets.
const MAX_NONCES: usize = 8192;
/// Longest value of a parameter that is looked at.
const MAX_VALUE: usize = 512;

/// The hashes that are offered, the one that is preferred first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithms {
    /// MD5 alone: what every phone knows.
    Md5,
    /// SHA-256 alone.
    Sha256,
    /// SHA-256, and MD5 for those that don't know it.
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn hash(self, parts: &[&str]) -> Zeroizing<String> {
        let joined = Zeroizing::new(parts.join(":"));
        match self {
            Algorithm::Md5 => hex(&Md5::digest(joined.as_bytes())),
            Algorithm::Sha256 => hex(&Sha256::digest(joined.as_bytes())),
        }
    }
}

impl Algorithms {
    const fn list(self) -> &'static [Algorithm] {
        match self {
            Algorithms::Md5 => &[Algorithm::Md5],
            Algorithms::Sha256 => &[Algorithm::Sha256],
            Algorithms::Both => &[Algorithm::Sha256, Algorithm::Md5],
        }
    }
}

/// Who may call, and what proves it: of each secret only hashes are kept.
pub struct Users {
    realm: String,
    algorithms: Algorithms,
    hashes: HashMap<String, [Zeroizing<String>; 2]>,
}

impl Users {
    /// Users and their secrets, in a realm.
    pub fn new<'a>(
        realm: &str,
        algorithms: Algorithms,
        secrets: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Users {
        let hashes = secrets.into_iter().map(|(user, secret)| {
            let hash = |algorithm: Algorithm| algorithm.hash(&[user, realm, secret]);
            (user.to_owned(), [hash(Algorithm::Md5), hash(Algorithm::Sha256)])
        });
        Users { realm: realm.to_owned(), algorithms, hashes: hashes.collect() }
    }

    /// What is hashed in place of a secret: of somebody unknown, something that nothing matches.
    fn hash_of(&self, user: &str, algorithm: Algorithm) -> &str {
        let index = usize::from(algorithm == Algorithm::Sha256);
        self.hashes.get(user).map_or("", |hashes| hashes[index].as_str())
    }
}

/// What came of credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// They are right, and new.
    Proven,
    /// There are none that are right; `stale` if only their nonce is no longer good.
    Unproven { stale: bool },
    /// Too many nonces are in use to remember one more.
    Busy,
}

/// Asks for credentials and checks them.
pub(crate) struct Challenger {
    users: Users,
    key: [u8; 32],
    began: Instant,
    /// The highest count of each nonce in use, by its time.
    used: BTreeMap<String, u32>,
}

impl Challenger {
    pub(crate) fn new(users: Users, key: [u8; 32], now: Instant) -> Challenger {
        Challenger { users, key, began: now, used: BTreeMap::new() }
    }

    /// The values of `WWW-Authenticate`.
    pub(crate) fn challenges(
        &self,
        now: Instant,
        stale: bool,
        random: &mut impl Rng,
    ) -> Vec<String> {
        let seconds = self.seconds(now);
        let nonce = self.nonce(seconds, random.next_u64());
        let stale = if stale { ", stale=true" } else { "" };
        let realm = &self.users.realm;
        let written = |algorithm: &Algorithm| {
            let name = algorithm.name();
            format!(
                "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={name}, qop=\"auth\"{stale}"
            )
        };
        self.users.algorithms.list().iter().map(written).collect()
    }

    /// Looks at the values of `Authorization` of a request by that method.
    pub(crate) fn check<'a>(
        &mut self,
        now: Instant,
        method: &str,
        mut values: impl Iterator<Item = &'a str>,
    ) -> Verdict {
        let realm = &self.users.realm;
        let found = values.find_map(|value| {
            Credentials::parse(value).filter(|credentials| credentials.realm == *realm)
        });
        let Some(credentials) = found else { return Verdict::Unproven { stale: false } };
        let is_offered = self.users.algorithms.list().contains(&credentials.algorithm);
        if !is_offered || !self.is_right(method, &credentials) {
            return Verdict::Unproven { stale: false };
        }
        // One of a process before this one is told apart from a wrong secret, too.
        if !self.is_good(now, &credentials.nonce) {
            return Verdict::Unproven { stale: true };
        }
        self.count(now, credentials.nonce, credentials.count)
    }

    fn is_right(&self, method: &str, credentials: &Credentials) -> bool {
        let Credentials { algorithm, user, nonce, uri, count_text, cnonce, response, .. } =
            credentials;
        let asked = algorithm.hash(&[method, uri]);
        let secret = self.users.hash_of(user, *algorithm);
        let right = algorithm.hash(&[secret, nonce, count_text, cnonce, "auth", &asked]);
        let is_known = !secret.is_empty();
        bool::from(right.as_bytes().ct_eq(response.as_bytes())) && is_known
    }

    /// A count that was there before is of somebody who repeats what others have said.
    fn count(&mut self, now: Instant, nonce: String, count: u32) -> Verdict {
        if let Some(highest) = self.used.get_mut(&nonce) {
            if count <= *highest {
                return Verdict::Unproven { stale: true };
            }
            *highest = count;
            return Verdict::Proven;
        }
        if self.used.len() >= MAX_NONCES {
            let oldest = self.seconds(now).saturating_sub(NONCE_LIFETIME.as_secs());
            // A nonce begins with its time, so that they lie in its order.
            self.used = self.used.split_off(&format!("{oldest:016x}"));
        }
        if self.used.len() >= MAX_NONCES {
            return Verdict::Busy;
        }
        self.used.insert(nonce, count);
        Verdict::Proven
    }

    /// Whether a nonce is of ours and not too old.
    fn is_good(&self, now: Instant, nonce: &str) -> bool {
        let part = |range: std::ops::Range<usize>| u64::from_str_radix(nonce.get(range)?, 16).ok();
        let (Some(seconds), Some(salt)) = (part(0..16), part(16..32)) else { return false };
        let is_ours = bool::from(self.nonce(seconds, salt).as_bytes().ct_eq(nonce.as_bytes()));
        let age = self.seconds(now).saturating_sub(seconds);
        is_ours && age <= NONCE_LIFETIME.as_secs()
    }

    fn nonce(&self, seconds: u64, salt: u64) -> String {
        let text = format!("{seconds:016x}{salt:016x}");
        // Of fixed length behind a key of fixed length, so that nothing can be added to it.
        let mut tag = Sha256::new();
        tag.update(self.key);
        tag.update(text.as_bytes());
        tag.update(self.key);
        let tag = hex(&tag.finalize());
        format!("{text}{}", tag.get(..32).unwrap_or_default())
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }
}

/// What a caller has sent to show who it is.
struct Credentials {
    realm: String,
    user: String,
    algorithm: Algorithm,
    nonce: String,
    uri: String,
    count: u32,
    count_text: String,
    cnonce: String,
    response: String,
}

impl Credentials {
    /// Those without a count are not taken (RFC 2069): they could be repeated.
    fn parse(value: &str) -> Option<Credentials> {
        let (scheme, rest) = value.trim().split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        // One grammar for both kinds of lists.
        let text = semicolons(rest);
        let value = |name| parameter(&text, name).flatten().and_then(unquoted);
        let algorithm = match value("algorithm").map(|name| name.to_ascii_uppercase()).as_deref() {
            None | Some("MD5") => Algorithm::Md5,
            Some("SHA-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        if !value("qop")?.eq_ignore_ascii_case("auth") {
            return None;
        }
        let count_text = value("nc").filter(|count| count.len() == 8)?;
        Some(Credentials {
            realm: value("realm")?,
            user: value("username")?,
            algorithm,
            nonce: value("nonce")?.to_ascii_lowercase(),
            uri: value("uri")?,
            count: u32::from_str_radix(&count_text, 16).ok()?,
            count_text,
            cnonce: value("cnonce")?,
            response: value("response")?.to_ascii_lowercase(),
        })
    }
}

/// Commas outside quotes as semicolons.
fn semicolons(text: &str) -> String {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let change = |c| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            ',' if !is_quoted => return ';',
            _ => {}
        }
        c
    };
    text.chars().map(change).collect()
}

fn unquoted(value: &str) -> Option<String> {
    if value.len() > MAX_VALUE {
        return None;
    }
    let Some(inside) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let inside = inside.strip_suffix('"')?;
    let mut text = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(c) = characters.next() {
        text.push(if c == '\\' { characters.next()? } else { c });
    }
    Some(text)
}

fn hex(octets: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(octets.len() * 2));
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::{Algorithm, Algorithms, Challenger, NONCE_LIFETIME, Users, Verdict, semicolons};

    const NO: Verdict = Verdict::Unproven { stale: false };
    const STALE: Verdict = Verdict::Unproven { stale: true };

    #[expect(clippy::disallowed_methods, reason = "some time to count from")]
    fn challenger(algorithms: Algorithms) -> (Challenger, Instant) {
        let now = Instant::now();
        let users = Users::new("sotto", algorithms, [("Mufasa", "Circle of Life")]);
        (Challenger::new(users, [7; 32], now), now)
    }

    fn nonce(challenger: &Challenger, now: Instant) -> String {
        let challenges = challenger.challenges(now, false, &mut StdRng::seed_from_u64(1));
        challenges[0].split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    fn credentials(algorithm: Algorithm, secret: &str, nonce: &str, count: &str) -> String {
        let secret = algorithm.hash(&["Mufasa", "sotto", secret]);
        let asked = algorithm.hash(&["INVITE", "sip:a@b"]);
        let response = algorithm.hash(&[&secret, nonce, count, "c,n", "auth", &asked]);
        format!(
            "Digest username=\"Mufasa\", realm=\"sotto\",nonce=\"{nonce}\", uri=\"sip:a@b\", \
             response=\"{}\", algorithm={}, cnonce=\"c,n\", qop=auth, nc={count}",
            response.as_str(),
            algorithm.name()
        )
    }

    #[test]
    fn hashes_are_those_of_rfc_7616() {
        // Section 3.9.1: user Mufasa, realm http-auth@example.org, GET /dir/index.html.
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, wanted) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let secret = algorithm.hash(&["Mufasa", "http-auth@example.org", "Circle of Life"]);
            let asked = algorithm.hash(&["GET", "/dir/index.html"]);
            let found = algorithm.hash(&[&secret, nonce, "00000001", cnonce, "auth", &asked]);
            assert_eq!(found.as_str(), wanted);
        }
    }

    #[test]
    fn who_knows_the_secret_is_let_in_once_a_count() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let (mut challenger, now) = challenger(Algorithms::Both);
            let nonce = nonce(&challenger, now);
            let mut check =
                |method: &str, text: &str| challenger.check(now, method, [text].into_iter());
            let right = credentials(algorithm, "Circle of Life", &nonce, "00000001");
            assert_eq!(check("BYE", &right), NO);
            assert_eq!(check("INVITE", &right), Verdict::Proven);
            assert_eq!(check("INVITE", &right), STALE, "said before");
            let next = credentials(algorithm, "Circle of Life", &nonce, "00000002");
            assert_eq!(check("INVITE", &next), Verdict::Proven);
            assert_eq!(check("INVITE", &credentials(algorithm, "wrong", &nonce, "00000003")), NO);
            assert_eq!(check("INVITE", &next.replace("Mufasa", "Scar")), NO);
            assert_eq!(check("INVITE", &next.replace("sotto", "other")), NO);
            assert_eq!(check("INVITE", "Basic abc"), NO);
        }
    }

    #[test]
    fn nonces_are_ours_and_grow_old() {
        let (mut challenger, now) = challenger(Algorithms::Md5);
        let nonce = nonce(&challenger, now);
        let right = credentials(Algorithm::Md5, "Circle of Life", &nonce, "00000001");
        let later = now + NONCE_LIFETIME + Duration::from_secs(1);
        assert_eq!(challenger.check(later, "INVITE", [right.as_str()].into_iter()), STALE);
        let forged = nonce.replace(['0', '1', '2', '3'], "4");
        let forged = credentials(Algorithm::Md5, "Circle of Life", &forged, "00000001");
        assert_eq!(challenger.check(now, "INVITE", [forged.as_str()].into_iter()), STALE);
        let other = credentials(Algorithm::Sha256, "Circle of Life", &nonce, "00000001");
        assert_eq!(challenger.check(now, "INVITE", [other.as_str()].into_iter()), NO);
    }

    #[test]
    fn quotes_keep_their_commas() {
        assert_eq!(semicolons("a=\"1,\\\"2\", b"), "a=\"1,\\\"2\"; b");
    }
}
