//! The history of a run: what each agency did and saw, with times, and the checks of it.
//!
//! Totals are checked like a counter that is incremented by batches. A total seen is at least the
//! winners acknowledged before the query began, at most the winners of batches begun before it
//! ended, and at least any total of a query that had ended before this one began.

use std::time::{Duration, Instant};

/// A batch of an agency.
#[derive(Clone, Copy, Debug)]
pub struct SentBatch {
    /// When it was first sent.
    pub begun: Instant,
    /// When it was acknowledged.
    pub acknowledged: Instant,
    /// Winners among its bets.
    pub winners: u64,
}

/// A query for the totals.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// When it was sent.
    pub begun: Instant,
    /// When its answer had arrived.
    pub ended: Instant,
    /// Winners in the answer.
    pub winners: u64,
}

/// What an agency did and saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The batches, in their order.
    pub batches: Vec<SentBatch>,
    /// The queries, in their order.
    pub queries: Vec<Query>,
    /// Times that it went on at another central.
    pub moves: usize,
}

impl History {
    /// Joins the histories of all agencies.
    pub fn joined(histories: &[Self]) -> Self {
        let mut joined = Self::default();
        for history in histories {
            joined.batches.extend(&history.batches);
            joined.queries.extend(&history.queries);
            joined.moves += history.moves;
        }
        joined
    }

    /// Returns the longest time without an acknowledgement.
    pub fn longest_gap(&self) -> Duration {
        let mut times: Vec<_> = self.batches.iter().map(|batch| batch.acknowledged).collect();
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Returns the answers that no order of the batches explains.
    pub fn wrong_totals(&self) -> Vec<String> {
        let acknowledged = Sum::new(self.batches.iter().map(|it| (it.acknowledged, it.winners)));
        let begun = Sum::new(self.batches.iter().map(|it| (it.begun, it.winners)));
        let mut seen: Vec<_> = self.queries.iter().map(|it| (it.ended, it.winners)).collect();
        seen.sort_unstable();
        let mut highest = 0;
        for (_, winners) in &mut seen {
            highest = highest.max(*winners);
            *winners = highest;
        }
        let mut wrong = Vec::new();
        for query in &self.queries {
            let before = seen.partition_point(|(ended, _)| *ended < query.begun);
            let earlier = before.checked_sub(1).map_or(0, |last| seen[last].1);
            let least = acknowledged.until(query.begun).max(earlier);
            let most = begun.until(query.ended);
            if !(least..=most).contains(&query.winners) {
                let total = query.winners;
                wrong.push(format!("a total of {total}, expected {least} to {most}"));
            }
        }
        wrong
    }
}

/// Sums over time.
#[derive(Debug)]
struct Sum(Vec<(Instant, u64)>);

impl Sum {
    fn new(events: impl Iterator<Item = (Instant, u64)>) -> Self {
        let mut events: Vec<_> = events.collect();
        events.sort_unstable();
        let mut sum = 0;
        for (_, value) in &mut events {
            sum += *value;
            *value = sum;
        }
        Self(events)
    }

    /// Returns the sum of the events until a moment.
    fn until(&self, moment: Instant) -> u64 {
        let events = self.0.partition_point(|(time, _)| *time <= moment);
        events.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// Returns a history with one batch of 3 winners in flight from 10 to 20 and one of 5 from 30 to
/// 40, in ms, and these queries.
#[cfg(test)]
fn with_queries(queries: &[(u64, u64, u64)]) -> History {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let batch = |begun, acknowledged, winners| SentBatch {
        begun: at(begun),
        acknowledged: at(acknowledged),
        winners,
    };
    let query = |(begun, ended, winners)| Query { begun: at(begun), ended: at(ended), winners };
    History {
        batches: vec![batch(10, 20, 3), batch(30, 40, 5)],
        queries: queries.iter().copied().map(query).collect(),
        moves: 0,
    }
}

#[test]
fn a_history_is_correct_if_an_order_of_batches_and_queries_explains_it() {
    let correct = with_queries(&[(0, 5, 0), (0, 15, 3), (0, 15, 0), (21, 29, 3), (15, 45, 8)]);
    assert_eq!(correct.wrong_totals(), Vec::<String>::new());
    assert_eq!(correct.longest_gap(), Duration::from_millis(20));
}

#[test]
fn a_lost_an_early_and_a_decreasing_total_are_found() {
    for (queries, message) in [
        (vec![(21, 25, 0)], "a total of 0, expected 3 to 3"),
        (vec![(21, 25, 8)], "a total of 8, expected 3 to 3"),
        (vec![(11, 12, 3), (13, 14, 0)], "a total of 0, expected 3 to 3"),
    ] {
        assert_eq!(with_queries(&queries).wrong_totals(), [message]);
    }
}
