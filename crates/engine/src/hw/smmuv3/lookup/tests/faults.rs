//! What becomes of faults (5.5), and their records (7.3).

use pt::format::Granule;
use pt::{Access, Rights};

use super::bench::*;
use crate::hw::request::Request;
use crate::hw::smmuv3::lookup::{
    Class, ContextDescriptor, ContextTable, DefaultSubstream, Event, Kind, PagingTables, Response,
    StreamEntry,
};

const IOVA: u64 = 0x7f12_3456_7890;
const DESCRIPTOR: u64 = 0x2_0000_0000;
const ROOT: u64 = 0x2_1000_0000;
const TABLES: u64 = 0x2_2000_0000;
const PAGE: u64 = 0x2_3000_0000;

const A: u64 = 1 << 46;
const R: u64 = 1 << 45;
const S: u64 = 1 << 44;
const HA: u64 = 1 << 43;
const S2S: u64 = 1 << 57;
const S2R: u64 = 1 << 58;

const TABLE: ContextTable = ContextTable { address: DESCRIPTOR, format: 0, log2_count: 0 };

fn descriptor() -> [u64; 3] {
    let tables =
        PagingTables { t0sz: 16, tg0: 0, ips: 5, asid: 9, ttb0: ROOT, marks: false, stalls: false };
    ContextDescriptor::paging(tables).0
}

fn alone() -> StreamEntry {
    StreamEntry::stage1(RICH, TABLE, DefaultSubstream::Terminate, true, false)
}

fn nested() -> StreamEntry {
    let guest = [alone().0[0], alone().0[1]];
    StreamEntry::nested(guest, second_stage(Granule::K4), false)
}

/// A page to read at [`IOVA`]; stage 2 maps all as it is.
fn tables() -> Ram {
    let ram = Ram::new(TABLES);
    ram.write(DESCRIPTOR, &descriptor());
    ram.map(&first_format(Granule::K4), ROOT, IOVA, (0, PAGE | 0x4c3), |at| at);
    for page in [DESCRIPTOR, ROOT, TABLES, TABLES + 0x1_0000, TABLES + 0x2_0000, PAGE] {
        second(&ram, page, page | 0x4c3);
    }
    ram
}

fn second(ram: &Ram, ipa: u64, entry: u64) {
    ram.map(&second_format(Granule::K4), S2_ROOT, ipa, (0, entry), |at| at);
}

fn refusal(entry: StreamEntry, request: Request, ram: &Ram) -> Event {
    let found = entry.context(RICH, request, ram);
    found.and_then(|context| context.translate(request, ram)).unwrap_err()
}

#[test]
fn abort_record_stall() {
    use Response::{Abort, ReadsZero, Stall};
    #[rustfmt::skip] // one setting, one line
    let cases = [
        (0,         ReadsZero, false),
        (R,         ReadsZero, true),
        (A,         Abort,     false),
        (A | R,     Abort,     true),
        (S,         Stall,     true),
        (S | R,     Stall,     true),
        (S | A,     Stall,     true),
        (S | A | R, Stall,     true),
    ];
    let ats = StreamEntry::stage1(RICH, TABLE, DefaultSubstream::Terminate, true, true);
    for (bits, response, recorded) in cases {
        let ram = tables();
        ram.set(DESCRIPTOR, descriptor()[0] & !(A | R | S) | bits);
        let write = request(None, IOVA, Access::WRITE);
        let event = refusal(alone(), write, &ram);
        assert_eq!((event.response, event.recorded), (response, recorded), "{bits:#x}");
        assert_eq!(event.stalls(), response == Stall);
        // who only asks is told at once, and nobody else is
        let event = refusal(ats, Request { translation_only: true, ..write }, &ram);
        let expected = (Kind::Permission, Abort, false);
        assert_eq!((event.kind, event.response, event.recorded), expected, "{bits:#x}");
        // what is no fault of translation is aborted and recorded
        ram.set(ROOT + (IOVA >> 39 << 3), Ram::END | 3);
        let event = refusal(alone(), write, &ram);
        let expected = (Kind::WalkAbort, Abort, true);
        assert_eq!((event.kind, event.response, event.recorded), expected, "{bits:#x}");
    }
}

