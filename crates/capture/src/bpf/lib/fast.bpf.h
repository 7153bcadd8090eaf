/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The common case by itself: a direction in step, one whole plain head in the packet, and its body known by
 * Content-Length or absent. It is looked at in the ring's own memory, without a scratch area. Whatever is not plain is left,
 * before anything has changed, to the walk.
 */
#ifndef HEADTRAIL_FAST_BPF_H
#define HEADTRAIL_FAST_BPF_H

#include "emit.bpf.h"
#include "head.bpf.h"

#define FAST_BYTES 512 /* record, headers and text together; a power of two */
#define FAST_STEPS_MAX 80
#define FAST_PAUSE 32 /* messages of a direction that are left to the walk after one that did not fit */

#define W_PUT 0x20545550U
#define W_DELE 0x454c4544U
#define W_PATC 0x43544150U
#define W_OPTI 0x4954504fU

struct ht_small {
	struct ht_record r;
	__u8 bytes[FAST_BYTES - sizeof(struct ht_record) + 24];
};

static __always_inline __u64 small_word(struct ht_small *b, __u32 at)
{
	__u64 offset = at;

	/* The compiler must not find the mask needless: the verifier does. */
	asm volatile("" : "+r"(offset));
	return *(__u64 *)((__u8 *)b + (offset & FAST_BYTES - 1));
}

/* Content-Length at `at`: digits after at most one blank, and CR. It goes into r.octets. */
__noinline int ht_small_length(struct ht_small *b, __u32 at)
{
	if (!b)
		return 0;
	__u8 *text = (__u8 *)b;
	__u64 value = 0;
	__u32 i;

	at += text[at & FAST_BYTES - 1] == ' ';
	for (i = 0; i < 16; i++) {
		__u8 c = text[at + i & FAST_BYTES - 1] - '0';

		if (c > 9) {
			b->r.octets = value;
			return i && c == (__u8)('\r' - '0');
		}
		value = value * 10 + c;
	}
	return 0;
}

/* One line of interest. */
__noinline int ht_small_line(struct ht_small *b, __u32 line)
{
	if (!b)
		return SCAN_BAD;
	__u64 first = small_word(b, line), next;

	if ((first & 0xffff) == 0x0a0d)
		return SCAN_END;
	first |= LOWER8;
	if (first == W_TRANSFER)
		return SCAN_BAD;
	if (first == W_CONTENT) {
		next = small_word(b, line + 8) | LOWER8;
		if ((next & MASK6) != W_LENGTH6)
			return SCAN_MORE;
		if (b->r.starts || (next & MASK7) != W_LENGTH || !ht_small_length(b, line + 15))
			return SCAN_BAD;
		b->r.starts = 1;
		return SCAN_MORE;
	}
	first &= 0xff;
	return first == 'c' || first == 't' ? SCAN_MORE : SCAN_BAD;
}

/* Returns the length of the head that begins behind the headers, 0 where it is not plain or not whole. */
__noinline int ht_small_head(struct ht_small *b)
{
	if (!b)
		return 0;
	__u32 from = (sizeof(b->r) + b->r.header_bytes) & FAST_BYTES - 1, at = from, line = from, i;
	int result;
	__u8 first;

	for (i = 0; i < FAST_STEPS_MAX; i++) {
		__u64 w, t;

		if (at >= from + b->r.payload_bytes)
			return 0;
		w = small_word(b, at) ^ LF8;
		t = (w - ONES) & ~w & HIGHS;
		if (!t) {
			w = small_word(b, at + 8) ^ LF8;
			t = (w - ONES) & ~w & HIGHS;
			at += 8;
			if (!t) {
				at = (at + 8) & FAST_BYTES - 1;
				continue;
			}
		}
		at = (at + ((((t & -t) - 1 & ONES) * ONES) >> 56)) & FAST_BYTES - 1;
		if (at > from + b->r.payload_bytes)
			return 0;
		if (line == from) {
			/* Of a request the version ends the line; a bare LF is not plain. */
			if ((small_word(b, line) & MASK7) != W_HTTP1 && (small_word(b, at - 10) & MASK7) != W_HTTP1)
				return 0;
			line = at;
			continue;
		}
		first = ((__u8 *)b)[line & FAST_BYTES - 1];
		if (first > ' ' && (first | 0x20) != 'c' && (first | 0x20) != 't') {
			line = at;
			continue;
		}
		result = ht_small_line(b, line);
		if (result == SCAN_END)
			return at - from;
		if (result != SCAN_MORE)
			return 0;
		line = at;
	}
	return 0;
}

