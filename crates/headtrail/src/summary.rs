//! The counts: at the end, on SIGUSR1, and as loss records while running. What was seen is what was printed, what was
//! dropped by reason, and what is still held.

use std::borrow::Cow;
use std::fmt::Write as _;

use headtrail_assemble::{Counters as Assembled, Messages};
use headtrail_capture::Counters as Captured;

/// All counters at one moment.
pub(crate) struct Counts {
    pub(crate) captured: Captured,
    pub(crate) assembled: Assembled,
    pub(crate) held: Messages,
    pub(crate) backlog_bytes: u64,
}

/// Something that is missing from the output, as it stands in loss records.
pub(crate) struct Lost {
    /// Where.
    pub(crate) stage: Cow<'static, str>,
    /// Why.
    pub(crate) reason: &'static str,
    /// What is counted.
    pub(crate) what: &'static str,
    /// How many.
    pub(crate) count: u64,
}

/// What assembly itself could not read, zero or not.
pub(crate) fn lost_in_assembly(of: &Assembled) -> [Lost; 2] {
    let lost = |reason, what, count| Lost { stage: Cow::Borrowed("assemble"), reason, what, count };
    [
        lost("http2_lost", "directions of HTTP/2 in which the place was lost behind a hole", of.http2_lost),
        lost("http2_blocks_broken", "header blocks of HTTP/2", of.http2_blocks_broken),
    ]
}

/// Connections by what they speak.
pub(crate) fn protocols(of: &Assembled) -> [(&'static str, u64); 3] {
    let http1 = of.connections.saturating_sub(of.other_connections + of.http2_connections);
    [("http/1", http1), ("http/2", of.http2_connections), ("other", of.other_connections)]
}

impl Counts {
    /// Every reason for which something is missing, with its count, zero or not.
    pub(crate) fn lost(&self) -> Vec<Lost> {
        let c = &self.captured;
        let kernel = |reason, what, count| Lost { stage: Cow::Borrowed("kernel"), reason, what, count };
        let mut all = vec![
            kernel("ring_full", "requests", c.requests_lost),
            kernel("ring_full", "responses", c.responses_lost),
            kernel("ring_full", "unframed segments", c.raw_segments_lost),
            kernel("ring_full", "ends of bodies and connections", c.events_lost),
            kernel("copy_budget", "unframed bytes", c.raw_bytes_passed),
            kernel("no_memory", "sockets", c.sockets_failed),
            kernel("no_scratch", "packets", c.slots_busy),
            Lost {
                stage: Cow::Borrowed("capture"),
                reason: "not_decoded",
                what: "records",
                count: c.undecoded,
            },
            Lost {
                stage: Cow::Borrowed("assemble"),
                reason: "framing",
                what: "messages that the kernel found and assembly did not",
                count: self.framing_differs(),
            },
        ];
        all.extend(lost_in_assembly(&self.assembled));
        all
    }

    /// Messages that the kernel put into the ring as such and that assembly did not find. Zero unless one of both is
    /// wrong. (Assembly may find more: where the kernel does not frame, it does not count.)
    fn framing_differs(&self) -> u64 {
        if self.backlog_bytes > 0 {
            return 0;
        }
        let c = &self.captured;
        let a = &self.assembled.started;
        c.requests_read.saturating_sub(a.requests) + c.responses_read.saturating_sub(a.responses)
    }

    /// For people, several lines.
    pub(crate) fn report(&self) -> String {
        let mut text = String::new();
        let c = &self.captured;
        let a = &self.assembled;
        let _ = writeln!(
            text,
            "headtrail: printed {} transactions, {} of them not whole",
            a.transactions, a.incomplete
        );
        let sides = [
            (
                "requests ",
                a.started.requests,
                a.given.requests,
                c.requests_lost,
                a.dropped_twin.requests,
                self.held.requests,
            ),
            (
                "responses",
                a.started.responses,
                a.given.responses,
                c.responses_lost,
                a.dropped_twin.responses,
                self.held.responses,
            ),
        ];
        for (name, started, printed, lost, twin, held) in sides {
            let _ = writeln!(
                text,
                "headtrail: {name} seen {} = printed {printed} + dropped {} (ring_full {lost}, other_end {twin}) + held {held}",
                started + lost,
                lost + twin,
            );
        }
        let [(_, http1), (_, http2), (_, other)] = protocols(a);
        let _ = writeln!(
            text,
            "headtrail: connections {}: http/1 {http1}, http/2 {http2}, other {}, filtered {}, other end on loopback {}",
            c.sockets,
            c.sockets_other + other,
            c.sockets_filtered,
            c.sockets_loopback,
        );
        for lost in self.lost().iter().filter(|l| l.count > 0) {
            let _ = writeln!(
                text,
                "headtrail: lost {} {} ({}: {})",
                lost.count, lost.what, lost.stage, lost.reason
            );
        }
        if self.backlog_bytes > 0 {
            let _ = writeln!(text, "headtrail: {} bytes wait in the ring", self.backlog_bytes);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_assembly_of_http2_lost_is_told() {
        let counts = Counts {
            captured: Captured::default(),
            assembled: Assembled {
                connections: 10,
                http2_connections: 3,
                other_connections: 2,
                http2_lost: 4,
                http2_blocks_broken: 5,
                ..Assembled::default()
            },
            held: Messages::default(),
            backlog_bytes: 0,
        };
        let report = counts.report();
        for line in [
            "http/1 5, http/2 3, other 2,",
            "lost 4 directions of HTTP/2 in which the place was lost behind a hole (assemble: http2_lost)\n",
            "lost 5 header blocks of HTTP/2 (assemble: http2_blocks_broken)\n",
        ] {
            assert!(report.contains(line), "{line}\n{report}");
        }
    }
}
