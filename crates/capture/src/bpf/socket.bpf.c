/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Finds the HTTP/1 heads in what the sockets of this host send and receive, and copies them out.
 *
 * How it works
 *
 * 1. Two programs sit on the root of the cgroup v2 hierarchy, one for ingress and one for egress. They see each packet
 *    of each socket, from its IP header on. A packet without payload and without FIN costs a look at two headers.
 * 2. Each socket has its state in socket storage (struct ht_sock), per direction where the framing is: at the start
 *    of a message, within a head, within a body. The walk goes by TCP sequence number, so that a retransmission is
 *    passed over and a hole is noticed. A body is passed over by its length or by its chunks; a request line within
 *    a body is not looked at.
 * 3. A head is looked at in a scratch area of the CPU, eight bytes at a time: only line ends, the two fields that tell
 *    the length of the body, and the empty line matter. What was looked at then goes into the ring as
 *    one record, with the packet's headers in front of it. One record may hold many heads (pipelining).
 *    The alternative, reserving ring memory by size classes and looking there, saves one copy and costs ring space for
 *    what is behind the head; it measured no faster.
 * 4. Where the walk meets what it cannot settle (a hole, a folded line, two lengths, a chunk header it does not
 *    understand, too many steps), it goes to HT_M_RAW: it copies the payload, within a budget, and user space parses.
 *    User space answers with the sequence number of the next message start (ht_resyncs). As long as the requests of
 *    a connection are raw, so are its responses: whether a response has a body depends on its request.
 * 5. A socket that began before the capture is joined at a message start only where the kernel's own clocks say that
 *    the other side was the last to send (HT_M_WAIT else).
 * 6. When client and server are both here, in one namespace over loopback, the server's socket is the one that counts;
 *    the client's tells its owner once (HT_PEER) and is left alone.
 * 7. Handshake segments with data carry the listener as socket (deferred accept, fast open). They are copied as they are
 *    and remembered by tuple; the child then starts raw in both directions.
 *
 * Races: ingress of one socket can run on two CPUs. The second one copies its payload raw and sets `contended`, whereupon
 * the first leaves the direction raw. Every doubt ends in HT_M_RAW; none ends in a skipped message.
 *
 * Every path returns 1: a 0 would drop the user's packet.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "abi.h"
#include "lib/core.bpf.h"
#include "lib/maps.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define PASS 1
/* Keeps the compiler from computing field addresses, which the verifier refuses for socket pointers. */
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define LOOPBACK_IFINDEX 1 /* in every network namespace: include/net/net_namespace.h */
#define TCP_LISTEN 10	   /* include/net/tcp_states.h */
#define TCP_FIN 0x01

/* The window begins here in the scratch buffer; record and headers, or the carried line, lie before it. */
#define WINDOW_AT 256
#define BUFFER_MASK 8191
#define SCAN_STEPS_MAX 640

#define ONES 0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL
#define LF8 0x0a0a0a0a0a0a0a0aULL
#define LOWER8 0x2020202020202020ULL
/* Little-endian words; a big-endian build would need them mirrored. */
#define W_CONTENT 0x2d746e65746e6f63ULL	 /* content- */
#define W_LENGTH 0x003a6874676e656cULL	 /* length: */
#define W_LENGTH6 0x00006874676e656cULL	 /* length */
#define W_TRANSFER 0x726566736e617274ULL /* transfer */
#define W_ENCODIN 0x6e69646f636e652dULL	 /* -encodin */
#define W_CHUNKED 0x0064656b6e756863ULL	 /* chunked */
#define W_HTTP1 0x002e312f50545448ULL	 /* HTTP/1. */
#define MASK7 0x00ffffffffffffffULL
#define MASK6 0x0000ffffffffffffULL
#define W_GET 0x20544547U
#define W_POST 0x54534f50U
#define W_HEAD 0x44414548U
#define W_CONN 0x4e4e4f43U

/* Bits of ht_dir.facts. */
enum {
	F_RESPONSE = 1 << 0,
	F_LENGTH = 1 << 1,
	F_CHUNKED = 1 << 2,
	F_MIDLINE = 1 << 3,   /* within a long line that is of no interest */
	F_STARTLINE = 1 << 4, /* its end is still to come */
	F_BODYLESS = 1 << 5,  /* HEAD or CONNECT */
	F_CONNECT = 1 << 6,
};

struct ht_scratch {
	struct ht_counters counters;
	__u32 busy;
	/* The packet. */
	__u32 direction;
	__u32 sequence;	    /* of payload byte 0 */
	__u32 payload_at;   /* offset of the payload in the packet */
	__u32 payload_bytes;
	__u32 header_bytes; /* to be copied */
	__u32 segments;
	__u64 time_ns;
	/* The walk. */
	__u32 pos;	    /* payload byte that comes next */
	__u32 window_pos;   /* payload byte at WINDOW_AT */
	__u32 window_bytes; /* 0: nothing loaded */
	__u32 emit_bytes;   /* of the window are heads, up to here */
	__u32 headers_in;   /* 1: the headers lie before the window */
	__u32 head_here;    /* 1: a head ended in this packet */
	__u32 flags;	    /* for the record */
	__u32 request_starts;
	__u32 response_starts;
	__u32 raw;
	/* Of a scan: where it is, where the text ends, where the current line and the values of interest begin (0: none). */
	__u32 at;
	__u32 end;
	__u32 line;
	__u32 length_at;
	__u32 encoding_at;
	__u32 pad;
	struct ht_record event; /* a record without payload; here because the stack is small */
	struct ht_early_key key;
	struct ht_sock early; /* stands in for the state of a socket that is not there yet */
	__u8 buffer[BUFFER_MASK + 1 + 64];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HT_SLOTS);
	__type(key, __u32);
	__type(value, struct ht_scratch);
} ht_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ht_resync_key);
	__type(value, struct ht_resync);
} ht_resyncs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ht_early_key);
	__type(value, __u32);
} ht_early SEC(".maps");

