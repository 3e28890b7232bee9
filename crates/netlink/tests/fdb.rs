//! The forwarding database of a kernel vxlan device, as `bridge fdb` handles it.

use std::net::IpAddr;
use std::time::Duration;

use vxgate_netlink::{Error, FdbEntry, FdbState, Link, Netlink, Vxlan};
use vxgate_testbed::{Host, isolated, kernel_has_vxlan, skip};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const NO_VXLAN: &str = "the kernel has no vxlan: modprobe vxlan, or CONFIG_VXLAN";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Runs `body` with a vxlan device that has VNI 10 and no peers, up.
#[expect(clippy::unwrap_used, reason = "it is part of each test here")]
fn with_vxlan(body: impl AsyncFnOnce(&Netlink, &Link) -> Result<(), Error> + Send) {
    if !kernel_has_vxlan() {
        return skip(NO_VXLAN);
    }
    let run = async |netlink: &Netlink| {
        let link = netlink.vxlan_add("vxlan0", &Vxlan { vni: 10, ..Vxlan::default() }).await?;
        netlink.set_up(&link).await?;
        body(netlink, &link).await
    };
    Host::new("vtep").unwrap().netlink(run).unwrap();
}

/// What identifies an entry, without its ages.
fn keys(entries: &[FdbEntry]) -> Vec<([u8; 6], Option<IpAddr>, FdbState)> {
    entries.iter().map(|entry| (entry.mac, entry.dst, entry.state)).collect()
}

#[test]
fn a_mac_address_has_one_destination_and_all_zero_has_many() {
    isolated!(|| {
        with_vxlan(async |netlink, link| {
            let (first, second) = (ip("100.64.158.4"), ip("100.64.158.132"));
            netlink.fdb_append(link, &FdbEntry::peer(first)).await?;
            netlink.fdb_append(link, &FdbEntry::peer(second)).await?;
            netlink.fdb_append(link, &FdbEntry::peer(second)).await?;
            netlink.fdb_add(link, &FdbEntry::new(A, first)).await?;
            let twice = netlink.fdb_add(link, &FdbEntry::new(A, second)).await.unwrap_err();
            assert!(twice.is_exists(), "{twice}");
            assert_eq!(
                twice.to_string().split(": ").next(),
                Some("cannot add entry 02:00:00:00:00:0a dst 100.64.158.132 of link vxlan0")
            );
            netlink.fdb_append(link, &FdbEntry::new(A, second)).await?;
            let entries = keys(&netlink.fdb(link).await?);
            assert!(
                entries.contains(&(A, Some(first), FdbState::Permanent)),
                "it keeps its one: {entries:?}"
            );
            assert!(netlink.fdb_replace(link, &FdbEntry::peer(first)).await.unwrap_err().is_unsupported());
            netlink.fdb_replace(link, &FdbEntry::new(A, second)).await?;
            let mut entries = keys(&netlink.fdb(link).await?);
            entries.sort_by_key(|(mac, dst, _)| (*mac, *dst));
            let permanent = FdbState::Permanent;
            let expected = [([0; 6], Some(first), permanent), ([0; 6], Some(second), permanent)];
            assert_eq!(entries[..2], expected);
            assert_eq!(entries[2..], [(A, Some(second), permanent)]);

            netlink.fdb_delete(link, &FdbEntry::peer(first)).await?;
            netlink.fdb_delete(link, &FdbEntry::peer(first)).await?;
            assert_eq!(
                netlink.fdb(link).await?.len(),
                2,
                "the other destination and the other MAC address stay"
            );
            netlink.fdb_delete(link, &FdbEntry { dst: None, ..FdbEntry::new(A, second) }).await?;
            let gone = netlink.fdb_delete(link, &FdbEntry::new(A, second)).await.unwrap_err();
            assert!(gone.is_missing(), "{gone}");
            Ok(())
        });
    });
}

#[test]
fn the_words_of_bridge_fdb_are_kept() {
    isolated!(|| {
        with_vxlan(async |netlink, link| {
            let there = FdbEntry {
                port: Some(4790),
                vni: Some(77),
                via: Some(netlink.link_by_name("lo").await?.index),
                ..FdbEntry::new(A, ip("100.64.158.4"))
            };
            for (state, extern_learn) in [
                (FdbState::Permanent, false),
                (FdbState::Static, false),
                (FdbState::Dynamic, false),
                (FdbState::Dynamic, true),
            ] {
                let asked = FdbEntry { state, extern_learn, ..there.clone() };
                netlink.fdb_replace(link, &asked).await?;
                let entries = netlink.fdb(link).await?;
                let [entry] = &entries[..] else { panic!("{entries:?}") };
                assert!(entry.used < Duration::from_secs(60) && entry.updated < Duration::from_secs(60));
                assert_eq!(
                    FdbEntry { used: Duration::ZERO, updated: Duration::ZERO, ..entry.clone() },
                    asked
                );
                netlink.fdb_delete(link, &asked).await?;
            }
            Ok(())
        });
    });
}

#[test]
fn a_flush_takes_every_entry() {
    isolated!(|| {
        with_vxlan(async |netlink, link| {
            netlink.fdb_append(link, &FdbEntry::peer(ip("100.64.158.4"))).await?;
            for last in 0..200 {
                let state = if last % 2 == 0 { FdbState::Dynamic } else { FdbState::Permanent };
                let entry = FdbEntry { state, ..FdbEntry::new([2, 0, 0, 0, 1, last], ip("100.64.158.4")) };
                netlink.fdb_add(link, &entry).await?;
            }
            assert_eq!(netlink.fdb(link).await?.len(), 201, "a dump of more than one message is whole");
            match netlink.fdb_flush(link).await {
                Ok(()) => assert_eq!(keys(&netlink.fdb(link).await?), []),
                Err(error) => assert!(error.is_unsupported(), "before Linux 6.7: {error}"),
            }
            Ok(())
        });
    });
}
