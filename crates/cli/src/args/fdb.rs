//! `vxgate fdb`, in the words of `bridge fdb`.

use clap::{Args, Subcommand};
use vxgate_codec::{InvalidMacAddr, MacAddr};

use super::OutputArgs;
use super::words::{self, Words};
use crate::config::values::{self, DeviceName};
use crate::control::protocol::{EntryState, FdbNew, FdbTarget, FdbVerb, FlushFilter};
use crate::failure::Failure;

/// The verbs of `vxgate fdb`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum FdbCommand {
    /// Show the forwarding database
    #[command(visible_aliases = ["list", "lst"], after_help = "Words: [dev] DEV, state permanent|static|dynamic, dynamic.

Examples:
  vxgate fdb show
  vxgate fdb show dev vxlan0 -s
  vxgate -j fdb show dev vxlan0 state static")]
    Show(ShowArgs),
    /// Add an entry for a MAC address that has none
    #[command(
        after_help = "Words: ADDR dst IP [dev DEV] [port PORT] [vni VNI] [self] [permanent|static|dynamic], in any order; \
permanent where no state is said, the only tunnel where no dev is.

Examples:
  vxgate fdb add 02:00:00:00:00:0a dev vxlan0 dst 100.64.158.4 static
  vxgate fdb add 02:00:00:00:00:0b dst 2001:db8::1 port 8472 vni 20 self permanent"
    )]
    Add(WordArgs),
    /// Add one more remote to a MAC address
    #[command(
        after_help = "The all-zero address stands for frames to all and to unknown addresses: each remote gets a copy. Words as in `vxgate fdb add`.

Examples:
  vxgate fdb append 00:00:00:00:00:00 dev vxlan0 dst 100.64.158.132
  vxgate fdb append 01:00:5e:00:00:fb dst 100.64.158.4"
    )]
    Append(WordArgs),
    /// Set the only remote of a MAC address
    #[command(after_help = "Words as in `vxgate fdb add`.

Examples:
  vxgate fdb replace 02:00:00:00:00:0a dev vxlan0 dst 100.64.158.132 static")]
    Replace(WordArgs),
    /// Delete an entry, or one remote of it
    #[command(
        visible_alias = "delete",
        after_help = "Words: ADDR [dst IP] [dev DEV] [port PORT] [vni VNI] [self]; the whole entry where no dst is said.

Examples:
  vxgate fdb del 02:00:00:00:00:0a dev vxlan0
  vxgate fdb del 00:00:00:00:00:00 dev vxlan0 dst 100.64.158.132"
    )]
    Del(WordArgs),
    /// Delete every entry that matches
    #[command(
        after_help = "Words: dev DEV, dst IP, port PORT, vni VNI, self, [no]permanent, [no]static, [no]dynamic.

Without a word that chooses, every entry goes, the peers' too: so does `bridge fdb flush`. What was learned is `dynamic`.

Examples:
  vxgate fdb flush dev vxlan0 dynamic
  vxgate fdb flush dev vxlan0 nopermanent dst 100.64.158.4"
    )]
    Flush(WordArgs),
}

/// Words and how to print.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ShowArgs {
    /// Words: the device, and what else stands in `help`.
    #[arg(value_name = "WORD", help = "[dev] DEV, state STATE, dynamic")]
    pub(crate) words: Vec<String>,
    /// Show how long ago each entry was used and changed, in seconds
    #[arg(short = 's', long)]
    pub(crate) statistics: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Words.
#[derive(Args, Clone, Debug)]
pub(crate) struct WordArgs {
    /// See below
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,
}

/// What `fdb show` lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FdbView {
    /// Of this device; `None` for all.
    pub(crate) dev: Option<DeviceName>,
    /// In this state; `None` for any.
    pub(crate) state: Option<EntryState>,
}

/// Words that `bridge` knows and that mean nothing here, each with its reason.
fn foreign(word: &str) -> Option<&'static str> {
    Some(match word {
        "master" | "br" | "brport" => "vxgate's device is no bridge and no bridge's port here: leave it out",
        "vlan" => "entries are per MAC address; tags are carried through",
        "via" => "the route to the remote chooses the interface: leave it out, or use `vxgate up --underlay`",
        "src_vni" => "one tunnel is one segment: start a second tunnel for another VNI",
        "nhid" => "nexthop groups are the kernel's: append each remote with dst",
        "use" | "router" | "extern_learn" | "sticky" => {
            "not supported; `static` keeps frames from moving an entry"
        }
        _ => return None,
    })
}

