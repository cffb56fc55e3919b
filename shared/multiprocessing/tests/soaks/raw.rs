//! Raw numbers whose writers are killed.

use multiprocessing::Plan;

use crate::common::{ACCOUNTS, apply, fact, kill_account_holders, linger, segment, soak};

/// Additions without a lock take effect completely or not at all, and change no neighbour.
#[apply(soak)]
fn raw_additions_by_killed_processes_take_effect_completely_or_not_at_all() {
    /// What is added to the sum. The halves of a torn sum would differ.
    const ONE: u64 = 1 << 32 | 1;
    let plan = Plan::new().raw_value::<u64>("sum").raw_array::<u64>("parts", ACCOUNTS);
    let segment = segment(&plan.raw_array::<u8>("bytes", ACCOUNTS));
    let sum = segment.raw_value::<u64>("sum").unwrap();
    let parts = segment.raw_array::<u64>("parts").unwrap();
    let bytes = segment.raw_array::<u8>("bytes").unwrap();
    let halves = |sum: u64| [sum >> 32, sum & u64::from(u32::MAX)];
    let add = |account: usize, step: u64| {
        let [high, low] = halves(sum.fetch_add(ONE));
        assert_eq!(high, low, "torn");
        linger(step);
        bytes.fetch_add(account, 1);
        parts.fetch_add(account, 1);
    };
    let counted = |account: usize| {
        let part = parts.load(account);
        let ahead = bytes.load(account).wrapping_sub(part as u8);
        assert!(ahead <= 1, "byte {account} is {ahead} ahead");
        bytes.fetch_sub(account, ahead);
        part
    };
    let interrupted = kill_account_holders(400, add, counted);
    let [high, low] = halves(sum.load());
    let ahead = low - parts.iter().sum::<u64>();
    assert!(
        high == low && ahead <= interrupted,
        "{high} {low}: {ahead} ahead, {interrupted} interrupted"
    );
    // Raw numbers need no recovery.
    fact("recoveries", 0);
}
