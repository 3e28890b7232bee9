//! The Ethernet header and its 802.1Q tags.
//!
//! ```text
//! 0             6        12         12+4       12+8   14+8
//! +-------------+--------+----------+----------+------+---------
//! | destination | source | TPID TCI | TPID TCI | type | payload
//! +-------------+--------+----------+----------+------+---------
//!                         none, one or two tags
//! ```

use core::fmt;
use core::ops::Deref;

use crate::octets::{chunk_at, u16_at};
use crate::{MacAddr, ParseError};

/// Length of a header without tags, in octets (IEEE 802.3 clause 3.1.1).
pub const HEADER_OCTETS: usize = 14;

/// Length of one VLAN tag, in octets (IEEE 802.1Q clause 9.3).
pub const TAG_OCTETS: usize = 4;

/// How many VLAN tags are read: customer and service, as IEEE 802.1Q stacks them. A third tag ends the walk: its TPID
/// is the frame's [`EtherType`] and it opens the payload.
pub const MAX_TAGS: usize = 2;

/// Length of the longest header, in octets: that with two tags.
pub const MAX_HEADER_OCTETS: usize = HEADER_OCTETS + MAX_TAGS * TAG_OCTETS;

/// Offset of the EtherType of a header without tags, in octets.
const TYPE_OFFSET: usize = 12;

/// The number that says what follows; below 0x0600 a length in octets (IEEE 802.3 clause 3.2.6).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP (RFC 826).
    pub const ARP: EtherType = EtherType(0x0806);
    /// IPv6 (RFC 2464).
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// The customer VLAN tag (IEEE 802.1Q table 9-1).
    pub const VLAN: EtherType = EtherType(0x8100);
    /// The service VLAN tag of 802.1ad (IEEE 802.1Q table 9-1).
    pub const SERVICE_VLAN: EtherType = EtherType(0x88a8);
    /// The service VLAN tag before 802.1ad; `ETH_P_QINQ1` of Linux's `if_ether.h`.
    pub const OLD_SERVICE_VLAN: EtherType = EtherType(0x9100);

    /// Whether a VLAN tag begins here.
    #[inline]
    #[must_use]
    pub const fn is_vlan_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::SERVICE_VLAN | Self::OLD_SERVICE_VLAN)
    }
}

impl PartialEq<u16> for EtherType {
    fn eq(&self, number: &u16) -> bool {
        self.0 == *number
    }
}

impl From<EtherType> for u16 {
    fn from(ether_type: EtherType) -> u16 {
        ether_type.0
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtherType({self})")
    }
}

/// One VLAN tag (IEEE 802.1Q clause 9.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Which kind of tag: 0x8100, 0x88a8 or 0x9100.
    pub tpid: EtherType,
    /// Priority code point, from 0 to 7.
    pub pcp: u8,
    /// Drop eligible indicator.
    pub dei: bool,
    /// VLAN identifier, from 0 to 4095; 0 carries only a priority.
    pub vid: u16,
}

impl VlanTag {
    /// The tag as sent; of a field above its range the upper bits are cut off.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; TAG_OCTETS] {
        let tci = (self.pcp as u16 & 0x7) << 13 | (self.dei as u16) << 12 | self.vid & 0x0fff;
        ((self.tpid.0 as u32) << 16 | tci as u32).to_be_bytes()
    }

    const fn new(tpid: EtherType, tci: u16) -> VlanTag {
        VlanTag { tpid, pcp: (tci >> 13) as u8, dei: tci & 0x1000 != 0, vid: tci & 0x0fff }
    }
}

/// The tags of one frame, outermost first: none, one or two. Reads as a slice.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct VlanTags {
    tags: [VlanTag; MAX_TAGS],
    count: u8,
}

impl VlanTags {
    /// No tag.
    pub const NONE: VlanTags =
        VlanTags { tags: [VlanTag { tpid: EtherType(0), pcp: 0, dei: false, vid: 0 }; MAX_TAGS], count: 0 };

    /// These tags, outermost first, or `None` for more than [`MAX_TAGS`].
    #[must_use]
    pub fn from_slice(tags: &[VlanTag]) -> Option<VlanTags> {
        let mut all = VlanTags::NONE;
        tags.iter().try_for_each(|tag| all.push(*tag))?;
        Some(all)
    }

    fn push(&mut self, tag: VlanTag) -> Option<()> {
        *self.tags.get_mut(usize::from(self.count))? = tag;
        self.count += 1;
        Some(())
    }
}

impl Deref for VlanTags {
    type Target = [VlanTag];