#[test]
fn second_stage_abort_record_stall() {
    use Response::{Abort, Stall};
    let cases =
        [(0, Abort, false), (S2R, Abort, true), (S2S, Stall, true), (S2R | S2S, Stall, true)];
    for (bits, response, recorded) in cases {
        let mut entry = nested();
        entry.0[2] = entry.0[2] & !(S2R | S2S) | bits;
        for page in [DESCRIPTOR, ROOT, TABLES, PAGE] {
            let ram = tables();
            second(&ram, page, 0);
            let event = refusal(entry, request(None, IOVA, Access::READ), &ram);
            assert!(event.second_stage);
            let found = (event.kind, event.response, event.recorded);
            assert_eq!(found, (Kind::Translation, response, recorded), "{bits:#x} {page:#x}");
        }
        // a fault of stage 1 is its own, as its descriptor has it
        let event = refusal(entry, request(None, IOVA, Access::WRITE), &tables());
        let found = (event.second_stage, event.response, event.recorded);
        assert_eq!(found, (false, Abort, true), "{bits:#x}");
    }
}

#[test]
fn requests_for_a_translation() {
    let only = |pasid| Request { translation_only: true, ..request(pasid, IOVA, Access::READ) };
    let ram = tables();
    let unserved = (Kind::BadTranslationRequest, true);
    let mut bypass = BYPASS;
    bypass.0[1] |= 1 << 28;
    for entry in [alone(), nested(), bypass] {
        let event = refusal(entry, only(None), &ram);
        assert_eq!((event.kind, event.recorded), unserved);
    }
    let ats = StreamEntry::stage1(RICH, TABLE, DefaultSubstream::Terminate, true, true);
    assert!(ats.context(RICH, only(None), &ram).is_ok());
    // what is wrong with a structure is told to the device alone
    let event = refusal(ats, only(Some(1)), &ram);
    assert_eq!((event.kind, event.recorded), (Kind::BadSubstream, false));
    ram.set(DESCRIPTOR, 0);
    let event = refusal(ats, only(None), &ram);
    assert_eq!((event.kind, event.recorded), (Kind::BadDescriptor, false));
}

/// What there is no memory for, at each step.
#[test]
fn aborted_fetches() {
    let read = request(None, IOVA, Access::READ);
    let far = Ram::END;
    let l0 = (IOVA >> 39) * 8;
    let told = |entry: StreamEntry, ram: &Ram| {
        let event = refusal(entry, read, ram);
        (event.kind, event.class, event.second_stage, event.address)
    };

    let mut off = alone();
    off.0[0] |= far;
    assert_eq!(
        told(off, &tables()),
        (Kind::DescriptorFetch, Class::Descriptor, false, far | DESCRIPTOR)
    );
    let ram = tables();
    ram.set(DESCRIPTOR + 8, far);
    assert_eq!(told(alone(), &ram), (Kind::WalkAbort, Class::Table, false, far + l0));
    // stage 2 leads to nothing
    second(&ram, DESCRIPTOR, far | 0x4c3);
    assert_eq!(told(nested(), &ram), (Kind::DescriptorFetch, Class::Descriptor, false, far));
    let ram = tables();
    second(&ram, ROOT, far | 0x4c3);
    assert_eq!(told(nested(), &ram), (Kind::WalkAbort, Class::Table, false, far + l0));
    // stage 2 has no tables: for the descriptor, and for what is asked
    let mut off = nested();
    off.0[3] = far;
    let slot = far + (DESCRIPTOR >> 30) * 8;
    assert_eq!(told(off, &tables()), (Kind::WalkAbort, Class::Descriptor, true, slot));
    let ram = tables();
    let page = PAGE + 0x4000_0000;
    ram.map(&first_format(Granule::K4), ROOT, IOVA, (0, page | 0x4c3), |at| at);
    ram.set(S2_ROOT + (page >> 30) * 8, far | 3);
    let slot = far + (page >> 21 & 0x1ff) * 8;
    assert_eq!(told(nested(), &ram), (Kind::WalkAbort, Class::Input, true, slot));
}

