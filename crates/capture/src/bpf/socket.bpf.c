/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Finds the HTTP/1 heads and the HTTP/2 frames with fields in what the sockets of this host send and receive, and copies them out.
 *
 * How it works
 *
 * 1. Two programs sit on the root of the cgroup v2 hierarchy, one for ingress and one for egress. They see each packet
 *    of each socket, from its IP header on. A packet without payload and without FIN costs a look at two headers.
 * 2. Each socket has its state in socket storage (struct ht_sock), per direction where the framing is: at the start
 *    of a message, within a head, within a body. The walk goes by TCP sequence number, so that a retransmission is
 *    passed over and a hole is noticed. A body is passed over by its length or by its chunks; a request line within
 *    a body is not looked at.
 * 3. A plain message (a whole head in one packet, in step, its length known) takes a short way: lib/fast.bpf.h. Any other
 *    head is looked at in a scratch area of the CPU, eight bytes at a time: only line ends, the fields that tell the
 *    length of the body, and the empty line matter. What was looked at then goes into the ring as one record, with the
 *    packet's headers in front of it. One record may hold many heads (pipelining).
 * 4. Where the walk meets what it cannot settle (a hole, a folded line, two lengths, a chunk header it does not
 *    understand, too many steps), it goes to HT_M_RAW: it copies the payload, within a budget, and user space parses.
 *    Within chunks it first tells where it stands (HT_CHUNKS): what looks like a message there is none.
 *    User space answers with the sequence number of the next message start (ht_resyncs). As long as the requests of
 *    a connection are raw, so are its responses: whether a response has a body depends on its request.
 *    HTTP/2 (known by the client's preface, at the beginning or behind a 101) is walked frame by frame: lib/frames.bpf.h.
 * 5. A socket that began before the capture is joined at a message start only where the kernel's own clocks say that
 *    the other side was the last to send (HT_M_WAIT else).
 * 6. When client and server are both here, in one namespace over loopback, the server's socket is the one that counts;
 *    the client's tells its owner once (HT_PEER) and is left alone.
 * 7. Handshake segments with data carry the listener as socket (deferred accept, fast open). They are copied as they are
 *    and remembered by tuple; the child then starts raw in both directions.
 *
 * Races: ingress of one socket can run on two CPUs. The second one passes over its packet where that is deep in a body; else it
 * copies its payload raw and sets `contended`, whereupon
 * the first leaves the direction raw. Every doubt ends in HT_M_RAW; none ends in a skipped message.
 *
 * Every path returns 1: a 0 would drop the user's packet.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "abi.h"
#include "lib/core.bpf.h"
#include "lib/maps.bpf.h"
#include "lib/fast.bpf.h"
#include "lib/walk.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define PASS 1
/* Keeps the compiler from computing field addresses, which the verifier refuses for socket pointers. */
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define TCP_LISTEN 10 /* include/net/tcp_states.h */
#define TCP_FIN 0x01
#define TCP_SYN 0x02

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ht_resync_key);
	__type(value, struct ht_resync);
} ht_resyncs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ht_early_key);
	__type(value, __u32);
} ht_early SEC(".maps");

/* Where the filter program and the programs below find each other. One array for each direction, since the kernel
 * ties an array to one attach type. */
struct ht_calls {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} ht_calls_in SEC(".maps"), ht_calls_out SEC(".maps");

