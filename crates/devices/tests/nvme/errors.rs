//! What is refused, and with which status.

use super::*;

#[test]
fn admin_commands() {
    let mut driver = Driver::ready(&small());
    let queue = Driver::submission(2);
    let command = |opcode: u8, nsid: u32, cdw10: u32, cdw11: u32| Command {
        opcode,
        nsid,
        cdw10,
        cdw11,
        dptr: [queue, 0],
        ..none()
    };
    use admin::*;
    const PC: u32 = 1;
    #[rustfmt::skip] // one command, one line
    let cases = [
        ("no such command",           command(0x55, 0, 0, 0),                          (0, 0x01)),
        ("vendor's command",          command(0xc0, 0, 0, 0),                          (0, 0x01)),
        ("fused",                     Command { flags: 1, ..command(IDENTIFY, 0, 1, 0) }, (0, 0x02)),
        ("by SGL",                    Command { flags: 0x40, ..command(IDENTIFY, 0, 1, 0) }, (0, 0x02)),

        ("CQ 0",                      command(CREATE_CQ, 0, 7 << 16, PC),              (1, 0x01)),
        ("CQ that is there",          command(CREATE_CQ, 0, 7 << 16 | 1, PC),          (1, 0x01)),
        ("CQ 65",                     command(CREATE_CQ, 0, 7 << 16 | 65, PC),         (1, 0x01)),
        ("CQ of one entry",           command(CREATE_CQ, 0, 2, PC),                    (1, 0x02)),
        ("CQ too long",               command(CREATE_CQ, 0, 2048 << 16 | 2, PC),       (1, 0x02)),
        ("CQ not contiguous",         command(CREATE_CQ, 0, 7 << 16 | 2, 0),           (0, 0x02)),
        ("CQ's interrupt",            command(CREATE_CQ, 0, 7 << 16 | 2, 65 << 16 | PC), (1, 0x08)),
        ("CQ between pages",          Command { dptr: [queue + 64, 0], ..command(CREATE_CQ, 0, 7 << 16 | 2, PC) }, (0, 0x13)),
        ("SQ for no CQ",              command(CREATE_SQ, 0, 7 << 16 | 2, 2 << 16 | PC), (1, 0x00)),
        ("SQ for CQ 0",               command(CREATE_SQ, 0, 7 << 16 | 2, PC),          (1, 0x00)),
        ("SQ for CQ 65",              command(CREATE_SQ, 0, 7 << 16 | 2, 65 << 16 | PC), (1, 0x01)),
        ("SQ 0",                      command(CREATE_SQ, 0, 7 << 16, 1 << 16 | PC),    (1, 0x01)),
        ("SQ that is there",          command(CREATE_SQ, 0, 7 << 16 | 1, 1 << 16 | PC), (1, 0x01)),
        ("SQ too long",               command(CREATE_SQ, 0, 0xffff << 16 | 2, 1 << 16 | PC), (1, 0x02)),
        ("delete SQ 0",               command(DELETE_SQ, 0, 0, 0),                     (1, 0x01)),
        ("delete SQ that is not",     command(DELETE_SQ, 0, 2, 0),                     (1, 0x01)),
        ("delete CQ 0",               command(DELETE_CQ, 0, 0, 0),                     (1, 0x01)),
        ("delete CQ that is not",     command(DELETE_CQ, 0, 2, 0),                     (1, 0x01)),
        ("delete CQ in use",          command(DELETE_CQ, 0, 1, 0),                     (1, 0x0c)),

        ("identify: nothing",         command(IDENTIFY, 1, 0xff, 0),                   (0, 0x02)),
        ("identify namespace 0",      command(IDENTIFY, 0, 0, 0),                      (0, 0x0b)),
        ("identify namespace 2",      command(IDENTIFY, 2, 0, 0),                      (0, 0x0b)),
        ("identify all namespaces",   command(IDENTIFY, NSID_ALL, 0, 0),               (0, 0x0b)),
        ("list after the last",       command(IDENTIFY, NSID_ALL - 1, 2, 0),           (0, 0x0b)),
        ("descriptors of 2",          command(IDENTIFY, 2, 3, 0),                      (0, 0x0b)),
        ("zoned command set",         command(IDENTIFY, 1, 6, 2 << 24),                (0, 0x02)),
        ("identify to nowhere",       Command { dptr: [NOWHERE, 0], ..command(IDENTIFY, 0, 1, 0) }, (0, 0x04)),

        ("log 0x70",                  command(GET_LOG_PAGE, 0, 0x70, 0),               (1, 0x09)),
        ("log of namespace 2",        command(GET_LOG_PAGE, 2, 2, 0),                  (0, 0x0b)),
        ("log past its end",          Command { cdw12: 516, ..command(GET_LOG_PAGE, 0, 2, 0) }, (0, 0x02)),
        ("log far past its end",      Command { cdw13: 1, ..command(GET_LOG_PAGE, 0, 2, 0) }, (0, 0x02)),
        ("log between words",         Command { cdw12: 2, ..command(GET_LOG_PAGE, 0, 2, 0) }, (0, 0x02)),
        ("log of 16 GiB",             command(GET_LOG_PAGE, 0, 0xffff << 16 | 2, 0xffff), (0, 0x02)),

        ("no such feature",           command(SET_FEATURES, 0, 0x77, 0),               (0, 0x02)),
        ("get no such feature",       command(GET_FEATURES, 0, 0x0f, 0),               (0, 0x02)),
        ("feature to be saved",       command(SET_FEATURES, 0, 1 << 31 | 1, 0),        (1, 0x0d)),
        ("feature of no namespace",   command(SET_FEATURES, 1, 1, 0),                  (1, 0x0f)),
        ("feature of namespace 2",    command(SET_FEATURES, 2, 1, 0),                  (0, 0x0b)),
        ("error recovery of 0",       command(GET_FEATURES, 0, 5, 0),                  (0, 0x0b)),
        ("error recovery: DULBE",     command(SET_FEATURES, 1, 5, 1 << 16),            (0, 0x02)),
        ("power state 1",             command(SET_FEATURES, 0, 2, 1),                  (0, 0x02)),
        ("sensor 9",                  command(SET_FEATURES, 0, 4, 9 << 16),            (0, 0x02)),
        ("65536 queues",              command(SET_FEATURES, 0, 7, 0xffff),             (0, 0x02)),
        ("queues, when there are",    command(SET_FEATURES, 0, 7, 0),                  (0, 0x0c)),
        ("interrupt 65",              command(SET_FEATURES, 0, 9, 65),                 (0, 0x02)),
        ("get interrupt 65",          command(GET_FEATURES, 0, 9, 65),                 (0, 0x02)),
        ("profile 1",                 command(SET_FEATURES, 0, 0x19, 1),               (0, 0x02)),
        ("select 4",                  command(GET_FEATURES, 0, 4 << 8 | 1, 0),         (0, 0x02)),
        ("timestamp from nowhere",    Command { dptr: [NOWHERE, 0], ..command(SET_FEATURES, 0, 0xe, 0) }, (0, 0x04)),

        ("format 2",                  command(FORMAT_NVM, 1, 2, 0),                    (1, 0x0a)),
        ("format 16",                 command(FORMAT_NVM, 1, 1 << 12, 0),              (1, 0x0a)),
        ("protection",                command(FORMAT_NVM, 1, 1 << 5, 0),               (1, 0x0a)),
        ("cryptographic erase",       command(FORMAT_NVM, 1, 2 << 9, 0),               (0, 0x02)),
        ("format namespace 2",        command(FORMAT_NVM, 2, 0, 0),                    (0, 0x0b)),
    ];
    for (what, command, status) in cases {
        assert_eq!(driver.admin(command), Err(status), "{what}");
    }
    // nothing of it did anything
    assert_eq!(driver.run(1, transfer(io::READ, 0, 1)), Ok(0));
    for opcode in [DELETE_SQ, DELETE_CQ] {
        assert_eq!(driver.admin(command(opcode, 0, 1, 0)), Ok(0));
    }
}

