//! Connector: what was keyed, posted to a payment service in the shape of Twilio's Generic Pay
//! Connector.
//!
//! Of the answer only a charge or token id and an error code are kept, of bounded length and
//! alphabet, and neither if it repeats what was keyed. Bodies, messages and headers of answers are
//! neither logged nor stored.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dtmf::Step;
use dtmf::card_mode::CardMode;
use locked_page::Locked;
use rustls::ClientConfig;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::clear::{Clear, Full, Keyed, Outgoing};
use super::config::{ConnectorConfig, Credentials};
use crate::outbound::secret_file::FileSecretError;
use crate::outbound::tls::TlsError;
use crate::outbound::{Answer, ConnectError, FileSecret, Outbound, SendError};

/// Longest charge or token id, or error code, that is kept.
const MAX_WORD: usize = 128;
/// Octets of an expiration date, keyed as month and year.
const EXPIRATION: usize = 4;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One connector, ready for use.
pub struct Connector {
    config: ConnectorConfig,
    tls: Arc<ClientConfig>,
    authorization: Option<HeaderValue>,
}

/// What is asked of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Charge or tokenize.
    pub method: Method,
    /// Words for the merchant.
    pub description: Option<String>,
    /// More members for the merchant.
    pub parameters: BTreeMap<String, String>,
}

/// Charge or tokenize.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Method {
    /// Take this much.
    Charge(Money),
    /// Keep the card, and give a token for it; the amount is for the merchant's information.
    Tokenize(Option<Money>),
}

/// An amount and its currency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Money {
    /// Digits, with a decimal point or not.
    pub amount: String,
    /// Three letters.
    pub currency: String,
}

/// A charge or token id, or an error code: short, printable, and nothing that was keyed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word(String);

/// What came of a delivery that went well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Given {
    /// The charge's id.
    Charge(Word),
    /// The token.
    Token(Word),
}

/// Why a delivery failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// More was to be sent than there is room for, or no locked memory was free.
    NotPacked,
    /// There was no connection.
    NotConnected(ConnectError),
    /// There was a connection, but no answer: whether money moved is not known.
    NotAnswered(SendError),
    /// It took too long: whether money moved is not known.
    TimedOut,
    /// The answer is not what a connector answers.
    NotUnderstood(u16),
    /// The answer repeats what was keyed where an id should be.
    RepeatsKeys,
    /// The connector said no.
    Declined(Option<Word>),
}

/// The members of an answer that are looked at. Its message is skipped unread.
#[derive(Deserialize)]
struct AnswerBody {
    #[serde(default)]
    charge_id: Text,
    #[serde(default)]
    token_id: Text,
    #[serde(default)]
    error_code: Text,
}

/// A text in an answer, wiped when dropped: a connector may send back what it was sent.
#[derive(Default)]
struct Text(Option<Zeroizing<String>>);

impl Word {
    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Word> {
        let good =
            (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| Word(text.to_owned()))
    }
}

impl Refused {
    /// The word for this in logs and answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Refused::NotPacked => "not-packed",
            Refused::NotConnected(error) => error.as_str(),
            Refused::NotAnswered(error) => error.as_str(),
            Refused::TimedOut => "timed-out",
            Refused::NotUnderstood(_) => "answer-not-understood",
            Refused::RepeatsKeys => "answer-repeats-keys",
            Refused::Declined(_) => "declined",
        }
    }

    /// The connector's code for why it said no.
    #[must_use]
    pub const fn error_code(&self) -> Option<&Word> {
        match self {
            Refused::Declined(code) => code.as_ref(),
            Refused::NotPacked
            | Refused::NotConnected(_)
            | Refused::NotAnswered(_)
            | Refused::TimedOut
            | Refused::NotUnderstood(_)
            | Refused::RepeatsKeys => None,
        }
    }
}

/// Why a connector's files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A file with a secret.
    #[error(transparent)]
    Secret(#[from] FileSecretError),
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its address is not opened.
    #[error("{0} is not a public address: add its range to outbound.allow")]
    NotOpened(IpAddr),
    /// A secret can't be sent in a header.
    #[error("user, password or token must be printable ASCII")]
    Unprintable,
}

