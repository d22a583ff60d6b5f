//! SinkBody: what becomes of what was keyed, as REST writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::sinks::{Outcome, Receipt};

/// What becomes of what was keyed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkBody {
    /// Where it goes.
    #[serde(rename = "type")]
    pub kind: SinkType,
    /// Of `seal`: the public key to seal to; the first of the configuration unless said otherwise.
    pub key_id: Option<String>,
    /// Of `seal`: how long the sealed data waits to be fetched, 30 s to one hour; 600 s unless
    /// said otherwise.
    #[schema(minimum = 30, maximum = 3600)]
    pub expires_s: Option<u32>,
    /// Of `connector`: its name in the configuration.
    pub name: Option<String>,
    /// Of `connector`: what is asked of it; `tokenize` unless said otherwise.
    pub method: Option<MethodName>,
    /// Of `connector`: the amount, such as `10.00`; needed to charge.
    #[schema(example = "10.00")]
    pub amount: Option<String>,
    /// Of `connector`: the currency in three letters (ISO 4217); needed to charge.
    #[schema(example = "usd")]
    pub currency_code: Option<String>,
    /// Of `connector`: words for the merchant, 200 characters at most.
    pub description: Option<String>,
    /// Of `connector`: up to 16 more members for the merchant.
    pub parameters: Option<BTreeMap<String, String>>,
}

/// Where what was keyed goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkType {
    /// Nowhere: it was only to be judged.
    Discard,
    /// To the merchant, sealed to its public key and fetched by a payment key.
    Seal,
    /// To a connector of the configuration, by HTTPS.
    Connector,
}

/// What is asked of a connector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodName {
    /// Take the money.
    Charge,
    /// Keep the card, and give a token for it.
    Tokenize,
}

/// What a delivery came to: for scripts and operators, never for an engine.
#[derive(Serialize, ToSchema)]
pub struct OutcomeView {
    /// Where what was keyed went.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Of `seal`: the key it was sealed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    /// Of a connector that charged: its charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    charge_id: Option<String>,
    /// Of a connector that tokenized: its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    /// Of a connector that refused: its code for why.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    /// Of a delivery that failed: how. `not-sealed`; or of a connector `declined`,
    /// `answer-not-understood`, `answer-repeats-keys`, `answer-too-long`, `timed-out`,
    /// `interrupted`, `unresolved`, `unreachable`, `untrusted` (see `ca_file`),
    /// `forbidden-address` (see `outbound.allow`) or `not-packed`. After a
    /// time-out, an interruption or an answer that was no use, whether money moved is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
}

impl OutcomeView {
    /// What is told of an outcome.
    #[must_use]
    pub fn of(outcome: &Outcome) -> OutcomeView {
        let mut view = OutcomeView {
            kind: "seal",
            key_id: None,
            charge_id: None,
            token_id: None,
            error_code: None,
            failure: None,
        };
        match outcome {
            Outcome::Delivered(Receipt::Discarded) => view.kind = "discard",
            Outcome::Delivered(Receipt::Sealed { key_id }) => view.key_id = Some(key_id.clone()),
            Outcome::Delivered(Receipt::Charged(id)) => {
                (view.kind, view.charge_id) = ("connector", Some(id.as_str().to_owned()));
            }
            Outcome::Delivered(Receipt::Tokenized(id)) => {
                (view.kind, view.token_id) = ("connector", Some(id.as_str().to_owned()));
            }
            Outcome::NotSealed => view.failure = Some("not-sealed"),
            Outcome::Refused(refusal) => {
                view.kind = "connector";
                view.failure = Some(refusal.as_str());
                view.error_code = refusal.error_code().map(|code| code.as_str().to_owned());
            }
        }
        view
    }
}

/// Sealed data, given out once.
#[derive(Serialize, ToSchema)]
pub struct SealedView {
    /// The session it is of; the protected header of `jwe` names it too.
    pub session_id: String,
    /// The key it is sealed to.
    pub key_id: String,
    /// The data: a JWE (RFC 7516, compact serialization) of `ECDH-ES` or `RSA-OAEP-256` with
    /// `A256GCM`. Its protected header has the key's `kid` and `sotto_session_id`. Its content is a
    /// JSON object of step names and what was keyed, with `brand` for a card, and spaces behind it.
    pub jwe: String,
}
