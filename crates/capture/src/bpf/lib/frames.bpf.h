/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The walk over HTTP/2 frames (RFC 9113, 4.1 and 6). Everything is copied but the content of DATA frames and what is long and of a
 * type that carries no fields: these are passed over, or, where they are so short that a record of their own for what follows
 * would cost more, blanked.
 */
#ifndef HEADTRAIL_FRAMES_BPF_H
#define HEADTRAIL_FRAMES_BPF_H

#include "emit.bpf.h"

#define FRAME_HEADER_BYTES 9
#define FRAMES_IN_A_STEP 64
#define FRAMES_WINDOW_BYTES 1024
#define BLANK_BYTES_MAX 128	 /* of content that is blanked and not left out */
#define SMALL_FRAME_BYTES 64	 /* payload of frames without fields that is copied whole */
#define FIRST_SETTINGS_BYTES 192 /* longest SETTINGS frame that is taken for what a server sends first */

enum {
	H2_DATA = 0,
	H2_HEADERS = 1,
	H2_PRIORITY = 2,
	H2_RST_STREAM = 3,
	H2_SETTINGS = 4,
	H2_PUSH_PROMISE = 5,
	H2_PING = 6,
	H2_GOAWAY = 7,
	H2_WINDOW_UPDATE = 8,
	H2_CONTINUATION = 9,
};

#define H2_END_STREAM 0x1
#define H2_PADDED 0x8

/* The client's preface (RFC 9113, 3.4), in words. */
#define W_PRI 0x20495250U		  /* "PRI " */
#define W_PREFACE_1 0x5448202a20495250ULL /* PRI * HT */
#define W_PREFACE_2 0x0a0d302e322f5054ULL /* TP/2.0 CR LF */
#define W_PREFACE_3 0x0a0d0a0d4d530a0dULL /* CR LF SM CR LF CR LF */
#define PREFACE_BYTES 24

static __always_inline int is_preface(struct ht_scratch *s, __u32 at)
{
	return word(s, at) == W_PREFACE_1 && word(s, at + 8) == W_PREFACE_2 && word(s, at + 16) == W_PREFACE_3;
}

/* What a server sends first: a SETTINGS frame that acknowledges nothing. */
static __always_inline int is_first_settings(struct ht_scratch *s, __u32 at, __u32 n)
{
	__u64 w = word(s, at);

	return n >= FRAME_HEADER_BYTES && (w & ~0xff0000ULL) == (__u64)H2_SETTINGS << 24 && !(word(s, at + 8) & 0xff) &&
	       (w >> 16 & 0xff) <= FIRST_SETTINGS_BYTES && !((w >> 16 & 0xff) % 6);
}

/* Whether a frame may begin here, of a connection that is older than the capture; user space has to prove it. */
static __always_inline int is_like_a_frame(struct ht_scratch *s, __u32 at, __u32 n)
{
	__u64 w = word(s, at);
	__u32 length = (w & 0xff) << 16 | (w >> 8 & 0xff) << 8 | (w >> 16 & 0xff), type = w >> 24 & 0xff, flags = w >> 32 & 0xff;
	__u32 stream = (w >> 40 & 0xff) << 24 | (w >> 48 & 0xff) << 16 | (w >> 56) << 8 | (word(s, at + 8) & 0xff);

	if (n < FRAME_HEADER_BYTES || length > 16384 || stream >> 31)
		return 0;
	switch (type) {
	case H2_DATA:
		return stream && !(flags & ~(H2_END_STREAM | H2_PADDED));
	case H2_HEADERS:
		return stream && length && !(flags & ~0x2d);
	case H2_PRIORITY:
		return stream && length == 5 && !flags;
	case H2_RST_STREAM:
		return stream && length == 4 && !flags;
	case H2_SETTINGS:
		return !stream && !(length % 6) && flags < 2;
	case H2_PING:
		return !stream && length == 8 && flags < 2;
	case H2_GOAWAY:
		return !stream && length >= 8 && !flags;
	case H2_WINDOW_UPDATE:
		return length == 4 && !flags;
	}
	return 0;
}

static __always_inline void begin_frames(struct ht_dir *d)
{
	d->mode = HT_M_FRAMES;
	d->chunk = HT_F_HEADER;
	d->digits = 0;
	d->carry_len = 0;
	d->left = 0;
	d->octets = 0;
}

#define F_END_STREAM 1 /* of ht_dir.facts, within frames: the message ends with this one */

enum { FRAME_NEXT, FRAME_MORE, FRAME_LEAVE };

/*
 * From s->at towards s->end: one frame, or as much of it as is there. FRAME_MORE: the window is used up. FRAME_LEAVE: what
 * follows is passed over. s->at is behind what was read.
 */
