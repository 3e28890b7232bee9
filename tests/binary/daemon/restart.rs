//! What outlasts a restart: with `--tap keep` the device, its addresses and routes, and the connections that use them; without it, and
//! after any number of kills, nothing that is in the way of the next start.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use rustix::process::Signal;
use vxgate_netlink::Link;
use vxgate_testbed::{Ping, eventually, isolated, now, wait_for};

use crate::ground::{Daemon, GATE_INNER, Ground, PATIENCE, Traces, UP, missing};

const KEEP: &str = "up --address 10.225.194.171/9 --peer 100.64.158.4 --tap keep";

fn device(ground: &Ground) -> Option<Link> {
    ground
        .you
        .netlink(async |netlink| netlink.links().await)
        .unwrap()
        .into_iter()
        .find(|link| link.name == "vxlan0")
}

/// Addresses and routes of the device, but those that the kernel makes by itself.
fn has(ground: &Ground, link: u32) -> Vec<String> {
    let (addresses, routes) = ground
        .you
        .netlink(async |netlink| Ok((netlink.addresses().await?, netlink.routes().await?)))
        .unwrap();
    let addresses = addresses.iter().filter(|address| address.link == link).map(|address| address.ip);
    let routes = routes.iter().filter(|route| route.link == Some(link)).map(|route| route.prefix);
    let mut all: Vec<String> = addresses.chain(routes).map(|network| network.to_string()).collect();
    all.retain(|network| !network.starts_with("fe80:") && !network.starts_with("ff00:"));
    all.sort();
    all.dedup();
    all
}

#[test]
fn a_kept_device_outlasts_signals_and_kills_and_changes_only_where_the_configuration_does() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        let mut daemon = ground.up(&format!("{KEEP} --route 10.64.0.0/16 --route 172.31.0.0/16"));
        assert!(ground.answers(), "{}", daemon.log());
        let link = device(&ground).unwrap();
        let first = has(&ground, link.index);
        for signal in [Signal::TERM, Signal::KILL, Signal::INT] {
            daemon.signal(signal);
            daemon.wait();
            let left = device(&ground).expect("the device stays");
            assert_eq!((left.index, left.mac, left.mtu, left.up), (link.index, link.mac, link.mtu, true));
            assert_eq!(has(&ground, link.index), first, "{signal:?}");
            daemon = ground.up(&format!("{KEEP} --route 10.64.0.0/16 --route 172.31.0.0/16"));
            assert!(daemon.log().contains("vxlan0 was kept: taking it over"), "{}", daemon.log());
            assert_eq!(has(&ground, link.index), first, "{signal:?}");
            assert!(ground.answers(), "{signal:?}: {}", daemon.log());
        }
        daemon.stop();

        // One route goes, one address comes, and what somebody else added stays.
        ground.you.address("vxlan0", "192.0.2.1/32").unwrap();
        let daemon = ground.up(&format!("{KEEP} --address fd00:10::100/64 --route 172.31.0.0/16 --mtu 1400"));
        let now_has = has(&ground, link.index);
        assert_eq!(device(&ground).map(|link| (link.index, link.mtu)), Some((link.index, 1400)));
        assert!(!now_has.contains(&"10.64.0.0/16".to_owned()), "{now_has:?}");
        for network in ["10.225.194.171/9", "172.31.0.0/16", "fd00:10::100/64", "192.0.2.1/32"] {
            assert!(now_has.contains(&network.to_owned()), "{network}: {now_has:?}");
        }
        assert!(ground.answers());
        daemon.stop();

        // Another number of queues is another device.
        let daemon = ground.up(&format!("{KEEP} --workers 2"));
        assert!(daemon.log().contains("is made anew"), "{}", daemon.log());
        assert_ne!(device(&ground).unwrap().index, link.index);
        daemon.stop();
        let daemon = ground.up(&format!("{KEEP} --workers 2"));
        assert!(daemon.log().contains("taking it over"), "{}", daemon.log());
        assert!(ground.answers());

        // Taken down, it is gone; and so it is when nobody runs on it.
        assert_eq!(ground.vxgate("down vxlan0").code, Some(0));
        before.again(&ground.you, "down");
        drop(daemon);
        ground.up(KEEP).stop();
        assert!(device(&ground).is_some());
        assert_eq!(ground.vxgate("down vxlan0").code, Some(0));
        before.again(&ground.you, "down without a tunnel");

        // One that is not to be kept any longer is gone with its tunnel.
        ground.up(KEEP).stop();
        ground.up(UP).stop();
        assert!(device(&ground).is_none());
    });
}

