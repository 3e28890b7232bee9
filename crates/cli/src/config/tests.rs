//! The rules between options, as tables.

use super::*;

/// The configuration of this command line, options only.
fn config(line: &str) -> Result<UpConfig, ConfigError> {
    UpConfig::new(
        crate::args::environment::read_layer(line.split_whitespace()).expect("each value alone is right"),
    )
}

fn refusal(line: &str) -> ConfigError {
    config(line).expect_err(line)
}

#[test]
fn nothing_said_is_a_gate_tunnel_without_peers() {
    let config = config("").unwrap();
    assert_eq!(config.dev.as_str(), "vxlan0");
    assert_eq!((config.vni.get(), config.port), (10, 4789));
    assert_eq!(config.source_port, SourcePort::Fixed(4789));
    assert_eq!((config.family, config.mtu), (Family::V4, Mtu::Auto));
    assert!(config.learning && config.udp_checksum);
    assert_eq!((config.ageing, config.max_macs), (Duration::from_secs(300), 16384));
    assert_eq!(config.reserved_bits, ReservedBits::Ignore);
    assert_eq!((config.ttl, config.tos, config.df), (Ttl::Auto, Tos::Octet(0), Df::Unset));
    assert_eq!(config.notices.len(), 1);
    assert!(config.notices[0].contains("vxgate peer add IP dev vxlan0"), "{:?}", config.notices);
}

#[test]
fn health_is_on_with_the_cores_defaults_unless_it_is_off() {
    assert_eq!(config("").unwrap().health, Some(HealthConfig::default()));
    assert_eq!(config("--health off --probe-misses 3").unwrap().health, None);
    let line = "--probe-interval 1000 --probe-retry 200 --probe-misses 3 --hold-down 0 --on-event /bin/true";
    let set = config(line).unwrap();
    let [interval, retry] = [1000, 200].map(Duration::from_millis);
    assert_eq!(set.health, Some(HealthConfig { interval, retry, misses: 3, hold_down: Duration::ZERO }));
    assert_eq!(set.health.map(HealthConfig::clamped), set.health, "what is allowed here is allowed there");
    assert_eq!(set.on_event.as_deref(), Some(std::path::Path::new("/bin/true")));
}

#[test]
fn peers_whose_death_is_not_noticed_are_told_of_once_where_another_could_take_over() {
    let notices = |line: &str| config(line).unwrap().notices;
    let two = "--peer 100.64.158.4 --peer 100.64.158.132";
    let [notice] = &notices(two)[..] else { panic!("one notice") };
    assert!(notice.contains("100.64.158.4 100.64.158.132: the death of such a peer"), "{notice}");
    assert!(notice.contains("--peer 100.64.158.4=INNER"), "{notice}");
    let [notice] = &notices("--peer 100.64.158.4=10.192.158.4 --peer 100.64.158.132")[..] else {
        panic!("one notice")
    };
    assert!(notice.contains("known of 100.64.158.132: "), "{notice}");
    for quiet in [
        "--peer 100.64.158.4",
        "--peer 100.64.158.4=10.192.158.4 --peer 100.64.158.132=10.192.158.132",
        "--peer 100.64.158.4 --peer 239.1.1.1 --underlay eth0 --accept-from 100.64.0.0/10",
        &format!("{two} --health off"),
    ] {
        assert_eq!(notices(quiet), Vec::<String>::new(), "{quiet}");
    }
}

#[test]
fn the_source_port_follows_the_port() {
    assert_eq!(config("--port 8472").unwrap().source_port, SourcePort::Fixed(8472));
    assert_eq!(config("--port 8472 --source-port 4789").unwrap().source_port, SourcePort::Fixed(4789));
}

#[test]
fn the_family_is_that_of_the_outer_addresses() {
    assert_eq!(config("--peer 2001:db8::1").unwrap().family, Family::V6);
    assert_eq!(config("--accept-from ::/0").unwrap().family, Family::V6);
    assert_eq!(config("--local 10.0.0.1 --address fd00::1/64").unwrap().family, Family::V4);
}

