//! Which response answers which request.
//!
//! Responses come in the order of the requests (RFC 9112, 9.3), so where nothing was lost the front of the queue is
//! the answer. Where something was lost, hidden messages may stand between, and a guess could tie a response to a
//! request that it does not answer. The rules, of which the first that applies holds:
//!
//! | what is known | the response answers |
//! | --- | --- |
//! | the front is already answered in part (interim responses) | the front |
//! | responses are owed to requests that were given up | none that is held |
//! | no loss before the front of the queue | the front |
//! | responses were lost, one request waits, none was lost before it, and the response acknowledges no more | that one |
//! | the client never pipelined, and the last request acknowledges exactly what precedes the response | the last, on probation |
//! | otherwise | none |
//!
//! The last but one rests on what a client that does not pipeline does: it sends a request when it has all of the
//! responses before it, and its packet says so. Probation covers the rest: the pair is held until the next request
//! shows that the client took it for an answer too; an extra response before that takes it apart again. A client
//! that pipelines is never paired again on a connection that lost messages: that would be guessing.

use headtrail_record::transaction::{Anomaly, Incomplete, IncompleteReason, RawTransaction, Side};

use crate::connection::Connection;
use crate::framing::Anomalies;
use crate::run::distance;
use crate::stream::State;

/// A transaction in progress.
pub(crate) struct Exchange {
    pub(crate) tx: RawTransaction,
    /// The request is whole, or will not become whole.
    pub(crate) request_done: bool,
    /// The final response is whole, or will not become whole.
    pub(crate) response_done: bool,
    /// Acknowledgement number of the request's first packet.
    pub(crate) acknowledgement: Option<u32>,
    /// Requests before this one may be missing.
    pub(crate) barrier: Option<IncompleteReason>,
    /// The pair may be a wrong one until something confirms it; since when, nanoseconds.
    pub(crate) probation: Option<u64>,
    /// Its start was told as seen at the other end, and so will its end be.
    pub(crate) told_by_twin: bool,
    /// The request's method is HEAD.
    pub(crate) head: bool,
    /// The request's method is CONNECT.
    pub(crate) connect: bool,
}

impl Exchange {
    pub(crate) fn mark(&mut self, reason: IncompleteReason, side: Side, at: Option<u64>) {
        self.tx.incomplete.push(Incomplete { reason, side, at });
    }

    pub(crate) fn note(&mut self, anomaly: Anomaly) {
        let mut set = Anomalies::default();
        set.add(anomaly);
        set.append_to(&mut self.tx.anomalies);
    }

    /// The response has begun.
    pub(crate) fn is_answered(&self) -> bool {
        self.tx.response.is_some() || !self.tx.interim.is_empty()
    }
}

/// What a response answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// The front of the queue.
    Front,
    /// The back of the queue, if what is known is no accident.
    BackOnProbation,
    /// No request that is held.
    None,
    /// The same, because it is owed to one that was given up.
    Owed,
}

impl Connection {
    /// Which request a response that begins at `sequence` answers.
    pub(crate) fn target(&self, sequence: u32, acknowledgement: Option<u32>) -> Target {
        let Some(front) = self.queue.front() else {
            return if self.owed > 0 { Target::Owed } else { Target::None };
        };
        if front.tx.response.is_some() {
            // The front waits for the end of its request, or for the end of its probation.
            return Target::None;
        }
        let sure =
            self.response_gap.is_none() || (self.queue.len() == 1 && !self.hides_requests(acknowledgement));
        if front.is_answered() && sure {
            return Target::Front;
        }
        if self.owed > 0 {
            return Target::Owed;
        }
        if front.barrier.is_none() && sure {
            return Target::Front;
        }
        let last_acknowledges = self.queue.back().is_some_and(|e| e.acknowledgement == Some(sequence));
        if !self.pipelined && last_acknowledges { Target::BackOnProbation } else { Target::None }
    }

    /// A response acknowledges more of the requests than was seen.
    pub(crate) fn hides_requests(&self, acknowledgement: Option<u32>) -> bool {
        let (Some(acknowledged), Some(requests)) = (acknowledgement, self.request_direction) else {
            return true;
        };
        let stream = &self.streams[requests.index()];
        let seen = match stream.state {
            State::Length { remaining } => stream.next.wrapping_add(remaining as u32),
            _ => stream.next,
        };
        !stream.synced
            || stream.gap.is_some()
            || stream.state == State::Lost
            // What is taken for a body of unknown length may hold requests.
            || stream.may_be_body()
            || distance(seen, acknowledged) > 0
    }

    /// A request came while an earlier one was unanswered. `acknowledgement` tells how much the client had of the
    /// responses: what was lost for the capture was not lost for the client.
    pub(crate) fn sees_pipelining(&self, acknowledgement: Option<u32>) -> bool {
        let Some(last) = self.queue.back().filter(|e| !e.response_done) else { return false };
        let (Some(now), Some(then)) = (acknowledgement, last.acknowledgement) else { return true };
        if distance(then, now) <= 0 {
            return true;
        }
        let Some(requests) = self.request_direction else { return false };
        let responses = &self.streams[requests.reverse().index()];
        let known_end = match responses.state {
            State::Length { remaining } if self.orphan.is_none() => {
                responses.next.wrapping_add(remaining as u32)
            }
            // Where responses were lost, what it acknowledges beyond them may answer all.
            State::Boundary if responses.synced && self.response_gap.is_none() => responses.next,
            _ => return false,
        };
        // Behind the responses' known end the client has seen more than the capture.
        let has_all = match responses.state {
            State::Length { .. } => distance(known_end, now) >= 0,
            _ => distance(known_end, now) > 0,
        };
        !has_all
    }
}
