//! One direction as two readers found it, laid side by side.

use std::collections::BTreeSet;

use crate::message::Message;

/// A message in which two readers differ.
#[derive(Clone, Debug)]
pub struct Difference {
    pub side: Side,
    /// Place among the messages of the direction, of the reader that has it; of ours where both have.
    pub number: usize,
    /// For people.
    pub text: String,
}

/// Who has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    Ours,
    Theirs,
    Both,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Theirs => "tshark",
            Self::Both => "both",
        }
    }
}

/// A direction beside what several runs of the other reader make of it.
#[derive(Default)]
pub struct Direction {
    /// Differences in the run with the fewest.
    fewest: Option<Vec<Difference>>,
    /// Places of our messages that some run shows as well.
    pub shown: BTreeSet<usize>,
    /// Messages of that run.
    pub theirs: usize,
}

impl Direction {
    /// One more run: what [`compare`] says of it.
    pub fn add(&mut self, (differ, pairs): (Vec<Difference>, Vec<(usize, usize)>), theirs: usize) {
        self.shown.extend(pairs.into_iter().map(|(i, _)| i));
        if self.fewest.as_ref().is_none_or(|fewest| differ.len() < fewest.len()) {
            self.fewest = Some(differ);
            self.theirs = theirs;
        }
    }

    /// What differs after all. Where a run has something in the place of a message that another run shows as we do, what it
    /// has is still missing here.
    pub fn differ(&self) -> impl Iterator<Item = Difference> {
        let all = self.fewest.iter().flatten();
        all.filter_map(|d| match d.side {
            Side::Theirs => Some(d.clone()),
            _ if !self.shown.contains(&d.number) => Some(d.clone()),
            Side::Ours => None,
            Side::Both => Some(Difference { side: Side::Theirs, ..d.clone() }),
        })
    }
}

/// Differences, and the places of what is equal.
pub fn compare(ours: &[Message], theirs: &[Message]) -> (Vec<Difference>, Vec<(usize, usize)>) {
    let pairs = longest_common(ours, theirs);
    let mut differences = Vec::new();
    let (mut i, mut j) = (0, 0);
    for &(to_i, to_j) in pairs.iter().chain([&(ours.len(), theirs.len())]) {
        while i < to_i || j < to_j {
            let (our, their) = (ours[..to_i].get(i), theirs[..to_j].get(j));
            let (side, number, text) = match (our, their) {
                (Some(our), Some(their)) => (Side::Both, i, our.difference(their)),
                (Some(our), None) => (Side::Ours, i, our.start.to_string()),
                (None, Some(their)) => (Side::Theirs, j, their.start.to_string()),
                (None, None) => break,
            };
            let frames = [our, their].map(|m| m.map_or("-".to_string(), |m| m.frame.to_string()));
            differences.push(Difference { side, number, text: format!("packets {frames:?}: {text}") });
            i += usize::from(our.is_some());
            j += usize::from(their.is_some());
        }
        (i, j) = (to_i + 1, to_j + 1);
    }
    (differences, pairs)
}

/// Places of a longest common subsequence.
fn longest_common(ours: &[Message], theirs: &[Message]) -> Vec<(usize, usize)> {
    let same = ours.iter().zip(theirs).take_while(|(a, b)| a.equals(b)).count();
    let mut pairs: Vec<_> = (0..same).map(|i| (i, i)).collect();
    let (ours, theirs) = (&ours[same..], &theirs[same..]);
    let width = theirs.len() + 1;
    // How many can be paired from there on.
    let mut best = vec![0u32; (ours.len() + 1) * width];
    for i in (0..ours.len()).rev() {
        for j in (0..theirs.len()).rev() {
            best[i * width + j] = if ours[i].equals(&theirs[j]) {
                best[(i + 1) * width + j + 1] + 1
            } else {
                best[(i + 1) * width + j].max(best[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < ours.len() && j < theirs.len() {
        if ours[i].equals(&theirs[j]) {
            pairs.push((same + i, same + j));
            (i, j) = (i + 1, j + 1);
        } else if best[(i + 1) * width + j] >= best[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}
