//! Numbers in network order at an offset, or `None` where the bytes end before them.

#[inline]
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    chunk_at(bytes, offset).map(|octets| u16::from_be_bytes(*octets))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    chunk_at(bytes, offset).map(|octets| u32::from_be_bytes(*octets))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    chunk_at(bytes, offset).map(|octets| u64::from_be_bytes(*octets))
}

#[inline]
pub(crate) fn chunk_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<&[u8; N]> {
    bytes.get(offset..)?.first_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_network_order_or_not_at_all() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u16_at(&bytes, 7), Some(0x0809));
        assert_eq!(u32_at(&bytes, 5), Some(0x0607_0809));
        assert_eq!(u64_at(&bytes, 1), Some(0x0203_0405_0607_0809));
        for offset in [8, 9, 10, usize::MAX] {
            assert_eq!(u16_at(&bytes, offset), None);
            assert_eq!(u32_at(&bytes, offset), None);
            assert_eq!(u64_at(&bytes, offset), None);
        }
    }
}
