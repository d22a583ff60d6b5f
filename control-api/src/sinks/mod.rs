//! Sinks: what becomes of what was keyed: nothing, sealed data for the merchant, or a request to
//! a payment service.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dtmf::card_mode::CardMode;
use dtmf::plan::MAX_FIELDS;
use dtmf::verdict::FailReason;
use dtmf::{Accepted, Step, secret};
use locked_page::Locked;
use relay::switchboard::{CallId, SessionId};

use crate::dto::id;
use crate::dto::sink::{MethodName, SinkBody, SinkType};
use crate::outbound::{AddressRules, Outbound, SystemResolver};
use crate::problem::Problem;

pub mod clear;
pub mod config;
pub mod connector;
pub mod fetch;
pub mod jwe;
pub mod seal_key;
pub mod sealed;

use clear::{Keyed, Outgoing};
use config::SinksConfig;
use connector::{Connector, ConnectorError, Given, Method, Money, Order, Refused, Word};
use seal_key::{SealKey, SealKeyError};
use sealed::{Sealed, SealedStore};

/// How long sealed data waits to be fetched, in seconds.
const EXPIRES_S: std::ops::RangeInclusive<u32> = 30..=3600;
const DEFAULT_EXPIRES_S: u32 = 600;
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 200;
/// Most parameters, and the longest name and value of one, in octets. All of them, escaped, fit
/// the locked page.
const MAX_PARAMETERS: usize = 16;
const MAX_PARAMETER: usize = 64;
/// Longest amount: more than any currency needs.
const MAX_AMOUNT: usize = 12;
/// Outcomes that are remembered, for sessions that are asked about later.
const MAX_OUTCOMES: usize = 4096;

/// What becomes of what was keyed, as the plan orders it.
#[derive(Clone)]
pub enum SinkOrder {
    /// Nothing: it was only to be judged.
    Discard,
    /// It is sealed and waits to be fetched.
    Seal {
        /// To whom.
        key: Arc<SealKey>,
        /// How long it waits.
        kept: Duration,
    },
    /// It is posted.
    Connector {
        /// To whom.
        connector: Arc<Connector>,
        /// What is asked.
        order: Arc<Order>,
    },
}

impl SinkOrder {
    /// Whether anything is delivered at all.
    #[must_use]
    pub const fn delivers(&self) -> bool {
        match self {
            SinkOrder::Discard => false,
            SinkOrder::Seal { .. } | SinkOrder::Connector { .. } => true,
        }
    }
}

/// What a delivery came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It went well.
    Delivered(Receipt),
    /// It could not be sealed, or too much sealed data waits.
    NotSealed,
    /// The connector did not take it.
    Refused(Refused),
}

/// Proof of a delivery. It holds nothing of what was keyed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// There was nothing to deliver.
    Discarded,
    /// It waits to be fetched.
    Sealed {
        /// The key it is sealed to.
        key_id: String,
    },
    /// A connector charged.
    Charged(Word),
    /// A connector gave a token.
    Tokenized(Word),
}

/// Why sinks can't be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum SinksError {
    /// A key to seal to.
    #[error("sinks.seal.keys: {0}")]
    Key(#[from] SealKeyError),
    /// A connector.
    #[error("sinks.connectors: {name}: {error}")]
    Connector {
        /// Its name.
        name: String,
        /// What is wrong.
        error: ConnectorError,
    },
}

/// How deliveries went, counted.
#[derive(Default)]
struct Counts {
    sealed: AtomicU64,
    charged: AtomicU64,
    tokenized: AtomicU64,
    declined: AtomicU64,
    failed: AtomicU64,
}

#[derive(Default)]
struct Outcomes {
    known: HashMap<SessionId, Outcome>,
    order: VecDeque<SessionId>,
}

/// Every sink there is.
pub struct Sinks {
    keys: Vec<Arc<SealKey>>,
    connectors: Vec<Arc<Connector>>,
    outbound: Outbound,
    sealed: SealedStore,
    outcomes: Mutex<Outcomes>,
    counts: Counts,
}

impl Default for Sinks {
    /// Nothing but `discard`.
    fn default() -> Sinks {
        let nobody = Outbound::new(AddressRules::default(), Arc::new(SystemResolver));
        Sinks::of(Vec::new(), Vec::new(), nobody)
    }
}

