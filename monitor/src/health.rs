//! The answers to `/livez` and `/readyz`.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use central_view::{
    AttachError, CentralView, Patience, Reason, SUPERVISOR_TIMEOUT, not_ready, silent,
};

use crate::http::unavailable;

/// Answers whether the supervisor's loop turns. If not, a restart of the central helps. The
/// watchdog of the central ends its stuck workers.
pub fn live(central: Result<CentralView, AttachError>) -> Response {
    let patience =
        Patience { worker: Duration::MAX, disk: Duration::MAX, supervisor: SUPERVISOR_TIMEOUT };
    judge(central, |central| silent(central, patience))
}

/// Answers whether all workers accept, the central does not drain, and a batch would be served.
pub fn ready(central: Result<CentralView, AttachError>) -> Response {
    judge(central, not_ready)
}

fn judge(
    central: Result<CentralView, AttachError>,
    look: impl FnOnce(&CentralView) -> Vec<Reason>,
) -> Response {
    let reasons: Vec<String> = match &central {
        Ok(central) => look(central).iter().map(Reason::to_string).collect(),
        Err(reason) => vec![reason.to_string()],
    };
    if reasons.is_empty() { "ok\n".into_response() } else { unavailable(&reasons) }
}
