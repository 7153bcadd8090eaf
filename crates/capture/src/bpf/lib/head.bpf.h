/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Start-lines, field lines and trailers in the window, eight bytes at a time. Only line ends, the fields that tell the
 * length of the body, and the empty line matter.
 */
#ifndef HEADTRAIL_HEAD_BPF_H
#define HEADTRAIL_HEAD_BPF_H

#include "frames.bpf.h"

#define SCAN_STEPS_MAX 640 /* lines and sixteen-byte strides of one window */

#define ONES 0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL
#define LF8 0x0a0a0a0a0a0a0a0aULL
#define LOWER8 0x2020202020202020ULL
/* Little-endian words; a big-endian build would need them mirrored. */
#define W_CONTENT 0x2d746e65746e6f63ULL	 /* content- */
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
#define W_CONNECT 0x205443454e4e4f43ULL /* with the blank behind it */
#define W_PUT 0x20545550U
#define W_DELE 0x454c4544U

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

/* A method with which no other protocol that is in use begins a line. */
static __always_inline int is_known_method(__u64 w)
{
	__u32 four = w;

	return four == W_GET || four == W_POST || four == W_PUT || four == W_DELE || four == W_HEAD;
}

enum { SCAN_MORE, SCAN_END, SCAN_BAD, SCAN_NOT_HTTP };

/* Whether a line whose letters are those of Content-Length has its hyphen and colon, too: the comparison of letters would take a
 * control character for either. */
static __always_inline int is_length_name(struct ht_scratch *s, __u32 line)
{
	return word(s, line) >> 56 == '-' && (word(s, line + 8) >> 48 & 0xff) == ':';
}

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
		if ((facts & (F_MIDLINE | F_STARTLINE | F_RESPONSE)) == F_STARTLINE && (word(s, at - 10) & MASK7) != W_HTTP1 &&
		    (word(s, at - 9) & MASK7) != W_HTTP1)
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
		if (s->length_at || facts & F_LENGTH || !is_length_name(s, line))
			return SCAN_BAD;
		s->length_at = line + 15;
	} else if (first == W_TRANSFER && (word(s, line + 8) | LOWER8) == W_ENCODIN) {
		next = word(s, line + 16);
		if ((next & 0xff | 0x20) != 'g')
			return SCAN_MORE;
		if (s->encoding_at || facts & F_CHUNKED || (next >> 8 & 0xff) != ':' || (word(s, line + 8) & 0xff) != '-')
			return SCAN_BAD;
		s->encoding_at = line + 18;
	}
	return SCAN_MORE;
}

/*
 * Reads field lines from s->at to s->end or to the empty line. Each turn ends with the same bounds of `at` and `line`
 * (masked), and what is done at a line end is a function of its own whose findings lie in memory: else the verifier
 * would tell apart the states of each turn and walk them all.
 */
__noinline int ht_scan_lines(struct ht_scratch *s, struct ht_sock *st)
{
	if (!s || !st)
		return SCAN_BAD;
	struct ht_dir *d = &st->dir[s->direction & 1];
	__u32 i, at = s->at & BUFFER_MASK, line = at;
	int result;
	__u8 first;

	s->line = at;
	s->length_at = 0;
	s->encoding_at = 0;
	for (i = 0; i < SCAN_STEPS_MAX; i++) {
		__u64 w, t;

		if (at >= s->end)
			break;
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
			break;
		/* Most lines are of no interest: c, t, an empty line and a fold are; the first line of all is always. */
		first = s->buffer[line] | 0x20;
		if (!(d->facts & (F_MIDLINE | F_STARTLINE)) && first != 'c' && first != 't' && first != ('\r' | 0x20) &&
		    first != ('\n' | 0x20) && first != ' ' && first != ('\t' | 0x20)) {
			line = at;
			continue;
		}
		s->line = line;
		s->at = at;
		line = at;
		result = ht_line(s, st);
		if (result != SCAN_MORE)
			return result;
	}
	s->line = line;
	s->at = at;
	return i == SCAN_STEPS_MAX ? SCAN_BAD : SCAN_MORE;
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

/*
 * After ht_scan_lines, with its result: what the lines say of the body goes into d, and an unfinished line is carried.
 * s->at is then behind what was read.
 */
__noinline int ht_scan_end(struct ht_scratch *s, struct ht_sock *st, int result)
{
	if (!s || !st)
		return SCAN_BAD;
	struct ht_dir *d = &st->dir[s->direction & 1];
	__u32 at = s->at, end = s->end, line = s->line, length_at = s->length_at, encoding_at = s->encoding_at;
	__u32 facts = d->facts, tail, i;

	d->carry_len = 0;
	if (result == SCAN_MORE && end > line) {
		tail = end - line;
		if (tail <= HT_CARRY_BYTES) {
			if (!(facts & F_MIDLINE)) {
				d->carry_len = tail;
				copy_carry(d->carry, s->buffer + ((end - HT_CARRY_BYTES) & BUFFER_MASK));
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

enum { IS_NOT, IS_REQUEST, IS_RESPONSE, IS_PARTIAL, IS_PREFACE };

/* What the bytes at s->at (s->end - s->at of them) may begin. */
static __always_inline int classify(struct ht_scratch *s, __u32 at, __u32 n)
{
	__u64 w = word(s, at);
	__u32 i;

	if (n >= 4 && ((__u32)w == W_GET || (__u32)w == W_POST))
		return n < 16 ? IS_PARTIAL : IS_REQUEST;
	if (n >= 4 && (__u32)w == W_PRI) {
		if (n < PREFACE_BYTES)
			return IS_PARTIAL;
		if (is_preface(s, at))
			return IS_PREFACE;
	}
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
		if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && c != '-' && c != '_' && !(i && c >= '0' && c <= '9'))
			return IS_NOT;
	}
	return IS_NOT;
}

#endif
