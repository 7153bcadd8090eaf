/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The border between the kernel's side and user space: every structure, number and limit that both use. It compiles alone
 * (no vmlinux.h), all integers have fixed width, padding is explicit and zeroed. abi.rs is generated from it
 * by `cargo xtask abi`.
 */
#ifndef HEADTRAIL_ABI_H
#define HEADTRAIL_ABI_H

#include <linux/types.h>

#define HT_ABI_VERSION 1

/* Limits. */
#define HT_HEADER_BYTES_MAX 120		 /* L3 and L4 headers of a packet that are copied */
#define HT_WINDOW_BYTES 4096		 /* payload bytes that are looked at in one go */
#define HT_WINDOW_FIRST_BYTES 1024	 /* of these, first, where a message begins: most heads are shorter */
#define HT_CARRY_BYTES 48		 /* of an unfinished line that are kept until its rest comes */
#define HT_STEPS_MAX 160		 /* windows, heads and chunk lines of one packet; past it user space parses the rest */
#define HT_RAW_WINDOWS_MAX 17		 /* windows of one packet that are copied where user space parses */
#define HT_RAW_BUDGET_BYTES (512 * 1024) /* copied in a row for one direction before user space has to say where it is */
#define HT_SEEK_BUDGET_BYTES \
	(16 * HT_RAW_BUDGET_BYTES) /* the same of a direction that may carry HTTP/2 and was joined in the middle */
#define HT_SLOTS 3		   /* scratch areas of a CPU: process, softirq, and one that was preempted */

#define HT_RINGS_MAX 64	   /* a power of two; CPUs beyond share */
#define HT_CELL_BYTES 1024 /* of a lane */

/* Places in the tail-call arrays. */
enum ht_call {
	HT_CALL_FILTER = 0, /* the filter program */
	HT_CALL_RESUME = 1, /* where it goes on */
};

enum ht_kind {
	HT_SEGMENT = 1,	 /* payload bytes */
	HT_BODY_END = 2, /* a body, or the last DATA frame of one, that was passed over is complete */
	HT_FINISHED = 3, /* FIN of one direction */
	HT_CLOSED = 4,	 /* the socket is closed */
	HT_PEER = 5,	 /* owner of the client end of a connection that is recorded at its server end */
	HT_CHUNKS = 6,	 /* from here on user space walks the chunks of a body; eight bytes of payload: ht_dir.left */
};

enum ht_direction {
	HT_INGRESS = 0,
	HT_EGRESS = 1,
};

/* Bits of ht_record.flags. */
enum ht_flag {
	HT_FRESH = 1 << 0,    /* this direction was seen from its first payload byte on */
	HT_RAW = 1 << 1,      /* the kernel does not walk the framing here */
	HT_START = 1 << 2,    /* a message, or HTTP/2 frame, begins at the first byte */
	HT_EARLY = 1 << 3,    /* came with the listener as socket */
	HT_LOST = 1 << 4,     /* the ring was full before this one */
	HT_JOINED = 1 << 5,   /* the connection is older than the capture */
	HT_REQUESTS = 1 << 6, /* this direction carries requests */
};

/* One record in the ring; header_bytes of L3 and L4 header and payload_bytes of payload follow. */
struct ht_record {
	__u16 version;	/* HT_ABI_VERSION */
	__u8 kind;	/* enum ht_kind */
	__u8 direction; /* enum ht_direction */
	__u16 flags;	/* enum ht_flag */
	__u16 starts; /* requests or final responses that begin in the payload, of HTTP/2 those that end; HT_CHUNKS: enum ht_chunk, and digits << 8 */
	__u64 cookie;	     /* socket cookie */
	__u64 time_ns;	     /* CLOCK_MONOTONIC */
	__u32 netns;	     /* inode number of the network namespace */
	__u32 sequence;	     /* of the first payload byte; of the FIN; behind the body */
	__u32 packet_end;    /* sequence number behind the packet's last payload byte */
	__u16 header_bytes;  /* L3 and L4 header bytes that follow */
	__u16 payload_bytes; /* payload bytes that follow them */
	__u16 segments;	     /* of the super-packet */
	__u16 closed_by_fin; /* HT_CLOSED: 1 where both ends had sent FIN */
	__u32 pid;	     /* owner of the socket; 0 where not known */
	__u64 octets;	     /* HT_BODY_END: content octets; HT_CHUNKS: those so far */
	__u8 comm[16];	     /* owner's name */
};
_Static_assert(sizeof(struct ht_record) == 72, "ht_record has 72 bytes");

/* What did not get into a record, counted per CPU; user space adds them up, and counts records itself. */
struct ht_counters {
	__u64 requests_lost;	 /* ring full */
	__u64 responses_lost;	 /* ring full */
	__u64 segments_lost;	 /* ring full */
	__u64 raw_segments_lost; /* ring full, without framing: messages in them cannot be counted */
	__u64 raw_bytes_passed;	 /* not copied because the budget was used up */
	__u64 events_lost;	 /* ends of bodies, connections and the like: ring full */
	__u64 resyncs;		 /* user space has told where a message begins */
	__u64 sockets;		 /* followed */
	__u64 sockets_other;	 /* that speak something else */
	__u64 sockets_filtered;	 /* that the filter leaves out */
	__u64 sockets_loopback;	 /* client ends whose server end is recorded */
	__u64 sockets_failed;	 /* no memory for the socket's state */
};

/* Written by both sides. */
struct ht_shared {
	__u32 waiting; /* 1: the consumer sleeps and wants to be woken by the next record; else it polls */
	__u32 reserved;
	__u64 process_lost; /* records of the process family that found the ring full */
	__u64 slots_busy;   /* packets that found no scratch area */
};

