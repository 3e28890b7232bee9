//! The interleavings of the segment's writer with an overlay half, for what the memory orderings must hold:
//! a reader never sees an entry whose remote is not in place, nor half a remote, nor the remote of another entry.
//!
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p vxgate-core --release loom`
#![cfg(loom)]

use std::net::{IpAddr, Ipv6Addr};

use vxgate_codec::MacAddr;
use vxgate_core::{
    Destination, DropReason, EntryState, OverlayHalf, OverlayVerdict, Prefix, Remote, Segment, SegmentConfig,
    Timestamp, UnderlayHalf, UnderlayVerdict,
};

const NOW: Timestamp = Timestamp::ZERO;
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0xee];

fn mac(number: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, number])
}

/// Addresses whose halves and ports all differ, so that no mixture of two is a third.
fn remote(number: u16) -> Remote {
    let bits = u128::from(number) << 64 | u128::from(number);
    Remote { addr: IpAddr::V6(Ipv6Addr::from_bits(bits)), port: Some(number), vni: None }
}

fn goes_to(there: Destination, number: u16) -> bool {
    Some(there.addr.port()) == remote(number).port && there.addr.ip() == remote(number).addr
}

fn segment(max_macs: usize, max_peers: usize) -> Segment {
    Segment::new(SegmentConfig { max_macs, max_peers, hash_key: 7, ..SegmentConfig::default() })
}

/// Runs `body` in every interleaving in which a thread that could go on is stopped three times at most: what goes wrong at
/// all is known to go wrong within that, and the search takes seconds instead of minutes.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

/// Where a frame to this address goes; no model has a flood list, so that unknown is `None`.
fn ask(half: &OverlayHalf, to: MacAddr) -> Option<Destination> {
    let frame = [&to.octets()[..], &OWN, &[8, 0]].concat();
    match half.handle_overlay(&frame) {
        OverlayVerdict::Unicast(_, there) => Some(there),
        OverlayVerdict::Drop(_) => None,
        OverlayVerdict::Flood(_) => panic!("a flood without a list"),
    }
}

#[test]
fn loom_an_entry_is_seen_with_its_remote_or_not_at_all() {
    model(|| {
        let mut segment = segment(1, 1);
        let half = segment.overlay_half();
        let reader = loom::thread::spawn(move || {
            if let Some(there) = ask(&half, mac(1)) {
                assert!(goes_to(there, 1), "{there:?}");
            }
        });
        segment.fdb_add(mac(1), remote(1), EntryState::Permanent, NOW).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_moving_entry_is_at_the_old_remote_or_the_new_one() {
    model(|| {
        let mut segment = segment(1, 2);
        segment.fdb_add(mac(1), remote(1), EntryState::Dynamic, NOW).unwrap();
        let half = segment.overlay_half();
        let reader = loom::thread::spawn(move || {
            if let Some(there) = ask(&half, mac(1)) {
                assert!(goes_to(there, 1) || goes_to(there, 2), "{there:?}");
            }
        });
        segment.fdb_replace(mac(1), remote(2), EntryState::Dynamic, NOW).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_number_used_again_never_lends_its_remote_to_the_entry_before() {
    model(|| {
        // One number only: the second remote gets that of the first.
        let mut segment = segment(2, 1);
        segment.fdb_add(mac(1), remote(1), EntryState::Permanent, NOW).unwrap();
        let half = segment.overlay_half();
        let reader = loom::thread::spawn(move || {
            if let Some(there) = ask(&half, mac(1)) {
                assert!(goes_to(there, 1), "{there:?}");
            }
        });
        segment.fdb_del(mac(1), None).unwrap();
        segment.fdb_add(mac(2), remote(2), EntryState::Permanent, NOW).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_number_used_again_never_lends_the_remote_before_to_its_new_entry() {
    model(|| {
        let mut segment = segment(2, 1);
        segment.fdb_add(mac(1), remote(1), EntryState::Permanent, NOW).unwrap();
        let half = segment.overlay_half();
        let reader = loom::thread::spawn(move || {
            if let Some(there) = ask(&half, mac(2)) {
                assert!(goes_to(there, 2), "{there:?}");
            }
        });
        segment.fdb_del(mac(1), None).unwrap();
        segment.fdb_add(mac(2), remote(2), EntryState::Permanent, NOW).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_remote_reads_whole_or_not_at_all() {
    model(|| {
        let mut segment = segment(2, 1);
        segment.fdb_add(mac(1), remote(1), EntryState::Permanent, NOW).unwrap();
        let peer = segment.peers().next().unwrap().id;
        let half = segment.overlay_half();
        let reader = loom::thread::spawn(move || {
            let read = half.remote(peer);
            assert!([None, Some(remote(1)), Some(remote(2))].contains(&read), "{read:?}");
        });
        segment.fdb_del(mac(1), None).unwrap();
        segment.fdb_add(mac(2), remote(2), EntryState::Permanent, NOW).unwrap();
        reader.join().unwrap();
    });
}

/// Whether a frame of this station from `remote(number)` is dropped as one that is static elsewhere.
fn is_static_elsewhere(half: &mut UnderlayHalf, from: MacAddr, number: u16) -> bool {
    let header = [8, 0, 0, 0, 0, 0, 10, 0];
    let payload = [&header[..], &OWN, &from.octets(), &[8, 0]].concat();
    match half.handle_underlay(remote(number).addr, &payload, NOW) {
        UnderlayVerdict::Deliver { .. } => false,
        UnderlayVerdict::Drop(reason) => {
            assert_eq!(reason, DropReason::StaticElsewhere);
            true
        }
    }
}

#[test]
fn loom_another_worker_never_takes_the_kind_of_one_entry_for_that_of_another() {
    model(|| {
        let mut segment = segment(2, 2);
        segment.fdb_add(mac(1), remote(1), EntryState::Dynamic, NOW).unwrap();
        let all = Prefix::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0).unwrap();
        segment.set_accept_from(vec![all]);
        let (_, mut half) = segment.worker_halves();
        let reader = loom::thread::spawn(move || {
            // It was dynamic as long as there was one.
            assert!(!is_static_elsewhere(&mut half, mac(1), 2));
        });
        segment.fdb_del(mac(1), None).unwrap();
        // In the same slot or another, and at the same number.
        segment.fdb_add(mac(2), remote(2), EntryState::Static, NOW).unwrap();
        segment.fdb_add(mac(1), remote(2), EntryState::Static, NOW).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn loom_what_is_learned_is_found_once_the_other_thread_knows_of_it() {
    model(|| {
        let mut segment = segment(1, 1);
        let prefix = "::/0".parse().unwrap();
        segment.set_accept_from(vec![prefix]);
        let half = segment.overlay_half();
        let datagram = [&[8, 0, 0, 0, 0, 0, 10, 0][..], &OWN, &mac(1).octets(), &[8, 0]].concat();
        let writer = loom::thread::spawn(move || {
            let verdict = segment.handle_underlay(remote(1).addr, &datagram, NOW);
            assert!(matches!(verdict, UnderlayVerdict::Deliver { .. }));
        });
        writer.join().unwrap();
        assert_eq!(ask(&half, mac(1)).map(|there| there.addr.ip()), Some(remote(1).addr));
    });
}
