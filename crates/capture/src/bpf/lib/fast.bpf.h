/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The common case by itself: a direction in step, one whole plain head in the packet, and its body known by
 * Content-Length or absent. It is looked at in the scratch area, which is warm, and copied from the packet into a cell of
 * the lane, which is only written: lines that the consumer's core has read last are waited for by nobody. Whatever is not
 * plain is left, before anything has changed, to the walk.
 */
#ifndef HEADTRAIL_FAST_BPF_H
#define HEADTRAIL_FAST_BPF_H

#include "emit.bpf.h"
#include "head.bpf.h"
#include "lane.bpf.h"

#define FAST_BYTES (sizeof(((struct ht_cell *)0)->copied) - HT_HEADER_BYTES_MAX) /* of text */
#define FAST_STEPS_MAX 100
#define FAST_PAUSE 32 /* messages of a direction that are left to the walk after one that did not fit */

#define W_PATC 0x43544150U
#define W_OPTI 0x4954504fU

/* Content-Length at `at`: digits after at most one blank, and CR. */
__noinline int ht_small_length(struct ht_scratch *s, __u32 at)
{
	if (!s)
		return 0;
	__u64 value = 0;
	__u32 i;

	at += (word(s, at) & 0xff) == ' ';
	for (i = 0; i < 16; i++) {
		__u8 c = (__u8)word(s, at + i) - '0';

		if (c > 9) {
			s->length = value;
			return i && c == (__u8)('\r' - '0');
		}
		value = value * 10 + c;
	}
	return 0;
}

/* One line of interest. */
__noinline int ht_small_line(struct ht_scratch *s, __u32 line)
{
	if (!s)
		return SCAN_BAD;
	__u64 first = word(s, line), next;

	if ((first & 0xffff) == 0x0a0d)
		return SCAN_END;
	first |= LOWER8;
	if (first == W_TRANSFER)
		return SCAN_BAD;
	if (first == W_CONTENT) {
		next = word(s, line + 8) | LOWER8;
		if ((next & MASK6) != W_LENGTH6)
			return SCAN_MORE;
		if (s->has_length || !is_length_name(s, line) || !ht_small_length(s, line + 15))
			return SCAN_BAD;
		s->has_length = 1;
		return SCAN_MORE;
	}
	first &= 0xff;
	return first == 'c' || first == 't' ? SCAN_MORE : SCAN_BAD;
}

/* Returns the length of the head at s->at (read from there: with a constant every step would be a case of its own for the
 * verifier), 0 where it is not plain or not whole. */
__noinline int ht_small_head(struct ht_scratch *s)
{
	if (!s)
		return 0;
	__u32 from = s->at & BUFFER_MASK, at = from, line = from, i;
	int result;
	__u8 first;

	for (i = 0; i < FAST_STEPS_MAX; i++) {
		__u64 w, t;

		if (at >= s->end)
			return 0;
		w = word(s, at) ^ LF8;
		t = (w - ONES) & ~w & HIGHS;
		if (!t) {
			w = word(s, at + 8) ^ LF8;
			t = (w - ONES) & ~w & HIGHS;
			at += 8;
			if (!t) {
				at = (at + 8) & BUFFER_MASK;
				continue;
			}
		}
		at = (at + ((((t & -t) - 1 & ONES) * ONES) >> 56)) & BUFFER_MASK;
		if (at > s->end)
			return 0;
		if (line == from) {
			/* Of a request the version ends the line; a bare LF is not plain. */
			if ((word(s, line) & MASK7) != W_HTTP1 && (word(s, at - 10) & MASK7) != W_HTTP1)
				return 0;
			line = at;
			continue;
		}
		first = s->buffer[line & BUFFER_MASK];
		if (first > ' ' && (first | 0x20) != 'c' && (first | 0x20) != 't') {
			line = at;
			continue;
		}
		result = ht_small_line(s, line);
		if (result == SCAN_END)
			return at - from;
		if (result != SCAN_MORE)
			return 0;
		line = at;
	}
	return 0;
}

