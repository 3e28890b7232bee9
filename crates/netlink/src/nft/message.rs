//! Messages and attributes of nftables, as octets (linux/netlink.h, linux/netfilter/nfnetlink.h,
//! linux/netfilter/nf_tables.h).

/// Set in the type of an attribute that holds attributes (`NLA_F_NESTED`).
pub(super) const NESTED: u16 = 0x8000;

pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_FLAGS: u16 = 2;
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_EXPRESSIONS: u16 = 4 | NESTED;

/// `NFNL_SUBSYS_NFTABLES`: the upper octet of each message's type.
const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`: the two around a batch.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFPROTO_INET`: IPv4 and IPv6.
const INET: u8 = 1;
const HEADER_OCTETS: usize = 16;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
/// At the end, behind what is there already (`NLM_F_APPEND`).
const APPEND: u16 = 0x800;

/// What a message asks for (`enum nf_tables_msg_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    NewRule = 6,
}

/// One request, not yet numbered.
#[derive(Clone, Debug)]
pub(super) struct Message {
    verb: Verb,
    family: u8,
    attributes: Vec<u8>,
}

impl Message {
    pub(super) fn new(verb: Verb, attributes: &[u8]) -> Message {
        Message { verb, family: INET, attributes: attributes.to_vec() }
    }

    /// About tables of every family, where it lists.
    pub(super) fn of_every_family(self) -> Message {
        Message { family: 0, ..self }
    }

    /// Outside a batch, as questions go.
    pub(super) fn alone(&self, flags: u16) -> Vec<u8> {
        let ack = if flags == 0 { ACK } else { 0 };
        self.to_bytes(REQUEST | ack | flags, 1)
    }

    fn to_bytes(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let kind = SUBSYSTEM << 8 | self.verb as u16;
        octets(kind, flags, sequence, self.family, 0, &self.attributes)
    }
}

/// All of these as one transaction.
pub(super) fn batch(messages: &[Message]) -> Vec<u8> {
    let mut batch = octets(BATCH_BEGIN, REQUEST, 0, 0, SUBSYSTEM, &[]);
    let mut sequence = 0;
    for (left, message) in (0..messages.len()).rev().zip(messages) {
        sequence += 1;
        // Refusals come for each message; one "done" at the end is enough, and a thousand would not fit into the socket.
        let ack = if left == 0 { ACK } else { 0 };
        let more = match message.verb {
            Verb::NewTable | Verb::NewChain => CREATE,
            Verb::NewRule => CREATE | APPEND,
            Verb::GetTable | Verb::DeleteTable | Verb::GetChain => 0,
        };
        batch.extend(message.to_bytes(REQUEST | ack | more, sequence));
    }
    batch.extend(octets(BATCH_END, REQUEST, sequence + 1, 0, SUBSYSTEM, &[]));
    batch
}

/// `struct nlmsghdr` and `struct nfgenmsg`, and what follows.
fn octets(kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_OCTETS + 4 + attributes.len()).expect("a message of a few octets");
    let mut octets = Vec::with_capacity(HEADER_OCTETS + 4 + attributes.len());
    octets.extend(length.to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(flags.to_ne_bytes());
    octets.extend(sequence.to_ne_bytes());
    // The kernel fills in whose it is.
    octets.extend([0; 4]);
    octets.extend([family, 0]);
    octets.extend(resource.to_be_bytes());
    octets.extend(attributes);
    octets
}

/// `struct nlattr`, the value, and octets up to a multiple of four.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("an attribute of a few octets");
    let mut octets = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// A number as nftables has all of its numbers.
pub(super) const fn be32(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// A text with the zero at its end.
pub(super) fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The value of the first attribute of this kind.
pub(super) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let Some((head, _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) & !NESTED == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    kind: u16,
    pub(super) payload: &'a [u8],
}

impl Part<'_> {
    /// The number in an acknowledgement or at the end of a list, 0 for "done"; none for an object.
    pub(super) fn errno(&self) -> Option<i32> {
        // NLMSG_ERROR and NLMSG_DONE.
        if self.kind != 2 && self.kind != 3 {
            return None;
        }
        let code = self.payload.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code));
        Some(code.unwrap_or(0).saturating_abs())
    }
}

/// The messages of one datagram from the kernel.
pub(super) fn parts(mut octets: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    while let Some((head, _)) = octets.split_first_chunk::<HEADER_OCTETS>() {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(payload) = octets.get(HEADER_OCTETS..length) else { break };
        parts.push(Part { kind: u16::from_ne_bytes([head[4], head[5]]), payload });
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_found_again() {
        let octets = [attribute(1, &text("ab")), attribute(2 | NESTED, &attribute(7, &be32(5)))].concat();
        assert_eq!(octets.len() % 4, 0);
        assert_eq!(find(&octets, 1), Some(&b"ab\0"[..]));
        assert_eq!(find(find(&octets, 2).unwrap(), 7), Some(&[0, 0, 0, 5][..]));
        assert_eq!(find(&octets, 3), None);
        for cut in 0..octets.len() {
            // Whatever is cut off, it ends.
            let _ = find(&octets[..cut], 3);
        }
        assert_eq!(find(&[0; 8], 1), None, "a zero length must not loop");
    }

    #[test]
    fn an_answer_falls_into_its_messages() {
        let object = octets(0x0a00, 0, 1, 1, 0, &attribute(1, b"x\0"));
        let refusal = [&20u32.to_ne_bytes()[..], &[2, 0], &[0; 10], &(-libc::ENOENT).to_ne_bytes()].concat();
        let both = [object, refusal].concat();
        let told: Vec<_> = parts(&both).iter().map(Part::errno).collect();
        if cfg!(target_endian = "little") {
            assert_eq!(told, [None, Some(libc::ENOENT)]);
        }
        for cut in 0..both.len() {
            assert!(parts(&both[..cut]).len() < 2);
        }
        assert!(parts(&[0; 64]).len() <= 1, "a zero length must not loop");
    }

    #[test]
    fn a_batch_stands_between_its_two_ends_and_numbers_its_messages() {
        let batch = batch(&[Message::new(Verb::NewTable, &[]), Message::new(Verb::NewRule, &[])]);
        let kinds: Vec<_> = parts(&batch).iter().map(|part| part.kind).collect();
        assert_eq!(kinds, [0x10, 0x0a00, 0x0a06, 0x11]);
        let sequence =
            |message: usize| u32::from_ne_bytes(batch[message * 20 + 8..][..4].try_into().unwrap());
        assert_eq!([0, 1, 2, 3].map(sequence), [0, 1, 2, 3]);
    }
}
