//! Start, signals, children, end, report.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use engine::Engine;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, Signal, WaitOptions};

use crate::directory::Directory;
use crate::files::Files;
use crate::page::Page;
use crate::server::{self, Shared};
use crate::sys::{self, SignalSet};
use crate::trouble::Doing;
use crate::visible::Visible;
use crate::{Ending, Options, Trouble, functions, processes, program};

/// Signals that are passed on to the program.
const PASSED_ON: &[i32] = &[
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGALRM,
];

/// The files of `/sys/kernel/debug` by which a test prepares fault injection.
const DEBUG_FILES: &[&str] = &[
    "failslab/ignore-gfp-wait",
    "failslab/verbose",
    "fail_page_alloc/ignore-gfp-wait",
    "fail_page_alloc/ignore-gfp-highmem",
    "fail_page_alloc/verbose",
    "fail_iommufd/verbose",
];

/// How long the descendants of a killed program may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options) -> Result<Ending, Trouble> {
    let machine = &options.machine;
    let program = program::find(&options.program)?;
    let directory = Arc::new(Directory::new()?);
    let mut features = if machine.test_command { wire::page::SELFTEST } else { 0 };
    if !machine.devices.is_empty() {
        features |= wire::page::DEVICES;
    }
    let release = options.kernel.release();
    let page = Arc::new(Page::new(&directory, features, &release)?);
    directory.write(wire::SHIM, options.shim, false)?;
    if machine.test_command {
        make_debug_tree(&directory)?;
    }
    let engine = Engine::new(machine, options.kernel);
    let recipes = functions::recipes(machine, &engine)?;
    make_proc_tree(&directory, &release)?;
    let socket = listen_at(&directory.file(wire::SOCKET))?;
    let files = Files::new(Arc::clone(&page))?;

    sys::default_sigchld();
    let signals: Vec<_> = PASSED_ON.iter().copied().chain([libc::SIGCHLD]).collect();
    let signals = SignalSet::of(&signals);
    let blocked = signals.block();
    functions::plug(&engine, recipes)?;
    // the devices say what is in it
    let visible = Visible::new(&directory, &engine)?;
    let shared = Arc::new(Shared::new(engine, files, page, visible));
    let events = signals.descriptor().doing("waiting for signals")?;
    let limit = raise_descriptor_limit();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .doing("adopting orphans")?;
    let mut command = Command::new(&program);
    command
        .args(&options.arguments)
        .env(wire::RUN_VARIABLE, directory.path())
        .env("LD_PRELOAD", preload(&directory.file(wire::SHIM)));
    let child = sys::spawn(&mut command, blocked, limit)
        .map_err(|reason| Trouble::NotExecutable { program: program.clone(), reason })?;
    if options.verbose {
        let (program, pid, kernel) = (program.display(), child.id(), options.kernel);
        eprintln!("softiommu: {program} ({pid}) on machine {} with Linux {kernel}", machine.name);
        for number in 0.. {
            let Some(device) = shared.engine.function(number) else { break };
            let (address, model) = (device.address, &device.model);
            eprintln!("softiommu: /dev/vfio/devices/vfio{number} is {address}: {model}");
        }
    }
    {
        let shared = Arc::clone(&shared);
        thread::Builder::new()
            .spawn(move || server::listen(&shared, &socket))
            .doing("starting a thread")?;
    }
    let ending = Life { shared: &shared, child, events, ending: None }.live();
    report(&shared, ending, &program, options.verbose);
    Ok(ending)
}

/// A program's life, watched by the first thread.
struct Life<'a> {
    shared: &'a Shared,
    child: Child,
    events: OwnedFd,
    ending: Option<Ending>,
}

