//! pcapng, as far as a capture needs it (draft-ietf-opsawg-pcapng): a section, interfaces, packets with comments, statistics.
//!
//! ```text
//!   Section Header ─► Interface Description ... ─► Enhanced Packet ... ─► Interface Statistics ...
//! ```
//!
//! Every block stands alone: a file that ends after any of them can be read.

use std::io::{self, Write};
use std::time::Duration;

/// Types of blocks.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Says in which order octets stand.
const MAGIC: u32 = 0x1a2b_3c4d;

/// Link types (the registry of tcpdump.org): Ethernet, and IP without anything in front.
pub(super) const ETHERNET: u16 = 1;
pub(super) const RAW_IP: u16 = 101;

/// Options of every block, of sections, of interfaces, of packets and of statistics.
const END: u16 = 0;
const COMMENT: u16 = 1;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Timestamps are nanoseconds: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Which interface, in the order of their descriptions.
    pub(super) interface: u32,
    /// Since 1970.
    pub(super) at: Duration,
    /// Whether it leaves the host, by which "outbound" stands in its flags.
    pub(super) is_out: bool,
    pub(super) original_octets: usize,
    pub(super) octets: &'a [u8],
    /// Why it was dropped, where it was.
    pub(super) comment: Option<&'a str>,
}

/// Writes blocks.
pub(super) struct Writer<W> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a section.
    pub(super) fn begin(out: W) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, block: Vec::new() };
        writer.block(SECTION, |block| {
            block.extend(MAGIC.to_le_bytes());
            // Version 1.0, of a length that is not known before its end.
            block.extend([1, 0, 0, 0]);
            block.extend(u64::MAX.to_le_bytes());
            option(block, SHB_OS, b"Linux");
            option(block, SHB_USERAPPL, concat!("vxgate ", env!("CARGO_PKG_VERSION")).as_bytes());
            option(block, END, &[]);
        })?;
        Ok(writer)
    }

    /// Describes the next interface.
    pub(super) fn interface(
        &mut self,
        link_type: u16,
        snaplen: u32,
        name: &str,
        description: &str,
    ) -> io::Result<()> {
        self.block(INTERFACE, |block| {
            block.extend(link_type.to_le_bytes());
            block.extend([0, 0]);
            block.extend(snaplen.to_le_bytes());
            option(block, IF_NAME, name.as_bytes());
            option(block, IF_DESCRIPTION, description.as_bytes());
            option(block, IF_TSRESOL, &[NANOSECONDS]);
            option(block, END, &[]);
        })
    }

    /// Writes a packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.block(PACKET, |block| {
            block.extend(packet.interface.to_le_bytes());
            block.extend(time(packet.at));
            let length = |octets: usize| u32::try_from(octets).unwrap_or(u32::MAX).to_le_bytes();
            block.extend(length(packet.octets.len()));
            block.extend(length(packet.original_octets));
            padded(block, packet.octets);
            let direction: u32 = if packet.is_out { 2 } else { 1 };
            option(block, EPB_FLAGS, &direction.to_le_bytes());
            if let Some(comment) = packet.comment {
                option(block, COMMENT, comment.as_bytes());
            }
            option(block, END, &[]);
        })
    }

    /// Tells at the end how many packets an interface had, and how many of them are missing here.
    pub(super) fn statistics(
        &mut self,
        interface: u32,
        (from, to): (Duration, Duration),
        received: u64,
        lost: u64,
    ) -> io::Result<()> {
        self.block(STATISTICS, |block| {
            block.extend(interface.to_le_bytes());
            block.extend(time(to));
            option(block, ISB_STARTTIME, &time(from));
            option(block, ISB_ENDTIME, &time(to));
            option(block, ISB_IFRECV, &received.to_le_bytes());
            option(block, ISB_IFDROP, &lost.to_le_bytes());
            option(block, END, &[]);
        })
    }

    /// Hands on what was written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes a block: type, length, body, and the length once more.
    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.block.clear();
        self.block.extend(kind.to_le_bytes());
        self.block.extend([0; 4]);
        body(&mut self.block);
        let length = u32::try_from(self.block.len() + 4).map_err(io::Error::other)?.to_le_bytes();
        self.block.extend(length);
        self.block[4..8].copy_from_slice(&length);
        self.out.write_all(&self.block)
    }
}

