//! `softiommu run`: a program on a machine of ours.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use profile::machine::Caching;
use profile::{Kernel, Machine};
use supervisor::Ending;

use crate::subject::{load_kernel, load_machine};

/// Exit status of a usage error, as of `env`, `timeout` and others.
pub const USAGE: u8 = 125;

/// Run a program, unmodified, with a software /dev/iommu and VFIO devices
///
/// Without PROGRAM it plays a built-in example as an ordinary program.
///
/// Exit status: that of PROGRAM, and its signal if it died by one; 125 when softiommu itself fails
/// or cannot serve PROGRAM (static, set-uid, 32-bit, unknown machine or device); 126 when PROGRAM cannot be
/// executed; 127 when there is no such program.
#[derive(Args)]
pub struct Options {
    #[arg(long, default_value = "spr", value_name = "MACHINE", help = machines())]
    machine: String,
    #[arg(long, value_name = "KERNEL", help = kernels())]
    kernel: Option<String>,
    /// A device of the machine, in place of those of its file, with settings: nvme,size=1G; may be given
    /// several times (`softiommu devices` lists them)
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// How IOMMUs and devices cache: as hardware, never-forget (each missing invalidation shows) or
    /// never-keep; else as the machine file says
    #[arg(long, value_name = "WAY", value_parser = Caching::by_name)]
    caches: Option<Caching>,
    /// Tell on standard error what happens
    #[arg(short, long)]
    verbose: bool,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

fn machines() -> String {
    let names: Vec<_> = Machine::all().iter().map(|it| it.name.as_str()).collect();
    format!("The machine to run on: {}, or a file", names.join(", "))
}

fn kernels() -> String {
    let names =
        |kernels: &[Kernel]| kernels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (releases, posted) = (names(Kernel::all()), names(Kernel::posted()));
    format!(
        "The Linux release to behave as: {releases}; the newest by default. Or one that never was, with the \
         API of 2020: {posted}"
    )
}

/// Runs the program, and ends as it ended.
pub fn run(options: Options) -> ExitCode {
    let mut command = options.command.into_iter();
    let (program, arguments) = match command.next() {
        Some(program) => (program, command.collect()),
        None => match env::current_exe() {
            Ok(this) => (this.into(), vec!["example".into()]),
            Err(error) => {
                eprintln!("softiommu: finding the built-in example: {error}");
                return ExitCode::from(USAGE);
            }
        },
    };
    let machine = load_machine(&options.machine);
    let kernel = load_kernel(options.kernel.as_deref());
    let (mut machine, kernel) = match (machine, kernel) {
        (Ok(machine), Ok(kernel)) => (machine, kernel),
        (Err(trouble), _) | (_, Err(trouble)) => {
            eprintln!("softiommu: {trouble}");
            return ExitCode::from(USAGE);
        }
    };
    machine.caches = options.caches.unwrap_or(machine.caches);
    if let Err(trouble) = supervisor::place(&mut machine, &options.device) {
        eprintln!("softiommu: {trouble}");
        return ExitCode::from(USAGE);
    }
    let ending = supervisor::run(&supervisor::Options {
        machine,
        kernel,
        program,
        arguments,
        shim: include_bytes!(concat!(env!("OUT_DIR"), "/shim.so")),
        verbose: options.verbose,
    });
    match ending {
        Ok(Ending::Exited(status)) => ExitCode::from(status as u8),
        Ok(Ending::Killed(signal)) => supervisor::die_by(signal),
        Err(trouble) => {
            eprintln!("softiommu: {trouble}");
            ExitCode::from(trouble.status())
        }
    }
}
