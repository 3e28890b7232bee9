//! `show` and `top` before a tunnel that carries traffic.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use vxgate_testbed::{eventually, isolated};

use crate::ground::{Ground, PATIENCE, UP, VXGATE, missing};

#[test]
fn show_tells_when_a_peer_was_heard_to_a_tenth_of_a_second_and_how_fast_it_goes() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let text = ground.vxgate("show").stdout;
        let heard = text.lines().find(|line| line.contains("last heard:")).expect("a line").to_owned();
        assert!(heard.ends_with(" s ago") && heard.contains('.'), "{heard}");
        assert!(text.contains("the average since the last look"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours in a pipe");
        let seen = ground.show();
        assert!(seen["peers"][0]["last_heard_ms"].as_u64().is_some_and(|millis| millis < 60_000), "{seen}");
        assert!(seen["rates"]["over_ms"].as_u64().is_some(), "{seen}");
        // Sixteen echoes a look: the rate of both directions shows in one of the next looks.
        let moving = eventually(PATIENCE, || {
            assert!(ground.answers());
            let seen = ground.show();
            let rate = |key: &str| seen["rates"][key].as_u64().unwrap_or_default();
            rate("rx_frames_per_s") > 0 && rate("tx_bits_per_s") > 0
        });
        assert!(moving, "{}", ground.show());
        daemon.stop();
    });
}

#[test]
fn watch_shows_again_and_ends_well_when_it_is_told_to() {
    isolated!(|| {
        if missing() {
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        let mut command = ground.command("show --watch=0.1");
        let mut watch = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut stdout = watch.stdout.take().expect("a pipe");
        let mut seen = String::new();
        let mut buffer = [0; 4096];
        while seen.matches("tunnel: vxlan0").count() < 3 {
            let octets = stdout.read(&mut buffer).expect("a listing");
            assert!(octets > 0, "it ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..octets]));
        }
        let pid = rustix::process::Pid::from_child(&watch);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is there");
        assert_eq!(watch.wait().expect("an end").code(), Some(0));
        daemon.stop();
    });
}

#[test]
fn top_lives_in_a_terminal_and_gives_it_back() {
    isolated!(|| {
        if missing() {
            return;
        }
        if Command::new("script").arg("--version").output().is_err() {
            println!("SKIPPED: needs script(1) of util-linux, for a terminal");
            assert!(
                std::env::var_os("REQUIRE_NETNS").is_none(),
                "REQUIRE_NETNS=1, and there is no script(1)"
            );
            return;
        }
        let ground = Ground::with_gate();
        let daemon = ground.up(UP);
        assert!(ground.answers());
        let mut script = crate::ground::command(&ground.you, "script", "--quiet --flush --return --command");
        script.arg(format!("stty rows 24 cols 100; {VXGATE} top")).arg("/dev/null").env("TERM", "xterm");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a terminal");
        let shown = Arc::new(Mutex::new(String::new()));
        let reader = {
            let (mut stdout, shown) = (script.stdout.take().expect("a pipe"), Arc::clone(&shown));
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(octets @ 1..) = stdout.read(&mut buffer) {
                    shown.lock().expect("text").push_str(&String::from_utf8_lossy(&buffer[..octets]));
                }
            })
        };
        let has = |text: &str| shown.lock().expect("text").contains(text);
        assert!(eventually(PATIENCE, || has("100.64.158.4")), "{:?}", shown.lock());
        assert!(has("\u{1b}[?1049h"), "a screen of its own");
        let mut stdin = script.stdin.take().expect("a pipe");
        stdin.write_all(b"?").expect("a key");
        assert!(eventually(PATIENCE, || has("pause")), "{:?}", shown.lock());
        stdin.write_all(b"q").expect("a key");
        assert_eq!(script.wait().expect("an end").code(), Some(0));
        reader.join().expect("all was read");
        assert!(has("\u{1b}[?1049l"), "the screen is given back");
        // To a pipe it says what to use in its place.
        ground.refused("top", 1, "vxgate: top: standard input and output are no terminal", "show --watch");
        daemon.stop();
    });
}
