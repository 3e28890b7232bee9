//! Who holds a UDP port or a device: a process, or the kernel's own vxlan device.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use vxgate_netlink::Netlink;

/// Names whoever holds `address`, as far as this process may see it.
pub(crate) async fn port_owner(netlink: &Netlink, address: SocketAddr) -> Option<String> {
    let inodes =
        ["/proc/net/udp", "/proc/net/udp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<u64> = inodes.iter().flat_map(|table| inodes_of(table, address.port())).collect();
    if let Some(process) = processes_with(&inodes) {
        return Some(process);
    }
    // A socket of the kernel's own is in the table as any other, and in no process.
    let mut devices = Vec::new();
    for link in netlink.links().await.unwrap_or_default() {
        let kernels = link.kind.as_deref() == Some("vxlan");
        if kernels && netlink.vxlan_settings(&link).await.is_ok_and(|vxlan| vxlan.port == address.port()) {
            devices.push(link.name);
        }
    }
    (!devices.is_empty()).then(|| format!("the kernel's vxlan device {}", devices.join(", ")))
}

/// The process that holds a TUN or TAP device, as far as this process may see it: the descriptor's own word for its
/// device (drivers/net/tun.c, `tun_chr_show_fdinfo`, Linux 3.18).
pub(crate) fn tap_owner(dev: &str) -> Option<String> {
    let is_its = |line: &str| line.strip_prefix("iff:").is_some_and(|name| name.trim() == dev);
    // The same name in another network namespace is another device.
    let here = fs::read_link("/proc/self/ns/net").ok()?;
    first_process(|process| {
        if fs::read_link(process.join("ns/net")).ok().as_ref() != Some(&here) {
            return false;
        }
        let descriptors = fs::read_dir(process.join("fdinfo")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|entry| fs::read_to_string(entry.path()).ok())
            .any(|text| text.lines().any(is_its))
    })
}

/// Inodes of the sockets at this port, from the lines of /proc/net/udp (proc_net_udp(5)): the second column is the local
/// address and port in hexadecimal, the tenth the inode.
fn inodes_of(table: &str, port: u16) -> Vec<u64> {
    let inode = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let (_, local_port) = columns.nth(1)?.rsplit_once(':')?;
        if u16::from_str_radix(local_port, 16).ok()? != port {
            return None;
        }
        columns.nth(7)?.parse().ok()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// The first process that has one of these sockets open.
fn processes_with(inodes: &[u64]) -> Option<String> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    first_process(|process| {
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| wanted.iter().any(|socket| target.as_os_str() == socket.as_str()))
    })
}

/// The first process for whose directory in /proc this holds, by name and number.
fn first_process(holds: impl Fn(&Path) -> bool) -> Option<String> {
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if holds(&entry.path()) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim_end()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inode_stands_in_the_tenth_column_of_the_right_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
                     1234: 0100007F:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0 0\n \
                     1235: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0 0\n";
        assert_eq!(inodes_of(table, 4789), [4711]);
        assert_eq!(inodes_of(table, 53), [4712]);
        assert!(inodes_of(table, 1).is_empty());
        assert!(inodes_of("", 1).is_empty());
    }

    #[test]
    fn this_process_is_found_by_its_own_socket() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port of loopback");
        let port = socket.local_addr().expect("an address").port();
        let table = fs::read_to_string("/proc/net/udp").expect("proc");
        let owner = processes_with(&inodes_of(&table, port)).expect("an owner");
        assert!(owner.ends_with(&format!("(pid {})", std::process::id())), "{owner}");
    }
}
