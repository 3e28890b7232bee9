//! Wire frames, built field by field.

/// What a frame is built from. Its checksums are right unless something is done to them later.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) tags: Vec<u16>,
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    /// Low octet of the source address and of the source port.
    pub(crate) flow: u8,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    /// Flags and fragment offset of IPv4.
    pub(crate) fragment: u16,
    pub(crate) identification: u16,
    /// IPv4 options or an IPv6 hop-by-hop header, in octets: 0, or a multiple of 8.
    pub(crate) extra_octets: usize,
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// Length a multiple of 4, at most 40.
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DF: u16 = 0x4000;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const CWR: u8 = 0x80;

impl Frame {
    pub(crate) fn new(v6: bool, udp: bool, payload: Vec<u8>) -> Self {
        Self {
            tags: Vec::new(),
            v6,
            udp,
            flow: 1,
            tos: 0,
            ttl: 64,
            fragment: DF,
            identification: 7,
            extra_octets: 0,
            sequence: 1000,
            ack: 5000,
            flags: ACK,
            window: 512,
            tcp_options: Vec::new(),
            payload,
        }
    }

    pub(crate) fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    pub(crate) fn l4(&self) -> usize {
        self.l3() + self.extra_octets + if self.v6 { 40 } else { 20 }
    }

    /// Octets in front of the payload.
    pub(crate) fn headers(&self) -> usize {
        self.l4() + if self.udp { 8 } else { 20 + self.tcp_options.len() }
    }

    /// Where the L4 checksum stands.
    pub(crate) fn checksum_field(&self) -> usize {
        self.l4() + if self.udp { 6 } else { 16 }
    }

    fn addresses(&self) -> Vec<u8> {
        if self.v6 {
            let mut addresses = vec![0xfd; 32];
            (addresses[15], addresses[31]) = (self.flow, 0xee);
            addresses
        } else {
            vec![10, 0, 0, self.flow, 10, 0, 0, 200]
        }
    }

    /// The folded sum of the pseudo header: what an unfinished checksum field holds.
    pub(crate) fn pseudo_sum(&self) -> u16 {
        let octets = self.headers() - self.l4() + self.payload.len();
        let mut words = self.addresses();
        words.extend((octets as u32).to_be_bytes());
        words.extend([0, if self.udp { 17 } else { 6 }]);
        naive_sum(&words)
    }

    /// The frame's octets.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (index, tci) in self.tags.iter().enumerate() {
            let outer = index + 1 < self.tags.len();
            frame.extend(if outer { [0x88, 0xa8] } else { [0x81, 0x00] });
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(if self.v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let protocol = if self.udp { 17 } else { 6 };
        let l4_octets = self.headers() - self.l4() + self.payload.len();
        if self.v6 {
            frame.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
            frame.extend(((self.extra_octets + l4_octets) as u16).to_be_bytes());
            frame.extend([if self.extra_octets == 0 { protocol } else { 0 }, self.ttl]);
            frame.extend(self.addresses());
            if self.extra_octets > 0 {
                frame.extend([protocol, (self.extra_octets / 8 - 1) as u8]);
                frame.extend(vec![1; self.extra_octets - 2]);
            }
        } else {
            frame.extend([0x45 + (self.extra_octets / 4) as u8, self.tos]);
            frame.extend(((20 + self.extra_octets + l4_octets) as u16).to_be_bytes());
            frame.extend(self.identification.to_be_bytes());
            frame.extend(self.fragment.to_be_bytes());
            frame.extend([self.ttl, protocol, 0, 0]);
            frame.extend(self.addresses());
            frame.extend(vec![1; self.extra_octets]);
            let sum = !naive_sum(&frame[self.l3()..]);
            frame[self.l3() + 10..self.l3() + 12].copy_from_slice(&sum.to_be_bytes());
        }
        let port = 4000 + u16::from(self.flow);
        frame.extend(port.to_be_bytes());
        frame.extend(5000_u16.to_be_bytes());
        if self.udp {
            frame.extend((l4_octets as u16).to_be_bytes());
            frame.extend([0, 0]);
        } else {
            frame.extend(self.sequence.to_be_bytes());
            frame.extend(self.ack.to_be_bytes());
            frame.extend([(5 + self.tcp_options.len() / 4) as u8 * 16, self.flags]);
            frame.extend(self.window.to_be_bytes());
            frame.extend([0, 0, 0, 0]);
            frame.extend(&self.tcp_options);
        }
        frame.extend(&self.payload);
        let seed = u32::from(self.pseudo_sum()) + u32::from(naive_sum(&frame[self.l4()..]));
        let sum = !((seed >> 16) as u16 + (seed & 0xffff) as u16);
        // Zero would mean "none" in UDP (RFC 768).
        let sum = if self.udp && sum == 0 { 0xffff } else { sum };
        let field = self.checksum_field();
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// As a kernel leaves a superframe: with the pseudo header's sum for a checksum.
    pub(crate) fn build_unfinished(&self) -> Vec<u8> {
        let mut frame = self.build();
        let field = self.checksum_field();
        frame[field..field + 2].copy_from_slice(&self.pseudo_sum().to_be_bytes());
        frame
    }
}

/// RFC 1071 word by word.
pub(crate) fn naive_sum(data: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in data.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