/*
 * A lane: a ring of cells of one size in a mapped array, one for each CPU, beside its ring buffer. The consumer knows by `turn` that a cell
 * is written.
 */
struct ht_cell {
	__u64 turn; /* 1 more than the position of the record in it, once that is complete */
	struct ht_record r;
	__u8 copied[HT_CELL_BYTES - 8 - sizeof(struct ht_record)]; /* headers and payload */
};
_Static_assert(sizeof(struct ht_cell) == HT_CELL_BYTES, "a cell has one size");

struct ht_lane {
	__u64 head;	 /* position that the next record gets */
	__u64 tail_seen; /* the last value of tail that a producer has seen */
	__u32 first;	 /* index of the lane's first cell */
	__u32 cells;	 /* how many there are, a power of two; 0: no lane */
	__u8 apart[104]; /* what follows is the consumer's */
	__u64 tail;	 /* cells before this position may be used again */
	__u8 apart_too[120];
};
_Static_assert(sizeof(struct ht_lane) == 256, "lanes share no cache line");

/* Where a direction is in its framing. */
enum ht_mode {
	HT_M_NEW = 0,	  /* nothing seen yet */
	HT_M_START = 1,	  /* a message begins at `next` */
	HT_M_HEAD = 2,	  /* within a head */
	HT_M_BODY = 3,	  /* `left` octets of body follow */
	HT_M_CLOSE = 4,	  /* body until the connection closes */
	HT_M_CHUNK = 5,	  /* within chunks; see enum ht_chunk */
	HT_M_TRAILER = 6, /* within the trailer section */
	HT_M_RAW = 7,	  /* user space parses */
	HT_M_WAIT = 8,	  /* joined in the middle: until the other side has spoken */
	HT_M_FRAMES = 9,  /* within HTTP/2 frames; see enum ht_frame */
};

enum ht_frame {
	HT_F_HEADER = 0,  /* within a frame header, of which `digits` bytes are at the beginning of `carry` */
	HT_F_PAYLOAD = 1, /* `octets` bytes that are copied, then `left` bytes that are not */
};

enum ht_chunk {
	HT_C_SIZE = 0, /* within the chunk size */
	HT_C_EXT = 1,  /* within the rest of its line */
	HT_C_DATA = 2, /* `left` octets of data follow */
	HT_C_END = 3,  /* CRLF behind the data */
};

struct ht_dir {
	__u32 next;	 /* sequence number expected next */
	__u8 mode;	 /* enum ht_mode */
	__u8 chunk;	 /* enum ht_chunk, or enum ht_frame */
	__u8 digits;	 /* of the chunk size so far; bytes of the frame header so far */
	__u8 facts;	 /* of the head so far */
	__u64 left;	 /* octets of body or chunk that follow; chunk size so far */
	__u64 octets;	 /* content octets of the message so far; Content-Length while in the head; see enum ht_frame */
	__u32 raw_bytes; /* copied since user space last said where it is */
	__u16 status;	 /* of the response whose head is being read */
	__u8 carry_len;	 /* valid bytes at the end of carry */
	__u8 lost;	 /* the ring was full */
	__u32 messages;	 /* requests, or final responses, so far */
	__u32 reserved;
	__u8 carry[HT_CARRY_BYTES]; /* an unfinished line, right-aligned */
	__u8 apart[40];		    /* from the other direction, see below */
};
_Static_assert(sizeof(struct ht_dir) == 128, "ht_dir has 128 bytes");

/*
 * State of a socket, in socket storage. Ingress and egress often run on different CPUs: what seldom changes comes first, where
 * the kernel's look-up touches it anyway, then what the ingress side writes, then what the egress side writes, each
 * apart from the others: processors fetch cache lines in pairs. The filter
 * program finds the two headers that it judges at the place of dir[].
 */
struct ht_sock {
	__u64 cookie;
	__u32 netns;
	__u32 pid;
	__u32 flags;	  /* see lib/maps.bpf.h */
	__u8 verdict;	  /* of the filter: 0 none yet, 1 in, 2 out */
	__u8 request_dir; /* 0 unknown, 1 ingress, 2 egress */
	__u8 last_dir;	  /* that carried payload, kept while HT_S_TURNS: 0 none, 1 ingress, 2 egress */
	__u8 fresh;	  /* bit per direction */
	__u8 comm[16];
	__u8 synced;   /* bit per direction: its framing was in step once */
	__u8 pause[2]; /* messages of a direction that are left to the walk at once */
	__u8 reserved[21];
	__u8 apart[64];
	__u64 bodyless;	 /* bit n: the request with number n (mod 64) was HEAD or CONNECT */
	__u32 busy;	 /* a CPU works on ingress */
	__u32 contended; /* another CPU came in while busy */
	struct ht_dir dir[2];
};
_Static_assert(sizeof(struct ht_sock) <= 400, "socket state stays small");

/* User space -> kernel: in this direction of this socket the next message, or HTTP/2 frame, begins here. */
struct ht_resync_key {
	__u64 cookie;
	__u32 direction;
	__u32 reserved;
};

struct ht_resync {
	__u32 sequence;
	__u32 frames; /* 1: the connection speaks HTTP/2 */
};

/* Handshake segments with data that came with the listener as socket. */
struct ht_early_key {
	__u8 source[16];
	__u8 destination[16];
	__u32 netns;
	__u16 source_port;	/* network byte order */
	__u16 destination_port; /* network byte order */
};

#endif
