//! The rule that divides a file into batches, the same in every run.

use crate::config::Config;

/// How rows become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Largest number of bets in a batch.
    pub(crate) max_bets: u16,
    /// False if bets are sent without their numbers.
    pub(crate) with_number: bool,
}

impl Rules {
    /// Returns the rules that the settings ask for.
    pub(crate) fn of(config: &Config) -> Self {
        Self { max_bets: config.batch_max_amount, with_number: config.with_number }
    }
}

/// Consecutive rows of the file that are divided by the same rules. No batch contains rows of two
/// parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Bytes of the file up to the end of its last row.
    pub(crate) end: u64,
    /// Its rules.
    pub(crate) rules: Rules,
}

impl Part {
    /// Returns true if a row that ends at byte `end` belongs to this part or to one before.
    ///
    /// The last row of a file may have no line break. The row ends one byte later once a line
    /// break follows, and no other row is that short.
    pub(crate) fn contains(&self, end: u64) -> bool {
        end <= self.end.saturating_add(1)
    }
}

/// The parts of a file in its order. Together with the file, they determine every batch of a
/// session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The parts; the end of each is after the end of the one before.
    pub(crate) parts: Vec<Part>,
}

impl Plan {
    /// Returns the plan of a file that is divided by one set of rules.
    pub(crate) fn of(end: u64, rules: Rules) -> Self {
        Self { parts: vec![Part { end, rules }] }
    }

    /// Divides everything after byte `from`, where a batch ends, by these rules. All batches up to
    /// there stay as they are.
    ///
    /// `is_short` is true if the end of its part ended that batch. `end` is the new length of the
    /// file.
    pub(crate) fn continue_after(&mut self, from: u64, is_short: bool, end: u64, rules: Rules) {
        let found = self.parts.iter().position(|part| part.contains(from));
        self.parts.truncate(found.map_or(self.parts.len(), |index| index + 1));
        if let Some(last) = self.parts.last_mut() {
            if last.rules == rules && !is_short {
                last.end = end;
                return;
            }
            last.end = last.end.min(from);
        }
        if end > from {
            self.parts.push(Part { end, rules });
        }
    }

    /// Removes what is after byte `end`, where a batch ends.
    pub(crate) fn truncate(&mut self, end: u64) {
        let found = self.parts.iter().position(|part| part.contains(end));
        self.parts.truncate(found.map_or(self.parts.len(), |index| index + 1));
        if let Some(last) = self.parts.last_mut() {
            last.end = last.end.min(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNDRED: Rules = Rules { max_bets: 100, with_number: true };
    const TEN: Rules = Rules { max_bets: 10, with_number: true };

    fn parts(plan: &Plan) -> Vec<(u64, u16)> {
        plan.parts.iter().map(|part| (part.end, part.rules.max_bets)).collect()
    }

    #[test]
    fn the_same_rules_continue_a_part() {
        let mut plan = Plan::of(500, HUNDRED);
        plan.continue_after(300, false, 900, HUNDRED);
        assert_eq!(parts(&plan), [(900, 100)]);
    }

    #[test]
    fn a_batch_that_the_end_of_its_part_ended_stays_short() {
        let mut plan = Plan::of(500, HUNDRED);
        plan.continue_after(500, true, 900, HUNDRED);
        assert_eq!(parts(&plan), [(500, 100), (900, 100)]);
        plan.continue_after(900, true, 900, HUNDRED);
        assert_eq!(parts(&plan), [(500, 100), (900, 100)]);
    }

    #[test]
    fn other_rules_begin_where_the_last_batch_ended() {
        let mut plan = Plan::of(500, HUNDRED);
        plan.continue_after(300, false, 500, TEN);
        assert_eq!(parts(&plan), [(300, 100), (500, 10)]);
        plan.continue_after(200, false, 500, HUNDRED);
        assert_eq!(parts(&plan), [(500, 100)]);
    }

    #[test]
    fn what_was_never_sent_is_removed() {
        let mut plan = Plan { parts: vec![Part { end: 300, rules: HUNDRED }] };
        plan.continue_after(300, true, 500, TEN);
        plan.truncate(400);
        assert_eq!(parts(&plan), [(300, 100), (400, 10)]);
        plan.truncate(100);
        assert_eq!(parts(&plan), [(100, 100)]);
        plan.truncate(0);
        assert_eq!(parts(&plan), [(0, 100)]);
    }
}