#[test]
fn a_device_that_a_stranger_made_is_not_taken_for_a_kept_one() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        ground.up(KEEP).stop();
        // Of the same name, and another.
        let link = device(&ground).unwrap();
        ground.you.netlink(async |netlink| netlink.link_delete(&link).await).unwrap();
        let tap = ground
            .you
            .run(|| vxgate_sys::tap::Tap::open(&vxgate_sys::tap::TapOptions::new("vxlan0")).unwrap());
        tap.set_persistent(true).unwrap();
        drop(tap);
        ground.refused(KEEP, 1, "vxgate: tunnel vxlan0: a device named vxlan0 exists already (tun)", "--dev");
    });
}

/// The longest time without an answer, of pings sent every millisecond while this is done.
pub(crate) fn longest_silence(ground: &Ground, action: impl FnOnce()) -> Duration {
    assert!(ground.answers());
    let (started, is_started) = mpsc::channel();
    let ping = Ping {
        count: 3000,
        interval: Duration::from_millis(1),
        timeout: Duration::from_millis(500),
        ..Ping::new(GATE_INNER.parse().unwrap())
    };
    let host = ground.you.try_clone().unwrap();
    let pinging = thread::spawn(move || {
        started.send(()).unwrap();
        host.run(|| ping.run()).unwrap()
    });
    is_started.recv().unwrap();
    // Some answers first.
    let begin = now();
    wait_for(PATIENCE, || (now() - begin > Duration::from_millis(500)).then_some(()));
    action();
    let report = pinging.join().unwrap();
    let pause = |pair: &[Duration]| pair[1].saturating_sub(pair[0]);
    assert!(report.received > 1000, "{} of {}", report.received, report.sent);
    report.arrivals.windows(2).map(pause).max().unwrap()
}

/// The same of a tunnel that is ended and started anew.
fn gap(ground: &Ground, line: &str) -> Duration {
    let daemon = ground.up(line);
    let mut next = None;
    let silence = longest_silence(ground, || {
        daemon.stop();
        next = Some(ground.up(line));
    });
    next.expect("started").stop();
    silence
}

#[test]
fn a_restart_is_a_short_silence_and_a_connection_outlasts_it() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let cycles = cycles("RESTARTS", 1);
        for (case, line) in [("made anew", UP), ("kept", KEEP)] {
            let mut gaps: Vec<Duration> = (0..cycles).map(|_| gap(&ground, line)).collect();
            gaps.sort();
            println!(
                "restart, {case}: longest silence of {cycles}: {:?}, median {:?}",
                gaps[cycles - 1],
                gaps[cycles / 2]
            );
            // On a machine that does nothing else it is a tenth of that.
            assert!(gaps[cycles - 1] < Duration::from_secs(1), "{case}: {gaps:?}");
        }

        let listener = ground.gate.run(|| TcpListener::bind((GATE_INNER, 0)).unwrap());
        let server = listener.local_addr().unwrap();
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap()
        });
        let daemon = ground.up(KEEP);
        let mut stream = ground.you.run(|| TcpStream::connect_timeout(&server, PATIENCE).unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut octets = [0; 6];
        stream.write_all(b"before").unwrap();
        stream.read_exact(&mut octets).unwrap();
        daemon.stop();
        stream.write_all(b"during").unwrap();
        let daemon = ground.up(KEEP);
        stream.read_exact(&mut octets).unwrap();
        assert_eq!(&octets, b"during");
        drop(stream);
        assert_eq!(echo.join().unwrap(), 12);
        daemon.stop();
    });
}

