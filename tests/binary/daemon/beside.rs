//! What else a tunnel does costs its streams little: one TCP stream in windows, with and without it, in turn.
//!
//! ```text
//!   window   none │ one kind │ another │ none │ one kind │ ...      a round has each once, and its ratios are of that round
//! ```
//!
//! Held to generous limits, since a test shares its machine; `BESIDE_ROUNDS=40` measures, and prints the medians.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use vxgate_load::tcp;
use vxgate_testbed::{isolated, now};

use crate::figures::wait;
use crate::ground::{GATE, GATE_INNER, Ground, UP, missing};
use crate::metrics::{ADDRESS, get};

/// One window: long against a round trip, short against what else a machine does.
const WINDOW: Duration = Duration::from_millis(250);

/// Fills a stream from the tunnel's host to the gate, and has `beside` know which of `kinds` is on. Ratios to the first kind, a median
/// for each of the others.
fn ratios(ground: &Ground, kinds: usize, beside: impl Fn(&AtomicUsize, &AtomicBool) + Sync) -> Vec<f64> {
    let rounds = std::env::var("BESIDE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4_usize);
    let sink =
        ground.gate.run(|| tcp::Sink::listen(GATE_INNER.parse().expect("an address"))).expect("a port");
    let streams = ground.you.run(|| tcp::connect(&sink, 1)).expect("a stream");
    let (kind, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let measured = streams.carry(|octets: &AtomicU64| {
        thread::scope(|scope| {
            scope.spawn(|| beside(&kind, &is_over));
            let mut measured = vec![Vec::new(); kinds];
            // The stream finds its size first.
            wait(now(), WINDOW);
            for round in 0..rounds {
                for turn in 0..kinds {
                    // Not always in the same order.
                    let one = (turn + round) % kinds;
                    kind.store(one, Ordering::Relaxed);
                    wait(now(), WINDOW / 10);
                    let (start, before) = (now(), octets.load(Ordering::Relaxed));
                    wait(start, WINDOW);
                    let carried = octets.load(Ordering::Relaxed) - before;
                    measured[one].push(carried as f64 / start.elapsed().as_secs_f64());
                }
            }
            is_over.store(true, Ordering::Relaxed);
            measured
        })
    });
    let (first, others) = measured.split_first().expect("a first kind");
    println!("alone: {:.2} Gb/s", median(first.clone()) * 8e-9);
    let of =
        |other: &Vec<f64>| median(other.iter().zip(first).map(|(with, without)| with / without).collect());
    others.iter().map(of).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn a_scraper_costs_a_stream_little() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --metrics {ADDRESS}"));
        assert!(ground.answers());
        let scrapes = AtomicUsize::new(0);
        let ratios = ratios(&ground, 2, |kind, is_over| {
            while !is_over.load(Ordering::Relaxed) {
                if kind.load(Ordering::Relaxed) == 1 {
                    assert!(get(&ground, "/metrics").contains("# EOF"));
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
                // Fifteen times what Prometheus does when it is in a hurry.
                wait(now(), Duration::from_millis(66));
            }
        });
        println!("with 15 scrapes a second: {:.3}; {} scrapes", ratios[0], scrapes.load(Ordering::Relaxed));
        assert!(ratios[0] > 0.4, "{ratios:?}");
        assert!(scrapes.load(Ordering::Relaxed) > 5);
        daemon.stop();
    });
}

/// Datagrams a second from the gate, each in a burst of 64.
const FLOOD: u32 = 50_000;

#[test]
fn a_flood_of_source_addresses_costs_a_stream_what_a_flood_of_one_does() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --peer 100.64.158.132"));
        assert!(ground.answers());
        let sent = AtomicU64::new(0);
        let ratios = ratios(&ground, 3, |kind, is_over| {
            ground.gate.run(|| {
                let socket = UdpSocket::bind((GATE, 0)).expect("a port");
                let mut datagram = [0; 8 + 60];
                (datagram[0], datagram[6]) = (8, 10);
                // To nobody's address: unicast, so that the storm limit has no part in it.
                datagram[8..14].copy_from_slice(&[2, 0xaa, 0, 0, 0, 1]);
                datagram[14] = 2;
                let mut number: u32 = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let (start, kind) = (now(), kind.load(Ordering::Relaxed));
                    for _ in 0..if kind == 0 { 0 } else { 64 } {
                        if kind == 2 {
                            number += 1;
                        }
                        datagram[16..20].copy_from_slice(&number.to_be_bytes());
                        // A full queue is the kernel's business.
                        let _ = socket.send_to(&datagram, "172.21.0.100:4789");
                    }
                    sent.store(number.into(), Ordering::Relaxed);
                    wait(start, Duration::from_secs(64) / FLOOD);
                }
            });
        });
        let show = ground.show();
        println!(
            "beside {FLOOD} datagrams a second of one source: {:.3}; of a new source each: {:.3}; {} sources, {} entries",
            ratios[0],
            ratios[1],
            sent.load(Ordering::Relaxed),
            show["fdb"]["entries"]
        );
        assert!(ratios[1] > 0.4 * ratios[0], "{ratios:?}");
        assert!(sent.load(Ordering::Relaxed) > 1000);
        daemon.stop();
    });
}