impl Life<'_> {
    fn live(mut self) -> Ending {
        loop {
            self.wait();
            self.pass_signals_on();
            self.reap();
            match self.ending {
                Some(Ending::Killed(signal)) => return Ending::Killed(signal),
                Some(ending) => {
                    self.shared.files.release_closed();
                    if self.shared.files.count() == 0 {
                        return ending;
                    }
                }
                None => self.shared.files.release_closed(),
            }
        }
    }

    fn wait(&self) {
        let mut fds = [
            PollFd::new(&self.events, PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.files.as_fd(), PollFlags::IN),
        ];
        let _ = rustix::event::poll(&mut fds, None);
    }

    fn pass_signals_on(&self) {
        while let Some((signal, from_kernel)) = sys::next_signal(&self.events) {
            // what the terminal sends reaches the program by itself
            let by_itself =
                from_kernel && [libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH].contains(&signal);
            if signal != libc::SIGCHLD && !by_itself && self.ending.is_none() {
                sys::kill(self.child.id().cast_signed(), signal);
            }
        }
    }

    /// Takes the status of every child that is dead, ours or adopted.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) =
            rustix::process::wait(WaitOptions::NOHANG).map(|dead| dead.map(|d| (d.0, d.1)))
        {
            if pid.as_raw_nonzero().get() == self.child.id().cast_signed() {
                self.ending = Some(match status.terminating_signal() {
                    Some(signal) => Ending::Killed(signal),
                    None => Ending::Exited(status.exit_status().unwrap_or(0)),
                });
            }
        }
    }
}

/// Ends what a killed program left behind, and says what it had open.
fn report(shared: &Shared, ending: Ending, program: &Path, verbose: bool) {
    let Ending::Killed(signal) = ending else { return };
    let open = shared.files.describe();
    let left = kill_descendants();
    shared.files.release_closed();
    if open.is_empty() && left == 0 && !verbose {
        return;
    }
    eprintln!("softiommu: {} was killed by signal {signal}", program.display());
    if left > 0 {
        eprintln!("softiommu:   {left} of its processes were ended with it");
    }
    for line in open {
        eprintln!("softiommu:   left open: {line}");
    }
}

/// Kills every descendant until there is none; returns how many there were.
fn kill_descendants() -> usize {
    let us = rustix::process::getpid().as_raw_nonzero().get();
    let deadline = Instant::now() + KILL_TIME;
    let mut killed = std::collections::HashSet::new();
    while Instant::now() < deadline {
        let left = processes::descendants(us);
        if left.is_empty() {
            break;
        }
        for pid in left {
            let alive =
                processes::Stat::of(pid.as_raw_nonzero().get()).is_some_and(|s| !s.is_dying());
            if alive && rustix::process::kill_process(pid, Signal::KILL).is_ok() {
                killed.insert(pid);
            }
        }
        while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        thread::sleep(Duration::from_millis(1));
    }
    killed.len()
}

fn listen_at(path: &Path) -> Result<OwnedFd, Trouble> {
    let listen = || -> rustix::io::Result<OwnedFd> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 128)?;
        Ok(socket)
    };
    let socket = listen().doing("listening for calls")?;
    // who gets into the directory may call; each peer is looked at
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).doing("listening for calls")?;
    Ok(socket)
}

fn make_debug_tree(directory: &Directory) -> Result<(), Trouble> {
    directory.create(wire::DEBUG_TREE)?;
    for file in DEBUG_FILES {
        let name = format!("{}/{file}", wire::DEBUG_TREE);
        if let Some((folder, _)) = name.rsplit_once('/')
            && !directory.file(folder).exists()
        {
            directory.create(folder)?;
        }
        directory.write(&name, b"N\n", true)?;
    }
    Ok(())
}

/// Writes the files of `/proc` that tell the kernel's release.
fn make_proc_tree(directory: &Directory, release: &str) -> Result<(), Trouble> {
    let name = |file: &str| format!("{}/{file}", wire::PROC_TREE);
    directory.read_only(&name("sys/kernel/osrelease"), format!("{release}\n").as_bytes())?;
    // "Linux version RELEASE (..) #1 .."; a host that does not tell has no such file in the run either
    let Ok(version) = fs::read_to_string("/proc/version") else { return Ok(()) };
    let mut words: Vec<_> = version.split(' ').collect();
    if let Some(word) = words.get_mut(2) {
        *word = release;
    }
    directory.read_only(&name("version"), words.join(" ").as_bytes())
}

/// The shim before whatever is preloaded already.
fn preload(shim: &Path) -> OsString {
    let mut list = shim.as_os_str().to_owned();
    if let Some(more) = std::env::var_os("LD_PRELOAD").filter(|more| !more.is_empty()) {
        list.push(":");
        list.push(more);
    }
    list
}

/// Every open file of the program costs us a descriptor. Returns the limit that the program gets.
fn raise_descriptor_limit() -> Rlimit {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    limit
}
