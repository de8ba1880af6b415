//! Dirty logging, as `vfio-ioctls` has it: the device itself logs which pages it writes.

use vfio_ioctls::{DmaLoggingRange, VfioDevice, VfioOps};

use crate::dmatest::{Action, DmaTest, Outcome};
use crate::{IOVA, PAGE, Result, check};

const PAGES: usize = 8;
const BYTES: u64 = PAGE as u64;

pub fn run(device: &VfioDevice, ops: &dyn VfioOps) -> Result {
    let memory = vec![0_u8; (PAGES + 1) * PAGE];
    let start = memory.as_ptr().addr().next_multiple_of(PAGE);
    // SAFETY: the memory is there until the device is gone from it, and nobody reads it.
    unsafe { ops.vfio_dma_map(IOVA, PAGES * PAGE, start as *mut u8)? };
    log(device)?;
    ops.vfio_dma_unmap(IOVA, PAGES * PAGE)?;
    drop(memory);
    Ok(())
}

fn log(device: &VfioDevice) -> Result {
    let dmatest = DmaTest::new(device)?;
    let done = |action, address, size| {
        let outcome = dmatest.run(action, address, size, None)?;
        check("the device's access", outcome == Outcome::Done)
    };
    let page = |number: u64| IOVA + number * BYTES;
    let range =
        |first: u64, pages: u64| DmaLoggingRange { iova: page(first), length: pages * BYTES };
    let all = || range(0, PAGES as u64);
    let is = |range, page_size, bits: u64| -> Result<bool> {
        Ok(device.report_dma_logging(range, page_size)? == [bits])
    };

    check("ranges that meet", device.start_dma_logging(BYTES, &[all(), range(7, 2)]).is_err())?;
    let half = DmaLoggingRange { iova: page(0), length: BYTES / 2 };
    check("half a page", device.start_dma_logging(BYTES, &[half]).is_err())?;
    let many: Vec<_> = (0..257).map(|number| range(2 * number, 1)).collect();
    check("257 ranges", device.start_dma_logging(BYTES, &many).is_err())?;
    check("256 ranges", device.start_dma_logging(BYTES, &many[1..]).is_ok())?;
    device.stop_dma_logging()?;

    done(Action::Write, page(0), 8)?;
    check(
        "pages of 4 KiB",
        device.start_dma_logging(BYTES, &[range(0, 4), range(4, 4)])? == BYTES,
    )?;
    let both = device.report_dma_logging(all(), BYTES);
    check("two ranges in one report", both.is_err())?;
    check("what was written before", is(range(0, 4), BYTES, 0)?)?;
    device.stop_dma_logging()?;

    check("one range", device.start_dma_logging(BYTES, &[all()])? == BYTES)?;
    done(Action::Write, page(2) - 1, 2)?;
    done(Action::Read, page(4) - 1, 2)?;
    done(Action::Add, page(6), 8)?;
    let beyond = dmatest.run(Action::Write, page(8) - 8, 16, None)?;
    check("a write beyond what is mapped", matches!(beyond, Outcome::Refused(_)))?;
    check("a part of what was written", is(range(0, 2), BYTES, 0b10)?)?;
    check("all that was written since", is(all(), BYTES, 0b1100_0100)?)?;
    check("nothing since", is(all(), BYTES, 0)?)?;
    done(Action::Write, page(5), 8)?;
    check("bits of 16 KiB", is(all(), 4 * BYTES, 0b10)?)?;
    check("beyond what is logged", device.report_dma_logging(range(0, 9), BYTES).is_err())?;
    check("bits of half a page", device.report_dma_logging(all(), BYTES / 2).is_err())?;
    done(Action::Write, page(1), 8)?;
    device.reset();
    let dmatest = DmaTest::new(device)?;
    check("a reset keeps the log", is(all(), BYTES, 0b10)?)?;
    device.stop_dma_logging()?;

    let large = device.start_dma_logging(4 * BYTES, &[all()])?;
    check("pages of 16 KiB", large == 4 * BYTES)?;
    let outcome = dmatest.run(Action::Write, page(5), 8, None)?;
    check("the device's access", outcome == Outcome::Done)?;
    check("of a page all its bits", is(all(), BYTES, 0b1111_0000)?)?;
    device.stop_dma_logging()?;
    Ok(())
}
