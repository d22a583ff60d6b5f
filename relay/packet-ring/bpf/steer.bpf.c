// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Steer: hands UDP of our own media ports to the AF_XDP sockets of the media workers.
//
// Whatever is not certainly ours goes up the stack as if no program were here: other addresses and
// ports, VLAN tags in the packet, IPv4 options and fragments, IPv6 extension headers, frames that
// do not fit one frame of a ring.
//
// build.sh makes steer.bpf.o of this. No helper that asks for a GPL licence is called.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#define SEC(name) __attribute__((section(name), used))
#define ntohs(x) __builtin_bswap16(x)
#define htons(x) __builtin_bswap16(x)

/* Helper functions are called by number (linux/bpf.h, enum bpf_func_id). */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;

/* A map as aya reads it from the section "maps". */
struct map {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

/* What is ours on this interface. Addresses are as on the wire. Mirrored in steer.rs. */
struct ours {
	__u8 mac[6];
	__u8 has_v4;
	__u8 has_v6;
	__u8 v4[4];
	__u8 v6[16];
	__u32 workers;
};

/* Longest frame a ring takes; the user of the rings reads no longer datagram anyway. */
#define LONGEST 1536
/* IPv4: more fragments, and the offset (RFC 791 section 3.1). */
#define FRAGMENT 0x3fff
/* IPv4 without options. */
#define BARE_IPV4 0x45
#define PROTOCOL_UDP 17

struct map SEC("maps") settings = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(struct ours),
	.max_entries = 1,
};

/* By port: 0 where it is not ours, else the worker's number plus one. */
struct map SEC("maps") owners = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 65536,
};

/* By queue, then worker. The loader says how many there are. */
struct map SEC("maps") sockets = {
	.type = BPF_MAP_TYPE_XSKMAP,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 1,
};

static __always_inline int same(const __u8 *a, const __u8 *b, int length)
{
	for (int at = 0; at < length; at++)
		if (a[at] != b[at])
			return 0;
	return 1;
}

static __always_inline int to_owner(struct xdp_md *ctx, const struct ours *ours, __u16 port)
{
	__u32 key = ntohs(port);
	__u32 *owner = bpf_map_lookup_elem(&owners, &key);

	if (!owner || *owner == 0)
		return XDP_PASS;
	return bpf_redirect_map(&sockets, ctx->rx_queue_index * ours->workers + *owner - 1,
				XDP_PASS);
}

static __always_inline int steer_v4(struct xdp_md *ctx, const struct ours *ours, void *at,
				    void *end)
{
	struct iphdr *ip = at;
	struct udphdr *udp = at + sizeof(*ip);

	if ((void *)(udp + 1) > end || !ours->has_v4)
		return XDP_PASS;
	if (*(__u8 *)at != BARE_IPV4 || ip->protocol != PROTOCOL_UDP ||
	    ip->frag_off & htons(FRAGMENT))
		return XDP_PASS;
	if (!same((__u8 *)&ip->daddr, ours->v4, sizeof(ours->v4)))
		return XDP_PASS;
	return to_owner(ctx, ours, udp->dest);
}

static __always_inline int steer_v6(struct xdp_md *ctx, const struct ours *ours, void *at,
				    void *end)
{
	struct ipv6hdr *ip = at;
	struct udphdr *udp = at + sizeof(*ip);

	if ((void *)(udp + 1) > end || !ours->has_v6)
		return XDP_PASS;
	if (*(__u8 *)at >> 4 != 6 || ip->nexthdr != PROTOCOL_UDP)
		return XDP_PASS;
	if (!same((__u8 *)&ip->daddr, ours->v6, sizeof(ours->v6)))
		return XDP_PASS;
	return to_owner(ctx, ours, udp->dest);
}

SEC("xdp") int steer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct ours *ours;
	__u32 key = 0;

	if ((void *)(ethernet + 1) > end || end - data > LONGEST)
		return XDP_PASS;
	ours = bpf_map_lookup_elem(&settings, &key);
	if (!ours || !same(ethernet->h_dest, ours->mac, sizeof(ours->mac)))
		return XDP_PASS;
	if (ethernet->h_proto == htons(ETH_P_IP))
		return steer_v4(ctx, ours, ethernet + 1, end);
	if (ethernet->h_proto == htons(ETH_P_IPV6))
		return steer_v6(ctx, ours, ethernet + 1, end);
	return XDP_PASS;
}

char licence[] SEC("license") = "MIT";