impl Connector {
    /// Reads the connector's files.
    ///
    /// # Errors
    /// The first one that can't be used.
    pub fn load(config: ConnectorConfig) -> Result<Connector, ConnectorError> {
        let authorization = match &config.credentials {
            Credentials::None => None,
            Credentials::Basic { user, password } => {
                let password = FileSecret::read(password)?;
                let pair = Zeroizing::new(format!("{user}:{}", password.reveal()));
                let pair = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
                Some(sensitive(&Zeroizing::new(format!("Basic {}", pair.as_str())))?)
            }
            Credentials::Bearer { token } => {
                let token = FileSecret::read(token)?;
                Some(sensitive(&Zeroizing::new(format!("Bearer {}", token.reveal())))?)
            }
        };
        let tls = config.tls.load()?;
        Ok(Connector { config, tls, authorization })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether real money moves.
    #[must_use]
    pub fn mode(&self) -> CardMode {
        self.config.mode
    }

    /// Posts a body that [`pack`] made, once.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn post(
        &self,
        outbound: &Outbound,
        session: &str,
        order: &Order,
        body: Outgoing,
    ) -> Result<Given, Refused> {
        let mut headers = HeaderMap::new();
        headers.extend(self.authorization.clone().map(|value| (header::AUTHORIZATION, value)));
        headers.extend(HeaderValue::from_str(session).map(|value| (IDEMPOTENCY_KEY, value)));
        let answered = timeout(self.config.timeout, async {
            let connection = match outbound.connect(&self.config.endpoint, Some(&self.tls)).await {
                // Nothing was sent, so the one more try can't charge twice.
                Err(error) if error.may_pass() => {
                    outbound.connect(&self.config.endpoint, Some(&self.tls)).await
                }
                connected @ (Ok(_) | Err(_)) => connected,
            };
            let connection = connection.map_err(Refused::NotConnected)?;
            connection.post(headers, body.octets()).await.map_err(Refused::NotAnswered)
        });
        let answer = answered.await.map_err(|_| Refused::TimedOut)??;
        read(&answer, order, &body)
    }
}

/// Writes the body of a request into a locked page.
///
/// # Errors
/// [`Refused::NotPacked`].
pub fn pack(session: &str, order: &Order, keyed: Keyed<'_>) -> Result<Outgoing, Refused> {
    let mut clear = Clear::locked().map_err(|_| Refused::NotPacked)?;
    write(&mut clear, session, order, keyed).map_err(|Full| Refused::NotPacked)?;
    Ok(Outgoing::new(clear))
}

fn write(
    clear: &mut Locked<Clear>,
    session: &str,
    order: &Order,
    keyed: Keyed<'_>,
) -> Result<(), Full> {
    let (method, money) = match &order.method {
        Method::Charge(money) => ("charge", Some(money)),
        Method::Tokenize(money) => ("tokenize", money.as_ref()),
    };
    clear.open()?;
    clear.member("transaction_id", &session)?;
    clear.member("method", &method)?;
    for (step, digits) in keyed.entries {
        match member_of(*step) {
            Member::Expiration => digits.reveal(|ascii| {
                let (month, year) = ascii.split_at_checked(EXPIRATION / 2).ok_or(Full)?;
                clear.ascii("expiry_month", month)?;
                clear.ascii("expiry_year", year)
            })?,
            Member::Named(name) => clear.digits(name, digits)?,
        }
    }
    if let Some(brand) = keyed.brand {
        clear.member("card_type", &brand)?;
    }
    if let Some(money) = money {
        clear.member("amount", &money.amount)?;
        clear.member("currency_code", &money.currency)?;
    }
    if let Some(description) = &order.description {
        clear.member("description", description)?;
    }
    clear.member("parameters", &order.parameters)?;
    clear.close()
}

