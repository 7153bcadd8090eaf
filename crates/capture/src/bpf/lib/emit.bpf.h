/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From the scratch area into the ring.
 */
#ifndef HEADTRAIL_EMIT_BPF_H
#define HEADTRAIL_EMIT_BPF_H

#include "scratch.bpf.h"

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
	if (ring_put(r, sizeof(*r))) {
		st->dir[s->direction & 1].lost = 1;
		s->counters.events_lost++;
	}
	return 0;
}

/* The kernel's walk over the chunks of a direction ends at d->next: what follows goes out raw, and user space must know
 * where in a chunk it begins. */
__noinline int ht_chunks(struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return 0;
	struct ht_record *r = &s->event;
	struct ht_dir *d = &st->dir[s->direction & 1];

	if (d->mode != HT_M_CHUNK)
		return 0;
	fill_record(r, st, HT_CHUNKS, s->direction & 1);
	r->time_ns = s->time_ns ? s->time_ns : bpf_ktime_get_ns();
	r->sequence = d->next;
	r->packet_end = d->next;
	r->starts = d->chunk | d->digits << 8;
	r->octets = d->octets;
	r->payload_bytes = sizeof(s->event_left);
	s->event_left = d->left;
	if (ring_put(r, sizeof(*r) + sizeof(s->event_left)))
		s->counters.events_lost++;
	return 0;
}

#define LOOPBACK_IFINDEX 1 /* in every network namespace: include/net/net_namespace.h */

/* Puts the first emit_bytes of the window into the ring. */
__noinline int ht_emit(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return 0;
	__u64 bytes = within(s->emit_bytes, HT_WINDOW_BYTES), headers = within(s->header_bytes, HT_HEADER_BYTES_MAX), all;
	struct ht_dir *d = &st->dir[s->direction & 1];
	struct ht_record *r;

	s->emit_bytes = 0;
	if (!bytes || !headers)
		return 0;
	/* The client end on loopback: its server end is recorded, and the walk's end leaves it alone from then on. */
	if (st->request_dir == HT_EGRESS + 1 && skb->ifindex == LOOPBACK_IFINDEX) {
		s->request_starts = 0;
		s->response_starts = 0;
		return 0;
	}
	if (!s->headers_in && bpf_skb_load_bytes(skb, 0, before_window(s, headers), headers))
		return 0;
	if (!s->time_ns)
		s->time_ns = bpf_ktime_get_ns();
	r = (void *)before_window(s, sizeof(*r) + headers);
	fill_record(r, st, HT_SEGMENT, s->direction & 1);
	r->flags = s->flags | (d->lost ? HT_LOST : 0) | (st->fresh & 1 << (s->direction & 1) ? HT_FRESH : 0) |
		   (st->flags & HT_S_JOINED ? HT_JOINED : 0) | (st->request_dir == (s->direction & 1) + 1 ? HT_REQUESTS : 0);
	r->starts = s->request_starts + s->response_starts;
	r->time_ns = s->time_ns;
	r->sequence = s->sequence + s->window_pos;
	r->packet_end = s->sequence + s->payload_bytes;
	r->header_bytes = headers;
	r->payload_bytes = bytes;
	r->segments = s->segments;
	all = within(sizeof(*r) + headers + bytes, sizeof(*r) + HT_HEADER_BYTES_MAX + HT_WINDOW_BYTES);
	if (!all || ring_put(r, all)) {
		d->lost = 1;
		s->counters.segments_lost++;
		if (s->flags & HT_RAW)
			s->counters.raw_segments_lost++;
		s->counters.requests_lost += s->request_starts;
		s->counters.responses_lost += s->response_starts;
	} else if (d->lost) {
		d->lost = 0;
	}
	s->request_starts = 0;
	s->response_starts = 0;
	return 0;
}

/* Loads a window at pos. Returns 0 where that failed. */
static __always_inline int load_window(struct __sk_buff *skb, struct ht_scratch *s, __u32 most)
{
	__u32 n = s->payload_bytes - s->pos, headers = s->header_bytes;
	__u64 bytes;

	if (n > most)
		n = most;
	s->window_pos = s->pos;
	s->window_bytes = n;
	s->headers_in = 0;
	s->emit_bytes = 0;
	if (!s->pos && headers == s->payload_at && headers >= 40 && headers <= HT_HEADER_BYTES_MAX) {
		bytes = within(headers + n, HT_HEADER_BYTES_MAX + HT_WINDOW_BYTES);
		if (!bytes)
			return 0;
		s->headers_in = 1;
		return !bpf_skb_load_bytes(skb, 0, before_window(s, headers), bytes);
	}
	bytes = within(n, HT_WINDOW_BYTES);
	return bytes && !bpf_skb_load_bytes(skb, s->payload_at + s->pos, s->buffer + WINDOW_AT, bytes);
}

/* Copies the payload from pos on as it is. */
__noinline int ht_raw(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return 0;
	struct ht_dir *d = &st->dir[s->direction & 1];
	__u32 i, budget = st->flags & HT_S_HTTP ? HT_RAW_BUDGET_BYTES : HT_SEEK_BUDGET_BYTES;

	/*
	 * Only user space knows how a response to a raw request is framed, so it goes out raw, too. Where user space then finds
	 * all requests answered behind these bytes, only later ones are open.
	 */
	if (st->flags & HT_S_FRAMES) {
		/* A frame says itself where it ends. */
	} else if (st->request_dir == (s->direction & 1) + 1) {
		st->flags |= HT_S_UNTOLD;
	} else if (st->request_dir) {
		st->flags &= ~HT_S_UNTOLD;
		d->messages = st->dir[~s->direction & 1].messages;
	}
	for (i = 0; i < HT_RAW_WINDOWS_MAX; i++) {
		if (s->pos >= s->payload_bytes)
			break;
		if (d->raw_bytes > budget) {
			/* User space never said where it is: join again at the next turn. */
			s->counters.raw_bytes_passed += s->payload_bytes - s->pos;
			d->mode = HT_M_WAIT;
			d->raw_bytes = 0;
			d->lost = 1;
			st->synced &= ~(1 << (s->direction & 1));
			if (!(st->flags & HT_S_HTTP))
				st->flags |= HT_S_IGNORE;
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

#endif
