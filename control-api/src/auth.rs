//! Permit: proof that a request's key allows its operation. Handlers can't be called without one.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use relay::switchboard::CallId;

use crate::Control;
use crate::keys::{Principal, Role, Scope};
use crate::problem::{Code, Problem};

/// What an operation needs: any one of these scopes.
pub trait Needs: Send + Sync {
    /// The scopes, one of which is enough.
    const ANY_OF: &'static [Scope];
}

/// Needs [`Scope::Calls`].
pub struct Calls;
/// Needs [`Scope::Calls`] or [`Scope::HangUp`].
pub struct HangUpCalls;
/// Needs [`Scope::SecureEnter`].
pub struct SecureEnter;
/// Needs [`Scope::SecureRead`].
pub struct SecureRead;
/// Needs [`Scope::SecureRead`] or [`Scope::SecureCancel`]: a script ends what it drives itself.
pub struct SecureEnd;
/// Needs [`Scope::SecureCancel`].
pub struct SecureCancel;
/// Needs [`Scope::Recordings`].
pub struct Recordings;
/// Needs [`Scope::SealedFetch`].
pub struct SealedFetch;
/// Needs [`Scope::Webhooks`].
pub struct Webhooks;
/// Needs [`Scope::Activity`].
pub struct SeeActivity;
/// Needs any valid key of a party to the call: what is told depends on its role.
pub struct AnyKey;

impl Needs for Calls {
    const ANY_OF: &'static [Scope] = &[Scope::Calls];
}
impl Needs for HangUpCalls {
    const ANY_OF: &'static [Scope] = &[Scope::Calls, Scope::HangUp];
}
impl Needs for SecureEnter {
    const ANY_OF: &'static [Scope] = &[Scope::SecureEnter];
}
impl Needs for SecureRead {
    const ANY_OF: &'static [Scope] = &[Scope::SecureRead];
}
impl Needs for SecureEnd {
    const ANY_OF: &'static [Scope] = &[Scope::SecureRead, Scope::SecureCancel];
}
impl Needs for SecureCancel {
    const ANY_OF: &'static [Scope] = &[Scope::SecureCancel];
}
impl Needs for Recordings {
    const ANY_OF: &'static [Scope] = &[Scope::Recordings];
}
impl Needs for SealedFetch {
    const ANY_OF: &'static [Scope] = &[Scope::SealedFetch];
}
impl Needs for Webhooks {
    const ANY_OF: &'static [Scope] = &[Scope::Webhooks];
}
impl Needs for SeeActivity {
    const ANY_OF: &'static [Scope] = &[Scope::Activity];
}
impl Needs for AnyKey {
    const ANY_OF: &'static [Scope] = &[Scope::SecureEnter, Scope::SecureRead];
}

/// Who was found to make a request, and about which call, for whoever attends to it.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Seen>);

#[derive(Default)]
struct Seen {
    principal: OnceLock<Principal>,
    call: OnceLock<CallId>,
}

impl Witness {
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
    witness: Option<Witness>,
    needs: PhantomData<N>,
}

impl<N: Needs> Permit<N> {
    /// What the key is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.principal.role
    }

    /// Lets in whoever has a key that is valid and allows this; `token` is what was sent as one.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] or [`Code::Forbidden`].
    pub(crate) fn admit(
        control: &Control,
        extensions: &Extensions,
        token: Option<&str>,
    ) -> Result<Permit<N>, Problem> {
        let Some(principal) = token.and_then(|token| control.keys().verify(token)) else {
            control.metrics.unauthenticated();
            return Err(Problem::new(
                Code::Unauthenticated,
                "Send Authorization: Bearer and a key made by `sotto keys add`; a key added while the \
                 relay runs counts after SIGHUP.",
            ));
        };
        tracing::Span::current().record("key", principal.key.as_str());
        let witness = extensions.get::<Witness>().cloned();
        if let Some(witness) = &witness {
            witness.saw_principal(&principal);
        }
        if N::ANY_OF.iter().any(|&scope| principal.role.allows(scope)) {
            Ok(Permit { principal, witness, needs: PhantomData })
        } else {
            let able = |role: &Role| N::ANY_OF.iter().any(|&scope| role.allows(scope));
            let able: Vec<_> = Role::ALL.iter().filter(|role| able(role)).collect();
            let able: Vec<_> = able.into_iter().map(|role| role.as_str()).collect();
            let detail = format!("This needs a key of the role {}.", able.join(" or "));
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
        Permit::admit(control, &parts.extensions, bearer(&parts.headers))
    }
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

    use super::bearer;

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
