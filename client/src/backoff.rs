//! Pauses between retries: exponential backoff with jitter and a time limit.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Upper bound of the first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Upper bound of every pause, reached after the seventh failed attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Pauses between the attempts of one request.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// Time limit, counted from the first failure.
    limit: Duration,
    /// Time of the first failure.
    since: Option<Instant>,
    /// Number of failed attempts.
    failures: u32,
    /// Upper bound of the next pause.
    longest: Duration,
    /// Source of the jitter. Created with the first failure, because most requests have none.
    jitter: Option<ChaCha8Rng>,
}

impl Backoff {
    /// Allows retries for `limit` after the first failure.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, failures: 0, longest: FIRST_PAUSE, jitter: None }
    }

    /// Returns the number of failed attempts.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure at `now`. Returns the pause before the next attempt, or `None` when the
    /// limit has passed.
    ///
    /// The pause is between half of its upper bound and all of it, so that agencies that lost the
    /// same central do not reconnect together. The last pause ends exactly at the limit.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Duration> {
        self.failures += 1;
        let since = *self.since.get_or_insert(now);
        let rest =
            self.limit.checked_sub(now.duration_since(since)).filter(|rest| !rest.is_zero())?;
        let jitter = self
            .jitter
            .get_or_insert_with(|| ChaCha8Rng::seed_from_u64(RandomState::new().hash_one(now)));
        let half = self.longest / 2;
        let pause = half + half.mul_f64(f64::from(jitter.next_u32()) / f64::from(u32::MAX));
        self.longest = (self.longest * 2).min(LONGEST_PAUSE);
        Some(pause.min(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_limit() {
        let limit = Duration::from_secs(20);
        let mut backoff = Backoff::new(limit);
        let start = Instant::now();
        let mut now = start;
        let mut longest = FIRST_PAUSE;
        while let Some(pause) = backoff.failed(now) {
            let ends_now = now + pause == start + limit;
            assert!(
                pause <= longest && (pause >= longest / 2 || ends_now),
                "{pause:?} of {longest:?}"
            );
            longest = (longest * 2).min(LONGEST_PAUSE);
            now += pause;
        }
        assert_eq!(now, start + limit);
        assert_eq!(longest, LONGEST_PAUSE);
    }

    #[test]
    fn a_limit_of_zero_allows_one_attempt() {
        let mut backoff = Backoff::new(Duration::ZERO);
        assert_eq!(backoff.failed(Instant::now()), None);
        assert_eq!(backoff.failures(), 1);
    }
}