/* Whether the first word of a message is of a plain kind: no HEAD, CONNECT, 1xx, 204 or 304. */
static __always_inline int plain_start(struct ht_small *b, __u32 at, int request)
{
	__u64 w = small_word(b, at);
	__u32 method = w, status;

	if (request)
		return method == W_GET || method == W_POST || method == W_PUT || method == W_DELE || method == W_PATC ||
		       method == W_OPTI;
	if ((w & MASK7) != W_HTTP1)
		return 0;
	status = small_word(b, at + 8);
	/* " ddd" in memory order. */
	return (status & 0xff) == ' ' && (status >> 8 & 0xff) >= '2' && (status >> 8 & 0xff) <= '5' &&
	       status != 0x34303220 && status != 0x34303320;
}

struct packet {
	__u32 payload_at, payload_bytes, sequence, tcp_flags, ip_version;
	__u16 source_port, destination_port;
};

/* Returns 1 where the packet is dealt with. For ingress the caller holds `busy`. */
static __always_inline int fast(struct __sk_buff *skb, struct packet *p, struct ht_sock *st, __u32 direction)
{
	struct ht_dir *d = &st->dir[direction];
	__u32 index = bpf_get_smp_processor_id() & HT_RINGS_MAX - 1, n = p->payload_bytes, headers = p->payload_at, rest;
	int request = st->request_dir == direction + 1, head;
	struct ht_shared *sh;
	struct ht_small *b;
	__u64 bytes;
	void *ring;

	if (d->mode != HT_M_START || d->next != p->sequence || d->carry_len || d->lost || n < 16 ||
	    headers > HT_HEADER_BYTES_MAX)
		return 0;
	/* The walk looks now and then whether requests go unanswered. */
	if (request && !(d->messages + 1 & 31))
		return 0;
	if (st->pause[direction]) {
		st->pause[direction]--;
		return 0;
	}
	ring = bpf_map_lookup_elem(&ht_rings, &index);
	sh = shared();
	if (!ring || !sh)
		return 0;
	b = bpf_ringbuf_reserve(ring, sizeof(*b), 0);
	if (!b)
		return 0;
	if (n > FAST_BYTES - 1 - sizeof(b->r) - headers)
		n = FAST_BYTES - 1 - sizeof(b->r) - headers; /* so that no offset wraps */
	bytes = within(headers + n, FAST_BYTES - sizeof(b->r));
	if (!bytes || bpf_skb_load_bytes(skb, 0, b->bytes, bytes))
		goto not_plain;
	b->r.header_bytes = headers;
	b->r.payload_bytes = n;
	b->r.octets = 0;
	b->r.starts = 0;
	if (!plain_start(b, sizeof(b->r) + headers, request))
		goto not_plain;
	head = ht_small_head(b);
	rest = p->payload_bytes - head;
	/* A response without a length ends elsewhere; more than the body is the next message. */
	if (head <= 0 || (!request && !b->r.starts) || rest > b->r.octets)
		goto not_plain;
	d->octets = b->r.octets;
	d->left = b->r.octets - rest;
	d->mode = d->left ? HT_M_BODY : HT_M_START;
	d->next = p->sequence + p->payload_bytes;
	d->messages++;
	fill_record(&b->r, st, HT_SEGMENT, direction);
	b->r.flags = HT_START | (request ? HT_REQUESTS : 0) | (st->fresh & 1 << direction ? HT_FRESH : 0) |
		     (st->flags & HT_S_JOINED ? HT_JOINED : 0);
	b->r.starts = 1;
	b->r.time_ns = bpf_ktime_get_ns();
	b->r.sequence = p->sequence;
	b->r.packet_end = p->sequence + p->payload_bytes;
	b->r.header_bytes = headers;
	b->r.payload_bytes = head;
	b->r.segments = skb->gso_segs ? skb->gso_segs : 1;
	if (sh->waiting) {
		sh->waiting = 0;
		bpf_ringbuf_submit(b, BPF_RB_FORCE_WAKEUP);
	} else {
		bpf_ringbuf_submit(b, BPF_RB_NO_WAKEUP);
	}
	return 1;
not_plain:
	st->pause[direction] = FAST_PAUSE;
	bpf_ringbuf_discard(b, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
