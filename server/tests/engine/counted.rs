//! What the rows of the workers count.

use crate::harness::Setup;

/// Returns the bets and winners that the rows of the workers of a lottery count.
pub fn counted(setup: &Setup) -> (i64, i64) {
    let replies = setup.database.as_ref().unwrap().query(
        "SELECT coalesce(sum(bets), 0)::bigint, coalesce(sum(winners), 0)::bigint \
         FROM lottery.workers WHERE lottery = $1",
    );
    let row = replies.of(0).first().unwrap();
    (row.get(0).unwrap(), row.get(1).unwrap())
}
