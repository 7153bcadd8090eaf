//! Where a frame begins in a direction that has lost its place, or was joined in the middle.
//!
//! Content may imitate frames, whole connections of them, by the hand of somebody who knows how this file works. So it does not
//! matter how good a chain of frames looks: two chains may run through the same bytes for ever, each in the content of the other, and only
//! the receiver knows which one it reads. What is sure is that the true chain is *one of all*. A chain is the place of a frame header, from
//! which the lengths lead to the next; and
//!
//! 1. at most [`Search::longest`] octets lie between two headers, so one of the first `longest + 9` bytes begins a true header;
//! 2. a chain starts from each of these bytes. It ends where its header is none that a receiver would go on behind: a
//!    length or order for which RFC 9113 demands an error of the connection, and receivers make one ([`follow`]). What some ignore (types that
//!    are unknown, the reserved bit, flags, most streams) ends none. So the true chain does not end while the connection lives;
//! 3. chains that meet are one from there on. If all that are left have met, the place where they met is a true one.
//!
//! Nothing that was read before is used: what is decoded begins behind that place. Where two chains stay, the place stays lost. What is left
//! to doubt is in 1 and 2, and the other end answers for it ([`Rounds`]):
//!
//! | doubt | answer |
//! | --- | --- |
//! | an end sends what is forbidden, ends the true chain by that, and goes on with a false one | the other end would not be there any more: it must begin to answer streams that were opened in the chain that is left, [`ROUNDS_SURE`] times, each opened with the answer before it in hand |
//! | which end is the client, where no message was seen | the one whose streams are answered, and that answers none |
//! | frames are longer than the default, because SETTINGS that were not seen allow it | the same as the first, [`ROUNDS_UNSURE`] times |
//!
//! A round cannot be imitated by content alone, which is written before the other end has said what it acknowledges. It takes an end that
//! in one long frame imitates the opening of streams which it had opened before, and makes the other end answer them one by one in just that
//! time: as often as [`ROUNDS_UNSURE`] says, and only where a frame may be longer than 16 KiB. That is what remains.
//!
//! Until a place is found nothing is held but the places of the chains, of which there are [`CHAINS_MAX`] at most; more are too many to
//! tell apart, and it begins anew with the next byte.

use std::collections::{BTreeSet, VecDeque};

use headtrail_record::event::Direction;

use super::frames::{HEADER_BYTES, Header, flag, kind};
use crate::run::{Run, distance};
use crate::weight::ALLOCATION_BYTES;

/// Longest frame that may be sent before SETTINGS say otherwise (RFC 9113, 6.5.2).
pub(crate) const FRAME_OCTETS_DEFAULT: u32 = 16_384;
/// Longest frames among which a place can be found for sure; where longer ones are allowed, it is looked for among those that are usual.
const FRAME_OCTETS_MAX: u32 = 65_536;
/// Chains of one direction.
const CHAINS_MAX: usize = 512;
/// Streams of which the answer is waited for.
const OPENED_MAX: usize = 64;
/// Rounds that are demanded where it is known how long a frame may be.
const ROUNDS_SURE: u32 = 2;
/// Rounds that are demanded where it is not.
const ROUNDS_UNSURE: u32 = 16;
/// Bytes of a direction that are looked at where nothing shows that there are frames at all.
const FRUITLESS_BYTES_MAX: u64 = 1 << 20;

/// The header block that is open behind a frame (RFC 9113, 4.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Open {
    Unknown,
    None,
    Stream(u32),
}

