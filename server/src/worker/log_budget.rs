//! A budget for the log lines that clients cause, per address and period.
//!
//! A client can cause a line with a few bytes, thousands of times per second. Beyond the budget of
//! its address the lines are counted instead of written, and one line at the end of the period
//! says how many there were. Each worker has its own budget.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, warn};

/// Time for which a budget is granted.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines about stored batches, per line about anything else. They are the lines that the course
/// asks for, and each of them comes with bets that had to be stored. So they get far more, but not
/// an unlimited number: an empty batch has a line too.
const STORED_SHARE: u32 = 50;
/// Budgets of single addresses that all addresses may use up together.
const ALL_ADDRESSES: u32 = 10;
/// Addresses that have an entry of their own. All further ones share one.
const MAX_ADDRESSES: usize = 1024;
/// Stands for all addresses without an entry of their own.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A batch that was stored.
    Stored,
    /// Anything else that a client causes: a refusal, an early end, an echo.
    Other,
}

/// The lines that this worker has written on behalf of clients in this period.
#[derive(Debug)]
pub struct LogBudget {
    /// Lines per address and period, those about stored batches apart.
    lines: u32,
    addresses: HashMap<IpAddr, Spent>,
    /// Lines of all addresses, those about stored batches apart.
    spent: u32,
    period_end: Instant,
}

/// What one address has spent in this period.
#[derive(Debug, Default)]
struct Spent {
    stored: u32,
    other: u32,
    suppressed: u64,
}

impl LogBudget {
    /// Returns a budget of `lines` lines per address and period.
    pub fn new(lines: u32) -> Self {
        Self { lines, addresses: HashMap::new(), spent: 0, period_end: Instant::now() + PERIOD }
    }

    /// Returns true if a line may be written on behalf of a client at `ip`, otherwise counts it.
    pub fn allows(&mut self, ip: IpAddr, subject: Subject) -> bool {
        let is_full = self.addresses.len() >= MAX_ADDRESSES;
        let key = network_of(ip);
        let key = if is_full && !self.addresses.contains_key(&key) { OTHERS } else { key };
        let address = self.addresses.entry(key).or_default();
        let allowed = match subject {
            Subject::Stored => {
                address.stored += 1;
                address.stored <= self.lines.saturating_mul(STORED_SHARE)
            }
            Subject::Other => {
                let all = self.lines.saturating_mul(ALL_ADDRESSES);
                let allowed = address.other < self.lines && self.spent < all;
                address.other += u32::from(allowed);
                self.spent += u32::from(allowed);
                allowed
            }
        };
        address.suppressed += u64::from(!allowed);
        allowed
    }

    /// Begins the next period if this one is over.
    pub fn advance(&mut self, now: Instant) {
        if now >= self.period_end {
            self.report();
            self.period_end = now + PERIOD;
        }
    }

    /// Writes how many lines of each address were left out, and begins the next period.
    pub fn report(&mut self) {
        for (ip, spent) in self.addresses.drain().filter(|(_, spent)| spent.suppressed > 0) {
            let line = warn("log_budget", Outcome::Fail);
            let line = if ip == OTHERS { line.with("ip", "others") } else { line.with("ip", ip) };
            line.with("suppressed", spent.suppressed).with("period", GoDuration(PERIOD)).write();
        }
        self.spent = 0;
    }
}

/// Returns the address that stands for the network of a client. A client with IPv6 usually has a
/// whole /64 network, so that counting single addresses would be no limit.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    fn count(budget: &mut LogBudget, ip: IpAddr, subject: Subject, tries: u32) -> u32 {
        (0..tries).filter(|_| budget.allows(ip, subject)).count() as u32
    }

    #[test]
    fn each_address_has_its_own_budget_until_the_period_ends() {
        let mut budget = LogBudget::new(10);
        assert_eq!(count(&mut budget, v4(1), Subject::Other, 25), 10);
        assert_eq!(count(&mut budget, v4(2), Subject::Other, 5), 5);
        budget.advance(Instant::now());
        assert_eq!(count(&mut budget, v4(1), Subject::Other, 1), 0, "the same period");
        budget.advance(Instant::now() + PERIOD);
        assert_eq!(count(&mut budget, v4(1), Subject::Other, 25), 10);
    }

    #[test]
    fn stored_batches_have_fifty_times_the_budget_and_do_not_share_it() {
        let mut budget = LogBudget::new(10);
        assert_eq!(count(&mut budget, v4(1), Subject::Other, 11), 10);
        assert_eq!(count(&mut budget, v4(1), Subject::Stored, 501), 500);
    }

    #[test]
    fn all_addresses_together_have_ten_budgets_and_a_bounded_table() {
        let mut budget = LogBudget::new(10);
        let written: u32 =
            (0..5000).map(|number| count(&mut budget, v4(number), Subject::Other, 1)).sum();
        assert_eq!(written, 100);
        assert_eq!(budget.addresses.len(), MAX_ADDRESSES + 1);
        let suppressed: u64 = budget.addresses.values().map(|spent| spent.suppressed).sum();
        assert_eq!(suppressed, 4900);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share_a_budget_and_a_mapped_address_is_ipv4() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network_of(ip("2001:db8::1")), network_of(ip("2001:db8::ffff:1")));
        assert_ne!(network_of(ip("2001:db8::1")), network_of(ip("2001:db8:0:1::1")));
        assert_eq!(network_of(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }
}