/* Where the filter program and the programs below find each other. One array for each direction, since the kernel
 * ties an array to one attach type. */
struct ht_calls {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} ht_calls_in SEC(".maps"), ht_calls_out SEC(".maps");

enum { HT_CALL_FILTER, HT_CALL_RESUME };

const volatile __u32 ht_has_filter;
static __always_inline __u64 word(struct ht_scratch *s, __u32 at)
{
	return *(__u64 *)(s->buffer + (at & BUFFER_MASK));
}

/*
 * Where `bytes` that shall end at the window begin. The offset is added, never subtracted from a pointer, and hidden
 * from the optimiser, so that the verifier sees its bounds.
 */
static __always_inline __u8 *before_window(struct ht_scratch *s, __u32 bytes)
{
	__u64 at = WINDOW_AT - bytes;

	asm volatile("" : "+r"(at));
	return s->buffer + (at & WINDOW_AT - 1);
}

static __always_inline void fill_record(struct ht_record *r, struct ht_sock *st, __u8 kind, __u32 direction)
{
	r->version = HT_ABI_VERSION;
	r->kind = kind;
	r->direction = direction;
	r->flags = 0;
	r->starts = 0;
	r->cookie = st->cookie;
	r->netns = st->netns;
	r->header_bytes = 0;
	r->payload_bytes = 0;
	r->segments = 1;
	r->closed_by_fin = 0;
	r->pid = st->pid;
	r->octets = 0;
	__builtin_memcpy(r->comm, st->comm, sizeof(r->comm));
}

/* A record without payload. */
__noinline int ht_event(struct ht_scratch *s, struct ht_sock *st, __u8 kind, __u32 sequence)
{
	if (!s || !st)
		return 0;
	struct ht_record *r = &s->event;

	fill_record(r, st, kind, s->direction & 1);
	r->time_ns = s->time_ns ? s->time_ns : bpf_ktime_get_ns();
	r->sequence = sequence;
	r->packet_end = sequence;
	r->octets = st->dir[s->direction & 1].octets;
	if (ring_put(r, sizeof(*r)))
		s->counters.events_lost++;
	return 0;
}

/* Puts the first emit_bytes of the window into the ring. */
__noinline int ht_emit(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return 0;
	__u32 bytes = s->emit_bytes, headers = s->header_bytes, starts;
	struct ht_dir *d = &st->dir[s->direction & 1];
	struct ht_record *r;

	s->emit_bytes = 0;
	if (!bytes)
		return 0;
	bytes = (bytes - 1 & HT_WINDOW_BYTES - 1) + 1;
	if (headers > HT_HEADER_BYTES_MAX)
		headers = HT_HEADER_BYTES_MAX;
	if (headers < 1)
		return 0;
	if (!s->headers_in && bpf_skb_load_bytes(skb, 0, before_window(s, headers), headers))
		headers = 4;
	if (!s->time_ns)
		s->time_ns = bpf_ktime_get_ns();
	starts = s->request_starts + s->response_starts;
	r = (void *)before_window(s, sizeof(*r) + headers);
	fill_record(r, st, HT_SEGMENT, s->direction & 1);
	r->flags = s->flags | (d->lost ? HT_LOST : 0) | (st->fresh & 1 << (s->direction & 1) ? HT_FRESH : 0) |
		   (st->flags & HT_S_JOINED ? HT_JOINED : 0);
	r->starts = starts;
	r->time_ns = s->time_ns;
	r->sequence = s->sequence + s->window_pos;
	r->packet_end = s->sequence + s->payload_bytes;
	r->header_bytes = headers;
	r->payload_bytes = bytes;
	r->segments = s->segments;
	if (ring_put(r, sizeof(*r) + headers + bytes)) {
		d->lost = 1;
		s->counters.segments_lost++;
		if (s->flags & HT_RAW)
			s->counters.raw_segments_lost++;
		s->counters.requests_lost += s->request_starts;
		s->counters.responses_lost += s->response_starts;
	} else {
		d->lost = 0;
		s->counters.segments++;
		if (s->flags & HT_RAW)
			s->counters.raw_segments++;
	}
	s->counters.requests_seen += s->request_starts;
	s->counters.responses_seen += s->response_starts;
	s->request_starts = 0;
	s->response_starts = 0;
	return 0;
}

/* Loads a window at pos. Returns 0 where that failed. */
static __always_inline int load_window(struct __sk_buff *skb, struct ht_scratch *s, __u32 most)
{
	__u32 n = s->payload_bytes - s->pos, headers = s->header_bytes, from = s->payload_at + s->pos;

	if (n > most)
		n = most;
	if (n < 1 || n > HT_WINDOW_BYTES)
		return 0;
	s->window_pos = s->pos;
	s->window_bytes = n;
	s->headers_in = 0;
	s->emit_bytes = 0;
	if (!s->pos && headers == s->payload_at && headers >= 40 && headers <= HT_HEADER_BYTES_MAX) {
		s->headers_in = 1;
		return !bpf_skb_load_bytes(skb, 0, before_window(s, headers), headers + n);
	}
	return !bpf_skb_load_bytes(skb, from, s->buffer + WINDOW_AT, n);
}

enum { SCAN_MORE, SCAN_END, SCAN_BAD, SCAN_NOT_HTTP };

