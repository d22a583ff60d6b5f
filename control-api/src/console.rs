//! Console: the pages for people, out of the binary.
//!
//! They hold no secret and need no key. What they show they ask the API for, with the key that a
//! person gives them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use include_dir::{Dir, File, include_dir};

use crate::Control;
use crate::client_address::OverTls;
use crate::problem::{Code, Problem};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/console");

/// Everything from this relay, and nothing written into the page itself. What a call brings is played
/// from a stream, which takes no permission here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What comes with every file. [`crate::attend`] adds that nothing of it is stored, so that a
/// browser shows the pages of the relay that runs.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), "microphone=(self)"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The path and the text of each file.
pub fn files() -> impl Iterator<Item = (String, &'static File<'static>)> {
    FILES.files().map(|file| (path_of(file), file))
}

/// A route for each file.
pub(crate) fn routes() -> Router<Arc<Control>> {
    files().fold(Router::new(), |routes, (path, file)| {
        routes.route(
            &path,
            get(async move |over_tls: Option<Extension<OverTls>>, headers: HeaderMap| {
                if over_tls.is_some() || is_ours(&headers) {
                    Ok(serve(file))
                } else {
                    Err(elsewhere())
                }
            }),
        )
    })
}

/// Whether the page is asked for where the relay is. A name of anybody's may be made to lead to this
/// machine, and what is typed into a page of that name is its owner's to read: so an address,
/// `localhost`, or a name whose TLS has shown that it is ours or a proxy's. A browser that is led
/// astray sends no such header, and shakes no hands with us.
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(&HOST).unwrap_or_default();
    let is_address = host.parse::<SocketAddr>().is_ok()
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    is_address
        || name.eq_ignore_ascii_case("localhost")
        || text(&FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("https"))
}

fn elsewhere() -> Problem {
    let detail = "Open the console by the relay's address, as localhost, by TLS, or by a TLS proxy that \
                  sends X-Forwarded-Proto: https.";
    Problem::new(Code::NotFound, detail)
}

/// Pages are at the top, what they are made of is beside them.
fn path_of(file: &File<'_>) -> String {
    match name_of(file) {
        "index.html" => "/".to_owned(),
        "phone.html" => "/phone".to_owned(),
        name => format!("/console/{name}"),
    }
}

fn serve(file: &'static File<'static>) -> impl IntoResponse {
    (HEADERS, [(CONTENT_TYPE, type_of(name_of(file)))], file.contents())
}

fn name_of<'a>(file: &'a File<'_>) -> &'a str {
    file.path().to_str().unwrap_or_default()
}

fn type_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
