//! A device's own log of what it writes (`VFIO_DEVICE_FEATURE_DMA_LOGGING_*`).
//!
//! vfio-pci by itself has none: Linux's drivers of devices that can be moved to another machine while they
//! work bring it (`struct vfio_log_ops`; mlx5, pds). So here it is a device's that is made with a
//! [`DmaLog`], and tells it of each write.
//!
//! | step | Linux | here |
//! |---|---|---|
//! | start | `vfio_ioctl_device_feature_logging_start`, `mlx5vf_start_page_tracker` | [`DmaLog::start`] |
//! | write | the device | [`DmaLog::wrote`] |
//! | report | `vfio_ioctl_device_feature_logging_report`, `mlx5vf_tracker_read_and_clear`, `pds_vfio_dirty_sync` | [`DmaLog::take`] |
//! | stop | `vfio_ioctl_device_feature_logging_stop`, `mlx5vf_stop_page_tracker` | [`DmaLog::stop`] |
//!
//! What one driver refuses and another does not is as in mlx5, which asks its firmware; where that decides,
//! as in pds: a report is of one range that is logged, or of a part of it.
//!
//! *What it doesn't do*: give back a bit that could not be told. Since 6.11 Linux does not notice either that
//! a bitmap cannot be written; before, here, only its first byte is tried.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use parking_lot::Mutex;
use profile::Quirk;
use uapi::vfio::*;

use super::Function;
use super::features::{Asked, GET, SET};
use crate::Refusal;
use crate::bitmap::Bitmap;
use crate::ioas::domains::Leaf;
use crate::task::Task;

/// The most ranges of a start (`LOG_MAX_RANGES`): as many as are in a page.
const MOST_RANGES: u32 = 256;

/// log2 of the pages that a log tells apart, where a device of mlx5 tells its firmware's.
const PAGES: RangeInclusive<u32> = 12..=21;

/// The smallest page of a bitmap.
const SMALLEST: u64 = 4096;

/// A device's log of what it writes, which a program starts and reads.
///
/// The device tells of a write when it has made it, and before it tells anybody that it has. A log that is
/// not started takes a lock and nothing more; a device without one has no cost.
#[derive(Debug, Default)]
pub struct DmaLog {
    started: Mutex<Option<Started>>,
}

#[derive(Debug)]
struct Started {
    /// What is logged. No two of them meet.
    ranges: Vec<RangeInclusive<u64>>,
    /// log2 of a page.
    order: u32,
    /// The numbers of pages that were written.
    pages: BTreeSet<u64>,
}

/// Why a log that is not started is of no use.
const NOT_STARTED: Refusal = Refusal::Unfit { rule: "the device logs nothing now" };

impl DmaLog {
    /// The device has written without a PASID: to the addresses that the log is of.
    pub fn wrote(&self, iova: u64, bytes: usize) {
        let mut started = self.started.lock();
        let Some(log) = &mut *started else { return };
        let Some(more) = (bytes as u64).checked_sub(1) else { return };
        let last = iova.saturating_add(more);
        for range in &log.ranges {
            let (first, last) = (iova.max(*range.start()), last.min(*range.end()));
            if first <= last {
                log.pages.extend(first >> log.order..=last >> log.order);
            }
        }
    }

    /// Begins; gives the size of the pages that it tells apart.
    fn start(&self, ranges: Vec<RangeInclusive<u64>>, page_size: u64) -> Result<u64, Refusal> {
        let mut started = self.started.lock();
        if started.is_some() {
            return Err(Refusal::Unfit { rule: "the device logs already" });
        }
        // mlx5vf_create_tracker: all ranges together must be as large as the device logs at least
        if ranges.is_empty() {
            return Err(Refusal::Unsupported { field: "length", value: 0 });
        }
        let order = page_size.checked_ilog2().unwrap_or(0).clamp(*PAGES.start(), *PAGES.end());
        *started = Some(Started { ranges, order, pages: BTreeSet::new() });
        Ok(1 << order)
    }

    pub(super) fn stop(&self) {
        *self.started.lock() = None;
    }

    /// What was written in `iova..iova + length`, no more than that of each page; a page that is wholly in
    /// there is not in the log any more.
    fn take(&self, iova: u64, length: u64) -> Result<Vec<Leaf>, Refusal> {
        let mut started = self.started.lock();
        let Started { ranges, order, pages } = started.as_mut().ok_or(NOT_STARTED)?;
        let last = length.checked_sub(1).map(|more| iova.saturating_add(more));
        let logged = |last: &u64| ranges.iter().any(|it| it.contains(&iova) && it.contains(last));
        let Some(last) = last.filter(logged) else {
            let rule = "the device logs no range that the report is of";
            return Err(Refusal::Invalid { field: "iova", value: iova, rule });
        };
        let size = 1_u64 << *order;
        let leaf = |page: u64| Leaf { start: page << *order, size };
        let found: Vec<_> = pages.range(iova >> *order..=last >> *order).copied().collect();
        for page in &found {
            let whole = leaf(*page);
            if whole.within(iova, last) == whole {
                pages.remove(page);
            }
        }
        Ok(found.into_iter().map(|page| leaf(page).within(iova, last)).collect())
    }
}

