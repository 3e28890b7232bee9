//! Storms, tables that somebody fills, and routes that lead a tunnel into itself, before a tunnel with a real peer.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vxgate_netlink::Netlink;
use vxgate_testbed::{Ping, eventually, isolated, now};

use crate::figures::resident_kib;
use crate::ground::{GATE, GATE_INNER, Ground, PATIENCE, UP, missing};

fn drops(show: &Value, reason: &str) -> u64 {
    show["drops"][reason].as_u64().unwrap_or_default()
}

/// Sends broadcast into this network until it is told to stop.
fn storm(address: &str, stop: &AtomicBool) -> u64 {
    let socket = UdpSocket::bind((address, 0)).expect("a port");
    socket.set_broadcast(true).expect("a socket");
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sent += u64::from(socket.send_to(&[0; 64], "10.255.255.255:9").is_ok());
    }
    sent
}

#[test]
fn a_storm_of_the_host_is_carried_at_its_rate_and_known_unicast_loses_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --storm-limit 2000"));
        assert!(ground.answers());
        let stop = AtomicBool::new(false);
        let start = now();
        let before = ground.show();
        let (report, sent) = thread::scope(|scope| {
            let blow = scope.spawn(|| ground.you.run(|| storm("10.225.194.171", &stop)));
            let ping = Ping {
                count: 400,
                interval: Duration::from_millis(5),
                ..Ping::new(GATE_INNER.parse().expect("an address"))
            };
            let report = ground.you.run(|| ping.run()).expect("pings");
            stop.store(true, Ordering::Relaxed);
            (report, blow.join().expect("it ends"))
        });
        let after = ground.show();
        let span = start.elapsed().as_secs_f64();
        let copies = after["flood"]["copies"].as_u64().unwrap_or_default()
            - before["flood"]["copies"].as_u64().unwrap_or_default();
        let limited = drops(&after, "storm-limit") - drops(&before, "storm-limit");
        let carried = copies - limited;
        println!(
            "{sent} broadcasts in {span:.2} s, {carried} carried at 2000 a second; {} of {} pings answered",
            report.received, report.sent
        );
        // The two looks at the tunnel take some of the time.
        let most = 2000.0 * (span + 0.1) * 1.05;
        assert!(limited > 0 && (carried as f64) < most, "{carried} of at most {most}");
        assert!(carried as f64 > 2000.0 * (span - 0.5) * 0.95 || sent < 5000, "{carried} in {span} s");
        // The device's own queue comes before any limit: a busy machine may let it run over. On a quiet one none is lost.
        assert!(report.received * 100 >= report.sent * 95, "{report:?}");
        daemon.stop();
    });
}

#[test]
fn a_storm_of_a_peer_is_delivered_at_its_rate_and_known_unicast_loses_nothing() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --storm-limit 2000"));
        assert!(ground.answers());
        let stop = AtomicBool::new(false);
        let report = thread::scope(|scope| {
            scope.spawn(|| ground.gate.run(|| storm("10.192.158.4", &stop)));
            let ping = Ping {
                count: 200,
                interval: Duration::from_millis(5),
                ..Ping::new(GATE_INNER.parse().expect("an address"))
            };
            let report = ground.you.run(|| ping.run()).expect("pings");
            stop.store(true, Ordering::Relaxed);
            report
        });
        let after = ground.show();
        println!("{} of {} pings answered; {}", report.received, report.sent, after["drops"]);
        assert!(drops(&after, "storm-limit") > 0, "{after}");
        // Both come by one socket, whose buffer a busy machine may let run over.
        assert!(report.received * 10 >= report.sent * 9, "{report:?}");
        daemon.stop();
    });
}

