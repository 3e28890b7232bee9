"""Sends each inner frame into the device `vxlan` and writes down what leaves `veth0` for it: see README.md."""

import ctypes
import fcntl
import socket
import struct
import sys

NEAR, FAR = bytes.fromhex("020000000a01"), bytes.fromhex("020000000a02")
BROADCAST = b"\xff" * 6
V4 = socket.inet_aton("198.51.100.1"), socket.inet_aton("198.51.100.2")
V6 = tuple(socket.inet_pton(socket.AF_INET6, a) for a in ("2001:db8:1::1", "2001:db8:1::2"))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ethernet(ether_type, payload, to=FAR, tags=()):
    head = to + NEAR + b"".join(struct.pack("!HH", tpid, tci) for tpid, tci in tags)
    return head + struct.pack("!H", ether_type) + payload


def ipv4(protocol, payload, tos=0, fragment=0, options=b"", to=V4[1]):
    words, total = 5 + len(options) // 4, 20 + len(options) + len(payload)
    head = struct.pack("!BBHHHBBH", 0x40 | words, tos, total, 1, fragment, 64, protocol, 0) + V4[0] + to + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(protocol, payload, tos=0, hops=64, to=V6[1], extensions=b"", first=None):
    head = struct.pack("!IHBB", 6 << 28 | tos << 20, len(extensions) + len(payload), first or protocol, hops)
    return head + V6[0] + to + extensions + payload


def transport(protocol, at, head, payload, ends):
    """`head` and `payload` with the checksum at offset `at`, over the pseudo-header of `ends`."""
    octets = head + payload
    pseudo = b"".join(ends) + struct.pack("!IHBB", len(octets), 0, 0, protocol) if ends else b""
    return octets[:at] + struct.pack("!H", checksum(pseudo + octets) or 0xFFFF) + octets[at + 2:]


def udp(octets, ends, ports=(40000, 7)):
    payload = bytes(i & 0xFF for i in range(octets))
    return transport(17, 6, struct.pack("!HHHH", *ports, 8 + octets, 0), payload, ends)


def tcp(ends):
    options = bytes.fromhex("020405b40402080a000000010000000001030307")
    return transport(6, 16, struct.pack("!HHIIBBHHH", 40000, 443, 1, 0, 10 << 4, 2, 0xFAF0, 0, 0) + options, b"", ends)


def arp():
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + NEAR + V4[0] + b"\0" * 6 + V4[1]


def frames():
    all_nodes = socket.inet_pton(socket.AF_INET6, "ff02::1")
    yield ethernet(0x0806, arp(), BROADCAST)
    yield ethernet(0x0806, arp() + b"\0" * 18, BROADCAST)
    # Nothing but a header, and the shortest frame of IEEE 802.3 without its check sequence.
    yield ethernet(0x88B5, b"")
    yield ethernet(0x88B5, bytes(46))
    yield ethernet(0x88CC, bytes.fromhex("0207040200000a01040703020000000a0106020078") + b"\0\0", bytes.fromhex("0180c200000e"))
    yield ethernet(0x0800, ipv4(1, transport(1, 2, struct.pack("!BBHHH", 8, 0, 0, 1, 1), bytes(56), ())))
    yield ethernet(0x0800, ipv4(17, udp(1, V4)))
    yield ethernet(0x0800, ipv4(17, udp(1472, V4)))
    yield ethernet(0x0800, ipv4(6, tcp(V4)))
    yield ethernet(0x0800, ipv4(17, udp(4, V4), options=b"\x94\x04\x00\x00"))
    yield ethernet(0x0800, ipv4(17, udp(64, (V4[0], b"\xff" * 4)), to=b"\xff" * 4), BROADCAST)
    whole = udp(1000, V4)
    yield ethernet(0x0800, ipv4(17, whole[:504], fragment=0x2000))
    yield ethernet(0x0800, ipv4(17, whole[504:], fragment=504 // 8))
    yield ethernet(0x86DD, ipv6(17, udp(1, V6)))
    yield ethernet(0x86DD, ipv6(17, udp(1452, V6)))
    yield ethernet(0x86DD, ipv6(6, tcp(V6)))
    yield ethernet(
        0x86DD,
        ipv6(58, transport(58, 2, struct.pack("!BBHHH", 128, 0, 0, 1, 1), b"all nodes", (V6[0], all_nodes)), to=all_nodes),
        bytes.fromhex("333300000001"),
    )
    options = struct.pack("!BB", 17, 0) + b"\x01\x04\0\0\0\0"
    yield ethernet(0x86DD, ipv6(17, udp(8, V6), extensions=options, first=60))
    whole = udp(1000, V6)
    for offset, more, part in ((0, 1, whole[:504]), (504, 0, whole[504:])):
        yield ethernet(0x86DD, ipv6(17, part, extensions=struct.pack("!BBHI", 17, 0, offset | more, 9), first=44))
    for ecn in range(4):
        yield ethernet(0x0800, ipv4(17, udp(2, V4), tos=0xB8 | ecn))
        yield ethernet(0x86DD, ipv6(17, udp(2, V6), tos=0xB8 | ecn))
    yield ethernet(0x0800, ipv4(17, udp(2, V4)), tags=((0x8100, 0x6064),))
    yield ethernet(0x86DD, ipv6(17, udp(2, V6)), tags=((0x8100, 0xE000),))
    yield ethernet(0x0800, ipv4(17, udp(1472, V4)), tags=((0x8100, 100),))
    yield ethernet(0x0800, ipv4(17, udp(2, V4)), tags=((0x88A8, 0x0FFE), (0x8100, 7)))
    yield ethernet(0x0806, arp(), BROADCAST, tags=((0x8100, 100),))


def write(path, packets):
    """A classic pcap file of Ethernet; a record's time is its number, in seconds."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, packet in enumerate(packets):
            file.write(struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet)


def packet_socket(device):
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))  # ETH_P_ALL
    opened.bind((device, 0x0003))
    opened.settimeout(5)
    return opened


def outgoing(wire):
    """The next UDP datagram to port 4789 that leaves the device."""
    while True:
        packet, address = wire.recvfrom(65535)
        at = {b"\x08\x00": 14 + 20, b"\x86\xdd": 14 + 40}.get(packet[12:14])
        if address[2] == socket.PACKET_OUTGOING and at and packet[at + 2:at + 4] == struct.pack("!H", 4789):
            return packet


def fill_in_checksums(device):
    """veth claims to fill in checksums and never does: ETHTOOL_STXCSUM 0, so that the capture shows them."""
    value = bytearray(struct.pack("II", 0x17, 0))
    address = ctypes.addressof(ctypes.c_char.from_buffer(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8946, struct.pack("16sP16x", device.encode(), address))  # SIOCETHTOOL


def main(inner_path, outer_path):
    fill_in_checksums("veth0")
    overlay, wire = packet_socket("vxlan"), packet_socket("veth0")
    inner, outer = list(frames()), []
    for frame in inner:
        overlay.send(frame)
        outer.append(outgoing(wire))
        if not outer[-1].endswith(frame):
            raise SystemExit(f"{outer_path}: sent {frame.hex()}, left {outer[-1].hex()}")
    write(inner_path, inner)
    write(outer_path, outer)
    print(f"{outer_path}: {len(outer)} datagrams")


main(*sys.argv[1:])
