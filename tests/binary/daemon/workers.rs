//! Several workers: each flow in order and whole, whoever its peer is; one table, one set of counters.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use vxgate_testbed::{Host, eventually, isolated, tcp, udp, wait_for};

use crate::ground::{Daemon, GATE, GATE_INNER, Ground, PATIENCE, UP, VXGATE, command, missing};

const INNER: &str = "10.225.194.171";
/// Enough for each of four workers to have some of each direction.
const FLOWS: usize = 24;
/// Datagrams of each flow that are on their way at once: all of them together fit into the server's receive buffer, which
/// counts 2304 octets and more for each (`net.core.rmem_default`, 212,992).
const BURST: u32 = 3;
const ROUNDS: u32 = 200;

/// Sends bursts of numbered datagrams in many flows at once to a server that sends each back, and sees that each flow comes back
/// whole and in its order.
#[track_caller]
fn flows_keep_their_order(from: &Host, to: &Host, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let server = to.run(|| udp::Server::start(SocketAddr::new(address, 0)).unwrap());
    let server = server_address(address, &server);
    from.run(|| {
        let sockets: Vec<UdpSocket> = (0..FLOWS)
            .map(|_| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.connect(server).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket
            })
            .collect();
        let mut buffer = [0; 2048];
        for round in 0..ROUNDS {
            let numbers = round * BURST..(round + 1) * BURST;
            for number in numbers.clone() {
                for socket in &sockets {
                    // Sizes change, as they would for grouping and joining.
                    let mut datagram = vec![0; 18 + (number as usize * 97) % 1300];
                    datagram[..4].copy_from_slice(&number.to_be_bytes());
                    socket.send(&datagram).unwrap();
                }
            }
            for (flow, socket) in sockets.iter().enumerate() {
                for number in numbers.clone() {
                    let octets = socket.recv(&mut buffer);
                    assert!(octets.is_ok(), "flow {flow}: number {number} is lost: {octets:?}");
                    let came = u32::from_be_bytes(buffer[..4].try_into().unwrap());
                    assert_eq!(came, number, "flow {flow} is out of order");
                }
            }
        }
    });
}

fn server_address(address: IpAddr, server: &udp::Server) -> SocketAddr {
    SocketAddr::new(address, server.address().unwrap().port())
}

/// How often each of the daemon's threads has slept, by its name.
fn sleeps(daemon: &Daemon, name: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
    let statuses = tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap());
    let own = statuses.into_iter().find(|status| status.starts_with(&format!("Name:\t{name}\n")));
    let own = own.unwrap_or_else(|| panic!("no thread {name}"));
    let line = own.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a number")
}

/// Every worker had to do with both directions.
#[track_caller]
fn all_have_worked(daemon: &Daemon, workers: usize) {
    for worker in 1..workers {
        for name in [format!("vxgate-{worker}"), format!("vxgate-{worker}-out")] {
            // An idle one wakes up once a second at most.
            assert!(eventually(PATIENCE, || sleeps(daemon, &name) > 40), "{name}: {}", sleeps(daemon, &name));
        }
    }
}

#[test]
fn flows_keep_their_order_with_a_kernel_peer() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        for workers in [2, 4] {
            // Polling would hide who sleeps.
            let line = format!("{UP} --workers {workers} --source-port hash --busy-poll 0");
            let daemon = ground.up(&line);
            assert!(ground.answers());
            flows_keep_their_order(&ground.you, &ground.gate, GATE_INNER);
            flows_keep_their_order(&ground.gate, &ground.you, INNER);
            all_have_worked(&daemon, workers);
            let shown = ground.show();
            assert_eq!(shown["workers"], workers);
            let text = ground.vxgate("show").stdout;
            assert!(text.contains(&format!("socket, {workers} workers\n")), "{text}");
            assert_eq!(shown["drops"], serde_json::json!({}), "{text}");
            daemon.stop();
        }
    });
}

