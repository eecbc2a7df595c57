//! Attacks on the machine: each tries to do one thing, and must be stopped by an error.

use fmflow_grade::sandbox::Isolation;
use fmflow_grade::search::find_interpreter;
use libtest_mimic::Trial;

use super::{canary, grade, grade_in, problem, trial};

/// Whether an attack succeeds without a sandbox, as any user on any machine. Those that do show that the test can fail.
#[derive(Clone, Copy, PartialEq)]
enum Unhindered {
    Succeeds,
    Unknown,
}

use Unhindered::{Succeeds, Unknown};

/// Attacks that need no raw system call. `CANARY` is a folder with a file `secret`.
const ATTACKS: &[(&str, Unhindered, &str)] = &[
    ("read_passwords", Succeeds, "open('/etc/passwd').read()"),
    ("read_shadow", Unknown, "open('/etc/shadow').read()"),
    ("read_a_file_of_the_user", Succeeds, "open('CANARY/secret').read()"),
    ("read_own_environment", Succeeds, "open('/proc/self/environ').read()"),
    ("read_environment_of_parent", Unknown, "open('/proc/%d/environ' % os.getppid()).read()"),
    ("read_memory_map", Succeeds, "open('/proc/self/maps').read()"),
    ("read_memory_of_parent", Unknown, "open('/proc/%d/mem' % os.getppid(), 'rb').read(1)"),
    ("read_the_program_itself", Unknown, "open('/proc/%d/exe' % os.getppid(), 'rb').read(1)"),
    ("read_command_line_of_parent", Succeeds, "open('/proc/%d/cmdline' % os.getppid()).read()"),
    ("read_a_device", Succeeds, "open('/dev/zero', 'rb').read(1)"),
    ("read_the_terminal", Unknown, "open('/dev/tty', 'rb').read(1)"),
    ("list_root", Succeeds, "os.listdir('/')"),
    ("list_temporary_files", Succeeds, "os.listdir('/tmp')"),
    ("list_descriptors", Succeeds, "os.listdir('/proc/self/fd')"),
    ("list_processes", Succeeds, "os.listdir('/proc')"),
    ("use_an_inherited_descriptor", Unknown, "[os.fstat(fd) for fd in range(5, 256) if valid(fd)][0]"),
    (
        "write_temporary_file",
        Succeeds,
        "open('/tmp/fmflow-attack', 'w').write('x'); os.unlink('/tmp/fmflow-attack')",
    ),
    ("write_into_the_system", Unknown, "open('/etc/fmflow-attack', 'w')"),
    ("append_to_a_file", Unknown, "open('CANARY/secret', 'a').write('x')"),
    ("truncate_a_file", Unknown, "os.truncate('CANARY/secret', 0)"),
    ("remove_a_file", Unknown, "os.unlink('CANARY/secret')"),
    ("remove_a_tree", Unknown, "os.rename('CANARY', 'CANARY-gone')"),
    (
        "make_a_folder",
        Succeeds,
        "os.mkdir('/tmp/fmflow-attack-folder'); os.rmdir('/tmp/fmflow-attack-folder')",
    ),
    (
        "make_a_symbolic_link",
        Succeeds,
        "os.symlink('/', '/tmp/fmflow-attack-link'); os.unlink('/tmp/fmflow-attack-link')",
    ),
    ("make_a_hard_link", Unknown, "os.link('CANARY/secret', 'CANARY/other')"),
    (
        "make_a_pipe_in_a_folder",
        Succeeds,
        "os.mkfifo('/tmp/fmflow-attack-fifo'); os.unlink('/tmp/fmflow-attack-fifo')",
    ),
    ("change_rights", Unknown, "os.chmod('CANARY/secret', 0o777)"),
    ("change_owner", Unknown, "os.chown('CANARY/secret', 1, 1)"),
    ("change_times", Unknown, "os.utime('CANARY/secret', (0, 0))"),
    ("change_root", Unknown, "os.chroot('/tmp')"),
    ("change_folder_and_read", Succeeds, "os.chdir('CANARY'); open('secret').read()"),
    ("open_a_tcp_connection", Unknown, "socket.create_connection(('127.0.0.1', PORT), 1)"),
    ("make_a_tcp_socket", Succeeds, "socket.socket(socket.AF_INET, socket.SOCK_STREAM)"),
    ("make_a_udp_socket", Succeeds, "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"),
    ("make_an_ipv6_socket", Unknown, "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)"),
    ("make_a_unix_socket", Succeeds, "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)"),
    ("make_a_netlink_socket", Succeeds, "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    ("make_a_raw_socket", Unknown, "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    ("make_a_pair_of_sockets", Succeeds, "socket.socketpair()"),
    ("ask_for_an_address", Unknown, "socket.getaddrinfo('example.org', 80)"),
    ("fork", Succeeds, "os.fork() or os._exit(0)"),
    ("start_a_shell", Succeeds, "subprocess.run(['/bin/sh', '-c', 'true'], check=True)"),
    ("start_a_shell_by_system", Succeeds, "failed(os.system('true'))"),
    ("spawn_a_process", Succeeds, "os.posix_spawn('/bin/true', ['true'], {})"),
    ("become_a_shell", Unknown, "os.execv('/bin/sh', ['sh', '-c', 'exit 0'])"),
    ("become_a_setuid_program", Unknown, "os.execv('/bin/su', ['su', '--help'])"),
    ("signal_the_parent", Unknown, "os.kill(os.getppid(), 0)"),
    ("signal_everybody", Unknown, "os.kill(-1, 0)"),
    ("signal_by_descriptor", Succeeds, "os.pidfd_open(os.getppid())"),
    ("signal_through_a_pipe", Succeeds, "fcntl.fcntl(4, fcntl.F_SETOWN, os.getpid())"),
    ("change_priority_of_parent", Unknown, "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)"),
    ("change_own_affinity", Succeeds, "os.sched_setaffinity(0, os.sched_getaffinity(0))"),
    ("change_limits_of_parent", Unknown, "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)"),
    ("raise_own_limits", Unknown, "resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))"),
    ("become_root", Unknown, "failed(os.getuid()); os.setuid(0)"),
    ("make_a_file_in_memory", Succeeds, "os.memfd_create('x')"),
    ("make_shared_memory", Unknown, "multiprocessing_shared_memory()"),
    ("read_another_module_path", Succeeds, "os.listdir('/usr/bin')"),
];

/// System calls by number: name, number on x86_64, arguments. All would fail differently, with EINVAL or EFAULT, if they were allowed.
#[cfg(target_arch = "x86_64")]
const CALLS: &[(&str, i64)] = &[
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("unshare", libc::SYS_unshare),
    ("setns", libc::SYS_setns),
    ("mount", libc::SYS_mount),
    ("umount2", libc::SYS_umount2),
    ("pivot_root", libc::SYS_pivot_root),
    ("bpf", libc::SYS_bpf),
    ("keyctl", libc::SYS_keyctl),
    ("add_key", libc::SYS_add_key),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("shmget", libc::SYS_shmget),
    ("msgget", libc::SYS_msgget),
    ("semget", libc::SYS_semget),
    ("init_module", libc::SYS_init_module),
    ("kexec_load", libc::SYS_kexec_load),
    ("reboot", libc::SYS_reboot),
    ("sethostname", libc::SYS_sethostname),
    ("clock_settime", libc::SYS_clock_settime),
    ("personality", libc::SYS_personality),
    ("prctl", libc::SYS_prctl),
    ("seccomp", libc::SYS_seccomp),
    ("vfork", libc::SYS_vfork),
    ("tgkill", libc::SYS_tgkill),
    ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("inotify_init1", libc::SYS_inotify_init1),
    ("quotactl", libc::SYS_quotactl),
    ("swapon", libc::SYS_swapon),
    ("iopl", libc::SYS_iopl),
];
#[cfg(not(target_arch = "x86_64"))]
const CALLS: &[(&str, i64)] = &[];

fn build_attack(body: &str) -> String {
    let body = body.replace("CANARY", canary().to_str().unwrap()).replace("PORT", &open_port().to_string());
    format!(
        "import os, socket, subprocess, fcntl, resource\n\
         def valid(fd):\n    try:\n        os.fstat(fd)\n        return True\n    except OSError:\n        return False\n\
         def failed(status):\n    if status:\n        raise OSError(status)\n\
         def multiprocessing_shared_memory():\n    from multiprocessing import shared_memory\n    shared_memory.SharedMemory(create=True, size=1).unlink()\n\
         def attack():\n    try:\n        {body}\n    except (OSError, ImportError, IndexError, ValueError) as error:\n        return 'blocked'\n    return 'done'\n"
    )
}

/// A port on which somebody listens, so that a connection would succeed.
fn open_port() -> u16 {
    use std::net::TcpListener;
    static LISTENER: std::sync::OnceLock<TcpListener> = std::sync::OnceLock::new();
    let listener = LISTENER.get_or_init(|| TcpListener::bind("127.0.0.1:0").unwrap());
    listener.local_addr().unwrap().port()
}

fn build_call(number: i64) -> String {
    format!(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n\
         def attack():\n    found = libc.syscall({number}, 0, 0, 0, 0, 0, 0)\n    return 'blocked' if (found, ctypes.get_errno()) == (-1, 1) else 'done'\n"
    )
}

pub(super) fn trials() -> Vec<Trial> {
    let blocked = || problem(&["assert attack() == 'blocked'"]);
    let plain = ATTACKS.iter().map(|(name, _, body)| {
        trial(format!("attack::{name}"), move || {
            let verdict = grade(&blocked(), &build_attack(body));
            assert!(verdict.passed(), "{verdict:?}");
        })
    });
    let calls = CALLS.iter().map(|(name, number)| {
        trial(format!("attack::call_{name}"), move || {
            let verdict = grade(&blocked(), &build_call(*number));
            assert!(verdict.passed(), "{verdict:?}");
        })
    });
    let control = trial("attacks_succeed_without_the_sandbox".into(), attacks_succeed_without_the_sandbox);
    plain.chain(calls).chain([control]).collect()
}

/// The control: the same code does what it says where nothing stops it.
fn attacks_succeed_without_the_sandbox() {
    let interpreter = find_interpreter(Isolation::UnsafeNoSandbox).unwrap();
    for (name, unhindered, body) in ATTACKS {
        if *unhindered == Succeeds {
            let done = problem(&["assert attack() == 'done'"]);
            let verdict = grade_in(&interpreter, &done, &build_attack(body));
            assert!(verdict.passed(), "{name}: {verdict:?}");
        }
    }
}

pub(super) fn canary_is_whole() -> bool {
    let names: Vec<_> =
        std::fs::read_dir(canary()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names == ["secret"] && std::fs::read_to_string(canary().join("secret")).unwrap() == "canary"
}
