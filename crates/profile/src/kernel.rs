//! Linux releases: `profiles/kernels.toml`.
//!
//! A [`Kernel`] is a generation of the ABI and the stable release that it stands for, with the
//! [`Quirk`]s of that release. The engine asks for a quirk by its name, never for a release.
//!
//! Two kernels never were: those with the API of 2020 ([`uapi::y2020`]), as it was posted. They have the
//! quirks of the newest release, whose IOMMU drivers carry the calls out, but for those that the file says
//! otherwise of.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use thiserror::Error;
use uapi::Generation;
use uapi::y2020::Layout;

use crate::names::named;
use crate::text::{Result, Source, Table, Value, nearest};

named! {
    /// A behaviour that not every release has. What it is stands in `profiles/kernels.toml`.
    Quirk:
    HwptFlags = "hwpt-flags",
    HwptPtIdEinval = "hwpt-pt-id-einval",
    HwptDataNeedsLength = "hwpt-data-needs-length",
    HwptFaultId = "hwpt-fault-id",
    HwptFaultIdPaging = "hwpt-fault-id-paging",
    HwptFaultIdMasked = "hwpt-fault-id-masked",
    HwptParentWithoutFaults = "hwpt-parent-without-faults",
    HwptPasid = "hwpt-pasid",
    ReplaceLeavesFaults = "replace-leaves-faults",
    HwInfoPasid = "hw-info-pasid",
    HwInfoInputType = "hw-info-input-type",
    HwInfoAts = "hw-info-ats",
    InvalidateWrongKindEinval = "invalidate-wrong-kind-einval",
    InvalidateLimits = "invalidate-limits",
    DirtyBitmapNeedsLength = "dirty-bitmap-needs-length",
    DirtyBitmapPinsLate = "dirty-bitmap-pins-late",
    DirtyWholeLeaf = "dirty-whole-leaf",
    FaultReadNeedsRoom = "fault-read-needs-room",
    FaultReadKeeps = "fault-read-keeps",
    FaultWriteEfault = "fault-write-efault",
    VeventqDepthLimit = "veventq-depth-limit",
    VeventqReadNeedsRoom = "veventq-read-needs-room",
    VdeviceFollowsDevice = "vdevice-follows-device",
    ViommuTypeFirst = "viommu-type-first",
    Mmap = "mmap",
    UnmapDmaOfNothing = "unmap-dma-of-nothing",
    UnmapDmaReportsPart = "unmap-dma-reports-part",
    InfoCapabilitiesAligned = "info-capabilities-aligned",
    MapNeedsRight = "map-needs-right",
    IovaAlignmentCapped = "iova-alignment-capped",
    IovaHoleOfTwo = "iova-hole-of-two",
    MapFileDmabuf = "map-file-dmabuf",
    MapFileLeaks = "map-file-leaks",
    MockGenericPt = "mock-generic-pt",
    MockAmdv1 = "mock-amdv1",
    MockPasid = "mock-pasid",
    MockHuge = "mock-huge",
    MockTellsDevice = "mock-tells-device",
    MockNeedsVdevice = "mock-needs-vdevice",
    MockReservedChecked = "mock-reserved-checked",
    MockDirtyLimit = "mock-dirty-limit",
    ReservedForNested = "reserved-for-nested",
    FaultsRefusedForAnyVf = "faults-refused-for-any-vf",
    IopfByDriver = "iopf-by-driver",
    VtdErrataFlag = "vtd-errata-flag",
    VtdRealWidth = "vtd-real-width",
    VtdAuditsStages = "vtd-audits-stages",
    VtdFirstStage = "vtd-first-stage",
    VtdStageSplit = "vtd-stage-split",
    VtdGenericPt = "vtd-generic-pt",
    VtdDirtyNeedsSmpwc = "vtd-dirty-needs-smpwc",
    VtdPriNeedsPds = "vtd-pri-needs-pds",
    VtdFaultsNeedAtsOn = "vtd-faults-need-ats-on",
    VtdRidFaults = "vtd-rid-faults",
    VtdPasidDirty = "vtd-pasid-dirty",
    SmmuDirtyTracking = "smmu-dirty-tracking",
    SmmuNesting = "smmu-nesting",
    SmmuS2fwb = "smmu-s2fwb",
    SmmuForeignIgnored = "smmu-foreign-ignored",
    SmmuNeedsVdevice = "smmu-needs-vdevice",
    SmmuAbortNeedsNoVdevice = "smmu-abort-needs-no-vdevice",
    SmmuStallsDelivered = "smmu-stalls-delivered",
    SmmuInputIsOas = "smmu-input-is-oas",
    SmmuMmu700Nests = "smmu-mmu700-nests",
    SmmuHttu3 = "smmu-httu3",
    SmmuChecksCommands = "smmu-checks-commands",
    AmdV2 = "amd-v2",
    AmdHatsCounted = "amd-hats-counted",
    AmdV2Half = "amd-v2-half",
    AmdPageSizesCapped = "amd-page-sizes-capped",
    AmdHyperTransportOptional = "amd-hyper-transport-optional",
    AmdGenericPt = "amd-generic-pt",
    AmdNestParent = "amd-nest-parent",
    AmdVaSizeCounted = "amd-va-size-counted",
    RiscvDriver = "riscv-driver",
    RiscvGenericPt = "riscv-generic-pt",
    VfioCdev = "vfio-cdev",
    VfioPasid = "vfio-pasid",
    VfioBindToken = "vfio-bind-token",
    VfioBindTokenLost = "vfio-bind-token-lost",
    VfioDynamicMsix = "vfio-dynamic-msix",
    Type1Nesting = "type1-nesting",
    Type1Overflows = "type1-overflows",
    VfioErrorsOfAny = "vfio-errors-of-any",
    VfioPrecopyInfo = "vfio-precopy-info",
    Iommufd = "iommufd",
    Type1Since512 = "type1-since-5.12",
    VfioLowPower = "vfio-low-power",
}

