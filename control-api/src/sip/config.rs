//! Config: where SIP is answered, who may call, and which engine answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sip_server::Algorithms;

use crate::config::ConfigError;
use crate::dto::engine::EngineRequest;
use crate::engines::EngineProfiles;
use crate::outbound::tls::Identity;
use crate::peers;

/// Calls at a time unless said otherwise.
const DEFAULT_MAX_CALLS: usize = 1000;
/// Most calls at a time: what the media ports of a machine are enough for.
const MAX_CALLS: usize = 16_000;
/// Numbers of one configuration.
const MAX_NUMBERS: usize = 10_000;
/// What phones are asked for their secret by, unless said otherwise.
const DEFAULT_REALM: &str = "sotto";
/// The engine that every relay has.
const ECHO: &str = "echo";
/// Payload type of telephone-event on the leg of an engine that has an address alone.
const ENGINE_EVENT_TYPE: u8 = 101;

/// SIP, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSip {
    /// Where UDP and TCP are answered.
    pub address: Option<String>,
    /// Where TLS is.
    pub tls_address: Option<String>,
    /// The certificate chain, in PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, in PEM.
    pub tls_key: Option<PathBuf>,
    /// The engine of numbers that have none of their own.
    pub engine: Option<String>,
    /// The engine of each number.
    pub numbers: BTreeMap<String, String>,
    /// Callers are behind NAT.
    pub nat: Option<bool>,
    /// Users and their secrets.
    pub users_file: Option<PathBuf>,
    /// What their secrets are asked for by.
    pub realm: Option<String>,
    /// How secrets are hashed.
    pub digest: Option<RawDigest>,
    /// Address ranges that need no secret.
    pub trunks: Option<Vec<String>>,
    /// Calls at a time.
    pub max_calls: Option<usize>,
}

/// How secrets are hashed, as typed.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum RawDigest {
    /// By MD5, which every phone knows.
    #[default]
    #[serde(rename = "md5")]
    Md5,
    /// By SHA-256.
    #[serde(rename = "sha-256")]
    Sha256,
    /// By either.
    #[serde(rename = "both")]
    Both,
}

/// What is done about SIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SipConfig {
    /// Where UDP and TCP are answered.
    pub address: Option<SocketAddr>,
    /// Where TLS is, and by which certificate.
    pub tls: Option<SipTls>,
    /// Callers are behind NAT: their media address is learned from their packets.
    pub nat: bool,
    /// Users and their secrets.
    pub users_file: Option<PathBuf>,
    /// What their secrets are asked for by.
    pub realm: String,
    /// How secrets are hashed.
    pub digest: Algorithms,
    /// Address ranges that need no secret.
    pub trunks: Vec<IpNet>,
    /// Calls at a time.
    pub max_calls: usize,
    /// Who answers.
    pub dialplan: Dialplan,
}

/// Where TLS is answered, and by which certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SipTls {
    /// Where.
    pub address: SocketAddr,
    /// Certificate chain and key.
    pub files: Identity,
}

/// Which engine answers which number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dialplan {
    numbers: BTreeMap<String, SipEngine>,
    /// The engine of all other numbers; without one there are no others.
    default: Option<SipEngine>,
}

/// An engine as the dialplan names it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum SipEngine {
    /// The relay's own.
    Echo,
    /// RTP at an address.
    At(SocketAddr),
    /// What a profile describes.
    Profile(String),
}

impl SipEngine {
    fn parse(name: String, engines: &EngineProfiles) -> Option<SipEngine> {
        if name == ECHO {
            return Some(SipEngine::Echo);
        }
        if let Ok(address) = name.parse() {
            return Some(SipEngine::At(address));
        }
        let known = engines.find(Some(&name)).filter(|known| known.leg.is_some());
        known.map(|_| SipEngine::Profile(name))
    }

    /// The engine's leg of a new call.
    fn request(&self) -> EngineRequest {
        match self {
            SipEngine::Echo => EngineRequest::echo(None),
            SipEngine::At(address) => EngineRequest::rtp(*address, ENGINE_EVENT_TYPE, None),
            SipEngine::Profile(name) => EngineRequest::profiled(Some(name.clone())),
        }
    }
}

impl Dialplan {
    /// The engine's leg of a call to `number`; `None` if nobody has it.
    pub(crate) fn engine_of(&self, number: &str) -> Option<EngineRequest> {
        self.numbers.get(number).or(self.default.as_ref()).map(SipEngine::request)
    }
}

impl RawSip {
    /// Checks everything; nothing is answered unless an address says where.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn resolve(self, engines: &EngineProfiles) -> Result<Option<SipConfig>, ConfigError> {
        if self == RawSip::default() {
            return Ok(None);
        }
        let address = self.address.as_deref().map(|text| listener("sip.address", text));
        let address = address.transpose()?;
        let tls = tls(self.tls_address, self.tls_certificate, self.tls_key)?;
        if address.is_none() && tls.is_none() {
            let reason = "must say where SIP is answered, such as 0.0.0.0:5060; or say tls_address";
            return Err(invalid("sip.address", reason));
        }
        let max_calls = self.max_calls.unwrap_or(DEFAULT_MAX_CALLS);
        if !(1..=MAX_CALLS).contains(&max_calls) {
            return Err(invalid("sip.max_calls", &format!("must be 1 to {MAX_CALLS}")));
        }
        Ok(Some(SipConfig {
            address,
            tls,
            nat: self.nat.unwrap_or(false),
            users_file: self.users_file,
            realm: realm(self.realm)?,
            digest: match self.digest {
                None | Some(RawDigest::Md5) => Algorithms::Md5,
                Some(RawDigest::Sha256) => Algorithms::Sha256,
                Some(RawDigest::Both) => Algorithms::Both,
            },
            trunks: trunks(&self.trunks.unwrap_or_default())?,
            max_calls,
            dialplan: dialplan(self.engine, self.numbers, engines)?,
        }))
    }
}