fn state(word: &str) -> Option<EntryState> {
    match word {
        "permanent" | "local" => Some(EntryState::Permanent),
        "static" => Some(EntryState::Static),
        "dynamic" => Some(EntryState::Dynamic),
        _ => None,
    }
}

fn mac(text: &str) -> Result<MacAddr, InvalidMacAddr> {
    text.parse()
}

/// What the words of one entry say, before a verb asks for more.
#[derive(Debug, Default)]
struct Entry {
    mac: Option<MacAddr>,
    dev: Option<DeviceName>,
    dst: Option<std::net::IpAddr>,
    port: Option<u16>,
    vni: Option<vxgate_codec::Vni>,
    state: Option<EntryState>,
}

const ENTRY_WORDS: &str = "ADDR, dev DEV, dst IP, port PORT, vni VNI, self, permanent, static and dynamic";

fn entry(words: &mut Words<'_>) -> Result<Entry, Failure> {
    let mut entry = Entry::default();
    while let Some(word) = words.next() {
        match word {
            "dev" => words.value(word, &mut entry.dev, words::dev)?,
            "dst" => words.value(word, &mut entry.dst, values::ip)?,
            "port" => words.value(word, &mut entry.port, values::port)?,
            "vni" => words.value(word, &mut entry.vni, words::vni)?,
            "to" => words.value(word, &mut entry.mac, mac)?,
            "self" => {}
            _ => match (state(word), foreign(word)) {
                (Some(state), _) if entry.state.is_none() => entry.state = Some(state),
                (Some(_), _) => return Err(words.wrong(&format!("{word:?}"), "an entry has one state")),
                (None, Some(why)) => return Err(words.wrong(&format!("{word:?}"), why)),
                (None, None) if entry.mac.is_none() => words.fill("ADDR", word, &mut entry.mac, mac)?,
                (None, None) => return Err(words.unknown(word, ENTRY_WORDS)),
            },
        }
    }
    Ok(entry)
}

const ADDR_FORM: &str = "a MAC address, as in 02:00:00:00:00:0a";

/// The words of `fdb add`, `append` and `replace`.
pub(crate) fn parse_set(verb: FdbVerb, words: &[String]) -> Result<(Option<DeviceName>, FdbNew), Failure> {
    let mut words = Words::new(verb_name(verb), words);
    let entry = entry(&mut words)?;
    let new = FdbNew {
        mac: words.missing(entry.mac, "ADDR", ADDR_FORM)?,
        dst: words.missing(entry.dst, "dst", "dst IP, the remote's outer address")?,
        port: entry.port,
        vni: entry.vni,
        state: entry.state.unwrap_or(EntryState::Permanent),
    };
    if new.dst.is_unspecified() {
        return Err(words.wrong(&format!("dst \"{}\"", new.dst), "a remote's own address stands there"));
    }
    Ok((entry.dev, new))
}

/// The verb as it is typed.
pub(crate) const fn verb_name(verb: FdbVerb) -> &'static str {
    match verb {
        FdbVerb::Add => "fdb add",
        FdbVerb::Append => "fdb append",
        FdbVerb::Replace => "fdb replace",
    }
}

/// The words of `fdb del`.
pub(crate) fn parse_del(words: &[String]) -> Result<(Option<DeviceName>, FdbTarget), Failure> {
    let mut words = Words::new("fdb del", words);
    let entry = entry(&mut words)?;
    // A state may stand there, as in a line of `fdb show` that is pasted; `bridge` does not look at it either.
    let mac = words.missing(entry.mac, "ADDR", ADDR_FORM)?;
    Ok((entry.dev, FdbTarget { mac, dst: entry.dst, port: entry.port, vni: entry.vni }))
}

/// The words of `fdb flush`.
pub(crate) fn parse_flush(words: &[String]) -> Result<(Option<DeviceName>, FlushFilter), Failure> {
    const ALL: [EntryState; 3] = [EntryState::Permanent, EntryState::Static, EntryState::Dynamic];
    let mut words = Words::new("fdb flush", words);
    let (mut dev, mut filter) = (None, FlushFilter::default());
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        match word {
            "dev" => words.value(word, &mut dev, words::dev)?,
            "dst" => words.value(word, &mut filter.dst, values::ip)?,
            "port" => words.value(word, &mut filter.port, values::port)?,
            "vni" => words.value(word, &mut filter.vni, words::vni)?,
            "self" => {}
            _ => match (state(word), word.strip_prefix("no").and_then(state), foreign(word)) {
                (Some(state), _, _) => wanted.push(state),
                (None, Some(state), _) => unwanted.push(state),
                (None, None, Some(why)) => return Err(words.wrong(&format!("{word:?}"), why)),
                (None, None, None) => {
                    let allowed = "dev DEV, dst IP, port PORT, vni VNI, self, [no]permanent, [no]static and [no]dynamic";
                    return Err(words.unknown(word, allowed));
                }
            },
        }
    }
    if !(wanted.is_empty() && unwanted.is_empty()) {
        let left = ALL.into_iter().filter(|state| wanted.is_empty() || wanted.contains(state));
        let left: Vec<_> = left.filter(|state| !unwanted.contains(state)).collect();
        if left.is_empty() {
            return Err(words.wrong("states", "no entry can match all of these words"));
        }
        filter.states = Some(left);
    }
    Ok((dev, filter))
}

