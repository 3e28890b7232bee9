//! Which system calls the threads may make, each with what for.

/// Calls by number, and what each is for.
pub(super) type List = &'static [(i64, &'static str)];

/// Waiting for one descriptor: rustix makes it of what the architecture has.
#[cfg(target_arch = "x86_64")]
const POLL: i64 = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
const POLL: i64 = libc::SYS_ppoll;

/// Those of a data thread after its start. No more than 25.
pub(super) const DATA: List = &[
    (libc::SYS_read, "frames of the device, events"),
    (libc::SYS_write, "frames to the device, events, the log"),
    (libc::SYS_recvmmsg, "datagrams"),
    (libc::SYS_sendmmsg, "datagrams"),
    (libc::SYS_epoll_create1, "what it sleeps on"),
    (libc::SYS_epoll_ctl, "the same; tunnels that join a shared port, and leave it"),
    (libc::SYS_epoll_pwait, "sleep"),
    (libc::SYS_ioctl, "the device's address and MTU, each second"),
    (libc::SYS_setsockopt, "the DF bit"),
    (libc::SYS_futex, "locks and channels of the standard library"),
    (libc::SYS_sched_yield, "adaptive polling"),
    (libc::SYS_clock_gettime, "time, where the kernel's page does not have it"),
    (POLL, "whether the log has room"),
    (libc::SYS_mmap, "memory"),
    (libc::SYS_munmap, "memory"),
    (libc::SYS_mremap, "memory"),
    (libc::SYS_madvise, "memory"),
    (libc::SYS_brk, "memory"),
    (libc::SYS_mprotect, "memory"),
    (libc::SYS_rt_sigprocmask, "a thread's end"),
    (libc::SYS_sigaltstack, "a thread's end"),
    (libc::SYS_close, "the end of a device and of sockets"),
    (libc::SYS_exit, "a thread's end"),
    (libc::SYS_restart_syscall, "sleep goes on after the process was stopped"),
];

/// Those of the thread that hears what the network says, besides.
pub(super) const ERRORS: List =
    &[(libc::SYS_recvmsg, "the queue of errors"), (libc::SYS_getsockopt, "an error that has no entry there")];

/// What the standard library asks besides, where debug assertions are on: whether a descriptor that it closes is open.
pub(super) const DEBUG: &[i64] = if cfg!(debug_assertions) { &[libc::SYS_fcntl] } else { &[] };

