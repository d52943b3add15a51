//! Whether an identity is used by two processes at once: the own one, or another operator's.
//!
//! Each process draws a number when it starts, and says it in its greeting together with the number of the process of the
//! addressee that it was greeted by last, and whether that one was still connected when this one came. Both stand in the text that names the
//! software, which programs of other versions ignore:
//!
//! ```text
//! conclave/1.2.3 (0123456789abcdef)
//! conclave/1.2.3 (0123456789abcdef, fedcba9876543210)     greeted before by this process
//! conclave/1.2.3 (0123456789abcdef, fedcba9876543210!)    and it was still connected
//! ```
//!
//! A process that is started again has another number, and never comes back under the old one. So two take turns if a number comes
//! back after another one. They probably do if a second one comes while the first is still connected: a machine that lost its power a moment
//! ago looks the same. What a peer says of the own identity is its word, and a reason to look, not to stop.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Earlier processes of one operator that are remembered.
const EARLIER: usize = 16;

/// An identity that is used by two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Twin {
    /// Whether it is the own one: the operator who greeted says so. Else it is that of the operator who greeted.
    pub own: bool,
    /// Whether they take turns. Else the second came while the first still seemed to be connected, as it also looks right after a crash.
    pub sure: bool,
}

/// What is known of the processes of all operators.
#[derive(Debug)]
pub(super) struct Twins {
    own: u64,
    others: BTreeMap<u16, Processes>,
}

/// What is known of the processes of one operator.
#[derive(Debug, Default)]
struct Processes {
    /// The one that greeted last.
    last: Option<u64>,
    earlier: VecDeque<u64>,
    /// The connection with the last one was still there when a newer one took its place.
    replaced: bool,
    /// It has taken a greeting of this process.
    knows_us: bool,
}

/// A greeting's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    from: u64,
    /// The process of the addressee that greeted last, and whether it was still connected.
    to: Option<(u64, bool)>,
}

impl Twins {
    pub(super) fn new(own: u64) -> Self {
        Self {
            own,
            others: BTreeMap::new(),
        }
    }

    /// The connection with an operator is still there, and a newer one takes its place.
    pub(super) fn replaced(&mut self, operator: u16) {
        self.others.entry(operator).or_default().replaced = true;
    }

    /// The connection with an operator is gone.
    pub(super) fn gone(&mut self, operator: u16) {
        self.others.entry(operator).or_default().replaced = false;
    }

    /// The operator has taken this process's greeting.
    pub(super) fn taken(&mut self, operator: u16) {
        self.others.entry(operator).or_default().knows_us = true;
    }

    /// The text that names the software in the greeting of an operator.
    pub(super) fn software(&self, operator: u16, plain: &str) -> String {
        let of = self.others.get(&operator);
        let to = of.and_then(|of| Some((of.last?, of.replaced)));
        let tag = Tag { from: self.own, to };
        format!("{plain} ({})", tag.text())
    }

    /// Takes that text from an operator's greeting; leaves what was there before the numbers.
    pub(super) fn greeted(&mut self, operator: u16, software: &mut String) -> BTreeSet<Twin> {
        let mut twins = BTreeSet::new();
        let Some((length, tag)) = software
            .rsplit_once(" (")
            .and_then(|(plain, rest)| Some((plain.len(), Tag::parse(rest.strip_suffix(')')?)?)))
        else {
            return twins;
        };
        software.truncate(length);
        let own = self.own;
        let of = self.others.entry(operator).or_default();
        if let Some((to, connected)) = tag.to
            && to != own
            && (connected || of.knows_us)
        {
            twins.insert(Twin {
                own: true,
                sure: of.knows_us,
            });
        }
        if let Some(last) = of.last.filter(|last| *last != tag.from) {
            let sure = of.earlier.contains(&tag.from);
            if sure || of.replaced {
                twins.insert(Twin { own: false, sure });
            }
            of.earlier.retain(|earlier| ![last, tag.from].contains(earlier));
            of.earlier.push_back(last);
            if of.earlier.len() > EARLIER {
                of.earlier.pop_front();
            }
        }
        of.last = Some(tag.from);
        of.replaced = false;
        twins
    }
}

