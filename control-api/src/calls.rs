//! Calls: open, list, read, change and end them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use relay::switchboard::dtls::Fingerprint;
use relay::switchboard::ice::IceCredentials;
use relay::switchboard::{
    BrowserPeer, CallId, DtlsPeer, LegMedia, LocalMedia, LookAhead, Refusal, Side, SourceRule,
    SrtpKeys,
};
use relay::wire::sdp::{Agreement, Browser, Handshake, IceText, Offer, PreviousAnswer};
use relay::wire::stun::IcePassword;
use relay::{CallAt, CallRequest as MediaRequest, HangUp, NearEnd, OpenedCall};
use serde::Deserialize;
use utoipa::IntoParams;
use zeroize::Zeroizing;

use crate::audit::By;
use crate::auth::{HangUpCalls, Permit, ReadCalls, Witness, WriteCalls};
use crate::dto::call::{
    ArmRequest, CallOpened, CallPage, CallRequest, CallSummary, CallView, CallerAnswer, KeyRequest,
    ReofferRequest, look_ahead,
};
use crate::dto::engine::{EngineAnswer, EnginePlace, EngineRequest};
use crate::dto::id;
use crate::dto::json::JsonBytes;
use crate::engine_leg::{self, EngineLeg, Party};
use crate::engines::Known;
use crate::external_id::{ExternalId, PATH_PREFIX};
use crate::idempotency::{Answer, Posted};
use crate::index::{CallEntry, ExternalIdInUse};
use crate::keys::Scope;
use crate::problem::{Code, Problem, ProblemBody};
use crate::recording_actions;
use crate::{Control, chance, clock};

/// Where keys are handed in, as the router writes it.
pub const KEY_PATH: &str = "/v1/calls/{call_id}/dtmf";
/// Calls on a page, unless the request says otherwise.
const DEFAULT_PAGE: usize = 50;
/// Most calls on a page.
const MAX_PAGE: usize = 200;

/// The call that a path names.
pub struct CallPath(pub Arc<CallEntry>);

impl CallPath {
    /// The call and its worker.
    ///
    /// # Errors
    /// [`Code::CallEnded`] if the call is over.
    pub fn live(&self) -> Result<CallAt, Problem> {
        match self.0.at() {
            Some(at) if !self.0.story.is_closed() => Ok(at),
            Some(_) | None => Err(Refusal::UnknownCall.into()),
        }
    }
}

impl FromRequestParts<Arc<Control>> for CallPath {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        let id = call_id(parts, control).await?;
        control.calls.find(id).map(CallPath).ok_or_else(no_such_call)
    }
}

/// The id of the call that a path names, by its id, whether there is such a call or not, or by its
/// external id.
pub async fn call_id(parts: &mut Parts, control: &Control) -> Result<CallId, Problem> {
    let text = Path::<String>::from_request_parts(parts, &()).await.map_err(|_| no_such_call())?;
    let id = match text.strip_prefix(PATH_PREFIX) {
        Some(external_id) => ExternalId::parse(external_id).and_then(|it| control.calls.id_of(&it)),
        None => id::parse_call(&text),
    };
    let id = id.ok_or_else(no_such_call)?;
    if let Some(witness) = parts.extensions.get::<Witness>() {
        witness.saw_call(id);
    }
    Ok(id)
}

pub(crate) fn in_use(_: ExternalIdInUse) -> Problem {
    let detail = "Another call that lives has this external_id: end it, or use another.";
    Problem::new(Code::ExternalIdInUse, detail).at("/external_id", "is in use")
}

fn no_such_call() -> Problem {
    Problem::new(Code::CallNotFound, "No call of this id is known; calls are forgotten in time.")
}

/// Opens a call.
///
/// The caller's offer is answered, both legs get their ports, and media may flow at once.
#[utoipa::path(
    post, path = "/v1/calls", tag = "calls", request_body = CallRequest,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128,
            pattern = "^[!-~]+$",
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 201, body = CallOpened, headers(("Location" = String))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn open(
    State(control): State<Arc<Control>>,
    permit: Permit<WriteCalls>,
    posted: Posted,
    body: JsonBytes,
) -> Result<Response, Problem> {
    // Boxed, since whatever a call may need to begin is in it.
    let work =
        async { opened(&Box::pin(place(&control, body.read()?, &permit.by(), |_| Ok(()))).await?) };
    posted.once(&control, &permit, body.octets(), work).await
}