/// The words of `fdb show`.
pub(crate) fn parse_show(words: &[String]) -> Result<FdbView, Failure> {
    let mut words = Words::new("fdb show", words);
    let mut view = FdbView::default();
    while let Some(word) = words.next() {
        match word {
            "dev" => words.value(word, &mut view.dev, words::dev)?,
            "state" => words
                .value(word, &mut view.state, |text| state(text).ok_or("permanent, static or dynamic"))?,
            "dynamic" => words.fill(word, word, &mut view.state, |_| Ok::<_, &str>(EntryState::Dynamic))?,
            "self" => {}
            _ => match foreign(word) {
                Some(why) => return Err(words.wrong(&format!("{word:?}"), why)),
                None if view.dev.is_none() => words.fill("dev", word, &mut view.dev, words::dev)?,
                None => {
                    return Err(words.unknown(word, "dev DEV, state permanent|static|dynamic, and dynamic"));
                }
            },
        }
    }
    Ok(view)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use vxgate_codec::Vni;

    use super::*;

    fn split(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn dev(name: &str) -> Option<DeviceName> {
        Some(name.parse().unwrap())
    }

    #[test]
    fn words_of_an_entry_stand_in_any_order() {
        let expected = FdbNew {
            mac: "02:00:00:00:00:01".parse().unwrap(),
            dst: "10.0.0.1".parse().unwrap(),
            port: Some(4789),
            vni: Vni::new(10),
            state: EntryState::Static,
        };
        for line in [
            "02:00:00:00:00:01 dev vxlan0 dst 10.0.0.1 port 4789 vni 10 self static",
            "static vni 10 dst 10.0.0.1 self dev vxlan0 port 4789 02:00:00:00:00:01",
            "to 02-00-00-00-00-01 dst 10.0.0.1 port 4789 vni 10 static dev vxlan0",
        ] {
            assert_eq!(
                parse_set(FdbVerb::Add, &split(line)).unwrap(),
                (dev("vxlan0"), expected.clone()),
                "{line}"
            );
        }
    }

    #[test]
    fn an_entry_is_permanent_and_of_the_only_tunnel_unless_said() {
        let (device, entry) = parse_set(FdbVerb::Append, &split("00:00:00:00:00:00 dst 10.0.0.1")).unwrap();
        assert_eq!((device, entry.state, entry.port, entry.vni), (None, EntryState::Permanent, None, None));
    }

    #[test]
    fn a_line_of_fdb_show_can_be_deleted_as_it_stands() {
        let (device, target) =
            parse_del(&split("00:00:00:00:00:00 dst 100.64.158.4 self permanent dev vxlan0")).unwrap();
        assert_eq!(device, dev("vxlan0"));
        assert_eq!((target.mac, target.dst), (MacAddr::ZERO, Some("100.64.158.4".parse().unwrap())));
        assert_eq!(parse_del(&split("02:00:00:00:00:01")).unwrap().1.dst, None);
    }

    #[test]
    fn flush_keeps_what_its_words_exclude() {
        use EntryState::{Dynamic, Permanent, Static};
        for (line, states) in [
            ("", None),
            ("dynamic", Some(vec![Dynamic])),
            ("static permanent", Some(vec![Permanent, Static])),
            ("nopermanent", Some(vec![Static, Dynamic])),
            ("nostatic nopermanent", Some(vec![Dynamic])),
            ("local nodynamic", Some(vec![Permanent])),
        ] {
            assert_eq!(parse_flush(&split(line)).unwrap().1.states, states, "{line}");
        }
        let (device, filter) = parse_flush(&split("dev vxlan0 self dst 10.0.0.1 port 8472 vni 0")).unwrap();
        assert_eq!(device, dev("vxlan0"));
        assert_eq!((filter.port, filter.vni), (Some(8472), Vni::new(0)));
    }

    #[test]
    fn show_takes_a_device_with_or_without_dev() {
        for line in ["vxlan0 dynamic", "dev vxlan0 state dynamic", "dynamic self vxlan0"] {
            let view = parse_show(&split(line)).unwrap();
            assert_eq!(view, FdbView { dev: dev("vxlan0"), state: Some(EntryState::Dynamic) }, "{line}");
        }
        assert_eq!(parse_show(&[]).unwrap(), FdbView::default());
    }

    #[test]
    fn each_wrong_word_is_named_with_what_is_allowed() {
        type Parse = fn(&[String]) -> Result<(), Failure>;
        let add: Parse = |words| parse_set(FdbVerb::Add, words).map(drop);
        let del: Parse = |words| parse_del(words).map(drop);
        let flush: Parse = |words| parse_flush(words).map(drop);
        let show: Parse = |words| parse_show(words).map(drop);
        for (parse, line, message) in [
            (add, "", "fdb add: ADDR is missing: a MAC address"),
            (add, "02:00:00:00:00:01", "fdb add: dst is missing: dst IP"),
            (add, "02:00:00:00:00", "ADDR \"02:00:00:00:00\": a MAC address is six pairs"),
            (add, "02:00:00:00:00:01 dst", "dst: a value is missing"),
            (add, "02:00:00:00:00:01 dst host", "dst \"host\": an IPv4 or IPv6 address"),
            (add, "02:00:00:00:00:01 dst 0.0.0.0", "dst \"0.0.0.0\": a remote's own address"),
            (add, "02:00:00:00:00:01 dst 10.0.0.1 dst 10.0.0.2", "dst \"10.0.0.2\": dst is given twice"),
            (add, "02:00:00:00:00:01 dst 10.0.0.1 port 0", "port \"0\": a port is a number from 1 to 65535"),
            (add, "02:00:00:00:00:01 dst 10.0.0.1 vni 16777216", "vni \"16777216\": a VNI is a whole number"),
            (add, "02:00:00:00:00:01 dst 10.0.0.1 dev a/b", "dev \"a/b\": a device's name"),
            (add, "02:00:00:00:00:01 dst 10.0.0.1 static dynamic", "\"dynamic\": an entry has one state"),
            (
                add,
                "02:00:00:00:00:01 02:00:00:00:00:02 dst 10.0.0.1",
                "\"02:00:00:00:00:02\": allowed are ADDR, dev DEV",
            ),
            (add, "02:00:00:00:00:01 dst 10.0.0.1 master", "\"master\": vxgate's device is no bridge"),
            (add, "02:00:00:00:00:01 dst 10.0.0.1 via eth0", "\"via\": the route to the remote"),
            (add, "02:00:00:00:00:01 dst 10.0.0.1 blah", "\"blah\": allowed are ADDR, dev DEV"),
            (del, "", "fdb del: ADDR is missing"),
            (flush, "dynamc", "fdb flush: \"dynamc\": allowed are dev DEV"),
            (flush, "dynamic nodynamic", "fdb flush: states: no entry can match"),
            (flush, "vlan 7", "\"vlan\": entries are per MAC address"),
            (show, "state stale", "fdb show: state \"stale\": permanent, static or dynamic"),
            (show, "dynamic state static", "state \"static\": state is given twice"),
            (show, "vxlan0 vxlan1", "\"vxlan1\": allowed are dev DEV"),
            (show, "br br0", "\"br\": vxgate's device is no bridge"),
        ] {
            let failure = parse(&split(line)).expect_err(line).to_string();
            assert!(failure.contains(message), "{line}: {failure}");
            assert!(failure.contains("\nhint: `vxgate fdb "), "{line}: {failure}");
        }
    }

    proptest! {
        #[test]
        fn any_words_parse_or_say_why(words: Vec<String>) {
            let _ = (parse_set(FdbVerb::Add, &words), parse_del(&words), parse_flush(&words), parse_show(&words));
        }

        #[test]
        fn known_words_in_any_order_parse_or_say_why(words in prop::collection::vec(select(vec![
            "dev", "dst", "port", "vni", "to", "self", "static", "dynamic", "permanent", "nostatic", "vxlan0",
            "10.0.0.1", "4789", "10", "02:00:00:00:00:01", "state", "via", "",
        ]), 0..12)) {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            let _ = (parse_set(FdbVerb::Add, &words), parse_del(&words), parse_flush(&words), parse_show(&words));
        }
    }
}
