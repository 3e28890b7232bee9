//! Tables of nftables: a table of our own, put in and taken out as a whole, and what other tables have in the way.
//!
//! # Theory of operation
//!
//! ```text
//!   Table ─► attributes (nft/message.rs) ─► one batch ─► kernel: all of it, or nothing
//!                                                           │
//!   Error with the kernel's errno and sentence ◄── an answer for each message
//! ```
//!
//! A batch stands between two messages of its own and is one transaction (linux/netfilter/nfnetlink.h). A table is marked as
//! owned by the socket that made it where the kernel can (Linux 5.12): nobody else can change it, and it goes with the socket,
//! however the process ends. Tables are of the family `inet`, which holds IPv4 and IPv6.

mod message;
mod rule;

use std::io;

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::error::{Error, Task, kernel_sentence};
use message::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE, CHAIN_TYPE, Message, RULE_CHAIN, RULE_EXPRESSIONS,
    RULE_TABLE, TABLE_FLAGS, TABLE_NAME, Verb, attribute, be32, parts, text,
};
pub use rule::{Action, Match, Rule};

/// A table with its chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name, at most 255 octets.
    pub name: String,
    /// Its chains, each with a name of its own.
    pub chains: Vec<Chain>,
}

/// A chain on a hook. What it accepts goes on to the chains of other tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name, at most 127 octets.
    pub name: String,
    /// Where it is asked.
    pub hook: Hook,
    /// Whether it drops what none of its rules decides; it accepts it otherwise.
    pub drops: bool,
    /// Its rules; the first that decides is the last that is asked.
    pub rules: Vec<Rule>,
}

/// Where a chain is asked, and at which priority among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// For each packet that is forwarded, at the priority of filters.
    Forward,
    /// For each packet to this host, at the priority of filters.
    Input,
    /// For each packet that this host sends, at the priority of filters.
    Output,
    /// For the first packet of each connection that leaves, at the priority of source address translation.
    SourceNat,
}

impl Hook {
    /// Type, hook (`enum nf_inet_hooks`) and priority (`enum nf_ip_hook_priorities`, linux/netfilter_ipv4.h).
    const fn place(self) -> (&'static str, u32, u32) {
        match self {
            Hook::Forward => ("filter", FORWARD_HOOK, 0),
            Hook::Input => ("filter", 1, 0),
            Hook::Output => ("filter", 3, 0),
            Hook::SourceNat => ("nat", 4, 100),
        }
    }
}

const FORWARD_HOOK: u32 = 2;

/// A chain that some table has on the way of forwarded packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardChain {
    /// The family of its table, as `nft` writes it: `ip`, `ip6`, `inet`.
    pub family: &'static str,
    /// Its table's name.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Whether it drops what none of its rules accepts.
    pub drops: bool,
}

/// How long a table lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the [`Nftables`] that made it.
    Owned,
    /// Until somebody deletes it: before Linux 5.12 no table goes by itself.
    UntilDeleted,
}

/// A connection to nftables, for the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
}

