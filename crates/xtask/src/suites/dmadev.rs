//! DPDK's own test of DMA devices, `dpdk-test dmadev_autotest`, as Debian has it: nothing is compiled, the
//! packages are unpacked into the cache and not installed.
//!
//! It copies and fills, in bursts and one by one, and lets accesses fail on purpose. It runs without huge
//! pages, at several latencies of the device.
//!
//! DPDK's driver of `ioat` loses completions to a device that is faster than itself. When `ioat_completed`
//! (DPDK 22.11) finds an error, it resets the channel and submits what comes after the failed operation again,
//! so the device works while the program has not asked yet what failed. `ioat_completed_status` tells of the
//! failure in one more place than it has counted, unless that is beyond the places it was given: then one of
//! the operations that are done already, or a second failure, is in no place. Asked for one place, it shows so:
//!
//! | the test | says or does |
//! |---|---|
//! | `test_individual_status_query_with_failure` | it got 0 completions, not 1 |
//! | `test_single_item_status_query_with_failure` | it got 15 completions, not 16 |
//! | `test_multi_failure`, its second half | nothing: it asks for the last one for ever |
//!
//! `test_failure_in_full_burst` has 16 places, which are enough. Without latency it must fail in the first way,
//! or the device is not as fast as it says. With some, the driver needs a CPU within that time, which no busy
//! machine gives it: so the device takes long for what is submitted after a reset (`start`), and where that
//! was not enough either, the run is made again. Any other failure is one.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::{Kept, unpack};
use super::debs;
use super::place::Place;
use super::runner::{Job, Machine};
use super::{Choice, TIME_LIMIT};
use crate::failure::{At, Failure, Result};
use crate::workspace::Workspace;

/// Debian's suite that has the packages, and their version.
const SUITE: &str = "bookworm";
const VERSION: &str = "22.11.11-0+deb12u1";

/// Names of packages of that version are `librte-NAMEsuffix`, with these in place of `NAME`.
const LIBRARY_SUFFIX: &str = "23";
#[rustfmt::skip] // as many on a line as there is room for
const LIBRARIES: &[&str] = &[
    "acl", "bbdev", "bitratestats", "bpf", "bus-pci", "bus-vdev", "cfgfile", "cmdline", "compressdev",
    "crypto-scheduler", "cryptodev", "distributor", "dma-idxd", "dma-ioat", "dmadev", "eal", "efd", "ethdev",
    "event-skeleton", "eventdev", "fib", "gpudev", "graph", "gro", "gso", "hash", "ip-frag", "ipsec",
    "jobstats", "kvargs", "latencystats", "lpm", "mbuf", "member", "mempool", "mempool-ring",
    "mempool-stack", "meter", "metrics", "net", "net-bond", "net-null", "net-ring", "node", "pcapng", "pci",
    "pdump", "pipeline", "port", "power", "rawdev", "rcu", "regexdev", "reorder", "rib", "ring", "sched",
    "security", "stack", "table", "telemetry", "timer", "vhost",
];

/// What these use and not every Debian has, in any version.
const OTHERS: &[&str] =
    &["libbsd0", "libdbus-1-3", "libelf1", "libfdt1", "libjansson4", "libnuma1", "libpcap0.8"];

