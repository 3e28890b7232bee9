//! What the API keeps: an account, its tokens and its VPGs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value, json};

/// The VPG that a new fake has.
pub const VPG_ID: &str = "11111111-2222-4333-8444-555555555555";

/// Who may log in, in each of the three ways. All of it is made up.
#[derive(Clone, Debug)]
pub struct Account {
    /// `operatorId`.
    pub operator_id: String,
    /// `authKeyId`.
    pub auth_key_id: String,
    /// `authKey`.
    pub auth_key: String,
    /// `email` of the root user.
    pub email: String,
    /// `password` of the root user.
    pub password: String,
    /// `userName` of a SAM user.
    pub user_name: String,
    /// `password` of that user.
    pub user_password: String,
    /// `mfaOTPCode` that the two with a password must give; `None` asks for none.
    pub otp: Option<String>,
}

impl Default for Account {
    fn default() -> Account {
        Account {
            operator_id: "OP0000000001".to_owned(),
            auth_key_id: "keyId-fakegatefakegate".to_owned(),
            auth_key: "secret-fakegatefakegatefakegate".to_owned(),
            email: "gate@example.com".to_owned(),
            password: "fake-Passw0rd-of-root".to_owned(),
            user_name: "gatekeeper".to_owned(),
            user_password: "fake-Passw0rd-of-user".to_owned(),
            otp: None,
        }
    }
}

/// One end of the Gate tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `innerIpAddress`.
    pub inner: IpAddr,
    /// `netmask`; `None` is null.
    pub netmask: Option<String>,
    /// `outerIpAddress`.
    pub outer: IpAddr,
    /// `ownedByCustomer`.
    pub owned_by_customer: bool,
}

impl Peer {
    fn to_json(&self) -> Value {
        json!({
            "innerIpAddress": self.inner.to_string(),
            "netmask": self.netmask,
            "outerIpAddress": self.outer.to_string(),
            "ownedByCustomer": self.owned_by_customer,
            "addedLater": { "deep": [1, null] },
        })
    }
}

/// A VPG as the API shows it.
#[derive(Clone, Debug)]
pub struct Vpg {
    /// `status`.
    pub status: String,
    /// `gateOpened`.
    pub gate_opened: bool,
    /// `gateVxlanId`; null until the Gate is opened for the first time.
    pub vni: Option<u32>,
    /// `gatePrivacySeparatorEnabled`.
    pub privacy_separator: bool,
    /// The devices' subnet.
    pub device_subnet: String,
    /// The name that it goes by: `deviceSubnetCidrRange`, or `ueSubnetCidrRange`.
    pub device_subnet_field: &'static str,
    /// `vpgSubnetCidrRange`.
    pub vpg_subnet: String,
    /// `enableSimBasedRouting`.
    pub sim_based_routing: bool,
    /// `simBasedRoutingConfig`: a SIM's IMSI, and what lies behind it.
    pub sim_routes: BTreeMap<String, String>,
    /// Both ends of its tunnels, in the order of the list.
    pub peers: Vec<Peer>,
    /// The netmask of every inner address.
    pub netmask: String,
    /// The inner address that the next customer's peer gets.
    pub next_inner: Ipv4Addr,
    /// Whether a list fills in the netmask that a registration left null, as the API does.
    pub fills_in_netmasks: bool,
}

impl Default for Vpg {
    /// The VPG of SORACOM's own example: two Gate peers, nobody registered, the Gate closed.
    fn default() -> Vpg {
        let netmask = "255.128.0.0";
        let gate = |inner, outer| Peer {
            inner: IpAddr::V4(inner),
            netmask: Some(netmask.to_owned()),
            outer: IpAddr::V4(outer),
            owned_by_customer: false,
        };
        Vpg {
            status: "running".to_owned(),
            gate_opened: false,
            vni: None,
            privacy_separator: true,
            device_subnet: "10.128.0.0/9".to_owned(),
            device_subnet_field: "deviceSubnetCidrRange",
            vpg_subnet: "100.64.158.0/24".to_owned(),
            sim_based_routing: false,
            sim_routes: BTreeMap::new(),
            peers: vec![
                gate(Ipv4Addr::new(10, 192, 158, 132), Ipv4Addr::new(100, 64, 158, 132)),
                gate(Ipv4Addr::new(10, 192, 158, 4), Ipv4Addr::new(100, 64, 158, 4)),
            ],
            netmask: netmask.to_owned(),
            next_inner: Ipv4Addr::new(10, 225, 194, 171),
            fills_in_netmasks: true,
        }
    }
}

impl Vpg {
    /// Registers a customer's peer, as `register-gate-peer` does, with the netmask still null.
    pub fn register(&mut self, outer: IpAddr, inner: Option<IpAddr>) -> Peer {
        let inner = inner.unwrap_or_else(|| {
            let inner = self.next_inner;
            self.next_inner = Ipv4Addr::from_bits(inner.to_bits().wrapping_add(1));
            IpAddr::V4(inner)
        });
        let peer = Peer { inner, netmask: None, outer, owned_by_customer: true };
        self.peers.push(peer.clone());
        peer
    }

    /// The answer of a list; it fills in netmasks.
    pub(crate) fn list(&mut self) -> Value {
        if self.fills_in_netmasks {
            for peer in &mut self.peers {
                peer.netmask.get_or_insert_with(|| self.netmask.clone());
            }
        }
        self.peers.iter().map(Peer::to_json).collect()
    }

    pub(crate) fn registered(peer: &Peer) -> Value {
        peer.to_json()
    }

    pub(crate) fn to_json(&self, id: &str, operator: &str) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("vpgId", json!(id));
        put("operatorId", json!(operator));
        put("type", json!(14));
        put("status", json!(self.status));
        put("gateOpened", json!(self.gate_opened));
        put("gateVxlanId", json!(self.vni));
        put("gatePrivacySeparatorEnabled", json!(self.privacy_separator));
        put(self.device_subnet_field, json!(self.device_subnet));
        put("vpgSubnetCidrRange", json!(self.vpg_subnet));
        put("enableSimBasedRouting", json!(self.sim_based_routing));
        put("simBasedRoutingConfig", json!(self.sim_routes));
        put("tags", json!({ "name": "a VPG of the fake" }));
        put("addedLater", json!([{ "deep": null }]));
        Value::Object(object)
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Who may log in.
    pub account: Account,
    /// The VPGs by their id.
    pub vpgs: BTreeMap<String, Vpg>,
    /// API keys and tokens that are good now.
    pub(crate) tokens: Vec<(String, String)>,
    /// How many were given out.
    issued: u32,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            account: Account::default(),
            vpgs: BTreeMap::from([(VPG_ID.to_owned(), Vpg::default())]),
            tokens: Vec::new(),
            issued: 0,
        }
    }
}

impl Gate {
    /// The VPG [`VPG_ID`].
    ///
    /// # Panics
    /// When the test took it away.
    pub fn vpg_mut(&mut self) -> &mut Vpg {
        self.vpgs.get_mut(VPG_ID).expect("the VPG of a new fake")
    }

    /// Gives out an API key and a token, as a login does.
    pub fn issue(&mut self) -> (String, String) {
        self.issued += 1;
        let pair = (format!("api-fake-key-{}", self.issued), format!("fake-token-{}", self.issued));
        self.tokens.push(pair.clone());
        pair
    }

    /// Makes every token that was given out a stale one: the next call with it gets 401.
    pub fn expire_tokens(&mut self) {
        self.tokens.clear();
    }
}
