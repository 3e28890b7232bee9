//! The loads: their names, and which of them a word on the command line means.

use std::fmt;

use super::model::{LoadKind, Unit};

/// Payload of the smallest Ethernet frame in octets: 64 less Ethernet header, FCS, IPv4 and UDP headers.
const SMALL_OCTETS: usize = 18;
/// Payloads of the UDP loads, in octets: the smallest frame, a middling one, and a large one that fits the tunnel.
const PAYLOADS: [usize; 3] = [SMALL_OCTETS, 512, 1400];
/// Flows of the UDP loads.
const FLOWS: [usize; 2] = [1, 8];
/// Streams of the TCP loads.
const STREAMS: [usize; 3] = [1, 4, 16];
/// Flows of the simple Internet mix.
const IMIX_FLOWS: usize = 8;
/// Connections that are open at once.
const CONNECTIONS: usize = 8;

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// TCP streams.
    Tcp { streams: usize },
    /// UDP as fast as it goes.
    UdpFlat { payload_octets: usize, flows: usize },
    /// The highest rate of UDP with less than 0.1 % loss.
    UdpLossless { payload_octets: usize, flows: usize },
    /// UDP in the sizes of the simple Internet mix, as fast as it goes.
    Imix,
    /// Round trips, nothing else going on.
    RoundTripIdle,
    /// Round trips beside a TCP stream.
    RoundTripLoaded,
    /// TCP connections opened and closed.
    Connections,
}

/// The loads that one word means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loads(pub(crate) Vec<Load>);

/// What is measured where nothing is named.
pub(crate) const DEFAULT: &str = "default";

/// Words that mean several loads.
const GROUPS: [&str; 7] = ["default", "all", "tcp", "udp", "udp-flat", "udp-lossless", "rtt"];

impl Load {
    /// Every load, in the order in which they run.
    fn all() -> Vec<Load> {
        let mut loads: Vec<Load> = STREAMS.map(|streams| Load::Tcp { streams }).to_vec();
        let udp =
            || PAYLOADS.into_iter().flat_map(|payload_octets| FLOWS.map(|flows| (payload_octets, flows)));
        loads.extend(udp().map(|(payload_octets, flows)| Load::UdpFlat { payload_octets, flows }));
        loads.extend(udp().map(|(payload_octets, flows)| Load::UdpLossless { payload_octets, flows }));
        loads.extend([Load::Imix, Load::RoundTripIdle, Load::RoundTripLoaded, Load::Connections]);
        loads
    }

    /// Whether it belongs to the group.
    fn is_in(self, group: &str) -> bool {
        match group {
            "all" => true,
            "default" => matches!(
                self,
                Load::Tcp { streams: 1 | 4 }
                    | Load::UdpFlat { payload_octets: SMALL_OCTETS | 1400, flows: 1 }
                    | Load::UdpLossless { payload_octets: SMALL_OCTETS, flows: 1 }
                    | Load::RoundTripIdle
            ),
            "tcp" => self.kind() == LoadKind::Tcp,
            "udp" => matches!(self.kind(), LoadKind::UdpFlat | LoadKind::UdpLossless | LoadKind::Imix),
            "udp-flat" => self.kind() == LoadKind::UdpFlat,
            "udp-lossless" => self.kind() == LoadKind::UdpLossless,
            "rtt" => matches!(self.kind(), LoadKind::RoundTripIdle | LoadKind::RoundTripLoaded),
            _ => false,
        }
    }

    /// For programs; stable.
    pub(crate) fn name(self) -> String {
        match self {
            Load::Tcp { streams } => format!("tcp{streams}"),
            Load::UdpFlat { payload_octets, flows } => format!("udp-flat-{payload_octets}-{flows}"),
            Load::UdpLossless { payload_octets, flows } => format!("udp-lossless-{payload_octets}-{flows}"),
            Load::Imix => "imix".to_owned(),
            Load::RoundTripIdle => "rtt-idle".to_owned(),
            Load::RoundTripLoaded => "rtt-loaded".to_owned(),
            Load::Connections => "conn".to_owned(),
        }
    }

    /// For people.
    pub(crate) fn title(self) -> String {
        let many = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        match self {
            Load::Tcp { streams } => format!("TCP, {}", many(streams, "stream")),
            Load::UdpFlat { payload_octets, flows } => {
                format!("UDP flat out, {payload_octets} octets, {}", many(flows, "flow"))
            }
            Load::UdpLossless { payload_octets, flows } => {
                format!("UDP under 0.1 % loss, {payload_octets} octets, {}", many(flows, "flow"))
            }
            Load::Imix => format!("UDP flat out, Internet mix, {}", many(IMIX_FLOWS, "flow")),
            Load::RoundTripIdle => "Round trip, idle".to_owned(),
            Load::RoundTripLoaded => "Round trip beside a TCP stream".to_owned(),
            Load::Connections => format!("TCP connections, {CONNECTIONS} at once"),
        }
    }

