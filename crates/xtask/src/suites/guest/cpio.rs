//! An initial file system in the kernel's format (`Documentation/driver-api/early-userspace/buffer-format.rst`,
//! "newc"): a console, a program as `/init`, and modules as `/0.ko` and so on.

/// File types and permissions (`st_mode`).
const FOLDER: u32 = 0o040_755;
const CONSOLE: u32 = 0o020_600;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// Device number of `/dev/console`, without which `/init` has no output.
const CONSOLE_NUMBER: (u32, u32) = (5, 1);

/// The whole archive.
pub fn archive(init: &[u8], modules: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, 1, "dev", FOLDER, (0, 0), &[]);
    entry(&mut archive, 2, "dev/console", CONSOLE, CONSOLE_NUMBER, &[]);
    entry(&mut archive, 3, "init", PROGRAM, (0, 0), init);
    for (inode, (number, module)) in (4..).zip(modules.iter().enumerate()) {
        entry(&mut archive, inode, &format!("{number}.ko"), FILE, (0, 0), module);
    }
    entry(&mut archive, 0, "TRAILER!!!", 0, (0, 0), &[]);
    archive
}

fn entry(to: &mut Vec<u8>, inode: u32, name: &str, mode: u32, number: (u32, u32), content: &[u8]) {
    let (links, length, name_length) = (1, content.len() as u32, name.len() as u32 + 1);
    #[rustfmt::skip] // the order of the format
    let fields = [
        inode, mode, 0, 0, links, 0, length, 0, 0, number.0, number.1, name_length, 0,
    ];
    to.extend_from_slice(b"070701");
    fields.iter().for_each(|field| to.extend_from_slice(format!("{field:08X}").as_bytes()));
    to.extend_from_slice(name.as_bytes());
    to.push(0);
    align(to);
    to.extend_from_slice(content);
    align(to);
}

/// Everything begins at a multiple of 4.
fn align(to: &mut Vec<u8>) {
    to.resize(to.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the format again: names, modes and contents.
    fn read(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        while let Some(head) = archive.get(..110) {
            assert_eq!(&head[..6], b"070701");
            let field = |number: usize| {
                let text = std::str::from_utf8(&head[6 + 8 * number..][..8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let name = 110 + field(11) as usize;
            let content = name.next_multiple_of(4);
            let end = content + field(6) as usize;
            entries.push((
                String::from_utf8(archive[110..name - 1].to_vec()).unwrap(),
                field(1),
                archive[content..end].to_vec(),
            ));
            archive = &archive[end.next_multiple_of(4)..];
        }
        assert!(archive.is_empty());
        entries
    }

    #[test]
    fn what_is_written_is_read() {
        for length in 0..9 {
            let init = vec![b'x'; length];
            let modules = [vec![b'a'; length + 1], vec![]];
            let entries = read(&archive(&init, &modules));
            let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
            assert_eq!(names, ["dev", "dev/console", "init", "0.ko", "1.ko", "TRAILER!!!"]);
            assert_eq!(entries[2], ("init".into(), PROGRAM, init));
            let [first, second] = modules;
            assert_eq!(entries[3], ("0.ko".into(), FILE, first));
            assert_eq!(entries[4], ("1.ko".into(), FILE, second));
        }
    }
}
