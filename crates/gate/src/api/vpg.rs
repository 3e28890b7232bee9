//! The API's object of a VPG, as far as a Gate needs it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};
use thiserror::Error;
use vxgate_codec::Vni;

use crate::peers::kind;

/// A virtual private gateway. Fields that a Gate does not need are left out, unknown ones are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpg {
    /// `vpgId`.
    pub vpg_id: String,
    /// `status`, as in `running`.
    pub status: String,
    /// `tags.name`.
    pub name: Option<String>,
    /// `gateOpened`.
    pub gate_opened: bool,
    /// `gateVxlanId`: null before the gate is first opened.
    pub gate_vni: Option<Vni>,
    /// `gatePrivacySeparatorEnabled`: whether devices are kept from each other.
    pub privacy_separator: Option<bool>,
    /// `deviceSubnetCidrRange`, or `ueSubnetCidrRange` by its older name: where devices have their addresses.
    pub device_subnet: Option<IpNet>,
    /// `vpgSubnetCidrRange`: where the outer addresses of the VPG's Gate peers lie.
    pub vpg_subnet: Option<IpNet>,
    /// The networks of `simBasedRoutingConfig`, sorted, each once: what to route into the tunnel. Empty where
    /// `enableSimBasedRouting` is not true.
    pub sim_routes: Vec<IpNet>,
    /// Values of `simBasedRoutingConfig` that are no network. They cost a route and not the tunnel; whoever installs the
    /// routes should say so.
    pub unread_routes: Vec<String>,
}

impl Vpg {
    /// Reads the API's answer.
    ///
    /// # Errors
    ///
    /// The first field that is not as the API writes it.
    pub fn parse(json: &[u8]) -> Result<Vpg, VpgError> {
        let document: Value = serde_json::from_slice(json).map_err(|error| VpgError::Json {
            line: error.line(),
            column: error.column(),
            why: crate::peers::cause(&error),
        })?;
        match document {
            Value::Object(object) => Vpg::from_object(&object),
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Err(VpgError::NotAnObject { found: kind(&other) })
            }
        }
    }

    fn from_object(object: &Map<String, Value>) -> Result<Vpg, VpgError> {
        let routing = boolean(object, "enableSimBasedRouting")?.unwrap_or(false);
        let (sim_routes, unread_routes) = if routing { routes(object)? } else { (Vec::new(), Vec::new()) };
        let device_subnet = match network(object, "deviceSubnetCidrRange")? {
            Some(subnet) => Some(subnet),
            None => network(object, "ueSubnetCidrRange")?,
        };
        Ok(Vpg {
            vpg_id: text(object, "vpgId")?,
            status: text(object, "status")?,
            name: object.get("tags").and_then(|tags| tags.get("name")?.as_str()).map(str::to_owned),
            gate_opened: boolean(object, "gateOpened")?
                .ok_or_else(|| wrong("gateOpened", TRUTH, object.get("gateOpened")))?,
            gate_vni: vni(object, "gateVxlanId")?,
            privacy_separator: boolean(object, "gatePrivacySeparatorEnabled")?,
            device_subnet,
            vpg_subnet: network(object, "vpgSubnetCidrRange")?,
            sim_routes,
            unread_routes,
        })
    }
}

const TRUTH: &str = "true or false";

fn text(object: &Map<String, Value>, field: &'static str) -> Result<String, VpgError> {
    match object.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        value => Err(wrong(field, "a string", value)),
    }
}

fn boolean(object: &Map<String, Value>, field: &'static str) -> Result<Option<bool>, VpgError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        value => Err(wrong(field, TRUTH, value)),
    }
}

fn vni(object: &Map<String, Value>, field: &'static str) -> Result<Option<Vni>, VpgError> {
    let wanted = "a number from 0 to 16777215";
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let vni = number.as_u64().and_then(|number| u32::try_from(number).ok()).and_then(Vni::new);
            vni.map(Some).ok_or_else(|| VpgError::Field { field, wanted, found: number.to_string() })
        }
        value => Err(wrong(field, wanted, value)),
    }
}

fn network(object: &Map<String, Value>, field: &'static str) -> Result<Option<IpNet>, VpgError> {
    let wanted = "a network in a string, as in \"10.128.0.0/9\"";
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match parse_network(text) {
            Some(network) => Ok(Some(network)),
            None => Err(VpgError::Field { field, wanted, found: format!("{text:?}") }),
        },
        value => Err(wrong(field, wanted, value)),
    }
}

/// A network, with the bits of its host off; an address alone is a network of one.
fn parse_network(text: &str) -> Option<IpNet> {
    let host = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(host).map(|network| network.trunc())
}

fn routes(object: &Map<String, Value>) -> Result<(Vec<IpNet>, Vec<String>), VpgError> {
    let field = "simBasedRoutingConfig";
    let map = match object.get(field) {
        None | Some(Value::Null) => return Ok((Vec::new(), Vec::new())),
        Some(Value::Object(map)) => map,
        value => return Err(wrong(field, "an object of networks", value)),
    };
    let (mut networks, mut unread) = (Vec::new(), Vec::new());
    for value in map.values() {
        match value.as_str().and_then(parse_network) {
            Some(network) => networks.push(network),
            None => unread.push(value.to_string()),
        }
    }
    networks.sort_unstable();
    networks.dedup();
    Ok((networks, unread))
}

