//! Tables of nftables are in the kernel as they were asked for, and gone when they should be. Each test has network namespaces of
//! its own:
//!
//! ```text
//!   a ── eth0 ──── a ── router ── b ──── eth0 ── b
//!   192.0.2.2/25   192.0.2.1/25   192.0.2.129/25   192.0.2.130/25
//! ```

use std::time::Duration;

use vxgate_netlink::nft::{Action, Chain, Hook, Lifetime, Match, Nftables, Rule, Table};
use vxgate_testbed::{Host, Ping, isolated, link};

#[expect(clippy::unwrap_used, reason = "it is part of each test here")]
fn router() -> [Host; 3] {
    let [a, router, b] = ["a", "router", "b"].map(|name| Host::new(name).unwrap());
    for (host, name, net, net6) in [(&a, "a", 0, 0xa), (&b, "b", 128, 0xb)] {
        link(host, "eth0", &router, name).unwrap();
        router.address(name, &format!("192.0.2.{}/25", net + 1)).unwrap();
        host.address("eth0", &format!("192.0.2.{}/25", net + 2)).unwrap();
        host.route("0.0.0.0/0", &format!("192.0.2.{}", net + 1)).unwrap();
        router.address(name, &format!("2001:db8:{net6:x}::1/64")).unwrap();
        host.address("eth0", &format!("2001:db8:{net6:x}::2/64")).unwrap();
        host.route("::/0", &format!("2001:db8:{net6:x}::1")).unwrap();
    }
    router.forward().unwrap();
    [a, router, b]
}

fn table(rules: Vec<Rule>) -> Table {
    let chain = Chain { name: "forward".to_owned(), hook: Hook::Forward, drops: false, rules };
    Table { name: "test".to_owned(), chains: vec![chain] }
}

fn drop_if(matches: &[Match]) -> Vec<Rule> {
    vec![Rule { matches: matches.to_vec(), action: Action::Drop }]
}

/// Whether one ping is answered. What should be is waited for with patience, what should not be for a moment.
#[expect(clippy::unwrap_used, reason = "it is part of each test here")]
fn answers(from: &Host, to: &str, should: bool) -> bool {
    let timeout = Duration::from_millis(if should { 5000 } else { 200 });
    let ping = Ping { count: 1, timeout, ..Ping::new(to.parse().unwrap()) };
    from.run(|| ping.run()).unwrap().all_answered()
}

#[test]
fn each_condition_matches_what_it_says_and_nothing_else() {
    isolated!(|| {
        let [a, router, b] = router();
        // Neighbours are found before a lost packet means a rule.
        assert!(a.ping("192.0.2.130").all_answered() && a.ping("2001:db8:b::2").all_answered());
        assert!(b.ping("192.0.2.2").all_answered());
        let index =
            |name: &str| router.netlink(async |netlink| Ok(netlink.link_by_name(name).await?.index)).unwrap();
        let (side_a, side_b) = (index("a"), index("b"));
        router
            .netlink(async |netlink| netlink.set_group(&netlink.link_by_name("b").await?, 77).await)
            .unwrap();
        let net = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
        let nftables = router.run(|| Nftables::open().unwrap());
        // From a to b: does an IPv4 ping pass, does an IPv6 ping pass?
        for (conditions, passes) in [
            (vec![], [false, false]),
            (vec![Match::FromLink(side_a)], [false, false]),
            (vec![Match::FromLink(side_a), Match::ToLink(side_a)], [true, true]),
            (vec![Match::FromLink(side_a), Match::ToLink(side_b)], [false, false]),
            (vec![Match::FromLink(side_a), Match::ToOtherGroup(77)], [true, true]),
            (vec![Match::FromLink(side_a), Match::ToOtherGroup(78)], [false, false]),
            (vec![Match::Ipv4], [false, true]),
            (vec![Match::Ipv6], [true, false]),
            (vec![Match::Source(net("192.0.2.2/32"))], [false, true]),
            (vec![Match::Source(net("192.0.2.0/30"))], [false, true]),
            (vec![Match::Source(net("192.0.2.4/30"))], [true, true]),
            (vec![Match::Source(net("0.0.0.0/0"))], [false, true]),
            (vec![Match::Source(net("2001:db8:a::/64"))], [true, false]),
            (vec![Match::Source(net("2001:db8:c::/64"))], [true, true]),
            (vec![Match::FromLink(side_a), Match::SourceOutside(net("192.0.2.0/30"))], [true, true]),
            (vec![Match::FromLink(side_a), Match::SourceOutside(net("192.0.2.4/30"))], [false, true]),
            (vec![Match::Destination(net("192.0.2.130/32"))], [false, true]),
            (vec![Match::Destination(net("192.0.2.131/32"))], [true, true]),
            (vec![Match::Destination(net("2001:db8:b::/64"))], [true, false]),
            (vec![Match::Answer], [false, false]),
            (vec![Match::FromLink(side_a), Match::Answer], [true, true]),
        ] {
            nftables.replace(&table(drop_if(&conditions))).unwrap();
            let told = [answers(&a, "192.0.2.130", passes[0]), answers(&a, "2001:db8:b::2", passes[1])];
            assert_eq!(told, passes, "{conditions:?}");
        }
        drop(nftables);
        assert!(answers(&a, "192.0.2.130", true), "the table went with its owner");
    });
}

