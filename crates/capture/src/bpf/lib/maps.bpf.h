/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Maps that more than one family uses. The socket family owns them; others are given its file descriptors at load. */
#ifndef HEADTRAIL_MAPS_BPF_H
#define HEADTRAIL_MAPS_BPF_H

#include "../abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ht_sock);
} ht_socks SEC(".maps");

/*
 * One ring for each CPU (or for each few, where there are many): producers on different CPUs then share no lock and no cache
 * line. User space puts them in order by time. It also makes them, since their number and size are not known here.
 */
struct ht_ring_template {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, HT_RINGS_MAX);
	__type(key, __u32);
	__type(value, __u32);
	__array(values, struct ht_ring_template);
} ht_rings SEC(".maps");

/* What both families and user space write. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ht_shared);
} ht_shared SEC(".maps");

static __always_inline struct ht_shared *shared(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ht_shared, &zero);
}

/* Puts a record into the ring of this CPU. Returns 0 on success. */
static __always_inline long ring_put(void *record, __u64 bytes)
{
	__u32 index = bpf_get_smp_processor_id() & HT_RINGS_MAX - 1;
	struct ht_shared *sh = shared();
	void *ring = bpf_map_lookup_elem(&ht_rings, &index);
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (!ring || !sh)
		return -1;
	if (sh->waiting) {
		sh->waiting = 0;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	return bpf_ringbuf_output(ring, record, bytes, flags);
}

#define RING_ROOM_BYTES 2048 /* more than a plain message takes */

/* Whether the ring of this CPU has no room for a plain message either. */
static __always_inline int ring_is_full(void)
{
	__u32 index = bpf_get_smp_processor_id() & HT_RINGS_MAX - 1;
	void *ring = bpf_map_lookup_elem(&ht_rings, &index);

	return ring && bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) + RING_ROOM_BYTES > bpf_ringbuf_query(ring, BPF_RB_RING_SIZE);
}

/* Bits of ht_sock.flags. */
enum {
	HT_S_INIT = 1 << 0,	 /* cookie, namespace, freshness and verdict are set */
	HT_S_HTTP = 1 << 1,	 /* speaks HTTP */
	HT_S_IGNORE = 1 << 2,	 /* nothing of it is recorded */
	HT_S_FIN_IN = 1 << 3,	 /* FIN received */
	HT_S_FIN_OUT = 1 << 4,	 /* FIN sent */
	HT_S_CONNECT = 1 << 5,	 /* a CONNECT was asked for */
	HT_S_JOINED = 1 << 6,	 /* older than the capture */
	HT_S_OWNED = 1 << 7,	 /* pid and comm are known, or were looked for often enough */
	HT_S_BODYLESS = 1 << 9,	 /* a HEAD or CONNECT was asked for */
	HT_S_FRAMES = 1 << 11,	 /* speaks HTTP/2 */
	HT_S_UPGRADED = 1 << 12, /* a response has said that another protocol follows; with IGNORE: a tunnel, whose end is told */
	HT_S_UNTOLD = 1 << 10,	 /* open requests may be unknown here, or more than there are bits for */
	HT_S_TURNS = 1 << 8,	 /* whose turn it was counts: a direction is or was joined or raw */
};

#endif
