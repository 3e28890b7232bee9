//! The lab's steps: each is done, looked at and printed with what came of it and how long it took.

use std::env;
use std::io::{self, Write};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::Context;
use vxgate_codec::MacAddr;
use vxgate_fake_gate::{FakeGate, VPG_ID};
use vxgate_testbed::{Host, Ping, eventually, now, wait_for};

use super::PATIENCE;
use super::failover::{self, AWAY, Run};
use super::ground::{self, DEVICE, GATES, Ground, Outage, YOU, YOU_INNER};
use crate::control::client::Client;
use crate::control::runtime_dir::RuntimeDir;
use crate::print::fdb::FdbPrinter;
use crate::print::{self, Format, Style};
use crate::tunnel::Tunnel;

pub(super) const DEV: &str = "vxlan0";

/// How long one of the pings that wait for the tunnel is waited for: they follow each other, so that none of them need be long.
const FIRST_PING: Duration = Duration::from_millis(20);

/// Prints the steps and counts those that did not hold.
pub(super) struct Steps<'a> {
    out: &'a mut dyn Write,
    failed: usize,
    style: Style,
}

impl<'a> Steps<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Steps<'a> {
        Steps { out, failed: 0, style: Style::of_stdout() }
    }

    pub(super) const fn failed(&self) -> usize {
        self.failed
    }

    /// The picture of what is built.
    pub(super) fn map(&mut self) -> io::Result<()> {
        let [(outer_a, inner_a), (outer_b, inner_b)] = GATES;
        write!(
            self.out,
            "vxgate lab: a SORACOM Gate on this machine, in namespaces of its own

  ┌─ you ──────────────────┐                ┌─ gate-a ───────────────┐
  │ {DEV} {YOU_INNER:<16}│   ┌─ vpc ─┐    │ {outer_a:<15}        │
  │   │ vxgate             │   │       ├────┤ {inner_a:<15}        ├──┐  ┌─ device ───┐
  │ eth0 {YOU:<12}      ├───┤       │    └────────────────────────┘  ├──┤ {DEVICE:<10} │
  └────────────────────────┘   │       │    ┌─ gate-b ───────────────┐  │  │ a web page │
                               │       ├────┤ {outer_b:<15}        ├──┘  └────────────┘
      VXLAN, VNI 10, UDP 4789  └───────┘    │ {inner_b:<15}        │
                                            └────────────────────────┘
"
        )?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    /// Does a step that all others need: its failure ends the lab.
    pub(super) fn step<T>(
        &mut self,
        name: &str,
        body: impl FnOnce() -> anyhow::Result<(T, String)>,
    ) -> anyhow::Result<T> {
        let start = now();
        match body() {
            Ok((value, told)) => {
                self.line(name, true, &told, start.elapsed())?;
                Ok(value)
            }
            Err(error) => {
                self.line(name, false, &format!("{error:#}"), start.elapsed())?;
                Err(error.context(format!("{name} failed")))
            }
        }
    }

    /// Does a step whose failure is counted while the lab goes on.
    fn look(&mut self, name: &str, body: impl FnOnce() -> anyhow::Result<(bool, String)>) -> io::Result<()> {
        let start = now();
        let (held, told) = body().unwrap_or_else(|error| (false, format!("{error:#}")));
        self.failed += usize::from(!held);
        self.line(name, held, &told, start.elapsed())
    }

    fn line(&mut self, name: &str, held: bool, told: &str, took: Duration) -> io::Result<()> {
        let mark = if held { "ok    " } else { "FAILED" };
        let mark = if held { self.style.good(mark) } else { self.style.bad(mark) };
        writeln!(self.out, "  {mark} {name:<16} {told} ({} ms)", took.as_millis())?;
        self.out.flush()
    }

    /// Starts the tunnel as a user does and waits until it answers.
    pub(super) fn tunnel(&mut self, ground: &Ground) -> anyhow::Result<Tunnel> {
        writeln!(self.out, "\n  you$ vxgate {}", up_args().join(" "))?;
        self.step("tunnel up", || {
            let start = now();
            let mut tunnel = self::start(ground)?;
            let dev = DEV.parse().expect("a device's name");
            let status =
                Client::connect(&RuntimeDir::from_environment(), &dev).and_then(|mut client| client.show());
            let status = status.inspect_err(|_| drop(tunnel.end()))?;
            let took = start.elapsed().as_millis();
            let told = format!(
                "{DEV} {YOU_INNER}, MTU {}, lane {}, {took} ms from start to answer",
                status.mtu, status.lane
            );
            Ok((tunnel, told))
        })
    }

    /// Starts the API.
    pub(super) fn api(&mut self, ground: &Ground) -> anyhow::Result<FakeGate> {
        self.step("Gate API", || {
            let fake = ground.serve_api().context("the API does not start")?;
            let told = format!("{}; one VPG, its Gate closed, this host not registered", fake.endpoint());
            Ok((fake, told))
        })
    }

    /// Starts the tunnel as a user does who has a key of the API and nothing else, and waits until the device answers.
    pub(super) fn tunnel_from_api(&mut self, ground: &Ground, api: &FakeGate) -> anyhow::Result<Tunnel> {
        let args = ["up", "--dev", DEV, "--vpg-id", VPG_ID, "--open-gate"];
        writeln!(self.out, "\n  you$ export SORACOM_AUTH_KEY_ID=... SORACOM_AUTH_KEY=...")?;
        writeln!(self.out, "  you$ vxgate {}", args.join(" "))?;
        let tunnel = self.step("tunnel up", || {
            let mut command = ground.you.command("/proc/self/exe");
            // The user's own API, credentials and proxies have no place here.
            for (variable, _) in env::vars_os() {
                let name = variable.to_string_lossy().to_ascii_lowercase();
                if name.starts_with("soracom_") || name.ends_with("_proxy") {
                    command.env_remove(variable);
                }
            }
            let account = api.account();
            command
                .args(args)
                .env("SORACOM_ENDPOINT", api.endpoint())
                .env("SORACOM_AUTH_KEY_ID", account.auth_key_id)
                .env("SORACOM_AUTH_KEY", account.auth_key)
                .env("VXGATE_ALLOW_PLAIN_HTTP", "1")
                .env("VXGATE_STATE_DIR", "/run/vxgate-state");
            let ping = Ping { count: 1, timeout: FIRST_PING, ..Ping::new(DEVICE.parse()?) };
            let start = now();
            let mut tunnel = Tunnel::start(&mut command).context("vxgate cannot be started")?;
            let answered = eventually(PATIENCE, || {
                tunnel.has_ended() || ground.you.run(|| ping.run()).is_ok_and(|report| report.all_answered())
            });
            let took = start.elapsed().as_millis();
            if !answered || tunnel.has_ended() {
                let log = tunnel.log();
                let _ = tunnel.end();
                anyhow::bail!("{DEVICE} does not answer; vxgate said:\n{log}");
            }
            Ok((tunnel, format!("{took} ms from start to the first answer of {DEVICE}")))
        })?;
        self.look("set up by", || {
            let calls: Vec<String> = api
                .requests()
                .iter()
                .map(|request| {
                    let path = request.path.trim_start_matches("/v1");
                    format!(
                        "{} {}",
                        request.method,
                        path.replace(&format!("/virtual_private_gateways/{VPG_ID}"), "VPG")
                    )
                })
                .collect();
            let (registered, opened) = api.with(|gate| {
                let vpg = gate.vpg_mut();
                let own = vpg.peers.iter().find(|peer| peer.owned_by_customer);
                (own.map(|own| own.inner.to_string()), vpg.gate_opened)
            });
            let held = opened && registered.is_some();
            let registered = registered.unwrap_or_else(|| "nothing".to_owned());
            Ok((held, format!("{}; registered with {registered}", calls.join(", "))))
        })?;
        Ok(tunnel)
    }

    /// Sends something, so that the host asks who has the device's address, and looks at what it was told.
    pub(super) fn arp(&mut self, ground: &Ground) -> io::Result<()> {
        self.look("ARP", || {
            ground.you.run(|| UdpSocket::bind("0.0.0.0:0")?.send_to(b"who are you?", (DEVICE, 9)))?;
            let device: IpAddr = DEVICE.parse()?;
            let mac = wait_for(PATIENCE, || {
                let known = ground.you.netlink(async |netlink| netlink.neighbours().await).ok()?;
                known.into_iter().find(|entry| entry.ip == device)?.mac
            });
            let Some(mac) = mac else { return Ok((false, format!("nobody answered for {DEVICE}"))) };
            let mac = MacAddr::new(mac);
            let behind = entries()?.into_iter().find(|entry| entry.mac == mac).map(|entry| entry.dst);
            Ok(match behind {
                Some(peer) => (true, format!("{DEVICE} is at {mac}, learned behind Gate peer {peer}")),
                None => (false, format!("{DEVICE} is at {mac}, and behind no peer")),
            })
        })
    }

    /// Pings the device.
    pub(super) fn ping(&mut self, ground: &Ground) -> io::Result<()> {
        self.ping_one(&ground.you, DEVICE, &format!("ping {DEVICE}"))
    }

    /// Pings the Gate peers' inner addresses.
    pub(super) fn peers(&mut self, ground: &Ground) -> io::Result<()> {
        for (_, inner) in GATES {
            self.ping_one(&ground.you, inner, &format!("ping {inner}"))?;
        }
        Ok(())
    }

    fn ping_one(&mut self, from: &Host, destination: &str, name: &str) -> io::Result<()> {
        self.look(name, || {
            let ping = Ping {
                count: 5,
                interval: Duration::from_millis(20),
                timeout: PATIENCE,
                ..Ping::new(destination.parse()?)
            };
            let report = from.run(|| ping.run())?;
            let lost = 100 * (report.sent - report.received.min(report.sent)) / report.sent.max(1);
            let times = report.min_mean_max().map_or_else(String::new, |(min, mean, max)| {
                let ms = |time: Duration| time.as_secs_f64() * 1000.0;
                format!(", min/avg/max {:.2}/{:.2}/{:.2} ms", ms(min), ms(mean), ms(max))
            });
            let told = format!("{} of {} answered, {lost} % lost{times}", report.received, report.sent);
            Ok((report.all_answered(), told))
        })
    }

    /// Fetches the device's page through the tunnel.
    pub(super) fn page(&mut self, ground: &Ground) -> io::Result<()> {
        self.look("page", || {
            let (status, page) = ground::fetch(&ground.you)?;
            let title = page.split_once("<h1>").and_then(|(_, rest)| rest.split_once("</h1>"));
            let title = title.map_or("no heading", |(title, _)| title);
            let held = status == 200 && page.contains(DEVICE);
            Ok((held, format!("http://{DEVICE}/ {status}, {} octets: \"{title}\"", page.len())))
        })
    }

    /// Takes a Gate peer away and gives it back, under pings that go through it.
    pub(super) fn outage(&mut self, ground: &mut Ground) -> io::Result<()> {
        self.look("peer away", || {
            failover::settle(ground)?;
            let Run { gate, gap, is_open, gap_at_return, duplicates } =
                failover::outage_under_pings(ground, AWAY, Outage::Silent)?;
            let (outer, _) = GATES[gate];
            let back = if is_open { "never" } else { "back" };
            let told = format!(
                "Gate peer {outer} fell silent: pings {back} after {} ms; its return cost {} ms, {duplicates} answers came twice",
                gap.as_millis(),
                gap_at_return.as_millis()
            );
            Ok((!is_open && duplicates == 0, told))
        })
    }

    /// The tables, as `vxgate show` and `vxgate fdb show` print them.
    pub(super) fn tables(&mut self, _ground: &Ground) -> anyhow::Result<()> {
        let dev = DEV.parse().expect("a device's name");
        let status = Client::connect(&RuntimeDir::from_environment(), &dev)?.show()?;
        let heard = status.peers.iter().filter(|peer| peer.last_heard_s.is_some()).count();
        writeln!(self.out, "\n  you$ vxgate show")?;
        let mut text = Vec::new();
        print::show::write(&mut text, Format::Text(self.style), &[status])?;
        self.indented(&text)?;
        writeln!(self.out, "\n  you$ vxgate fdb show")?;
        let mut text = Vec::new();
        let mut printer = FdbPrinter::new(Format::Text(self.style), true, false);
        for entry in entries()? {
            printer.entry(&mut text, &dev, &entry)?;
        }
        printer.end(&mut text)?;
        self.indented(&text)?;
        writeln!(self.out)?;
        self.look("tables", || {
            Ok((heard == GATES.len(), format!("{heard} of {} peers heard", GATES.len())))
        })?;
        Ok(())
    }

    fn indented(&mut self, text: &[u8]) -> io::Result<()> {
        for line in String::from_utf8_lossy(text).lines() {
            writeln!(self.out, "  {line}")?;
        }
        Ok(())
    }

    /// How another terminal gets into each host.
    pub(super) fn how_to_enter(&mut self, ground: &Ground) -> io::Result<()> {
        let pid = std::process::id();
        let user = if vxgate_sys::namespace::privileged()
            && std::env::var_os("SUDO_UID").is_none()
            && is_root_outside()
        {
            String::new()
        } else {
            format!(" --user=/proc/{pid}/ns/user --preserve-credentials")
        };
        writeln!(self.out, "\n  The lab stays up until Ctrl-C. From another terminal:")?;
        for host in ground.hosts() {
            writeln!(
                self.out,
                "    {:<7} nsenter{user} --mount=/proc/{pid}/ns/mnt --net={}",
                host.name(),
                host.path().display()
            )?;
        }
        let vxgate =
            std::env::current_exe().map_or_else(|_| "vxgate".to_owned(), |path| path.display().to_string());
        writeln!(self.out, "  and there, as `you`:  ping {DEVICE}    {vxgate}    {vxgate} fdb show")?;
        self.out.flush()
    }

    /// What came of it, and where to go from here.
    pub(super) fn end(&mut self, failed: usize, kept: bool) -> io::Result<()> {
        if failed == 0 {
            writeln!(self.out, "\n  Every step held. Nothing is left behind.")?;
        } else {
            writeln!(self.out, "\n  {failed} of the steps did not hold. Nothing is left behind.")?;
        }
        writeln!(self.out, "\n  Try next:")?;
        if !kept {
            writeln!(
                self.out,
                "    vxgate lab --keep         the same, and it stays: enter each host and look around"
            )?;
        }
        writeln!(
            self.out,
            "    vxgate lab --api          `you` sets itself up from an API, as with a real key"
        )?;
        writeln!(self.out, "    vxgate help up            the real thing: every option with its default")?;
        writeln!(self.out, "    vxgate init ETH LOCAL ... the arguments of the Gate's own script")?;
        self.out.flush()
    }
}

