//! Server: what the three tools do.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::tools::{self, ToolCall};
use crate::audit::By;
use crate::calls::CallPath;
use crate::dto::id;
use crate::dto::model::ModelAnswer;
use crate::dto::secure_session::SessionView;
use crate::index::CallEntry;
use crate::keys::Role;
use crate::model_tokens::{Grant, ModelPermit};
use crate::plans::PlanName;
use crate::problem::{Code, Problem};
use crate::server::Client;
use crate::{Control, clock, secure_sessions};

/// The MCP server of one call, as one token's model sees it.
pub(super) struct ModelServer {
    control: Arc<Control>,
    entry: Arc<CallEntry>,
    grant: Arc<Grant>,
    client: Option<Client>,
}

/// Why a tool could not do what it was asked, in words for a model.
type Failure = &'static str;

const REVOKED: Failure = "This access has ended. Hand the call over to a person.";
const NOT_YOURS: Failure = "A secure session that you did not start is in progress. Call \
                            wait_for_secure_result.";
const CALL_OVER: Failure = "The call is over.";
const NO_ROOM: Failure = "No secure session can be started now. Try once more in a few seconds, or \
                          hand the call over to a person.";
const BROKEN: Failure = "This secure session can't be started. Hand the call over to a person.";
const TOO_MANY_WAITS: Failure = "Other requests of yours are waiting already. Wait for their \
                                 answers, or call read_secure_state.";

impl ModelServer {
    pub(super) fn new(control: Arc<Control>, permit: ModelPermit) -> ModelServer {
        let ModelPermit { entry, grant, client } = permit;
        ModelServer { control, entry, grant, client }
    }

    /// Another server of the same call, for the SDK, which takes one for each message.
    pub(super) fn again(&self) -> ModelServer {
        ModelServer {
            control: Arc::clone(&self.control),
            entry: Arc::clone(&self.entry),
            grant: Arc::clone(&self.grant),
            client: self.client,
        }
    }

    async fn call(&self, call: &ToolCall) -> Result<ModelAnswer, Failure> {
        match call {
            ToolCall::Start(plan) => self.start(plan).await?,
            ToolCall::Wait(time) => self.wait(*time).await?,
            ToolCall::Read => {}
        }
        // As an engine's key would see it; the relay need not be asked, since the story tells an
        // engine's view of a session without delay.
        Ok(ModelAnswer::of(SessionView::of(&self.entry, None, Role::Engine)))
    }

    /// Whether the token still stands, and the key that it was made with.
    fn holds(&self) -> bool {
        self.entry.models.holds(clock::monotonic(), &self.grant)
            && self.control.lease(self.grant.issuer()).holds()
    }

    /// Starts a session. One that this token started and that is in progress is the answer to
    /// every further start.
    async fn start(&self, plan: &PlanName) -> Result<(), Failure> {
        let mut started = self.grant.started.lock().await;
        if !self.holds() {
            return Err(REVOKED);
        }
        let request = self.control.models.plans.request(plan).map_err(|_| BROKEN)?;
        let call = CallPath(Arc::clone(&self.entry));
        let by = By::model(self.grant.id(), self.client);
        match secure_sessions::enter_session(&self.control, &call, request, &by).await {
            Ok(entered) => {
                *started = Some(entered.session);
                Ok(())
            }
            Err(problem) if problem.code == Code::SessionInProgress => {
                let current = self.entry.story.session().map(|session| session.id);
                if current.is_some() && current == *started { Ok(()) } else { Err(NOT_YOURS) }
            }
            Err(problem) => Err(failure_of(&problem)),
        }
    }

    /// Waits until no session is in progress, `time` at most. It ends at the session's end and at
    /// no moment before, so that the time of an answer is not that of a key.
    async fn wait(&self, time: Duration) -> Result<(), Failure> {
        let _room = self.grant.waits.try_acquire().map_err(|_| TOO_MANY_WAITS)?;
        let mut stopping = self.control.stopping();
        let mut lease = self.control.lease(self.grant.issuer());
        tokio::select! {
            () = self.entry.story.session_over(None) => {}
            () = tokio::time::sleep(time) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = lease.over() => {}
        }
        // The end of the call ends the token; what became of the session is told nevertheless.
        if self.holds() { Ok(()) } else { Err(REVOKED) }
    }
}

impl ServerHandler for ModelServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("sotto", env!("CARGO_PKG_VERSION")))
            .with_instructions(tools::INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::described(self.grant.plans())))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let read = ToolCall::read(&request.name, request.arguments.as_ref(), self.grant.plans());
        let call = match read {
            Ok(call) => call,
            Err(refused) => return Ok(failed(refused.text())),
        };
        let answer = self.call(&call).await;
        let outcome = if answer.is_ok() { "done" } else { "failed" };
        let (of, token) = (id::call(self.entry.id), self.grant.id());
        tracing::info!(
            call = of,
            token,
            tool = call.tool(),
            plan = call.plan(),
            outcome,
            "tool called"
        );
        Ok(match answer {
            Ok(answer) => serde_json::to_value(&answer).map_or_else(
                |_| failed(BROKEN),
                |answer| CallToolResult::structured(answer).into(),
            ),
            Err(failure) => failed(failure),
        })
    }
}

fn failed(text: Failure) -> CallToolResponse {
    CallToolResult::error(vec![ContentBlock::text(text)]).into()
}

/// Why a session could not be entered, in words for a model.
fn failure_of(problem: &Problem) -> Failure {
    if problem.code == Code::CallEnded {
        CALL_OVER
    } else if matches!(problem.code, Code::NoCapacity | Code::Stopping) {
        NO_ROOM
    } else {
        BROKEN
    }
}
