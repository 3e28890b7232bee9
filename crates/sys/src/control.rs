//! Control messages (`struct cmsghdr`, linux/socket.h) built and read as octets, without pointer arithmetic.

use std::mem::size_of;

/// Octets of the kernel's `struct cmsghdr`: length (size_t), level, type.
const HEADER_OCTETS: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();

/// Octets that a control message with `data_octets` of data takes in a buffer (`CMSG_SPACE`).
pub(crate) const fn space(data_octets: usize) -> usize {
    (HEADER_OCTETS + data_octets).next_multiple_of(size_of::<usize>())
}

/// Room for the control messages of one datagram, aligned as the kernel asks.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlBuffer<const OCTETS: usize>([u8; OCTETS]);

impl<const OCTETS: usize> ControlBuffer<OCTETS> {
    pub(crate) const fn new() -> ControlBuffer<OCTETS> {
        ControlBuffer([0; OCTETS])
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Writes a message at `end` and returns the new end.
    ///
    /// # Panics
    ///
    /// When the buffer is too small, which its owner's constant rules out.
    pub(crate) fn push(&mut self, end: usize, level: libc::c_int, kind: libc::c_int, data: &[u8]) -> usize {
        let room = &mut self.0[end..end + space(data.len())];
        let (header, rest) = room.split_at_mut(HEADER_OCTETS);
        let (length, level_and_kind) = header.split_at_mut(size_of::<usize>());
        length.copy_from_slice(&(HEADER_OCTETS + data.len()).to_ne_bytes());
        level_and_kind[..size_of::<libc::c_int>()].copy_from_slice(&level.to_ne_bytes());
        level_and_kind[size_of::<libc::c_int>()..].copy_from_slice(&kind.to_ne_bytes());
        rest[..data.len()].copy_from_slice(data);
        rest[data.len()..].fill(0);
        end + space(data.len())
    }

    /// The messages in the first `octets` of the buffer, as the kernel reported their length.
    pub(crate) fn messages(&self, octets: usize) -> Messages<'_> {
        Messages { rest: &self.0[..octets.min(OCTETS)] }
    }
}

/// One control message.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) level: libc::c_int,
    pub(crate) kind: libc::c_int,
    pub(crate) data: &'a [u8],
}

impl Message<'_> {
    /// The value of a message that carries an int (or, as IP_TOS does, a single octet).
    pub(crate) fn int(&self) -> Option<libc::c_int> {
        match self.data {
            [octet] => Some(libc::c_int::from(*octet)),
            data => Some(libc::c_int::from_ne_bytes(data.get(..size_of::<libc::c_int>())?.try_into().ok()?)),
        }
    }
}

/// The messages of a buffer in order; ends at the first that is not whole.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let (length, after_length) = self.rest.split_first_chunk()?;
        let length = usize::from_ne_bytes(*length);
        let (level, after_level) = after_length.split_first_chunk()?;
        let (kind, _) = after_level.split_first_chunk()?;
        let data = self.rest.get(HEADER_OCTETS..length)?;
        self.rest = self.rest.get(space(data.len())..).unwrap_or_default();
        Some(Message {
            level: libc::c_int::from_ne_bytes(*level),
            kind: libc::c_int::from_ne_bytes(*kind),
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_written() {
        let mut buffer = ControlBuffer::<128>::new();
        let mut end = buffer.push(0, 1, 2, &7_i32.to_ne_bytes());
        end = buffer.push(end, 3, 4, &[9]);
        let read: Vec<_> = buffer.messages(end).map(|m| (m.level, m.kind, m.int())).collect();
        assert_eq!(read, [(1, 2, Some(7)), (3, 4, Some(9))]);
    }

    #[test]
    fn the_layout_is_that_of_the_c_library() {
        // SAFETY: CMSG_SPACE computes from its argument alone.
        let expected = unsafe { libc::CMSG_SPACE(20) };
        assert_eq!(space(20), expected as usize);
        assert_eq!(HEADER_OCTETS, size_of::<libc::cmsghdr>());
    }

    #[test]
    fn a_message_that_is_not_whole_ends_the_list() {
        let mut buffer = ControlBuffer::<64>::new();
        let end = buffer.push(0, 1, 2, &[0; 8]);
        for octets in 0..end {
            assert!(buffer.messages(octets).next().is_none_or(|m| m.data.len() == 8), "{octets} octets");
        }
        let mut wrong = ControlBuffer::<64>::new();
        wrong.0[..size_of::<usize>()].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert!(wrong.messages(64).next().is_none());
        wrong.0[..size_of::<usize>()].copy_from_slice(&3_usize.to_ne_bytes());
        assert!(wrong.messages(64).next().is_none());
    }

    #[test]
    fn a_short_int_is_none() {
        assert_eq!(Message { level: 0, kind: 0, data: &[1, 2] }.int(), None);
        assert_eq!(Message { level: 0, kind: 0, data: &[] }.int(), None);
    }
}