/// What is open behind a frame; None where its receiver would have ended the connection (RFC 9113, 4.2, 4.3 and 6).
fn follow(header: Header, open: Open, longest: u32) -> Option<Open> {
    let Header { length, kind, stream, .. } = header;
    let goes_on = kind == kind::CONTINUATION;
    let in_order = match open {
        Open::Unknown => true,
        Open::None => !goes_on,
        Open::Stream(of) => goes_on && of == stream,
    };
    let padding = u32::from(header.has(flag::PADDED));
    let valid = match kind {
        kind::DATA => length >= padding,
        kind::HEADERS => stream != 0 && length >= padding + 5 * u32::from(header.has(flag::PRIORITY)),
        kind::PRIORITY => length == 5,
        kind::RST_STREAM | kind::WINDOW_UPDATE => length == 4,
        kind::SETTINGS if header.has(flag::ACK) => length == 0,
        kind::SETTINGS => length.is_multiple_of(6),
        kind::PUSH_PROMISE => stream != 0 && length >= 4 + padding,
        kind::PING => length == 8,
        kind::GOAWAY => length >= 8,
        _ => true,
    };
    if length > longest || !in_order || !valid {
        return None;
    }
    let fields = matches!(kind, kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION);
    Some(if fields && !header.has(flag::END_HEADERS) { Open::Stream(stream) } else { Open::None })
}

/// The chain that is left.
struct Only {
    /// Where its next header begins.
    at: u64,
    open: Open,
    header: [u8; HEADER_BYTES],
    /// So many bytes of it have come.
    have: usize,
}

/// What bytes have brought.
pub(super) enum Found {
    /// They are used up.
    More,
    /// No chain is left, or too many: it has begun anew.
    Nothing,
    /// The frame behind so many of them is a true one.
    Place(usize),
}

/// A HEADERS frame of the chain that is left.
pub(super) struct Opening {
    pub(super) stream: u32,
    pub(super) sequence: u32,
}

/// The chains of one direction.
pub(super) struct Search {
    longest: u32,
    /// Sequence number of the byte that follows.
    next: u32,
    /// Bytes before it; places are counted in them.
    read: u64,
    /// The last of them.
    tail: Vec<u8>,
    /// Places of headers that are still to come.
    chains: BTreeSet<(u64, Open)>,
    only: Option<Only>,
    /// Bytes since one chain was left.
    fruitless: u64,
}

impl Search {
    fn new(longest: u32, sequence: u32) -> Self {
        Self {
            longest,
            next: sequence,
            read: 0,
            tail: Vec::new(),
            chains: BTreeSet::new(),
            only: None,
            fruitless: 0,
        }
    }

    /// One chain is left.
    fn is_decided(&self) -> bool {
        self.only.is_some()
    }

    fn begin_anew(&mut self, sequence: u32) {
        *self = Self { fruitless: self.fruitless, ..Self::new(self.longest, sequence) };
    }

    fn weight(&self) -> usize {
        // Nodes of the tree are half full at least.
        2 * self.chains.len() * size_of::<(u64, Open)>() + 2 * ALLOCATION_BYTES
    }

    /// Looks at a run. `proved`: the place of the chain that is left is a true one.
    fn look(&mut self, run: &Run<'_>, proved: bool, take: &mut dyn FnMut(Opening)) -> Found {
        let mut anew = false;
        if run.sequence != self.next {
            self.begin_anew(run.sequence);
            anew = true;
        }
        let found = match self.only {
            Some(_) => self.walk(run.bytes, proved, take),
            None => self.narrow(run.bytes),
        };
        if anew && matches!(found, Found::More) { Found::Nothing } else { found }
    }

