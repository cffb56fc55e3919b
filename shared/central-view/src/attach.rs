//! Finding a running central of this machine by its first port.

use multiprocessing::{SegmentError, SegmentName, SharedState, View, segments};

use crate::view::CentralView;

/// Prefix of the segment names of all centrals, before the port.
pub const NAME_PREFIX: &str = "lottery.";

/// Why there is no central to inspect.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No central has this port.
    #[error("no central runs on port {port}{others}")]
    NotRunning {
        /// Port that was asked for.
        port: u16,
        /// The centrals that run, as the end of the sentence.
        others: String,
    },
    /// The supervisor is gone.
    #[error("the central on port {port} was killed; its next start reclaims what it left")]
    Dead {
        /// Its port.
        port: u16,
    },
    /// The segment cannot be used.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The port makes no name.
    #[error(transparent)]
    Name(#[from] multiprocessing::InvalidName),
}

/// Attaches to the shared memory of the central whose first port is `port`. Port 0 means the only
/// running central.
pub fn attach(port: u16) -> Result<CentralView, AttachError> {
    // Search only for port 0, because a search examines every process of the machine.
    let port = match port {
        0 => <[u16; 1]>::try_from(running_ports()).map_or(0, |[only]| only),
        port => port,
    };
    let shared = match CentralView::open(&SegmentName::new(&format!("{NAME_PREFIX}{port}"))?) {
        Ok(shared) => shared,
        Err(SegmentError::NotFound { .. }) => {
            let list: Vec<_> = running_ports().iter().map(u16::to_string).collect();
            let others = match list.as_slice() {
                [] => ", nor on any other".to_owned(),
                ports => format!("; running on: {} (choose with --port)", ports.join(", ")),
            };
            return Err(AttachError::NotRunning { port, others });
        }
        Err(error) => return Err(error.into()),
    };
    if shared.segment.creator_is_alive() { Ok(shared) } else { Err(AttachError::Dead { port }) }
}

/// Returns the first ports of the running centrals that this user may see.
fn running_ports() -> Vec<u16> {
    let listings = segments().unwrap_or_default();
    let alive = listings
        .iter()
        .filter(|listing| listing.segment.as_ref().is_ok_and(View::creator_is_alive));
    alive
        .filter_map(|listing| listing.name.as_str().strip_prefix(NAME_PREFIX)?.parse().ok())
        .collect()
}