    fn deref(&self) -> &[VlanTag] {
        self.tags.get(..usize::from(self.count)).unwrap_or_default()
    }
}

impl fmt::Debug for VlanTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An Ethernet header with its VLAN tags.
///
/// ```
/// use vxgate_codec::ethernet::{EtherType, Header};
///
/// let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x81, 0x00, 0x60, 0x2a], &[0x08, 0x06], &[0; 28]].concat();
/// let header = Header::parse(&frame)?;
/// assert!(header.destination.is_broadcast());
/// assert_eq!((header.tags[0].pcp, header.tags[0].vid), (3, 42));
/// assert_eq!((header.ether_type, header.payload_offset()), (EtherType::ARP, 18));
/// # Ok::<(), vxgate_codec::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// To whom.
    pub destination: MacAddr,
    /// From whom.
    pub source: MacAddr,
    /// The VLAN tags, outermost first.
    pub tags: VlanTags,
    /// What the payload is: the EtherType behind the tags.
    pub ether_type: EtherType,
}

impl Header {
    /// Reads the header at the start of a frame.
    ///
    /// # Errors
    ///
    /// [`ParseError::Runt`] below 14 octets, [`ParseError::TruncatedTag`] when the frame ends within a tag or before
    /// the EtherType behind it.
    pub fn parse(frame: &[u8]) -> Result<Header, ParseError> {
        let (ether_type, count) = skip(frame)?;
        let mut tags = VlanTags::NONE;
        for offset in (0..count).map(|tag| TYPE_OFFSET + usize::from(tag) * TAG_OCTETS) {
            let Some([a, b, c, d]) = chunk_at(frame, offset) else { break };
            tags.push(VlanTag::new(EtherType(u16::from_be_bytes([*a, *b])), u16::from_be_bytes([*c, *d])));
        }
        let destination = destination(frame).ok_or(ParseError::Runt)?;
        let source = source(frame).ok_or(ParseError::Runt)?;
        Ok(Header { destination, source, tags, ether_type })
    }

    /// Writes the header into the start of `buffer`, whatever it held, and returns the octets written: 14, and 4 more
    /// for each tag.
    pub fn to_bytes<'a>(&self, buffer: &'a mut [u8; MAX_HEADER_OCTETS]) -> &'a [u8] {
        let tags = self.tags.iter().flat_map(|tag| tag.to_bytes());
        let octets = self.destination.octets().into_iter().chain(self.source.octets());
        let octets = octets.chain(tags).chain(self.ether_type.0.to_be_bytes());
        for (place, octet) in buffer.iter_mut().zip(octets) {
            *place = octet;
        }
        buffer.get(..self.payload_offset()).unwrap_or_default()
    }

    /// Where the payload begins, in octets from the start of the frame: 14, 18 or 22.
    #[must_use]
    pub fn payload_offset(&self) -> usize {
        HEADER_OCTETS + self.tags.len() * TAG_OCTETS
    }
}

/// The destination address of a frame, or `None` when it ends before it.
#[inline]
#[must_use]
pub const fn destination(frame: &[u8]) -> Option<MacAddr> {
    match frame.first_chunk() {
        Some(octets) => Some(MacAddr::new(*octets)),
        None => None,
    }
}

/// The source address of a frame, or `None` when it ends before it.
#[inline]
#[must_use]
pub const fn source(frame: &[u8]) -> Option<MacAddr> {
    match frame.first_chunk::<TYPE_OFFSET>() {
        Some([_, _, _, _, _, _, a, b, c, d, e, f]) => Some(MacAddr::new([*a, *b, *c, *d, *e, *f])),
        None => None,
    }
}

