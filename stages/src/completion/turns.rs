//! Which requests share a pass if there are more than fit: they take turns, and no order of many answers keeps another one waiting.
//!
//! A request that has its seat keeps it for a turn of [`TURN`] passes and until it stands between two blocks. Then it makes room for one of an
//! order that has fewer seats, and waits behind all others. So an order that joins has a seat after one turn, however many answers others
//! asked for and however long they are; if there are more orders than seats, after as many turns as orders come on each seat.

use std::collections::BTreeMap;

/// Passes that a request may make before another takes its seat. A choice, not measured: what is computed for its cache may have to be
/// computed again.
const TURN: usize = 16;

/// The place of a request among others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// The order that it belongs to.
    pub(super) order: u64,
    /// Whether it has a seat.
    seated: bool,
    /// When its order last got a seat, counted by the seats that were given before.
    served: u64,
    /// Its passes since it has its own.
    passes: usize,
    /// Tokens that were settled before its last pass.
    settled: usize,
    /// Whether nothing is half done that would be lost.
    may_rest: bool,
}

impl Turn {
    pub(super) fn new(order: u64) -> Self {
        Self { order, ..Self::default() }
    }

    /// Notes how many tokens are settled before the next pass. Where some were settled by the last one, a block ends.
    pub(super) fn note(&mut self, settled: usize, always: bool) {
        self.may_rest = always || settled != self.settled;
        self.settled = settled;
    }

    /// Notes a pass.
    pub(super) fn pass(&mut self) {
        self.passes += 1;
    }

    fn is_over(&self) -> bool {
        self.may_rest && self.passes >= TURN
    }
}

/// What each order has: its seats, and when it got the last of them.
struct Shares {
    of_orders: BTreeMap<u64, (usize, u64)>,
    clock: u64,
}

impl Shares {
    fn count(turns: &[&mut Turn]) -> Self {
        let mut of_orders = BTreeMap::<u64, (usize, u64)>::new();
        for turn in turns {
            let (seats, last) = of_orders.entry(turn.order).or_default();
            *seats += usize::from(turn.seated);
            *last = turn.served.max(*last);
        }
        let clock = turns.iter().map(|turn| turn.served).max().unwrap_or(0);
        Self { of_orders, clock }
    }

    fn of(&self, turn: &Turn) -> (usize, u64) {
        self.of_orders[&turn.order]
    }

    fn change(&mut self, turn: &mut Turn, seated: bool) {
        let (seats, last) = self.of_orders.entry(turn.order).or_default();
        turn.seated = seated;
        match seated {
            false => *seats -= 1,
            true => {
                self.clock += 1;
                turn.passes = 0;
                (*seats, *last) = (*seats + 1, self.clock);
            }
        }
    }

    /// Who gets the next seat, as a place among those who wait: one of an order with the fewest, and of such orders the first of that which
    /// has been waiting for the longest time.
    fn find_next(&self, turns: &[&mut Turn], waiting: &[usize]) -> usize {
        let place = (0..waiting.len()).min_by_key(|at| self.of(turns[waiting[*at]]));
        place.expect("there are more requests than seats")
    }
}

/// Gives the seats of the next pass. Returns the numbers of all requests: first those with a seat, then those that wait, who came first in
/// front; and how many have seats. `None` if all have.
pub(super) fn arrange(turns: &mut [&mut Turn], seats: usize) -> Option<(Vec<usize>, usize)> {
    let mut shares = Shares::count(turns);
    let order = arrange_shares(turns, seats, &mut shares);
    // Requests that leave take nothing with them that the others of their order need.
    turns.iter_mut().for_each(|turn| turn.served = shares.of(turn).1);
    order
}

fn arrange_shares(turns: &mut [&mut Turn], seats: usize, shares: &mut Shares) -> Option<(Vec<usize>, usize)> {
    if turns.len() <= seats {
        let new = turns.iter_mut().filter(|turn| !turn.seated);
        new.for_each(|turn| shares.change(turn, true));
        return None;
    }
    let (mut seated, mut waiting): (Vec<usize>, Vec<usize>) =
        (0..turns.len()).partition(|at| turns[*at].seated);
    // There may be fewer seats than before: canvases that joined are longer. Nobody else sits down before enough have left.
    while seated.len() > seats {
        let Some(place) = seated.iter().rposition(|at| turns[*at].may_rest) else { break };
        let leaves = seated.remove(place);
        shares.change(turns[leaves], false);
        waiting.insert(0, leaves);
    }
    while seated.len() < seats {
        let joins = waiting.remove(shares.find_next(turns, &waiting));
        shares.change(turns[joins], true);
        seated.push(joins);
    }
    if seated.len() == seats {
        pass_on(turns, &mut seated, &mut waiting, shares);
    }
    let count = seated.len();
    seated.append(&mut waiting);
    Some((seated, count))
}

