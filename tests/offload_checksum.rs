//! Every way to sum agrees with RFC 1071 written as slowly as it can be, on every machine that has it.

use proptest::prelude::*;
use vxgate_checksum::{Backend, add, add_with, copy_add, copy_add_with, fold};

/// RFC 1071 word by word.
fn naive(data: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in data.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Sums `data` in every way and compares, the copies included.
fn check(data: &[u8]) {
    let wanted = naive(data);
    assert_eq!(fold(add(0, data)), wanted, "add of {} octets", data.len());
    // One octet more on either side: a copy must not touch them.
    let mut room = vec![0xa5; data.len() + 2];
    let end = data.len() + 1;
    assert_eq!(fold(copy_add(0, data, &mut room[1..end])), wanted, "copy_add of {} octets", data.len());
    assert_eq!((&room[1..end], room[0], room[end]), (data, 0xa5, 0xa5), "the copy");
    for backend in Backend::available() {
        assert_eq!(fold(add_with(backend, 0, data)), wanted, "{backend:?}, {} octets", data.len());
        room.fill(0xa5);
        let sum = copy_add_with(backend, 0, data, &mut room[1..end]);
        assert_eq!(fold(sum), wanted, "{backend:?}, copy of {} octets", data.len());
        assert_eq!((&room[1..end], room[0], room[end]), (data, 0xa5, 0xa5), "{backend:?}, the copy");
    }
}

#[test]
fn every_length_and_every_start_agree_with_the_naive_sum() {
    let data: Vec<u8> = (0..700_u32).map(|i| (i * i % 251) as u8).collect();
    for start in 0..17 {
        for octets in 0..=300 {
            check(&data[start..start + octets]);
        }
    }
}

#[test]
fn ones_carry_at_every_length() {
    let data = vec![0xff; 70_000];
    for octets in (0..300).chain([1447, 1448, 65_507, 65_535, 65_536, 70_000]) {
        check(&data[..octets]);
    }
}

#[test]
fn zeros_sum_to_zero_and_one_bit_to_itself() {
    let mut data = vec![0; 1500];
    check(&data);
    for at in 0..data.len() {
        data[at] = 0x80;
        check(&data);
        data[at] = 0;
    }
}

#[test]
fn a_running_sum_holds_far_more_than_a_superframe() {
    let data = [0xff; 65_536];
    let mut sum = 0;
    for _ in 0..10_000 {
        sum = add(sum, &data);
    }
    assert_eq!(fold(sum), 0xffff);
}

#[test]
fn a_backend_that_the_machine_lacks_sums_all_the_same() {
    for backend in Backend::ALL {
        assert_eq!(fold(add_with(backend, 0, &[1; 999])), naive(&[1; 999]), "{backend:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_octets_agree_with_the_naive_sum(data in proptest::collection::vec(any::<u8>(), 0..5000), start in 0_usize..64) {
        check(&data[start.min(data.len())..]);
    }

    #[test]
    fn a_sum_of_parts_is_the_sum_of_the_whole(data in proptest::collection::vec(any::<u8>(), 0..3000), at in 0_usize..3000) {
        let (before, after) = data.split_at(at.min(data.len()) & !1);
        prop_assert_eq!(fold(add(add(0, before), after)), naive(&data));
        let mut copy = vec![0; after.len()];
        prop_assert_eq!(fold(copy_add(add(0, before), after, &mut copy)), naive(&data));
    }
}
