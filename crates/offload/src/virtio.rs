//! `struct virtio_net_hdr`: what a TAP says, and is told, about a frame (include/uapi/linux/virtio_net.h).
//!
//! Fields are little-endian: the octet order of a TAP on little-endian hosts, and what `vxgate_sys::tap` asks for on others
//! (TUNSETVNETLE).

/// Length of the header in octets, without the `num_buffers` field that a TAP ignores.
pub const VIRTIO_NET_HEADER_OCTETS: usize = 10;

/// The header in front of each frame that is read from or written to a TAP opened with `IFF_VNET_HDR`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioNetHeader {
    /// Bits `F_NEEDS_CSUM` and `F_DATA_VALID`.
    pub flags: u8,
    /// One of the `GSO_*` values, perhaps with `GSO_ECN` set.
    pub gso_type: u8,
    /// Octets in front of the payload: Ethernet to L4 header. A hint only: never trust it.
    pub header_octets: u16,
    /// Payload octets of each segment.
    pub segment_octets: u16,
    /// Where the sum begins: offset of the L4 header.
    pub checksum_start: u16,
    /// Where the checksum goes, counted from `checksum_start`.
    pub checksum_offset: u16,
}

impl VirtioNetHeader {
    /// The checksum field holds the pseudo header's sum only (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    pub const F_NEEDS_CSUM: u8 = 1;
    /// The checksum has been verified (VIRTIO_NET_HDR_F_DATA_VALID).
    pub const F_DATA_VALID: u8 = 2;
    /// Not a superframe (VIRTIO_NET_HDR_GSO_NONE).
    pub const GSO_NONE: u8 = 0;
    /// TCP over IPv4 (VIRTIO_NET_HDR_GSO_TCPV4).
    pub const GSO_TCPV4: u8 = 1;
    /// TCP over IPv6 (VIRTIO_NET_HDR_GSO_TCPV6).
    pub const GSO_TCPV6: u8 = 4;
    /// UDP datagrams of one flow, USO (VIRTIO_NET_HDR_GSO_UDP_L4).
    pub const GSO_UDP_L4: u8 = 5;
    /// TCP with ECN: CWR may be set (VIRTIO_NET_HDR_GSO_ECN).
    pub const GSO_ECN: u8 = 0x80;

    /// Reads the header's ten octets.
    #[must_use]
    pub fn parse(octets: &[u8; VIRTIO_NET_HEADER_OCTETS]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *octets;
        Self {
            flags,
            gso_type,
            header_octets: u16::from_le_bytes([a, b]),
            segment_octets: u16::from_le_bytes([c, d]),
            checksum_start: u16::from_le_bytes([e, f]),
            checksum_offset: u16::from_le_bytes([g, h]),
        }
    }

    /// Writes the header's ten octets.
    #[must_use]
    pub fn to_bytes(self) -> [u8; VIRTIO_NET_HEADER_OCTETS] {
        let [a, b] = self.header_octets.to_le_bytes();
        let [c, d] = self.segment_octets.to_le_bytes();
        let [e, f] = self.checksum_start.to_le_bytes();
        let [g, h] = self.checksum_offset.to_le_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_way_there_and_back() {
        let header = VirtioNetHeader {
            flags: VirtioNetHeader::F_NEEDS_CSUM,
            gso_type: VirtioNetHeader::GSO_TCPV6 | VirtioNetHeader::GSO_ECN,
            header_octets: 74,
            segment_octets: 1428,
            checksum_start: 54,
            checksum_offset: 16,
        };
        assert_eq!(VirtioNetHeader::parse(&header.to_bytes()), header);
    }

    #[test]
    fn the_empty_header_is_all_zero() {
        assert_eq!(VirtioNetHeader::default().to_bytes(), [0; VIRTIO_NET_HEADER_OCTETS]);
    }
}
