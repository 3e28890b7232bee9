//! A naive bridge with VXLAN remotes: the same rules as the core's, in maps and loops that can be read at a glance.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vxgate_codec::{MacAddr, Vni};
use vxgate_core::{
    ControlError, Counts, DropReason, EntryState, Event, FlowCounts, FlushFilter, PeerCounts, Prefix, Remote,
    SegmentConfig, Timestamp,
};

const OUR_PORT: u16 = 4789;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) remote: Remote,
    pub(crate) state: EntryState,
    configured: bool,
    pub(crate) heard_s: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) remotes: Vec<Remote>,
    pub(crate) state: EntryState,
    pub(crate) updated_s: u64,
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) own_mac: MacAddr,
    vni: Vni,
    pub(crate) learning: bool,
    pub(crate) ageing_s: u64,
    max_macs: usize,
    max_peers: usize,
    refuse_reserved_bits: bool,
    pub(crate) accept_from: Vec<Prefix>,
    pub(crate) entries: BTreeMap<MacAddr, Entry>,
    pub(crate) lists: BTreeMap<MacAddr, List>,
    /// What anything refers to.
    pub(crate) remotes: BTreeMap<Remote, PeerCounts>,
    pub(crate) counts: Counts,
    pub(crate) events: Vec<Event>,
    swept_s: u64,
}

fn seconds(now: Timestamp) -> u64 {
    now.as_nanos() / 1_000_000_000
}

fn seconds_up(now: Timestamp) -> u64 {
    now.as_nanos().div_ceil(1_000_000_000)
}

fn has_list(mac: MacAddr) -> bool {
    mac.is_group() || mac.is_zero()
}

fn add(flow: &mut FlowCounts, octets: usize) {
    flow.frames += 1;
    flow.octets += octets as u64;
}

impl Reference {
    pub(crate) fn new(config: &SegmentConfig) -> Reference {
        assert_eq!(config.port, OUR_PORT);
        Reference {
            own_mac: config.own_mac,
            vni: config.vni,
            learning: config.learning,
            ageing_s: config.ageing.as_secs(),
            max_macs: config.max_macs,
            max_peers: config.max_peers,
            refuse_reserved_bits: config.reserved_bits == vxgate_codec::ReservedBits::Reject,
            accept_from: config.accept_from.clone(),
            entries: BTreeMap::new(),
            lists: BTreeMap::new(),
            remotes: BTreeMap::new(),
            counts: Counts::default(),
            events: Vec::new(),
            swept_s: 0,
        }
    }

    /// Forgets remotes that nothing refers to, and counts the entries.
    fn settle(&mut self) {
        let in_lists = self.lists.values().flat_map(|list| list.remotes.iter().copied());
        let used: BTreeSet<Remote> =
            self.entries.values().map(|entry| entry.remote).chain(in_lists).collect();
        self.remotes.retain(|remote, _| used.contains(remote));
        self.counts.entries = (self.entries.len() + self.lists.len()) as u64;
    }

    fn is_full(&self) -> bool {
        self.entries.len() + self.lists.len() >= self.max_macs
    }

    /// Makes the remote known if there is room.
    fn know(&mut self, remote: Remote) -> bool {
        if !self.remotes.contains_key(&remote) {
            if self.remotes.len() >= self.max_peers {
                return false;
            }
            self.remotes.insert(remote, PeerCounts::default());
        }
        true
    }

    fn normal(&self, mut remote: Remote) -> Remote {
        remote.addr = remote.addr.to_canonical();
        remote.port = if remote.port == Some(OUR_PORT) { None } else { remote.port };
        remote.vni = if remote.vni == Some(self.vni) { None } else { remote.vni };
        remote
    }

    // Frames.

