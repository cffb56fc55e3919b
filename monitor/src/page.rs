//! The page at `/`, and the events that keep it up to date.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use central_view::{Status, attach};
use futures_util::stream::{Stream, unfold};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The page without its style and its script.
const BODY: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/style.css");
const SCRIPT: &str = concat!(
    include_str!("../page/text.js"),
    include_str!("../page/plot.js"),
    include_str!("../page/page.js"),
);
/// Time between two events.
const PERIOD: Duration = Duration::from_secs(1);

/// Returns the paths of the page, for the central whose first port is `port`.
pub fn router(port: u16) -> Router {
    let page = page();
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    let page = move || async move { (headers, Html(page)) };
    Router::new().route("/", get(page)).route("/events", get(move || events(port)))
}

/// Returns the page as one document.
fn page() -> String {
    let style = format!("<style>{STYLE}</style>");
    let script = format!("<script>{SCRIPT}</script>");
    BODY.replacen("<style></style>", &style, 1).replacen("<script></script>", &script, 1)
}

/// Returns the content security policy: only the style and the script of the page, and requests
/// only to this monitor.
fn policy() -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT),
    )
}

/// Sends the status once per second, or why there is none. It ends when the browser disconnects.
async fn events(port: u16) -> impl IntoResponse {
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    ([unbuffered], Sse::new(statuses(port)))
}

fn statuses(port: u16) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    unfold(ticks, move |mut ticks: Interval| async move {
        ticks.tick().await;
        let event = spawn_blocking(move || event(port)).await.ok()?;
        Some((Ok(event), ticks))
    })
}

fn event(port: u16) -> Event {
    match attach(port) {
        Ok(central) => {
            Event::default().event("status").data(Status::of(&central).json().trim_end())
        }
        Err(reason) => Event::default().event("away").data(reason.to_string()),
    }
}
