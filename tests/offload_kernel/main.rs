//! Our segmentation held against the kernel's own, octet for octet; and what we join, against what the kernel makes of it.
//!
//! ```text
//!   superframe ──► feeder ── bridge ── reader ──► the kernel's segments
//!            │     (TAP)               (TAP without offload)       ║
//!            └───► vxgate_offload::Work ─────────► our segments    ╝ equal
//! ```
//! A TAP takes a superframe whatever its own offloads are, and a bridge passes it on in one piece; the device that it leaves
//! by can do nothing, so the kernel's software makes of that very superframe what a NIC would.

mod frames;
mod kernel;
mod stack;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use vxgate_offload::{Coalescer, Joins, Offer, VirtioNetHeader, Work};
use vxgate_testbed::{isolated, skip};

use crate::frames::{Superframe, superframes};
use crate::kernel::Kernel;

/// What we make of a frame as a TAP hands it over.
fn ours(virtio: VirtioNetHeader, frame: &[u8]) -> Vec<Vec<u8>> {
    let work = Work::from_virtio(virtio, frame).expect("a header that tells the truth");
    let mut scratch = vec![0xaa; frame.len()];
    let mut segments = Vec::new();
    work.finish_copy(frame, &mut scratch, |segment| segments.push(segment.to_vec()));
    segments
}

/// Holds both against each other. What differs is named by its place, since whole superframes are no reading.
fn compare(kernel: &Kernel, virtio: VirtioNetHeader, frame: &[u8]) -> Result<(), TestCaseError> {
    let (theirs, ours) = (kernel.segments(virtio, frame), ours(virtio, frame));
    let lengths = |segments: &[Vec<u8>]| segments.iter().map(Vec::len).collect::<Vec<_>>();
    prop_assert_eq!(lengths(&ours), lengths(&theirs), "octets of each of our segments, and of the kernel's");
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let differ = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
        if let Some(at) = differ {
            let around = at.saturating_sub(4)..(at + 8).min(ours.len());
            let (ours, theirs) = (&ours[around.clone()], &theirs[around.clone()]);
            prop_assert!(
                false,
                "segment {index}, octets {around:?}: ours {ours:02x?}, the kernel's {theirs:02x?}"
            );
        }
    }
    Ok(())
}

fn hold(kernel: &Kernel, cases: u32, superframes: impl Strategy<Value = Superframe>) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config)
        .run(&superframes, |superframe| compare(kernel, superframe.virtio(), &superframe.frame()));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn every_superframe_of_tcp_is_cut_as_the_kernel_cuts_it() {
    isolated!(|| {
        let Some(kernel) = Kernel::new() else { return };
        hold(&kernel, 400, superframes());
    });
}

#[test]
fn every_superframe_of_udp_is_cut_as_the_kernel_cuts_it() {
    isolated!(|| {
        let Some(kernel) = Kernel::new() else { return };
        if !kernel.takes_uso() {
            return skip("a kernel with USO on TAP devices (Linux 6.2)");
        }
        let most = kernel.udp_segments_max();
        hold(&kernel, 400, superframes().prop_map(move |superframe| superframe.into_udp(most)));
    });
}

#[test]
fn a_frame_without_its_checksum_is_finished_as_the_kernel_finishes_it() {
    isolated!(|| {
        let Some(kernel) = Kernel::new() else { return };
        hold(&kernel, 400, superframes().prop_map(Superframe::into_one));
    });
}

#[test]
fn a_checksum_that_comes_to_zero_is_written_as_the_kernel_writes_it() {
    isolated!(|| {
        let Some(kernel) = Kernel::new() else { return };
        for (udp, v6) in [(false, false), (false, true), (true, false), (true, true)] {
            if udp && !kernel.takes_uso() {
                continue;
            }
            for superframe in [Superframe::plain(udp, v6, 1), Superframe::plain(udp, v6, 3)] {
                let (virtio, mut frame) = (superframe.virtio(), superframe.frame());
                // A word of each segment takes up the segment's checksum, so that what is left of it is nothing.
                let headers = frame.len() - superframe.payload.len();
                for (index, segment) in ours(virtio, &frame).iter().enumerate() {
                    let field = superframe.checksum_field();
                    let at = headers + index * usize::from(superframe.segment_octets);
                    let [high, low] = [segment[field], segment[field + 1]];
                    frame[at..at + 2].copy_from_slice(&[high, low]);
                }
                let what = format!("udp {udp}, IPv6 {v6}, {} octets", superframe.payload.len());
                for segment in kernel.segments(virtio, &frame) {
                    let field = superframe.checksum_field();
                    let [high, low] = [segment[field], segment[field + 1]];
                    assert!([0, 0xffff].contains(&u16::from_be_bytes([high, low])), "{what}");
                }
                if let Err(error) = compare(&kernel, virtio, &frame) {
                    panic!("{what}: {error}");
                }
            }
        }
    });
}

/// What goes to a device for these frames of one flow: frames, and superframes with their virtio headers.
fn joined(frames: &[Vec<u8>]) -> Vec<(VirtioNetHeader, Vec<u8>)> {
    let mut coalescer = Coalescer::new(Joins::ALL, 0);
    let mut written = Vec::new();
    for frame in frames {
        let mut held = |held: vxgate_offload::Superframe<'_>| {
            written.push((held.work.to_virtio(), held.octets().to_vec()));
        };
        if coalescer.push(frame, &mut held) == Offer::Pass {
            written.push((VirtioNetHeader::default(), frame.clone()));
        }
    }
    coalescer.flush(&mut |held| written.push((held.work.to_virtio(), held.octets().to_vec())));
    written
}

#[test]
fn what_we_join_the_kernel_cuts_into_the_frames_that_came() {
    isolated!(|| {
        let Some(kernel) = Kernel::new() else { return };
        let uso = kernel.takes_uso();
        let most = kernel.udp_segments_max();
        let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
        let superframes = (superframes(), any::<bool>()).prop_map(move |(superframe, udp)| {
            if udp && uso { superframe.into_udp(most) } else { superframe }
        });
        let spared = Cell::new(0);
        let outcome = TestRunner::new(config).run(&superframes, |superframe| {
            let frames = ours(superframe.virtio(), &superframe.frame());
            let written = joined(&frames);
            spared.set(spared.get() + frames.len() - written.len());
            let came: Vec<Vec<u8>> =
                written.iter().flat_map(|(virtio, frame)| kernel.segments(*virtio, frame)).collect();
            prop_assert!(
                came == frames,
                "{} frames, {} written, {} came",
                frames.len(),
                written.len(),
                came.len()
            );
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{error}");
        }
        assert!(spared.get() > 100, "hardly anything was joined: {} writes spared", spared.get());
    });
}

#[test]
fn what_the_stack_sends_through_a_tap_is_cut_as_the_kernel_cuts_it() {
    isolated!(|| {
        let Some(kernel) = Kernel::new() else { return };
        for (what, frames) in stack::superframes_of_each_kind() {
            for (virtio, frame) in &frames {
                if let Err(error) = compare(&kernel, *virtio, frame) {
                    panic!("{what}, a superframe of {} octets: {error}", frame.len());
                }
            }
        }
    });
}

#[test]
fn no_tap_lets_its_stack_send_more_than_64_kb_at_once() {
    isolated!(|| {
        let Some(kernel) = Kernel::new() else { return };
        let (before, refusal) = kernel.ask_for_big_tcp();
        assert_eq!(before, Some(65_536), "GSO_LEGACY_MAX_SIZE");
        assert_eq!(refusal.errno(), Some(22), "EINVAL, beyond tso_max_size");
    });
}