/// A delivery with everything that was keyed already inside: sealed, or in a locked page.
enum Packed {
    Done(Outcome),
    Post { connector: Arc<Connector>, order: Arc<Order>, body: Outgoing },
}

impl Sinks {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// The first one that can't be used.
    pub fn open(config: SinksConfig, outbound: Outbound) -> Result<Sinks, SinksError> {
        let key = |raw: &config::RawSealKey| SealKey::read(&raw.id, &raw.file).map(Arc::new);
        let keys = config.keys.iter().map(key).collect::<Result<_, _>>()?;
        let connector = |config: config::ConnectorConfig| {
            let name = config.name.clone();
            let loaded = match outbound.refused(&config.endpoint) {
                Some(ip) => Err(ConnectorError::NotOpened(ip)),
                None => Connector::load(config).map(Arc::new),
            };
            loaded.map_err(|error| SinksError::Connector { name, error })
        };
        let connectors = config.connectors.into_iter().map(connector).collect::<Result<_, _>>()?;
        Ok(Sinks::of(keys, connectors, outbound))
    }

    fn of(keys: Vec<Arc<SealKey>>, connectors: Vec<Arc<Connector>>, outbound: Outbound) -> Sinks {
        let (sealed, outcomes, counts) = Default::default();
        Sinks { keys, connectors, outbound, sealed, outcomes, counts }
    }

    /// What a plan's `sink` member orders, for a plan of that card mode.
    ///
    /// # Errors
    /// A problem that points into the member.
    pub fn prepare(&self, mode: CardMode, body: Option<SinkBody>) -> Result<SinkOrder, Problem> {
        let Some(body) = body else { return Ok(SinkOrder::Discard) };
        refuse_misplaced(&body)?;
        match body.kind {
            SinkType::Discard => Ok(SinkOrder::Discard),
            SinkType::Seal => self.prepare_seal(&body),
            SinkType::Connector => self.prepare_connector(mode, body),
        }
    }

    fn prepare_seal(&self, body: &SinkBody) -> Result<SinkOrder, Problem> {
        let seconds = body.expires_s.unwrap_or(DEFAULT_EXPIRES_S);
        if !EXPIRES_S.contains(&seconds) {
            return Err(Problem::invalid("/sink/expires_s", "must be 30 to 3600"));
        }
        let key = match &body.key_id {
            None => self.keys.first().ok_or_else(|| {
                let detail = "this relay has no key to seal to: name one in sinks.seal.keys";
                Problem::invalid("/sink/type", detail)
            }),
            Some(id) => self.keys.iter().find(|key| key.id == *id).ok_or_else(|| {
                let detail = "is not the id of a key in sinks.seal.keys of the configuration";
                Problem::invalid("/sink/key_id", detail)
            }),
        };
        Ok(SinkOrder::Seal { key: Arc::clone(key?), kept: Duration::from_secs(seconds.into()) })
    }

    fn prepare_connector(&self, mode: CardMode, body: SinkBody) -> Result<SinkOrder, Problem> {
        let name = body.name.as_deref().unwrap_or_default();
        let connector = self.connectors.iter().find(|connector| connector.name() == name);
        let connector = connector.ok_or_else(|| {
            let detail = "is not the name of a connector in sinks.connectors of the configuration";
            Problem::invalid("/sink/name", detail)
        })?;
        if connector.mode() != mode {
            let detail = match connector.mode() {
                CardMode::Test => "is a test connector: it takes plans in test mode only",
                CardMode::Live => "is a live connector: it takes plans in live mode only",
            };
            return Err(Problem::invalid("/sink/name", detail));
        }
        let order = Arc::new(order(body)?);
        Ok(SinkOrder::Connector { connector: Arc::clone(connector), order })
    }

    /// Delivers what was accepted. Before this first waits, all of it is sealed, or in a locked
    /// page of the request, and `accepted` is wiped; the outcome is remembered for
    /// [`Sinks::outcome`].
    ///
    /// # Errors
    /// What the collector is to conclude with; [`Sinks::outcome`] knows more.
    pub async fn deliver(
        &self,
        call: CallId,
        session: SessionId,
        order: SinkOrder,
        accepted: Locked<Accepted>,
        now: Instant,
    ) -> Result<Receipt, FailReason> {
        let packed = self.pack_accepted(call, session, order, &accepted, now);
        drop(accepted);
        match self.deliver_packed(call, session, packed).await {
            Outcome::Delivered(receipt) => Ok(receipt),
            Outcome::NotSealed => Err(FailReason::InternalError),
            Outcome::Refused(_) => Err(FailReason::PaymentConnectorError),
        }
    }

