//! `vxgate capture` before a tunnel that carries traffic: what is in a capture, and what it costs the tunnel: nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vxgate_testbed::{Ping, eventually, isolated};

use crate::ground::{Ended, GATE_INNER, Ground, PATIENCE, UP, missing};

/// A file that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("vxgate-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Of which interface, its octets, and the comment.
type Packet = (u32, Vec<u8>, Option<String>);

/// The packets of a file: interface, octets, comment.
fn packets(path: &Path) -> Vec<Packet> {
    let octets = fs::read(path).expect("a capture");
    let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().expect("four octets"));
    let (mut at, mut found) = (0, Vec::new());
    // The last block may not be whole yet.
    while at + 8 <= octets.len() && at + word(at + 4) as usize <= octets.len() {
        let (kind, length) = (word(at), word(at + 4) as usize);
        assert_eq!(word(at + length - 4) as usize, length, "a whole block");
        if kind == 6 {
            let captured = word(at + 20) as usize;
            let packet = octets[at + 28..at + 28 + captured].to_vec();
            let (mut option, mut comment) = (at + 28 + captured.next_multiple_of(4), None);
            while word(option) & 0xffff != 0 {
                let (code, octets_of) = (word(option) & 0xffff, (word(option) >> 16) as usize);
                if code == 1 {
                    comment = Some(
                        String::from_utf8_lossy(&octets[option + 4..option + 4 + octets_of]).into_owned(),
                    );
                }
                option += 4 + octets_of.next_multiple_of(4);
            }
            found.push((word(at + 8), packet, comment));
        }
        at += length;
    }
    found
}

/// Pings while a capture runs, and ends it; what it said.
fn captured(
    ground: &Ground,
    options: &str,
    file: &Path,
    count: u16,
    is_all: impl Fn(&[Packet]) -> bool,
) -> Ended {
    let mut command = ground.command(&format!("capture {options} -w {}", file.display()));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    assert!(
        eventually(PATIENCE, || fs::metadata(file).is_ok_and(|file| file.len() > 0)),
        "it writes its head"
    );
    let ping = Ping { count, ..Ping::new(GATE_INNER.parse().expect("an address")) };
    assert!(ground.you.run(|| ping.run()).expect("pings").all_answered());
    // The last ones may still be on their way to the file.
    assert!(eventually(PATIENCE, || is_all(&packets(file))), "{}", packets(file).len());
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is there");
    let output = child.wait_with_output().expect("an end");
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn inner_frames_outer_datagrams_and_drops_are_in_a_file_with_their_reasons() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let inner = Scratch::new("inner.pcapng");
        let echoes = |packets: &[Packet], kind: u8| {
            packets
                .iter()
                .filter(|(_, frame, _)| frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == kind)
                .count()
        };
        let ended = captured(&ground, "--inner", &inner.0, 5, |seen| echoes(seen, 8) + echoes(seen, 0) == 10);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("captured, none lost"), "{}", ended.stderr);
        let seen = packets(&inner.0);
        assert_eq!((echoes(&seen, 8), echoes(&seen, 0)), (5, 5), "each request and each answer");

        let outer = Scratch::new("outer.pcapng");
        let ended = captured(&ground, "--outer --peer 100.64.158.4", &outer.0, 5, |seen| seen.len() >= 10);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let seen = packets(&outer.0);
        assert!(seen.len() >= 10, "{}", seen.len());
        for (_, packet, _) in &seen {
            // IPv4, UDP to 4789, a VXLAN header of VNI 10.
            assert_eq!((packet[0], packet[9], &packet[22..24]), (0x45, 17, &4789_u16.to_be_bytes()[..]));
            assert_eq!(packet[28..36], [8, 0, 0, 0, 0, 0, 10, 0]);
        }
        if Command::new("tshark").arg("--version").output().is_ok() {
            let mut tshark = Command::new("tshark");
            let fields = ["-T", "fields", "-e", "vxlan.vni", "-e", "icmp.type"];
            let output = tshark.arg("-r").arg(&outer.0).args(fields).output().expect("tshark runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.lines().filter(|line| line.starts_with("10\t8")).count() >= 5, "{text}");
        } else {
            println!("not compared: there is no tshark");
        }

        let dropped = Scratch::new("drops.pcapng");
        let mut command = ground.command(&format!("capture --drops -c 3 -w {}", dropped.0.display()));
        let child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        assert!(eventually(PATIENCE, || fs::metadata(&dropped.0).is_ok_and(|file| file.len() > 0)));
        ground.gate.run(|| {
            let stranger = UdpSocket::bind("172.21.0.1:0").expect("a port");
            let peer = UdpSocket::bind("100.64.158.4:0").expect("a port");
            stranger.send_to(b"hello", "172.21.0.100:4789").expect("room");
            let mut other = [0; 8 + 60];
            (other[0], other[6]) = (8, 11);
            peer.send_to(&other, "172.21.0.100:4789").expect("room");
            peer.send_to(&[8, 0, 0, 0, 0, 0, 10, 0, 1, 2], "172.21.0.100:4789").expect("room");
        });
        let output = child.wait_with_output().expect("an end");
        assert_eq!(output.status.code(), Some(0));
        let comments: Vec<String> =
            packets(&dropped.0).into_iter().filter_map(|(.., comment)| comment).collect();
        for (comment, reason) in comments.iter().zip(["stranger", "wrong-vni", "runt"]) {
            assert!(comment.starts_with(&format!("dropped: {reason}: ")), "{comments:?}");
        }
        assert_eq!(comments.len(), 3);
        daemon.stop();
    });
}

