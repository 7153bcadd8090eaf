/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who owns a socket, and when it ends: what a packet cannot tell.
 *
 * 1. connect(2) runs in the process that opens the connection: its name goes into the socket's state before the first
 *    packet.
 * 2. inet_sock_set_state tells when a socket is closed, by whatever cause.
 *
 * The worker behind an accepted socket is named by the socket family when it first sends.
 *
 * Each program is optional: where the kernel refuses one, its fields are missing and `headtrail doctor` says so.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "abi.h"
#include "lib/core.bpf.h"
#include "lib/maps.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define PASS 1
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define SOCK_STREAM 1
/* include/net/tcp_states.h */
#define TCP_FIN_WAIT2 5
#define TCP_CLOSE 7

static __always_inline void set_owner(struct ht_sock *st)
{
	__u8 comm[16];

	if (bpf_get_current_comm(comm, sizeof(comm)))
		return;
	__builtin_memcpy(st->comm, comm, sizeof(comm));
	st->pid = bpf_get_current_pid_tgid() >> 32;
	st->flags |= HT_S_OWNED;
}

static __always_inline int connecting(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct ht_sock *st;

	if (!sk || ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP)
		return PASS;
	st = bpf_sk_storage_get(&ht_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (st)
		set_owner(st);
	return PASS;
}

SEC("cgroup/connect4")
int ht_connect4(struct bpf_sock_addr *ctx)
{
	return connecting(ctx);
}

SEC("cgroup/connect6")
int ht_connect6(struct bpf_sock_addr *ctx)
{
	return connecting(ctx);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(ht_state, struct sock *sk, int oldstate, int newstate)
{
	struct ht_shared *sh = shared();
	struct ht_record r = {};
	struct ht_sock *st;
	__u32 fins;

	if (newstate != TCP_CLOSE || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	st = bpf_sk_storage_get(&ht_socks, sk, 0, 0);
	if (!st || !sh)
		return 0;
	if (!(st->flags & HT_S_HTTP) || (st->flags & (HT_S_IGNORE | HT_S_UPGRADED)) == HT_S_IGNORE)
		return 0;
	r.version = HT_ABI_VERSION;
	r.kind = HT_CLOSED;
	r.cookie = st->cookie;
	r.netns = st->netns;
	r.time_ns = bpf_ktime_get_ns();
	r.pid = st->pid;
	__builtin_memcpy(r.comm, st->comm, sizeof(r.comm));
	fins = st->flags & (HT_S_FIN_IN | HT_S_FIN_OUT);
	/* Who ends first and has nobody left to read hands the rest over to a lesser socket, which receives the other FIN. */
	r.closed_by_fin =
		fins == (HT_S_FIN_IN | HT_S_FIN_OUT) || (fins == HT_S_FIN_OUT && oldstate == TCP_FIN_WAIT2 && !sk->sk_err);
	if (ring_put(&r, sizeof(r)))
		__sync_fetch_and_add(&sh->process_lost, 1);
	return 0;
}
