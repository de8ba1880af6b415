//! Command table, generations, error numbers, and the union of the self-test command.

use Generation as G;
use uapi::iommufd::{iommu_hwpt_alloc, iommu_ioas_map};
use uapi::selftest::{iommu_test_check_refs, iommu_test_cmd, iommu_test_dirty};
use uapi::{COMMANDS, Command, Errno, Generation};

type Sizes = &'static [(Generation, usize)];

/// `reference/uapi.md` 1.2, and 4.1 of `reference/selftests.md` for the last.
#[test]
fn numbers_minima_and_sizes() {
    #[rustfmt::skip] // one command, one line
    let cases: &[(&str, u32, usize, Sizes)] = &[
        ("IOMMU_DESTROY",                 0x3b80,  8, &[(G::V6_2, 8)]),
        ("IOMMU_IOAS_ALLOC",              0x3b81, 12, &[(G::V6_2, 12)]),
        ("IOMMU_IOAS_ALLOW_IOVAS",        0x3b82, 24, &[(G::V6_2, 24)]),
        ("IOMMU_IOAS_COPY",               0x3b83, 40, &[(G::V6_2, 40)]),
        ("IOMMU_IOAS_IOVA_RANGES",        0x3b84, 32, &[(G::V6_2, 32)]),
        ("IOMMU_IOAS_MAP",                0x3b85, 40, &[(G::V6_2, 40)]),
        ("IOMMU_IOAS_UNMAP",              0x3b86, 24, &[(G::V6_2, 24)]),
        ("IOMMU_OPTION",                  0x3b87, 24, &[(G::V6_2, 24)]),
        ("IOMMU_VFIO_IOAS",               0x3b88, 12, &[(G::V6_2, 12)]),
        ("IOMMU_HWPT_ALLOC",              0x3b89, 24, &[(G::V6_6, 24), (G::V6_7, 40), (G::V6_11, 48)]),
        ("IOMMU_GET_HW_INFO",             0x3b8a, 32, &[(G::V6_6, 32), (G::V6_7, 40)]),
        ("IOMMU_HWPT_SET_DIRTY_TRACKING", 0x3b8b, 16, &[(G::V6_7, 16)]),
        ("IOMMU_HWPT_GET_DIRTY_BITMAP",   0x3b8c, 48, &[(G::V6_7, 48)]),
        ("IOMMU_HWPT_INVALIDATE",         0x3b8d, 32, &[(G::V6_8, 32)]),
        ("IOMMU_FAULT_QUEUE_ALLOC",       0x3b8e, 16, &[(G::V6_11, 16)]),
        ("IOMMU_IOAS_MAP_FILE",           0x3b8f, 40, &[(G::V6_13, 40)]),
        ("IOMMU_VIOMMU_ALLOC",            0x3b90, 24, &[(G::V6_13, 24), (G::V6_17, 40)]),
        ("IOMMU_VDEVICE_ALLOC",           0x3b91, 24, &[(G::V6_13, 24)]),
        ("IOMMU_IOAS_CHANGE_PROCESS",     0x3b92,  8, &[(G::V6_13, 8)]),
        ("IOMMU_VEVENTQ_ALLOC",           0x3b93, 28, &[(G::V6_15, 32)]),
        ("IOMMU_HW_QUEUE_ALLOC",          0x3b94, 40, &[(G::V6_17, 40)]),
        ("IOMMU_IOAS_NOIOMMU_GET_PA",     0x3b95, 40, &[(G::V7_3, 40)]),
        ("IOMMU_TEST_CMD",                0x3ba0, 68, &[(G::V6_2, 56), (G::V6_7, 72)]),
    ];

    let ours: Vec<_> = COMMANDS.iter().map(|c| (c.name, c.ioctl(), c.min_size, c.sizes)).collect();
    assert_eq!(ours, cases);
    assert!(COMMANDS.is_sorted_by_key(|command| command.nr));
    assert!(COMMANDS.iter().all(|c| !c.summary.is_empty() && !c.summary.ends_with('.')));
}