const volatile __u32 ht_has_filter;
/* Where the payload lies. Returns 0 for what is not TCP or has neither payload nor FIN. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	__u8 *ip = data, *tcp;
	__u32 at, doff;

	if (data + 40 > data_end)
		return 0;
	p->ip_version = ip[0] >> 4;
	if (p->ip_version == 4) {
		if (ip[9] != 6)
			return 0;
		at = (ip[0] & 15) * 4;
	} else if (p->ip_version == 6) {
		__u8 next = ip[6], i;

		at = 40;
#pragma unroll
		for (i = 0; i < 4 && next != 6; i++) {
			/* hop-by-hop, routing, destination options */
			if (next != 0 && next != 43 && next != 60)
				return 0;
			if (at > 1024 || data + at + 8 > data_end)
				return 0;
			next = *(__u8 *)(data + at);
			at += (*(__u8 *)(data + at + 1) + 1) * 8;
		}
		if (next != 6)
			return 0;
	} else {
		return 0;
	}
	if (at > 1024)
		return 0;
	tcp = data + at;
	if ((void *)(tcp + 20) > data_end)
		return 0;
	doff = (tcp[12] >> 4) * 4;
	p->payload_at = at + doff;
	p->tcp_flags = tcp[13];
	if (skb->len < p->payload_at || doff < 20)
		return 0;
	p->payload_bytes = skb->len - p->payload_at;
	if (!p->payload_bytes && !(p->tcp_flags & TCP_FIN))
		return 0;
	/* A SYN takes a sequence number; data with it (fast open) comes after. */
	p->sequence = bpf_ntohl(*(__u32 *)(tcp + 4)) + !!(p->tcp_flags & TCP_SYN);
	p->source_port = *(__u16 *)tcp;
	p->destination_port = *(__u16 *)(tcp + 2);
	return 1;
}

/* Tuple of the packet as its receiver would have it, mirrored for egress; IPv4 addresses as IPv4-mapped. */
static __always_inline int addresses(struct __sk_buff *skb, struct packet *p, struct ht_early_key *key, __u32 direction)
{
	__u8 *from = direction == HT_INGRESS ? key->source : key->destination;
	__u8 *to = direction == HT_INGRESS ? key->destination : key->source;

	__builtin_memset(key, 0, sizeof(*key));
	key->source_port = direction == HT_INGRESS ? p->source_port : p->destination_port;
	key->destination_port = direction == HT_INGRESS ? p->destination_port : p->source_port;
	if (p->ip_version == 6)
		return bpf_skb_load_bytes(skb, 8, from, 16) ?: bpf_skb_load_bytes(skb, 24, to, 16);
	from[10] = from[11] = to[10] = to[11] = 0xff;
	return bpf_skb_load_bytes(skb, 12, from + 12, 4) ?: bpf_skb_load_bytes(skb, 16, to + 12, 4);
}

static __always_inline __u32 netns_of(struct bpf_sock *sk)
{
	struct tcp_sock *tp = (void *)bpf_skc_to_tcp_sock(sk);
	struct net *net;

	if (!tp)
		return 0;
	net = tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net;
	return net ? net->ns.inum : 0;
}

/* Headers for the filter: forward at dir[0], mirrored at dir[1]; only addresses, ports and protocol count. */
static __noinline void filter_headers(struct __sk_buff *skb, struct packet *p, struct ht_sock *st)
{
	__u8 *forward = (void *)&st->dir[0], *mirrored = (void *)&st->dir[1];

	if (p->ip_version == 4) {
		forward[0] = mirrored[0] = 0x45;
		forward[9] = mirrored[9] = 6;
		bpf_skb_load_bytes(skb, 12, forward + 12, 8);
		__builtin_memcpy(mirrored + 12, forward + 16, 4);
		__builtin_memcpy(mirrored + 16, forward + 12, 4);
		*(__u16 *)(forward + 20) = *(__u16 *)(mirrored + 22) = p->source_port;
		*(__u16 *)(forward + 22) = *(__u16 *)(mirrored + 20) = p->destination_port;
	} else {
		forward[0] = mirrored[0] = 0x60;
		forward[6] = mirrored[6] = 6;
		bpf_skb_load_bytes(skb, 8, forward + 8, 32);
		__builtin_memcpy(mirrored + 8, forward + 24, 16);
		__builtin_memcpy(mirrored + 24, forward + 8, 16);
		*(__u16 *)(forward + 40) = *(__u16 *)(mirrored + 42) = p->source_port;
		*(__u16 *)(forward + 42) = *(__u16 *)(mirrored + 40) = p->destination_port;
	}
}