    fn pack_accepted(
        &self,
        call: CallId,
        session: SessionId,
        order: SinkOrder,
        accepted: &Accepted,
        now: Instant,
    ) -> PackedDelivery {
        let mut entries: Vec<(Step, &secret::SecretDigits)> = Vec::with_capacity(MAX_FIELDS);
        entries.extend(accepted.entries());
        let brand = accepted.issuer().map(|brand| brand.as_str());
        self.pack(call, session, order, Keyed { entries: &entries, brand }, now)
    }

    /// Makes a delivery that [`Sinks::pack`] made ready; the outcome is remembered for
    /// [`Sinks::outcome`].
    pub async fn deliver_packed(
        &self,
        call: CallId,
        session: SessionId,
        packed: PackedDelivery,
    ) -> Outcome {
        let outcome = match packed.0 {
            Packed::Done(outcome) => outcome,
            Packed::Post { connector, order, body } => {
                let name = id::session(session);
                let posted = connector.post(&self.outbound, &name, &order, body).await;
                match posted {
                    Ok(Given::Charge(id)) => Outcome::Delivered(Receipt::Charged(id)),
                    Ok(Given::Token(id)) => Outcome::Delivered(Receipt::Tokenized(id)),
                    Err(refused) => Outcome::Refused(refused),
                }
            }
        };
        let (call, name) = (id::call(call), id::session(session));
        match &outcome {
            // Told when it is fetched: it was sealed at the moment of the last key.
            Outcome::Delivered(Receipt::Sealed { .. } | Receipt::Discarded) => {}
            Outcome::Delivered(Receipt::Charged(_) | Receipt::Tokenized(_)) => {
                tracing::info!(call, session = name, "delivered");
            }
            Outcome::NotSealed => {
                tracing::error!(call, session = name, "what was keyed could not be sealed");
            }
            Outcome::Refused(refused) => {
                let reason = refused.as_str();
                tracing::warn!(call, session = name, reason, "the connector did not deliver");
            }
        }
        self.count(&outcome);
        self.lock_outcomes().remember(session, outcome.clone());
        outcome
    }

    /// Seals what was keyed, or writes it into a locked page to be posted. It waits for nothing:
    /// when it returns, `keyed` may be wiped.
    #[must_use]
    pub fn pack(
        &self,
        call: CallId,
        session: SessionId,
        order: SinkOrder,
        keyed: Keyed<'_>,
        now: Instant,
    ) -> PackedDelivery {
        let name = id::session(session);
        PackedDelivery(match order {
            SinkOrder::Discard => Packed::Done(Outcome::Delivered(Receipt::Discarded)),
            SinkOrder::Seal { key, kept } => {
                let sealed = jwe::seal(&key, &name, keyed).is_ok_and(|jwe| {
                    let sealed = Sealed { session, key_id: key.id.clone(), jwe };
                    self.sealed.put(now, call, sealed, kept).is_ok()
                });
                let receipt = || Receipt::Sealed { key_id: key.id.clone() };
                Packed::Done(match sealed {
                    true => Outcome::Delivered(receipt()),
                    false => Outcome::NotSealed,
                })
            }
            SinkOrder::Connector { connector, order } => {
                match connector::pack(&name, &order, keyed) {
                    Ok(body) => Packed::Post { connector, order, body },
                    Err(refused) => Packed::Done(Outcome::Refused(refused)),
                }
            }
        })
    }

    /// What a session's delivery came to: for scripts and operators, never for an engine. A
    /// delivery may outlive its session: a charge may have gone through after the caller hung up.
    #[must_use]
    pub fn outcome(&self, session: SessionId) -> Option<Outcome> {
        self.lock_outcomes().known.get(&session).cloned()
    }

    /// The sealed data that waits.
    #[must_use]
    pub fn sealed(&self) -> &SealedStore {
        &self.sealed
    }