/// Those of the control thread, and of threads that ask the Gate's API.
pub(super) const CONTROL: List = &[
    (libc::SYS_read, "control sockets, files"),
    (libc::SYS_readv, "the same"),
    (libc::SYS_write, "control sockets, the log"),
    (libc::SYS_writev, "the same"),
    (libc::SYS_close, "descriptors"),
    (libc::SYS_fcntl, "descriptors"),
    (libc::SYS_openat, "the configuration, and what the resolver reads"),
    (libc::SYS_fstat, "files"),
    (libc::SYS_newfstatat, "files"),
    (libc::SYS_statx, "files"),
    (libc::SYS_faccessat, "files"),
    (libc::SYS_faccessat2, "files"),
    (libc::SYS_readlinkat, "files"),
    (libc::SYS_getdents64, "who holds a port"),
    (libc::SYS_getcwd, "paths from here"),
    (libc::SYS_lseek, "files"),
    (libc::SYS_pread64, "libraries of the resolver"),
    (libc::SYS_unlinkat, "the end; without landlock only"),
    (libc::SYS_socket, "netlink, the API, the service manager"),
    (libc::SYS_connect, "the API, the service manager"),
    (libc::SYS_bind, "netlink, the resolver"),
    (libc::SYS_accept4, "control socket, metrics"),
    (libc::SYS_getsockname, "netlink, the resolver"),
    (libc::SYS_getpeername, "connections"),
    (libc::SYS_getsockopt, "connections"),
    (libc::SYS_setsockopt, "connections"),
    (libc::SYS_shutdown, "connections"),
    (libc::SYS_sendto, "netlink, connections, signals"),
    (libc::SYS_recvfrom, "netlink, connections"),
    (libc::SYS_sendmsg, "the service manager, the resolver"),
    (libc::SYS_recvmsg, "the resolver"),
    (libc::SYS_sendmmsg, "the resolver"),
    (libc::SYS_recvmmsg, "what is left of a tunnel that ends"),
    (libc::SYS_socketpair, "threads"),
    (libc::SYS_pipe2, "threads"),
    (libc::SYS_eventfd2, "threads"),
    (libc::SYS_epoll_create1, "sleep"),
    (libc::SYS_epoll_ctl, "sleep"),
    (libc::SYS_epoll_pwait, "sleep"),
    (libc::SYS_ppoll, "sleep, and whether the log has room"),
    (libc::SYS_nanosleep, "sleep"),
    (libc::SYS_clock_nanosleep, "sleep"),
    (libc::SYS_restart_syscall, "sleep goes on after the process was stopped"),
    (libc::SYS_clock_gettime, "time, where the kernel's page does not have it"),
    (libc::SYS_gettimeofday, "the same"),
    (libc::SYS_futex, "locks and channels"),
    (libc::SYS_sched_yield, "locks"),
    (libc::SYS_sched_getaffinity, "how many processors there are"),
    (libc::SYS_clone3, "a thread that asks the API"),
    (libc::SYS_clone, "the same"),
    (libc::SYS_set_robust_list, "a thread's start"),
    (libc::SYS_rseq, "a thread's start"),
    (libc::SYS_prctl, "a thread's name"),
    (libc::SYS_exit, "a thread's end"),
    (libc::SYS_exit_group, "the end"),
    (libc::SYS_membarrier, "threads"),
    (libc::SYS_gettid, "threads"),
    (libc::SYS_getpid, "what `show` shows"),
    (libc::SYS_tgkill, "a panic's end"),
    (libc::SYS_geteuid, "whose files are trusted"),
    (libc::SYS_getuid, "the same"),
    (libc::SYS_getegid, "the resolver"),
    (libc::SYS_getgid, "the resolver"),
    (libc::SYS_getresuid, "the resolver"),
    (libc::SYS_getresgid, "the resolver"),
    (libc::SYS_timerfd_create, "the resolver, by systemd's module"),
    (libc::SYS_timerfd_settime, "the same"),
    (libc::SYS_uname, "the resolver"),
    (libc::SYS_sysinfo, "the resolver"),
    (libc::SYS_prlimit64, "the size of a stack"),
    (libc::SYS_getrandom, "keys, names"),
    (libc::SYS_ioctl, "whether the log is a terminal"),
    (libc::SYS_wait4, "the monitor's end"),
    (libc::SYS_waitid, "the monitor's end"),
    (libc::SYS_pidfd_send_signal, "a monitor that does not end"),
    (libc::SYS_kill, "the same"),
    (libc::SYS_rt_sigaction, "signals"),
    (libc::SYS_rt_sigprocmask, "signals"),
    (libc::SYS_rt_sigreturn, "signals"),
    (libc::SYS_sigaltstack, "signals"),
    (libc::SYS_mmap, "memory"),
    (libc::SYS_munmap, "memory"),
    (libc::SYS_mremap, "memory"),
    (libc::SYS_madvise, "memory"),
    (libc::SYS_brk, "memory"),
    (libc::SYS_mprotect, "memory"),
    (libc::SYS_flock, "the lock of a kept device"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "sleep, as C libraries do"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "sleep, as C libraries do"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, "files, as C libraries do"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, "files, as C libraries do"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lstat, "files, as C libraries do"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_access, "files, as C libraries do"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, "files, as C libraries do"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "the end; without landlock only"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_time, "time, as C libraries do"),
];