#[test]
fn a_reader_that_stops_reading_loses_packets_and_the_tunnel_none() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let mut child = ground
            .command("capture --inner --outer -w -")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut head = [0; 64];
        stdout.read_exact(&mut head).expect("its head");
        // Nobody reads on. Far more than pipe, socket and ring hold.
        ground.you.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            for _ in 0..60_000 {
                let _ = socket.send_to(&[0; 1400], (GATE_INNER, 9));
            }
        });
        assert!(ground.show()["tx"]["octets"].as_u64() > Some(12 << 20), "{}", ground.show()["tx"]);
        let ping = Ping { count: 100, ..Ping::new(GATE_INNER.parse().expect("an address")) };
        let report = ground.you.run(|| ping.run()).expect("pings");
        assert!(report.all_answered(), "{report:?}");
        // Now it reads to the end, and hears how much it has missed.
        kill_process(Pid::from_child(&child), Signal::INT).expect("it is there");
        let reader = std::thread::spawn(move || {
            let mut rest = Vec::new();
            stdout.read_to_end(&mut rest).map(|_| rest.len())
        });
        let output = child.wait_with_output().expect("an end");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.contains("lost, since they came faster than they were read"), "{told}");
        println!("{} octets read; {}", reader.join().expect("it ends").expect("all"), told.trim());
        assert!(ground.answers());
        daemon.stop();
    });
}

#[test]
fn captures_are_bounded_and_end_with_their_client_and_with_the_tunnel() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let start = || {
            let mut command = ground.command("capture -w -");
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            let mut head = [0; 64];
            child.stdout.as_mut().expect("a pipe").read_exact(&mut head).expect("its head");
            child
        };
        let mut clients: Vec<_> = (0..4).map(|_| start()).collect();
        ground.refused(
            "capture -w -",
            1,
            "vxgate: capture: four captures of this tunnel run already",
            "end one",
        );
        // One that is killed makes room.
        clients[0].kill().expect("it is there");
        clients[0].wait().expect("an end");
        let mut again = None;
        assert!(
            eventually(PATIENCE, || {
                let mut command = ground.command("capture --duration 0.1 -w -");
                again = command.stdout(Stdio::piped()).output().ok().and_then(|output| output.status.code());
                again == Some(0)
            }),
            "{again:?}"
        );
        daemon.stop();
        for client in clients.into_iter().skip(1) {
            let output = client.wait_with_output().expect("an end");
            assert_eq!(output.status.code(), Some(0));
            assert!(String::from_utf8_lossy(&output.stderr).contains("the tunnel has ended"));
        }
    });
}

#[test]
fn a_full_disk_is_told_with_what_is_written_and_the_tunnel_is_unharmed() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        // A disk of 64 KiB, in this test's own mount namespace.
        let disk = std::env::temp_dir().join(format!("vxgate-disk-{}", std::process::id()));
        fs::create_dir(&disk).expect("a directory");
        let options = std::ffi::CString::new("size=65536").expect("no zero");
        rustix::mount::mount("tmpfs", &disk, "tmpfs", rustix::mount::MountFlags::empty(), options.as_c_str())
            .expect("a mount");
        let file = disk.join("full.pcapng");
        let mut command = ground.command(&format!("capture -w {}", file.display()));
        let child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        assert!(eventually(PATIENCE, || fs::metadata(&file).is_ok_and(|file| file.len() > 0)));
        let ping = Ping {
            count: 100,
            size: 1200,
            interval: Duration::from_millis(2),
            ..Ping::new(GATE_INNER.parse().expect("an address"))
        };
        assert!(ground.you.run(|| ping.run()).expect("pings").all_answered());
        let output = child.wait_with_output().expect("an end");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("No space left on device") && told.contains("captured"), "{told}");
        assert!(ground.answers());
        // What is not there can be told from what is: it does not end in half a file's head.
        assert!(fs::metadata(&file).expect("a file").len() > 30_000);
        rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
        fs::remove_dir(&disk).expect("it is empty");
        daemon.stop();
    });
}

#[test]
fn a_file_that_exists_is_not_written_over_and_words_that_are_wrong_are_named() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        let file = Scratch::new("there.pcapng");
        fs::write(&file.0, "mine").expect("a file");
        let line = format!("capture -w {}", file.0.display());
        let ended = ground.vxgate(&line);
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.stderr.contains("File exists") && ended.stderr.contains("hint: --force"),
            "{}",
            ended.stderr
        );
        assert_eq!(fs::read_to_string(&file.0).expect("a file"), "mine");
        let cases: BTreeMap<_, _> = [
            ("capture --snaplen 3 -w -", "--snaplen"),
            ("capture -c 0 -w -", "-c"),
            ("capture --peer x -w -", "--peer"),
        ]
        .into();
        for (line, word) in cases {
            let ended = ground.vxgate(line);
            assert_eq!(ended.code, Some(2), "{line}: {}", ended.stderr);
            assert!(
                ended.stderr.contains(word) || ended.stderr.contains("--count"),
                "{line}: {}",
                ended.stderr
            );
        }
        ground.refused("capture vx9 -w -", 1, "vxgate: capture: no tunnel is running for vx9", "");
        daemon.stop();
    });
}
