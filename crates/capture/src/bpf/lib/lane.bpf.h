/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Lanes: rings of cells of one size in a mapped array, for records that fit. A ring buffer of the kernel takes a lock to reserve and a full
 * barrier to submit, so that the producer waits for each cache line that the consumer's core has read last. Here a
 * record costs one compare-and-exchange on a line of its own CPU, and stores that the processor completes when it likes.
 *
 * A place is taken before it is written, and only where the consumer has given it back, so that nothing is overwritten; a
 * program that is interrupted meanwhile leaves a cell whose turn is not there yet, at which the consumer waits.
 */
#ifndef HEADTRAIL_LANE_BPF_H
#define HEADTRAIL_LANE_BPF_H

#include "maps.bpf.h"

#define LANE_TRIES 3 /* another program of this CPU can come between */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HT_RINGS_MAX);
	__type(key, __u32);
	__type(value, struct ht_lane);
} ht_lanes SEC(".maps");

/* User space sets how many there are. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ht_cell);
} ht_cells SEC(".maps");

/* Takes the next cell of this CPU's lane. Returns 0 where it is full. */
static __always_inline struct ht_cell *cell_take(__u64 *turn)
{
	__u32 index = bpf_get_smp_processor_id() & HT_RINGS_MAX - 1, i;
	struct ht_lane *lane = bpf_map_lookup_elem(&ht_lanes, &index);

	if (!lane)
		return 0;
#pragma unroll
	for (i = 0; i < LANE_TRIES; i++) {
		__u64 head = *(volatile __u64 *)&lane->head;

		if (head - lane->tail_seen >= lane->cells) {
			lane->tail_seen = *(volatile __u64 *)&lane->tail;
			if (head - lane->tail_seen >= lane->cells)
				return 0;
		}
		if (__sync_val_compare_and_swap(&lane->head, head, head + 1) == head) {
			*turn = head + 1;
			index = lane->first + (head & lane->cells - 1);
			return bpf_map_lookup_elem(&ht_cells, &index);
		}
	}
	return 0;
}

/* On x86 stores become visible in order; elsewhere an exchange has to see to it. */
static __always_inline void cell_give(struct ht_cell *cell, __u64 turn)
{
#if defined(__TARGET_ARCH_x86)
	asm volatile("" ::: "memory");
	*(volatile __u64 *)&cell->turn = turn;
#else
	__sync_lock_test_and_set(&cell->turn, turn);
#endif
}

/* Wakes the consumer, by a record that it never sees. */
static __noinline void wake(struct ht_shared *sh)
{
	__u32 index = bpf_get_smp_processor_id() & HT_RINGS_MAX - 1;
	void *ring = bpf_map_lookup_elem(&ht_rings, &index), *bell;

	sh->waiting = 0;
	if (!ring)
		return;
	bell = bpf_ringbuf_reserve(ring, 8, 0);
	if (bell)
		bpf_ringbuf_discard(bell, BPF_RB_FORCE_WAKEUP);
}

#endif