/// A Linux release, or one that was posted.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Of one that was posted: its name, and how the arguments of its API are laid out.
    posted: Option<(String, Layout)>,
    generation: Generation,
    stands_for: String,
    source: String,
    quirks: BTreeSet<Quirk>,
}

/// No release has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown kernel \"{name}\"; {remedy}")]
pub struct UnknownKernel {
    name: String,
    remedy: String,
}

const FILE: Source<'static> =
    Source { name: "profiles/kernels.toml", text: include_str!("../../../profiles/kernels.toml") };

/// What the file has.
#[derive(Debug)]
struct Kernels {
    releases: Vec<Kernel>,
    posted: Vec<Kernel>,
}

static KERNELS: LazyLock<Kernels> =
    LazyLock::new(|| FILE.parse(read).expect("profiles/kernels.toml is tested"));

impl Kernel {
    /// Every release, oldest first.
    pub fn all() -> &'static [Self] {
        &KERNELS.releases
    }

    /// Those with the API of 2020, which were posted and never released.
    pub fn posted() -> &'static [Self] {
        &KERNELS.posted
    }

    /// The newest release.
    pub fn newest() -> &'static Self {
        Self::all().last().expect("profiles/kernels.toml has a release")
    }

    /// The release of a generation.
    pub fn of(generation: Generation) -> &'static Self {
        let found = Self::all().iter().find(|kernel| kernel.generation == generation);
        found.expect("profiles/kernels.toml has every generation")
    }

    /// The kernel with this name: a generation, the stable release that it stands for, or that of one which
    /// was posted.
    pub fn by_name(name: &str) -> Result<&'static Self, UnknownKernel> {
        let is = |kernel: &&Self| kernel.to_string() == name;
        let stands_for = |kernel: &&Self| kernel.stands_for == name;
        let released = Self::all().iter().find(|kernel| is(kernel) || stands_for(kernel));
        released
            .or_else(|| Self::posted().iter().find(is))
            .ok_or_else(|| UnknownKernel { name: name.to_owned(), remedy: remedy(name) })
    }

    /// The generation of its ABI; of one that was posted, that of its IOMMU drivers.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How the arguments of the API of 2020 are laid out; none in a release, which has no such calls.
    pub fn api_2020(&self) -> Option<Layout> {
        self.posted.as_ref().map(|(_, layout)| *layout)
    }

    /// The stable release that was read for it, such as `6.12.117`; of one that was posted, the release that
    /// it was posted for.
    pub fn stands_for(&self) -> &str {
        &self.stands_for
    }

    /// What `uname -r` says: three numbers, also of a release that is named by two.
    pub fn release(&self) -> String {
        let name = &self.stands_for;
        if name.matches('.').count() < 2 { format!("{name}.0") } else { name.clone() }
    }

    /// Where its facts are from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it has a quirk.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }
}

