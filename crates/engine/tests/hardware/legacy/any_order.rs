//! Whatever is called in whatever order, nothing is left when all is closed.

use std::sync::atomic::Ordering;

use mem::AddressSpace;
use proptest::prelude::*;

use super::*;
use crate::table::OK;

/// A call, with numbers that choose among what is open.
#[derive(Clone, Debug)]
enum Step {
    OpenGroup(bool),
    OpenContainer,
    Put(usize, usize),
    Take(usize),
    SetIommu(usize, u64),
    Map(usize, u64, u64, u32),
    Unmap(usize, u64, u64, u32),
    Device(usize, usize),
    Bind(usize),
    Close(usize),
    Status(usize),
    Any(usize, u32, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let fd = || 0..12_usize;
    prop_oneof![
        any::<bool>().prop_map(Step::OpenGroup),
        Just(Step::OpenContainer),
        (fd(), fd()).prop_map(|(group, to)| Step::Put(group, to)),
        fd().prop_map(Step::Take),
        (fd(), 0..11_u64).prop_map(|(fd, kind)| Step::SetIommu(fd, kind)),
        (fd(), 0..20_u64, 0..4_u64, 0..8_u32).prop_map(|(fd, at, n, f)| Step::Map(fd, at, n, f)),
        (fd(), 0..20_u64, 0..9_u64, 0..8_u32).prop_map(|(fd, at, n, f)| Step::Unmap(fd, at, n, f)),
        (fd(), 0..3_usize).prop_map(|(fd, device)| Step::Device(fd, device)),
        (0..3_usize).prop_map(Step::Bind),
        fd().prop_map(Step::Close),
        fd().prop_map(Step::Status),
        (fd(), 0x3b64..0x3b7b_u32, any::<u64>()).prop_map(|(fd, cmd, arg)| Step::Any(fd, cmd, arg)),
    ]
}

fn take(l: &mut Legacy, open: &mut Vec<i32>, step: &Step) {
    const NAMES: [&str; 3] = ["0000:6a:01.0", "0000:6a:01.1", "0000:6a:02.0"];
    let fd = |number: usize| (!open.is_empty()).then(|| open[number % open.len()]);
    let opened = match *step {
        Step::OpenGroup(other) => l.open_group(if other { OTHER } else { GROUP }).ok(),
        Step::OpenContainer => l.open(Node::VfioContainer).ok(),
        Step::Bind(card) => l.host.bind(card, l.host.fd).ok().and(None),
        Step::Put(group, to) => fd(group).zip(fd(to)).and_then(|(a, b)| l.put(a, b).ok()).and(None),
        Step::Take(group) => fd(group).and_then(|fd| l.take(fd).ok()).and(None),
        Step::SetIommu(at, kind) => {
            fd(at).and_then(|fd| l.call(fd, VFIO_SET_IOMMU, kind).ok()).and(None)
        }
        Step::Map(at, iova, pages, flags) => fd(at).and_then(|fd| {
            l.container = fd;
            l.map_with(flags, MEMORY, iova * PAGE, pages * PAGE).ok().and(None)
        }),
        Step::Unmap(at, iova, pages, flags) => fd(at).and_then(|fd| {
            l.container = fd;
            let (iova, size) = (iova * PAGE, pages * PAGE);
            let mut cmd = vfio_iommu_type1_dma_unmap { argsz: 24, flags, iova, size };
            l.host.vfio(fd, VFIO_IOMMU_UNMAP_DMA, &mut cmd).ok().and(None)
        }),
        Step::Device(at, device) => fd(at).and_then(|fd| {
            l.group = fd;
            l.device(NAMES[device]).ok()
        }),
        Step::Status(at) => fd(at).and_then(|fd| {
            let mut status = vfio_group_status { argsz: 8, flags: 0 };
            l.host.vfio(fd, VFIO_GROUP_GET_STATUS, &mut status).ok().and(None)
        }),
        Step::Any(at, cmd, arg) => fd(at).and_then(|fd| l.call(fd, cmd, arg).ok()).and(None),
        Step::Close(at) => {
            if let Some(fd) = fd(at) {
                l.close(fd);
                open.retain(|it| *it != fd);
            }
            None
        }
    };
    open.extend(opened);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_left(steps in prop::collection::vec(step(), 0..60)) {
        let mut l = Legacy::new(&machine(), Kernel::newest());
        let mut open = vec![l.group, l.container, l.host.fd];
        for step in &steps {
            take(&mut l, &mut open, step);
        }
        for fd in open.into_iter().chain(l.host.cards.clone()) {
            l.close(fd);
        }
        let accounts = l.host.client.memory.accounts();
        prop_assert_eq!(accounts.locked_vm.load(Ordering::Relaxed), 0);
        prop_assert_eq!(accounts.pinned_vm.load(Ordering::Relaxed), 0);
        for device in 0..3 {
            prop_assert!((0..20).all(|page| l.read(device, page * PAGE).is_none()));
        }
        // and every device can be had in either way
        let engine = Arc::clone(&l.host.engine);
        for (number, group) in [(0, GROUP), (2, OTHER)] {
            l.group = l.open_group(group).unwrap();
            l.container = l.open(Node::VfioContainer).unwrap();
            prop_assert_eq!(l.put(l.group, l.container), OK);
            l.close(l.group);
            let fd = l.host.client.open_on(&engine);
            let card = l.host.open_card(number).unwrap();
            prop_assert!(l.host.bind_card(card, fd).is_ok());
        }
    }
}