#[test]
fn what_may_stand_together_does() {
    for line in [
        "--peer 100.64.158.4 --peer 100.64.158.132 --local 172.21.0.100 --address 10.225.194.171/9",
        "--address 10.0.0.1/24 --address 10.0.0.2/24 --address 10.0.1.1/24 --address fd00::1/64",
        "--address 10.0.0.0/31 --address 10.0.0.9/32 --mtu 68",
        "--address fd00::1/64 --mtu 1280",
        "--peer 239.1.1.1 --underlay eth0 --accept-from 0.0.0.0/0",
        "--peer fe80::1 --underlay eth0",
        "--peer 127.0.0.1",
        "--forward 172.21.0.0/16,172.22.0.9 --forward 2001:db8::/32 --forward-back all",
        "--forward on --forward-back answers",
        "--peer 100.64.158.4=10.192.158.4 --peer 100.64.158.132 --address 10.225.194.171/9",
        "--peer 2001:db8::1=10.0.0.1",
        "--route 0.0.0.0/0 --route 192.0.2.1 --accept-from 10.0.0.0/8 --accept-from 10.0.0.0/8",
    ] {
        config(line).expect(line);
    }
}

#[test]
fn a_route_that_an_address_implies_is_left_out_with_a_notice() {
    let config =
        config("--peer 10.0.0.1 --address 10.225.194.171/9 --route 10.128.0.0/9 --route 10.0.0.0/16")
            .unwrap();
    assert_eq!(config.routes, ["10.0.0.0/16".parse().unwrap()]);
    assert_eq!(config.notices, ["--route 10.128.0.0/9 is what --address 10.225.194.171/9 routes already"]);
}

#[test]
fn an_inner_address_that_no_own_network_holds_is_a_notice() {
    let notices = |line: &str| config(line).unwrap().notices;
    let line = "--peer 10.0.0.1=10.192.158.4 --address 10.225.194.171/9";
    assert_eq!(notices(line), Vec::<String>::new());
    let [notice] = &notices("--peer 10.0.0.1=172.16.0.4 --address 10.225.194.171/9")[..] else {
        panic!("one notice")
    };
    assert!(notice.contains("172.16.0.4 lies in no network of --address"), "{notice}");
}

#[test]
fn each_rule_names_the_option_and_says_why() {
    for (line, option, why) in [
        ("--underlay vxlan0", "underlay", "vxlan0 is the device to make"),
        ("--local 0.0.0.0", "local", "unspecified"),
        ("--local 239.1.1.1", "local", "multicast"),
        ("--local 10.0.0.1 --peer 2001:db8::1", "peer", "2001:db8::1 is IPv6, but local 10.0.0.1 is IPv4"),
        ("--peer 2001:db8::1 --peer 10.0.0.1", "peer", "10.0.0.1 is IPv4, but peer 2001:db8::1 is IPv6"),
        ("--peer 2001:db8::1 --accept-from 0.0.0.0/0", "accept-from", "0.0.0.0/0 is IPv4"),
        ("--peer 10.0.0.1 --peer 10.0.0.1", "peer", "10.0.0.1 is given twice"),
        ("--peer 10.0.0.1 --peer ::ffff:10.0.0.1", "peer", "10.0.0.1 is given twice"),
        ("--peer 10.0.0.1 --local 10.0.0.1", "peer", "own outer address"),
        ("--peer 0.0.0.0", "peer", "unspecified"),
        ("--peer ::", "peer", "unspecified"),
        ("--peer 255.255.255.255", "peer", "broadcast"),
        ("--peer 239.1.1.1", "peer", "multicast group, so the interface must be named"),
        ("--peer ff05::1", "peer", "multicast group, so the interface must be named"),
        ("--peer fe80::1", "peer", "link-local address, so the interface must be named"),
        ("--peer 239.1.1.1 --underlay eth0", "peer", "members are not known"),
        ("--peer 239.1.1.1=10.0.0.2 --underlay eth0 --accept-from 0.0.0.0/0", "peer", "none of one host"),
        ("--peer 10.0.0.1=0.0.0.0", "peer", "0.0.0.0 is the unspecified address"),
        ("--peer 10.0.0.1=239.1.1.1", "peer", "no address of another host"),
        ("--peer 10.0.0.1=127.0.0.1", "peer", "no address of another host"),
        ("--peer 10.0.0.1=10.1.0.1 --address 10.1.0.1/16", "peer", "this host's own device"),
        ("--peer 10.0.0.1=10.0.0.1", "peer", "an outer address too"),
        ("--peer 10.0.0.1=10.0.0.9 --local 10.0.0.9", "peer", "an outer address too"),
        ("--peer 10.0.0.1=10.1.0.1 --peer 10.0.0.2=10.1.0.1", "peer", "given to two peers"),
        ("--address 10.0.0.1/8 --address 10.0.0.1/8", "address", "the same address"),
        ("--address 10.0.0.1/8 --address 10.0.0.1/16", "address", "the same address"),
        ("--address 10.0.0.1/8 --address 10.1.0.1/16", "address", "10.1.0.1/16 and 10.0.0.1/8 overlap"),
        ("--address 10.1.0.1/16 --address 10.0.0.1/8", "address", "overlap"),
        ("--address fd00::1/64 --address fd00::2/48", "address", "overlap"),
        ("--address 10.0.0.0/8", "address", "the network itself"),
        ("--address 10.255.255.255/8", "address", "broadcast address"),
        ("--address 10.0.0.1/0", "address", "0 bits"),
        ("--address 127.0.0.1/8", "address", "loopback"),
        ("--address 239.0.0.1/8", "address", "multicast"),
        ("--address 0.0.0.0/8", "address", "unspecified"),
        ("--address 10.0.0.1/8 --peer 10.0.0.1", "address", "an outer address too"),
        ("--address 10.0.0.1/8 --local 10.0.0.1", "address", "an outer address too"),
        ("--address fd00::1/64 --mtu 1279", "mtu", "1279 is too small for fd00::1/64"),
        ("--route 10.0.0.1/8", "route", "the network is 10.0.0.0/8"),
        ("--accept-from 10.0.0.1/8", "accept-from", "the network is 10.0.0.0/8"),
        ("--route 10.0.0.0/8 --route 10.0.0.0/8", "route", "given twice"),
        ("--probe-interval 30", "probe-retry", "40 ms are longer than --probe-interval, which is 30 ms"),
        ("--workers 3 --source-port hash:50000-50001", "workers", "the range has 2"),
        ("--forward 172.21.0.1/16", "forward", "the network is 172.21.0.0/16"),
        ("--forward 172.21.0.0/16 --forward 172.21.0.0/16", "forward", "given twice"),
        ("--forward on,172.21.0.0/16", "forward", "on stands alone"),
        ("--forward 172.21.0.0/16,off", "forward", "off stands alone"),
        ("--gate-peers - --vpg-id 1", "vpg-id", "sets itself up from one source"),
        ("--tap-fd 3 --tap keep", "tap", "neither made nor kept"),
        ("--tap-fd 3 --tap new", "tap", "neither made nor kept"),
        ("--tap-fd 3 --workers 2", "workers", "2 workers need one each"),
        ("--open-gate --coverage g", "open-gate", "which only --vpg-id asks"),
    ] {
        let error = refusal(line);
        assert_eq!(error.option(), option, "{line}");
        assert!(error.to_string().contains(why), "{line}: {error}");
    }
}