/// Its name.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.posted {
            Some((name, _)) => f.pad(name),
            None => self.generation.fmt(f),
        }
    }
}

/// What to ask for instead of an unknown name.
fn remedy(name: &str) -> String {
    let names: Vec<_> =
        Kernel::all().iter().chain(Kernel::posted()).map(Kernel::to_string).collect();
    let mut parts = name.split('.');
    let number = |part: Option<&str>| part?.parse::<u32>().ok();
    let release = (number(parts.next()), number(parts.next()));
    if let (Some(major), Some(minor)) = release
        && let Some(generation) = Generation::of_release(major, minor)
    {
        if generation.release() == (major, minor) {
            let stands_for = Kernel::of(generation).stands_for();
            return format!("ask for {generation}, which behaves as {stands_for}");
        }
        return format!("{major}.{minor} has the ABI of {generation}: ask for that");
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return format!("known: {}", names.join(", "));
    }
    match nearest(name, names.iter().map(String::as_str)) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("known: {}", names.join(", ")),
    }
}

fn read(file: &Table<'_, '_>) -> Result<Kernels> {
    let mut releases = file.each("release", |release| {
        Ok(Kernel {
            posted: None,
            generation: generation(&release.need("generation")?)?,
            stands_for: release.need("stands_for")?.string()?.to_owned(),
            source: release.need("source")?.string()?.to_owned(),
            quirks: BTreeSet::new(),
        })
    })?;
    let mut posted = file.each("posted", |row| {
        let name = row.need("name")?.string()?.to_owned();
        let layouts: Vec<_> = Layout::ALL.iter().map(|layout| (layout.name(), *layout)).collect();
        let layout = row.need("layout")?.one_of("layout", &layouts)?;
        Ok(Kernel {
            posted: Some((name, layout)),
            generation: generation(&row.need("drivers")?)?,
            stands_for: row.need("stands_for")?.string()?.to_owned(),
            source: row.need("source")?.string()?.to_owned(),
            quirks: BTreeSet::new(),
        })
    })?;
    file.each("quirk", |row| {
        let quirk = quirk(&row.need("name")?)?;
        let since = generation(&row.need("since")?)?;
        let until = row.get("until").map(|until| generation(&until)).transpose()?;
        let by_age =
            |generation| generation >= since && until.is_none_or(|until| generation < until);
        let mut backports = Vec::new();
        if let Some(list) = row.get("backports") {
            for item in list.items()? {
                let name = item.string()?;
                let known = releases.iter().map(|kernel| kernel.stands_for.as_str());
                if !known.clone().any(|known| known == name) {
                    return Err(item.unknown_name("release", known));
                }
                backports.push(name);
            }
        }
        let in_2020 = row.get("in_2020").map(|it| it.flag()).transpose()?;
        for key in ["says", "source"] {
            row.need(key)?.string()?;
        }
        for kernel in &mut releases {
            if by_age(kernel.generation) || backports.contains(&kernel.stands_for.as_str()) {
                kernel.quirks.insert(quirk);
            }
        }
        for kernel in &mut posted {
            if in_2020.unwrap_or(by_age(kernel.generation)) {
                kernel.quirks.insert(quirk);
            }
        }
        Ok(())
    })?;
    Ok(Kernels { releases, posted })
}

fn quirk(name: &Value<'_, '_>) -> Result<Quirk> {
    let found = Quirk::ALL.iter().find(|quirk| Some(quirk.name()) == name.string().ok());
    let names = || Quirk::ALL.iter().map(|quirk| quirk.name());
    found.copied().ok_or_else(|| name.unknown_name("quirk", names()))
}