#[test]
fn a_route_that_leads_a_peer_into_the_tunnel_is_told_and_nothing_goes_round() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let before = ground.show();
        // By a router that is known, so that the host sends at once.
        let inside = GATE_INNER.parse().expect("an address");
        ground
            .you
            .netlink(async |netlink: &Netlink| {
                let link = netlink.link_by_name("vxlan0").await?;
                netlink
                    .route_add("100.64.158.4/32".parse().expect("a network"), &link, Some(inside), None)
                    .await
            })
            .expect("a route");
        assert!(eventually(PATIENCE, || ground.show()["peers"][0]["inside"] == true), "{}", ground.show());
        assert!(
            eventually(PATIENCE, || daemon.log().contains("leads into vxlan0 itself")),
            "{}",
            daemon.log()
        );
        // What the host sends meets itself once, and no more.
        let ping = Ping {
            count: 20,
            interval: Duration::from_millis(10),
            timeout: Duration::from_millis(200),
            ..Ping::new(GATE_INNER.parse().expect("an address"))
        };
        let report = ground.you.run(|| ping.run()).expect("pings");
        assert_eq!(report.received, 0, "{report:?}");
        let looped = ground.show();
        let came_back = drops(&looped, "tunnel-in-tunnel");
        let octets = looped["tx"]["octets"].as_u64().unwrap_or_default()
            - before["tx"]["octets"].as_u64().unwrap_or_default();
        println!("{came_back} datagrams came back, {octets} octets were sent in all");
        assert!(came_back > 0 && octets < 65_536, "{looped}");

        ground
            .you
            .netlink(async |netlink: &Netlink| {
                let link = netlink.link_by_name("vxlan0").await?;
                netlink.route_delete("100.64.158.4/32".parse().expect("a network"), &link, Some(inside)).await
            })
            .expect("a route");
        assert!(ground.answers());
        assert!(eventually(PATIENCE, || ground.show()["peers"][0]["inside"] == false));
        assert!(
            eventually(PATIENCE, || daemon.log().contains("no longer leads into vxlan0")),
            "{}",
            daemon.log()
        );
        daemon.stop();
    });
}

/// `HOSTILE_DATAGRAMS=1000000` for the promise; some thousands in each run of the tests.
#[test]
fn a_million_source_addresses_fill_their_share_and_cost_no_memory() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --peer 100.64.158.132 --max-macs 16384"));
        assert!(ground.answers());
        let before = resident_kib(&daemon);
        let wanted: u32 =
            std::env::var("HOSTILE_DATAGRAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(50_000);
        let stop = AtomicBool::new(false);
        let report = thread::scope(|scope| {
            let fire = scope.spawn(|| {
                ground.gate.run(|| {
                    let socket = UdpSocket::bind((GATE, 0)).expect("a port");
                    let mut datagram = [0; 8 + 60];
                    datagram[0] = 8;
                    datagram[6] = 10;
                    // To nobody's address: unicast, so that the storm limit has no part in it.
                    datagram[8..14].copy_from_slice(&[2, 0xaa, 0, 0, 0, 1]);
                    for number in 0..wanted {
                        datagram[14] = 2;
                        datagram[16..20].copy_from_slice(&number.to_be_bytes());
                        // A full queue is the kernel's business.
                        let _ = socket.send_to(&datagram, "172.21.0.100:4789");
                    }
                    stop.store(true, Ordering::Relaxed);
                });
            });
            let mut answered = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let ping = Ping {
                    count: 20,
                    interval: Duration::from_millis(5),
                    ..Ping::new(GATE_INNER.parse().expect("an address"))
                };
                let report = ground.you.run(|| ping.run()).expect("pings");
                answered = (answered.0 + report.received, answered.1 + report.sent);
            }
            fire.join().expect("it ends");
            answered
        });
        let show = ground.show();
        let grown = resident_kib(&daemon).saturating_sub(before);
        println!(
            "{wanted} datagrams: {} entries, {} refused; {} of {} pings answered; {grown} KiB grown",
            show["fdb"]["entries"], show["table"]["refused_share"], report.0, report.1
        );
        // A sixteenth is the other peer's.
        assert!(show["fdb"]["entries"].as_u64() <= Some(16_384 - 1024 + 2), "{show}");
        assert!(wanted < 20_000 || show["table"]["refused_share"].as_u64() > Some(0), "{show}");
        assert!(grown <= 1024, "{grown} KiB");
        assert!(report.0 * 2 >= report.1, "{report:?}");
        assert!(ground.answers());
        daemon.stop();
    });
}