    /// How many deliveries ended how, by a word for each way.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 5] {
        let Counts { sealed, charged, tokenized, declined, failed } = &self.counts;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("sealed", load(sealed)),
            ("charged", load(charged)),
            ("tokenized", load(tokenized)),
            ("declined", load(declined)),
            ("failed", load(failed)),
        ]
    }

    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Delivered(Receipt::Discarded) => return,
            Outcome::Delivered(Receipt::Sealed { .. }) => &self.counts.sealed,
            Outcome::Delivered(Receipt::Charged(_)) => &self.counts.charged,
            Outcome::Delivered(Receipt::Tokenized(_)) => &self.counts.tokenized,
            Outcome::Refused(Refused::Declined(_)) => &self.counts.declined,
            Outcome::NotSealed
            | Outcome::Refused(
                Refused::NotPacked
                | Refused::NotConnected(_)
                | Refused::NotAnswered(_)
                | Refused::TimedOut
                | Refused::NotUnderstood(_)
                | Refused::RepeatsKeys,
            ) => &self.counts.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn lock_outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delivery that only waits to be made; nothing else holds what was keyed any more.
pub struct PackedDelivery(Packed);

impl PackedDelivery {
    /// Whether it is to be posted, and not already at its end.
    #[must_use]
    pub const fn waits_to_be_posted(&self) -> bool {
        match &self.0 {
            Packed::Post { .. } => true,
            Packed::Done(_) => false,
        }
    }
}

impl Outcomes {
    fn remember(&mut self, session: SessionId, outcome: Outcome) {
        if self.known.insert(session, outcome).is_none() {
            self.order.push_back(session);
        }
        if self.order.len() > MAX_OUTCOMES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// A member that has no meaning for the sink's type is a mistake to be told.
fn refuse_misplaced(body: &SinkBody) -> Result<(), Problem> {
    let (seals, posts) = (body.kind == SinkType::Seal, body.kind == SinkType::Connector);
    let misplaced = [
        ("key_id", body.key_id.is_some() && !seals),
        ("expires_s", body.expires_s.is_some() && !seals),
        ("name", body.name.is_some() && !posts),
        ("method", body.method.is_some() && !posts),
        ("amount", body.amount.is_some() && !posts),
        ("currency_code", body.currency_code.is_some() && !posts),
        ("description", body.description.is_some() && !posts),
        ("parameters", body.parameters.is_some() && !posts),
    ];
    match misplaced.iter().find(|(_, misplaced)| *misplaced) {
        None => Ok(()),
        Some((member, _)) => Err(Problem::invalid(
            format!("/sink/{member}"),
            "has no meaning for a sink of this type",
        )),
    }
}

fn order(body: SinkBody) -> Result<Order, Problem> {
    let money = match (body.amount, body.currency_code) {
        (None, None) => None,
        (Some(amount), Some(currency)) => Some(money(amount, &currency)?),
        (None, Some(_)) => {
            return Err(Problem::invalid("/sink/amount", "is needed with currency_code"));
        }
        (Some(_), None) => {
            return Err(Problem::invalid("/sink/currency_code", "is needed with amount"));
        }
    };
    let method = match body.method.unwrap_or(MethodName::Tokenize) {
        MethodName::Tokenize => Method::Tokenize(money),
        MethodName::Charge => Method::Charge(
            money.ok_or_else(|| Problem::invalid("/sink/amount", "is needed to charge"))?,
        ),
    };
    let parameters = body.parameters.unwrap_or_default();
    if body.description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        return Err(Problem::invalid("/sink/description", "must be 200 characters at most"));
    }
    check_parameters(&parameters)?;
    Ok(Order { method, description: body.description, parameters })
}

fn money(amount: String, currency: &str) -> Result<Money, Problem> {
    let parts = amount.split_once('.').unwrap_or((&amount, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if amount.len() > MAX_AMOUNT || !digits(parts.0) || !digits(parts.1) {
        return Err(Problem::invalid("/sink/amount", "must be a number such as 10.00"));
    }
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err(Problem::invalid("/sink/currency_code", "must be three letters such as usd"));
    }
    Ok(Money { amount, currency: currency.to_ascii_lowercase() })
}

fn check_parameters(parameters: &BTreeMap<String, String>) -> Result<(), Problem> {
    let good = |text: &str| text.len() <= MAX_PARAMETER && !text.chars().any(char::is_control);
    let all_good = parameters.iter().all(|(name, value)| good(name) && good(value));
    if parameters.len() > MAX_PARAMETERS || !all_good {
        let detail = "must be 16 members at most, names and values of 64 octets at most";
        return Err(Problem::invalid("/sink/parameters", detail));
    }
    Ok(())
}
