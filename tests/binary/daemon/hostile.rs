//! Datagrams that no peer sends, as fast as they go: dropped under a name, counted, and nothing else.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use vxgate_testbed::{Ping, eventually, isolated};

use crate::figures::resident_kib;
use crate::ground::{GATE_INNER, Ground, PATIENCE, UP, missing};

/// A flood that does not care for answers, from this address; how many went out.
fn flood(from: &str, stop: &AtomicBool, frame: impl Fn(u64, &mut [u8]) -> usize) -> u64 {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    let mut datagram = [0; 2048];
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let octets = frame(sent, &mut datagram);
        // A full queue is the kernel's business; the next one may find room.
        sent += u64::from(socket.send_to(&datagram[..octets], "172.21.0.100:4789").is_ok());
    }
    sent
}

/// A number that looks like chance and is the same in each run (SplitMix64).
fn scramble(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (number >> 31)
}

/// Pings through the tunnel while `from` floods it; the drops by reason afterwards.
fn under_fire(from: &'static str, frame: impl Fn(u64, &mut [u8]) -> usize + Sync) -> serde_json::Value {
    let ground = Ground::with_gate();
    let daemon = ground.up(&format!("{UP} --max-macs 1000"));
    assert!(ground.answers());
    let before = resident_kib(&daemon);
    let stop = AtomicBool::new(false);
    let (report, sent) = thread::scope(|scope| {
        let fire = scope.spawn(|| ground.gate.run(|| flood(from, &stop, &frame)));
        let ping = Ping { count: 200, ..Ping::new(GATE_INNER.parse().unwrap()) };
        let report = ground.you.run(|| ping.run()).unwrap();
        stop.store(true, Ordering::Relaxed);
        (report, fire.join().unwrap())
    });
    let grown = resident_kib(&daemon).saturating_sub(before);
    println!(
        "{from}: {sent} datagrams; {} of {} pings answered; {grown} KiB grown",
        report.received, report.sent
    );
    // One socket for friend and foe: what the kernel drops in front of it at full rate is nobody's to save.
    assert!(report.received * 10 >= report.sent * 9, "{report:?}");
    assert!(grown < 2048, "{grown} KiB");
    assert!(eventually(PATIENCE, || ground.answers()));
    let show = ground.show();
    let dropped: u64 =
        show["drops"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
    assert!(dropped > 0 && dropped <= sent + 1000, "{show}");
    assert!(show["fdb"]["entries"].as_u64().unwrap() <= 1000, "{show}");
    daemon.stop();
    show["drops"].clone()
}

#[test]
fn strangers_at_full_rate_do_not_stop_the_tunnel() {
    isolated!(|| {
        if missing() {
            return;
        }
        let drops = under_fire("172.21.0.1", |number, datagram| {
            let octets = (scramble(number) % 200) as usize;
            for (index, octet) in datagram[..octets].iter_mut().enumerate() {
                *octet = scramble(number ^ index as u64) as u8;
            }
            octets
        });
        assert!(drops["stranger"].as_u64().unwrap() > 1000, "{drops}");
    });
}

#[test]
fn a_peer_gone_mad_is_dropped_by_reason_and_fills_no_more_than_the_table() {
    isolated!(|| {
        if missing() {
            return;
        }
        // Its own address, so what it sends is parsed: right and wrong headers, and a new source with each frame.
        let drops = under_fire("100.64.158.4", |number, datagram| {
            let chance = scramble(number);
            datagram[..8].copy_from_slice(&[8, 0, 0, 0, 0, 0, 10, 0]);
            datagram[8..14].copy_from_slice(&[2, 0xbd, 0, 0, 0, 1]);
            datagram[14..20].copy_from_slice(&chance.to_be_bytes()[..6]);
            datagram[20..22].copy_from_slice(&[0x88, 0xb5]);
            match chance % 8 {
                0 => datagram[0] = 0,
                1 => datagram[6] = 11,
                2 => return 7,
                3 => return 20,
                _ => datagram[14] &= 0xfe,
            }
            68
        });
        for reason in ["flag-i-clear", "wrong-vni", "truncated", "runt"] {
            assert!(drops[reason].as_u64().unwrap_or(0) > 10, "{reason}: {drops}");
        }
    });
}

#[test]
fn what_the_sender_refuses_to_send_is_no_end() {
    isolated!(|| {
        if missing() {
            return;
        }
        // Nobody listens at the peer: each frame comes back as an ICMP error on the tunnel's own socket.
        let ground = Ground::lay();
        let mut daemon = ground.up("up --peer 172.21.0.1 --address 10.225.194.171/9");
        let ping =
            Ping { count: 100, timeout: Duration::from_millis(10), ..Ping::new(GATE_INNER.parse().unwrap()) };
        assert!(ground.you.run(|| ping.run()).unwrap().none_answered());
        assert!(!daemon.has_ended(), "{}", daemon.log());
        assert!(ground.show()["tx"]["frames"].as_u64().unwrap() > 0);
        daemon.stop();
    });
}