/* Looks at the line from s->line to behind its LF at s->at. */
__noinline int ht_line(struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return SCAN_BAD;
	struct ht_dir *d = &st->dir[s->direction & 1];
	__u32 line = s->line, at = s->at, facts = d->facts;
	__u64 first = word(s, line), next;

	s->line = at;
	if (facts & (F_MIDLINE | F_STARTLINE)) {
		d->facts = facts & ~(F_MIDLINE | F_STARTLINE);
		if ((facts & (F_MIDLINE | F_STARTLINE | F_RESPONSE)) == F_STARTLINE &&
		    (word(s, at - 10) & MASK7) != W_HTTP1 && (word(s, at - 9) & MASK7) != W_HTTP1)
			return SCAN_NOT_HTTP;
		return SCAN_MORE;
	}
	if (at - line <= 2 && ((first & 0xff) == '\n' || (first & 0xffff) == 0x0a0d))
		return SCAN_END;
	if ((first & 0xff) == ' ' || (first & 0xff) == '\t')
		return SCAN_BAD;
	first |= LOWER8;
	if (first == W_CONTENT) {
		next = word(s, line + 8) | LOWER8;
		if ((next & MASK6) != W_LENGTH6)
			return SCAN_MORE;
		if (s->length_at || facts & F_LENGTH || (next & MASK7) != W_LENGTH)
			return SCAN_BAD;
		s->length_at = line + 15;
	} else if (first == W_TRANSFER && (word(s, line + 8) | LOWER8) == W_ENCODIN) {
		if (s->encoding_at || facts & F_CHUNKED)
			return SCAN_BAD;
		s->encoding_at = line + 18;
	}
	return SCAN_MORE;
}

/*
 * Reads field lines from s->at to s->end or to the empty line. What changes from turn to turn lies in memory, of which
 * the verifier assumes nothing, and what is done at a line end is a function of its own: else the verifier would tell
 * apart the states of each turn and walk them all.
 */
__noinline int ht_scan_lines(struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return SCAN_BAD;
	int result;
	__u32 i;

	s->line = s->at;
	s->length_at = 0;
	s->encoding_at = 0;
	for (i = 0; i < SCAN_STEPS_MAX; i++) {
		__u32 at = s->at;
		__u64 w, t;

		if (at >= s->end)
			return SCAN_MORE;
		w = word(s, at) ^ LF8;
		t = (w - ONES) & ~w & HIGHS;
		if (!t) {
			w = word(s, at + 8) ^ LF8;
			t = (w - ONES) & ~w & HIGHS;
			at += 8;
			if (!t) {
				s->at = at + 8;
				continue;
			}
		}
		at += (((t & -t) - 1 & ONES) * ONES) >> 56;
		s->at = at;
		if (at > s->end)
			return SCAN_MORE;
		result = ht_line(s, st);
		if (result != SCAN_MORE)
			return result;
	}
	return SCAN_BAD;
}

/* Content-Length (RFC 9110, 8.6) at s->length_at: digits with blanks around them. Returns 0 for anything else. */
__noinline int ht_length(struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return 0;
	__u64 value = 0;
	__u32 at = s->length_at, i, state = 0; /* 0 before, 1 in, 2 behind the digits */

	for (i = 0; i < 32; i++) {
		__u8 c = s->buffer[(at + i) & BUFFER_MASK];

		if (c >= '0' && c <= '9' && state < 2 && value < 100000000000000000ULL) {
			value = value * 10 + (c - '0');
			state = 1;
		} else if (c == ' ' || c == '\t') {
			if (state)
				state = 2;
		} else {
			st->dir[s->direction & 1].octets = value;
			return state && (c == '\r' || c == '\n');
		}
	}
	return 0;
}

/* What the lines say of the body goes into d; an unfinished line is carried. s->at is then behind what was read. */
__noinline int ht_scan(struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return SCAN_BAD;
	struct ht_dir *d = &st->dir[s->direction & 1];
	int result = ht_scan_lines(s, st);
	__u32 at = s->at, end = s->end, line = s->line, length_at = s->length_at, encoding_at = s->encoding_at;
	__u32 facts = d->facts, tail, i;

	d->carry_len = 0;
	if (result == SCAN_MORE && end > line) {
		tail = end - line;
		if (tail <= HT_CARRY_BYTES) {
			if (!(facts & F_MIDLINE)) {
				d->carry_len = tail;
				__builtin_memcpy(d->carry, s->buffer + ((end - HT_CARRY_BYTES) & BUFFER_MASK), HT_CARRY_BYTES);
			}
		} else {
			__u64 first = word(s, line) | LOWER8, next = word(s, line + 8) | LOWER8;

			/* A long line: only one that tells the body's length would be missed. */
			if (!(facts & (F_STARTLINE | F_MIDLINE)) &&
			    ((first == W_CONTENT && (next & MASK6) == W_LENGTH6) || (first == W_TRANSFER && next == W_ENCODIN)))
				result = SCAN_BAD;
			facts |= F_MIDLINE;
		}
		at = end;
	}
	if (result == SCAN_MORE || result == SCAN_END) {
		if (length_at) {
			if (!ht_length(s, st))
				result = SCAN_BAD;
			facts |= F_LENGTH;
		}
		if (encoding_at) {
			__u8 c;

			for (i = 0; i < 4; i++) {
				c = s->buffer[(encoding_at + i) & BUFFER_MASK];
				if (c != ' ' && c != '\t')
					break;
			}
			encoding_at += i;
			c = s->buffer[(encoding_at + 7) & BUFFER_MASK];
			if (((word(s, encoding_at) | LOWER8) & MASK7) == W_CHUNKED &&
			    (c == '\r' || c == '\n' || c == ' ' || c == '\t'))
				facts |= F_CHUNKED;
			else
				result = SCAN_BAD;
		}
	}
	d->facts = facts;
	s->at = at;
	return result;
}

enum { IS_NOT, IS_REQUEST, IS_RESPONSE, IS_PARTIAL };

