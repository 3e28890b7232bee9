//! The JSON of `soracom vpg list-gate-peers`: a list of objects, one per Gate peer.
//!
//! The document is walked by hand rather than derived, so that each error says which entry and which field it means.
//! Unknown fields are ignored, as the API's own clients do.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::Netmask;

/// One end of a Gate tunnel: a VPG's, or the customer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatePeer {
    /// `innerIpAddress`: its address in the devices' network.
    pub inner_ip: IpAddr,
    /// `netmask` of the devices' network. `None` where the API says null: right after `register-gate-peer`, until the
    /// next list.
    pub netmask: Option<Netmask>,
    /// `outerIpAddress`: where its datagrams come from.
    pub outer_ip: IpAddr,
    /// `ownedByCustomer`: false for the VPG's own peers.
    pub owned_by_customer: bool,
}

impl GatePeer {
    /// The inner address with its prefix, as the device takes it; `None` while the netmask is unknown.
    #[must_use]
    pub fn address(&self) -> Option<IpNet> {
        IpNet::new(self.inner_ip, self.netmask?.prefix_len()).ok()
    }
}

/// Reads what `soracom vpg list-gate-peers` prints, or one object as `register-gate-peer` prints it.
///
/// ```
/// let json = br#"[{"innerIpAddress": "10.192.158.4", "netmask": "255.128.0.0",
///                  "outerIpAddress": "100.64.158.4", "ownedByCustomer": false}]"#;
/// let peers = vxgate_gate::peers::parse(json)?;
/// assert_eq!(peers[0].address(), Some("10.192.158.4/9".parse().expect("an address")));
/// # Ok::<(), vxgate_gate::PeersError>(())
/// ```
///
/// # Errors
///
/// The first thing in the document that is not as the API writes it.
pub fn parse(json: &[u8]) -> Result<Vec<GatePeer>, PeersError> {
    let document: Value = serde_json::from_slice(json).map_err(|error| PeersError::Json {
        line: error.line(),
        column: error.column(),
        why: cause(&error),
    })?;
    match document {
        Value::Array(entries) => {
            entries.iter().enumerate().map(|(index, value)| peer(index + 1, value)).collect()
        }
        Value::Object(object) if object.contains_key("outerIpAddress") => {
            Ok(vec![peer(1, &Value::Object(object))?])
        }
        Value::Object(object) => Err(refusal(&object).unwrap_or(PeersError::NotAList { found: "an object" })),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            Err(PeersError::NotAList { found: kind(&other) })
        }
    }
}

/// The VPG's own peers: the ones to tunnel to.
pub fn vpg_peers(peers: &[GatePeer]) -> impl Iterator<Item = &GatePeer> {
    peers.iter().filter(|peer| !peer.owned_by_customer)
}

/// The entry under which a customer's host with this outer address is registered.
#[must_use]
pub fn own_entry(peers: &[GatePeer], local: IpAddr) -> Option<&GatePeer> {
    peers.iter().find(|peer| peer.owned_by_customer && peer.outer_ip == local)
}

fn peer(entry: usize, value: &Value) -> Result<GatePeer, PeersError> {
    let Value::Object(object) = value else {
        return Err(PeersError::NotAnObject { entry, found: kind(value) });
    };
    let field = |name| Field { entry, name, value: object.get(name) };
    Ok(GatePeer {
        inner_ip: field("innerIpAddress").ip()?,
        netmask: field("netmask").netmask()?,
        outer_ip: field("outerIpAddress").ip()?,
        owned_by_customer: field("ownedByCustomer").boolean()?,
    })
}

/// One named field of one entry.
#[derive(Clone, Copy)]
struct Field<'a> {
    entry: usize,
    name: &'static str,
    value: Option<&'a Value>,
}