enum Member {
    Expiration,
    Named(&'static str),
}

/// What a connector calls a step: Twilio's member where it has one, else the step's own word.
fn member_of(step: Step) -> Member {
    match step {
        Step::PaymentCardNumber => Member::Named("cardnumber"),
        Step::ExpirationDate => Member::Expiration,
        Step::SecurityCode => Member::Named("cvv"),
        Step::PostalCode => Member::Named("postal_code"),
        Step::BankRoutingNumber => Member::Named("bank_routing_number"),
        Step::BankAccountNumber => Member::Named("bank_account_number"),
        // In minor units, as it was accepted; the order's own amount has the plain name.
        Step::Amount => Member::Named("keyed_amount"),
        Step::SocialSecurityNumber
        | Step::IndividualTaxpayerNumber
        | Step::DateOfBirth
        | Step::SocialInsuranceNumber
        | Step::NhsNumber
        | Step::NationalProviderIdentifier
        | Step::MemberId
        | Step::OneTimeCode
        | Step::PhoneNumber
        | Step::Custom(_)
        | Step::PaymentProcessing => Member::Named(step.as_str()),
    }
}

/// What an answer says. Anything but a clear yes is a no.
fn read(answer: &Answer, order: &Order, body: &Outgoing) -> Result<Given, Refused> {
    let not_understood = || Refused::NotUnderstood(answer.status);
    let parsed: Result<AnswerBody, _> = serde_json::from_slice(&answer.body);
    let is_good = (200..300).contains(&answer.status);
    let Ok(parsed) = parsed else { return Err(not_understood()) };
    if let Some(code) = parsed.error_code.text() {
        let code = Some(code).filter(|code| !body.is_repeated_in(code)).and_then(Word::parse);
        return Err(Refused::Declined(code));
    }
    let id = match &order.method {
        Method::Charge(_) => parsed.charge_id.text(),
        Method::Tokenize(_) => parsed.token_id.text(),
    };
    let id = id.filter(|_| is_good).ok_or_else(not_understood)?;
    if body.is_repeated_in(id) {
        return Err(Refused::RepeatsKeys);
    }
    let id = Word::parse(id).ok_or_else(not_understood)?;
    Ok(match &order.method {
        Method::Charge(_) => Given::Charge(id),
        Method::Tokenize(_) => Given::Token(id),
    })
}

fn sensitive(text: &str) -> Result<HeaderValue, ConnectorError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ConnectorError::Unprintable)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Text {
    /// The text, unless it is empty or null.
    fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|text| text.as_str()).filter(|text| !text.is_empty())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or null")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(Zeroizing::new(text.to_owned()))))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
                Ok(Text(Some(Zeroizing::new(number.to_string()))))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(Some(Zeroizing::new(number.to_string()))))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dtmf::secret::SecretDigits;
    use dtmf::{Digit, Step};
    use zeroize::Zeroizing;

    use super::{Given, Method, Money, Order, Refused, Word, pack, read};
    use crate::outbound::Answer;
    use crate::sinks::clear::{Keyed, Outgoing};

    fn keyed(text: &str) -> SecretDigits {
        let mut digits = SecretDigits::new();
        for key in text.bytes() {
            digits.push(Digit::from_ascii(key).unwrap()).unwrap();
        }
        digits
    }

    fn charge() -> Order {
        let money = Money { amount: "10.00".to_owned(), currency: "usd".to_owned() };
        let parameters = BTreeMap::from([("order".to_owned(), "A-7".to_owned())]);
        let description = Some("one \"thing\"".to_owned());
        Order { method: Method::Charge(money), description, parameters }
    }

    fn packed(order: &Order) -> Outgoing {
        let entries = [
            (Step::PaymentCardNumber, &keyed("4242424242424242")),
            (Step::ExpirationDate, &keyed("1230")),
            (Step::SecurityCode, &keyed("123")),
            (Step::PostalCode, &keyed("94105")),
        ];
        pack("sec_7", order, Keyed { entries: &entries, brand: Some("visa") }).unwrap()
    }

    #[test]
    fn a_body_has_the_members_that_connectors_know() {
        let body: serde_json::Value = serde_json::from_slice(&packed(&charge()).octets()).unwrap();
        let expected = serde_json::json!({
            "transaction_id": "sec_7", "method": "charge", "cardnumber": "4242424242424242",
            "expiry_month": "12", "expiry_year": "30", "cvv": "123", "postal_code": "94105",
            "card_type": "visa", "amount": "10.00", "currency_code": "usd",
            "description": "one \"thing\"", "parameters": { "order": "A-7" },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        let word = |text: &str| Word(text.to_owned());
        let declined = |code: Option<&str>| Err(Refused::Declined(code.map(word)));
        let long = format!(r#"{{"charge_id":"{}"}}"#, "x".repeat(129));
        let cases = [
            (200, r#"{"charge_id":"ch_1"}"#, Ok(Given::Charge(word("ch_1")))),
            (201, r#"{"charge_id":"ch_1","error_code":null}"#, Ok(Given::Charge(word("ch_1")))),
            (200, r#"{"charge_id":17,"more":[1]}"#, Ok(Given::Charge(word("17")))),
            (200, r#"{"charge_id":"ch_1","error_code":""}"#, Ok(Given::Charge(word("ch_1")))),
            (200, r#"{"charge_id":"ch_1","error_code":"x"}"#, declined(Some("x"))),
            (402, r#"{"error_code":"card_declined"}"#, declined(Some("card_declined"))),
            (402, r#"{"error_code":51,"error_message":"4242"}"#, declined(Some("51"))),
            (402, r#"{"error_code":"no 4242 4242 4242 4242"}"#, declined(None)),
            (402, r#"{"error_code":"two words"}"#, declined(None)),
            (200, r#"{"charge_id":"4242424242424242"}"#, Err(Refused::RepeatsKeys)),
            (200, r#"{"charge_id":"t-4242-4242-4242-4242"}"#, Err(Refused::RepeatsKeys)),
            (200, r#"{"charge_id":4242424242424242}"#, Err(Refused::RepeatsKeys)),
            (200, r#"{"token_id":"tok_1"}"#, Err(Refused::NotUnderstood(200))),
            (200, r#"{"charge_id":""}"#, Err(Refused::NotUnderstood(200))),
            (200, r#"{"charge_id":"a b"}"#, Err(Refused::NotUnderstood(200))),
            (200, &long, Err(Refused::NotUnderstood(200))),
            (302, r#"{"charge_id":"ch_1"}"#, Err(Refused::NotUnderstood(302))),
            (500, r#"{"charge_id":"ch_1"}"#, Err(Refused::NotUnderstood(500))),
            (200, "", Err(Refused::NotUnderstood(200))),
            (200, "<html>", Err(Refused::NotUnderstood(200))),
            (200, "[]", Err(Refused::NotUnderstood(200))),
        ];
        let order = charge();
        let body = packed(&order);
        for (status, text, expected) in cases {
            let answer = Answer { status, body: Zeroizing::new(text.as_bytes().to_vec()) };
            assert_eq!(read(&answer, &order, &body), expected, "{status} {text}");
        }
    }
}
