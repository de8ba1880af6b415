//! The tries of a dry run: each makes the calls of a capability, and undoes them.

use profile::capability::Capability;
use profile::finding::{Cause, Finding, Value};
use uapi::iommufd::*;
use zerocopy::IntoBytes;

use super::{absent, found, silent};
use crate::SharedBuffer;
use crate::guest::{GuestTable, PAGE, STREAM, command, stream_table_entry};
use crate::session::{Failed, Queue, Result, Session, Table};

/// The PASID and the IOVA of the tries.
const PASID: u32 = 1;
const IOVA: u64 = 0x10_0000;

/// Does something in an IOAS that goes again.
pub fn with_ioas<T>(session: &Session, act: impl FnOnce(u32) -> Result<T>) -> Result<T> {
    let ioas = session.ioas()?;
    let done = act(ioas);
    let _ = session.destroy(ioas);
    done
}

/// Does something in an IOAS with an empty page at [`IOVA`]: an empty table for a guest.
pub fn with_page<T>(
    session: &Session,
    act: impl FnOnce(u32, &SharedBuffer) -> Result<T>,
) -> Result<T> {
    let page = SharedBuffer::new(PAGE as usize).map_err(|it| Failed::new("mmap", &it))?;
    with_ioas(session, |ioas| {
        let rights = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
        session.map(ioas, IOVA, page.address(), PAGE, rights)?;
        act(ioas, &page)
    })
}

pub fn dirty_tracking(session: &Session) -> Result<()> {
    with_ioas(session, |ioas| {
        let flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
        let hwpt = session.hwpt(ioas, Table { flags, ..Table::default() })?;
        let attached = session.attach(hwpt, None);
        let tracked = attached.and_then(|()| {
            session.set_dirty_tracking(hwpt, true)?;
            let read = session.dirty_bitmap(hwpt, (0, PAGE), PAGE, &mut [0]);
            session.set_dirty_tracking(hwpt, false)?;
            read
        });
        let _ = session.detach(None);
        session.destroy(hwpt)?;
        tracked
    })
}

/// Attaches to a page table of the host with a queue, in place of one without.
pub fn page_faults(session: &Session, queue: u32) -> Result<()> {
    with_ioas(session, |ioas| {
        let hwpt = session.hwpt(ioas, Table { fault: Some(queue), ..Table::default() })?;
        let attached = session.attach(ioas, None).and_then(|()| session.attach(hwpt, None));
        let _ = session.detach(None);
        session.destroy(hwpt)?;
        attached
    })
}

/// Attaches a PASID to a page table of the host.
pub fn pasid(session: &Session) -> Result<()> {
    with_ioas(session, |ioas| {
        let flags = IOMMU_HWPT_ALLOC_PASID;
        let hwpt = session.hwpt(ioas, Table { flags, ..Table::default() })?;
        let attached = session.attach(hwpt, Some(PASID));
        let _ = session.detach(Some(PASID));
        session.destroy(hwpt)?;
        attached
    })
}

pub fn read_only(session: &Session, ioas: u32, page: &SharedBuffer) -> Result<()> {
    let iova = IOVA + PAGE;
    session.map(ioas, iova, page.address(), PAGE, IOMMU_IOAS_MAP_READABLE)?;
    session.unmap(ioas, iova, PAGE).map(drop)
}

/// The empty table at [`IOVA`].
fn first_stage() -> iommu_hwpt_vtd_s1 {
    let table = GuestTable::four_levels(IOVA);
    table.map(GuestTable::first_stage).unwrap_or_default()
}

/// What was found, in the order of the calls.
pub type Findings = Vec<(Capability, Finding)>;