impl Field<'_> {
    fn ip(self) -> Result<IpAddr, PeersError> {
        let wanted = "an IP address in a string";
        match self.value {
            Some(Value::String(text)) => text.parse().map_err(|_| self.wrong(wanted, format!("{text:?}"))),
            value => Err(self.absent(wanted, value)),
        }
    }

    fn netmask(self) -> Result<Option<Netmask>, PeersError> {
        let wanted = "a netmask in a string, as in \"255.128.0.0\", or null";
        match self.value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                text.parse().map(Some).map_err(|_| self.wrong(wanted, format!("{text:?}")))
            }
            value => Err(self.absent(wanted, value)),
        }
    }

    fn boolean(self) -> Result<bool, PeersError> {
        match self.value {
            Some(Value::Bool(value)) => Ok(*value),
            value => Err(self.absent("true or false", value)),
        }
    }

    fn absent(self, wanted: &'static str, value: Option<&Value>) -> PeersError {
        self.wrong(wanted, value.map_or("nothing", kind).to_owned())
    }

    fn wrong(self, wanted: &'static str, found: String) -> PeersError {
        PeersError::Field { entry: self.entry, field: self.name, wanted, found }
    }
}

/// Longest text of somebody else's that is shown, in characters.
const MAX_SHOWN: usize = 300;

/// The API's own error, `{code, message}`, which the command prints where the list would stand.
fn refusal(object: &Map<String, Value>) -> Option<PeersError> {
    // It is shown as it comes, and comes from wherever the list does.
    let shown = |text: &str| {
        let shown = text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c });
        shown.collect::<String>()
    };
    let text = |name| object.get(name)?.as_str().map(shown);
    Some(PeersError::Refused { code: text("code")?, message: text("message")? })
}

pub(crate) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The parser's reason without the place, which the error names itself.
pub(crate) fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(why, _)| why.to_owned())
}