/* What the bytes at s->at (s->end - s->at of them) may begin. */
static __always_inline int classify(struct ht_scratch *s, __u32 at, __u32 n)
{
	__u64 w = word(s, at);
	__u32 i;

	if (n >= 4 && ((__u32)w == W_GET || (__u32)w == W_POST))
		return n < 16 ? IS_PARTIAL : IS_REQUEST;
	if (n < 7) {
		if (!((w ^ W_HTTP1) & (1ULL << n * 8) - 1))
			return IS_PARTIAL;
	} else if ((w & MASK7) == W_HTTP1) {
		__u64 status;

		if (n < 13)
			return IS_PARTIAL;
		status = word(s, at + 8);
		if ((status & 0xff) != ' ')
			return IS_NOT;
		status >>= 8;
		if ((status & 0xff) - '0' > 9 || (status >> 8 & 0xff) - '0' > 9 || (status >> 16 & 0xff) - '0' > 9)
			return IS_NOT;
		return IS_RESPONSE;
	}
	/* A method is a token (RFC 9110, 9.1); the version at the end of the line is checked by the scan. */
	for (i = 0; i < 24; i++) {
		__u8 c = s->buffer[(at + i) & BUFFER_MASK];

		if (i >= n)
			return IS_PARTIAL;
		if (c == ' ')
			return i < 2 ? IS_NOT : n < 16 ? IS_PARTIAL : IS_REQUEST;
		if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && c != '-' && c != '_')
			return IS_NOT;
	}
	return IS_NOT;
}

enum { STEP_MORE, STEP_DONE, STEP_RAW };

static __always_inline int not_http(struct ht_scratch *s, struct ht_sock *st, struct ht_dir *d)
{
	if (st->flags & HT_S_HTTP)
		return STEP_RAW;
	s->emit_bytes = 0;
	s->request_starts = 0;
	s->response_starts = 0;
	d->facts = 0;
	d->carry_len = 0;
	/* What was joined in the middle may still come to a start; within reason. */
	if (st->flags & HT_S_JOINED && d->raw_bytes++ < 64) {
		d->mode = HT_M_WAIT;
		return STEP_DONE;
	}
	st->flags |= HT_S_IGNORE;
	s->counters.sockets_other++;
	return STEP_DONE;
}

/* Start-line, field lines or trailers at pos. */
static __always_inline int step_head(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st, struct ht_dir *d)
{
	__u32 at, end, n, here = (s->direction & 1) + 1;
	int result;

	if (!s->window_bytes || s->pos - s->window_pos >= s->window_bytes) {
		ht_emit(skb, s, st);
		if (!load_window(skb, s, HT_WINDOW_BYTES))
			return STEP_RAW;
		s->flags = d->mode == HT_M_START && !d->carry_len ? HT_START : 0;
	}
	n = s->pos - s->window_pos;
	at = WINDOW_AT + n;
	end = WINDOW_AT + s->window_bytes;
	if (!n && d->carry_len && d->carry_len <= HT_CARRY_BYTES) {
		/* The headers make room for the carried line; they are loaded again for the record. */
		__builtin_memcpy(s->buffer + WINDOW_AT - HT_CARRY_BYTES, d->carry, HT_CARRY_BYTES);
		s->headers_in = 0;
		at -= d->carry_len;
	}
	if (d->mode == HT_M_START) {
		__u32 skip;

		/* Empty lines before a start-line are passed over (RFC 9112, 2.2). */
		for (skip = 0; skip < 4; skip++) {
			__u8 c = s->buffer[at & BUFFER_MASK];

			if (at >= end || (c != '\r' && c != '\n'))
				break;
			at++;
		}
		if (at >= end) {
			d->carry_len = 0;
			d->next += end - WINDOW_AT - n;
			s->pos = s->window_pos + s->window_bytes;
			s->emit_bytes = s->window_bytes;
			return STEP_MORE;
		}
		result = classify(s, at, end - at);
		if (result == IS_NOT)
			return not_http(s, st, d);
		if (result == IS_PARTIAL) {
			if (st->flags & HT_S_JOINED && !(st->flags & HT_S_HTTP))
				return not_http(s, st, d);
			d->carry_len = end - at;
			if (d->carry_len > HT_CARRY_BYTES)
				return STEP_RAW;
			__builtin_memcpy(d->carry, s->buffer + ((end - HT_CARRY_BYTES) & BUFFER_MASK), HT_CARRY_BYTES);
			d->next += end - WINDOW_AT - n;
			s->pos = s->window_pos + s->window_bytes;
			s->emit_bytes = s->window_bytes;
			return STEP_MORE;
		}
		d->facts = F_STARTLINE;
		d->octets = 0;
		if (result == IS_RESPONSE) {
			__u64 status = word(s, at + 8) >> 8;

			d->facts |= F_RESPONSE;
			d->status = ((status & 0xff) - '0') * 100 + ((status >> 8 & 0xff) - '0') * 10 + ((status >> 16 & 0xff) - '0');
			if (!st->request_dir)
				st->request_dir = 3 - here;
			/* Whether it has a body depends on a request that only user space knows. */
			if (st->dir[~s->direction & 1].mode == HT_M_RAW)
				return STEP_RAW;
			if (d->status >= 200 || d->status == 101)
				s->response_starts++;
		} else {
			__u32 method = word(s, at);

			if (method == W_HEAD)
				d->facts |= F_BODYLESS;
			if (method == W_CONN)
				d->facts |= F_BODYLESS | F_CONNECT;
			if (!st->request_dir)
				st->request_dir = here;
			s->request_starts++;
		}
		if ((result == IS_REQUEST) != (st->request_dir == here)) {
			if (result == IS_REQUEST)
				s->request_starts--;
			else if (d->status >= 200 || d->status == 101)
				s->response_starts--;
			return STEP_RAW;
		}
		d->mode = HT_M_HEAD;
	}
	s->at = at;
	s->end = end;
	result = ht_scan(s, st);
	at = s->at;
	if (result == SCAN_NOT_HTTP)
		return not_http(s, st, d);
	if (result == SCAN_BAD) {
		/* What was read goes out as counted; what follows goes out raw, and user space counts it. */
		if (at >= WINDOW_AT && at <= end) {
			s->emit_bytes = at - WINDOW_AT;
			s->pos = s->window_pos + (at - WINDOW_AT);
		}
		return STEP_RAW;
	}
	if (at < WINDOW_AT || at > end)
		return STEP_RAW;
	if (!(st->flags & HT_S_HTTP))
		st->flags |= HT_S_HTTP;
	d->next += at - WINDOW_AT - n;
	s->pos = s->window_pos + (at - WINDOW_AT);
	s->emit_bytes = at - WINDOW_AT;
	if (result == SCAN_MORE)
		return STEP_MORE;
	/* The head, or the trailer section, is complete. What follows it: RFC 9112, 6.3. */
	s->head_here = 1;
	d->left = 0;
	if (d->mode == HT_M_TRAILER) {
		d->mode = HT_M_START;
		return STEP_MORE;
	}
	d->mode = HT_M_START;
	if (d->facts & F_RESPONSE) {
		__u32 bodyless = 0;

		if (d->status == 101) {
			st->flags |= HT_S_IGNORE;
			return STEP_DONE;
		}
		if (d->status < 200)
			return STEP_MORE;
		if (st->requests != st->responses) {
			bodyless = st->bodyless >> (st->responses & 63) & 1;
			st->responses++;
		}
		if (bodyless && st->flags & HT_S_CONNECT && d->status < 300) {
			st->flags |= HT_S_IGNORE;
			return STEP_DONE;
		}
		if (bodyless || d->status == 204 || d->status == 304)
			return STEP_MORE;
	} else {
		__u64 bit = 1ULL << (st->requests & 63);

		if (d->facts & F_BODYLESS)
			st->bodyless |= bit;
		else
			st->bodyless &= ~bit;
		if (d->facts & F_CONNECT)
			st->flags |= HT_S_CONNECT;
		st->requests++;
		if (st->requests - st->responses >= 64)
			st->dir[~s->direction & 1].mode = HT_M_RAW;
	}
	if (d->facts & F_CHUNKED) {
		if (d->facts & F_LENGTH)
			return STEP_RAW;
		d->mode = HT_M_CHUNK;
		d->chunk = HT_C_SIZE;
		d->digits = 0;
		d->octets = 0;
	} else if (d->facts & F_LENGTH) {
		d->left = d->octets;
		if (d->left)
			d->mode = HT_M_BODY;
	} else if (d->facts & F_RESPONSE) {
		d->mode = HT_M_CLOSE;
		d->octets = 0;
	}
	return STEP_MORE;
}

