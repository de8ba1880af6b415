//! Who is asked: this host, a machine under a kernel, or a profile that was written before.

use clap::Args;
use client::{CannotAsk, System, probe_all};
use profile::machine::Bdf;
use profile::verdict::best_of;
use profile::{Kernel, Machine, Profile, Requirement};

/// Whom to ask; this host unless another is named
#[derive(Args, Debug)]
pub struct Whom {
    /// A machine, by name or file, instead of this host
    #[arg(long, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// The Linux release of the machine; the newest by default
    #[arg(long, value_name = "KERNEL", requires = "machine")]
    pub kernel: Option<String>,
    /// This host, which is asked by default; under `softiommu run` that is the run's machine
    #[arg(long, conflicts_with_all = ["machine", "kernel"])]
    pub host: bool,
    /// The device to ask, as 0000:6a:01.0; by default the one that can do most of what is asked for
    #[arg(long, value_name = "BDF")]
    pub device: Option<Bdf>,
}

/// Who is asked.
#[derive(Debug)]
pub enum Subject {
    Host,
    Machine(Machine, &'static Kernel),
    File(String),
}

/// Why nothing can be said, in one line.
pub type Trouble = String;

impl Whom {
    pub fn subject(&self) -> Result<Subject, Trouble> {
        let Some(machine) = &self.machine else { return Ok(Subject::Host) };
        Ok(Subject::Machine(load_machine(machine)?, askable_kernel(self.kernel.as_deref())?))
    }
}

impl Subject {
    /// What `compare` and `baseline` take: `host`, a file with a slash or `.toml`, or a machine, with or
    /// without `@KERNEL`.
    pub fn by_name(name: &str) -> Result<Self, Trouble> {
        if name == "host" {
            return Ok(Self::Host);
        }
        if name.contains('/') || name.ends_with(".toml") {
            return Ok(Self::File(name.to_owned()));
        }
        let (machine, kernel) = match name.split_once('@') {
            Some((machine, kernel)) => (machine, Some(kernel)),
            None => (name, None),
        };
        Ok(Self::Machine(load_machine(machine)?, askable_kernel(kernel)?))
    }

    /// Asks every device, or one, or reads what was asked before; there is at least one profile.
    pub fn profiles(&self, device: Option<Bdf>) -> Result<Vec<Profile>, Trouble> {
        let asked = match self {
            Self::Host => probe_all(&System::host(), device),
            Self::Machine(machine, kernel) => System::software(machine, kernel)
                .map_err(CannotAsk::NoMachine)
                .and_then(|system| probe_all(&system, device)),
            Self::File(name) => {
                let profile = Profile::load(name).map_err(|error| error.to_string())?;
                return Ok(vec![profile]);
            }
        };
        asked.map_err(|error| error.to_string())
    }

    /// The profile of the device that a requirement is best met with; without one, that of the device
    /// that can do most.
    pub fn profile(&self, requirement: Option<&Requirement>) -> Result<Profile, Trouble> {
        Ok(best_of(self.profiles(None)?, requirement).unwrap_or_default())
    }
}

pub fn load_machine(name: &str) -> Result<Machine, Trouble> {
    Machine::load(name).map_err(|error| error.to_string())
}

/// The release with this name, or the newest: one that can be asked what it can do.
fn askable_kernel(name: Option<&str>) -> Result<&'static Kernel, Trouble> {
    let kernel = load_kernel(name)?;
    match kernel.api_2020() {
        None => Ok(kernel),
        Some(_) => Err(format!(
            "kernel {kernel} has no /dev/iommu to ask; `softiommu example compat` asks the API of 2020, and \
             any kernel from 6.2 on can be asked here"
        )),
    }
}

/// The kernel with this name, or the newest release.
pub fn load_kernel(name: Option<&str>) -> Result<&'static Kernel, Trouble> {
    let named = name.map(Kernel::by_name).transpose().map_err(|error| error.to_string())?;
    Ok(named.unwrap_or(Kernel::newest()))
}