    /// Follows all chains.
    fn narrow(&mut self, bytes: &[u8]) -> Found {
        let mut window = std::mem::take(&mut self.tail);
        let base = self.read - window.len() as u64;
        window.extend_from_slice(bytes);
        self.next = self.next.wrapping_add(bytes.len() as u32);
        self.read += bytes.len() as u64;
        self.fruitless = self.fruitless.saturating_add(bytes.len() as u64);
        let starts = u64::from(self.longest) + HEADER_BYTES as u64;
        let header_at = |place: u64| -> Option<Header> {
            window.get((place - base) as usize..)?.first_chunk().map(Header::read)
        };
        // No length of a frame has more in its first byte than the longest.
        let most = (self.longest >> 16) as u8;
        let last = starts.saturating_sub(base).min(window.len().saturating_sub(HEADER_BYTES - 1) as u64);
        for (i, _) in window[..last as usize].iter().enumerate().filter(|&(_, &byte)| byte <= most) {
            let place = base + i as u64;
            let next =
                header_at(place).and_then(|h| Some((h.length, follow(h, Open::Unknown, self.longest)?)));
            if let Some((length, open)) = next {
                self.chains.insert((place + HEADER_BYTES as u64 + u64::from(length), open));
            }
        }
        while let Some(&(place, open)) = self.chains.first() {
            let Some(header) = header_at(place) else { break };
            self.chains.pop_first();
            if let Some(open) = follow(header, open, self.longest) {
                self.chains.insert((place + HEADER_BYTES as u64 + u64::from(header.length), open));
            }
        }
        let too_many = self.chains.len() > CHAINS_MAX;
        let all_started = base + window.len() as u64 >= starts + HEADER_BYTES as u64 - 1;
        if too_many || (all_started && self.chains.is_empty()) {
            self.begin_anew(self.next);
            return Found::Nothing;
        }
        let rest = window.len().saturating_sub(HEADER_BYTES - 1);
        if let (true, 1, Some(&(at, open))) = (all_started, self.chains.len(), self.chains.first()) {
            let come = window.get((at.saturating_sub(base)) as usize..).unwrap_or_default();
            let mut header = [0; HEADER_BYTES];
            header[..come.len()].copy_from_slice(come);
            self.only = Some(Only { at, open, header, have: come.len() });
            self.chains.clear();
            self.fruitless = 0;
            return Found::More;
        }
        window.drain(..rest);
        self.tail = window;
        Found::More
    }

    /// Follows the one chain that is left.
    fn walk(&mut self, bytes: &[u8], proved: bool, take: &mut dyn FnMut(Opening)) -> Found {
        let mut rest = bytes;
        while let Some(only) = &mut self.only
            && !rest.is_empty()
        {
            if self.read == only.at && only.open == Open::None && proved {
                return Found::Place(bytes.len() - rest.len());
            }
            let in_header = self.read >= only.at;
            let count = if in_header {
                (HEADER_BYTES - only.have).min(rest.len())
            } else {
                (only.at - self.read).min(rest.len() as u64) as usize
            };
            let (now, after) = rest.split_at(count);
            rest = after;
            self.read += count as u64;
            self.next = self.next.wrapping_add(count as u32);
            if !in_header {
                continue;
            }
            only.header[only.have..only.have + count].copy_from_slice(now);
            only.have += count;
            if only.have < HEADER_BYTES {
                continue;
            }
            let header = Header::read(&only.header);
            let Some(open) = follow(header, only.open, self.longest) else {
                self.begin_anew(self.next.wrapping_add(rest.len() as u32));
                return Found::Nothing;
            };
            if header.kind == kind::HEADERS {
                let sequence = self.next.wrapping_sub(HEADER_BYTES as u32);
                take(Opening { stream: header.stream, sequence });
            }
            only.at = self.read + u64::from(header.length);
            only.open = open;
            only.have = 0;
        }
        Found::More
    }
}

/// A stream that an end has opened.
#[derive(Clone, Copy)]
struct Opened {
    stream: u32,
    /// Behind its header.
    end: u32,
    /// How much of the other direction the opening end had.
    acknowledged: u32,
}

/// How often an end has opened a stream with all before it in hand, and the other has answered it.
#[derive(Default)]
struct Rounds {
    opened: VecDeque<Opened>,
    newest: u32,
    /// Where the last answer began.
    answer: Option<u32>,
    count: u32,
}

impl Rounds {
    /// The end that may be the client begins header fields.
    fn opens(&mut self, opening: &Opening, acknowledged: Option<u32>) {
        let &Opening { stream, sequence } = opening;
        if stream <= self.newest {
            return;
        }
        self.newest = stream;
        let Some(acknowledged) = acknowledged else { return };
        if stream % 2 == 0 || self.answer.is_some_and(|answer| distance(answer, acknowledged) <= 0) {
            return;
        }
        if self.opened.len() >= OPENED_MAX {
            self.opened.pop_front();
        }
        let end = sequence.wrapping_add(HEADER_BYTES as u32);
        self.opened.push_back(Opened { stream, end, acknowledged });
    }

