//! The maximum segment size in a TCP header: how much each end of a connection asks the other to send at once.
//!
//! It is an option of the SYN and of the SYN-ACK, and nowhere else (RFC 9293 section 3.7.1). A tunnel that carries shorter
//! packets than the links at its ends lowers it on the way, so that no segment is too long for it. Only the
//! option's two octets and the checksum change.

use crate::ethernet::{HEADER_OCTETS, TAG_OCTETS};
use crate::layers::protocol::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING, TCP};
use crate::layers::{
    Fragment, IPV4_HEADER_OCTETS, IPV6_HEADER_OCTETS, Ip, IpVersion, Layers, MAX_EXTENSION_HEADERS,
};
use crate::octets::{chunk_at, u16_at};

/// Length of a TCP header without options, in octets (RFC 9293 section 3.1).
pub const TCP_HEADER_OCTETS: usize = 20;

/// Where the checksum stands in a TCP header (RFC 9293 section 3.1).
pub const TCP_CHECKSUM_OFFSET: usize = 16;

/// Where the flags stand, and the one that a connection begins with (RFC 9293 section 3.1).
const FLAGS_OFFSET: usize = 13;
const SYN: u8 = 0x02;

/// Kinds of TCP options: the first two are one octet long, others say their length (IANA, "TCP Option Kind Numbers").
const END_OF_LIST: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
/// RFC 5925: signs all other options, too.
const AUTHENTICATION_OPTION: u8 = 29;

/// Length of the maximum segment size option (RFC 9293 section 3.2).
const MSS_OPTION_OCTETS: usize = 4;

/// The largest maximum segment sizes to let pass, in octets of TCP payload, in a frame without VLAN tags. Each tag takes its
/// four octets off: the tunnel carries it, and the ends do not see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MssLimit {
    /// Over IPv4.
    pub v4: u16,
    /// Over IPv6.
    pub v6: u16,
}

impl MssLimit {
    /// What an inner MTU leaves behind the shortest IP and TCP headers: 40 octets of them over IPv4, 60 over IPv6 (RFC 9293
    /// section 3.7.1). At least 1: zero means that there is none.
    #[must_use]
    pub const fn of_mtu(mtu_octets: u32) -> MssLimit {
        const fn less(mtu_octets: u32, headers: usize) -> u16 {
            let left = mtu_octets.saturating_sub(headers as u32);
            if left == 0 {
                1
            } else if left > u16::MAX as u32 {
                u16::MAX
            } else {
                left as u16
            }
        }
        MssLimit {
            v4: less(mtu_octets, IPV4_HEADER_OCTETS + TCP_HEADER_OCTETS),
            v6: less(mtu_octets, IPV6_HEADER_OCTETS + TCP_HEADER_OCTETS),
        }
    }

    fn of(self, version: IpVersion, tags: u8) -> u16 {
        let limit = match version {
            IpVersion::V4 => self.v4,
            IpVersion::V6 => self.v6,
        };
        limit.saturating_sub(u16::from(tags) * TAG_OCTETS as u16).max(1)
    }
}

