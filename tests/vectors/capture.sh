#!/bin/sh
# Captures what Linux's vxlan device puts on the wire: see README.md. Run as root; needs iproute2 and python3.
#
#   near                                far
#   +-----------------------+           +-----------------------+
#   | vxlan  (frames in)    |           | vxlan                 |
#   | veth0  192.0.2.1      |-----------| veth0  192.0.2.2      |
#   |        2001:db8::1    | (capture) |        2001:db8::2    |
#   +-----------------------+           +-----------------------+
set -eu
here=$(cd "$(dirname "$0")" && pwd)
near=vectors-near-$$
far=vectors-far-$$
trap 'ip netns del $near 2>/dev/null || true; ip netns del $far 2>/dev/null || true' EXIT

ip netns add "$near"
ip netns add "$far"
ip -n "$near" link add veth0 address 02:00:00:00:00:01 mtu 1600 type veth \
    peer name veth0 address 02:00:00:00:00:02 mtu 1600 netns "$far"

side() { # namespace, last digit of its addresses, last digit of the other's
    ip -n "$1" link set veth0 addrgenmode none up
    ip -n "$1" address add "192.0.2.$2/24" dev veth0
    ip -n "$1" address add "2001:db8::$2/64" dev veth0 nodad
    ip -n "$1" neighbour add "192.0.2.$3" lladdr "02:00:00:00:00:0$3" dev veth0
    ip -n "$1" neighbour add "2001:db8::$3" lladdr "02:00:00:00:00:0$3" dev veth0
}
side "$near" 1 2
side "$far" 2 1

capture() { # name, VNI, prefix of the addresses, more options of the device
    name=$1 vni=$2 prefix=$3
    shift 3
    for end in "$near 1 2" "$far 2 1"; do
        # shellcheck disable=SC2086 # three words on purpose
        set -- $end "$@"
        ip -n "$1" link add vxlan mtu 1500 type vxlan id "$vni" local "$prefix$2" remote "$prefix$3" \
            dev veth0 dstport 4789 nolearning "${4:-udpcsum}"
        ip -n "$1" link set vxlan addrgenmode none up
        shift 3
    done
    ip netns exec "$near" python3 "$here/capture.py" "$here/inner.pcap" "$here/$name.pcap"
    ip -n "$near" link del vxlan
    ip -n "$far" link del vxlan
}
capture ipv4-vni-10 10 192.0.2.
capture ipv4-vni-0 0 192.0.2.
capture ipv4-vni-16777215 16777215 192.0.2.
capture ipv4-no-checksum-vni-10 10 192.0.2. noudpcsum
capture ipv6-vni-10 10 2001:db8::