impl Tag {
    fn text(self) -> String {
        match self.to {
            None => format!("{:016x}", self.from),
            Some((to, connected)) => {
                format!(
                    "{:016x}, {to:016x}{}",
                    self.from,
                    if connected { "!" } else { "" }
                )
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            u64::from_str_radix(text, 16).ok().filter(|_| digits)
        };
        let (from, to) = match text.split_once(", ") {
            None => (text, None),
            Some((from, to)) => {
                let plain = to.strip_suffix('!');
                (from, Some((number(plain.unwrap_or(to))?, plain.is_some())))
            }
        };
        Some(Self {
            from: number(from)?,
            to,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process of operator 1 and one of operator 2 greet each other; what each of them learns.
    fn greet(one: &mut Twins, two: &mut Twins) -> [Vec<Twin>; 2] {
        let (mut from_one, mut from_two) = (one.software(2, "conclave/1"), two.software(1, "conclave/1"));
        assert!(from_one.len() <= 64 && from_two.len() <= 64);
        let learned = [one.greeted(2, &mut from_two), two.greeted(1, &mut from_one)];
        assert_eq!((&*from_one, &*from_two), ("conclave/1", "conclave/1"));
        one.taken(2);
        two.taken(1);
        learned.map(|twins| twins.into_iter().collect())
    }

    const NOTHING: [Vec<Twin>; 2] = [Vec::new(), Vec::new()];

    /// The one process of the identity learns that it has a twin, and the other operator that there are two.
    fn both(sure: bool) -> [Vec<Twin>; 2] {
        [vec![Twin { own: true, sure }], vec![Twin { own: false, sure }]]
    }

    #[test]
    fn restarts_and_lost_connections_are_no_twins() {
        let (mut one, mut two) = (Twins::new(10), Twins::new(20));
        for start in 0..20 {
            for _ in 0..3 {
                assert_eq!(greet(&mut one, &mut two), NOTHING);
                one.gone(2);
                two.gone(1);
            }
            // Both dialled at the same moment: one connection takes the place of the other.
            assert_eq!(greet(&mut one, &mut two), NOTHING);
            one.replaced(2);
            two.replaced(1);
            assert_eq!(greet(&mut one, &mut two), NOTHING);
            one.gone(2);
            two.gone(1);
            if start % 2 == 0 {
                one = Twins::new(100 + start);
            } else {
                two = Twins::new(200 + start);
            }
        }
        // A greeting that got lost: the peer still speaks of the process before.
        assert_eq!(greet(&mut one, &mut two), NOTHING);
        let mut again = Twins::new(11);
        for _ in 0..2 {
            assert!(again.greeted(2, &mut two.software(1, "x")).is_empty());
        }
    }

    #[test]
    fn two_that_take_turns_are_told_and_so_is_the_other() {
        // Without a word about what was replaced: a connection that broke in between.
        let (mut first, mut second, mut two) = (Twins::new(10), Twins::new(11), Twins::new(20));
        assert_eq!(greet(&mut first, &mut two), NOTHING);
        assert_eq!(greet(&mut second, &mut two), NOTHING);
        assert_eq!(greet(&mut first, &mut two), both(true));
        assert_eq!(greet(&mut second, &mut two), both(true));
    }

    #[test]
    fn a_second_one_beside_the_first_is_noticed_at_once() {
        let (mut first, mut second, mut two) = (Twins::new(10), Twins::new(11), Twins::new(20));
        assert_eq!(greet(&mut first, &mut two), NOTHING);
        two.replaced(1);
        assert_eq!(greet(&mut second, &mut two), both(false));
        two.replaced(1);
        assert_eq!(greet(&mut first, &mut two), both(true));
    }

    #[test]
    fn other_texts_say_nothing() {
        for text in [
            "conclave/0.1.0",
            "",
            "x (",
            "x ()",
            "x (1)",
            "x (+123456789abcdef)",
            "x (0123456789abcdef, )",
            "x (0123456789abcdef, 1!)",
            "x (0123456789abcdef, 0123456789abcdef!!)",
            "x (0123456789abcdef, 0123456789abcdef",
            "x (0123456789abcdef, 0123456789abcdef, 0123456789abcdef)",
            "Name (of a program)",
        ] {
            let mut software = text.to_owned();
            assert!(Twins::new(1).greeted(2, &mut software).is_empty());
            assert_eq!(software, text);
        }
    }

    #[test]
    fn many_numbers_take_little_memory() {
        let mut two = Twins::new(20);
        for number in 0..1000 {
            two.greeted(1, &mut Twins::new(number).software(2, "x"));
        }
        assert_eq!(two.others[&1].earlier.len(), EARLIER);
    }
}
