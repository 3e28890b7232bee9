//! Who holds a UDP port: a process, or the kernel's own vxlan device.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use vxgate_netlink::Netlink;

/// Names whoever holds `address`, as far as this process may see it.
pub(crate) async fn port_owner(netlink: &Netlink, address: SocketAddr) -> Option<String> {
    let inodes =
        ["/proc/net/udp", "/proc/net/udp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<u64> = inodes.iter().flat_map(|table| inodes_of(table, address.port())).collect();
    // The kernel's own sockets have no inode.
    if inodes.contains(&0) {
        let links = netlink.links().await.unwrap_or_default();
        let devices: Vec<String> = links
            .into_iter()
            .filter(|link| link.kind.as_deref() == Some("vxlan"))
            .map(|link| link.name)
            .collect();
        return Some(match devices.as_slice() {
            [] => "the kernel".to_owned(),
            names => format!("the kernel's vxlan device {}", names.join(", ")),
        });
    }
    processes_with(&inodes)
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
    let holds = |process: &Path| {
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| wanted.iter().any(|socket| target.as_os_str() == socket.as_str()))
    };
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