/// What in the document is not as the API writes it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PeersError {
    /// No JSON.
    #[error("line {line}, column {column}: not JSON: {why}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 0.
        column: usize,
        /// The parser's reason.
        why: String,
    },
    /// JSON, but no list of peers.
    #[error("found {found} where `soracom vpg list-gate-peers` prints a list")]
    NotAList {
        /// What stands there.
        found: &'static str,
    },
    /// The API's refusal instead of a list.
    #[error("the API refused: {message} ({code})")]
    Refused {
        /// `code`, as in `VPG0001`.
        code: String,
        /// `message`.
        message: String,
    },
    /// An element of the list is no object.
    #[error("entry {entry}: found {found} where a Gate peer's object stands")]
    NotAnObject {
        /// Which element, from 1.
        entry: usize,
        /// What stands there.
        found: &'static str,
    },
    /// A field is missing, of a wrong type, or holds no such value.
    #[error("entry {entry}: {field} should be {wanted}; found {found}")]
    Field {
        /// Which element, from 1.
        entry: usize,
        /// The field's name.
        field: &'static str,
        /// What the API writes there.
        wanted: &'static str,
        /// What stands there.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The seed's list after registration, as it stands in the article.
    const SEED: &str = r#"[
	{
		"innerIpAddress": "10.192.158.132",
		"netmask": "255.128.0.0",
		"outerIpAddress": "100.64.158.132",
		"ownedByCustomer": false
	},
	{
		"innerIpAddress": "10.192.158.4",
		"netmask": "255.128.0.0",
		"outerIpAddress": "100.64.158.4",
		"ownedByCustomer": false
	},
	{
		"innerIpAddress": "10.225.194.171",
		"netmask": "255.128.0.0",
		"outerIpAddress": "172.21.0.100",
		"ownedByCustomer": true
	}
]"#;

    /// The seed's answer of `register-gate-peer`.
    const REGISTERED: &str = r#"{
	"innerIpAddress": "10.225.194.171",
	"netmask": null,
	"outerIpAddress": "172.21.0.100",
	"ownedByCustomer": true
}"#;

    #[test]
    fn the_seeds_list_has_two_vpg_peers_and_our_entry() {
        let peers = parse(SEED.as_bytes()).unwrap();
        assert_eq!(peers.len(), 3);
        let outer: Vec<_> = vpg_peers(&peers).map(|peer| peer.outer_ip.to_string()).collect();
        assert_eq!(outer, ["100.64.158.132", "100.64.158.4"]);
        let own = own_entry(&peers, "172.21.0.100".parse().unwrap()).unwrap();
        assert_eq!(own.address(), Some("10.225.194.171/9".parse().unwrap()));
        assert_eq!(own_entry(&peers, "100.64.158.4".parse().unwrap()), None, "a VPG's peer is not us");
    }

    #[test]
    fn a_fresh_registration_has_no_netmask_and_so_no_address() {
        let peers = parse(REGISTERED.as_bytes()).unwrap();
        assert_eq!(peers.len(), 1);
        assert_eq!((peers[0].netmask, peers[0].address()), (None, None));
        let without = REGISTERED.replace("\"netmask\": null,", "");
        assert_eq!(parse(without.as_bytes()), Ok(peers), "an absent netmask reads as null");
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let json =
            SEED.replace("\"ownedByCustomer\"", "\"future\": {\"deep\": [1, null]}, \"ownedByCustomer\"");
        assert_eq!(parse(json.as_bytes()), parse(SEED.as_bytes()));
    }

    #[test]
    fn an_empty_list_is_a_list() {
        assert_eq!(parse(b" [] \n"), Ok(Vec::new()));
    }

    #[test]
    fn each_fault_says_where_and_what() {
        let entry = |from: &str, to: &str| SEED.replacen(from, to, 1);
        for (json, words) in [
            (String::new(), "line 1, column 0: not JSON: EOF while parsing a value"),
            ("[{".to_owned(), "not JSON: EOF"),
            (SEED[..SEED.len() - 1].to_owned(), "line 20, column 0: not JSON: EOF while parsing a list"),
            ("null".to_owned(), "found null where"),
            ("{}".to_owned(), "found an object where"),
            ("7".to_owned(), "found a number where"),
            (
                r#"{"code": "VPG0001", "message": "No such VPG"}"#.to_owned(),
                "the API refused: No such VPG (VPG0001)",
            ),
            (
                r#"{"code": "VPG0001", "message": "No\u001b[2J\nhint: such"}"#.to_owned(),
                "the API refused: No [2J hint: such (VPG0001)",
            ),
            (r#"["100.64.158.4"]"#.to_owned(), "entry 1: found a string where"),
            (
                entry("\"10.192.158.4\"", "null"),
                "entry 2: innerIpAddress should be an IP address in a string; found null",
            ),
            (
                entry("\"10.192.158.4\"", "\"10.192.158\""),
                "entry 2: innerIpAddress should be an IP address in a string; found \"10.192.158\"",
            ),
            (
                entry("\"outerIpAddress\"", "\"outer\""),
                "entry 1: outerIpAddress should be an IP address in a string; found nothing",
            ),
            (entry("true", "\"true\""), "entry 3: ownedByCustomer should be true or false; found a string"),
            (entry("\"255.128.0.0\"", "9"), "entry 1: netmask should be a netmask in a string"),
            (entry("255.128.0.0", "10.255.255.255"), "found \"10.255.255.255\""),
        ] {
            let error = parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
        assert!(parse(&[b'['; 100_000]).is_err(), "deep nesting is refused, not followed");
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_say_why(bytes: Vec<u8>) {
            let _ = parse(&bytes).map_err(|error| error.to_string());
        }

        #[test]
        fn the_seed_with_any_bytes_replaced_parses_or_says_why(
            start in 0..SEED.len(), length in 0usize..40, patch: Vec<u8>
        ) {
            let mut bytes = SEED.as_bytes().to_vec();
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, patch);
            let _ = parse(&bytes).map_err(|error| error.to_string());
        }
    }
}