#[test]
fn hints_give_the_words_to_write() {
    for (line, words) in [
        ("--peer 239.1.1.1 --underlay eth0", "--accept-from 0.0.0.0/0"),
        ("--peer ff05::1 --underlay eth0", "--accept-from ::/0"),
        ("--peer 239.1.1.1", "--underlay eth0"),
        ("--route 10.0.0.1/8", "write --route 10.0.0.0/8"),
        ("--peer 2001:db8::1 --accept-from 0.0.0.0/0", "--accept-from ::/0"),
        ("--peer 2001:db8::1 --peer 10.0.0.1", "second tunnel"),
        ("--tap-fd 3 --tap keep", "--tap existing"),
        ("--tap-fd 3 --workers 2", "leave --workers out"),
        ("--probe-interval 30", "--probe-retry 30"),
        ("--workers 16 --source-port hash:50000-50001", "fewer workers"),
    ] {
        let hint = refusal(line).hint().expect(line);
        assert!(hint.contains(words), "{line}: {hint}");
    }
}

#[test]
fn more_peers_than_the_core_holds_are_refused() {
    let line = |count: u32| {
        let peers = (1..=count).map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string());
        format!("--peer {}", peers.collect::<Vec<_>>().join(","))
    };
    assert_eq!(config(&line(1024)).unwrap().peers.len(), 1024);
    assert_eq!(refusal(&line(1025)), ConfigError::TooManyPeers { count: 1025 });
}

#[test]
fn more_networks_than_fit_into_one_request_are_not_forwarded() {
    let line = |count: u32| {
        let networks = (0..count).map(|n| format!("172.21.{n}.0/24"));
        format!("--forward {}", networks.collect::<Vec<_>>().join(","))
    };
    assert_eq!(config(&line(64)).unwrap().forward.len(), 64);
    assert_eq!(refusal(&line(65)), ConfigError::TooManyForwarded { count: 65 });
    assert!(config("--forward off").unwrap().forward.is_empty(), "off takes back what a lower layer says");
}