/* First packet of a socket. Returns 0 where it is of no interest. */
static __noinline int first_packet(struct __sk_buff *skb, struct packet *p, struct bpf_sock *sk, struct ht_sock *st,
				   struct ht_scratch *s)
{
	__u32 direction = s->direction;
	struct ht_dir *in = &st->dir[HT_INGRESS], *out = &st->dir[HT_EGRESS];
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	struct tcp_sock *tp = (void *)bpf_skc_to_tcp_sock(sk);
	struct ht_early_key *key = &s->key;
	struct net *net;
	__u32 sent_before, *early;

	if (!tcp || !tp)
		return 0;
	__builtin_memset(st->dir, 0, sizeof(st->dir));
	st->cookie = bpf_get_socket_cookie(skb);
	net = tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net;
	st->netns = net ? net->ns.inum : 0;
	st->flags |= HT_S_INIT;
	s->counters.sockets++;
	if (st->verdict == 2) {
		st->flags |= HT_S_IGNORE;
		s->counters.sockets_filtered++;
		return 0;
	}
	in->next = READ_ONCE(tcp->rcv_nxt);
	sent_before = READ_ONCE(tcp->data_segs_out);
	if (direction == HT_EGRESS) {
		/* This packet is counted already. */
		out->next = p->sequence;
		sent_before -= sent_before >= s->segments ? s->segments : 0;
	} else {
		out->next = READ_ONCE(tcp->snd_nxt);
	}
	if (!READ_ONCE(tcp->data_segs_in) && !sent_before) {
		st->fresh = 3;
		st->synced = 3;
		in->mode = HT_M_START;
		out->mode = HT_M_START;
		return 1;
	}
	/* Its first segment may have come with the listener as socket. */
	if (!addresses(skb, p, key, direction)) {
		key->netns = st->netns;
		early = bpf_map_lookup_elem(&ht_early, key);
		if (early) {
			bpf_map_delete_elem(&ht_early, key);
			st->flags |= HT_S_HTTP | HT_S_TURNS;
			st->fresh = 3;
			st->synced = 3;
			in->mode = HT_M_RAW;
			out->mode = HT_M_RAW;
			return 1;
		}
	}
	st->flags |= HT_S_JOINED | HT_S_TURNS;
	in->mode = HT_M_WAIT;
	out->mode = HT_M_WAIT;
	if (direction == HT_INGRESS) {
		if ((__s32)(tp->lsndtime - tp->inet_conn.icsk_ack.lrcvtime) >= 0)
			in->mode = HT_M_START;
	} else if (READ_ONCE(tcp->snd_una) == p->sequence) {
		/* Nothing is in flight before this segment: it is not the middle of a busy body. */
		out->mode = HT_M_START;
	}
	return 1;
}

/* Data that came with the listener as socket. */
static __noinline void early_packet(struct __sk_buff *skb, struct packet *p, struct bpf_sock *sk, struct ht_scratch *s)
{
	struct ht_sock *st = &s->early;
	__u32 end = p->sequence + p->payload_bytes;

	__builtin_memset(st, 0, sizeof(*st));
	st->netns = netns_of(sk);
	st->cookie = bpf_get_socket_cookie(skb);
	if (addresses(skb, p, &s->key, HT_INGRESS))
		return;
	s->key.netns = st->netns;
	bpf_map_update_elem(&ht_early, &s->key, &end, BPF_ANY);
	s->raw = HT_EARLY;
	ht_raw(skb, s, st);
}

