/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The few kernel structures that are read, with the fields that are read. CO-RE finds their true offsets in the running
 * kernel's BTF when the program is loaded, so no vmlinux.h is needed and no kernel version is assumed.
 */
#ifndef HEADTRAIL_CORE_BPF_H
#define HEADTRAIL_CORE_BPF_H

#define HT_CORE __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} HT_CORE;

struct net {
	struct ns_common ns;
} HT_CORE;

typedef struct {
	struct net *net;
} HT_CORE possible_net_t;

struct sock_common {
	unsigned short skc_family;
	possible_net_t skc_net;
} HT_CORE;

typedef struct {
	int owned; /* a process holds the socket */
} HT_CORE socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	__u16 sk_protocol;
	int sk_err;
} HT_CORE;

struct task_struct {
	int tgid;
	char comm[16];
} HT_CORE;

struct inet_sock {
	struct sock sk;
} HT_CORE;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct {
		__u32 lrcvtime; /* jiffies of the last data received */
	} HT_CORE icsk_ack;
} HT_CORE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 lsndtime; /* jiffies of the last data sent */
} HT_CORE;

#endif