    /// Where a frame goes, one remote for each copy.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<Vec<Remote>, DropReason> {
        add(&mut self.counts.overlay_in, frame.len());
        let result = self.place(frame);
        match &result {
            Ok((copies, true)) => {
                self.counts.floods += 1;
                self.counts.flood_copies += copies.len() as u64;
            }
            Ok((_, false)) => {}
            Err(reason) => self.counts.overlay_drops[reason.index()] += 1,
        }
        result.map(|(copies, _)| copies)
    }

    fn place(&self, frame: &[u8]) -> Result<(Vec<Remote>, bool), DropReason> {
        if frame.len() < 14 {
            return Err(DropReason::Runt);
        }
        let to = MacAddr::new(frame[..6].try_into().expect("6 octets"));
        if let Some(entry) = self.entries.get(&to) {
            return Ok((vec![entry.remote], false));
        }
        let list = if to.is_group() { self.lists.get(&to) } else { None };
        let list = list.or_else(|| self.lists.get(&MacAddr::ZERO)).ok_or(DropReason::NoRemote)?;
        Ok((list.remotes.clone(), true))
    }

    /// The shell sent a copy.
    pub(crate) fn sent(&mut self, to: Remote, octets: usize) {
        add(&mut self.counts.sent, octets);
        add(&mut self.remotes.get_mut(&to).expect("a remote that is known").tx, octets);
    }

    /// Whether the inner frame is delivered, and for which remote it counts.
    pub(crate) fn receive(
        &mut self,
        from: IpAddr,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<Option<Remote>, DropReason> {
        add(&mut self.counts.underlay_in, payload.len());
        let verdict = self.judge(from.to_canonical(), payload, now);
        self.settle();
        match verdict {
            Err(reason) => {
                self.counts.underlay_drops[reason.index()] += 1;
                Err(reason)
            }
            Ok(()) => {
                let at = || self.remotes.keys().filter(|remote| remote.addr == from.to_canonical());
                let all = self.lists.get(&MacAddr::ZERO).map_or(&[][..], |list| &list.remotes);
                let counted = at().find(|remote| all.contains(remote)).or_else(|| at().next()).copied();
                if let Some(remote) = counted {
                    self.remotes.get_mut(&remote).expect("it is known").last_heard = Some(now);
                }
                Ok(counted)
            }
        }
    }

    fn judge(&mut self, from: IpAddr, payload: &[u8], now: Timestamp) -> Result<(), DropReason> {
        let named = self.entries.values().any(|entry| entry.configured && entry.remote.addr == from)
            || self.lists.values().any(|list| list.remotes.iter().any(|remote| remote.addr == from));
        if !named && !self.accept_from.iter().any(|block| block.contains(from)) {
            return Err(DropReason::Stranger);
        }
        if payload.len() < 8 {
            return Err(DropReason::Truncated);
        }
        if payload[0] & 8 == 0 {
            return Err(DropReason::FlagIClear);
        }
        let reserved = payload[0] & !8 != 0 || payload[1..4] != [0; 3] || payload[7] != 0;
        if reserved && self.refuse_reserved_bits {
            return Err(DropReason::ReservedBits);
        }
        if payload.len() < 22 {
            return Err(DropReason::Runt);
        }
        if u32::from_be_bytes([0, payload[4], payload[5], payload[6]]) != self.vni.get() {
            return Err(DropReason::WrongVni);
        }
        let mac = MacAddr::new(payload[14..20].try_into().expect("6 octets"));
        if has_list(mac) {
            return Err(DropReason::InvalidSource);
        }
        if mac == self.own_mac {
            return Err(DropReason::OwnMac);
        }
        if self.learning { self.learn(mac, from, now) } else { Ok(()) }
    }

    fn learn(&mut self, mac: MacAddr, from: IpAddr, now: Timestamp) -> Result<(), DropReason> {
        let heard_s = seconds_up(now);
        let learned =
            Entry { remote: Remote::new(from), state: EntryState::Dynamic, configured: false, heard_s };
        match self.entries.get(&mac).copied() {
            Some(old) if old.remote.addr == from => {
                self.entries.insert(mac, Entry { heard_s, ..old });
            }
            Some(old) if old.state != EntryState::Dynamic => return Err(DropReason::StaticElsewhere),
            Some(_) if !self.know(Remote::new(from)) => self.counts.refused_peers += 1,
            Some(old) => {
                self.entries.insert(mac, learned);
                self.counts.moved += 1;
                self.events.push(Event::Moved { mac, from: old.remote.addr, to: from });
            }
            None if self.is_full() => self.counts.refused_macs += 1,
            None if !self.know(Remote::new(from)) => self.counts.refused_peers += 1,
            None => {
                self.entries.insert(mac, learned);
                self.counts.learned += 1;
                self.events.push(Event::Learned { mac, dst: from });
            }
        }
        Ok(())
    }

    /// The shell delivered the frame.
    pub(crate) fn delivered(&mut self, from: Option<Remote>, octets: usize) {
        add(&mut self.counts.delivered, octets);
        if let Some(remote) = from {
            add(&mut self.remotes.get_mut(&remote).expect("a remote that is known").rx, octets);
        }
    }

    // Time.

    pub(crate) fn tick(&mut self, now: Timestamp) {
        let now_s = seconds(now);
        if self.ageing_s == 0 || now_s == self.swept_s {
            return;
        }
        self.swept_s = now_s;
        let past = |state, heard_s: u64| state == EntryState::Dynamic && heard_s + self.ageing_s <= now_s;
        let mut aged = Vec::new();
        self.entries.retain(|mac, entry| {
            let goes = past(entry.state, entry.heard_s);
            if goes {
                aged.push(Event::Aged { mac: *mac, dst: entry.remote.addr });
            }
            !goes
        });
        self.lists.retain(|mac, list| {
            let goes = past(list.state, list.updated_s);
            if goes {
                aged.push(Event::Aged { mac: *mac, dst: list.remotes[0].addr });
            }
            !goes
        });
        self.counts.aged += aged.len() as u64;
        self.events.extend(aged);
        self.settle();
    }

    // Control.

    fn check(&self, mac: MacAddr, remote: Remote) -> Result<(), ControlError> {
        let is_new = !self.entries.contains_key(&mac) && !self.lists.contains_key(&mac);
        if is_new && self.is_full() {
            return Err(ControlError::TableFull { limit: self.max_macs });
        }
        if remote.addr.to_canonical().is_unspecified() || remote.port == Some(0) {
            return Err(ControlError::InvalidRemote);
        }
        if !self.remotes.contains_key(&self.normal(remote)) && self.remotes.len() >= self.max_peers {
            return Err(ControlError::TooManyPeers { limit: self.max_peers });
        }
        Ok(())
    }

    fn put(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        self.check(mac, remote)?;
        let remote = self.normal(remote);
        self.know(remote);
        let heard_s = seconds_up(now);
        if has_list(mac) {
            let list = self.lists.entry(mac).or_insert(List { remotes: Vec::new(), state, updated_s: 0 });
            list.remotes.push(remote);
            list.state = state;
            list.updated_s = heard_s;
        } else {
            self.entries.insert(mac, Entry { remote, state, configured: true, heard_s });
        }
        self.settle();
        Ok(())
    }

    pub(crate) fn fdb_add(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        if self.entries.contains_key(&mac) || self.lists.contains_key(&mac) {
            return Err(ControlError::Exists);
        }
        self.put(mac, remote, state, now)
    }

    pub(crate) fn fdb_append(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        if self.entries.contains_key(&mac) {
            return Err(ControlError::AppendUnicast);
        }
        let remotes = self.lists.get(&mac).map_or(&[][..], |list| &list.remotes);
        if remotes.contains(&self.normal(remote)) {
            return Err(ControlError::Exists);
        }
        self.put(mac, remote, state, now)
    }

    pub(crate) fn fdb_replace(
        &mut self,
        mac: MacAddr,
        remote: Remote,
        state: EntryState,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        if has_list(mac) { Err(ControlError::ReplaceList) } else { self.put(mac, remote, state, now) }
    }

    pub(crate) fn fdb_del(&mut self, mac: MacAddr, remote: Option<Remote>) -> Result<(), ControlError> {
        let remote = remote.map(|remote| self.normal(remote));
        let gone = self.remove(|own, _, line| own == mac && remote.is_none_or(|remote| remote == line));
        if gone == 0 { Err(ControlError::NotFound) } else { Ok(()) }
    }

    pub(crate) fn fdb_flush(&mut self, filter: &FlushFilter) -> usize {
        let FlushFilter { mac, dst, port, vni, states } = *filter;
        let our_vni = self.vni;
        self.remove(|own, state, line| {
            states.contains(state)
                && mac.is_none_or(|mac| mac == own)
                && dst.is_none_or(|dst| dst == line.addr)
                && port.is_none_or(|port| port == line.port.unwrap_or(OUR_PORT))
                && vni.is_none_or(|vni| vni == line.vni.unwrap_or(our_vni))
        })
    }

    pub(crate) fn peer_del(&mut self, addr: IpAddr) -> Result<(), ControlError> {
        if self.remove(|own, _, line| own.is_zero() && line.addr == addr) == 0 {
            return Err(ControlError::NotFound);
        }
        self.remove(|own, state, line| !has_list(own) && state == EntryState::Dynamic && line.addr == addr);
        Ok(())
    }

    /// Removes all lines of a listing that `goes` names, and says how many.
    fn remove(&mut self, goes: impl Fn(MacAddr, EntryState, Remote) -> bool) -> usize {
        let lines = |reference: &Reference| {
            reference.entries.len() + reference.lists.values().map(|list| list.remotes.len()).sum::<usize>()
        };
        let before = lines(self);
        self.entries.retain(|mac, entry| !goes(*mac, entry.state, entry.remote));
        for (mac, list) in &mut self.lists {
            list.remotes.retain(|remote| !goes(*mac, list.state, *remote));
        }
        self.lists.retain(|_, list| !list.remotes.is_empty());
        self.settle();
        before - lines(self)
    }
}