fn generation(value: &Value<'_, '_>) -> Result<Generation> {
    value.string()?.parse().map_err(|unknown| value.bad(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_every_generation_and_quirk() {
        let Kernels { releases, posted } = FILE.parse(read).unwrap();
        let generations: Vec<_> = releases.iter().map(Kernel::generation).collect();
        assert_eq!(generations, Generation::ALL);
        for quirk in Quirk::ALL {
            let named = format!("name = \"{quirk}\"");
            assert_eq!(FILE.text.matches(&named).count(), 1, "{quirk}");
            let all = || releases.iter().chain(&posted);
            let with = all().filter(|kernel| kernel.has(*quirk)).count();
            assert!(with > 0 && with < all().count(), "{quirk} tells no two kernels apart");
        }
    }

    #[test]
    fn releases_by_name() {
        #[rustfmt::skip] // one name, one line
        let cases: &[(&str, Result<&str, &str>)] = &[
            ("6.2",      Ok("6.4")),
            ("6.4",      Ok("6.4")),
            ("6.12",     Ok("6.12.117")),
            ("6.12.117", Ok("6.12.117")),
            ("7.3",      Ok("7.3.4")),
            ("6.16",     Err("unknown kernel \"6.16\"; 6.16 has the ABI of 6.15: ask for that")),
            ("6.5",      Err("unknown kernel \"6.5\"; 6.5 has the ABI of 6.2: ask for that")),
            ("6.12.8",   Err("unknown kernel \"6.12.8\"; ask for 6.12, which behaves as 6.12.117")),
            ("6.20",     Err("unknown kernel \"6.20\"; known: 6.2, 6.6, 6.7, 6.8, 6.11, 6.12, 6.13, 6.14, 6.15, 6.17, 6.18, 6.19, 7.0, 7.1, 7.2, 7.3, 2020, 2020-patches")),
            ("newest",   Err("unknown kernel \"newest\"; known: 6.2, 6.6, 6.7, 6.8, 6.11, 6.12, 6.13, 6.14, 6.15, 6.17, 6.18, 6.19, 7.0, 7.1, 7.2, 7.3, 2020, 2020-patches")),
            ("2020",     Ok("5.9")),
            ("5.9",      Err("unknown kernel \"5.9\"; known: 6.2, 6.6, 6.7, 6.8, 6.11, 6.12, 6.13, 6.14, 6.15, 6.17, 6.18, 6.19, 7.0, 7.1, 7.2, 7.3, 2020, 2020-patches")),
        ];
        for (name, expected) in cases {
            let found = Kernel::by_name(name).map(Kernel::stands_for).map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn a_release_has_three_numbers() {
        for kernel in Kernel::all().iter().chain(Kernel::posted()) {
            let release = kernel.release();
            assert_eq!(release.split('.').count(), 3, "{release}");
            assert!(release.split('.').all(|number| number.parse::<u32>().is_ok()), "{release}");
            assert!(release.starts_with(kernel.stands_for()), "{release}");
        }
    }

    #[test]
    fn a_quirk_comes_and_goes() {
        let has = |quirk, name| Kernel::by_name(name).unwrap().has(quirk);
        #[rustfmt::skip] // one question, one line
        let cases = [
            (Quirk::InvalidateLimits,    "6.11", false),
            (Quirk::InvalidateLimits,    "6.12", true),
            (Quirk::InvalidateLimits,    "6.13", false),
            (Quirk::InvalidateLimits,    "7.2",  true),
            (Quirk::ReplaceLeavesFaults, "6.14", false),
            (Quirk::ReplaceLeavesFaults, "7.1",  true),
            (Quirk::ReplaceLeavesFaults, "7.2",  false),
            (Quirk::Type1Nesting,        "7.3",  false),
            (Quirk::Type1Nesting,        "2020", true),
            (Quirk::VfioCdev,            "2020", false),
        ];
        for (quirk, kernel, expected) in cases {
            assert_eq!(has(quirk, kernel), expected, "{quirk} {kernel}");
        }
    }

    #[test]
    fn wrong_rows_are_named() {
        let rows = "[[release]]\ngeneration = \"6.2\"\nstands_for = \"6.2.1\"\nsource = \"s\"\n\
                    [[quirk]]\nname = \"mmap\"\nsince = \"6.17\"\nsays = \"x\"\nsource = \"s\"\n";
        fn source(text: &str) -> Source<'_> {
            Source { name: "k.toml", text }
        }
        assert!(source(rows).parse(read).is_ok());
        #[rustfmt::skip] // one mistake, one line
        let cases = [
            ("\"mmap\"",      "\"mmpa\"",   "k.toml:6: `quirk[0].name` is \"mmpa\": no such quirk; did you mean \"mmap\"?"),
            ("since",         "snice",      "k.toml:7: unknown key `quirk[0].snice`; did you mean `since`?"),
            ("says = \"x\"",  "backports = [\"6.2.2\"]", "k.toml:8: `quirk[0].backports[0]` is \"6.2.2\": no such release; did you mean \"6.2.1\"?"),
        ];
        for (from, to, expected) in cases {
            let wrong = rows.replace(from, to);
            let found = source(&wrong).parse(read);
            assert_eq!(found.unwrap_err().to_string(), expected);
        }
    }
}