__noinline int ht_frame(struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return FRAME_MORE;
	struct ht_dir *d = &st->dir[s->direction & 1];
	__u32 at = s->at & BUFFER_MASK, end = s->end & BUFFER_MASK, n, i;

	if (d->chunk == HT_F_HEADER) {
		__u32 length, type, flags, last; /* the last byte of the stream id */
		__u64 w;

		if (at >= end)
			return FRAME_MORE;
		if (!d->digits && end - at >= FRAME_HEADER_BYTES) {
			w = word(s, at);
			last = s->buffer[(at + 8) & BUFFER_MASK];
			at += FRAME_HEADER_BYTES;
		} else {
			for (i = 0; i < FRAME_HEADER_BYTES; i++) {
				__u32 to = d->digits;

				if (at >= end || to >= FRAME_HEADER_BYTES)
					break;
				/* The verifier has to see the mask. */
				asm volatile("" : "+r"(to));
				d->carry[to & 15] = s->buffer[at & BUFFER_MASK];
				d->digits++;
				at++;
			}
			if (d->digits < FRAME_HEADER_BYTES) {
				s->at = at;
				return FRAME_MORE;
			}
			w = *(__u64 *)d->carry;
			last = d->carry[8];
			d->digits = 0;
		}
		length = (w & 0xff) << 16 | (w >> 8 & 0xff) << 8 | (w >> 16 & 0xff);
		type = w >> 24 & 0xff;
		flags = w >> 32 & 0xff;
		d->chunk = HT_F_PAYLOAD;
		d->octets = length;
		d->left = 0;
		d->facts = 0;
		/* One for each message: its start cannot be told from its trailers here. */
		if (type <= H2_HEADERS && flags & H2_END_STREAM) {
			if (st->request_dir == (s->direction & 1) + 1)
				s->request_starts++;
			else if (w >> 40 || last != 1 || !(st->flags & HT_S_UPGRADED))
				/* What answers on stream 1 after an upgrade was counted with the 101. */
				s->response_starts++;
			d->facts = F_END_STREAM;
		}
		if (type == H2_DATA) {
			/* The length of the padding is told by the first byte. */
			d->octets = length && flags & H2_PADDED;
			d->left = length - d->octets;
		} else if (type == H2_RST_STREAM || type == H2_SETTINGS || type == H2_GOAWAY) {
			if (length > FRAMES_WINDOW_BYTES) {
				d->octets = FRAMES_WINDOW_BYTES;
				d->left = length - FRAMES_WINDOW_BYTES;
			}
		} else if (type != H2_HEADERS && type != H2_PUSH_PROMISE && type != H2_CONTINUATION &&
			   length > SMALL_FRAME_BYTES) {
			d->octets = 0;
			d->left = length;
		}
	}
	/* What is copied, then what is not. */
	n = end - at;
	if (at > end)
		n = 0;
	if (d->octets < n)
		n = d->octets;
	d->octets -= n;
	at += n;
	s->at = at;
	if (d->octets)
		return FRAME_MORE;
	if (d->left) {
		if (at >= end)
			return FRAME_MORE;
		if (d->left > BLANK_BYTES_MAX || d->left > end - at)
			return FRAME_LEAVE;
		n = d->left;
		d->left = 0;
		s->at = at + n;
		for (i = 0; i < BLANK_BYTES_MAX / 8; i++) {
			__u64 *to = (__u64 *)(s->buffer + ((at + i * 8) & BUFFER_MASK));

			if (n < 8) {
				*to &= ~0ULL << n * 8;
				break;
			}
			*to = 0;
			n -= 8;
		}
	}
	d->chunk = HT_F_HEADER;
	return s->at >= end ? FRAME_MORE : FRAME_NEXT;
}

/* Frames at pos. */
static __always_inline int step_frames(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st, struct ht_dir *d)
{
	__u32 n = s->payload_bytes - s->pos, from, i, from_before = !s->pos;
	int result = FRAME_NEXT;

	if (d->chunk == HT_F_PAYLOAD && !d->octets && d->left) {
		ht_emit(skb, s, st);
		s->window_bytes = 0;
		if (d->left < n)
			n = d->left;
		d->left -= n;
		d->next += n;
		s->pos += n;
		if (!d->left) {
			d->chunk = HT_F_HEADER;
			/* Nothing follows that would tell. */
			if (d->facts & F_END_STREAM && from_before && s->pos == s->payload_bytes)
				ht_event(s, st, HT_BODY_END, d->next);
		}
		return STEP_MORE;
	}
	if (!s->window_bytes || s->pos - s->window_pos >= s->window_bytes) {
		ht_emit(skb, s, st);
		if (!load_window(skb, s, FRAMES_WINDOW_BYTES))
			return STEP_RAW;
		/* User space, too, knows then where it is, whatever was lost before. */
		s->flags = d->chunk == HT_F_HEADER && !d->digits ? HT_START : 0;
	}
	from = s->pos - s->window_pos + WINDOW_AT;
	s->at = from;
	s->end = WINDOW_AT + s->window_bytes;
	for (i = 0; i < FRAMES_IN_A_STEP && result == FRAME_NEXT; i++)
		result = ht_frame(s, st);
	n = s->at - from;
	if (n > s->window_bytes)
		return STEP_RAW;
	d->next += n;
	s->pos += n;
	s->emit_bytes = s->at - WINDOW_AT;
	return STEP_MORE;
}

#endif