/* Whether the first word of a message is of a plain kind: no HEAD, CONNECT, 1xx, 204 or 304. */
static __always_inline int plain_start(struct ht_scratch *s, int request)
{
	__u64 w = word(s, WINDOW_AT);
	__u32 method = w, status;

	if (request)
		return method == W_GET || method == W_POST || method == W_PUT || method == W_DELE || method == W_PATC ||
		       method == W_OPTI;
	if ((w & MASK7) != W_HTTP1)
		return 0;
	status = word(s, WINDOW_AT + 8);
	/* " ddd" in memory order. */
	return (status & 0xff) == ' ' && (status >> 8 & 0xff) >= '2' && (status >> 8 & 0xff) <= '5' && status != 0x34303220 &&
	       status != 0x34303320;
}

struct packet {
	__u32 payload_at, payload_bytes, sequence, tcp_flags, ip_version;
	__u16 source_port, destination_port;
};

/* Returns 1 where the packet is dealt with. For ingress the caller holds `busy`. */
static __always_inline int fast(struct __sk_buff *skb, struct packet *p, struct ht_sock *st, struct ht_scratch *s,
				__u32 direction)
{
	struct ht_dir *d = &st->dir[direction];
	__u32 n = p->payload_bytes, headers = p->payload_at, rest;
	int request = st->request_dir == direction + 1, head;
	struct ht_shared *sh = shared();
	struct ht_cell *cell;
	__u64 bytes, turn;

	if (d->mode != HT_M_START || d->next != p->sequence || d->carry_len || n < 16 || headers > HT_HEADER_BYTES_MAX)
		return 0;
	/* The walk looks now and then whether requests go unanswered. */
	if ((request && !(d->messages + 1 & 31)) || !sh)
		return 0;
	if (st->pause[direction]) {
		st->pause[direction]--;
		return 0;
	}
	if (n > FAST_BYTES)
		n = FAST_BYTES;
	bytes = within(headers + n, FAST_BYTES + HT_HEADER_BYTES_MAX);
	if (!bytes || bpf_skb_load_bytes(skb, 0, before_window(s, headers), bytes))
		goto not_plain;
	s->at = WINDOW_AT;
	s->end = WINDOW_AT + n;
	s->length = 0;
	s->has_length = 0;
	if (!plain_start(s, request))
		goto not_plain;
	head = ht_small_head(s);
	rest = p->payload_bytes - head;
	/* A response without a length ends elsewhere; more than the body is the next message. */
	if (head <= 0 || (!request && !s->has_length) || rest > s->length)
		goto not_plain;
	bytes = within(headers + head, FAST_BYTES + HT_HEADER_BYTES_MAX);
	if (!bytes)
		goto not_plain;
	cell = cell_take(&turn);
	if (!cell && !ring_is_full())
		return 0;
	d->octets = s->length;
	d->left = s->length - rest;
	d->mode = d->left ? HT_M_BODY : HT_M_START;
	d->next = p->sequence + p->payload_bytes;
	d->messages++;
	if (!cell) {
		/* The long way would end here too, and cost the sender more than all the rest. */
		d->lost = 1;
		s->counters.segments_lost++;
		if (request)
			s->counters.requests_lost++;
		else
			s->counters.responses_lost++;
		return 1;
	}
	fill_record(&cell->r, st, HT_SEGMENT, direction);
	cell->r.flags = HT_START | (d->lost ? HT_LOST : 0) | (request ? HT_REQUESTS : 0) |
			(st->fresh & 1 << direction ? HT_FRESH : 0) | (st->flags & HT_S_JOINED ? HT_JOINED : 0);
	cell->r.starts = 1;
	cell->r.time_ns = bpf_ktime_get_ns();
	cell->r.sequence = p->sequence;
	cell->r.packet_end = p->sequence + p->payload_bytes;
	cell->r.header_bytes = headers;
	cell->r.payload_bytes = head;
	cell->r.segments = skb->gso_segs ? skb->gso_segs : 1;
	/* It was readable a moment ago. */
	bpf_skb_load_bytes(skb, 0, cell->copied, bytes);
	cell_give(cell, turn);
	d->lost = 0;
	if (sh->waiting)
		wake(sh);
	return 1;
not_plain:
	st->pause[direction] = FAST_PAUSE;
	return 0;
}

#endif