/* Chunk header, chunk data or the CRLF behind it (RFC 9112, 7.1) at pos. */
static __always_inline int step_chunk(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st, struct ht_dir *d)
{
	__u32 n = s->payload_bytes - s->pos, i, used = 0;

	if (d->chunk == HT_C_DATA) {
		if (d->left < n)
			n = d->left;
		d->left -= n;
		d->octets += n;
		d->next += n;
		s->pos += n;
		if (!d->left)
			d->chunk = HT_C_END;
		return STEP_MORE;
	}
	ht_emit(skb, s, st);
	if (!load_window(skb, s, 32))
		return STEP_RAW;
	n = s->window_bytes;
	s->window_bytes = 0;
	for (i = 0; i < 32; i++) {
		__u8 c = s->buffer[WINDOW_AT + i], v;

		if (i >= n)
			break;
		used = i + 1;
		if (d->chunk == HT_C_END) {
			if (c == '\n') {
				d->chunk = HT_C_SIZE;
				d->digits = 0;
				d->left = 0;
			} else if (c != '\r') {
				return STEP_RAW;
			}
			continue;
		}
		if (c == '\n') {
			if (!d->digits)
				return STEP_RAW;
			if (d->left) {
				d->chunk = HT_C_DATA;
			} else {
				d->mode = HT_M_TRAILER;
				d->facts = 0;
				d->carry_len = 0;
			}
			break;
		}
		if (d->chunk == HT_C_EXT)
			continue;
		if (c >= '0' && c <= '9')
			v = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = (c | 0x20) - 'a' + 10;
		else if (d->digits && (c == ';' || c == ' ' || c == '\t' || c == '\r')) {
			d->chunk = HT_C_EXT;
			continue;
		} else
			return STEP_RAW;
		if (++d->digits > 15)
			return STEP_RAW;
		d->left = d->left << 4 | v;
	}
	d->next += used;
	s->pos += used;
	if (d->mode == HT_M_TRAILER)
		ht_event(s, st, HT_BODY_END, d->next);
	return STEP_MORE;
}

/* One step of the walk: a window of a head, a body, a chunk line. */
__noinline int ht_step(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return STEP_DONE;
	struct ht_dir *d = &st->dir[s->direction & 1];
	__u32 n = s->payload_bytes - s->pos;

	if (s->pos >= s->payload_bytes)
		return STEP_DONE;
	switch (d->mode) {
	case HT_M_START:
	case HT_M_HEAD:
	case HT_M_TRAILER:
		return step_head(skb, s, st, d);
	case HT_M_BODY:
		if (d->left < n)
			n = d->left;
		d->left -= n;
		d->next += n;
		s->pos += n;
		if (!d->left) {
			if (!s->head_here)
				ht_event(s, st, HT_BODY_END, d->next);
			d->mode = HT_M_START;
			d->carry_len = 0;
		}
		return STEP_MORE;
	case HT_M_CHUNK:
		return step_chunk(skb, s, st, d);
	case HT_M_CLOSE:
		d->octets += n;
		d->next += n;
		s->pos += n;
		return STEP_DONE;
	}
	return STEP_RAW;
}

