//! A host: a network namespace and what can be done in it.

use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use vxgate_netlink::{self as netlink, Netlink};
use vxgate_sys::namespace::{self, NamespaceError};

use crate::ping::{Ping, PingReport};
use crate::wait::eventually;

/// The longest that the kernel's worker may take for a new address; usually it is far below a millisecond.
const ADDRESS_LIMIT: Duration = Duration::from_secs(2);

/// What can go wrong while a test bed is built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refuses a namespace.
    #[error("{0}")]
    Namespace(#[from] NamespaceError),
    /// The kernel refuses a link, an address or a route.
    #[error("{0}")]
    Netlink(#[from] netlink::Error),
    /// The kernel refuses a setting.
    #[error("cannot set {key} to {value:?}: {source}")]
    Sysctl {
        /// Which, below `/proc/sys`.
        key: String,
        /// To what.
        value: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refuses to switch a link's features.
    #[error("cannot switch the offloads of link {link}: {source}")]
    Features {
        /// Which.
        link: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// That is no address with a prefix.
    #[error("{0:?} is not an address with a prefix length, such as 192.0.2.1/24")]
    Address(String),
}

/// A host of the test bed: an empty network namespace of its own, with its loopback device up.
///
/// It lives as long as this value, the processes started in it and the sockets opened in it; then the kernel takes it
/// down with all its virtual devices.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: OwnedFd,
    published: Option<PathBuf>,
}

impl Host {
    /// Makes a host; `name` is for people, and need not be unique.
    ///
    /// IPv6 addresses are usable at once in it: duplicate address detection is off.
    ///
    /// # Errors
    /// [`Error::Namespace`] without the privilege to make one; see [`isolated!`](crate::isolated!).
    pub fn new(name: &str) -> Result<Host, Error> {
        let made = thread::spawn(|| {
            namespace::unshare_network()?;
            namespace::current_network()
        });
        let namespace = made.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        let host = Host { name: name.to_owned(), namespace, published: None };
        // A kernel without IPv6 has no such setting, and needs none.
        let _ = host.sysctl("net/ipv6/conf/default/accept_dad", "0");
        host.up("lo")?;
        Ok(host)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// A path by which another process of the same user can enter it while this one lives: `nsenter --net=PATH`.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()).into()
    }

    /// The same host, for another thread.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn try_clone(&self) -> std::io::Result<Host> {
        Ok(Host { name: self.name.clone(), namespace: self.namespace.try_clone()?, published: None })
    }

    /// Names it in `/run/netns`, where `ip netns exec NAME` finds it, until this value is dropped.
    ///
    /// # Errors
    /// [`Error::Namespace`] when the name is taken or `/run` is not ours to write.
    pub fn publish(&mut self) -> Result<&Path, Error> {
        let path = Path::new("/run/netns").join(&self.name);
        // That it exists is the usual case; naming reports what is wrong otherwise.
        let _ = std::fs::create_dir_all("/run/netns");
        namespace::name_network(self.namespace.as_fd(), &path)?;
        Ok(self.published.insert(path))
    }

    /// Runs `body` on a new thread inside this host and answers its value. Sockets opened there stay there, and so do
    /// threads started there.
    ///
    /// # Panics
    /// When `body` does, with its panic, or when the kernel refuses the namespace.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = thread::Builder::new().name(self.name.clone()).spawn_scoped(scope, || {
                namespace::enter(self.namespace.as_fd())
                    .expect("a namespace made by us can be entered by us");
                body()
            });
            let inside = inside.expect("a thread can be started");
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs `body` with a netlink connection to this host.
    ///
    /// # Errors
    /// Those of `body`, or when no connection can be opened.
    pub fn netlink<T: Send>(
        &self,
        body: impl AsyncFnOnce(&Netlink) -> Result<T, netlink::Error> + Send,
    ) -> Result<T, netlink::Error> {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.map_err(netlink::Error::Open)?.block_on(async { body(&Netlink::open()?).await })
        })
    }

    /// A command that will run in this host, and be killed when the *thread* that starts it ends: start it from the
    /// test's own thread, not inside [`run`](Self::run).
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let namespace = self.namespace.try_clone().expect("a descriptor can be duplicated");
        namespace::command_in(&mut command, namespace);
        namespace::die_with_parent(&mut command);
        command
    }

    /// Writes a setting of this host: `sysctl("net/ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// [`Error::Sysctl`] when there is none, or it is not this namespace's to change.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), Error> {
        // The kernel looks up /proc/sys/net for the thread that opens it.
        self.run(|| std::fs::write(Path::new("/proc/sys").join(key), value)).map_err(|source| Error::Sysctl {
            key: key.to_owned(),
            value: value.to_owned(),
            source,
        })
    }

    /// Lets it forward IPv4 and IPv6 packets between its links, as a router does.
    ///
    /// # Errors
    /// [`Error::Sysctl`].
    pub fn forward(&self) -> Result<(), Error> {
        self.sysctl("net/ipv4/ip_forward", "1")?;
        // A kernel without IPv6 has nothing to forward.
        let _ = self.sysctl("net/ipv6/conf/all/forwarding", "1");
        Ok(())
    }

    /// Switches a link on.
    ///
    /// # Errors
    /// [`Error::Netlink`] when there is none of that name.
    pub fn up(&self, link: &str) -> Result<(), Error> {
        Ok(self.netlink(async |netlink| netlink.set_up(&netlink.link_by_name(link).await?).await)?)
    }

    /// Switches a link off.
    ///
    /// # Errors
    /// [`Error::Netlink`] when there is none of that name.
    pub fn down(&self, link: &str) -> Result<(), Error> {
        Ok(self.netlink(async |netlink| netlink.set_down(&netlink.link_by_name(link).await?).await)?)
    }

    /// Sets a link's MTU, in octets.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn mtu(&self, link: &str, mtu: u32) -> Result<(), Error> {
        Ok(self.netlink(async |netlink| netlink.set_mtu(&netlink.link_by_name(link).await?, mtu).await)?)
    }

    /// Gives a link an address with its prefix length: `address("eth0", "172.21.0.100/24")`. If the link is up, packets
    /// to it arrive from now on.
    ///
    /// # Errors
    /// [`Error::Address`] for a text that is none, [`Error::Netlink`].
    pub fn address(&self, link: &str, address: &str) -> Result<(), Error> {
        let ip = parse_net(address)?;
        let up = self.netlink(async |netlink| {
            let link = netlink.link_by_name(link).await?;
            netlink.address_add_nodad(&link, ip).await?;
            Ok(link.up)
        })?;
        // The kernel makes an IPv6 address its own on a worker, a moment after it said yes.
        let arrived =
            || self.netlink(async |netlink| netlink.route_lookup(ip.addr()).await).is_ok_and(|to| to.local);
        let _ = up && eventually(ADDRESS_LIMIT, arrived);
        Ok(())
    }

    /// Adds a route through a router that is a neighbour: `route("100.64.158.0/24", "172.21.0.1")`.
    ///
    /// # Errors
    /// [`Error::Address`] for a text that is none, [`Error::Netlink`].
    pub fn route(&self, prefix: &str, gateway: &str) -> Result<(), Error> {
        let prefix = parse_net(prefix)?;
        let gateway: IpAddr = gateway.parse().map_err(|_| Error::Address(gateway.to_owned()))?;
        Ok(self.netlink(async |netlink| {
            let link = netlink.route_lookup(gateway).await?.link.unwrap_or_default();
            let link = netlink.link_by_index(link).await?;
            netlink.route_add(prefix, &link, Some(gateway), None).await
        })?)
    }

    /// Pings `destination` from here with the defaults of [`Ping`].
    ///
    /// # Panics
    /// When `destination` is no IP address or no raw socket can be opened here: neither depends on the network.
    pub fn ping(&self, destination: &str) -> PingReport {
        let destination = destination.parse().expect("an IP address to ping");
        self.run(|| Ping::new(destination).run()).expect("a raw socket in a namespace of our own")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(path) = self.published.take() {
            // Whoever removed the name already has done what this would do.
            let _ = namespace::unname_network(&path);
        }
    }
}

fn parse_net(text: &str) -> Result<IpNet, Error> {
    text.parse().map_err(|_| Error::Address(text.to_owned()))
}
