//! Permit: proof that a request's key allows its operation. Handlers can't be called without one.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, Request};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri};
use relay::switchboard::CallId;

use crate::audit::By;
use crate::keys::{Denied, KeyId, Principal, Role, Scope, TOKEN_PREFIX};
use crate::problem::{Code, Problem};
use crate::server::Client;
use crate::tickets::PresentedTicket;
use crate::{Control, clock};

/// What an operation needs: any one of these scopes.
pub trait Needs: Send + Sync {
    /// The scopes, one of which is enough.
    const ANY_OF: &'static [Scope];
}

/// A kind of operation, and the scopes one of which it needs.
macro_rules! needs {
    ($($(#[$doc:meta])+ $name:ident: $($scope:ident)|+;)+) => {$(
        $(#[$doc])+
        pub struct $name;

        impl Needs for $name {
            const ANY_OF: &'static [Scope] = &[$(Scope::$scope),+];
        }
    )+};
}

needs! {
    /// Lists and reads calls.
    ReadCalls: CallsRead;
    /// Opens and changes calls.
    WriteCalls: CallsWrite;
    /// Ends calls, or hangs up.
    HangUpCalls: CallsWrite | CallsHangUp;
    /// Makes and ends the tokens of models.
    GrantModels: ModelsGrant;
    /// Enters secure sessions.
    SecureEnter: SecureEnter;
    /// Drives secure sessions.
    SecureRead: SecureRead;
    /// Ends secure sessions: a script ends what it drives itself.
    SecureEnd: SecureRead | SecureCancel;
    /// A party to the call: what it is told depends on its scopes.
    Party: SecureEnter | SecureRead;
    /// Hears recordings.
    ReadRecordings: RecordingsRead;
    /// Erases recordings.
    EraseRecordings: RecordingsErase;
    /// Fetches sealed data.
    FetchSealed: SealedFetch;
    /// Looks at webhooks.
    ReadWebhooks: WebhooksRead;
    /// Sends webhooks again.
    ReplayWebhooks: WebhooksReplay;
    /// Sees what was done.
    ReadActivity: ActivityRead;
    /// Reads the audit log.
    ReadAudit: AuditRead;
    /// Manages keys.
    ManageKeys: KeysManage;
    /// Drives calls by rtpengine's control protocol.
    ControlNg: NgControl;
    /// Opens a stream: that of a call's events, or that of a SIP proxy.
    OpenStream: SecureEnter | SecureRead | NgControl;
}

/// The scopes, one of which a handler asks for: those of the permit that it takes. So the contract
/// tells what the code does.
pub trait Guarded<Arguments> {
    /// The scopes, one of which is enough.
    fn any_of(&self) -> &'static [Scope];
}

/// Handlers whose permit is their second argument, as the state comes first.
macro_rules! guarded {
    ($($argument:ident)*) => {
        impl<F, R, S, N: Needs, $($argument),*> Guarded<(S, N, $($argument,)*)> for F
        where
            F: Fn(S, Permit<N>, $($argument),*) -> R,
        {
            fn any_of(&self) -> &'static [Scope] {
                N::ANY_OF
            }
        }
    };
}
guarded!();
guarded!(A);
guarded!(A B);
guarded!(A B C);
guarded!(A B C D);
guarded!(A B C D E);

/// Who was found to make a request, and about which call, for whoever attends to it.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Seen>);

#[derive(Default)]
struct Seen {
    principal: OnceLock<Principal>,
    call: OnceLock<CallId>,
    suspect: OnceLock<KeyId>,
    denied: OnceLock<Denied>,
}

impl Witness {
    /// That of a request, which has one from now on.
    pub(crate) fn of(request: &mut Request) -> Witness {
        request.extensions_mut().get_or_insert_default::<Witness>().clone()
    }

    /// Why the request was not let in, if it was not.
    pub(crate) fn denied(&self) -> Option<Denied> {
        self.0.denied.get().copied()
    }

    /// The key that a token names that was not let in.
    pub(crate) fn suspect(&self) -> Option<&KeyId> {
        self.0.suspect.get()
    }

    /// The request's principal, if its key was asked for and is valid.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.0.principal.get()
    }

    /// The call that the request was found to name.
    pub(crate) fn call(&self) -> Option<CallId> {
        self.0.call.get().copied()
    }

    /// The request has a valid key; one request has one.
    pub(crate) fn saw_principal(&self, principal: &Principal) {
        let _ = self.0.principal.set(principal.clone());
    }

    /// The request names a call; one request names one.
    pub(crate) fn saw_call(&self, call: CallId) {
        let _ = self.0.call.set(call);
    }
}

/// Proof that the request's key has a scope that `N` asks for.
pub struct Permit<N: Needs> {
    /// Who makes the request.
    pub principal: Principal,
    client: Option<Client>,
    witness: Option<Witness>,
    needs: PhantomData<N>,
}

impl<N: Needs> Permit<N> {
    /// As which of the standing roles it is told things.
    #[must_use]
    pub fn role(&self) -> Role {
        self.principal.role
    }