/// VT-d: a guest's first stage is named with its parent.
pub fn nested_vtd(session: &Session, parent: u32, queue: Option<&Queue>) -> Findings {
    let mut findings = Vec::new();
    let stage1 = first_stage();
    let data = Some((IOMMU_HWPT_DATA_VTD_S1, stage1.as_bytes()));
    let nested = on_table(session, parent, Table { data, ..Table::default() }, parent, |nested| {
        let kind = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
        let asked = session.invalidate::<iommu_hwpt_vtd_s1_invalidate>(nested, kind, &[]);
        findings.push((Capability::InvalidateVtdS1, found(asked)));
    });
    if findings.is_empty() {
        let needs = Finding::Absent(Cause::Needs(Capability::NestingVtdS1));
        findings.push((Capability::InvalidateVtdS1, needs));
    }
    findings.insert(0, (Capability::NestingVtdS1, found(nested)));
    if let Some(queue) = queue {
        let fault = Some(queue.id);
        let table = Table { data, fault, ..Table::default() };
        let faulting = on_table(session, parent, table, parent, |_| ());
        findings.push((Capability::NestingPageFaults, found(faulting)));
    }
    findings
}

/// Attaches the device to the parent, then in its place to a table on `pt`, and does something there.
fn on_table(
    session: &Session,
    pt: u32,
    table: Table<'_>,
    parent: u32,
    act: impl FnOnce(u32),
) -> Result<()> {
    session.attach(parent, None)?;
    let nested = session.hwpt(pt, table);
    let done = nested.and_then(|nested| {
        let attached = session.attach(nested, None);
        if attached.is_ok() {
            act(nested);
        }
        session.attach(parent, None)?;
        session.destroy(nested)?;
        attached
    });
    session.detach(None)?;
    done
}

/// SMMUv3: a guest's stream table entry is named with its vIOMMU.
pub fn nested_smmuv3(
    session: &Session,
    parent: u32,
    queue: Option<&Queue>,
    is_smmuv3: bool,
) -> Findings {
    let mut findings = Vec::new();
    let viommu = match session.viommu(parent) {
        Ok(viommu) => viommu,
        Err(failed) => return vec![(Capability::ViommuArmSmmuv3, absent(failed))],
    };
    if !is_smmuv3 {
        let _ = session.destroy(viommu);
        let what = "the IOMMU is no SMMUv3: its driver takes any type";
        let foreign = silent("IOMMU_VIOMMU_ALLOC(ARM_SMMUV3)", what);
        return vec![(Capability::ViommuArmSmmuv3, foreign)];
    }
    findings.push((Capability::ViommuArmSmmuv3, Finding::Present(Value::Flag)));
    let kind = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
    let invalidated = session.invalidate(viommu, kind, &[command::FORGET_ALL]);
    findings.push((Capability::InvalidateArmSmmuv3, found(invalidated)));
    let events = session.veventq(viommu, 1).and_then(|queue| queue.end(&session.iommu));
    findings.push((Capability::VeventqArmSmmuv3, found(events)));
    match session.vdevice(viommu, STREAM) {
        Err(failed) => findings.push((Capability::Vdevice, absent(failed))),
        Ok(vdevice) => {
            findings.push((Capability::Vdevice, Finding::Present(Value::Flag)));
            let ste = stream_table_entry(IOVA, 0);
            let data = Some((IOMMU_HWPT_DATA_ARM_SMMUV3, ste.as_bytes()));
            let table = Table { data, ..Table::default() };
            let nested = on_table(session, viommu, table, parent, |_| ());
            findings.push((Capability::NestingArmSmmuv3, found(nested)));
            if let Some(queue) = queue {
                let table = Table { fault: Some(queue.id), ..table };
                let faulting = on_table(session, viommu, table, parent, |_| ());
                findings.push((Capability::NestingPageFaults, found(faulting)));
            }
            let _ = session.destroy(vdevice);
        }
    }
    let _ = session.destroy(viommu);
    findings
}

/// A guest's first stage under a PASID, the device itself being attached to the parent.
pub fn nested_pasid(session: &Session, parent: u32, fault: Option<u32>) -> Result<()> {
    let stage1 = first_stage();
    let data = Some((IOMMU_HWPT_DATA_VTD_S1, stage1.as_bytes()));
    let nested = session.hwpt(parent, Table { flags: IOMMU_HWPT_ALLOC_PASID, fault, data })?;
    let attached = session.attach(nested, Some(PASID));
    let _ = session.detach(Some(PASID));
    session.destroy(nested)?;
    attached
}