/// Whether a frame is worth asking [`clamp_mss`] about: false for nearly every frame that holds no TCP SYN, true for each that
/// does. It looks at fixed places, and says true where it would have to look further: at VLAN tags and extension headers.
#[inline]
#[must_use]
pub fn may_be_syn(frame: &[u8]) -> bool {
    // The shortest frame with a TCP header in it.
    let head: Option<&[u8; HEADER_OCTETS + IPV4_HEADER_OCTETS + TCP_HEADER_OCTETS]> = frame.first_chunk();
    let Some(head) = head else { return false };
    match u16::from_be_bytes([head[12], head[13]]) {
        0x0800 if head[23] == TCP => {
            let has_options = head[14] != 0x45;
            has_options || head[HEADER_OCTETS + IPV4_HEADER_OCTETS + FLAGS_OFFSET] & SYN != 0
        }
        0x86dd if head[20] == TCP => {
            frame.get(HEADER_OCTETS + IPV6_HEADER_OCTETS + FLAGS_OFFSET).is_some_and(|flags| flags & SYN != 0)
        }
        0x86dd => {
            matches!(head[20], HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
        }
        0x8100 | 0x88a8 => true,
        _ => false,
    }
}

/// Lowers the maximum segment size that a TCP SYN or SYN-ACK carries to the limit, and corrects its checksum (RFC 1624); says
/// whether it did. A smaller size stays, and so does a SYN without the option: that stands for 536 octets over IPv4 and 1220 over
/// IPv6 (RFC 9293 section 3.7.1), which fit.
///
/// `unfinished` is the offset in the frame of a checksum field that holds the pseudo header's sum only: the option is
/// not in it yet, and it stays. A segment that is signed with its options, by an authentication header or by TCP-AO, stays as
/// it is, since a change would make it a forgery.
#[inline(never)]
pub fn clamp_mss(frame: &mut [u8], limit: MssLimit, unfinished: Option<usize>) -> bool {
    let Ok(Layers { vlan_tags, ip: Some(ip), .. }) = Layers::parse(frame) else { return false };
    if ip.protocol != TCP || ip.fragment == Fragment::Later || is_signed(&ip, frame) {
        return false;
    }
    let Some(segment) = frame.get_mut(ip.l4..ip.end) else { return false };
    let Some(header_octets) = segment.get(12).map(|offset| usize::from(offset >> 4) * 4) else {
        return false;
    };
    let Some(header) = segment.get_mut(..header_octets).filter(|header| header.len() >= TCP_HEADER_OCTETS)
    else {
        return false;
    };
    if header.get(FLAGS_OFFSET).is_none_or(|flags| flags & SYN == 0)
        || options(header).any(|(kind, _)| kind == AUTHENTICATION_OPTION)
    {
        return false;
    }
    let is_unfinished = unfinished == Some(ip.l4 + TCP_CHECKSUM_OFFSET);
    let limit = limit.of(ip.version, vlan_tags);
    let mut lowered = false;
    // Each of them: which one counts where there are several, the receiver decides.
    let mut from = TCP_HEADER_OCTETS;
    while let Some((value_at, mss)) = next_mss(header, from) {
        from = value_at + 2;
        if mss > limit {
            lowered |= write_mss(header, value_at, mss, limit, is_unfinished).is_some();
        }
    }
    lowered
}

/// The first maximum segment size at `from` or behind: where its value stands, and the value.
fn next_mss(header: &[u8], from: usize) -> Option<(usize, u16)> {
    let is_mss = |&(kind, at): &(u8, usize)| {
        kind == MAXIMUM_SEGMENT_SIZE
            && at >= from
            && header.get(at + 1).is_some_and(|octets| usize::from(*octets) == MSS_OPTION_OCTETS)
    };
    let (_, at) = options(header).find(is_mss)?;
    Some((at + 2, u16_at(header, at + 2)?))
}

/// Writes the value at `at`, and takes the change over into the checksum where that is complete.
fn write_mss(header: &mut [u8], at: usize, old: u16, new: u16, is_unfinished: bool) -> Option<()> {
    let sum = u16_at(header, TCP_CHECKSUM_OFFSET)?;
    header.get_mut(at..at + 2)?.copy_from_slice(&new.to_be_bytes());
    if !is_unfinished {
        // A value at an odd offset lies across two words, its octets the other way round (RFC 1071 section 2 B).
        let (old, new) = if at.is_multiple_of(2) { (old, new) } else { (old.swap_bytes(), new.swap_bytes()) };
        let sum = updated(sum, old, new);
        header.get_mut(TCP_CHECKSUM_OFFSET..TCP_CHECKSUM_OFFSET + 2)?.copy_from_slice(&sum.to_be_bytes());
    }
    Some(())
}

/// The checksum after a word of what it covers went from `old` to `new`: equation 3 of RFC 1624.
const fn updated(sum: u16, old: u16, new: u16) -> u16 {
    let folded = !sum as u32 + !old as u32 + new as u32;
    let folded = (folded & 0xffff) + (folded >> 16);
    // At most 16 bits and one carry are left.
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// The options of a TCP header that are whole: the kind of each, and where it begins.
fn options(header: &[u8]) -> impl Iterator<Item = (u8, usize)> + '_ {
    let mut at = TCP_HEADER_OCTETS;
    core::iter::from_fn(move || {
        let (start, kind) = (at, *header.get(at)?);
        let octets = match kind {
            END_OF_LIST => return None,
            NO_OPERATION => 1,
            _ => usize::from(*header.get(at + 1)?).max(2),
        };
        at += octets;
        (at <= header.len()).then_some((kind, start))
    })
}

/// Whether an authentication header stands in front of the segment (RFC 4302). IPv4 has it as the packet's protocol, which then is
/// not TCP.
fn is_signed(ip: &Ip, frame: &[u8]) -> bool {
    let header = ip.destination().end;
    let next_header = header.checked_sub(IPV6_HEADER_OCTETS).and_then(|l3| frame.get(l3 + 6).copied());
    let (IpVersion::V6, Some(mut kind)) = (ip.version, next_header) else { return false };
    let mut at = header;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let Some(&[next, length]) = chunk_at(frame, at).filter(|_| at < ip.l4) else { break };
        match kind {
            AUTHENTICATION => return true,
            FRAGMENT => at += 8,
            _ => at += (usize::from(length) + 1) * 8,
        }
        kind = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    const LIMIT: MssLimit = MssLimit { v4: 1410, v6: 1390 };
    const MSS_8961: [u8; 4] = [2, 4, 0x23, 0x01];

    /// The one's complement sum of big-endian words (RFC 1071), written without a thought of speed.
    fn sum(octets: &[u8]) -> u32 {
        octets
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
            .fold(0, |sum, word| (sum + word) % 0xffff)
    }

    /// A TCP segment with these flags, options and payload, without its checksum.
    fn segment(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        assert!(options.len().is_multiple_of(4));
        let mut segment = vec![0x9c, 0x40, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0];
        segment.extend([(5 + options.len() as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(payload);
        segment
    }

    fn ethernet(tags: usize, ether_type: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        (0..tags).for_each(|tag| {
            frame.extend([if tag == 0 { 0x88 } else { 0x81 }, if tag == 0 { 0xa8 } else { 0 }, 0, 7])
        });
        frame.extend(ether_type.to_be_bytes());
        frame
    }

    /// A frame, where its TCP header begins, and whose sum over pseudo header and segment is right.
    struct Syn {
        frame: Vec<u8>,
        l4: usize,
        v6: bool,
    }

    impl Syn {
        fn v4(tags: usize, ip_options: &[u8], mut segment: Vec<u8>) -> Syn {
            let mut frame = ethernet(tags, 0x0800);
            let header = 20 + ip_options.len();
            frame.push(0x40 | (header / 4) as u8);
            frame.push(0);
            frame.extend(((header + segment.len()) as u16).to_be_bytes());
            frame.extend([0, 1, 0x40, 0, 64, TCP, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
            frame.extend(ip_options);
            let l4 = frame.len();
            frame.append(&mut segment);
            Syn { frame, l4, v6: false }.finished()
        }

        fn v6(tags: usize, next_header: u8, extensions: &[u8], mut segment: Vec<u8>) -> Syn {
            let mut frame = ethernet(tags, 0x86dd);
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(((extensions.len() + segment.len()) as u16).to_be_bytes());
            frame.extend([next_header, 64]);
            frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
            frame.extend(extensions);
            let l4 = frame.len();
            frame.append(&mut segment);
            Syn { frame, l4, v6: true }.finished()
        }

        fn pseudo(&self) -> u32 {
            let l3 = self
                .frame
                .iter()
                .skip(12)
                .position(|octet| [0x45, 0x46, 0x4f, 0x60].contains(octet))
                .unwrap()
                + 12;
            let addresses = if self.v6 { l3 + 8..l3 + 40 } else { l3 + 12..l3 + 20 };
            let length = (self.frame.len() - self.l4) as u32;
            (sum(&self.frame[addresses]) + u32::from(TCP) + length) % 0xffff
        }

        fn finished(mut self) -> Syn {
            let total = !((self.pseudo() + sum(&self.frame[self.l4..])) % 0xffff) as u16;
            self.field().copy_from_slice(&total.to_be_bytes());
            self
        }

        /// The same with the pseudo header's sum in the field, as a stack leaves it to a device.
        fn unfinished(mut self) -> Syn {
            let seed = self.pseudo() as u16;
            self.field().copy_from_slice(&seed.to_be_bytes());
            self
        }

        fn field(&mut self) -> &mut [u8] {
            let at = self.l4 + TCP_CHECKSUM_OFFSET;
            &mut self.frame[at..at + 2]
        }

        fn is_right(&self) -> bool {
            (self.pseudo() + sum(&self.frame[self.l4..])).is_multiple_of(0xffff)
        }

        fn clamp(&mut self) -> bool {
            assert!(may_be_syn(&self.frame), "a SYN is always worth the question");
            clamp_mss(&mut self.frame, LIMIT, None)
        }

        fn option(&self, at: usize) -> u16 {
            u16_at(&self.frame, self.l4 + TCP_HEADER_OCTETS + at).unwrap()
        }
    }

    #[test]
    fn a_larger_size_is_lowered_with_the_checksum_right_in_every_wrapping() {
        let payload = b"GET / HTTP/1.1\r\n\r\n!";
        // Behind one, two and three octets of padding the value lies at even and odd offsets.
        for (options, at) in [
            (&[2, 4, 0x23, 0x01][..], 2),
            (&[1, 2, 4, 0x23, 0x01, 1, 1, 0][..], 3),
            (&[1, 1, 2, 4, 0x23, 0x01, 4, 2][..], 4),
            (&[4, 2, 3, 3, 7, 2, 4, 0x23, 0x01, 1, 1, 0][..], 7),
        ] {
            for flags in [SYN, SYN | 0x10] {
                let segment = || segment(flags, options, payload);
                for tags in [0, 1, 2] {
                    for (mut syn, limit) in [
                        (Syn::v4(tags, &[], segment()), LIMIT.v4),
                        (Syn::v4(tags, &[1; 4], segment()), LIMIT.v4),
                        (Syn::v6(tags, TCP, &[], segment()), LIMIT.v6),
                        (Syn::v6(tags, HOP_BY_HOP, &[TCP, 0, 1, 4, 0, 0, 0, 0], segment()), LIMIT.v6),
                        (
                            Syn::v6(tags, DESTINATION_OPTIONS, &[TCP, 0, 1, 4, 0, 0, 0, 0], segment()),
                            LIMIT.v6,
                        ),
                    ] {
                        let before = syn.frame.clone();
                        assert!(syn.is_right() && syn.clamp(), "{options:?} behind {tags} tags");
                        assert_eq!(syn.option(at), limit - 4 * tags as u16);
                        assert!(syn.is_right(), "{options:?} behind {tags} tags, IPv6: {}", syn.v6);
                        let changed = before.iter().zip(&syn.frame).filter(|(old, new)| old != new).count();
                        assert!(changed <= 4, "nothing but size and checksum");
                        assert!(!syn.clamp(), "once is enough");
                    }
                }
            }
        }
    }

    #[test]
    fn a_size_that_fits_and_a_syn_without_one_stay_as_they_are() {
        for options in
            [&[2, 4, 0x05, 0x82][..], &[2, 4, 0, 1], &[], &[1, 1, 4, 2], &[0, 0, 0, 0, 2, 4, 0x23, 0x01]]
        {
            let mut syn = Syn::v4(0, &[], segment(SYN, options, &[]));
            let before = syn.frame.clone();
            assert!(!syn.clamp(), "{options:?}");
            assert_eq!(syn.frame, before);
        }
    }

    #[test]
    fn an_unfinished_checksum_stays_as_it_is_and_ends_up_right() {
        for mut syn in [
            Syn::v4(0, &[], segment(SYN, &MSS_8961, b"early data")).unfinished(),
            Syn::v6(1, TCP, &[], segment(SYN, &MSS_8961, &[])).unfinished(),
        ] {
            let seed = syn.field().to_vec();
            let at = syn.l4 + TCP_CHECKSUM_OFFSET;
            assert!(clamp_mss(&mut syn.frame, LIMIT, Some(at)));
            assert_eq!(syn.field(), seed);
            // Whoever finishes it sums the segment, the seed and the new size in it.
            let total = !(sum(&syn.frame[syn.l4..]) as u16);
            syn.field().copy_from_slice(&total.to_be_bytes());
            assert!(syn.is_right());
        }
        let mut syn = Syn::v4(0, &[], segment(SYN, &MSS_8961, &[]));
        assert!(
            clamp_mss(&mut syn.frame, LIMIT, Some(24)),
            "another field that is unfinished is another matter"
        );
        assert!(syn.is_right());
    }

    #[test]
    fn only_a_syn_is_changed() {
        for flags in [0x10, 0x11, 0x04, 0x18] {
            let mut ack = Syn::v4(0, &[], segment(flags, &MSS_8961, &[]));
            assert!(!may_be_syn(&ack.frame));
            assert!(!clamp_mss(&mut ack.frame, LIMIT, None));
            let mut ack = Syn::v6(0, TCP, &[], segment(flags, &MSS_8961, &[]));
            assert!(!may_be_syn(&ack.frame));
            assert!(!clamp_mss(&mut ack.frame, LIMIT, None));
        }
        // The same octets in a UDP packet, and behind the first fragment.
        let mut udp = Syn::v4(0, &[], segment(SYN, &MSS_8961, &[]));
        udp.frame[23] = 17;
        assert!(!may_be_syn(&udp.frame) && !clamp_mss(&mut udp.frame, LIMIT, None));
        let mut later = Syn::v4(0, &[], segment(SYN, &MSS_8961, &[]));
        later.frame[21] = 1;
        assert!(!clamp_mss(&mut later.frame, LIMIT, None));
    }

    #[test]
    fn each_of_several_sizes_is_lowered() {
        let mut syn = Syn::v4(0, &[], segment(SYN, &[MSS_8961, [2, 4, 0x05, 0x00], MSS_8961].concat(), &[]));
        assert!(syn.clamp() && syn.is_right());
        assert_eq!([2, 6, 10].map(|at| syn.option(at)), [LIMIT.v4, 0x0500, LIMIT.v4]);
    }

    #[test]
    fn a_signed_segment_stays_as_its_signer_made_it() {
        let ao = [2, 4, 0x23, 0x01, 29, 16, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut syn = Syn::v4(0, &[], segment(SYN, &ao, &[]));
        assert!(!syn.clamp());
        let header = [TCP, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut syn = Syn::v6(0, AUTHENTICATION, &header, segment(SYN, &MSS_8961, &[]));
        assert!(!syn.clamp());
        let behind = [&[AUTHENTICATION, 0, 1, 4, 0, 0, 0, 0][..], &header].concat();
        let mut syn = Syn::v6(0, HOP_BY_HOP, &behind, segment(SYN, &MSS_8961, &[]));
        assert!(!syn.clamp());
    }

    #[test]
    fn headers_that_lie_about_their_length_are_left_alone() {
        for cut in 0..Syn::v4(0, &[], segment(SYN, &MSS_8961, &[])).frame.len() {
            let mut frame = Syn::v4(0, &[], segment(SYN, &MSS_8961, &[])).frame;
            frame.truncate(cut);
            assert!(!clamp_mss(&mut frame, LIMIT, None), "{cut} octets");
        }
        for offset in [0x00, 0x40, 0x70, 0xf0] {
            let mut syn = Syn::v4(0, &[], segment(SYN, &MSS_8961, &[]));
            let at = syn.l4 + 12;
            syn.frame[at] = offset;
            assert!(!syn.clamp(), "data offset {offset:#x}");
        }
        // Options whose length is none, too short or beyond the header.
        for options in [[2, 0, 0x23, 0x01], [2, 3, 0x23, 0x01], [2, 6, 0x23, 0x01], [1, 1, 1, 2]] {
            assert!(!Syn::v4(0, &[], segment(SYN, &options, &[])).clamp(), "{options:?}");
        }
    }

    #[test]
    fn a_limit_is_what_the_mtu_leaves_and_never_zero() {
        assert_eq!(MssLimit::of_mtu(1450), MssLimit { v4: 1410, v6: 1390 });
        assert_eq!(MssLimit::of_mtu(68), MssLimit { v4: 28, v6: 8 });
        assert_eq!(MssLimit::of_mtu(0), MssLimit { v4: 1, v6: 1 });
        assert_eq!(MssLimit::of_mtu(u32::MAX), MssLimit { v4: u16::MAX, v6: u16::MAX });
    }
}