/* User space may have told where the next message begins. */
static __noinline void try_resync(struct packet *p, struct ht_scratch *s, struct ht_sock *st, struct ht_dir *d, __u32 direction)
{
	struct ht_resync_key key = {.cookie = st->cookie, .direction = direction};
	struct ht_resync *resync = bpf_map_lookup_elem(&ht_resyncs, &key);
	__s32 ahead;

	if (!resync)
		return;
	ahead = resync->sequence - p->sequence;
	if (ahead >= 0 && resync->frames) {
		begin_frames(d);
		d->chunk = ahead ? HT_F_PAYLOAD : HT_F_HEADER;
		d->left = ahead;
		d->next = p->sequence;
		d->raw_bytes = 0;
		st->flags |= HT_S_HTTP | HT_S_FRAMES;
		st->synced |= 1 << direction;
		s->counters.resyncs++;
		/* Responses cannot be in step before their requests are. */
	} else if (ahead >= 0 && !(st->request_dir && st->request_dir != direction + 1 &&
				   (st->flags & HT_S_UNTOLD || st->dir[~direction & 1].mode == HT_M_RAW))) {
		d->mode = ahead ? HT_M_BODY : HT_M_START;
		d->left = ahead;
		d->octets = 0;
		d->next = p->sequence;
		d->facts = 0;
		d->carry_len = 0;
		d->raw_bytes = 0;
		s->counters.resyncs++;
	}
	bpf_map_delete_elem(&ht_resyncs, &key);
}

/* The client end of a loopback connection: its server end is recorded. */
static __noinline void leave_to_server(struct __sk_buff *skb, struct ht_scratch *s, struct ht_sock *st)
{
	struct ht_record *r;
	__u64 headers, all;

	st->flags |= HT_S_IGNORE;
	s->counters.sockets_loopback++;
	s->emit_bytes = 0;
	s->request_starts = 0;
	s->response_starts = 0;
	headers = within(s->header_bytes, HT_HEADER_BYTES_MAX);
	if (!st->pid || !headers || bpf_skb_load_bytes(skb, 0, before_window(s, headers), headers))
		return;
	r = (void *)before_window(s, sizeof(*r) + headers);
	fill_record(r, st, HT_PEER, s->direction & 1);
	r->time_ns = bpf_ktime_get_ns();
	r->sequence = s->sequence;
	r->packet_end = s->sequence;
	r->header_bytes = headers;
	all = within(sizeof(*r) + headers, sizeof(*r) + HT_HEADER_BYTES_MAX);
	if (!all || ring_put(r, all))
		s->counters.events_lost++;
}

static __always_inline void walk(struct __sk_buff *skb, struct packet *p, struct ht_scratch *s, struct ht_sock *st,
				 __u32 direction)
{
	struct ht_dir *d = &st->dir[direction];
	int result = STEP_MORE;
	__s32 ahead;
	__u32 i;

	if (d->mode == HT_M_WAIT) {
		if (st->last_dir && st->last_dir != direction + 1) {
			d->mode = HT_M_START;
			d->next = p->sequence;
		} else {
			return;
		}
	}
	if (d->mode == HT_M_RAW)
		try_resync(p, s, st, d, direction);
	if (d->mode == HT_M_RAW) {
		if (!(st->flags & HT_S_TURNS))
			st->flags |= HT_S_TURNS;
		ht_raw(skb, s, st);
		return;
	}
	ahead = p->sequence - d->next;
	if (ahead > 0) {
		if (d->mode == HT_M_BODY && d->left >= (__u32)ahead) {
			d->left -= ahead;
		} else if (d->mode == HT_M_CLOSE) {
			d->octets += ahead;
		} else if (d->mode == HT_M_FRAMES && d->chunk == HT_F_PAYLOAD && !d->octets && d->left >= (__u32)ahead) {
			d->left -= ahead;
			if (!d->left)
				d->chunk = HT_F_HEADER;
		} else {
			ht_chunks(s, st);
			d->mode = HT_M_RAW;
			st->flags |= HT_S_TURNS | HT_S_HTTP;
			ht_raw(skb, s, st);
			return;
		}
		d->next = p->sequence;
		if (!d->left && d->mode == HT_M_BODY)
			d->mode = HT_M_START;
	} else if (ahead < 0) {
		if ((__u32)-ahead >= p->payload_bytes)
			return;
		s->pos = -ahead;
	}
	for (i = 0; i < HT_STEPS_MAX; i++) {
		result = ht_step(skb, s, st);
		if (result != STEP_MORE)
			break;
	}
	if (i == HT_STEPS_MAX)
		result = STEP_RAW;
	if (st->request_dir == HT_EGRESS + 1 && skb->ifindex == LOOPBACK_IFINDEX &&
	    (st->flags & (HT_S_HTTP | HT_S_IGNORE)) == HT_S_HTTP) {
		leave_to_server(skb, s, st);
		return;
	}
	ht_emit(skb, s, st);
	if (result == STEP_RAW) {
		st->flags |= HT_S_TURNS;
		ht_chunks(s, st);
		d->mode = HT_M_RAW;
		d->carry_len = 0;
		ht_raw(skb, s, st);
	}
}