#[test]
fn size_by_generation() {
    #[rustfmt::skip] // one generation, one line
    let cases = [
        (G::V6_2,  None),
        (G::V6_6,  Some(24)),
        (G::V6_7,  Some(40)),
        (G::V6_8,  Some(40)),
        (G::V6_11, Some(48)),
        (G::V7_0,  Some(48)),
        (G::V7_3,  Some(48)),
    ];
    for (generation, size) in cases {
        assert_eq!(iommu_hwpt_alloc::size_in(generation), size, "{generation}");
        let facts = COMMANDS.iter().find(|c| c.name == iommu_hwpt_alloc::NAME).unwrap();
        assert_eq!(facts.size_in(generation), size, "{generation}");
        assert_eq!(iommu_ioas_map::size_in(generation), Some(40), "{generation}");
    }
}

#[test]
fn generations_have_names() {
    assert!(Generation::ALL.is_sorted_by(|a, b| a < b && a.release() < b.release()));
    assert_eq!(Generation::ALL.last(), Some(&Generation::NEWEST));
    assert_eq!(Generation::ALL.len(), 16);
    for generation in Generation::ALL {
        assert_eq!(generation.to_string().parse(), Ok(*generation));
    }
    for text in
        ["", "6", "6.16", "6.1", "06.2", "6.02", "6.2 ", "+6.2", "6.+2", "6.2.1", "v6.2", "."]
    {
        assert!(text.parse::<Generation>().is_err(), "{text:?}");
    }
    assert_eq!(
        "6.16".parse::<Generation>().unwrap_err().to_string(),
        "unknown kernel generation \"6.16\", expected one of 6.2, 6.6, 6.7, 6.8, 6.11, 6.12, 6.13, \
         6.14, 6.15, 6.17, 6.18, 6.19, 7.0, 7.1, 7.2, 7.3 (a release between two of them has the ABI \
         of the earlier one)"
    );
}

/// Against the C library's numbers.
#[test]
fn error_numbers() {
    macro_rules! cases {
        ($($name:ident)+) => { [$((Errno::$name, libc::$name, stringify!($name)),)+] };
    }
    let cases = cases![
        EPERM ENOENT EINTR EIO ENXIO E2BIG EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST ENODEV
        EINVAL ENFILE EMFILE ENOTTY ENOSPC ESPIPE EPIPE EDOM ERANGE ENAMETOOLONG ENOSYS EBADE
        ENODATA ENOLINK EPROTO EOVERFLOW EBADFD EMSGSIZE EOPNOTSUPP EADDRINUSE ETIMEDOUT ECANCELED
    ];
    for (errno, code, name) in cases {
        assert_eq!((errno.code(), errno.to_string().as_str()), (code, name));
        assert_eq!(Errno::from_code(code), Some(errno));
    }
    assert_eq!(cases.map(|(errno, ..)| errno), Errno::ALL);
    assert_eq!(Errno::from_code(0), None);
    assert_eq!(Errno::from_code(-22), None);
}

#[test]
fn union_of_the_selftest_command() {
    let dirty = iommu_test_dirty {
        flags: 1,
        __pad: 0,
        iova: 2,
        length: 3,
        page_size: 4,
        uptr: 5,
        out_nr_dirty: 6,
    };
    let mut cmd = iommu_test_cmd::default();
    cmd.set_args(&dirty);
    assert_eq!(cmd.args_as::<iommu_test_dirty>(), dirty);

    // A smaller argument replaces its own bytes only.
    let refs = iommu_test_check_refs { length: 7, uptr: 8, refs: 9, __pad: 0 };
    cmd.set_args(&refs);
    assert_eq!(cmd.args_as::<iommu_test_check_refs>(), refs);
    assert_eq!(cmd.args, [7, 8, 9, 4, 5, 6]);
    assert_eq!((cmd.size, cmd.op, cmd.id, cmd.last), (0, 0, 0, 0));
}