    /// The other end begins header fields; true where they answer.
    fn answers(&mut self, opening: &Opening, acknowledged: Option<u32>) -> bool {
        let Some(of) = self.opened.iter().position(|o| o.stream == opening.stream) else { return false };
        let opened = self.opened[of];
        let Some(acknowledged) = acknowledged else { return false };
        if distance(opened.acknowledged, opening.sequence) < 0 || distance(opened.end, acknowledged) < 0 {
            self.opened.remove(of);
            return false;
        }
        self.opened.clear();
        self.answer = Some(opening.sequence);
        self.count += 1;
        true
    }
}

/// Looks for frames in one direction or both.
#[derive(Default)]
pub(crate) struct Resync {
    searches: [Option<Search>; 2],
    /// By the direction of the end that may be the client.
    rounds: [Rounds; 2],
    /// How long a frame may be is not known in some direction.
    unsure: bool,
    /// There are none.
    none: bool,
}

impl Resync {
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>()
            + ALLOCATION_BYTES
            + self.searches.iter().flatten().map(Search::weight).sum::<usize>()
            + self.rounds.iter().map(|r| r.opened.capacity() * size_of::<Opened>()).sum::<usize>()
    }

    /// A search for frames has ended without any.
    pub(super) fn has_given_up(&self) -> bool {
        self.none
    }

    /// Looks at a run. `longest`: of the frames of its direction, where known. `client`: the direction of requests, where known.
    pub(super) fn look(
        &mut self,
        direction: Direction,
        run: &Run<'_>,
        longest: Option<u32>,
        client: Option<Direction>,
    ) -> Found {
        let index = direction.index();
        let sure = longest.filter(|&octets| octets <= FRAME_OCTETS_MAX);
        self.unsure |= sure.is_none();
        let proved = client.is_some_and(|client| self.is_proved(client));
        let rounds = &mut self.rounds;
        let mut take = |opening: Opening| note(rounds, direction, &opening, run);
        let found = self.searches[index]
            .get_or_insert_with(|| Search::new(sure.unwrap_or(FRAME_OCTETS_DEFAULT), run.sequence))
            .look(run, proved, &mut take);
        if matches!(found, Found::Nothing) {
            self.rounds = Default::default();
        }
        let fruitless = |search: &Search| search.fruitless > FRUITLESS_BYTES_MAX;
        if client.is_none() && self.searches.iter().flatten().any(fruitless) {
            *self = Self { none: true, ..Self::default() };
        }
        found
    }

    /// The other direction, whose place is known, begins header fields.
    pub(super) fn hears(
        &mut self,
        direction: Direction,
        stream: u32,
        sequence: u32,
        acknowledged: Option<u32>,
    ) {
        note_at(&mut self.rounds, direction, &Opening { stream, sequence }, acknowledged);
    }

    /// The direction of requests, where the frames show it.
    pub(super) fn client(&self) -> Option<Direction> {
        let both = self.searches.iter().all(|search| search.as_ref().is_some_and(Search::is_decided));
        let is = |client: Direction| {
            self.rounds[client.reverse().index()].count == 0 && self.is_proved(client) && both
        };
        [Direction::Ingress, Direction::Egress].into_iter().find(|&client| is(client))
    }

    fn is_proved(&self, client: Direction) -> bool {
        let needed = if self.unsure { ROUNDS_UNSURE } else { ROUNDS_SURE };
        self.searches.iter().flatten().all(Search::is_decided) && self.rounds[client.index()].count >= needed
    }

    /// A place is found; true where none is looked for any more.
    pub(super) fn ends(&mut self, direction: Direction) -> bool {
        self.searches[direction.index()] = None;
        self.searches.iter().all(Option::is_none)
    }
}

fn note(rounds: &mut [Rounds; 2], direction: Direction, opening: &Opening, run: &Run<'_>) {
    note_at(rounds, direction, opening, run.acknowledgement());
}

fn note_at(rounds: &mut [Rounds; 2], direction: Direction, opening: &Opening, acknowledged: Option<u32>) {
    if rounds[direction.reverse().index()].answers(opening, acknowledged) {
        // What answers opens nothing.
        let own = &mut rounds[direction.index()];
        own.newest = own.newest.max(opening.stream);
    } else {
        rounds[direction.index()].opens(opening, acknowledged);
    }
    if rounds.iter().all(|r| r.count > 0) {
        *rounds = Default::default();
    }
}