#[test]
fn io_commands() {
    let mut driver = Driver::ready(&small());
    let last = (64 << 20) / 512 - 1;
    use io::*;
    #[rustfmt::skip] // one command, one line
    let cases = [
        ("no such command",     transfer(0x7f, 0, 1),                            (0, 0x01)),
        ("namespace 0",         Command { nsid: 0, ..transfer(READ, 0, 1) },     (0, 0x0b)),
        ("namespace 2",         Command { nsid: 2, ..transfer(READ, 0, 1) },     (0, 0x0b)),
        ("all namespaces",      Command { nsid: NSID_ALL, ..transfer(READ, 0, 1) }, (0, 0x0b)),
        ("flush namespace 2",   Command { nsid: 2, ..transfer(FLUSH, 0, 1) },    (0, 0x0b)),
        ("fused",               Command { flags: 1, ..transfer(COMPARE, 0, 1) }, (0, 0x02)),
        ("fused flush",         Command { flags: 2, ..transfer(FLUSH, 0, 1) },   (0, 0x02)),
        ("read past the end",   transfer(READ, last, 2),                         (0, 0x80)),
        ("write past the end",  transfer(WRITE, last + 1, 1),                    (0, 0x80)),
        ("compare, far",        transfer(COMPARE, u64::MAX, 1),                  (0, 0x80)),
        ("zeroes, far",         transfer(WRITE_ZEROES, u64::MAX - 1, 65536),     (0, 0x80)),
        ("read too much",       transfer(READ, 0, 1025),                         (0, 0x02)),
        ("too much, and far",   transfer(READ, u64::MAX, 65536),                 (0, 0x02)),
        ("verify too much",     transfer(VERIFY, 0, 1025),                       (0, 0x02)),
        ("ranges from nowhere", Command { dptr: [NOWHERE, 0], cdw10: 0, ..transfer(DATASET_MANAGEMENT, 0, 1) }, (0, 0x04)),
    ];
    for (what, command, status) in cases {
        assert_eq!(driver.run(1, command), Err(status), "{what}");
    }
    #[rustfmt::skip] // one command, one line
    let good = [
        ("last block",       transfer(READ, last, 1)),
        ("all zeroes",       transfer(WRITE_ZEROES, 0, 65536)),
        ("flush all",        Command { nsid: NSID_ALL, ..transfer(FLUSH, 0, 1) }),
        ("flush",            transfer(FLUSH, 0, 1)),
        ("as much as can be verified", transfer(VERIFY, 0, 1024)),
    ];
    for (what, command) in good {
        assert_eq!(driver.run(1, command), Ok(0), "{what}");
    }
    // what is lasting says so, and points to the error log
    driver.submit(1, transfer(READ, u64::MAX, 1));
    let entry = driver.wait(1);
    assert_eq!(entry.status >> 1, 1 << 14 | 1 << 13 | 0x80);
    driver.submit(1, Command { dptr: [NOWHERE, 0], ..transfer(READ, 0, 1) });
    assert_eq!(driver.wait(1).status >> 1, 1 << 13 | 4);
}