/// The EtherType behind the VLAN tags, and how many tags lie before it. [`Header::parse`] without reading what the
/// tags and addresses say.
#[inline]
pub(crate) fn skip(frame: &[u8]) -> Result<(EtherType, u8), ParseError> {
    let mut ether_type = EtherType(u16_at(frame, TYPE_OFFSET).ok_or(ParseError::Runt)?);
    let mut tags = 0;
    while ether_type.is_vlan_tag() && usize::from(tags) < MAX_TAGS {
        tags += 1;
        let offset = TYPE_OFFSET + usize::from(tags) * TAG_OCTETS;
        ether_type = EtherType(u16_at(frame, offset).ok_or(ParseError::TruncatedTag)?);
    }
    Ok((ether_type, tags))
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    const TO: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
    const FROM: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

    fn frame(behind_the_addresses: &[u8]) -> Vec<u8> {
        [&TO[..], &FROM, behind_the_addresses].concat()
    }

    fn tag(tpid: u16, pcp: u8, dei: bool, vid: u16) -> VlanTag {
        VlanTag { tpid: EtherType(tpid), pcp, dei, vid }
    }

    #[test]
    fn a_header_without_tags_is_14_octets() {
        let header = Header::parse(&frame(&[0x08, 0x00, 0x45])).unwrap();
        assert_eq!(header.destination, MacAddr::new(TO));
        assert_eq!(header.source, MacAddr::new(FROM));
        assert_eq!(header.ether_type, EtherType::IPV4);
        assert!(header.tags.is_empty());
        assert_eq!(header.payload_offset(), 14);
    }

    #[test]
    fn one_tag_and_two_tags_are_read_outermost_first() {
        let single = Header::parse(&frame(&[0x81, 0x00, 0xb0, 0x64, 0x86, 0xdd])).unwrap();
        assert_eq!(single.tags[..], [tag(0x8100, 5, true, 100)]);
        assert_eq!((single.ether_type, single.payload_offset()), (EtherType::IPV6, 18));
        for service in [0x88a8, 0x9100] {
            let [high, low] = u16::to_be_bytes(service);
            let double =
                Header::parse(&frame(&[high, low, 0x0f, 0xff, 0x81, 0x00, 0xe0, 0x00, 0x08, 0x06])).unwrap();
            assert_eq!(double.tags[..], [tag(service, 0, false, 4095), tag(0x8100, 7, false, 0)]);
            assert_eq!((double.ether_type, double.payload_offset()), (EtherType::ARP, 22));
        }
    }

    #[test]
    fn a_third_tag_opens_the_payload() {
        let tagged = frame(&[0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x08, 0x00]);
        let header = Header::parse(&tagged).unwrap();
        assert_eq!(header.tags[..], [tag(0x8100, 0, false, 1), tag(0x8100, 0, false, 2)]);
        assert_eq!((header.ether_type, header.payload_offset()), (EtherType::VLAN, 22));
    }

    #[test]
    fn a_frame_that_ends_within_its_header_names_the_rule() {
        let double = frame(&[0x88, 0xa8, 0, 1, 0x81, 0x00, 0, 2, 0x08, 0x00]);
        for octets in 0..14 {
            assert_eq!(Header::parse(&double[..octets]), Err(ParseError::Runt));
        }
        for octets in 14..22 {
            assert_eq!(Header::parse(&double[..octets]), Err(ParseError::TruncatedTag));
        }
        assert!(Header::parse(&double).is_ok());
    }

    #[test]
    fn to_bytes_writes_what_parse_read() {
        for behind in [
            &[0x08, 0x00][..],
            &[0x81, 0x00, 0xb0, 0x64, 0x86, 0xdd],
            &[0x88, 0xa8, 0x0f, 0xff, 0x81, 0x00, 0xe0, 0x00, 0x08, 0x06],
        ] {
            let frame = frame(behind);
            let mut buffer = [0x5a; MAX_HEADER_OCTETS];
            assert_eq!(Header::parse(&frame).unwrap().to_bytes(&mut buffer), frame);
        }
    }

    #[test]
    fn to_bytes_of_a_tag_cuts_fields_to_their_range() {
        assert_eq!(tag(0x8100, 0xff, false, 0xffff).to_bytes(), [0x81, 0x00, 0xef, 0xff]);
    }

    #[test]
    fn more_than_two_tags_are_no_tags_of_ours() {
        let one = tag(0x8100, 0, false, 1);
        assert_eq!(VlanTags::from_slice(&[one, one]).map(|tags| tags.len()), Some(2));
        assert_eq!(VlanTags::from_slice(&[one; 3]), None);
        assert_eq!(VlanTags::from_slice(&[]), Some(VlanTags::NONE));
    }

    #[test]
    fn the_addresses_of_a_frame_need_no_more_than_their_own_octets() {
        let frame = frame(&[]);
        for octets in 0..=frame.len() {
            assert_eq!(destination(&frame[..octets]), (octets >= 6).then_some(MacAddr::new(TO)));
            assert_eq!(source(&frame[..octets]), (octets >= 12).then_some(MacAddr::new(FROM)));
        }
    }

    #[test]
    fn an_ether_type_is_shown_in_hexadecimal() {
        assert_eq!(EtherType::IPV4.to_string(), "0x0800");
        assert_eq!(std::format!("{:?}", EtherType(0x26)), "EtherType(0x0026)");
        assert!(EtherType::IPV4 == 0x0800 && u16::from(EtherType::ARP) == 0x0806);
    }
}
