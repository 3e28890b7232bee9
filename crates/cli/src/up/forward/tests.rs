//! What is left by tunnels that could not clean up, in a network namespace of each test's own.

use std::fs;

use vxgate_testbed::{Host, isolated};

use super::*;

/// Inside, /run is the test's own.
const DIR: &str = "/run/vxgate-test";
const KEY: &str = "net/ipv4/conf/lo/forwarding";

/// The notes, as the tunnel of this device sees them.
fn of(dev: &str) -> Ledger {
    fs::create_dir_all(DIR).unwrap();
    Ledger::new(&RuntimeDir::new(DIR), &dev.parse().unwrap())
}

fn table(name: &str) -> Table {
    Table { name: name.to_owned(), chains: vec![] }
}

#[test]
fn a_table_that_does_not_go_by_itself_is_taken_out_at_the_end_or_by_the_next_start() {
    isolated!(|| {
        let nftables = Nftables::open().unwrap();
        for name in ["vxgate-vxlan0", "other"] {
            nftables.replace_for_good(&table(name)).unwrap();
        }
        let own = Nftables::open().unwrap();
        drop(Rules { nftables: own, table: table("vxgate-vxlan0"), lifetime: Lifetime::UntilDeleted });
        assert!(!nftables.has_table("vxgate-vxlan0").unwrap(), "at the end");

        // As a killed one leaves it.
        nftables.replace_for_good(&table("vxgate-vxlan0")).unwrap();
        of("vxlan0").note_table("vxgate-vxlan0").unwrap();
        let told = of("vxlan0").put_right().unwrap();
        assert_eq!(told, ["table vxgate-vxlan0 of nftables was left by a killed tunnel: it is gone"]);
        assert!(!nftables.has_table("vxgate-vxlan0").unwrap(), "by the next start");
        assert!(nftables.has_table("other").unwrap());
        assert_eq!(of("vxlan0").put_right().unwrap(), [""; 0]);
        assert_eq!(fs::read_dir(DIR).unwrap().count(), 0, "no note, no file");
    });
}

#[test]
fn what_another_tunnel_changed_stays_while_it_lives_and_is_undone_once_it_does_not() {
    isolated!(|| {
        let host = Host::new("host").unwrap();
        let way = Way {
            tunnel: Side { index: 2, name: "vx1".to_owned() },
            links: vec![Side { index: 1, name: "lo".to_owned() }],
            sources: Sources::Networks(vec!["192.0.2.0/24".parse().unwrap()]),
            inner: vec!["10.0.0.1/8".parse().unwrap()],
            back: false,
            loosen: false,
        };
        // A device that is not there has no setting to make: the link's was made before, and is undone.
        host.run(|| {
            let refused = Settings::make(of("vx1"), &way);
            assert!(matches!(refused, Err(ForwardError::Setting { .. })), "{refused:?}");
            assert_eq!(settings::read(KEY).as_deref(), Some("0"), "what fails half way");
        });
        host.netlink(async |netlink| netlink.bridge_add("vx1").await).unwrap();
        host.run(|| {
            let made = Settings::make(of("vx1"), &way).unwrap();
            assert_eq!(settings::read(KEY).as_deref(), Some("1"));
            assert_eq!(of("vxlan0").put_right().unwrap(), [""; 0], "it lives");
            let path = format!("{DIR}/forward.jsonl");
            let notes = fs::read_to_string(&path).unwrap();
            // Another process had this number before; and another namespace is not ours to put right.
            let dead = notes.replacen("\"started\":", "\"started\":9", 1);
            let elsewhere = dead.replacen("\"namespace\":", "\"namespace\":9", 1);
            fs::write(&path, &elsewhere).unwrap();
            assert_eq!(of("vxlan0").put_right().unwrap(), [""; 0]);
            assert_eq!(fs::read_to_string(&path).unwrap(), elsewhere);
            fs::write(&path, dead).unwrap();
            let told = of("vxlan0").put_right().unwrap();
            assert_eq!(
                told,
                ["net.ipv4.conf.lo.forwarding was left at 1 by a killed tunnel vx1: it is 0 again"]
            );
            assert_eq!(settings::read(KEY).as_deref(), Some("0"));
            drop(made);
            assert_eq!(settings::read(KEY).as_deref(), Some("0"), "and nothing is undone twice");
        });
    });
}