/// A range of a start: what is checked, then what is logged, which is nothing without a length.
fn range_of(
    asked: vfio_device_feature_dma_logging_range,
    page_size: u64,
    before: &[(u64, u64)],
) -> Result<(u64, u64), Refusal> {
    let vfio_device_feature_dma_logging_range { iova, length } = asked;
    let refuse = |rule| Err(Refusal::Invalid { field: "iova", value: iova, rule });
    if (iova | length) & page_size.wrapping_sub(1) != 0 {
        return refuse("no whole pages");
    }
    if iova.checked_add(length).is_none() {
        return Err(Refusal::Overflow { field: "iova", value: iova });
    }
    // one without a length ends before it begins, at 0 as far away as can be
    let last = iova.wrapping_add(length).wrapping_sub(1);
    if before.iter().any(|it| it.0 <= last && iova <= it.1) {
        return refuse("meets another range");
    }
    Ok((iova, last))
}

impl Function {
    fn log(&self, feature: u32) -> Result<&DmaLog, Refusal> {
        let missing = Refusal::NotOffered { what: "feature", value: feature.into() };
        self.model.get().and_then(|model| model.dma_log()).ok_or(missing)
    }

    /// `vfio_ioctl_device_feature_logging_start`
    pub(super) fn start_logging(&self, task: &Task<'_>, asked: Asked) -> Result<(), Refusal> {
        type Control = vfio_device_feature_dma_logging_control;
        type Range = vfio_device_feature_dma_logging_range;
        let log = self.log(VFIO_DEVICE_FEATURE_DMA_LOGGING_START)?;
        if !asked.check(SET, size_of::<Control>())? {
            return Ok(());
        }
        let mut control: Control = task.load(asked.at, "data")?;
        let count = control.num_ranges;
        if count == 0 {
            return Err(Refusal::Invalid { field: "num_ranges", value: 0, rule: "must not be 0" });
        }
        if count > MOST_RANGES {
            return Err(Refusal::TooMany { what: "ranges", count, most: MOST_RANGES });
        }
        let mut ranges = Vec::new();
        for index in 0..u64::from(count) {
            let at = control.ranges.wrapping_add(index * size_of::<Range>() as u64);
            let range = range_of(task.load(at, "ranges")?, control.page_size, &ranges)?;
            ranges.push(range);
        }
        let logged = |(first, last): (u64, u64)| {
            // of no length: see range_of
            (last != first.wrapping_sub(1)).then_some(first..=last)
        };
        let ranges = ranges.into_iter().filter_map(logged).collect();
        control.page_size = log.start(ranges, control.page_size)?;
        task.store(asked.at, &control, "data").inspect_err(|_| log.stop())
    }

    /// `vfio_ioctl_device_feature_logging_stop`; a log that is not started is as good as stopped
    /// (`mlx5vf_stop_page_tracker`).
    pub(super) fn stop_logging(&self, asked: Asked) -> Result<(), Refusal> {
        let log = self.log(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP)?;
        if asked.check(SET, 0)? {
            log.stop();
        }
        Ok(())
    }

    /// `vfio_ioctl_device_feature_logging_report`
    pub(super) fn report_log(&self, task: &Task<'_>, asked: Asked) -> Result<(), Refusal> {
        type Report = vfio_device_feature_dma_logging_report;
        let log = self.log(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT)?;
        if !asked.check(GET, size_of::<Report>())? {
            return Ok(());
        }
        let report: Report = task.load(asked.at, "data")?;
        let Report { iova, length, page_size, bitmap: data } = report;
        if page_size < SMALLEST || !page_size.is_power_of_two() {
            let rule = "must be a power of two of 4096 at least";
            return Err(Refusal::Invalid { field: "page_size", value: page_size, rule });
        }
        if iova.checked_add(length).is_none() {
            return Err(Refusal::Overflow { field: "iova", value: iova });
        }
        if !task.has(Quirk::DirtyBitmapPinsLate) {
            let byte: u8 = task.load(data, "bitmap")?;
            task.store(data, &byte, "bitmap")?;
        }
        let bitmap = Bitmap { data, iova, length, page_size };
        log.take(iova, length)?.into_iter().for_each(|leaf| bitmap.mark(task, leaf));
        Ok(())
    }
}