impl Nftables {
    /// Opens a socket. Tables that it owns go when it is dropped.
    ///
    /// # Errors
    /// [`Error::Open`]; [`Error::is_unsupported`] where the kernel has no netfilter.
    pub fn open() -> Result<Nftables, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // The kernel answers before the request returns: there is nothing to wait for.
            socket.set_non_blocking(true)?;
            // Without them, before Linux 4.12, an error has no sentence.
            if socket.set_cap_ack(true).is_ok() {
                let _ = socket.set_ext_ack(true);
            }
            Ok(socket)
        };
        open().map(|socket| Nftables { socket }).map_err(Error::Open)
    }

    /// Puts the table in, in place of one of its name: all of it or nothing. A request holds about 200 KiB, which is some 400 rules.
    ///
    /// # Errors
    /// When the kernel refuses: [`Error::is_denied`] where another process owns a table of that name or without
    /// `CAP_NET_ADMIN`, [`Error::is_unsupported`] and [`Error::is_missing`] where it lacks nftables or a part of it.
    pub fn replace(&self, table: &Table) -> Result<Lifetime, Error> {
        let taken = self.has_table(&table.name)?;
        match self.install(table, taken, TABLE_OWNER) {
            // A kernel that knows no owners refuses the flag, by one error or the other.
            Err(error) if error.is_unsupported() || error.errno() == Some(libc::EINVAL) => {
                self.install(table, taken, 0).map(|()| Lifetime::UntilDeleted).map_err(|_| error)
            }
            installed => installed.map(|()| Lifetime::Owned),
        }
    }

    /// Puts the table in to stay when this connection is gone, in place of one of its name.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn replace_for_good(&self, table: &Table) -> Result<(), Error> {
        self.install(table, self.has_table(&table.name)?, 0)
    }

    fn install(&self, table: &Table, taken: bool, flags: u32) -> Result<(), Error> {
        let mut batch = Vec::new();
        if taken {
            batch.push(deletion(&table.name));
        }
        let name = attribute(TABLE_NAME, &text(&table.name));
        batch.push(Message::new(Verb::NewTable, &[name, attribute(TABLE_FLAGS, &be32(flags))].concat()));
        batch.extend(table.chains.iter().map(|chain| chain_message(table, chain)));
        for chain in &table.chains {
            batch.extend(chain.rules.iter().map(|rule| {
                Message::new(
                    Verb::NewRule,
                    &[
                        attribute(RULE_TABLE, &text(&table.name)),
                        attribute(RULE_CHAIN, &text(&chain.name)),
                        attribute(RULE_EXPRESSIONS, &rule.expressions()),
                    ]
                    .concat(),
                )
            }));
        }
        self.change(Task::new("put in", object(&table.name)), &batch)
    }

    /// Takes a table out, with all that is in it.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is none, [`Error::is_denied`] when another process owns it.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        self.change(Task::new("delete", object(name)), &[deletion(name)])
    }

    /// Whether there is a table of this name.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_table(&self, name: &str) -> Result<bool, Error> {
        let task = Task::new("find", object(name));
        let request = Message::new(Verb::GetTable, &attribute(TABLE_NAME, &text(name)));
        match self.exchange(&task, &request.alone(0)) {
            Ok(answers) => Ok(!answers.is_empty()),
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The chains of all tables that forwarded packets pass, ours among them.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn forward_chains(&self) -> Result<Vec<ForwardChain>, Error> {
        let request = Message::new(Verb::GetChain, &[]).of_every_family();
        let dump = u16::try_from(libc::NLM_F_DUMP).unwrap_or_default();
        let answers = self.exchange(&Task::new("list", "chains"), &request.alone(dump))?;
        Ok(answers.iter().filter_map(|answer| forward_chain(answer)).collect())
    }

    fn change(&self, task: Task, messages: &[Message]) -> Result<(), Error> {
        self.exchange(&task, &message::batch(messages)).map(|_| ())
    }

    /// Sends requests and takes in all answers: payloads of objects, or the first refusal.
    fn exchange(&self, task: &Task, request: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let failed = |error: io::Error| {
            error
                .raw_os_error()
                .map_or_else(|| task.clone().no_answer(), |errno| task.clone().refused(errno, None))
        };
        self.socket.send(request, 0).map_err(failed)?;
        let (mut answers, mut refusal, mut answered) = (Vec::new(), None, false);
        loop {
            let octets = match self.socket.recv_from_full() {
                Ok((octets, _)) => octets,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(failed(error)),
            };
            for part in parts(&octets) {
                answered = true;
                match part.errno() {
                    None => answers.push(part.payload.to_vec()),
                    Some(0) => {}
                    Some(errno) => {
                        let sentence = part.payload.get(4..).and_then(kernel_sentence);
                        refusal.get_or_insert_with(|| task.clone().refused(errno, sentence));
                    }
                }
            }
        }
        match refusal {
            Some(refusal) => Err(refusal),
            None if answered => Ok(answers),
            None => Err(task.clone().no_answer()),
        }
    }
}

/// `NFT_TABLE_F_OWNER` (linux/netfilter/nf_tables.h).
const TABLE_OWNER: u32 = 2;

fn object(table: &str) -> String {
    format!("nftables table {table}")
}

fn deletion(name: &str) -> Message {
    Message::new(Verb::DeleteTable, &attribute(TABLE_NAME, &text(name)))
}

fn chain_message(table: &Table, chain: &Chain) -> Message {
    let (kind, hook, priority) = chain.hook.place();
    // NFTA_HOOK_HOOKNUM and NFTA_HOOK_PRIORITY.
    let hook = [attribute(1, &be32(hook)), attribute(2, &be32(priority))].concat();
    Message::new(
        Verb::NewChain,
        &[
            attribute(CHAIN_TABLE, &text(&table.name)),
            attribute(CHAIN_NAME, &text(&chain.name)),
            attribute(CHAIN_HOOK | message::NESTED, &hook),
            // NF_DROP or NF_ACCEPT.
            attribute(CHAIN_POLICY, &be32(u32::from(!chain.drops))),
            attribute(CHAIN_TYPE, &text(kind)),
        ]
        .concat(),
    )
}

/// Reads a chain, if it is one that forwarded IP packets pass.
fn forward_chain(answer: &[u8]) -> Option<ForwardChain> {
    let (head, attributes) = answer.split_first_chunk::<4>()?;
    // NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 (linux/netfilter.h).
    let family = match head[0] {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let value = |kind| message::find(attributes, kind);
    let number = |octets: &[u8]| Some(u32::from_be_bytes(octets.try_into().ok()?));
    let name = |octets: &[u8]| String::from_utf8_lossy(octets).trim_end_matches('\0').to_owned();
    if number(message::find(value(CHAIN_HOOK)?, 1)?)? != FORWARD_HOOK {
        return None;
    }
    Some(ForwardChain {
        family,
        table: name(value(CHAIN_TABLE)?),
        name: name(value(CHAIN_NAME)?),
        // NF_DROP.
        drops: value(CHAIN_POLICY).and_then(number) == Some(0),
    })
}
