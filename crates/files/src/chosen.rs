//! A choice of connections of a file.

use headtrail_record::event::ConnectionId;

/// Connections by their numbers in the file, a bit for each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chosen {
    words: Vec<u64>,
}

impl Chosen {
    pub(crate) fn add(&mut self, id: ConnectionId) {
        let (word, bit) = place(id);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    pub(crate) fn has(&self, id: ConnectionId) -> bool {
        let (word, bit) = place(id);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// Connections are numbered from 1 on, one after the other, so that the words are as many as are needed.
fn place(id: ConnectionId) -> (usize, u64) {
    ((id.0 / 64) as usize, 1 << (id.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_nothing_else() {
        let mut chosen = Chosen::default();
        let ids = [1, 63, 64, 65, 1000];
        ids.iter().for_each(|&id| chosen.add(ConnectionId(id)));
        for id in 0..2000 {
            assert_eq!(chosen.has(ConnectionId(id)), ids.contains(&id), "{id}");
        }
    }
}
