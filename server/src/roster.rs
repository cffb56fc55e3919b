//! The roster: the agencies that take part in a lottery, and the networks that each may speak from.
//!
//! It comes from a CSV file with the columns `number,name,networks`. Networks are separated by
//! blanks and may overlap, because several agencies can share one address.

mod file;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

pub use self::file::RosterError;

/// The agencies of a lottery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    agencies: BTreeMap<u16, Agency>,
    /// The networks of all agencies, with as few entries as possible.
    networks: Vec<IpNet>,
}

/// An agency of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Agency {
    name: String,
    networks: Vec<IpNet>,
}

impl Roster {
    /// Reads the roster from a file. Fails with the line that is wrong.
    pub fn read(path: &Path) -> Result<Self, RosterError> {
        file::read(path)
    }

    fn new(agencies: BTreeMap<u16, Agency>) -> Self {
        let all: Vec<_> = agencies.values().flat_map(|agency| &agency.networks).copied().collect();
        Self { networks: IpNet::aggregate(&all), agencies }
    }

    /// Returns the numbers of the agencies, in ascending order.
    pub fn numbers(&self) -> impl Iterator<Item = u16> {
        self.agencies.keys().copied()
    }

    /// Returns the number of agencies, at least 1.
    pub fn len(&self) -> u16 {
        // The keys are numbers from 1 to 65535.
        self.agencies.len() as u16
    }

    /// Returns the name of an agency, if it is in the roster.
    pub fn name(&self, agency: u16) -> Option<&str> {
        self.agencies.get(&agency).map(|agency| agency.name.as_str())
    }

    /// Returns true if the address belongs to a network of any agency.
    pub fn admits(&self, address: IpAddr) -> bool {
        contains(&self.networks, address)
    }

    /// Returns true if the agency is in the roster and may speak from the address.
    pub fn allows(&self, agency: u16, address: IpAddr) -> bool {
        self.agencies.get(&agency).is_some_and(|agency| contains(&agency.networks, address))
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    // A socket that accepts both families reports an IPv4 peer as an IPv6 address.
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(rows: &str) -> Roster {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agencies.csv");
        std::fs::write(&path, format!("number,name,networks\n{rows}")).unwrap();
        Roster::read(&path).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_agency_speaks_from_its_networks_only() {
        let roster = roster("1,North,10.1.0.0/16 fd00:1::/32\n300,South,10.2.0.0/16\n");
        assert_eq!((roster.len(), roster.numbers().collect()), (2, vec![1, 300]));
        for (from, agencies) in [
            ("10.1.2.3", vec![1]),
            ("fd00:1::7", vec![1]),
            ("10.2.2.3", vec![300]),
            ("10.3.2.3", vec![]),
            ("fd00:2::7", vec![]),
            ("::1", vec![]),
        ] {
            let allowed: Vec<_> =
                (0..=u16::MAX).filter(|agency| roster.allows(*agency, address(from))).collect();
            assert_eq!(allowed, agencies, "{from}");
            assert_eq!(roster.admits(address(from)), !agencies.is_empty(), "{from}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_same_address_in_the_file_and_on_the_socket() {
        let roster = roster("1,A,10.1.0.0/16\n2,B,::ffff:10.2.0.0/112\n3,C,::ffff:10.3.0.1\n");
        for (agency, host) in [(1, "10.1.0.9"), (2, "10.2.0.9"), (3, "10.3.0.1")] {
            for from in [host.to_owned(), format!("::ffff:{host}")] {
                assert!(roster.allows(agency, address(&from)), "{agency} from {from}");
                assert!(roster.admits(address(&from)), "{from}");
            }
        }
        assert!(!roster.allows(2, address("10.3.0.1")));
    }

    #[test]
    fn several_agencies_may_share_an_address() {
        let roster = roster("1,A,192.0.2.1\n2,B,192.0.2.0/24\n3,C,0.0.0.0/0 ::/0\n");
        for agency in 1..=3 {
            assert!(roster.allows(agency, address("192.0.2.1")));
        }
        assert!(roster.allows(3, address("2001:db8::1")) && roster.admits(address("::1")));
        assert!(!roster.allows(1, address("192.0.2.2")));
    }
}