/// An entry of stage 1 is marked through stage 2, with its permission.
#[test]
fn marks_through_stage_2() {
    let ram = tables();
    let leaf = ram.map(&first_format(Granule::K4), ROOT, IOVA, (0, PAGE | 0x43), |at| at);
    let read = request(None, IOVA, Access::READ);
    let event = refusal(nested(), read, &ram);
    assert_eq!((event.kind, event.second_stage), (Kind::Access, false), "without HA");

    ram.set(DESCRIPTOR, descriptor()[0] | HA);
    second(&ram, leaf, leaf & !0xfff | 0x443);
    let event = refusal(nested(), read, &ram);
    let found = (event.kind, event.class, event.second_stage, event.address, event.table_write);
    assert_eq!(found, (Kind::Permission, Class::Table, true, leaf, true), "read-only for stage 2");
    assert_eq!(event.record(8, None)[1] >> 44 & 1, 0, "TTRnW");
    assert_eq!(ram.get(leaf), PAGE | 0x43);

    second(&ram, leaf, leaf & !0xfff | 0x4c3);
    let context = nested().context(RICH, read, &ram).unwrap();
    assert!(context.translate(read, &ram).is_ok());
    assert_eq!(ram.get(leaf), PAGE | 0x443);
}

#[test]
fn records() {
    let base = Event {
        kind: Kind::Permission,
        ssid: Some(0x12345),
        iova: 0xa500_7f12_3456_7890,
        access: Access::EXECUTE.privileged(),
        class: Class::Input,
        second_stage: false,
        address: 0,
        table_write: false,
        response: Response::Abort,
        recorded: true,
    };
    let head = |kind: Kind| 0x77 << 32 | 0x1234_5800 | kind as u64;
    let plain = [head(Kind::Permission), 2 << 40 | 0xe << 32, base.iova, 0];
    let atomic = Access::new(Rights::READ | Rights::WRITE);
    let table = Event { class: Class::Table, second_stage: true, address: 0x41_0123_4568, ..base };
    let fetch = Event { class: Class::Descriptor, address: 0x41_0123_4568, ..base };
    #[rustfmt::skip] // one event, one line
    let cases = [
        ("privileged execution", base, None, plain),
        ("stalled", base, Some(0xbeef), [plain[0], plain[1] | 0x8000_beef, plain[2], 0]),
        ("no substream", Event { ssid: None, ..base }, None, [plain[0] & !0xffff_ff00, plain[1], plain[2], 0]),
        ("atomic", Event { access: atomic, ..base }, None, [plain[0], 2 << 40, plain[2], 0]),
        ("what is written is data", Event { access: Access::new(Rights::WRITE | Rights::EXECUTE), ..base }, None, [plain[0], 2 << 40, plain[2], 0]),
        ("a table of stage 1 in stage 2", table, None, [plain[0], 1 << 44 | 1 << 40 | 0x8e << 32, plain[2], 0x41_0123_4000]),
        ("that was written", Event { table_write: true, ..table }, None, [plain[0], 1 << 40 | 0x8e << 32, plain[2], 0x41_0123_4000]),
        ("structure", Event { kind: Kind::BadEntry, ..base }, None, [head(Kind::BadEntry), 0, 0, 0]),
        ("descriptor", Event { kind: Kind::BadDescriptor, ..base }, None, [head(Kind::BadDescriptor), 0, 0, 0]),
        ("stream", Event { kind: Kind::StreamDisabled, ..base }, None, [head(Kind::StreamDisabled), 0, 0, 0]),
        ("substream", Event { kind: Kind::BadSubstream, ..base }, None, [0x77 << 32 | 0x1234_5008, 0, 0, 0]),
        ("fetch", Event { kind: Kind::DescriptorFetch, ..fetch }, None, [head(Kind::DescriptorFetch), 0, 0, 0x41_0123_4568]),
        ("walk", Event { kind: Kind::WalkAbort, ..table }, None, [head(Kind::WalkAbort), 1 << 40 | 0x8e << 32, base.iova, 0x41_0123_4568]),
        ("walk to write", Event { kind: Kind::WalkAbort, access: Access::WRITE, ..table }, None, [head(Kind::WalkAbort), 1 << 40 | 0x80 << 32, base.iova, 0x41_0123_4568]),
        ("ATS", Event { kind: Kind::BadTranslationRequest, ..base }, None, [head(Kind::BadTranslationRequest), 0, base.iova, 0]),
    ];
    for (name, event, stall, expected) in cases {
        assert_eq!(event.record(0x77, stall), expected, "{name}");
    }
}