fn invalid(member: &'static str, reason: &str) -> ConfigError {
    ConfigError::Invalid { member, reason: reason.to_owned() }
}

fn listener(member: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse()
        .map_err(|_| invalid(member, "must be an IP address and a port, such as 0.0.0.0:5060"))
}

fn tls(
    address: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<SipTls>, ConfigError> {
    match (address, certificate, key) {
        (None, None, None) => Ok(None),
        (Some(address), Some(chain), Some(key)) => {
            let address = listener("sip.tls_address", &address)?;
            Ok(Some(SipTls { address, files: Identity { chain, key } }))
        }
        _ => {
            let reason = "goes with sip.tls_certificate and sip.tls_key: say all three or none";
            Err(invalid("sip.tls_address", reason))
        }
    }
}

/// It stands in quotes in every challenge, and in every hash.
fn realm(typed: Option<String>) -> Result<String, ConfigError> {
    let realm = typed.unwrap_or_else(|| DEFAULT_REALM.to_owned());
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\');
    if realm.is_empty() || realm.len() > 128 || !realm.chars().all(is_plain) {
        return Err(invalid("sip.realm", "must be 1 to 128 printable characters without quotes"));
    }
    Ok(realm)
}

fn trunks(typed: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    peers::ranges(typed)
        .ok_or_else(|| invalid("sip.trunks", "must be addresses or ranges, such as 192.0.2.0/24"))
}

fn dialplan(
    default: Option<String>,
    numbers: BTreeMap<String, String>,
    engines: &EngineProfiles,
) -> Result<Dialplan, ConfigError> {
    let parse = |member, name: String| {
        let reason = "must be echo, a profile of [engines] that has a type, or the address of an \
                      engine, such as 127.0.0.1:40000";
        SipEngine::parse(name, engines).ok_or_else(|| invalid(member, reason))
    };
    if numbers.len() > MAX_NUMBERS {
        return Err(invalid("sip.numbers", &format!("must be {MAX_NUMBERS} numbers at most")));
    }
    // Where nothing is said, whoever calls hears something.
    let default = default.or_else(|| numbers.is_empty().then(|| ECHO.to_owned()));
    let default = default.map(|name| parse("sip.engine", name)).transpose()?;
    let numbers = numbers
        .into_iter()
        .map(|(number, name)| parse("sip.numbers", name).map(|engine| (number, engine)));
    Ok(Dialplan { numbers: numbers.collect::<Result<_, _>>()?, default })
}

#[cfg(test)]
mod tests {
    use super::{RawSip, SipConfig};
    use crate::config::ConfigError;
    use crate::engines::EngineProfiles;

    fn resolve(text: &str) -> Result<Option<SipConfig>, ConfigError> {
        let engines = "ava = { type = 'echo' }\nbare = { silence_budget_s = 45 }";
        let engines = EngineProfiles::new(toml::from_str(engines).unwrap()).unwrap();
        toml::from_str::<RawSip>(text).unwrap().resolve(&engines)
    }

    #[test]
    fn nothing_typed_answers_nobody_and_an_address_is_enough() {
        assert!(resolve("").unwrap().is_none());
        let config = resolve("address = '127.0.0.1:5060'").unwrap().unwrap();
        assert!(config.dialplan.engine_of("anybody").is_some());
        assert!(config.users_file.is_none() && config.trunks.is_empty() && config.tls.is_none());
    }

    #[test]
    fn a_number_has_its_engine_and_others_the_default_one() {
        let numbers = "address = '[::]:5060'\nnumbers = { '+15550100' = '127.0.0.1:40000' }";
        let closed = resolve(numbers).unwrap().unwrap().dialplan;
        assert!(closed.engine_of("+15550100").is_some_and(|engine| engine.address.is_some()));
        assert!(closed.engine_of("+15550101").is_none());
        let profiled = resolve(&format!("engine = 'ava'\n{numbers}")).unwrap().unwrap().dialplan;
        let profile = profiled.engine_of("+15550101").unwrap().profile;
        assert_eq!(profile.as_deref(), Some("ava"));
        let open = resolve(&format!("engine = 'echo'\n{numbers}")).unwrap().unwrap().dialplan;
        assert!(open.engine_of("+15550101").is_some_and(|engine| engine.address.is_none()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, member) in [
            ("nat = true", "sip.address"),
            ("address = 'localhost'", "sip.address"),
            ("tls_address = '0.0.0.0:5061'", "sip.tls_address"),
            ("address = '0.0.0.0:5060'\nengine = 'nobody'", "sip.engine"),
            ("address = '0.0.0.0:5060'\nengine = 'bare'", "sip.engine"),
            ("address = '0.0.0.0:5060'\nnumbers = { a = 'nobody' }", "sip.numbers"),
            ("address = '0.0.0.0:5060'\nrealm = '\"'", "sip.realm"),
            ("address = '0.0.0.0:5060'\ntrunks = ['trunk.example']", "sip.trunks"),
            ("address = '0.0.0.0:5060'\nmax_calls = 0", "sip.max_calls"),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.starts_with(member) && !error.contains('\n'), "{text}: {error}");
        }
        let trunks = "address = '0.0.0.0:5060'\ntrunks = ['192.0.2.0/24', '2001:db8::7']";
        assert_eq!(resolve(trunks).unwrap().unwrap().trunks.len(), 2);
    }
}
