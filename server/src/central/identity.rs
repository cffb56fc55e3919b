//! Identity: with a roster, a peer may speak only for the agencies of its network.
//!
//! A dialect without agency numbers (`typed`, `echo`) is open to every address that belongs to some
//! agency.

use std::net::IpAddr;

use lottery::Request;

use super::{Central, Rejected};

impl<S> Central<S> {
    /// Returns true if the peer may speak for some agency.
    pub fn admits(&self, address: IpAddr) -> bool {
        self.roster.as_ref().is_none_or(|roster| roster.admits(address))
    }

    /// Checks that the peer may speak for every agency of the request.
    pub fn check_identity(&self, request: &Request<'_>, address: IpAddr) -> Result<(), Rejected> {
        match request {
            Request::Store(bets) | Request::StoreOnce { bets, .. } => {
                self.check_agencies(bets.iter().map(|bet| bet.agency), address)
            }
            Request::Finish { agency }
            | Request::Winners { agency, .. }
            | Request::Session { agency, .. } => self.check_agencies([*agency], address),
            Request::Results | Request::Echo(_) | Request::Close => {
                self.check_agencies([], address)
            }
        }
    }

    /// Checks that the peer may speak for these agencies.
    pub fn check_agencies(
        &self,
        agencies: impl IntoIterator<Item = u16>,
        address: IpAddr,
    ) -> Result<(), Rejected> {
        let Some(roster) = &self.roster else { return Ok(()) };
        let address = address.to_canonical();
        if !roster.admits(address) {
            return Err(Rejected::Stranger { address });
        }
        // Bets have agency 0 where the dialect has no agencies. Most batches name one agency only.
        let mut allowed = 0;
        for agency in agencies {
            if agency == allowed {
                continue;
            }
            if roster.name(agency).is_none() {
                return Err(Rejected::NotInRoster { agency });
            }
            if !roster.allows(agency, address) {
                return Err(Rejected::OtherNetwork { agency, address });
            }
            allowed = agency;
        }
        Ok(())
    }
}