#[test]
fn flows_keep_their_order_between_two_tunnels_whatever_else_passes() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let here = ground.up(&format!("{UP} --workers 3 --source-port hash --busy-poll 0"));
        let there = format!(
            "up --dev there --local {GATE} --address {GATE_INNER}/9 --peer 172.21.0.100 --workers 2 --source-port hash"
        );
        let there = Daemon::start(command(&ground.gate, VXGATE, &there));
        assert!(ground.answers());
        let show = |dev: &str| {
            let shown = ground.vxgate(&format!("show {dev} -j")).stdout;
            let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
            [&shown[0]["tx"]["frames"], &shown[0]["rx"]["frames"]].map(|count| count.as_u64().unwrap())
        };
        // What the first one sent before the second one was there.
        let before = || {
            let [sent, received] = [show("vxlan0")[0], show("there")[1]];
            // Nothing was on its way between the looks.
            let is_quiet = [show("vxlan0")[0], show("there")[1]] == [sent, received];
            is_quiet.then(|| sent.checked_sub(received)).flatten()
        };
        let before = wait_for(PATIENCE, before).unwrap();
        let (you, gate) = (&ground.you, &ground.gate);
        let transfer = |from: &Host, to: &Host, address: &str| {
            let address: IpAddr = address.parse().unwrap();
            tcp::transfer(from, to, address, 16 << 20, Duration::from_secs(60)).unwrap()
        };
        std::thread::scope(|scope| {
            let streams =
                [scope.spawn(|| transfer(you, gate, GATE_INNER)), scope.spawn(|| transfer(gate, you, INNER))];
            flows_keep_their_order(you, gate, GATE_INNER);
            flows_keep_their_order(gate, you, INNER);
            assert!(streams.into_iter().all(|stream| stream.join().unwrap().intact));
        });
        all_have_worked(&here, 3);
        // What one sent the other has received, whichever worker did either.
        let agree = || {
            let [[tx, rx], [other_tx, other_rx]] = [show("vxlan0"), show("there")];
            (tx == other_rx + before && rx == other_tx).then_some(tx)
        };
        let sent = wait_for(PATIENCE, agree);
        let both = [show("vxlan0"), show("there")];
        assert!(sent.is_some_and(|frames| frames > 2 * FLOWS as u64 * u64::from(BURST * ROUNDS)), "{both:?}");
        there.stop();
        here.stop();
    });
}

#[test]
fn what_any_worker_receives_from_is_learned_moved_and_kept() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(&format!("{UP} --workers 4 --ageing 2"));
        assert!(ground.answers());
        // Whichever worker each flow of the peer comes by: one station, one entry.
        flows_keep_their_order(&ground.gate, &ground.you, INNER);
        let learned = |state: &str| {
            let listed = ground.vxgate("fdb show").stdout;
            listed.lines().filter(|line| !line.starts_with("00:00:00") && line.ends_with(state)).count()
        };
        assert_eq!(learned("self "), 1, "{}", ground.vxgate("fdb show").stdout);
        // It lives as long as frames come and goes when none do.
        ground.gate.address("vxlan0", "10.192.158.5/9").unwrap();
        for _ in 0..4 {
            flows_keep_their_order(&ground.gate, &ground.you, INNER);
            assert_eq!(learned("self "), 1);
        }
        ground.gate.down("vxlan0").unwrap();
        assert!(eventually(PATIENCE, || learned("self ") == 0), "{}", ground.vxgate("fdb show").stdout);
        daemon.stop();
    });
}

#[test]
fn a_device_with_queues_is_as_much_ours_as_one_without() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::lay();
        let daemon = ground.up(&format!("{UP} --workers 2"));
        let message = format!("vxgate: tunnel vxlan0: tunnel vxlan0 is up already (pid {})", daemon.pid());
        let again = ground.vxgate(&format!("{UP} --workers 2"));
        assert_eq!(again.code, Some(1));
        assert!(again.stderr.contains(&daemon.pid().to_string()), "{message}: {}", again.stderr);
        // Another name, the same port.
        ground.refused(
            &format!("{UP} --dev other --address 10.9.9.9/24 --workers 2").replacen(
                "--address 10.225.194.171/9 ",
                "",
                1,
            ),
            1,
            "vxgate: tunnel other: UDP port 4789 of 172.21.0.100 is taken by vxgate",
            "--port",
        );
        daemon.stop();
        ground.up(&format!("{UP} --workers 2")).stop();
    });
}