/* Copies the payload from pos on as it is. */
__noinline int ht_raw(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return 0;
	struct ht_dir *d = &st->dir[s->direction & 1];
	__u32 i;

	for (i = 0; i < HT_RAW_WINDOWS_MAX; i++) {
		if (s->pos >= s->payload_bytes)
			break;
		if (d->raw_bytes > HT_RAW_BUDGET_BYTES) {
			s->counters.raw_bytes_passed += s->payload_bytes - s->pos;
			break;
		}
		if (!load_window(skb, s, HT_WINDOW_BYTES))
			break;
		s->flags = HT_RAW | (s->raw & HT_EARLY);
		s->emit_bytes = s->window_bytes;
		d->raw_bytes += s->window_bytes;
		s->pos += s->window_bytes;
		ht_emit(skb, s, st);
	}
	return 0;
}

/* On x86 a plain store is a release; elsewhere an exchange has to do. */
static __always_inline void release(__u32 *busy)
{
#if defined(__TARGET_ARCH_x86)
	asm volatile("" ::: "memory");
	*(volatile __u32 *)busy = 0;
#else
	__sync_lock_test_and_set(busy, 0);
#endif
}

static __always_inline struct ht_scratch *slot_take(void)
{
	struct ht_scratch *s;
	__u32 i;

#pragma unroll
	for (i = 0; i < HT_SLOTS; i++) {
		__u32 key = i;

		s = bpf_map_lookup_elem(&ht_slots, &key);
		if (s && !__sync_lock_test_and_set(&s->busy, 1))
			return s;
	}
	return 0;
}

struct packet {
	__u32 payload_at, payload_bytes, sequence, tcp_flags, ip_version;
	__u16 source_port, destination_port;
};

/* Where the payload lies. Returns 0 for what is not TCP or has neither payload nor FIN. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	__u8 *ip = data, *tcp;
	__u32 at, doff;

	if (data + 40 > data_end)
		return 0;
	p->ip_version = ip[0] >> 4;
	if (p->ip_version == 4) {
		if (ip[9] != 6)
			return 0;
		at = (ip[0] & 15) * 4;
	} else if (p->ip_version == 6) {
		__u8 next = ip[6], i;

		at = 40;
#pragma unroll
		for (i = 0; i < 4 && next != 6; i++) {
			/* hop-by-hop, routing, destination options */
			if (next != 0 && next != 43 && next != 60)
				return 0;
			if (at > 1024 || data + at + 8 > data_end)
				return 0;
			next = *(__u8 *)(data + at);
			at += (*(__u8 *)(data + at + 1) + 1) * 8;
		}
		if (next != 6)
			return 0;
	} else {
		return 0;
	}
	if (at > 1024)
		return 0;
	tcp = data + at;
	if ((void *)(tcp + 20) > data_end)
		return 0;
	doff = (tcp[12] >> 4) * 4;
	p->payload_at = at + doff;
	p->tcp_flags = tcp[13];
	if (skb->len < p->payload_at || doff < 20)
		return 0;
	p->payload_bytes = skb->len - p->payload_at;
	if (!p->payload_bytes && !(p->tcp_flags & TCP_FIN))
		return 0;
	p->sequence = bpf_ntohl(*(__u32 *)(tcp + 4));
	p->source_port = *(__u16 *)tcp;
	p->destination_port = *(__u16 *)(tcp + 2);
	return 1;
}

/* Tuple of the packet as its receiver would have it, mirrored for egress; IPv4 addresses as IPv4-mapped. */
static __always_inline int addresses(struct __sk_buff *skb, struct packet *p, struct ht_early_key *key, __u32 direction)
{
	__u8 *from = direction == HT_INGRESS ? key->source : key->destination;
	__u8 *to = direction == HT_INGRESS ? key->destination : key->source;

	__builtin_memset(key, 0, sizeof(*key));
	key->source_port = direction == HT_INGRESS ? p->source_port : p->destination_port;
	key->destination_port = direction == HT_INGRESS ? p->destination_port : p->source_port;
	if (p->ip_version == 6)
		return bpf_skb_load_bytes(skb, 8, from, 16) ?: bpf_skb_load_bytes(skb, 24, to, 16);
	from[10] = from[11] = to[10] = to[11] = 0xff;
	return bpf_skb_load_bytes(skb, 12, from + 12, 4) ?: bpf_skb_load_bytes(skb, 16, to + 12, 4);
}

static __always_inline __u32 netns_of(struct bpf_sock *sk)
{
	struct tcp_sock *tp = (void *)bpf_skc_to_tcp_sock(sk);
	struct net *net;

	if (!tp)
		return 0;
	net = tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net;
	return net ? net->ns.inum : 0;
}

/* Headers for the filter: forward at dir[0], mirrored at dir[1]; only addresses, ports and protocol count. */
static __noinline void filter_headers(struct __sk_buff *skb, struct packet *p, struct ht_sock *st)
{
	__u8 *forward = (void *)&st->dir[0], *mirrored = (void *)&st->dir[1];

	if (p->ip_version == 4) {
		forward[0] = mirrored[0] = 0x45;
		forward[9] = mirrored[9] = 6;
		bpf_skb_load_bytes(skb, 12, forward + 12, 8);
		__builtin_memcpy(mirrored + 12, forward + 16, 4);
		__builtin_memcpy(mirrored + 16, forward + 12, 4);
		*(__u16 *)(forward + 20) = *(__u16 *)(mirrored + 22) = p->source_port;
		*(__u16 *)(forward + 22) = *(__u16 *)(mirrored + 20) = p->destination_port;
	} else {
		forward[0] = mirrored[0] = 0x60;
		forward[6] = mirrored[6] = 6;
		bpf_skb_load_bytes(skb, 8, forward + 8, 32);
		__builtin_memcpy(mirrored + 8, forward + 24, 16);
		__builtin_memcpy(mirrored + 24, forward + 8, 16);
		*(__u16 *)(forward + 40) = *(__u16 *)(mirrored + 42) = p->source_port;
		*(__u16 *)(forward + 42) = *(__u16 *)(mirrored + 40) = p->destination_port;
	}
}