/*
 * The process that sends first on an accepted socket is the worker that serves it. Egress runs in its context while it holds
 * the socket; otherwise (sent on an acknowledgement) the current task is anybody.
 */
static __noinline int find_owner(struct bpf_sock *sk, struct ht_sock *st)
{
	struct tcp_sock *tp = (void *)bpf_skc_to_tcp_sock(sk);
	struct task_struct *task;

	if (!tp || !tp->inet_conn.icsk_inet.sk.sk_lock.owned)
		return 0;
	task = (void *)bpf_get_current_task_btf();
	st->pid = task->tgid;
	bpf_probe_read_kernel(st->comm, sizeof(st->comm), task->comm);
	st->flags |= HT_S_OWNED;
	return 0;
}

#define DEEP_BYTES (HT_RAW_BUDGET_BYTES / 2)

/*
 * Whether a packet lies so far before the end of a body that whoever is moving the body's bounds at this moment cannot make it anything
 * else. The walk passes over it as over any hole within a body; raw copies of a large one would use up their budget before user space
 * can answer.
 */
static __always_inline int is_deep_in_body(struct ht_dir *d, struct packet *p)
{
	__s64 ahead = (__s32)(p->sequence - READ_ONCE(d->next));

	return READ_ONCE(d->mode) == HT_M_BODY && !(p->tcp_flags & TCP_FIN) &&
	       ahead + p->payload_bytes + DEEP_BYTES <= (__s64)READ_ONCE(d->left);
}

/* Nothing of what comes next is looked at, as far as `left` reaches. */
static __always_inline int is_passing(struct ht_dir *d)
{
	return d->mode == HT_M_BODY || (d->mode == HT_M_FRAMES && d->chunk == HT_F_PAYLOAD && !d->octets);
}

