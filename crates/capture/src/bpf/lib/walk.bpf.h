/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The walk over one packet: head, body, chunks, trailers, step by step, by the framing of RFC 9112, 6 and 7; HTTP/2 frames.
 */
#ifndef HEADTRAIL_WALK_BPF_H
#define HEADTRAIL_WALK_BPF_H

#include "emit.bpf.h"
#include "head.bpf.h"

/* What stands at a message start begins none. */
static __always_inline int not_http(struct ht_scratch *s, struct ht_sock *st, struct ht_dir *d)
{
	if (st->synced & 1 << (s->direction & 1) && (st->flags & (HT_S_HTTP | HT_S_UPGRADED)) == HT_S_HTTP)
		return STEP_RAW;
	s->emit_bytes = 0;
	s->request_starts = 0;
	s->response_starts = 0;
	d->facts = 0;
	d->carry_len = 0;
	/* What was joined in the middle may still come to a start; within reason. */
	if (!(st->synced & 1 << (s->direction & 1)) && !(st->flags & HT_S_UPGRADED) &&
	    (st->flags & HT_S_HTTP || d->raw_bytes++ < 64)) {
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
		if (!load_window(skb, s, d->mode == HT_M_START ? HT_WINDOW_FIRST_BYTES : HT_WINDOW_BYTES))
			return STEP_RAW;
		s->flags = d->mode == HT_M_START && !d->carry_len ? HT_START : 0;
	}
	n = s->pos - s->window_pos;
	at = WINDOW_AT + n;
	end = WINDOW_AT + s->window_bytes;
	if (!n && d->carry_len && d->carry_len <= HT_CARRY_BYTES) {
		/* The headers make room for the carried line; they are loaded again for the record. */
		copy_carry(s->buffer + WINDOW_AT - HT_CARRY_BYTES, d->carry);
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
		if (result == IS_PREFACE && (!st->request_dir || st->request_dir == here)) {
			at += PREFACE_BYTES;
			st->request_dir = here;
			st->flags |= HT_S_HTTP | HT_S_FRAMES;
			st->synced |= here;
			begin_frames(d);
			goto read;
		}
		if (result == IS_NOT && st->synced & here && st->request_dir != here && is_first_settings(s, at, end - at)) {
			/* Of a server that does not wait for the client's preface, or has just changed to HTTP/2. */
			st->request_dir = 3 - here;
			begin_frames(d);
			return STEP_MORE;
		}
		if (result == IS_NOT && st->flags & HT_S_JOINED && !(st->synced & here) && is_like_a_frame(s, at, end - at))
			return STEP_RAW;
		/* More empty lines. */
		if (result == IS_NOT && st->synced & here &&
		    (s->buffer[at & BUFFER_MASK] == '\r' || s->buffer[at & BUFFER_MASK] == '\n'))
			return STEP_RAW;
		/* HTTP/1 ended with the 101. */
		if (st->flags & HT_S_UPGRADED && result != IS_PARTIAL)
			result = IS_NOT;
		if (result == IS_NOT || result == IS_PREFACE)
			return not_http(s, st, d);
		if (result == IS_PARTIAL) {
			if (!(st->synced & here))
				return not_http(s, st, d);
			d->carry_len = end - at;
			if (d->carry_len > HT_CARRY_BYTES)
				return STEP_RAW;
			copy_carry(d->carry, s->buffer + ((end - HT_CARRY_BYTES) & BUFFER_MASK));
			d->next += end - WINDOW_AT - n;
			s->pos = s->window_pos + s->window_bytes;
			/* Who sends first on loopback is the client, whose server end is recorded. */
			if (st->request_dir || here == HT_INGRESS + 1 || skb->ifindex != LOOPBACK_IFINDEX)
				s->emit_bytes = s->window_bytes;
			return STEP_MORE;
		}
		d->facts = F_STARTLINE;
		d->octets = 0;
		if (result == IS_RESPONSE) {
			__u64 status = word(s, at + 8) >> 8;

			d->facts |= F_RESPONSE;
			d->status =
				((status & 0xff) - '0') * 100 + ((status >> 8 & 0xff) - '0') * 10 + ((status >> 16 & 0xff) - '0');
			/* Of a connection that is older than the capture: what is sent first may be the middle of a body. */
			if (!st->request_dir && here == HT_EGRESS + 1 && !(st->fresh & 1 << HT_EGRESS))
				return not_http(s, st, d);
			if (!st->request_dir)
				st->request_dir = 3 - here;
			/* Whether it has a body depends on a request that only user space knows. */
			if (st->flags & HT_S_TURNS && (st->flags & HT_S_UNTOLD || st->dir[~s->direction & 1].mode == HT_M_RAW))
				return STEP_RAW;
			if (d->status >= 200 || d->status == 101)
				s->response_starts++;
		} else {
			__u64 method = word(s, at);

			if ((__u32)method == W_HEAD && (method >> 32 & 0xff) == ' ')
				d->facts |= F_BODYLESS;
			if (method == W_CONNECT)
				d->facts |= F_BODYLESS | F_CONNECT;
			d->digits = is_known_method(method);
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
	result = ht_scan_lines(s, st);
	result = ht_scan_end(s, st, result);
	at = s->at;
	if (result == SCAN_NOT_HTTP && d->digits && st->synced & here) {
		/* Some servers take another version, or none, or blanks behind it: user space looks at it. */
		st->flags |= HT_S_HTTP;
		result = SCAN_BAD;
	}
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
	if (!(st->synced & here))
		st->synced |= here;
read:
	d->next += at - WINDOW_AT - n;
	s->pos = s->window_pos + (at - WINDOW_AT);
	s->emit_bytes = at - WINDOW_AT;
	if (result != SCAN_END || d->mode == HT_M_FRAMES)
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
			st->flags |= HT_S_UPGRADED;
			return STEP_MORE;
		}
		if (d->status < 200)
			return STEP_MORE;
		/* The request direction's words are looked at only where they matter: another CPU writes them. */
		if (!(st->flags & (HT_S_BODYLESS | HT_S_TURNS))) {
			d->messages++;
		} else if (st->dir[~s->direction & 1].messages != d->messages) {
			bodyless = st->bodyless >> (d->messages & 63) & 1;
			d->messages++;
		}
		if (bodyless && st->flags & HT_S_CONNECT && d->status < 300) {
			st->flags |= HT_S_IGNORE | HT_S_UPGRADED;
			return STEP_DONE;
		}
		if (bodyless || d->status == 204 || d->status == 304)
			return STEP_MORE;
	} else {
		__u64 bit = 1ULL << (d->messages & 63);

		if (d->facts & F_BODYLESS) {
			st->bodyless |= bit;
			st->flags |= HT_S_BODYLESS | (d->facts & F_CONNECT ? HT_S_CONNECT : 0);
		} else if (st->flags & HT_S_BODYLESS) {
			st->bodyless &= ~bit;
		}
		d->messages++;
		/* More than the bits can tell apart may be open; the other side's word is read seldom. */
		if (!(d->messages & 31) && d->messages - st->dir[~s->direction & 1].messages >= 32) {
			/* From the next response on: within a body the other side, on another CPU, knows where it is. */
			st->flags |= HT_S_TURNS | HT_S_UNTOLD;
		}
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
				goto bad;
			}
			continue;
		}
		if (c == '\n') {
			if (!d->digits)
				goto bad;
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
			goto bad;
		if (++d->digits > 15)
			goto bad;
		d->left = d->left << 4 | v;
	}
	d->next += used;
	s->pos += used;
	if (d->mode == HT_M_TRAILER)
		ht_event(s, st, HT_BODY_END, d->next);
	return STEP_MORE;
bad:
	/* What precedes the byte that is not understood counts. */
	d->next += i;
	s->pos += i;
	return STEP_RAW;
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
	case HT_M_FRAMES:
		return step_frames(skb, s, st, d);
	case HT_M_START:
		/* The client has said that it speaks HTTP/2. */
		if (st->flags & HT_S_FRAMES) {
			if (d->carry_len)
				return STEP_RAW;
			begin_frames(d);
			return STEP_MORE;
		}
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

#endif
