//! The page at `/`.

use axum::Router;
use axum::response::Html;
use axum::routing::get;

/// The page.
const PAGE: &str = include_str!("../page/index.html");

/// Returns the paths of the page. `_port` names the central, as in the paths of the data.
pub fn router(_port: u16) -> Router {
    Router::new().route("/", get(|| async { Html(PAGE) }))
}