/// The tunnel of `you`, as its operator types it.
fn up_args() -> Vec<String> {
    let words = ["up", "--dev", DEV, "--local", YOU, "--address", YOU_INNER].map(str::to_owned);
    let peers = GATES.iter().flat_map(|(outer, inner)| ["--peer".to_owned(), format!("{outer}={inner}")]);
    words.into_iter().chain(peers).collect()
}

/// Starts that tunnel, and waits until it answers on its control socket.
pub(super) fn start(ground: &Ground) -> anyhow::Result<Tunnel> {
    let mut command = ground.you.command("/proc/self/exe");
    let mut tunnel = Tunnel::start(command.args(up_args())).context("vxgate cannot be started")?;
    let dev = DEV.parse().expect("a device's name");
    let answers = || Client::connect(&RuntimeDir::from_environment(), &dev).ok()?.show().ok().map(drop);
    if wait_for(PATIENCE, answers).is_none() {
        let log = tunnel.log();
        let _ = tunnel.end();
        anyhow::bail!("it does not answer; it said:\n{log}");
    }
    Ok(tunnel)
}

/// Whether the user namespace is the machine's own: in a new one the map has one line for one user.
fn is_root_outside() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// The whole forwarding database of the lab's tunnel.
fn entries() -> anyhow::Result<Vec<crate::control::protocol::FdbEntry>> {
    let mut entries = Vec::new();
    let dev = DEV.parse().expect("a device's name");
    Client::connect(&RuntimeDir::from_environment(), &dev)?.fdb_show(|entry| {
        entries.push(entry);
        Ok::<(), io::Error>(())
    })??;
    Ok(entries)
}