/// Gives the seats of those whose turn is over to orders that have fewer.
fn pass_on(turns: &mut [&mut Turn], seated: &mut [usize], waiting: &mut Vec<usize>, shares: &mut Shares) {
    for seat in seated {
        if !turns[*seat].is_over() {
            continue;
        }
        let next = shares.find_next(turns, waiting);
        if shares.of(turns[waiting[next]]).0 < shares.of(turns[*seat]).0 {
            let joins = waiting.remove(next);
            shares.change(turns[*seat], false);
            shares.change(turns[joins], true);
            waiting.push(std::mem::replace(seat, joins));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Requests with the passes that they still need, in blocks of `block` passes.
    struct Room {
        rows: Vec<(Turn, usize, usize)>,
        seats: usize,
        block: usize,
    }

    impl Room {
        fn new(seats: usize, block: usize) -> Self {
            Self { rows: Vec::new(), seats, block }
        }

        fn join(&mut self, order: u64, answers: usize, passes: usize) {
            self.rows.extend((0..answers).map(|_| (Turn::new(order), 0, passes)));
        }

        /// A pass; returns the orders of the requests that shared it.
        fn pass(&mut self) -> Vec<u64> {
            for (turn, done, _) in &mut self.rows {
                turn.note(*done / self.block, false);
            }
            let inside = |at: &usize| self.rows[*at].0.seated && !self.rows[*at].0.may_rest;
            let stay: Vec<usize> = (0..self.rows.len()).filter(inside).collect();
            let mut turns: Vec<&mut Turn> = self.rows.iter_mut().map(|row| &mut row.0).collect();
            let mut count = turns.len();
            if let Some((order, active)) = arrange(&mut turns, self.seats) {
                count = active;
                assert!(order[active..].iter().all(|at| !stay.contains(at)), "nobody leaves inside a block");
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..self.rows.len()), "each is there once");
                self.rows = order.into_iter().map(|at| self.rows[at].clone()).collect();
            }
            let most = self.seats.min(self.rows.len()).max(stay.len());
            assert_eq!(count, most, "no seat is left, and none is added");
            for (turn, done, _) in &mut self.rows[..count] {
                assert!(turn.seated);
                turn.pass();
                *done += 1;
            }
            let shared = self.rows[..count].iter().map(|row| row.0.order).collect();
            self.rows.retain(|(_, done, passes)| done < passes);
            shared
        }
    }

    #[test]
    fn one_short_answer_does_not_wait_for_64_long_ones() {
        let mut room = Room::new(64, 4);
        for order in 0..4 {
            room.join(order, 16, 10_000);
        }
        assert_eq!(room.pass(), [[0; 16], [1; 16], [2; 16], [3; 16]].concat());
        room.join(9, 1, 3);
        let passes: Vec<bool> = (0..24).map(|_| room.pass().contains(&9)).collect();
        // The others have made one pass of their turn, and a block ends then.
        assert_eq!(passes.iter().position(|shared| *shared), Some(TURN - 1));
        assert_eq!(passes.iter().filter(|shared| **shared).count(), 3);
        // Afterwards the order that made room has its seat again.
        assert_eq!(room.pass().iter().filter(|order| **order == 0).count(), 16);
    }

    #[test]
    fn a_second_order_gets_half_of_the_seats_and_answers_of_one_order_do_not_take_turns() {
        let mut room = Room::new(6, 1);
        room.join(1, 20, 1000);
        room.pass();
        room.join(2, 20, 1000);
        let shared: Vec<Vec<u64>> = (0..100).map(|_| room.pass()).collect();
        let count = |pass: usize| shared[pass].iter().filter(|order| **order == 2).count();
        assert_eq!([count(14), count(15), count(99)], [0, 3, 3]);
        // Nobody made room for another of the same order.
        let begun = room.rows.iter().filter(|row| row.1 > 0).count();
        assert_eq!(begun, 9);
    }

    #[test]
    fn who_is_in_a_block_keeps_the_seat_until_it_ends() {
        let mut room = Room::new(1, 50);
        room.join(1, 1, 100);
        room.pass();
        room.join(2, 1, 2);
        let shared: Vec<u64> = (0..54).flat_map(|_| room.pass()).collect();
        assert_eq!(shared, [[1; 49].as_slice(), &[2, 2], &[1, 1, 1]].concat());
    }

    #[test]
    fn fewer_seats_end_no_block() {
        let mut room = Room::new(3, 4);
        room.join(1, 3, 8);
        room.pass();
        // A longer canvas joins, so that there is one seat.
        room.join(2, 1, 2);
        room.seats = 1;
        let shared: Vec<Vec<u64>> = (0..7).map(|_| room.pass()).collect();
        assert_eq!(shared[..3], [[1; 3], [1; 3], [1; 3]]);
        assert!(shared[3..].iter().all(|orders| orders.len() == 1), "{shared:?}");
    }

    proptest! {
        /// Whoever asks for however much: an order waits at most a turn and a block for each order on its seat.
        #[test]
        fn no_order_waits_longer_than_others_have_turns(
            orders in prop::collection::vec((1_usize..12, 1_usize..60), 1..12),
            seats in 1_usize..8,
            block in 1_usize..20,
        ) {
            let mut room = Room::new(seats, block);
            for (order, (answers, passes)) in (0..).zip(&orders) {
                room.join(order, *answers, *passes);
            }
            let most = (TURN + block) * orders.len().div_ceil(seats);
            let mut waits = vec![0; orders.len()];
            while !room.rows.is_empty() {
                let shared = room.pass();
                for (order, wait) in (0..).zip(&mut waits) {
                    let there = room.rows.iter().any(|row| row.0.order == order);
                    *wait = if there && !shared.contains(&order) { *wait + 1 } else { 0 };
                    prop_assert!(*wait <= most, "order {} waits {}", order, wait);
                }
            }
        }
    }
}