static __always_inline int handle(struct __sk_buff *skb, __u32 direction)
{
	struct packet p = {};
	struct ht_scratch *s;
	struct bpf_sock *sk;
	struct ht_sock *st;
	__u32 segments;

	if (!parse(skb, &p))
		return PASS;
	sk = skb->sk;
	if (!sk)
		return PASS;
	st = bpf_sk_storage_get(&ht_socks, sk, 0, 0);
	if (st && st->flags & HT_S_IGNORE) {
		/* How a tunnel ends is told. */
		if (p.tcp_flags & TCP_FIN && st->flags & HT_S_UPGRADED)
			st->flags |= direction == HT_INGRESS ? HT_S_FIN_IN : HT_S_FIN_OUT;
		return PASS;
	}
	if (st && (st->flags & ~HT_S_JOINED) == (HT_S_INIT | HT_S_HTTP | HT_S_OWNED) && !(p.tcp_flags & TCP_FIN)) {
		int done = 0;

		s = slot_take();
		if (s && direction == HT_EGRESS) {
			done = fast(skb, &p, st, s, direction);
		} else if (s && !__sync_lock_test_and_set(&st->busy, 1)) {
			done = fast(skb, &p, st, s, direction);
			if (st->contended)
				done = 0;
			release(&st->busy);
		}
		if (s)
			release(&s->busy);
		if (done)
			return PASS;
	}
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	if (!st && sk->state != TCP_LISTEN) {
		if (!p.payload_bytes)
			return PASS;
		st = bpf_sk_storage_get(&ht_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	}
	if (st && !(st->flags & HT_S_INIT) && ht_has_filter && !st->verdict) {
		/* It sets the verdict and calls this program again. Where that fails the flow is in. */
		filter_headers(skb, &p, st);
		if (direction == HT_INGRESS)
			bpf_tail_call(skb, &ht_calls_in, HT_CALL_FILTER);
		else
			bpf_tail_call(skb, &ht_calls_out, HT_CALL_FILTER);
	}
	/* The middle of a body, or of a DATA frame, in order needs nothing but a step ahead. */
	if (st && st->flags & HT_S_INIT && direction == HT_EGRESS && st->dir[HT_EGRESS].left > p.payload_bytes &&
	    st->dir[HT_EGRESS].next == p.sequence && !(p.tcp_flags & TCP_FIN) && is_passing(&st->dir[HT_EGRESS])) {
		st->dir[direction].next += p.payload_bytes;
		st->dir[direction].left -= p.payload_bytes;
		return PASS;
	}
	if (direction == HT_EGRESS && st && !(st->flags & HT_S_OWNED))
		find_owner(sk, st);
	s = slot_take();
	if (!s) {
		struct ht_shared *sh = shared();

		if (sh)
			__sync_fetch_and_add(&sh->slots_busy, 1);
		return PASS;
	}
	segments = skb->gso_segs;
	s->direction = direction;
	s->sequence = p.sequence;
	s->payload_at = p.payload_at;
	s->payload_bytes = p.payload_bytes;
	s->header_bytes = p.payload_at < HT_HEADER_BYTES_MAX ? p.payload_at : HT_HEADER_BYTES_MAX;
	s->segments = segments ? segments : 1;
	s->time_ns = 0;
	s->pos = 0;
	s->window_bytes = 0;
	s->emit_bytes = 0;
	s->head_here = 0;
	s->raw = 0;
	s->request_starts = 0;
	s->response_starts = 0;
	if (!st) {
		if (sk->state == TCP_LISTEN)
			early_packet(skb, &p, sk, s);
		else
			s->counters.sockets_failed++;
		goto out;
	}
	if (!(st->flags & HT_S_INIT)) {
		if (!p.payload_bytes || !first_packet(skb, &p, sk, st, s))
			goto out;
	}
	if (direction == HT_INGRESS && __sync_lock_test_and_set(&st->busy, 1)) {
		if (is_deep_in_body(&st->dir[HT_INGRESS], &p))
			goto out;
		st->contended = 1;
		ht_raw(skb, s, st);
		goto out;
	}
	if (p.payload_bytes) {
		walk(skb, &p, s, st, direction);
		if (st->flags & HT_S_TURNS) {
			st->last_dir = direction + 1;
			/* Both in step again, and nothing open: as if nothing had been. */
			if (st->synced == 3 && st->dir[0].mode == HT_M_START && st->dir[1].mode == HT_M_START &&
			    st->dir[0].messages == st->dir[1].messages && !(st->flags & HT_S_UNTOLD))
				st->flags &= ~HT_S_TURNS;
		}
	}
	if (p.tcp_flags & TCP_FIN) {
		st->flags |= direction == HT_INGRESS ? HT_S_FIN_IN : HT_S_FIN_OUT;
		if ((st->flags & (HT_S_HTTP | HT_S_IGNORE)) == HT_S_HTTP)
			ht_event(s, st, HT_FINISHED, p.sequence + p.payload_bytes);
	}
	if (direction == HT_INGRESS) {
		if (st->contended) {
			st->contended = 0;
			ht_chunks(s, st);
			st->dir[HT_INGRESS].mode = HT_M_RAW;
		}
		release(&st->busy);
	}
out:
	release(&s->busy);
	return PASS;
}

SEC("cgroup_skb/ingress")
int ht_ingress(struct __sk_buff *skb)
{
	return handle(skb, HT_INGRESS);
}

SEC("cgroup_skb/egress")
int ht_egress(struct __sk_buff *skb)
{
	return handle(skb, HT_EGRESS);
}
