//! The states of a deterministic automaton as sets of states of a nondeterministic one (Rabin and Scott, 1959).
//!
//! `regex_automata::dfa::dense` builds the same, but bounds the memory that it takes, not the steps.

use std::collections::HashMap;

use regex_automata::nfa::thompson::{NFA, State};

use crate::error::{ConstraintError, MOST_STATES};

/// Where nothing leads.
pub(crate) const DEAD: u32 = u32::MAX;

/// Most steps from one state of the nondeterministic automaton to another. A choice, not measured.
const MOST_STEPS: usize = 1 << 26;

/// What is reached by the same texts.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Subset {
    /// States that read a byte, look around or accept, in ascending order.
    members: Box<[u32]>,
    /// The byte before, if a member looks around.
    before: Option<u8>,
    /// Whether a member looks around.
    looks: bool,
}

/// Where the classes of bytes, each given by one of its bytes, lead from every state, flat [states, classes], and which states accept.
/// The first is the start.
///
/// # Errors
/// If there are too many states, or too many steps between them.
pub(crate) fn determinize(nfa: &NFA, bytes: &[u8]) -> Result<(Vec<u32>, Vec<bool>), ConstraintError> {
    let mut builder = Builder { nfa, seen: vec![0; nfa.states().len()], round: 0, steps: 0 };
    let start = builder.settle(&[nfa.start_anchored().as_u32()], None)?;
    let (mut numbers, mut subsets) = (HashMap::from([(start.clone(), 0)]), vec![start]);
    let (mut next, mut accepting) = (Vec::new(), Vec::new());
    while let Some(subset) = subsets.get(accepting.len()).cloned() {
        accepting.push(builder.accepts(&subset)?);
        let targets = builder.step(&subset, bytes)?;
        for (byte, targets) in bytes.iter().zip(targets) {
            if targets.is_empty() {
                next.push(DEAD);
                continue;
            }
            let to = builder.settle(&targets, Some(*byte))?;
            let new = subsets.len() as u32;
            let number = *numbers.entry(to).or_insert_with_key(|to| {
                subsets.push(to.clone());
                new
            });
            next.push(number);
        }
        if subsets.len() > MOST_STATES {
            return Err(ConstraintError::TooLarge);
        }
    }
    Ok((next, accepting))
}

struct Builder<'a> {
    nfa: &'a NFA,
    /// The last round in which a state was met.
    seen: Vec<u32>,
    round: u32,
    steps: usize,
}

impl Builder<'_> {
    fn count(&mut self, steps: usize) -> Result<(), ConstraintError> {
        self.steps += steps;
        if self.steps > MOST_STEPS { Err(ConstraintError::TooLarge) } else { Ok(()) }
    }

    /// The states that are reached from some without reading. Looks are passed if `look` says so, and kept otherwise.
    fn close(
        &mut self,
        from: &[u32],
        look: Option<(Option<u8>, Option<u8>)>,
    ) -> Result<Vec<u32>, ConstraintError> {
        self.round += 1;
        let (mut open, mut found) = (from.to_vec(), Vec::new());
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut self.seen[id as usize], self.round) == self.round {
                continue;
            }
            let pushed = open.len();
            match &self.nfa.states()[id as usize] {
                State::Union { alternates } => open.extend(alternates.iter().map(|id| id.as_u32())),
                State::BinaryUnion { alt1, alt2 } => open.extend([alt1.as_u32(), alt2.as_u32()]),
                State::Capture { next, .. } => open.push(next.as_u32()),
                State::Look { look: kind, next } => match look {
                    None => found.push(id),
                    Some((before, behind)) => {
                        let text: Vec<u8> = before.into_iter().chain(behind).collect();
                        let at = usize::from(before.is_some());
                        if self.nfa.look_matcher().matches(*kind, &text, at) {
                            open.push(next.as_u32());
                        }
                    }
                },
                State::Fail => {}
                _ => found.push(id),
            }
            self.count(1 + open.len() - pushed)?;
        }
        Ok(found)
    }

    /// The set that is reached from some states without reading.
    fn settle(&mut self, from: &[u32], before: Option<u8>) -> Result<Subset, ConstraintError> {
        let mut members = self.close(from, None)?;
        members.sort_unstable();
        let looks = members.iter().any(|id| matches!(self.nfa.states()[*id as usize], State::Look { .. }));
        Ok(Subset { members: members.into(), before: before.filter(|_| looks), looks })
    }

    /// The members with what lies behind those that look around, if `behind` is the next byte.
    fn resolve(&mut self, subset: &Subset, behind: Option<u8>) -> Result<Vec<u32>, ConstraintError> {
        self.close(&subset.members, Some((subset.before, behind)))
    }

    fn accepts(&mut self, subset: &Subset) -> Result<bool, ConstraintError> {
        let members = self.resolve(subset, None)?;
        Ok(members.iter().any(|id| matches!(self.nfa.states()[*id as usize], State::Match { .. })))
    }

    /// By class, the states that are reached by reading one of its bytes.
    fn step(&mut self, subset: &Subset, bytes: &[u8]) -> Result<Vec<Vec<u32>>, ConstraintError> {
        let mut targets = vec![Vec::new(); bytes.len()];
        if subset.looks {
            for (byte, targets) in bytes.iter().zip(&mut targets) {
                *targets = self.step_looking(subset, *byte)?;
            }
            return Ok(targets);
        }
        let class_of = self.nfa.byte_classes();
        let class = |byte: u8| usize::from(class_of.get(byte));
        for id in &subset.members {
            for (low, high, to) in self.ranges(*id) {
                let classes = class(low)..=class(high);
                self.count(classes.clone().count())?;
                targets[classes].iter_mut().for_each(|targets| targets.push(to));
            }
        }
        Ok(targets)
    }

    /// The states that are reached by reading a byte, if members look at it.
    fn step_looking(&mut self, subset: &Subset, byte: u8) -> Result<Vec<u32>, ConstraintError> {
        let mut targets = Vec::new();
        for id in self.resolve(subset, Some(byte))? {
            let ranges = self.ranges(id);
            self.count(ranges.len())?;
            targets.extend(
                ranges.iter().find_map(|(low, high, to)| (*low..=*high).contains(&byte).then_some(*to)),
            );
        }
        Ok(targets)
    }

    /// The bytes that a state reads, and where each range leads.
    fn ranges(&self, id: u32) -> Vec<(u8, u8, u32)> {
        match &self.nfa.states()[id as usize] {
            State::ByteRange { trans } => vec![(trans.start, trans.end, trans.next.as_u32())],
            State::Sparse(sparse) => {
                sparse.transitions.iter().map(|trans| (trans.start, trans.end, trans.next.as_u32())).collect()
            }
            State::Dense(dense) => {
                let read = |byte: u8| Some((byte, byte, dense.matches_byte(byte)?.as_u32()));
                (0..=u8::MAX).filter_map(read).collect()
            }
            _ => Vec::new(),
        }
    }
}
