//! `--metrics` before a tunnel that carries traffic: what a scraper and a probe see, and what that costs.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use vxgate_testbed::{eventually, isolated, now};

use crate::ground::{GATE, Ground, PATIENCE, UP, missing};

pub(crate) const ADDRESS: &str = "127.0.0.1:9789";

/// Asks the endpoint on `you`.
pub(crate) fn get(ground: &Ground, path: &'static str) -> String {
    ground.you.run(move || {
        let mut stream = TcpStream::connect(ADDRESS).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    })
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn a_scraper_sees_traffic_and_a_probe_sees_a_peer_go() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let mut daemon = ground.up(&format!(
            "up --address 10.225.194.171/9 --peer 100.64.158.4=10.192.158.4 --metrics {ADDRESS}"
        ));
        let told = "metrics and health at http://127.0.0.1:9789";
        assert!(eventually(PATIENCE, || daemon.log().contains(told)), "{}", daemon.log());
        assert!(ground.answers());
        let text = get(&ground, "/metrics");
        let peer = "dev=\"vxlan0\",vni=\"10\",peer=\"100.64.158.4\"";
        assert!(
            value(&text, &format!("vxgate_peer_frames_total{{{peer},direction=\"rx\"}}")) > Some(0.0),
            "{text}"
        );
        assert_eq!(value(&text, &format!("vxgate_peer_up{{{peer}}}")), Some(1.0), "{text}");
        assert!(get(&ground, "/healthz").starts_with("HTTP/1.1 200"));

        ground.gate.down("vxlan0").expect("the gate's device");
        let unwell = eventually(PATIENCE, || {
            let answer = get(&ground, "/healthz");
            answer.starts_with("HTTP/1.1 503") && answer.contains("vxlan0: no peer is up: 100.64.158.4 down")
        });
        assert!(unwell, "{}", get(&ground, "/healthz"));
        assert_eq!(value(&get(&ground, "/metrics"), &format!("vxgate_peer_up{{{peer}}}")), Some(0.0));
        daemon.signal(rustix::process::Signal::TERM);
        assert_eq!(daemon.wait().0.code(), Some(0));
    });
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_is_made() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let _taken = ground.you.run(|| TcpListener::bind(ADDRESS).expect("a free port"));
        let line = format!("{UP} --metrics {ADDRESS}");
        ground.refused(
            &line,
            1,
            "vxgate: tunnel vxlan0: --metrics 127.0.0.1:9789: Address already in use",
            "choose another one",
        );
        ground.refused(
            &format!("{UP} --metrics 9789"),
            2,
            "vxgate: up: --metrics \"9789\": an address and a port",
            "",
        );
    });
}

#[test]
fn a_scrape_costs_the_same_with_64_k_mac_addresses() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let daemon = ground.up(&format!("{UP} --max-macs 65536 --metrics {ADDRESS}"));
        let scrapes = || {
            let mut took: Vec<Duration> = (0..21)
                .map(|_| {
                    let start = now();
                    assert!(get(&ground, "/metrics").contains("# EOF"));
                    start.elapsed()
                })
                .collect();
            took.sort();
            took[took.len() / 2]
        };
        let empty = scrapes();
        ground.gate.run(|| {
            let socket = UdpSocket::bind((GATE, 0)).expect("a port");
            let mut datagram = [0; 8 + 60];
            datagram[0] = 8;
            datagram[6] = 10;
            // To nobody's address: unicast, so that the storm limit has no part in it.
            datagram[8..14].copy_from_slice(&[2, 0xaa, 0, 0, 0, 1]);
            // As often as it takes: what the socket's buffer cannot hold is lost.
            for number in (0..65_536_u32).cycle().take(20 * 65_536) {
                datagram[14] = 2;
                datagram[16..20].copy_from_slice(&number.to_be_bytes());
                socket.send_to(&datagram, "172.21.0.100:4789").expect("room");
                if number % 4096 == 4095 && ground.show()["fdb"]["entries"].as_u64() > Some(60_000) {
                    break;
                }
            }
        });
        let fill = &ground.show()["fdb"];
        assert!(fill["entries"].as_u64() > Some(60_000), "{fill}");
        let full = scrapes();
        println!("a scrape takes {empty:?} with no MAC address, {full:?} with {}", ground.show()["fdb"]);
        // The promise is 5 ms of a release build on a quiet machine; here both are neither.
        assert!(
            full < Duration::from_millis(50) && full < empty * 4 + Duration::from_millis(5),
            "{empty:?} {full:?}"
        );
        daemon.stop();
    });
}