#[test]
fn an_owned_table_goes_with_its_owner_and_others_cannot_touch_it() {
    isolated!(|| {
        let host = Host::new("host").unwrap();
        let [owner, other] = [(); 2].map(|()| host.run(|| Nftables::open().unwrap()));
        assert!(!other.has_table("test").unwrap());
        assert!(other.delete("test").unwrap_err().is_missing());
        if owner.replace(&table(drop_if(&[]))).unwrap() != Lifetime::Owned {
            return vxgate_testbed::skip("the kernel knows no owners of tables: Linux 5.12");
        }
        assert!(other.has_table("test").unwrap());
        assert_eq!(owner.forward_chains().unwrap(), other.forward_chains().unwrap());
        for refusal in [other.delete("test"), other.replace_for_good(&table(vec![]))] {
            let refusal = refusal.unwrap_err();
            assert!(refusal.is_denied(), "{refusal}");
        }
        // In place of its own, it is no obstacle.
        owner.replace(&table(vec![])).unwrap();
        drop(owner);
        assert!(!other.has_table("test").unwrap());

        other.replace_for_good(&table(vec![])).unwrap();
        drop(other);
        let third = host.run(|| Nftables::open().unwrap());
        assert!(third.has_table("test").unwrap(), "what is nobody's stays");
        assert_eq!(third.replace(&table(vec![])).unwrap(), Lifetime::Owned, "and may be replaced");
        third.delete("test").unwrap();
        for drops in [false, true] {
            let chain = Chain { name: "firewall".to_owned(), hook: Hook::Forward, drops, rules: vec![] };
            third.replace(&Table { name: "other".to_owned(), chains: vec![chain] }).unwrap();
            let seen = third.forward_chains().unwrap();
            assert_eq!(seen.len(), 1);
            let seen = (seen[0].family, seen[0].table.as_str(), seen[0].name.as_str(), seen[0].drops);
            assert_eq!(seen, ("inet", "other", "firewall", drops));
        }
        third.delete("other").unwrap();
        assert!(third.forward_chains().unwrap().is_empty());
    });
}

#[test]
fn a_table_comes_as_a_whole_or_not_at_all_and_the_refusal_says_why() {
    isolated!(|| {
        let host = Host::new("host").unwrap();
        let nftables = host.run(|| Nftables::open().unwrap());
        // Addresses are translated in a chain for that and nowhere else.
        let rule = Rule { matches: vec![], action: Action::Masquerade };
        let refusal = nftables.replace(&table(vec![rule.clone()])).unwrap_err();
        assert!(
            refusal.to_string().starts_with("cannot put in nftables table test: Operation not supported"),
            "{refusal}"
        );
        assert!(refusal.is_unsupported());
        assert!(!nftables.has_table("test").unwrap());
        let nat = Chain { name: "nat".to_owned(), hook: Hook::SourceNat, drops: false, rules: vec![rule] };
        nftables.replace(&Table { name: "test".to_owned(), chains: vec![nat] }).unwrap();
        // Many rules come as a whole too, and more than a request holds not at all.
        let from = |third: usize| Match::Source(format!("2001:db8:{third:x}::/48").parse().unwrap());
        let rules = |count| (0..count).flat_map(|number| drop_if(&[from(number)])).collect::<Vec<_>>();
        nftables.replace(&table(rules(300))).unwrap();
        assert_eq!(nftables.forward_chains().unwrap().len(), 1);
        let refusal = nftables.replace(&table(rules(3000))).unwrap_err();
        assert_eq!(refusal.errno(), Some(90), "too long: {refusal}");
        assert_eq!(nftables.forward_chains().unwrap().len(), 1, "the former one is still there");
        nftables.replace(&Table { name: "test".to_owned(), chains: vec![] }).unwrap();
        assert!(nftables.forward_chains().unwrap().is_empty(), "no forwarded packet passes it");
    });
}
