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

/* Bits of ht_sock.flags. */
enum {
	HT_S_INIT = 1 << 0,	/* cookie, namespace, freshness and verdict are set */
	HT_S_HTTP = 1 << 1,	/* speaks HTTP/1 */
	HT_S_IGNORE = 1 << 2,	/* nothing of it is recorded */
	HT_S_FIN_IN = 1 << 3,	/* FIN received */
	HT_S_FIN_OUT = 1 << 4,	/* FIN sent */
	HT_S_CONNECT = 1 << 5,	/* a CONNECT was asked for */
	HT_S_JOINED = 1 << 6,	/* older than the capture */
};

#endif
