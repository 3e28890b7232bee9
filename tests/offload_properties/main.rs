//! Frames that are joined are the frames that came, and frames that are cut are those that a host would have sent one by one: nothing
//! lost, invented, reordered or mended, whatever the octets.

mod coalesce;
mod properties;
mod split;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use properties::coalesce::{check_octets, check_script};
use properties::split::{check_lie, check_superframe, check_virtio};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_interleaving_of_flows_comes_out_as_it_came(script in proptest::collection::vec(any::<u8>(), 9..400)) {
        check_script(&script);
    }

    #[test]
    fn flows_without_much_trouble_come_out_as_they_came(
        head in proptest::collection::vec(any::<u8>(), 9),
        mut events in proptest::collection::vec(0_u8..128, 1..300),
        trouble in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        for (at, octet) in trouble {
            let at = at.index(events.len());
            events[at] = octet;
        }
        check_script(&[head, events].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_octets_come_out_as_they_came(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
        check_octets(&data);
    }

    #[test]
    fn a_superframe_is_cut_into_what_a_host_would_have_sent_and_joined_again_is_what_it_was(
        data in proptest::collection::vec(any::<u8>(), 12),
    ) {
        check_superframe(&data);
    }

    #[test]
    fn a_superframe_that_lies_is_refused_or_keeps_its_payload(data in proptest::collection::vec(any::<u8>(), 12..24)) {
        check_lie(&data);
    }

    #[test]
    fn any_virtio_header_before_any_octets_is_refused_or_keeps_the_payload(
        data in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        check_virtio(&data);
    }
}

/// What fuzzing has found, `fuzz/README.md` says how.
#[test]
fn every_input_that_fuzzing_left_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, inputs, check) in [
        ("coalesce", 33, check_coalesce as fn(&[u8])),
        ("split", 53, check_split),
        ("work_from_virtio", 88, check_virtio),
    ] {
        let lines = fs::read_to_string(corpus.join(target).with_extension("hex")).expect("a text file");
        let mut replayed = 0;
        for line in lines.lines().filter(|line| !line.starts_with('#')) {
            check(&octets(line));
            replayed += 1;
        }
        assert!(replayed >= inputs, "{target}: {replayed} inputs where there were {inputs}");
    }
}

/// What a line of hexadecimal digits says.
fn octets(line: &str) -> Vec<u8> {
    let (pairs, []) = line.as_bytes().as_chunks::<2>() else { panic!("an odd number of digits: {line}") };
    let octet = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(|pair| octet(pair).unwrap_or_else(|| panic!("no hexadecimal digits: {line}"))).collect()
}

/// What the fuzz target of this name does.
fn check_coalesce(data: &[u8]) {
    check_script(data);
    check_octets(data);
}

/// What the fuzz target of this name does.
fn check_split(data: &[u8]) {
    check_superframe(data);
    check_lie(data);
}