/* First packet of a socket. Returns 0 where it is of no interest. */
static __noinline int first_packet(struct __sk_buff *skb, struct packet *p, struct bpf_sock *sk, struct ht_sock *st,
				   struct ht_scratch *s)
{
	__u32 direction = s->direction;
	struct ht_dir *in = &st->dir[HT_INGRESS], *out = &st->dir[HT_EGRESS];
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	struct tcp_sock *tp = (void *)bpf_skc_to_tcp_sock(sk);
	struct ht_early_key *key = &s->key;
	struct net *net;
	__u32 sent_before, *early;

	if (!tcp || !tp)
		return 0;
	__builtin_memset(st->dir, 0, sizeof(st->dir));
	st->cookie = bpf_get_socket_cookie(skb);
	net = tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net;
	st->netns = net ? net->ns.inum : 0;
	st->flags |= HT_S_INIT;
	if (direction == HT_INGRESS && !st->pid) {
		struct ht_shared *sh = shared();

		if (sh) {
			st->flags |= HT_S_WANTED;
			__sync_fetch_and_add(&sh->wanted, 1);
		}
	}
	s->counters.sockets++;
	if (st->verdict == 2) {
		st->flags |= HT_S_IGNORE;
		s->counters.sockets_filtered++;
		return 0;
	}
	in->next = READ_ONCE(tcp->rcv_nxt);
	sent_before = READ_ONCE(tcp->data_segs_out);
	if (direction == HT_EGRESS) {
		/* This packet is counted already. */
		out->next = p->sequence;
		sent_before -= sent_before >= s->segments ? s->segments : 0;
	} else {
		out->next = READ_ONCE(tcp->snd_nxt);
	}
	if (!READ_ONCE(tcp->data_segs_in) && !sent_before) {
		st->fresh = 3;
		in->mode = HT_M_START;
		out->mode = HT_M_START;
		return 1;
	}
	/* Its first segment may have come with the listener as socket. */
	if (!addresses(skb, p, key, direction)) {
		key->netns = st->netns;
		early = bpf_map_lookup_elem(&ht_early, key);
		if (early) {
			bpf_map_delete_elem(&ht_early, key);
			st->flags |= HT_S_HTTP | HT_S_TURNS;
			st->fresh = 3;
			in->mode = HT_M_RAW;
			out->mode = HT_M_RAW;
			return 1;
		}
	}
	st->flags |= HT_S_JOINED | HT_S_TURNS;
	in->mode = HT_M_WAIT;
	out->mode = HT_M_WAIT;
	if (direction == HT_INGRESS) {
		if ((__s32)(tp->lsndtime - tp->inet_conn.icsk_ack.lrcvtime) >= 0)
			in->mode = HT_M_START;
	} else if (READ_ONCE(tcp->snd_una) == p->sequence) {
		/* Nothing is in flight before this segment: it is not the middle of a busy body. */
		out->mode = HT_M_START;
	}
	return 1;
}

/* Data that came with the listener as socket. */
static __noinline void early_packet(struct __sk_buff *skb, struct packet *p, struct bpf_sock *sk, struct ht_scratch *s)
{
	struct ht_sock *st = &s->early;
	__u32 end = p->sequence + p->payload_bytes;

	__builtin_memset(st, 0, sizeof(*st));
	st->netns = netns_of(sk);
	st->cookie = bpf_get_socket_cookie(skb);
	if (addresses(skb, p, &s->key, HT_INGRESS))
		return;
	s->key.netns = st->netns;
	bpf_map_update_elem(&ht_early, &s->key, &end, BPF_ANY);
	s->raw = HT_EARLY;
	ht_raw(skb, s, st);
}

/* User space may have told where the next message begins. */
static __noinline void try_resync(struct packet *p, struct ht_scratch *s, struct ht_sock *st, struct ht_dir *d, __u32 direction)
{
	struct ht_resync_key key = {.cookie = st->cookie, .direction = direction};
	struct ht_resync *resync = bpf_map_lookup_elem(&ht_resyncs, &key);
	__s32 ahead;

	if (!resync)
		return;
	ahead = resync->sequence - p->sequence;
	if (ahead >= 0) {
		d->mode = ahead ? HT_M_BODY : HT_M_START;
		d->left = ahead;
		d->octets = 0;
		d->next = p->sequence;
		d->facts = 0;
		d->carry_len = 0;
		d->raw_bytes = 0;
		s->counters.resyncs++;
		/* At most the request that was seen last is open. */
		if (st->request_dir && st->request_dir != direction + 1)
			st->responses = st->requests - (st->requests && st->last_dir == st->request_dir);
	}
	bpf_map_delete_elem(&ht_resyncs, &key);
}

/* The client end of a loopback connection: its server end is recorded. */
static __noinline void leave_to_server(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st)
{
	st->flags |= HT_S_IGNORE;
	s->counters.sockets_loopback++;
	s->emit_bytes = 0;
	s->request_starts = 0;
	s->response_starts = 0;
	if (st->pid && s->header_bytes >= 40 && s->header_bytes <= HT_HEADER_BYTES_MAX) {
		__u32 headers = s->header_bytes;
		struct ht_record *r = (void *)before_window(s, sizeof(*r) + headers);

		if (bpf_skb_load_bytes(skb, 0, before_window(s, headers), headers))
			return;
		fill_record(r, st, HT_PEER, s->direction & 1);
		r->time_ns = bpf_ktime_get_ns();
		r->sequence = s->sequence;
		r->packet_end = s->sequence;
		r->header_bytes = headers;
		if (ring_put(r, sizeof(*r) + headers))
			s->counters.events_lost++;
	}
}

