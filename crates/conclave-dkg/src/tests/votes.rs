//! An explicit-state search of the vote rules: two honest operators, a third that does whatever it likes, two attempts.
//!
//! The rules are those that the operator really asks ([`Standing`]). Deal, Ack and Reveal are one step here: they only matter
//! in that nobody votes before everybody contributed. In every reachable state at most one attempt carries an honest
//! signature, and if one does, every honest operator has voted for it, which is to say: has its share durable.

use std::collections::HashSet;

use crate::rules::Standing;

const JOINED: u8 = 1;
const CONTRIBUTED: u8 = 2;
const VOTED: u8 = 4;
const SIGNED: u8 = 8;

/// A deliberate mistake, to show that the search sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// Sign although a newer vote was cast.
    SignOldVote,
    /// Join and vote after a signature.
    GoOnAfterSigning,
}

/// One honest operator: what it said, and what it was shown, by attempt.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Node {
    own: [u8; 2],
    friend: [u8; 2],
    liar: [u8; 2],
    condemned: bool,
    gave_up: bool,
    named_vote: bool,
}

type State = [Node; 2];

impl Node {
    fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        for k in 1..=2u32 {
            let said = self.own[k as usize - 1];
            let sets = [
                (JOINED, &mut standing.joined),
                (CONTRIBUTED, &mut standing.acked),
                (VOTED, &mut standing.voted),
                (SIGNED, &mut standing.signed),
            ];
            for (bit, set) in sets {
                if said & bit != 0 {
                    set.insert(k);
                }
            }
        }
        if self.gave_up {
            standing.closed.insert(1);
        }
        standing
    }

    fn all(&self, k: u32, bit: u8) -> bool {
        let i = k as usize - 1;
        self.own[i] & self.friend[i] & self.liar[i] & bit != 0
    }

    fn current(&self) -> u32 {
        self.standing().current(|k| k == 1 && self.condemned)
    }

    /// What the operator does by itself: sign first, then join and contribute.
    fn settle(&mut self, mistake: Mistake) {
        loop {
            let before = *self;
            let mut standing = self.standing();
            for k in 1..=2 {
                let newest = mistake == Mistake::SignOldVote && standing.voted.contains(&k);
                let must = standing.must_sign(k, self.all(k, VOTED)) || (newest && self.all(k, VOTED));
                if must {
                    self.own[k as usize - 1] |= SIGNED;
                }
            }
            standing = self.standing();
            if mistake == Mistake::GoOnAfterSigning {
                standing.signed.clear();
            }
            let k = self.current();
            if k <= 2 {
                let i = k as usize - 1;
                if (k == 1 || self.gave_up) && standing.may_join(k, k) {
                    self.own[i] |= JOINED;
                    if k == 2 {
                        self.named_vote = self.own[0] & VOTED != 0;
                    }
                } else if self.all(k, JOINED) && standing.may_contribute(k, k) {
                    self.own[i] |= CONTRIBUTED;
                }
            }
            if *self == before {
                return;
            }
        }
    }

    fn may_vote(&self, k: u32, mistake: Mistake) -> bool {
        let mut standing = self.standing();
        if mistake == Mistake::GoOnAfterSigning {
            standing.signed.clear();
        }
        let allowed = k == self.current() && standing.may_vote(k, k);
        allowed && self.all(k, CONTRIBUTED) && self.own[k as usize - 1] & VOTED == 0
    }
}

/// All states that one more event can lead to.
fn successors(state: &State, mistake: Mistake) -> Vec<State> {
    let mut next = Vec::new();
    for me in 0..2 {
        let friend = state[1 - me];
        let mut event = |change: &dyn Fn(&mut Node)| {
            let mut s = *state;
            change(&mut s[me]);
            s[me].settle(mistake);
            next.push(s);
        };
        event(&|node| node.condemned = true);
        event(&|node| node.gave_up = true);
        for k in 1..=2u32 {
            let i = k as usize - 1;
            // The keystores of the attempt are durable at last.
            if state[me].may_vote(k, mistake) {
                event(&|node| node.own[i] |= VOTED);
            }
            for bit in [JOINED, CONTRIBUTED, VOTED] {
                // An entry counts once its predecessors do.
                let before = |chain: u8| bit == JOINED || chain & (bit >> 1) != 0;
                if state[me].liar[i] & bit == 0 && before(state[me].liar[i]) {
                    event(&|node| node.liar[i] |= bit);
                }
                let names_vote = k == 2 && bit == JOINED && friend.named_vote;
                let knows_vote = state[me].friend[0] & VOTED != 0;
                let good_set = bit != VOTED || state[me].liar[i] & CONTRIBUTED != 0;
                let new = friend.own[i] & bit != 0 && state[me].friend[i] & bit == 0;
                if new && before(state[me].friend[i]) && good_set && (!names_vote || knows_vote) {
                    event(&|node| node.friend[i] |= bit);
                }
            }
        }
    }
    next
}

/// T1 and T2.
fn is_safe(state: &State) -> bool {
    let signed = |i: usize| state.iter().any(|node| node.own[i] & SIGNED != 0);
    let voted = |i: usize| state.iter().all(|node| node.own[i] & VOTED != 0);
    !(signed(0) && signed(1)) && (0..2).all(|i| !signed(i) || voted(i))
}

/// Number of reachable states and the attempts that are signed in some of them, or `Err` if an unsafe one is reachable.
fn search(mistake: Mistake) -> Result<(usize, [bool; 2]), State> {
    let mut start = State::default();
    for node in &mut start {
        node.settle(mistake);
    }
    let mut seen: HashSet<State> = HashSet::from([start]);
    let mut queue = vec![start];
    let mut signed = [false; 2];
    while let Some(state) = queue.pop() {
        for (i, signed) in signed.iter_mut().enumerate() {
            *signed |= state.iter().any(|node| node.own[i] & SIGNED != 0);
        }
        for next in successors(&state, mistake) {
            if !is_safe(&next) {
                return Err(next);
            }
            if seen.insert(next) {
                queue.push(next);
            }
        }
    }
    Ok((seen.len(), signed))
}

#[test]
fn at_most_one_attempt_is_ever_signed() {
    let (states, signed) = search(Mistake::None).ok().expect("an unsafe state is reachable");
    assert!(states > 10_000, "only {states} states: the search does not move");
    assert_eq!(signed, [true, true], "each attempt can be signed in some run");
}

#[test]
fn the_search_sees_each_mistake() {
    for mistake in [Mistake::SignOldVote, Mistake::GoOnAfterSigning] {
        assert!(search(mistake).is_err(), "mistake {} goes unseen", mistake as u8);
    }
}
