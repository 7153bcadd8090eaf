/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The scratch area in which one packet is looked at. Each CPU has a few, since a program in process context can be
 * interrupted by one in softirq context, and preempted by another.
 */
#ifndef HEADTRAIL_SCRATCH_BPF_H
#define HEADTRAIL_SCRATCH_BPF_H

#include "maps.bpf.h"

/* The window begins here in the scratch buffer; record and headers, or the carried line, lie before it. */
#define WINDOW_AT 256
#define BUFFER_MASK 8191

/* What a step of the walk says: there is more, this packet is done, user space parses. */
enum { STEP_MORE, STEP_DONE, STEP_RAW };

struct ht_scratch {
	struct ht_counters counters;
	__u32 busy;
	/* The packet. */
	__u32 direction;
	__u32 sequence;	  /* of payload byte 0 */
	__u32 payload_at; /* offset of the payload in the packet */
	__u32 payload_bytes;
	__u32 header_bytes; /* to be copied */
	__u32 segments;
	__u32 flags; /* for the record */
	/* The walk; zero for each packet, and side by side so that it takes few stores. */
	__u64 time_ns;
	__u32 pos;	    /* payload byte that comes next */
	__u32 window_bytes; /* 0: nothing loaded */
	__u32 emit_bytes;   /* of the window are heads, up to here */
	__u32 head_here;    /* 1: a head ended in this packet */
	__u32 request_starts;
	__u32 response_starts;
	__u32 raw;
	__u32 headers_in; /* 1: the headers lie before the window */
	__u32 window_pos; /* payload byte at WINDOW_AT */
	/* Of a scan: where it is, where the text ends, where the current line and the values of interest begin (0: none). */
	__u32 at;
	__u32 end;
	__u32 line;
	__u32 length_at;
	__u32 encoding_at;
	/* Of the short way: the Content-Length, and whether there is one. */
	__u64 length;
	__u32 has_length;
	__u32 reserved;
	struct ht_record event; /* a record without payload; here because the stack is small */
	__u64 event_left;	/* the payload of HT_CHUNKS */
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

static __always_inline __u64 word(struct ht_scratch *s, __u32 at)
{
	return *(__u64 *)(s->buffer + (at & BUFFER_MASK));
}

/* A carried line, word by word: the compiler would copy bytes, and need a register or stack slot for each. */
static __always_inline void copy_carry(void *to, const void *from)
{
	__u64 *t = to;
	const __u64 *f = from;
	__u32 i;

#pragma unroll
	for (i = 0; i < HT_CARRY_BYTES / 8; i++)
		t[i] = f[i];
}

/*
 * x where it lies in 1..=most, else 0, in a form whose bounds every verifier follows: those before 6.4 learn neither from a
 * comparison with 0 nor from the bounds of a sum's parts.
 */
static __always_inline __u64 within(__u64 x, __u64 most)
{
	x--;
	asm volatile("" : "+r"(x));
	if (x >= most)
		return 0;
	x++;
	asm volatile("" : "+r"(x));
	return x;
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

#endif
