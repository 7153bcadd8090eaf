//! Has libpcap compile a checked filter to classic BPF.

use std::sync::{Mutex, PoisonError};

use super::classic::ClassicInsn;
use super::error::{FilterError, escaped};
use super::lex::Token;

/// The link type of packets that begin with their IPv4 or IPv6 header. As libpcap numbers it on Linux
/// (DLT_RAW): the number in capture files (LINKTYPE_RAW, 101) is another one, which `pcap_open_dead` does
/// not know.
pub(super) const DLT_RAW: pcap::Linktype = pcap::Linktype(12);

/// libpcap looks names up with functions that share static memory (`getservbyname` and relatives in
/// versions before 1.10), so one filter is compiled at a time.
static COMPILING: Mutex<()> = Mutex::new(());

/// Compiles `filter`, whose tokens are `tokens`, for packets of a link type, without libpcap's optimiser, for two reasons. It is wrong: of
/// `src or dst port 81 or 0 && host 2001:db8::1 or !(port 81 or 65535)` version 1.10.3 loses the test for a
/// source port of 65535 where the destination port was compared last. And its time grows faster than the
/// square of the number of ports, to minutes. The program runs once a flow, so its length costs little.
pub(super) fn compile(
    filter: &str,
    tokens: &[Token],
    link: pcap::Linktype,
) -> Result<Vec<ClassicInsn>, FilterError> {
    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let capture = pcap::Capture::dead(link).map_err(|error| located(filter, tokens, &error.to_string()))?;
    let program = capture.compile(filter, false).map_err(|error| {
        let text = match error {
            pcap::Error::PcapError(text) => text,
            other => other.to_string(),
        };
        located(filter, tokens, &text)
    })?;
    let insns: Option<Vec<ClassicInsn>> =
        program.get_instructions().iter().map(|insn| parse_insn(&insn.to_string())).collect();
    insns.ok_or_else(|| FilterError::new(filter, 0, "libpcap gave a program that cannot be read"))
}

/// The crate `pcap` keeps the fields of an instruction to itself, but prints them: `code jt jf k`.
fn parse_insn(text: &str) -> Option<ClassicInsn> {
    let mut fields = text.split(' ');
    let insn = ClassicInsn {
        code: fields.next()?.parse().ok()?,
        jt: fields.next()?.parse().ok()?,
        jf: fields.next()?.parse().ok()?,
        k: fields.next()?.parse().ok()?,
    };
    fields.next().is_none().then_some(insn)
}

/// libpcap names the token it stumbled over, if anything: the caret goes there, else to the end.
fn located(filter: &str, tokens: &[Token], message: &str) -> FilterError {
    let named = message.split('\'').nth(1).or_else(|| message.rsplit(' ').next()).unwrap_or_default();
    let token = tokens.iter().find(|token| token.text.strip_prefix('\\').unwrap_or(&token.text) == named);
    let at = token.map_or(filter.len(), |token| token.at);
    let name = escaped(named);
    let message = match message {
        m if m.starts_with("unknown host") => format!("the host name '{name}' does not resolve"),
        m if m.starts_with("unknown network") => {
            format!("'{name}' is not a network: not in the networks database, and not an address")
        }
        m if m.starts_with("unknown port") => format!("'{name}' is not a service in the services database"),
        m => escaped(m),
    };
    FilterError::new(filter, at, message)
}
