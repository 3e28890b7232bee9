//! Two hosts and a cable: what the test bed builds carries traffic, and nothing of it stays behind.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use vxgate_testbed::{Host, Ping, eventually, isolated, link, tcp, udp, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
const ADDRESSES: [(&str, &str); 2] = [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")];

/// ```text
///   a ── eth0 ────────────── eth0 ── b
///        192.0.2.1/24        192.0.2.2/24
///        2001:db8::1/64      2001:db8::2/64
/// ```
#[expect(clippy::unwrap_used, reason = "it is part of each test here")]
fn two_hosts() -> (Host, Host) {
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    link(&a, "eth0", &b, "eth0").unwrap();
    for (host, number) in [(&a, 1), (&b, 2)] {
        host.address("eth0", &format!("192.0.2.{number}/24")).unwrap();
        host.address("eth0", &format!("2001:db8::{number}/64")).unwrap();
    }
    (a, b)
}

#[test]
fn both_families_ping_across_the_cable() {
    isolated!(|| {
        let (a, b) = two_hosts();
        for (_, address) in ADDRESSES {
            let report = a.ping(address);
            assert!(report.all_answered(), "{address}: {report:?}");
        }
        assert!(b.ping("192.0.2.1").all_answered());
        let large = Ping { size: 40_000, ..Ping::new("192.0.2.2".parse().unwrap()) };
        assert!(a.run(|| large.run()).unwrap().all_answered(), "fragments are put together");
    });
}

#[test]
fn a_ping_that_may_not_be_fragmented_finds_the_mtu() {
    isolated!(|| {
        let (a, _b) = two_hosts();
        for (size, passes) in [(1472, true), (1473, false)] {
            let ping =
                Ping { size, dont_fragment: true, count: 1, ..Ping::new("192.0.2.2".parse().unwrap()) };
            let report = a.run(|| ping.run()).unwrap();
            assert_eq!(report.all_answered(), passes, "{size}: {report:?}");
            assert_eq!(report.refusals.is_empty(), passes, "{size}: {report:?}");
        }
    });
}

#[test]
fn a_ping_to_nobody_ends_unanswered() {
    isolated!(|| {
        let (a, _b) = two_hosts();
        let timeout = Duration::from_millis(50);
        let report = a.run(|| Ping { timeout, ..Ping::new("192.0.2.3".parse().unwrap()) }.run()).unwrap();
        assert_eq!((report.sent, report.received, report.min_mean_max()), (3, 0, None));
        let report = a.run(|| Ping { timeout, ..Ping::new("198.51.100.1".parse().unwrap()) }.run()).unwrap();
        assert_eq!((report.sent, report.refusals.len()), (3, 3), "there is no route");
    });
}

#[test]
fn a_bulk_transfer_arrives_whole_in_both_directions() {
    isolated!(|| {
        let (a, b) = two_hosts();
        for (at_a, at_b) in ADDRESSES {
            for (from, to, address) in [(&a, &b, at_b), (&b, &a, at_a)] {
                let transfer = tcp::transfer(from, to, address.parse().unwrap(), 16 << 20, LIMIT).unwrap();
                assert!(transfer.intact, "{address}: {transfer:?}");
                assert_eq!(transfer.received_octets, 16 << 20);
            }
        }
        let nothing = tcp::transfer(&a, &b, "192.0.2.2".parse().unwrap(), 0, LIMIT).unwrap();
        assert!(nothing.intact);
    });
}

#[test]
fn datagrams_of_every_size_come_back() {
    isolated!(|| {
        let (a, b) = two_hosts();
        for (_, address) in ADDRESSES {
            let address: IpAddr = address.parse().unwrap();
            let report = udp::exchange(&a, &b, address, (0..=1472).chain([9000, 65_507]), LIMIT).unwrap();
            assert_eq!(report.sent, 1475);
            assert!(report.all_returned(), "{address}: {report:?}");
        }
        let server = b.run(|| udp::Server::start("192.0.2.2:0".parse().unwrap())).unwrap();
        let address = server.address().unwrap();
        drop(server);
        let report = a.run(|| udp::echo(address, [1], Duration::from_millis(50))).unwrap();
        assert_eq!(report.lost, [1], "a server that is gone answers nothing");
    });
}

#[test]
fn a_router_forwards_between_two_cables() {
    //   a ── eth0 ──── west ── router ── east ──── eth0 ── b
    isolated!(|| {
        let [a, router, b] = ["a", "router", "b"].map(|name| Host::new(name).unwrap());
        link(&a, "eth0", &router, "west").unwrap();
        link(&router, "east", &b, "eth0").unwrap();
        a.address("eth0", "172.21.0.100/24").unwrap();
        router.address("west", "172.21.0.1/24").unwrap();
        router.address("east", "100.64.158.1/25").unwrap();
        b.address("eth0", "100.64.158.4/25").unwrap();
        router.forward().unwrap();
        a.route("100.64.158.0/24", "172.21.0.1").unwrap();
        b.route("0.0.0.0/0", "100.64.158.1").unwrap();
        assert!(a.ping("100.64.158.4").all_answered());
        a.down("eth0").unwrap();
        assert!(!a.ping("100.64.158.4").all_answered());
    });
}

#[test]
fn a_command_runs_in_its_host_and_dies_with_the_thread_that_started_it() {
    isolated!(|| {
        let (a, _b) = two_hosts();
        let mut command = a.command("cat");
        let mut child = command.arg("/proc/self/net/dev").stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(text.contains("eth0:"), "{text}");

        let mut sleeper = a.command("sleep");
        sleeper.arg("60");
        let mut child = std::thread::spawn(move || sleeper.spawn().unwrap()).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    });
}

#[test]
fn a_host_takes_its_devices_along_when_it_goes() {
    //   (the test's own namespace) ── v0 ──── eth0 ── host
    isolated!(|| {
        let outside = vxgate_sys::namespace::current_network().unwrap();
        let host = Host::new("host").unwrap();
        host.netlink(async |netlink| netlink.veth_add("eth0", "v0", Some(outside.as_fd())).await).unwrap();
        let there = || fs::read_to_string("/proc/self/net/dev").unwrap().contains("v0:");
        assert!(there());
        drop(host);
        assert!(eventually(LIMIT, || !there()), "the namespace lives on");
    });
}

#[test]
fn a_published_host_can_be_entered_by_its_name() {
    isolated!(|| {
        let mut host = Host::new("you").unwrap();
        assert!(!fs::exists("/run/netns").unwrap(), "nothing is named unless asked");
        assert_eq!(host.publish().unwrap().to_str(), Some("/run/netns/you"));
        let named = fs::File::open("/run/netns/you").unwrap();
        vxgate_sys::namespace::enter(named.as_fd()).unwrap();
        drop(host);
        assert!(!fs::exists("/run/netns/you").unwrap());
    });
}

#[test]
fn a_panic_inside_a_host_is_the_callers_panic() {
    isolated!(|| {
        let host = Host::new("a").unwrap();
        let panic = std::panic::catch_unwind(|| host.run(|| panic!("inside"))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"inside"));
        assert_eq!(host.run(|| 7), 7, "and the host is as good as before");
    });
}

#[test]
fn a_setting_that_does_not_exist_is_named() {
    isolated!(|| {
        let host = Host::new("a").unwrap();
        host.sysctl("net/ipv4/ip_forward", "1").unwrap();
        let read = host.run(|| fs::read_to_string("/proc/sys/net/ipv4/ip_forward")).unwrap();
        assert_eq!(read, "1\n");
        assert_eq!(
            fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(),
            "0\n",
            "it is that host's alone"
        );
        let error = host.sysctl("net/ipv4/no_such", "1").unwrap_err();
        assert!(error.to_string().contains("net/ipv4/no_such"), "{error}");
        assert!(wait_for(Duration::ZERO, || None::<()>).is_none());
    });
}