/// Where packages put what we keep.
const PROGRAM: &str = "usr/bin/dpdk-test";
const LIBRARY_FOLDERS: &[&str] = &["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
const DRIVER_FOLDER: &str = "usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0";

/// The place of the device on the default machine.
const ADDRESS: &str = "0000:6a:01.0";

/// What the driver of `dsa` is told. Each queue is tested as a device of its own, in full: two tell as much as
/// all eight, which take minutes where the machine is busy.
const DSA_OPTIONS: &str = ",max_queues=2";

const TEST: &str = "dmadev_autotest";

/// How much of the log is shown of a run that failed.
const LAST_LINES: usize = 40;

/// One run.
struct Row {
    /// As `softiommu run --device` takes it.
    device: &'static str,
    /// DPDK's driver.
    driver: &'static str,
    expected: Expected,
}

enum Expected {
    Ok,
    /// It fails and says this.
    Fails(&'static str),
}

/// Which test says what where the driver has lost a completion.
#[rustfmt::skip] // one test, one line
const ONE_SHORT: &[(&str, &str)] = &[
    ("In test_individual_status_query_with_failure:",  "unexpected number of completions received, 0, not 1"),
    ("In test_single_item_status_query_with_failure:", "incorrect number of completions received, got 15 not 16"),
];

/// How often a run is made at most where that happens.
const ATTEMPTS: u32 = 3;

const LOST: Expected = Expected::Fails(ONE_SHORT[0].1);

/// The start is longer than the driver waits for a CPU, and shorter than the second after which the test no
/// longer waits for the device (`await_hw`).
#[rustfmt::skip] // one run, one line
const ROWS: &[Row] = &[
    Row { device: "ioat,version=3.4,latency=1us,start=200ms",   driver: "librte_dma_ioat.so.23", expected: Expected::Ok },
    Row { device: "ioat,version=3.4,latency=20us,start=200ms",  driver: "librte_dma_ioat.so.23", expected: Expected::Ok },
    Row { device: "ioat,version=3.4,latency=100us,start=200ms", driver: "librte_dma_ioat.so.23", expected: Expected::Ok },
    Row { device: "ioat,version=3.4,latency=0",                 driver: "librte_dma_ioat.so.23", expected: LOST },
    Row { device: "dsa,latency=1us",   driver: "librte_dma_idxd.so.23", expected: Expected::Ok },
    Row { device: "dsa,latency=20us",  driver: "librte_dma_idxd.so.23", expected: Expected::Ok },
    Row { device: "dsa,latency=100us", driver: "librte_dma_idxd.so.23", expected: Expected::Ok },
];

/// The program and its libraries, downloaded now when they are not in the cache.
pub fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    let key = (LIBRARIES, OTHERS, PROGRAM, LIBRARY_FOLDERS, DRIVER_FOLDER);
    Kept::new(workspace, &format!("dpdk-{VERSION}"), key).get(|scratch| {
        let mut packages = vec![format!("dpdk-dev={VERSION}")];
        packages.extend(LIBRARIES.iter().map(|name| {
            let dash = if name.ends_with(|last: char| last.is_ascii_digit()) { "-" } else { "" };
            format!("librte-{name}{dash}{LIBRARY_SUFFIX}={VERSION}")
        }));
        packages.extend(OTHERS.iter().map(|name| (*name).to_owned()));
        debs::download(SUITE, &packages, scratch).map_err(|failure| {
            Failure::from(format!(
                "{failure}\nis {VERSION} no longer in {SUITE}? Then take the next version in \
                 crates/xtask/src/suites/dmadev.rs"
            ))
        })?;
        keep(scratch)
    })
}

/// Unpacks the packages of a folder; returns the folder with just the program and all libraries.
fn keep(scratch: &Path) -> Result<PathBuf> {
    let [unpacked, kept] = ["unpacked", "kept"].map(|name| scratch.join(name));
    fs::create_dir_all(&kept).at("create", &kept)?;
    for file in files(scratch)? {
        if file.extension().is_some_and(|extension| extension == "deb") {
            unpack(&file, &unpacked)?;
        }
    }
    let program = kept.join("dpdk-test");
    fs::rename(unpacked.join(PROGRAM), &program).at("create", &program)?;
    for folder in LIBRARY_FOLDERS.iter().chain(&[DRIVER_FOLDER]) {
        for file in files(&unpacked.join(folder))?.into_iter().filter(|file| file.is_file()) {
            let to = kept.join(file.file_name().unwrap_or_default());
            // A link to a library becomes the library.
            fs::copy(&file, &to).at("create", &to)?;
        }
    }
    Ok(kept)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).at("list", folder)?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// Runs every row, or those whose device begins with an argument.
pub fn run(workspace: &Workspace, choice: &Choice) -> Result {
    let folder = prepare(workspace)?;
    let place = Place::new(workspace, "dmadev", choice.user)?;
    let folder = place.put(&folder)?;
    let chosen = |row: &Row| {
        let mut starts = choice.arguments.iter().filter_map(|start| start.to_str());
        choice.arguments.is_empty() || starts.any(|start| row.device.starts_with(start))
    };
    let (mut passed, mut failed) = (0, 0);
    for row in ROWS.iter().filter(|row| chosen(row)) {
        match row.run(workspace, choice, &place, &folder) {
            Ok(line) => {
                println!("{line}");
                passed += 1;
            }
            Err(failure) => {
                eprintln!("{failure}");
                failed += 1;
            }
        }
    }
    println!("dmadev: {passed} passed, {failed} failed");
    match (passed, failed) {
        (1.., 0) => Ok(()),
        (0, 0) => Err(Failure::from("dmadev: no such device in its table".to_string())),
        _ => Err(Failure::from(format!("dmadev: {failed} of {} failed", passed + failed))),
    }
}

impl Row {
    fn run(
        &self,
        workspace: &Workspace,
        choice: &Choice,
        place: &Place,
        folder: &Path,
    ) -> Result<String> {
        let machine = Machine { devices: vec![self.device.into()], ..Machine::default() };
        let job = Job {
            place,
            program: folder.join("dpdk-test"),
            arguments: self.arguments(),
            environment: vec![
                ("LD_LIBRARY_PATH", folder.into()),
                ("XDG_RUNTIME_DIR", place.writable.clone().into()),
                ("DPDK_TEST", TEST.into()),
            ],
            under: choice.under(machine),
            limit: TIME_LIMIT,
        };
        let mut attempt = 1;
        let finished = loop {
            let finished = job.run(workspace, &format!("dmadev-{}", self.device))?;
            let again = self.shall_be_made_again(&finished.output, finished.ran_out_of_time());
            if attempt == ATTEMPTS || !again {
                break finished;
            }
            attempt += 1;
            println!("dmadev {}: DPDK lost a completion; attempt {attempt}", self.device);
        };
        match self.judge(&finished.output) {
            Ok(word) => {
                let took = finished.took.as_secs_f64();
                Ok(format!("dmadev {}: {word} [{took:.1} s, {}]", self.device, place.user))
            }
            Err(reason) => {
                finished.last_lines(LAST_LINES).iter().for_each(|line| println!("    {line}"));
                let (device, log) = (self.device, finished.log.display());
                Err(Failure::from(format!("dmadev {device}: {reason}\nwhole output: {log}")))
            }
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let options = if self.device.starts_with("dsa") { DSA_OPTIONS } else { "" };
        let device = format!("{ADDRESS}{options}");
        #[rustfmt::skip] // option and value
        let words = [
            "--no-huge", "--no-shconf", "--no-telemetry",
            "-m", "512", "-l", "0,1", "--iova-mode=va", "-a", &device,
            "-d", self.driver, "-d", "librte_mempool_ring.so.23",
        ];
        words.map(Into::into).into()
    }

    /// Whether the driver lost a completion where the device is not meant to be that fast. What a test without
    /// an end has printed last may be missing, so any is taken for the one of the table.
    fn shall_be_made_again(&self, output: &str, ran_out_of_time: bool) -> bool {
        let lost = |line: &str| {
            ONE_SHORT.iter().any(|(test, says)| line.contains(test) && line.contains(says))
        };
        let has_lost = ran_out_of_time || output.lines().any(lost);
        matches!(self.expected, Expected::Ok) && has_lost && self.driver.contains("ioat")
    }

    fn judge(&self, output: &str) -> Result<&'static str, String> {
        let says = |text: &str| output.contains(text);
        match self.expected {
            _ if says("Test Skipped") || !says("DMA device") && !says("dmadev") => {
                Err("it found no device".to_owned())
            }
            Expected::Ok if says("Test OK") && !says("Test Failed") => Ok("Test OK"),
            Expected::Ok => Err("\"Test OK\" is not in its output".to_owned()),
            Expected::Fails(how) if says(how) && says("Test Failed") => Ok("fails as it must"),
            Expected::Fails(how) => Err(format!("it must fail with \"{how}\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_judged() {
        let row = |expected| Row { device: "ioat", driver: "ioat", expected };
        let (good, lost) = (row(Expected::Ok), row(LOST));
        #[rustfmt::skip] // one output, one line
        let cases: &[(&Row, &str, Result<&str, &str>)] = &[
            (&good, "### Test dmadev instance 0\nTest OK\n",      Ok("Test OK")),
            (&good, "### Test dmadev instance 0\nTest Failed\n",  Err("\"Test OK\" is not in its output")),
            (&good, "### Test dmadev instance 0\n",               Err("\"Test OK\" is not in its output")),
            (&good, "Test OK\n",                                  Err("it found no device")),
            (&good, "dmadev\nTest Skipped\n",                     Err("it found no device")),
            (&lost, "dmadev: unexpected number of completions received, 0, not 1\nTest Failed\n", Ok("fails as it must")),
            (&lost, "dmadev\nTest OK\n",                          Err("it must fail with \"unexpected number of completions received, 0, not 1\"")),
        ];
        for (row, output, expected) in cases {
            let told = row.judge(output);
            assert_eq!(
                told.as_deref().map_err(String::as_str),
                expected.as_deref().map_err(|it| *it),
                "{output:?}"
            );
        }
    }

    #[test]
    fn what_the_driver_loses_is_told_from_what_the_device_does() {
        let row = |driver, expected| Row { device: "ioat", driver, expected };
        let (ioat, idxd) = ("librte_dma_ioat.so.23", "librte_dma_idxd.so.23");
        let (good, lost, dsa) = (row(ioat, Expected::Ok), row(ioat, LOST), row(idxd, Expected::Ok));
        #[rustfmt::skip] // one output, one line
        let cases: &[(&Row, &str, bool, bool)] = &[
            (&good, "In test_individual_status_query_with_failure:440 - Error: unexpected number of completions received, 0, not 1",       false, true),
            (&good, "In test_single_item_status_query_with_failure:511 - Error, incorrect number of completions received, got 15 not 16",  false, true),
            (&good, "Ops submitted: 63042",                                                                                                 true,  true),
            (&good, "Ops submitted: 63042",                                                                                                 false, false),
            (&good, "In test_individual_status_query_with_failure:440 - Error: unexpected number of completions received, 2, not 1",       false, false),
            (&good, "In test_single_item_status_query_with_failure:511 - Error, incorrect number of completions received, got 14 not 16",  false, false),
            (&good, "In test_single_item_status_query_with_failure:496 - Error with completed_status calls for fail idx 0. Got 0 not 16",   false, false),
            (&good, "In test_other:1 - incorrect number of completions received, got 15 not 16",                                           false, false),
            (&lost, "In test_individual_status_query_with_failure:440 - Error: unexpected number of completions received, 0, not 1",       false, false),
            (&dsa,  "In test_individual_status_query_with_failure:440 - Error: unexpected number of completions received, 0, not 1",       false, false),
            (&dsa,  "Ops submitted: 63042",                                                                                                 true,  false),
        ];
        for (row, output, ran_out_of_time, again) in cases {
            let told = row.shall_be_made_again(output, *ran_out_of_time);
            assert_eq!(told, *again, "{} {output:?} {ran_out_of_time}", row.driver);
        }
    }
}
