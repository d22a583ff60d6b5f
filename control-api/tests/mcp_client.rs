//! The official client of the Model Context Protocol with a call's server, over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::path::PathBuf;

use axum::Router;
use control_api::keys::Role;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rig::{Rig, Talker, open_body};
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RunningService};
use rmcp::transport::UnixSocketHttpClient;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransport, StreamableHttpClientTransportConfig,
};
use serde_json::{Value, json};
use tokio::net::UnixListener;

/// Serves the API on a socket of its own.
fn serve(rig: &Rig) -> PathBuf {
    let path = rig.directory.join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let app: Router = rig.app.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(app.clone());
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    path
}

type Client = RunningService<RoleClient, ()>;

async fn connect(socket: &str, url: &str, token: &str, mode: ClientLifecycleMode) -> Client {
    let client = UnixSocketHttpClient::new(socket, url);
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(token);
    let transport = StreamableHttpClientTransport::with_client(client, config);
    ().serve_with_lifecycle(transport, mode).await.unwrap()
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> Value {
    let mut params = CallToolRequestParams::new(tool);
    params.arguments = arguments.as_object().cloned();
    let result = client.call_tool(params).await.unwrap();
    assert_eq!(result.is_error, Some(false), "{result:?}");
    result.structured_content.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_sees_a_payment_through() {
    let rig = Rig::new("mcp-client");
    let socket = serve(&rig);
    let socket = socket.to_str().unwrap();
    let talker = Talker::new();
    let opened = rig.post(Role::Script, "/v1/calls", open_body(talker.port, 40_000)).await;
    let opened = opened.expect(201);
    talker.talk(opened.json()["caller"]["sdp"].as_str().unwrap());
    let path = opened.header("location").to_owned();
    let body = json!({ "plans": ["card-payment", "code"] });
    let issued = rig.post(Role::Script, &format!("{path}/model-tokens"), body).await;
    let issued = issued.expect(201).json();
    let url = issued["mcp_url"].as_str().unwrap().replace("/sotto/", "/");
    let token = issued["token"].as_str().unwrap();

    let newest = vec![ProtocolVersion::V_2026_07_28];
    let modes = [
        ClientLifecycleMode::Initialize,
        ClientLifecycleMode::Discover { preferred_versions: newest },
    ];
    for mode in modes {
        let client = connect(socket, &url, token, mode).await;
        let server = client.peer_info().unwrap();
        assert!(server.instructions.as_deref().unwrap().contains("Never ask the caller"));
        let capabilities = serde_json::to_value(&server.capabilities).unwrap();
        assert_eq!(capabilities.as_object().unwrap().keys().collect::<Vec<_>>(), ["tools"]);
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
        let expected = ["start_secure_session", "wait_for_secure_result", "read_secure_state"];
        assert_eq!(names, expected);
        let plan = &tools[0].input_schema["properties"]["plan"];
        assert_eq!(plan["enum"], json!(["card-payment", "code"]), "this token's plans alone");
        for tool in &tools {
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
        }

        let started = call(&client, "start_secure_session", json!({ "plan": "code" })).await;
        let wait = call(&client, "wait_for_secure_result", json!({ "timeout_s": 20 }));
        let (ended, ()) = tokio::join!(wait, rig.key(&path, "1234#"));
        assert_eq!((&started["state"], &ended["state"]), (&json!("collecting"), &json!("ended")));
        assert_eq!((&ended["result"], &ended["id"]), (&json!("pass"), &started["id"]));
        assert_eq!(call(&client, "read_secure_state", json!({})).await, ended);
        client.cancel().await.unwrap();
    }
}
