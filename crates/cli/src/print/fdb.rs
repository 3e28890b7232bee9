//! `vxgate fdb show`: the lines and the JSON of `bridge fdb show`.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;

use super::{Format, JsonList};
use crate::config::values::DeviceName;
use crate::control::protocol::FdbEntry;

/// Writes entries one after another as `bridge` would.
pub(crate) struct FdbPrinter {
    list: Option<JsonList>,
    with_device: bool,
    statistics: bool,
}

/// An entry in the keys of `bridge -j fdb show`, in its order.
#[derive(Serialize)]
struct BridgeEntry<'a> {
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ifname: Option<&'a str>,
    dst: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vni: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<u64>,
    flags: [&'static str; 1],
    state: &'static str,
}

impl FdbPrinter {
    /// A printer. `with_device` names the device of each entry, as `bridge` does where the command names none;
    /// `statistics` says how long ago each was used and changed, as its `-s` does.
    pub(crate) fn new(format: Format, with_device: bool, statistics: bool) -> FdbPrinter {
        let list = match format {
            Format::Text(_) => None,
            Format::Json => Some(JsonList::new(false)),
            Format::PrettyJson => Some(JsonList::new(true)),
        };
        FdbPrinter { list, with_device, statistics }
    }

    /// Writes one entry of this device.
    pub(crate) fn entry(
        &mut self,
        out: &mut dyn Write,
        dev: &DeviceName,
        entry: &FdbEntry,
    ) -> io::Result<()> {
        let ifname = self.with_device.then_some(dev.as_str());
        if let Some(list) = &mut self.list {
            let used = |seconds| self.statistics.then_some(seconds);
            let entry = BridgeEntry {
                mac: entry.mac.to_string(),
                ifname,
                dst: entry.dst,
                port: entry.port,
                vni: entry.vni.map(vxgate_codec::Vni::get),
                used: used(entry.used),
                updated: used(entry.updated),
                flags: ["self"],
                state: entry.state.shown(),
            };
            return list.element(out, &entry);
        }
        write!(out, "{}", entry.mac)?;
        if let Some(dev) = ifname {
            write!(out, " dev {dev}")?;
        }
        write!(out, " dst {}", entry.dst)?;
        if let Some(port) = entry.port {
            write!(out, " port {port}")?;
        }
        if let Some(vni) = entry.vni {
            write!(out, " vni {vni}")?;
        }
        if self.statistics {
            write!(out, " used {}/{}", entry.used, entry.updated)?;
        }
        // A dynamic entry has no word for its state, and `bridge` leaves the space in front of it.
        writeln!(out, " self {}", entry.state.shown())
    }

    /// Writes what follows the last entry.
    pub(crate) fn end(self, out: &mut dyn Write) -> io::Result<()> {
        self.list.map_or(Ok(()), |list| list.end(out))
    }
}