fn wrong(field: &'static str, wanted: &'static str, found: Option<&Value>) -> VpgError {
    VpgError::Field { field, wanted, found: found.map_or("nothing", kind).to_owned() }
}

/// What in the object is not as the API writes it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VpgError {
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
    /// JSON, but no object.
    #[error("found {found} where a VPG's object stands")]
    NotAnObject {
        /// What stands there.
        found: &'static str,
    },
    /// A field is missing, of a wrong type, or holds no such value.
    #[error("{field} should be {wanted}; found {found}")]
    Field {
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

    /// An object with the fields of the API's definition, of two SIMs that are routed.
    const VPG: &str = r#"{
        "vpgId": "a-1", "operatorId": "OP1", "type": 15, "status": "running", "tags": {"name": "gate"},
        "gateOpened": true, "gateVxlanId": 10, "gatePrivacySeparatorEnabled": false,
        "ueSubnetCidrRange": "10.128.0.0/9", "vpgSubnetCidrRange": "100.64.158.0/24",
        "enableSimBasedRouting": true,
        "simBasedRoutingConfig": {"b": "192.168.2.0/24", "a": "192.168.1.77/24", "c": "192.168.2.0/24", "d": "10.9.8.7"},
        "createdTime": 1469088000000, "virtualInterfaces": {}
    }"#;

    #[test]
    fn the_fields_of_a_gate_are_read_and_others_are_ignored() {
        let vpg = Vpg::parse(VPG.as_bytes()).unwrap();
        assert_eq!(
            (vpg.vpg_id.as_str(), vpg.status.as_str(), vpg.name.as_deref()),
            ("a-1", "running", Some("gate"))
        );
        assert_eq!((vpg.gate_opened, vpg.gate_vni, vpg.privacy_separator), (true, Vni::new(10), Some(false)));
        assert_eq!(vpg.device_subnet, Some("10.128.0.0/9".parse().unwrap()));
        assert_eq!(vpg.vpg_subnet, Some("100.64.158.0/24".parse().unwrap()));
        let routes: Vec<_> = vpg.sim_routes.iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["10.9.8.7/32", "192.168.1.0/24", "192.168.2.0/24"]);
    }

    #[test]
    fn the_newer_name_of_the_devices_subnet_wins() {
        let both = VPG.replace("\"tags\"", "\"deviceSubnetCidrRange\": \"10.0.0.0/8\", \"tags\"");
        assert_eq!(Vpg::parse(both.as_bytes()).unwrap().device_subnet, Some("10.0.0.0/8".parse().unwrap()));
    }

    #[test]
    fn a_gate_that_was_never_opened_has_no_vni_and_routing_that_is_off_has_no_routes() {
        let json = br#"{"vpgId": "a", "status": "creating", "gateOpened": false, "gateVxlanId": null,
            "enableSimBasedRouting": false, "simBasedRoutingConfig": {"a": 1}}"#;
        let vpg = Vpg::parse(json).unwrap();
        assert_eq!((vpg.gate_vni, vpg.device_subnet, vpg.sim_routes), (None, None, vec![]));
    }

    #[test]
    fn a_route_that_is_none_costs_itself_only() {
        let json = VPG.replace("\"10.9.8.7\"", "{\"cidr\": 7}");
        let vpg = Vpg::parse(json.as_bytes()).unwrap();
        assert_eq!((vpg.sim_routes.len(), vpg.unread_routes), (2, vec!["{\"cidr\":7}".to_owned()]));
    }

    #[test]
    fn each_fault_says_which_field_and_what_stands_there() {
        for (from, to, words) in [
            ("{\n", "", "line 1, column 16: not JSON: trailing characters"),
            ("\"gateOpened\": true,", "", "gateOpened should be true or false; found nothing"),
            (
                "\"gateOpened\": true",
                "\"gateOpened\": \"true\"",
                "gateOpened should be true or false; found a string",
            ),
            ("\"a-1\"", "7", "vpgId should be a string; found a number"),
            ("\"gateVxlanId\": 10", "\"gateVxlanId\": 16777216", "from 0 to 16777215; found 16777216"),
            ("\"gateVxlanId\": 10", "\"gateVxlanId\": \"10\"", "gateVxlanId should be a number"),
            ("10.128.0.0/9", "10.128.0.0/99", "ueSubnetCidrRange should be a network in a string"),
            (
                "\"simBasedRoutingConfig\": {",
                "\"simBasedRoutingConfig\": [], \"x\": {",
                "an object of networks; found a list",
            ),
        ] {
            let error = Vpg::parse(VPG.replacen(from, to, 1).as_bytes()).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(Vpg::parse(b"[]"), Err(VpgError::NotAnObject { found: "a list" }));
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_say_why(octets: Vec<u8>) {
            let _ = Vpg::parse(&octets).map_err(|error| error.to_string());
        }

        #[test]
        fn an_answer_with_any_octets_replaced_parses_or_says_why(
            start in 0..VPG.len(), length in 0usize..40, patch: Vec<u8>
        ) {
            let mut octets = VPG.as_bytes().to_vec();
            let end = (start + length).min(octets.len());
            octets.splice(start..end, patch);
            let _ = Vpg::parse(&octets).map_err(|error| error.to_string());
        }
    }
}