    /// Which chart it belongs to.
    pub(crate) fn kind(self) -> LoadKind {
        match self {
            Load::Tcp { .. } => LoadKind::Tcp,
            Load::UdpFlat { .. } => LoadKind::UdpFlat,
            Load::UdpLossless { .. } => LoadKind::UdpLossless,
            Load::Imix => LoadKind::Imix,
            Load::RoundTripIdle => LoadKind::RoundTripIdle,
            Load::RoundTripLoaded => LoadKind::RoundTripLoaded,
            Load::Connections => LoadKind::Connections,
        }
    }

    /// What its figure counts.
    pub(crate) fn unit(self) -> Unit {
        match self {
            Load::Tcp { .. } => Unit::BitsPerSecond,
            Load::UdpFlat { .. } | Load::UdpLossless { .. } | Load::Imix => Unit::FramesPerSecond,
            Load::RoundTripIdle | Load::RoundTripLoaded => Unit::Seconds,
            Load::Connections => Unit::ConnectionsPerSecond,
        }
    }

    /// Payload of each datagram, where all have one.
    pub(crate) fn payload_octets(self) -> Option<usize> {
        match self {
            Load::UdpFlat { payload_octets, .. } | Load::UdpLossless { payload_octets, .. } => {
                Some(payload_octets)
            }
            Load::RoundTripIdle | Load::RoundTripLoaded => Some(SMALL_OCTETS),
            Load::Tcp { .. } | Load::Imix | Load::Connections => None,
        }
    }

    /// Flows, streams or connections at once.
    pub(crate) fn flows(self) -> usize {
        match self {
            Load::Tcp { streams } => streams,
            Load::UdpFlat { flows, .. } | Load::UdpLossless { flows, .. } => flows,
            Load::Imix => IMIX_FLOWS,
            Load::RoundTripIdle | Load::RoundTripLoaded => 1,
            Load::Connections => CONNECTIONS,
        }
    }
}

/// No load or group of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownLoad;

impl fmt::Display for UnknownLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = Load::all().into_iter().map(Load::name).collect();
        write!(f, "allowed are {} and the groups {}", names.join(", "), GROUPS.join(", "))
    }
}

impl std::error::Error for UnknownLoad {}

/// The loads that a word means.
pub(crate) fn parse(word: &str) -> Result<Loads, UnknownLoad> {
    let loads: Vec<Load> =
        Load::all().into_iter().filter(|load| load.name() == word || load.is_in(word)).collect();
    if loads.is_empty() { Err(UnknownLoad) } else { Ok(Loads(loads)) }
}

/// All that the words mean, each once, in the order in which they are named.
pub(crate) fn chosen(words: &[Loads]) -> Vec<Load> {
    let mut chosen = Vec::new();
    for load in words.iter().flat_map(|Loads(loads)| loads) {
        if !chosen.contains(load) {
            chosen.push(*load);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(words: &str) -> Vec<String> {
        let words: Vec<Loads> = words.split(',').map(|word| parse(word).unwrap()).collect();
        chosen(&words).into_iter().map(Load::name).collect()
    }

    #[test]
    fn every_load_has_a_name_of_its_own_that_means_it_alone() {
        let all = Load::all();
        for load in &all {
            assert_eq!(names(&load.name()), [load.name()]);
        }
        assert_eq!(all.iter().map(|load| load.name()).collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(all.iter().map(|load| load.title()).collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_group_means_its_loads_and_each_runs_once() {
        assert_eq!(names("tcp"), ["tcp1", "tcp4", "tcp16"]);
        assert_eq!(names("rtt"), ["rtt-idle", "rtt-loaded"]);
        assert_eq!(names("tcp4,tcp,tcp4"), ["tcp4", "tcp1", "tcp16"]);
        assert_eq!(names("all").len(), Load::all().len());
        assert_eq!(names("udp").len(), 13);
        for group in GROUPS {
            assert!(parse(group).is_ok(), "{group}");
        }
        assert_eq!(
            names(DEFAULT),
            ["tcp1", "tcp4", "udp-flat-18-1", "udp-flat-1400-1", "udp-lossless-18-1", "rtt-idle"]
        );
    }

    #[test]
    fn another_word_is_answered_with_those_that_are_allowed() {
        for word in ["", "tcp2", "TCP1", "udp-flat-18", "rtt-"] {
            assert_eq!(parse(word), Err(UnknownLoad), "{word}");
        }
        let told = UnknownLoad.to_string();
        assert!(
            told.starts_with("allowed are tcp1, tcp4, tcp16, udp-flat-18-1, ") && told.ends_with(", rtt")
        );
    }
}
