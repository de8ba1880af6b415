//! What is left when parts go away in any order.

use engine::Node;
use pt::Root;

use super::bench::*;

/// Parts of a program that can go away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Container,
    Group,
    Device,
}

use Part::*;

/// Whatever is closed last ends what was bound, and the PASIDs.
#[test]
fn closing_in_any_order() {
    const ORDERS: [[Part; 3]; 6] = [
        [Container, Group, Device],
        [Container, Device, Group],
        [Group, Container, Device],
        [Group, Device, Container],
        [Device, Container, Group],
        [Device, Group, Container],
    ];
    let engine = engine(&machine(), "2020");
    for order in ORDERS {
        let mut it = Bench::on(&engine, GROUP);
        it.process(1);
        let device = it.device(NAMES[0]).unwrap();
        let dmas = [0, 1].map(|device| it.dma(device));
        let reach = || dmas.each_ref().map(|dma| read(dma, Some(1), VA).is_ok());
        assert_eq!(it.leave(), BUSY, "the device is open");
        let mut left = vec![Container, Group, Device];
        for part in order {
            // a device keeps its group, and that its container
            let holds = left.contains(&Group) || left.contains(&Device);
            assert_eq!(reach(), [holds; 2], "{order:?}: before {part:?}");
            it.client.close(match part {
                Container => it.container,
                Group => it.group,
                Device => device,
            });
            left.retain(|it| *it != part);
        }
        assert_eq!(reach(), [false; 2], "{order:?}");
        // the next one finds nothing
        let mut next = Bench::on(&engine, GROUP);
        assert_eq!(next.alloc(1, 9), Ok(1), "{order:?}");
        assert_eq!(next.unbind(1), OK);
        assert_eq!(next.bind(1, Root(0)), OK);
    }
}

/// A group that leaves takes its tables with it, and comes back without.
#[test]
fn leaving_and_coming() {
    let engine = engine(&machine(), "2020");
    let mut it = Bench::on(&engine, GROUP);
    let dma = it.dma(0);
    for round in 0..50 {
        let root = it.process(1);
        assert_eq!(read(&dma, Some(1), VA), Ok(1), "{round}");
        it.leave().unwrap();
        assert!(read(&dma, Some(1), VA).is_err(), "{round}");
        assert_eq!(it.unbind(1), INVAL, "no driver");
        it.join(it.group).unwrap();
        it.set_iommu(NESTING).unwrap();
        it.map(0, PAGES).unwrap();
        assert_eq!(it.bind(1, root), NOENT, "{round}: PASIDs are gone");
        it.forget_tables();
    }
    // another group may come instead
    it.leave().unwrap();
    let other = it.open(Node::VfioGroup(OTHER)).unwrap();
    it.join(other).unwrap();
    it.set_iommu(NESTING).unwrap();
}

/// Two programs at a time.
#[test]
fn two_programs() {
    let engine = engine(&machine(), "2020");
    std::thread::scope(|scope| {
        for (group, first) in [(GROUP, 1), (OTHER, 1000)] {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..20 {
                    let mut it = Bench::on(engine, group);
                    for pasid in first..first + 4 {
                        it.process(pasid);
                        it.forget_tables();
                    }
                    it.free(0, 1 << 31).unwrap();
                    it.process(first);
                    it.invalidate(&of_domain(1)).unwrap();
                    let device = if group == GROUP { 0 } else { 2 };
                    let reached = read(&it.dma(device), Some(first), VA);
                    assert_eq!(reached, Ok(1), "{round}");
                }
            });
        }
    });
}

/// Two threads of one program, each with a container, of which each gives back the other's PASIDs, too.
#[test]
fn two_threads() {
    let engine = engine(&machine(), "2020");
    let mut it = Bench::on(&engine, GROUP);
    let second = it.second_container(OTHER);
    let root = it.table();
    it.enter(root, VA, DATA[0]);
    let thread = it.thread(second);
    std::thread::scope(|scope| {
        for mut it in [it, thread] {
            scope.spawn(move || {
                for _ in 0..300 {
                    let Ok(pasid) = it.alloc(1, 8) else { continue };
                    // the other thread may have given it back
                    let bound = it.bind(pasid as u32, root);
                    assert!([OK, NOENT].contains(&bound), "{bound:?}");
                    let invalidated = it.invalidate(&of_pasid(1, pasid as u32));
                    assert!([OK, NOENT, INVAL].contains(&invalidated), "{invalidated:?}");
                    it.free(1, 1 << 31).unwrap();
                }
                it.leave().unwrap();
            });
        }
    });
    for device in [0, 1, 2] {
        let dma = engine.dma(device).unwrap();
        assert!((1..9).all(|pasid| read(&dma, Some(pasid), VA).is_err()), "device {device}");
    }
}