/// How often: as the environment says, or this often.
fn cycles(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |count| count.parse().expect(variable))
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_that_is_in_the_way_of_the_next_start() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let before = Traces::of(&ground.you);
        let cycles = cycles("KILLS", 20);
        // Deterministic, and with no step in common with how long a start takes.
        let mut moment = 0x9e37_79b9_u32;
        let mut came_up = 0;
        for cycle in 0..cycles {
            let options = "--address fd00:10::100/64 --route 10.64.0.0/16";
            // Kept and not, in turn; half of the moments within the first 66 ms or 33 ms.
            let line = format!("{} {options}", if cycle % 4 < 2 { KEEP } else { UP });
            let mut daemon = Daemon::spawn(ground.command(&line));
            moment = moment.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let after = Duration::from_micros(u64::from(moment >> 15) >> (cycle % 3));
            let begin = now();
            wait_for(after, || (now() - begin >= after || daemon.has_ended()).then_some(()));
            let log = daemon.log();
            assert!(!daemon.has_ended(), "cycle {cycle}: {log}");
            came_up += usize::from(log.contains(" is up: "));
            daemon.signal(Signal::KILL);
            daemon.wait();
        }
        println!("killed {cycles} times, {came_up} of them when up");
        let daemon = ground.up(UP);
        assert!(ground.answers(), "{}", daemon.log());
        daemon.stop();
        let files: Vec<_> =
            fs::read_dir("/run/vxgate").unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(
            files.iter().all(|name| ["vxlan0.kept", "vxlan0.lock"].iter().any(|kept| name == kept)),
            "{files:?}"
        );
        let _ = fs::remove_file("/run/vxgate/vxlan0.kept");
        let _ = fs::remove_file("/run/vxgate/vxlan0.lock");
        let after = || Traces::of(&ground.you);
        assert!(eventually(PATIENCE, || after() == before), "{:?} {before:?}", after());
    });
}

/// A pipe that takes nothing more, whose writer would wait.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[test]
fn a_log_that_nobody_reads_stops_neither_frames_nor_the_control_socket_nor_the_end() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let (mut reader, writer) = full_pipe();
        let mut child = ground.command(UP).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
        assert!(eventually(PATIENCE, || ground.vxgate("show -j").code == Some(0)));
        assert!(ground.answers());
        // With room again, the next line tells what was lost before it.
        let mut full = vec![0; 32 * 1024];
        reader.read_exact(&mut full).unwrap();
        assert_eq!(ground.vxgate("down").code, Some(0));
        assert!(eventually(PATIENCE, || child.try_wait().unwrap().is_some()));
        let log = io::read_to_string(reader).unwrap();
        let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
        assert!(lines[0].contains(" WARN ") && lines[0].contains("of this log are lost"), "{lines:?}");
        assert!(lines[1].contains("ending"), "{lines:?}");

        // And nobody reads to the very end.
        let (_reader, writer) = full_pipe();
        let mut child = ground.command(UP).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
        assert!(eventually(PATIENCE, || ground.vxgate("down").code == Some(0)));
        assert!(eventually(PATIENCE, || child.try_wait().unwrap().is_some()));
    });
}

#[test]
fn each_line_of_the_json_log_is_an_object() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let mut daemon = ground.up(&format!("{UP} --log-format json"));
        daemon.signal(Signal::TERM);
        let (_, log) = daemon.wait();
        let lines: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert!(
            lines.iter().any(|line| line["message"] == "ending" && line["fields"]["reason"] == "SIGTERM"),
            "{log}"
        );
        assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()), "{log}");
    });
}