fn opened(Placed { entry, armed, answer, engine, .. }: &Placed) -> Result<Answer, Problem> {
    let opened = CallOpened::new(entry, *armed, answer, *engine);
    Answer::created(&format!("/v1/calls/{}", id::call(entry.id)), &opened)
}

/// A call that was opened.
pub(crate) struct Placed {
    entry: Arc<CallEntry>,
    armed: bool,
    answer: Zeroizing<String>,
    engine: LocalMedia,
    /// What ICE knows us by on a browser's call.
    ufrag: Option<String>,
}

impl Placed {
    /// Its id.
    pub(crate) fn call(&self) -> CallId {
        self.entry.id
    }

    /// The answer for the caller.
    pub(crate) fn answer(&self) -> &str {
        &self.answer
    }

    /// What names the ICE session of a browser's call.
    pub(crate) fn browser(&self) -> Option<&str> {
        self.ufrag.as_deref()
    }
}

/// Opens a call, if `admit` has nothing against what is agreed with the caller.
pub(crate) async fn place(
    control: &Arc<Control>,
    request: CallRequest,
    by: &By,
    admit: impl FnOnce(&Agreement) -> Result<(), Problem>,
) -> Result<Placed, Problem> {
    let mut agreement = agree(control, "/caller/sdp", request.caller.sdp.reveal(), None)?;
    admit(&agreement)?;
    reachable(control, "/caller/sdp", agreement.remote_rtp)?;
    let nat = request.caller.nat;
    let armed = request.armed.then(|| look_ahead(request.look_ahead_ms)).transpose()?;
    let launch = Launch {
        caller: leg_media(control, &mut agreement, nat),
        link: None,
        nat,
        engine: request.engine,
        armed,
        record: request.record,
        external_id: request.external_id,
    };
    let launched = launch.open(control).await?;
    let answer = agreement.answer(control.policy.outside(launched.caller));
    let ufrag = agreement.browser.map(|browser| browser.ours.ufrag);
    let text = Zeroizing::new(answer.text().to_owned());
    *launched.entry.answered.lock().await = Some(answer.into_previous());
    let Launched { armed, engine, .. } = launched;
    let entry = launched.begin(control, by);
    Ok(Placed { entry, armed, answer: text, engine, ufrag })
}

/// What a call needs to begin, once it is agreed what its caller's leg is.
pub(crate) struct Launch {
    /// The caller's leg.
    pub(crate) caller: LegMedia,
    /// The relay's end of it, where the caller is not on the network.
    pub(crate) link: Option<NearEnd>,
    /// The caller is behind NAT.
    pub(crate) nat: bool,
    /// The engine's leg.
    pub(crate) engine: EngineRequest,
    /// Begin armed, by this much.
    pub(crate) armed: Option<LookAhead>,
    /// Keep a recording; where nothing is said, if there is a place for it.
    pub(crate) record: Option<bool>,
    /// What whoever places the call calls it.
    pub(crate) external_id: Option<ExternalId>,
}

/// A call whose ports are bound, and which nobody can find yet.
pub(crate) struct Launched {
    /// The call.
    pub(crate) entry: Arc<CallEntry>,
    /// Our side of the caller's leg.
    pub(crate) caller: LocalMedia,
    engine: LocalMedia,
    at: CallAt,
    armed: bool,
    party: Party,
}

impl Launch {
    /// Gets the engine ready and opens the call.
    ///
    /// # Errors
    /// A problem; nothing is left of the call then.
    pub(crate) async fn open(self, control: &Arc<Control>) -> Result<Launched, Problem> {
        let Launch { caller, link: caller_link, nat, engine, armed, record, external_id } = self;
        if !control.is_ready() {
            return Err(Refusal::Stopping.into());
        }
        let record = record.unwrap_or(control.recordings.is_some());
        if record && control.recordings.is_none() {
            return Err(Problem::invalid("/record", recording_actions::OFF));
        }
        let EngineLeg { media: engine, profile, link, party } =
            engine_leg::prepare(control, engine).await?;
        let call = id::new_call();
        let entry = CallEntry::new(call, clock::now(), record, nat, profile);
        let entry = control.calls.expect(entry.called(external_id)).map_err(in_use)?;
        let links = [caller_link, link];
        let opening = MediaRequest { call, caller, engine, armed, record, links };
        let opened = control.relay.open_call(opening).await;
        let OpenedCall { at, caller, engine } = opened.inspect_err(|_| {
            control.calls.forget(call);
        })?;
        Ok(Launched { entry, caller, engine, at, armed: armed.is_some(), party })
    }
}