    /// Whether it may do this, besides what the permit is for.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.principal.allows(scope)
    }

    /// Who makes the request, for the audit log.
    pub(crate) fn by(&self) -> By {
        By::key(&self.principal, self.client)
    }

    /// Lets in whoever was found to make the request and may do this: the one place where a request
    /// is let in or not.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`], in the same words for every reason, or [`Code::Forbidden`].
    pub(crate) fn admit(
        control: &Control,
        extensions: &Extensions,
        found: Result<Principal, Denied>,
    ) -> Result<Permit<N>, Problem> {
        let witness = extensions.get::<Witness>().cloned();
        let principal = found.map_err(|denied| {
            if let Some(Witness(seen)) = &witness {
                let _ = seen.denied.set(denied);
            }
            turn_away(control, denied)
        })?;
        tracing::Span::current().record("key", principal.key.as_str());
        if let Some(witness) = &witness {
            witness.saw_principal(&principal);
        }
        control.limits().admit(extensions, &principal.key)?;
        if principal.scopes.has_any(N::ANY_OF) {
            let client = extensions.get().copied();
            Ok(Permit { principal, client, witness, needs: PhantomData })
        } else {
            let able: Vec<_> = N::ANY_OF.iter().map(|scope| scope.as_str()).collect();
            let able = able.join(" or ");
            let detail = format!("This needs a key with the scope {able}, or a role that has it.");
            Err(Problem::new(Code::Forbidden, detail))
        }
    }

    /// The request is about a call that its path does not name.
    pub(crate) fn concerns(&self, call: CallId) {
        if let Some(witness) = &self.witness {
            witness.saw_call(call);
        }
    }
}

impl<N: Needs> FromRequestParts<Arc<Control>> for Permit<N> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        let found = find(control, parts).await;
        if let (Err(_), Some(Witness(seen))) = (&found, parts.extensions.get())
            && let Some(key) = bearer(&parts.headers).and_then(|it| control.keys().named(it))
        {
            let _ = seen.suspect.set(key);
        }
        Permit::admit(control, &parts.extensions, found)
    }
}

/// Counts who is not let in, and answers: why it is not is told to the log alone.
pub(crate) fn turn_away(control: &Control, denied: Denied) -> Problem {
    control.metrics.unauthenticated(denied);
    tracing::Span::current().record("denied", denied.as_str());
    Problem::new(
        Code::Unauthenticated,
        "Send one header, Authorization: Bearer and a key made by `sotto keys add`, and none in the \
         URL. A key has a time, a region and a server that it is good for.",
    )
}

/// Who makes a request: by the key or token in its header, or by the ticket in its URL.
async fn find(control: &Control, parts: &Parts) -> Result<Principal, Denied> {
    let ticket = parts.extensions.get::<PresentedTicket>();
    if names_a_key(&parts.uri) || (ticket.is_some() && parts.headers.contains_key(AUTHORIZATION)) {
        return Err(Denied::InUrl);
    }
    let Some(ticket) = ticket else {
        return authenticate(control, bearer(&parts.headers)).await;
    };
    let stream = (parts.method == Method::GET).then(|| parts.uri.path());
    let redeemed = control.tickets.redeem(ticket, stream, clock::monotonic())?;
    // Whoever asked for it may be gone since.
    let stands = control.keys().standing(&redeemed, clock::now()).is_some();
    if stands { Ok(redeemed) } else { Err(Denied::Ticket) }
}

/// Whose key or token this is.
pub(crate) async fn authenticate(
    control: &Control,
    token: Option<&str>,
) -> Result<Principal, Denied> {
    let token = token.ok_or(Denied::Missing)?;
    match &control.oidc {
        Some(oidc) if !token.starts_with(TOKEN_PREFIX) => {
            oidc.verify(token, &control.key_store, clock::now()).await
        }
        Some(_) | None => control.keys().verify(token, clock::now()),
    }
}

/// Names of parameters in which other APIs take keys. What is in a URL gets into logs of proxies and
/// histories of browsers, so a key there is refused rather than ignored: else it would go unnoticed.
const KEY_PARAMETERS: [&str; 8] =
    ["access_token", "api_key", "apikey", "authorization", "bearer", "key", "ticket", "token"];

/// Whether there is a key in the URL, or where one might be.
pub(crate) fn names_a_key(uri: &Uri) -> bool {
    let Some(query) = uri.query() else { return false };
    form_urlencoded::parse(query.as_bytes()).any(|(name, value)| {
        KEY_PARAMETERS.iter().any(|key| name.eq_ignore_ascii_case(key))
            || value.starts_with(TOKEN_PREFIX)
    })
}

/// The token of the one `Authorization` header (RFC 6750 section 2.1); two are as good as none.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;
    use axum::http::{HeaderMap, HeaderValue};

    use super::{bearer, names_a_key};

    #[test]
    fn a_key_in_a_url_is_seen() {
        for bad in
            ["key=x", "a=1&TOKEN=x", "api%5fkey=", "x=sto_local_1", "cursor=%73to_1", "ticket"]
        {
            assert!(names_a_key(&format!("/v1/calls?{bad}").parse().unwrap()), "{bad}");
        }
        for good in [
            "/v1/calls",
            "/v1/calls?limit=3&cursor=key",
            "/v1/calls?monkey=token",
            "/v1/calls?external_id=custo_7",
        ] {
            assert!(!names_a_key(&good.parse().unwrap()), "{good}");
        }
    }

    #[test]
    fn one_bearer_header_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer x_y"));
        assert_eq!(bearer(&headers), Some("x_y"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer x_y"));
        assert_eq!(bearer(&headers), None);
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic x_y"));
        assert_eq!(bearer(&headers), None);
    }
}
