//! The walk over the records of both directions.
//!
//! What one end sends is walked as far as it goes; a direction that needs what the other one has yet to say waits, and
//! is walked again when the other one has moved. Positions are counted from the first byte that was fed.

use std::ops::Range;

use crate::facts::{Facts, Reason, Side, State, Version};
use crate::gap::{GAP_WORK_BYTES_MAX, Lost};
use crate::half::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, Epoch, HANDSHAKE, HEADER_BYTES, HEARTBEAT, HELD_BYTES_MAX,
    Half, Header, PLAIN_BYTES_MAX, PassEarly, RECORD_BYTES_MAX, RECORD_BYTES_MAX_13,
};
use crate::handshake::{CLIENT_HELLO, SERVER_HELLO};
use crate::keylog::{KeyLog, Random};

/// What is taken of the caller's bytes in one go.
const CHUNK_BYTES: usize = 16 * 1024;

/// Application data of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plain<'a> {
    /// The end that sent it.
    pub side: Side,
    /// The client sent it.
    pub from_client: bool,
    /// The client sent it before the handshake was over, so an attacker may have sent it again (RFC 8446, 8).
    pub early: bool,
    /// Position in the plaintext of this end. Where records were lost it jumps by the length of their ciphertext, which
    /// is no less than what they held.
    pub offset: u64,
    /// Where the record lies in the bytes that this end sent, header included; gaps are counted.
    pub cipher: Range<u64>,
    /// The plaintext.
    pub bytes: &'a [u8],
    /// What the handshake has told.
    pub facts: &'a Facts,
}

/// A connection, read from its first byte on.
pub struct Connection {
    pub(crate) halves: [Half; 2],
    pub(crate) state: State,
    pub(crate) facts: Facts,
    pub(crate) client_random: Option<Random>,
    /// The client announced 0-RTT data, and the server has not said whether it takes it.
    pub(crate) early_undecided: bool,
    /// TLS 1.3: another ClientHello has to come.
    pub(crate) retried: bool,
    /// TLS 1.2: the server's part of a full handshake was seen.
    pub(crate) hello_done: bool,
    /// What trying records behind gaps may still cost, bytes.
    pub(crate) gap_work_left: u64,
}

