//! The console: its files as they are served, what they may not hold, and what was done.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use axum::body::Body;
use axum::http::{Method, Request};
use control_api::activity::KEPT;
use control_api::console;
use control_api::keys::Role;
use rig::{Answer, Rig, card_plan, open_body};
use serde_json::{Value, json};

/// Octets that all files have together: a page is there at once on any line.
const MOST_OCTETS: usize = 200_000;

async fn fetch(rig: &Rig, method: Method, path: &str) -> Answer {
    fetch_at(rig, method, path, "127.0.0.1:8080", None).await
}

async fn fetch_at(
    rig: &Rig,
    method: Method,
    path: &str,
    host: &str,
    proto: Option<&str>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    if let Some(proto) = proto {
        request = request.header("x-forwarded-proto", proto);
    }
    rig.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_has_led_here_gets_no_page() {
    let rig = Rig::new("console-host");
    for host in
        ["127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost:8080", "LOCALHOST"]
    {
        fetch_at(&rig, Method::GET, "/", host, None).await.expect(200);
    }
    for host in
        ["relay.example", "relay.example:8080", "127.0.0.1.example", "localhost.example", ""]
    {
        fetch_at(&rig, Method::GET, "/phone", host, None).await.expect(404);
        fetch_at(&rig, Method::GET, "/phone", host, Some("http")).await.expect(404);
    }
    fetch_at(&rig, Method::GET, "/", "relay.example", Some("https")).await.expect(200);
}

/// A type for each file that a browser takes for what it is.
fn type_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        None => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(other) => panic!("{other} is no type of the console"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_served_with_its_type_and_headers() {
    let rig = Rig::new("console");
    let mut octets = 0;
    for (path, file) in console::files() {
        let answer = fetch(&rig, Method::GET, &path).await.expect(200);
        assert_eq!(answer.header("content-type"), type_of(&path), "{path}");
        assert!(answer.body == file.contents(), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}");
        let headers = [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("permissions-policy", "microphone=(self)"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-store"),
        ];
        for (name, value) in headers {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        let head = fetch(&rig, Method::HEAD, &path).await.expect(200);
        assert!(head.body.is_empty(), "{path}");
        assert_eq!(head.header("content-security-policy"), policy, "{path}");
        octets += file.contents().len();
    }
    assert!((50_000..MOST_OCTETS).contains(&octets), "{octets} octets");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_else_stays_a_problem() {
    let rig = Rig::new("console-else");
    for path in
        ["/console", "/console/", "/console/none.js", "/index.html", "/phone/", "/phone.html"]
    {
        let answer = fetch(&rig, Method::GET, path).await.expect(404);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(answer.json()["code"], "not-found", "{path}");
    }
    for path in ["/", "/phone", "/console/console.js"] {
        let answer = fetch(&rig, Method::POST, path).await.expect(405);
        assert_eq!(answer.json()["code"], "method-not-allowed", "{path}");
    }
    fetch(&rig, Method::GET, "/console/..%2fCargo.toml").await.expect(404);
}

/// What a file of the console may not hold, if it holds any of it.
fn fault(path: &str, text: &str) -> Option<String> {
    // The names of XML's vocabularies are no addresses that anything is fetched from.
    let text = text.replace("http://www.w3.org/2000/svg", "");
    let is_page = type_of(path).starts_with("text/html");
    let words =
        ["http:", "https:", "//cdn", "eval(", "Function(", "innerHTML", "insertAdjacentHTML"];
    let more = ["document.write", "localStorage", "document.cookie", "javascript:", "@import"];
    let mut found: Vec<&str> =
        words.into_iter().chain(more).filter(|word| text.contains(word)).collect();
    if is_page {
        let inline = |tag: &&str| {
            // Scripts stand in files of their own; styles as well.
            let is_script = tag.starts_with("script") && !tag.contains(" src=\"/console/");
            let handles = tag.split_whitespace().any(|word| word.starts_with("on"));
            is_script || tag.starts_with("style") || tag.contains(" style=") || handles
        };
        let tags = text.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
        let tags: Vec<&str> = tags.map(|(tag, _)| tag).collect();
        if tags.iter().any(inline) {
            found.push("something inline");
        }
        let urls = tags.iter().flat_map(|tag| ["src=\"", "href=\""].map(|name| (tag, name)));
        let mut urls = urls.filter_map(|(tag, name)| tag.split_once(name).map(|(_, url)| url));
        if urls.any(|url| !(url.starts_with('/') && !url.starts_with("//") || url.starts_with('#')))
        {
            found.push("an address elsewhere");
        }
    }
    (!found.is_empty()).then(|| format!("{path}: {found:?}"))
}

#[test]
fn files_hold_nothing_inline_and_nothing_from_elsewhere() {
    for (path, file) in console::files() {
        assert_eq!(fault(&path, file.contents_utf8().unwrap()), None);
    }
}

#[test]
fn what_files_may_not_hold_is_found() {
    let cases = [
        ("/", "<script>go()</script>"),
        ("/", "<p style=\"color: red\">"),
        ("/", "<style>p {}</style>"),
        ("/phone", "<button onclick=\"go()\">"),
        ("/", "<img src=\"//elsewhere.example/a.svg\">"),
        ("/console/a.js", "fetch('https://elsewhere.example/')"),
        ("/console/a.js", "element.innerHTML = text"),
        ("/console/a.css", "@import url(b.css)"),
    ];
    for (path, text) in cases {
        assert!(fault(path, text).is_some(), "{text}");
    }
    assert_eq!(fault("/", "<script src=\"/console/a.js\"></script><a href=\"#b\">"), None);
}

fn entries(page: &Value) -> Vec<(String, u64)> {
    let entries = page["data"].as_array().unwrap().iter();
    let told = entries.map(|entry| {
        let operation = format!("{} {}", entry["method"], entry["operation"]).replace('"', "");
        (operation, entry["status"].as_u64().unwrap())
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_told_to_operators_but_not_the_keys_of_callers() {
    let rig = Rig::new("activity");
    let opened = rig.post(Role::Script, "/v1/calls", open_body(9, 40_000)).await.expect(201);
    let call = opened.header("location").to_owned();
    rig.post(Role::Engine, &format!("{call}/secure-session"), card_plan()).await.expect(201);
    for _ in 0..16 {
        rig.post(Role::Script, &format!("{call}/dtmf"), json!({ "digit": "4" })).await.expect(204);
    }
    rig.post(Role::Script, &format!("{call}/dtmf"), json!({ "digit": "x" })).await.expect(400);
    rig.delete(Role::Engine, &format!("{call}/secure-session")).await.expect(403);
    rig.get(Role::Script, &call).await.expect(200);
    // What has no valid key, and what nothing matches, is nobody's deed.
    fetch(&rig, Method::DELETE, &call).await.expect(401);
    rig.post(Role::Script, "/v1/4242424242424242", json!({})).await.expect(404);
    // An id is a client's word until there is a call of it.
    let unknown = "/v1/calls/call_42424242424242424242424242424242";
    rig.delete(Role::Script, unknown).await.expect(404);
    rig.delete(Role::Operator, &format!("{call}/secure-session")).await.expect(204);

    let page = rig.get(Role::Operator, "/v1/activity").await.expect(200);
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let page = page.json();
    let session = "/v1/calls/{call_id}/secure-session";
    let expected = [
        (format!("DELETE {session}"), 204),
        ("DELETE /v1/calls/{call_id}".to_owned(), 404),
        (format!("DELETE {session}"), 403),
        (format!("POST {session}"), 201),
        ("POST /v1/calls".to_owned(), 201),
    ];
    assert_eq!(entries(&page), expected);
    assert!(!text.contains("4242424242424242") && !text.contains("dtmf"), "{text}");
    let first = &page["data"][4];
    assert_eq!((&first["kind"], &first["role"]), (&json!("request"), &json!("script")));
    assert_eq!(first["key_id"], rig::id_of(rig.token(Role::Script)));
    assert_eq!(first["call_id"], call.rsplit('/').next().unwrap());
    assert!(first["at"].as_str().unwrap().ends_with(".000Z"), "{first}");
    assert!(page["data"][1].get("call_id").is_none());
    for role in [Role::Script, Role::Engine, Role::Payment] {
        rig.get(role, "/v1/activity").await.expect(403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_is_bounded_and_its_limit_is_checked() {
    let rig = Rig::new("activity-bound");
    let nothing = "/v1/calls/call_00000000000000000000000000000000";
    for _ in 0..KEPT + 10 {
        rig.delete(Role::Script, nothing).await.expect(404);
    }
    let all = format!("/v1/activity?limit={KEPT}");
    let page = rig.get(Role::Operator, &all).await.expect(200).json();
    assert_eq!(page["data"].as_array().unwrap().len(), KEPT);
    assert_eq!(page["data"][0]["sequence"], KEPT + 10);
    let few = rig.get(Role::Operator, "/v1/activity?limit=3&kind=request").await.json();
    assert_eq!(few["data"].as_array().unwrap().len(), 3);
    let alarms = rig.get(Role::Operator, "/v1/activity?kind=alarm").await.expect(200).json();
    assert_eq!(alarms["data"], json!([]));
    for wrong in ["limit=0", "limit=513", "limit=x", "kind=other", "cursor=1"] {
        let answer = rig.get(Role::Operator, &format!("/v1/activity?{wrong}")).await.expect(400);
        assert_eq!(answer.json()["code"], "malformed-parameter", "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_tells_its_codec_and_how_it_travels() {
    let rig = Rig::new("codec");
    let mut body = open_body(9, 40_000);
    body["engine"]["codec"] = json!("PCMA");
    let opened = rig.post(Role::Script, "/v1/calls", body).await.expect(201);
    let view = rig.get(Role::Script, opened.header("location")).await.expect(200).json();
    let told = |side: &str| (&view["legs"][side]["codec"], &view["legs"][side]["transport"]);
    assert_eq!(told("caller").1, &json!("rtp"));
    assert_eq!(told("engine"), (&json!("PCMA"), &json!("rtp")));
}