/// A moment as two halves, the upper one first.
fn time(at: Duration) -> [u8; 8] {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    let [a, b, c, d] = ((nanos >> 32) as u32).to_le_bytes();
    let [e, f, g, h] = (nanos as u32).to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    // No text of ours is longer.
    let value = &value[..value.len().min(u16::MAX.into())];
    block.extend(code.to_le_bytes());
    block.extend((value.len() as u16).to_le_bytes());
    padded(block, value);
}

/// To a multiple of four octets.
fn padded(block: &mut Vec<u8>, octets: &[u8]) {
    block.extend_from_slice(octets);
    block.resize(block.len().next_multiple_of(4), 0);
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader finds in a block.
    #[derive(Debug, PartialEq, Eq)]
    pub(in crate::capture) struct Block {
        pub(in crate::capture) kind: u32,
        pub(in crate::capture) fixed: Vec<u8>,
        pub(in crate::capture) options: Vec<(u16, Vec<u8>)>,
    }

    fn word(octets: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(octets[at..at + 4].try_into().unwrap())
    }

    /// Reads all blocks, as strictly as the draft has it.
    pub(in crate::capture) fn read(mut octets: &[u8]) -> Vec<Block> {
        let mut blocks = Vec::new();
        while !octets.is_empty() {
            let (kind, length) = (word(octets, 0), word(octets, 4) as usize);
            assert!(length.is_multiple_of(4) && length <= octets.len(), "{length}");
            assert_eq!(word(octets, length - 4) as usize, length);
            let body = &octets[8..length - 4];
            let fixed = match kind {
                SECTION => 16,
                INTERFACE => 8,
                PACKET => 20 + (word(body, 12) as usize).next_multiple_of(4),
                STATISTICS => 12,
                other => panic!("{other}"),
            };
            let (fixed, mut rest) = body.split_at(fixed);
            let mut options = Vec::new();
            loop {
                let code = u16::from_le_bytes([rest[0], rest[1]]);
                let octets = usize::from(u16::from_le_bytes([rest[2], rest[3]]));
                if code == END {
                    assert_eq!(rest.len(), 4, "nothing after the end");
                    break;
                }
                options.push((code, rest[4..4 + octets].to_vec()));
                rest = &rest[4 + octets.next_multiple_of(4)..];
            }
            blocks.push(Block { kind, fixed: fixed.to_vec(), options });
            octets = &octets[length..];
        }
        blocks
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            octets in prop::collection::vec(any::<u8>(), 0..300),
            comment in prop::option::of("\\PC{0,40}"),
            nanos in any::<u64>(),
            is_out in any::<bool>(),
        ) {
            let mut file = Vec::new();
            let mut writer = Writer::begin(&mut file).unwrap();
            writer.interface(ETHERNET, 100, "vxlan0", "frames of the host").unwrap();
            let at = Duration::from_nanos(nanos);
            let packet = Packet {
                interface: 0, at, is_out, original_octets: octets.len() + 7, octets: &octets, comment: comment.as_deref(),
            };
            writer.packet(&packet).unwrap();
            writer.statistics(0, (at, at), 3, 2).unwrap();
            let blocks = read(&file);
            prop_assert_eq!(blocks.iter().map(|block| block.kind).collect::<Vec<_>>(), [SECTION, INTERFACE, PACKET, STATISTICS]);
            let packet = &blocks[2];
            prop_assert_eq!(word(&packet.fixed, 12) as usize, octets.len());
            prop_assert_eq!(word(&packet.fixed, 16) as usize, octets.len() + 7);
            prop_assert_eq!(&packet.fixed[20..20 + octets.len()], &octets[..]);
            let time = u64::from(word(&packet.fixed, 4)) << 32 | u64::from(word(&packet.fixed, 8));
            prop_assert_eq!(time, nanos);
            let told = packet.options.iter().find(|(code, _)| *code == COMMENT).map(|(_, text)| text.clone());
            prop_assert_eq!(told, comment.map(String::into_bytes));
            prop_assert_eq!(&blocks[3].options[3], &(ISB_IFDROP, 2_u64.to_le_bytes().to_vec()));
        }
    }
}