/// What a walk works with.
pub(crate) struct Context<'a> {
    pub(crate) log: &'a KeyLog,
    pub(crate) out: &'a mut dyn FnMut(Plain<'_>),
    pub(crate) side: Side,
    /// Where the record at hand lies.
    pub(crate) cipher: Range<u64>,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl Connection {
    /// A connection of which nothing was seen.
    pub fn new() -> Self {
        Self {
            halves: [Half::new(), Half::new()],
            state: State::Undecided,
            facts: Facts::default(),
            client_random: None,
            early_undecided: false,
            retried: false,
            hello_done: false,
            gap_work_left: GAP_WORK_BYTES_MAX,
        }
    }

    /// How far it can be read.
    pub fn state(&self) -> State {
        self.state
    }

    /// What the handshake told.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// This end has said that it sends no more. Without it the end of its bytes may be a cut.
    pub fn is_closed(&self, side: Side) -> bool {
        self.halves[side.index()].closed
    }

    /// Bytes of this end that were fed and are not read yet: the beginning of a record, or what waits for the other end.
    pub fn unread_bytes(&self, side: Side) -> usize {
        self.halves[side.index()].input.len()
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.halves.iter().map(|h| h.input.capacity() + h.joiner.held_bytes()).sum()
    }

    /// Takes the next bytes of one end, in the order in which it sent them; both ends interleaved as captured.
    pub fn feed(&mut self, side: Side, bytes: &[u8], log: &KeyLog, out: &mut dyn FnMut(Plain<'_>)) {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            if self.is_over() {
                return;
            }
            self.halves[side.index()].input.extend_from_slice(chunk);
            if let Err(reason) = self.walk_both(side, log, out) {
                self.end(State::Unseen(reason));
            }
        }
    }

    /// So many bytes of one end were not captured; what is fed next follows behind them. Before anything looked like TLS
    /// it cannot be told any more whether it is.
    pub fn gap(&mut self, side: Side, missing_bytes: u64) {
        if missing_bytes == 0 || self.is_over() {
            return;
        }
        if let Err(reason) = self.lose(side, missing_bytes) {
            self.end(State::Unseen(reason));
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::NotTls | State::Unseen(_))
    }

    fn end(&mut self, state: State) {
        if !self.is_over() {
            self.state = state;
        }
        let closed = self.halves.each_ref().map(|h| h.closed);
        self.halves = [Half::new(), Half::new()];
        for (half, closed) in self.halves.iter_mut().zip(closed) {
            half.closed = closed;
        }
    }

    fn walk_both(&mut self, side: Side, log: &KeyLog, out: &mut dyn FnMut(Plain<'_>)) -> Result<(), Reason> {
        let mut side = side;
        let mut moved = self.walk(side, log, out)?;
        // Each turn takes at least a byte off one of the inputs.
        while !self.halves[side.other().index()].input.is_empty() {
            side = side.other();
            let now = self.walk(side, log, out)?;
            if !now && !moved {
                break;
            }
            moved = now;
        }
        Ok(())
    }

    /// Walks one direction as far as it goes; tells whether it moved.
    fn walk(&mut self, side: Side, log: &KeyLog, out: &mut dyn FnMut(Plain<'_>)) -> Result<bool, Reason> {
        let mut input = std::mem::take(&mut self.halves[side.index()].input);
        let mut at = 0;
        let result = loop {
            match self.step(side, &mut input[at..], log, out) {
                Ok(0) => break Ok(at > 0),
                Ok(taken) => {
                    at += taken;
                    self.halves[side.index()].cipher_at += taken as u64;
                }
                Err(reason) => break Err(reason),
            }
        };
        if self.is_over() {
            return Ok(false);
        }
        if at == input.len() {
            // Idle connections hold nothing.
            input = Vec::new();
        } else {
            input.drain(..at);
        }
        let too_much = input.len() > HELD_BYTES_MAX;
        self.halves[side.index()].input = input;
        if too_much && result.is_ok() { Err(Reason::TooMuchHeld) } else { result }
    }

    /// Takes what comes next off the input: returns how many bytes that was; none where more are needed or the other
    /// direction has to come first.
    fn step(
        &mut self,
        side: Side,
        input: &mut [u8],
        log: &KeyLog,
        out: &mut dyn FnMut(Plain<'_>),
    ) -> Result<usize, Reason> {
        let half = &mut self.halves[side.index()];
        if input.is_empty() || half.closed {
            return Ok(input.len());
        }
        if half.skip_bytes > 0 {
            let taken = half.skip_bytes.min(input.len() as u64);
            half.skip_bytes -= taken;
            half.plain_at += taken;
            return Ok(taken as usize);
        }
        let mut context = Context { log, out, side, cipher: 0..0 };
        if half.lost.is_some() {
            return self.resync(input, &mut context);
        }
        if self.facts.client.is_none() && !self.begin(side, input)? {
            return Ok(0);
        }
        let Some(header) = Header::read(input, self.record_bytes_max())? else { return Ok(0) };
        let Some(body) = input.get_mut(HEADER_BYTES..header.record_len()) else { return Ok(0) };
        if self.must_wait(side, header.kind) {
            return Ok(0);
        }
        let at = self.halves[side.index()].cipher_at;
        context.cipher = at..at + header.record_len() as u64;
        self.record(header, body, &mut context)?;
        Ok(header.record_len())
    }

    pub(crate) fn record_bytes_max(&self) -> usize {
        if self.facts.version == Some(Version::TLS13) { RECORD_BYTES_MAX_13 } else { RECORD_BYTES_MAX }
    }

    /// Looks at the first bytes of a direction while the client is not known. `false`: there is nothing to do yet.
    fn begin(&mut self, side: Side, input: &[u8]) -> Result<bool, Reason> {
        if Header::read(input, RECORD_BYTES_MAX).is_err() {
            // The other end spoke TLS, though not as a client.
            if self.state == State::Handshake {
                return Err(Reason::JoinedLate);
            }
            self.end(State::NotTls);
            return Ok(false);
        }
        match (input[0], input.get(HEADER_BYTES)) {
            (HANDSHAKE, None) => return Ok(false),
            (HANDSHAKE, Some(&CLIENT_HELLO)) => self.facts.client = Some(side),
            // The ClientHello may have been captured later.
            (HANDSHAKE, Some(&SERVER_HELLO)) => {}
            _ if input.len() == 1 => return Ok(false),
            _ => return Err(Reason::JoinedLate),
        }
        self.state = State::Handshake;
        Ok(self.facts.client.is_some())
    }

    pub(crate) fn is_client(&self, side: Side) -> bool {
        self.facts.client == Some(side)
    }

    /// What this record means depends on something that the other end has yet to say.
    fn must_wait(&self, side: Side, kind: u8) -> bool {
        if !self.is_client(side) {
            return self.client_random.is_none();
        }
        let half = &self.halves[side.index()];
        let of_hello = matches!(kind, HANDSHAKE | ALERT);
        half.keys.is_none() && !of_hello && (self.facts.version.is_none() || self.early_undecided)
    }

    fn record(&mut self, header: Header, body: &mut [u8], context: &mut Context<'_>) -> Result<(), Reason> {
        let half = &mut self.halves[context.side.index()];
        let tls13 = self.facts.version == Some(Version::TLS13);
        let Some(keys) = &half.keys else { return self.record_in_clear(header, body, context) };
        if tls13 {
            match header.kind {
                APPLICATION_DATA => {}
                // For the sake of middleboxes (RFC 8446, D.4).
                CHANGE_CIPHER_SPEC if body == [1] => return Ok(()),
                // One end gave up before it had keys.
                ALERT if keys.epoch == Epoch::Handshake => return Err(Reason::Refused),
                _ => return Err(Reason::Malformed),
            }
        }
        match keys.opener.open(half.sequence, header.bytes, body) {
            Some(text) => {
                half.sequence += 1;
                half.pass_early = PassEarly::No;
                self.opened(header.kind, text, context)
            }
            None if half.pass_early != PassEarly::No && keys.epoch == Epoch::Handshake => {
                if half.pass_early == PassEarly::Missed {
                    half.plain_at += header.record_len() as u64;
                }
                Ok(())
            }
            None => Err(Reason::Unauthentic),
        }
    }

    fn record_in_clear(
        &mut self,
        header: Header,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), Reason> {
        let half = &mut self.halves[context.side.index()];
        match header.kind {
            HANDSHAKE => self.messages(body, context),
            ALERT => self.alert(body, context.side),
            CHANGE_CIPHER_SPEC if body != [1] => Err(Reason::Malformed),
            CHANGE_CIPHER_SPEC if self.facts.version == Some(Version::TLS12) => {
                self.change_cipher(context.side)
            }
            CHANGE_CIPHER_SPEC => Ok(()),
            APPLICATION_DATA if half.pass_early == PassEarly::Refused => Ok(()),
            _ => Err(Reason::Malformed),
        }
    }

    /// Goes on with the authenticated text of a record.
    pub(crate) fn opened(&mut self, kind: u8, text: &[u8], context: &mut Context<'_>) -> Result<(), Reason> {
        let side = context.side;
        let (kind, text) = if self.facts.version == Some(Version::TLS13) {
            // Type and padding stand behind the text (RFC 8446, 5.4).
            let last = text.iter().rposition(|&b| b != 0).ok_or(Reason::Malformed)?;
            (text[last], &text[..last])
        } else {
            (kind, text)
        };
        if text.len() > PLAIN_BYTES_MAX {
            return Err(Reason::TooLarge);
        }
        match kind {
            HANDSHAKE => self.messages(text, context),
            ALERT => self.alert(text, side),
            CHANGE_CIPHER_SPEC if self.facts.version == Some(Version::TLS12) && text == [1] => {
                self.change_cipher(side)
            }
            APPLICATION_DATA => self.deliver(text, context),
            HEARTBEAT => Ok(()),
            _ => Err(Reason::Malformed),
        }
    }

    fn deliver(&mut self, text: &[u8], context: &mut Context<'_>) -> Result<(), Reason> {
        let from_client = self.is_client(context.side);
        let half = &mut self.halves[context.side.index()];
        let amid_message = self.facts.version == Some(Version::TLS13) && !half.joiner.is_empty();
        if half.epoch() == Some(Epoch::Handshake) || amid_message {
            return Err(Reason::Malformed);
        }
        half.adrift = false;
        let offset = half.plain_at;
        half.plain_at += text.len() as u64;
        if !text.is_empty() {
            (context.out)(Plain {
                side: context.side,
                from_client,
                early: half.epoch() == Some(Epoch::Early),
                offset,
                cipher: context.cipher.clone(),
                bytes: text,
                facts: &self.facts,
            });
        }
        Ok(())
    }

    /// RFC 5246, 7.2; RFC 8446, 6: all but two alerts of TLS 1.3 are fatal, whatever their level says.
    fn alert(&mut self, text: &[u8], side: Side) -> Result<(), Reason> {
        const CLOSE_NOTIFY: u8 = 0;
        const USER_CANCELED: u8 = 90;
        const FATAL: u8 = 2;
        let &[level, description] = text else { return Err(Reason::Malformed) };
        let tls13 = self.facts.version == Some(Version::TLS13);
        let half = &mut self.halves[side.index()];
        let fatal = level == FATAL || (tls13 && description != USER_CANCELED && description != CLOSE_NOTIFY);
        if fatal && half.epoch() != Some(Epoch::Application) {
            return Err(Reason::Refused);
        }
        half.closed |= fatal || description == CLOSE_NOTIFY;
        Ok(())
    }

    fn lose(&mut self, side: Side, missing_bytes: u64) -> Result<(), Reason> {
        if self.state == State::Undecided {
            self.end(State::NotTls);
            return Ok(());
        }
        if self.facts.client.is_none() {
            return Err(Reason::JoinedLate);
        }
        let record_bytes_max = self.record_bytes_max();
        let early_undecided = self.early_undecided;
        let half = &mut self.halves[side.index()];
        if half.closed {
            return Ok(());
        }
        let unread = half.input.len() as u64;
        let known_rest = if half.lost.is_some() {
            half.skip_bytes
        } else {
            match Header::read(&half.input, record_bytes_max)? {
                // A whole record waits for the other direction.
                Some(header) => (header.record_len() as u64).checked_sub(unread).ok_or(Reason::Gap)?,
                None => 0,
            }
        };
        if half.keys.is_none() && half.next.is_empty() || early_undecided {
            return Err(Reason::Gap);
        }
        half.input = Vec::new();
        half.joiner.clear();
        half.adrift = true;
        half.cipher_at += unread + missing_bytes;
        half.plain_at += unread + missing_bytes;
        half.skip_bytes = known_rest.saturating_sub(missing_bytes);
        half.lost = Some(Lost::new(half.lost.as_ref(), unread.saturating_add(missing_bytes)));
        Ok(())
    }
}