static __always_inline void walk(struct __sk_buff *skb, struct packet *p, struct ht_scratch *s, struct ht_sock *st, __u32 direction)
{
	struct ht_dir *d = &st->dir[direction];
	int result = STEP_MORE;
	__s32 ahead;
	__u32 i;

	if (d->mode == HT_M_WAIT) {
		if (st->last_dir && st->last_dir != direction + 1) {
			d->mode = HT_M_START;
			d->next = p->sequence;
		} else {
			return;
		}
	}
	if (d->mode == HT_M_RAW)
		try_resync(p, s, st, d, direction);
	if (d->mode == HT_M_RAW) {
		if (!(st->flags & HT_S_TURNS))
			st->flags |= HT_S_TURNS;
		ht_raw(skb, s, st);
		return;
	}
	ahead = p->sequence - d->next;
	if (ahead > 0) {
		if (d->mode == HT_M_BODY && d->left >= (__u32)ahead) {
			d->left -= ahead;
		} else if (d->mode == HT_M_CLOSE) {
			d->octets += ahead;
		} else {
			d->mode = HT_M_RAW;
			st->flags |= HT_S_TURNS;
			ht_raw(skb, s, st);
			return;
		}
		d->next = p->sequence;
		if (!d->left && d->mode == HT_M_BODY)
			d->mode = HT_M_START;
	} else if (ahead < 0) {
		if ((__u32)-ahead >= p->payload_bytes)
			return;
		s->pos = -ahead;
	}
	for (i = 0; i < HT_STEPS_MAX; i++) {
		result = ht_step(skb, s, st);
		if (result != STEP_MORE)
			break;
	}
	if (i == HT_STEPS_MAX)
		result = STEP_RAW;
	if (direction == HT_EGRESS ? st->request_dir == HT_EGRESS + 1 : st->request_dir == HT_EGRESS + 1) {
		if (st->flags & HT_S_HTTP && skb->ifindex == LOOPBACK_IFINDEX && !(st->flags & HT_S_IGNORE)) {
			leave_to_server(skb, s, st);
			return;
		}
	}
	ht_emit(skb, s, st);
	if (result == STEP_RAW) {
		st->flags |= HT_S_TURNS;
		d->mode = HT_M_RAW;
		d->carry_len = 0;
		ht_raw(skb, s, st);
	}
}

static __always_inline int handle(struct __sk_buff *skb, __u32 direction)
{
	struct packet p = {};
	struct ht_scratch *s;
	struct bpf_sock *sk;
	struct ht_sock *st;
	__u32 segments;

	if (!parse(skb, &p))
		return PASS;
	sk = skb->sk;
	if (!sk)
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	st = bpf_sk_storage_get(&ht_socks, sk, 0, 0);
	if (st) {
		if (st->flags & HT_S_IGNORE)
			return PASS;
	} else if (sk->state != TCP_LISTEN) {
		if (!p.payload_bytes)
			return PASS;
		st = bpf_sk_storage_get(&ht_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	}
	if (st && !(st->flags & HT_S_INIT) && ht_has_filter && !st->verdict) {
		/* It sets the verdict and calls this program again. Where that fails the flow is in. */
		filter_headers(skb, &p, st);
		if (direction == HT_INGRESS)
			bpf_tail_call(skb, &ht_calls_in, HT_CALL_FILTER);
		else
			bpf_tail_call(skb, &ht_calls_out, HT_CALL_FILTER);
	}
	s = slot_take();
	if (!s)
		return PASS;
	segments = skb->gso_segs;
	s->direction = direction;
	s->sequence = p.sequence;
	s->payload_at = p.payload_at;
	s->payload_bytes = p.payload_bytes;
	s->header_bytes = p.payload_at < HT_HEADER_BYTES_MAX ? p.payload_at : HT_HEADER_BYTES_MAX;
	s->segments = segments ? segments : 1;
	s->time_ns = 0;
	s->pos = 0;
	s->window_bytes = 0;
	s->emit_bytes = 0;
	s->head_here = 0;
	s->raw = 0;
	s->request_starts = 0;
	s->response_starts = 0;
	if (!st) {
		if (sk->state == TCP_LISTEN)
			early_packet(skb, &p, sk, s);
		else
			s->counters.sockets_failed++;
		goto out;
	}
	if (!(st->flags & HT_S_INIT)) {
		if (!p.payload_bytes || !first_packet(skb, &p, sk, st, s))
			goto out;
	}
	if (direction == HT_INGRESS && __sync_lock_test_and_set(&st->busy, 1)) {
		st->contended = 1;
		ht_raw(skb, s, st);
		goto out;
	}
	if (p.payload_bytes) {
		walk(skb, &p, s, st, direction);
		if (st->flags & HT_S_TURNS)
			st->last_dir = direction + 1;
	}
	if (p.tcp_flags & TCP_FIN && !(st->flags & HT_S_IGNORE)) {
		st->flags |= direction == HT_INGRESS ? HT_S_FIN_IN : HT_S_FIN_OUT;
		if (st->flags & HT_S_HTTP)
			ht_event(s, st, HT_FINISHED, p.sequence + p.payload_bytes);
	}
	if (direction == HT_INGRESS) {
		if (st->contended) {
			st->contended = 0;
			st->dir[HT_INGRESS].mode = HT_M_RAW;
		}
		release(&st->busy);
	}
out:
	release(&s->busy);
	return PASS;
}

SEC("cgroup_skb/ingress")
int ht_ingress(struct __sk_buff *skb)
{
	return handle(skb, HT_INGRESS);
}

SEC("cgroup_skb/egress")
int ht_egress(struct __sk_buff *skb)
{
	return handle(skb, HT_EGRESS);
}