impl Launched {
    /// Begins: the call can be found, and its engine speaks.
    pub(crate) fn begin(self, control: &Arc<Control>, by: &By) -> Arc<CallEntry> {
        let Launched { entry, engine, at, armed, party, .. } = self;
        entry.opened(at);
        party.begin(control, &entry, engine.rtp);
        let call = id::call(entry.id);
        tracing::info!(call, armed, record = entry.recorded.begun_at().is_some(), "call opened");
        control.audit.note_opened(by, &entry);
        if let Some(external_id) = &entry.external_id {
            tracing::debug!(call, external_id = external_id.as_str(), "call named");
        }
        entry
    }
}

/// Which calls to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Most calls to return, 1 to 200; 50 unless said otherwise.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^call_[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Only calls of this external id: of those that live there is one at most.
    external_id: Option<ExternalId>,
}

/// Lists calls, newest first; those that are over are listed until they are forgotten.
#[utoipa::path(
    get, path = "/v1/calls", tag = "calls", params(ListQuery),
    responses(
        (status = 200, body = CallPage),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn list(
    State(control): State<Arc<Control>>,
    _: Permit<ReadCalls>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<CallPage>, Problem> {
    let malformed = || {
        let detail = format!(
            "Send limit (1 to {MAX_PAGE}), cursor (a next_cursor) and external_id (1 to 128 visible \
             ASCII characters), or none of them."
        );
        Problem::new(Code::MalformedParameter, detail)
    };
    let Query(query) = query.map_err(|_| malformed())?;
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(malformed());
    }
    let cursor = query.cursor.map(|cursor| id::parse_call(&cursor).ok_or_else(malformed));
    let mut calls = control.calls.page(cursor.transpose()?, query.external_id.as_ref(), limit + 1);
    let more = calls.len() > limit;
    calls.truncate(limit);
    let last = calls.last().filter(|_| more);
    Ok(Json(CallPage {
        next_cursor: last.map(|entry| id::call(entry.id)),
        data: calls.iter().map(|entry| CallSummary::of(entry)).collect(),
    }))
}

/// Reads a call: its state, its legs' counters and quality, its last secure session.
#[utoipa::path(
    get, path = "/v1/calls/{call_id}", tag = "calls", params(("call_id" = String, Path)),
    responses(
        (status = 200, body = CallView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn read(
    State(control): State<Arc<Control>>,
    permit: Permit<ReadCalls>,
    CallPath(entry): CallPath,
) -> Json<CallView> {
    let seen = control.see(&entry).await;
    Json(CallView::of(&entry, seen.as_ref(), permit.role()))
}

/// Ends a call; one that is over already stays so.
///
/// An engine's key may hang up too, but does not end a secure session by it: the answer is then
/// `202`, and the call ends when the session has. Ended by a script or an operator, a session fails
/// with the reason `caller-hung-up`.
#[utoipa::path(
    delete, path = "/v1/calls/{call_id}", tag = "calls", params(("call_id" = String, Path)),
    responses(
        (status = 204),
        (status = 202, description = "The call ends when its secure session does"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn end(
    State(control): State<Arc<Control>>,
    permit: Permit<HangUpCalls>,
    CallPath(entry): CallPath,
) -> Result<StatusCode, Problem> {
    let outcome = if permit.allows(Scope::CallsWrite) {
        control.end_call(&entry).await?;
        HangUp::Ended
    } else {
        control.hang_up(&entry).await?
    };
    tracing::info!(call = id::call(entry.id), role = &*permit.principal.roles, "call hung up");
    Ok(match outcome {
        HangUp::Ended => StatusCode::NO_CONTENT,
        HangUp::HeldBack => StatusCode::ACCEPTED,
    })
}

/// Answers a new offer of the caller: hold, another address, codec or key. A cut stays in force.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/caller/offer", tag = "calls",
    params(("call_id" = String, Path)), request_body = ReofferRequest,
    responses(
        (status = 200, body = CallerAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn reoffer(
    State(control): State<Arc<Control>>,
    _: Permit<WriteCalls>,
    call: CallPath,
    body: JsonBytes,
) -> Result<Response, Problem> {
    call.live()?;
    let request: ReofferRequest = body.read()?;
    let answer = change_caller(&control, &call.0, request.sdp.reveal()).await?;
    let body = CallerAnswer { sdp: answer.as_str().to_owned() };
    Ok(Answer::ok(&body)?.into_response())
}

/// Agrees to a new offer of a call's caller: the answer to it.
pub(crate) async fn change_caller(
    control: &Control,
    entry: &Arc<CallEntry>,
    offer: &str,
) -> Result<Zeroizing<String>, Problem> {
    let at = CallPath(Arc::clone(entry)).live()?;
    if entry.links()[Side::Caller.index()].is_some() {
        let detail = "this call's caller is behind a connection for good, and makes no offers: \
                      open another call";
        return Err(Problem::invalid("/sdp", detail));
    }
    let mut answered = entry.answered.lock().await;
    let mut agreement = agree(control, "/sdp", offer, answered.as_ref())?;
    reachable(control, "/sdp", agreement.remote_rtp)?;
    let [local, _] = control.relay.local_media(at).await?;
    let media = leg_media(control, &mut agreement, entry.nat);
    control.relay.reoffer(at, Side::Caller, media).await?;
    let answer = agreement.answer(control.policy.outside(local));
    let text = Zeroizing::new(answer.text().to_owned());
    *answered = Some(answer.into_previous());
    Ok(text)
}

/// Gives the engine's leg another address, codec or key. A cut stays in force. A call that had an
/// echo loses it; a call that had none can't get one.
#[utoipa::path(
    put, path = "/v1/calls/{call_id}/engine", tag = "calls",
    params(("call_id" = String, Path)), request_body = EngineRequest,
    responses(
        (status = 200, body = EngineAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn move_engine(
    State(control): State<Arc<Control>>,
    _: Permit<WriteCalls>,
    call: CallPath,
    body: JsonBytes,
) -> Result<Json<EngineAnswer>, Problem> {
    let at = call.live()?;
    let mut request: EngineRequest = body.read()?;
    let known = match request.profile.as_deref() {
        Some(name) => engine_leg::known(&control, Some(name), "/profile")?,
        None => Known { profile: call.0.profile(), leg: None },
    };
    if call.0.links()[Side::Engine.index()].is_some() {
        return Err(Problem::invalid("/type", engine_leg::FOR_GOOD));
    }
    let EnginePlace::At(address) = request.place("", known.leg.as_ref())? else {
        return Err(Problem::invalid("/type", engine_leg::FOR_GOOD));
    };
    let profile = known.profile;
    let media = request.into_media(address, &control.policy.addresses, profile, "")?;
    reachable(&control, "/address", media.remote_rtp)?;
    control.relay.reoffer(at, Side::Engine, media).await?;
    call.0.is_now(profile);
    call.0.dismiss_echo();
    let [_, local] = control.relay.local_media(at).await?;
    Ok(Json(EngineAnswer::of(local)))
}

/// Arms a call: caller audio reaches the engine later, and what was keyed just before a secure
/// session can be taken back. A call that is armed already keeps its delay.
#[utoipa::path(
    put, path = "/v1/calls/{call_id}/arm", tag = "calls", params(("call_id" = String, Path)),
    request_body = Option<ArmRequest>,
    responses(
        (status = 204),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn arm(
    State(control): State<Arc<Control>>,
    _: Permit<WriteCalls>,
    call: CallPath,
    body: Option<JsonBytes>,
) -> Result<StatusCode, Problem> {
    let at = call.live()?;
    let request: ArmRequest = body.map_or_else(|| Ok(ArmRequest::default()), |body| body.read())?;
    control.relay.arm(at, look_ahead(request.look_ahead_ms)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Disarms a call.
#[utoipa::path(
    delete, path = "/v1/calls/{call_id}/arm", tag = "calls", params(("call_id" = String, Path)),
    responses(
        (status = 204),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn disarm(
    State(control): State<Arc<Control>>,
    _: Permit<WriteCalls>,
    call: CallPath,
) -> Result<StatusCode, Problem> {
    control.relay.disarm(call.live()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hands in a key that came by signalling, such as SIP INFO. It counts only in a secure session,
/// and the answer is the same whatever came of it.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/dtmf", tag = "calls",
    params(("call_id" = String, Path)), request_body = KeyRequest,
    responses(
        (status = 204),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn key(
    State(control): State<Arc<Control>>,
    _: Permit<WriteCalls>,
    call: CallPath,
    body: JsonBytes,
) -> Result<StatusCode, Problem> {
    let at = call.live()?;
    let KeyRequest { digit } = body.read()?;
    control.relay.key(at, digit.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the offer and our policy have in common; `pointer` is where the offer stands in the body.
fn agree(
    control: &Control,
    pointer: &'static str,
    offer: &str,
    previous: Option<&PreviousAnswer>,
) -> Result<Agreement, Problem> {
    let offer =
        Offer::parse(offer.as_bytes()).map_err(|error| Problem::malformed_sdp(pointer, error))?;
    agree_on(control, pointer, offer, previous)
}

/// The same of an offer that was read.
pub(crate) fn agree_on(
    control: &Control,
    pointer: &'static str,
    offer: Offer,
    previous: Option<&PreviousAnswer>,
) -> Result<Agreement, Problem> {
    let mut random = chance::generator().map_err(|_| Problem::internal())?;
    offer
        .agree(&control.policy, previous, &mut random)
        .map_err(|refusal| Problem::refused_sdp(pointer, refusal))
}

/// Refuses a peer that our media address of its family, being loopback, can't reach. An unspecified
/// address is a caller on hold.
pub(crate) fn reachable(
    control: &Control,
    pointer: &'static str,
    peer: SocketAddr,
) -> Result<(), Problem> {
    let mut ours = control.policy.addresses.own_media.iter().map(|own| own.address);
    let ours = ours.find(|own| own.is_ipv4() == peer.is_ipv4());
    let unreachable = !peer.ip().is_loopback() && !peer.ip().is_unspecified();
    if unreachable && ours.is_some_and(|ours| ours.is_loopback()) {
        let detail = "the relay's media address is a loopback address, which the peer cannot \
                      reach: start with --media-ip";
        return Err(Problem::invalid(pointer, detail));
    }
    Ok(())
}

/// Which sources a leg accepts.
fn source_of<Rest>(control: &Control, agreement: &Agreement<Rest>, nat: bool) -> SourceRule {
    let dtls = |fingerprint, role| {
        let identity = control.identity.clone();
        let identity = identity.expect("without a certificate no DTLS is agreed on");
        DtlsPeer { identity, fingerprint: Fingerprint(fingerprint), role }
    };
    match (&agreement.browser, &agreement.handshake) {
        (Some(Browser { ours, theirs, fingerprint, role, .. }), _) => {
            let (ours, theirs) = (credentials(ours), credentials(theirs));
            let dtls = dtls(*fingerprint, *role);
            SourceRule::Browser(Box::new(BrowserPeer { ours, theirs, dtls }))
        }
        // Where it is has been told, and is not looked for.
        (None, Some(Handshake { fingerprint, role, .. })) => {
            SourceRule::Dtls(Box::new(dtls(*fingerprint, *role)))
        }
        (None, None) if nat => SourceRule::Latch,
        (None, None) => SourceRule::Signalled,
    }
}

fn credentials(text: &IceText) -> IceCredentials {
    IceCredentials { ufrag: text.ufrag.clone(), password: IcePassword::new(&text.password) }
}

/// A leg, as the media plane needs it. The keys move over: an answer has its own line.
pub(crate) fn leg_media<Rest>(
    control: &Control,
    agreement: &mut Agreement<Rest>,
    nat: bool,
) -> LegMedia {
    let source = source_of(control, agreement, nat);
    let srtp = agreement.srtp.take();
    LegMedia {
        remote_rtp: agreement.remote_rtp,
        remote_rtcp: agreement.remote_rtcp,
        rtcp_mux: agreement.rtcp_mux,
        codec: agreement.codec,
        payload_type: agreement.payload_type,
        telephone_event: agreement.telephone_event,
        redundancy: agreement.redundancy,
        wants_events: true,
        ptime: Duration::from_millis(agreement.ptime_ms.into()),
        they_send: agreement.they_send,
        they_receive: agreement.they_receive,
        srtp: srtp.map(|keys| SrtpKeys { inbound: keys.inbound.key, outbound: keys.outbound.key }),
        source,
    }
}
