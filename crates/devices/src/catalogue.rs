//! Which devices there are, and how one is asked for: `nvme,size=1G`.
//!
//! A device's name comes first, then settings, each once at most. A comma in a value is doubled.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use engine::{Dma, Interrupts, Model};
use thiserror::Error;

use crate::{Identity, Latency, dmatest, dsa, igb, ioat, nvme};

/// Every device.
pub const ALL: &[&Entry] = &[&dmatest::ENTRY, &nvme::ENTRY, &ioat::ENTRY, &dsa::ENTRY, &igb::ENTRY];

/// A kind of device.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// How it is known on the bus.
    pub identity: Identity,
    /// Whether it makes use of PASIDs, translations of its own and page requests, where its place has
    /// them.
    pub shares_memory: bool,
    /// What can be set.
    pub settings: &'static [Setting],
    pub(crate) recipe: fn(&Values<'_>) -> Result<Recipe, BadDevice>,
}

/// Something that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What it is where nothing is said.
    pub default: &'static str,
}

/// How long completions take: a setting of every device.
pub(crate) const LATENCY: Setting = Setting {
    name: "latency",
    what: "time to a completion: 20us, or 0..100us for any up to that",
    default: "0",
};

/// Makes the device that was asked for.
pub type Recipe = Box<dyn FnOnce(Dma, Interrupts) -> io::Result<Arc<dyn Model>> + Send>;

/// A device that was asked for, and can be had.
pub struct Wanted {
    /// Its kind.
    pub entry: &'static Entry,
    /// How it is made.
    pub recipe: Recipe,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("entry", &self.entry.name).finish_non_exhaustive()
    }
}

/// There is no such device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadDevice {
    /// No device has this name.
    #[error("unknown device \"{name}\"; known: {}", names(ALL.iter().map(|it| it.name)))]
    Unknown {
        /// The name.
        name: String,
    },
    /// It has no such setting.
    #[error("device {device}: unknown setting \"{setting}\"; known: {known}")]
    UnknownSetting {
        /// The device.
        device: &'static str,
        /// The setting.
        setting: String,
        /// What there is.
        known: String,
    },
    /// What follows the name is no setting.
    #[error("device {device}: \"{text}\" is no setting; write it as name=value")]
    NoSetting {
        /// The device.
        device: &'static str,
        /// What was written.
        text: String,
    },
    /// A setting has two values.
    #[error("device {device}: {setting} is set twice")]
    Twice {
        /// The device.
        device: &'static str,
        /// The setting.
        setting: String,
    },
    /// A setting cannot have this value.
    #[error("device {device}: {setting} is \"{value}\": {rule}")]
    BadValue {
        /// The device.
        device: &'static str,
        /// The setting.
        setting: &'static str,
        /// The value.
        value: String,
        /// What it must be.
        rule: String,
    },
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl Wanted {
    /// Reads what is asked for.
    pub fn parse(text: &str) -> Result<Self, BadDevice> {
        let mut parts = split(text).into_iter();
        let name = parts.next().unwrap_or_default();
        let found = ALL.iter().find(|entry| entry.name == name);
        let entry = *found.ok_or(BadDevice::Unknown { name })?;
        let mut given = BTreeMap::new();
        for part in parts {
            let device = entry.name;
            let Some((setting, value)) = part.split_once('=') else {
                return Err(BadDevice::NoSetting { device, text: part });
            };
            let setting = setting.to_owned();
            if !entry.settings.iter().any(|known| known.name == setting) {
                let known = names(entry.settings.iter().map(|known| known.name));
                return Err(BadDevice::UnknownSetting { device, setting, known });
            }
            if given.insert(setting.clone(), value.to_owned()).is_some() {
                return Err(BadDevice::Twice { device, setting });
            }
        }
        let recipe = (entry.recipe)(&Values { entry, given: &given })?;
        Ok(Self { entry, recipe })
    }
}

/// The parts between single commas; of two in a row one is meant.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == ',' && letters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

/// The settings of a device that is asked for.
#[derive(Debug)]
pub(crate) struct Values<'v> {
    entry: &'static Entry,
    given: &'v BTreeMap<String, String>,
}

impl Values<'_> {
    /// The value of a setting that the device has.
    pub fn text(&self, setting: &Setting) -> &str {
        self.given.get(setting.name).map_or(setting.default, |value| value)
    }

    /// Refuses a value.
    pub fn bad(&self, setting: &Setting, rule: impl Into<String>) -> BadDevice {
        let value = self.text(setting).to_owned();
        let (device, setting) = (self.entry.name, setting.name);
        BadDevice::BadValue { device, setting, value, rule: rule.into() }
    }

    /// A number.
    pub fn number(&self, setting: &Setting, range: RangeInclusive<u64>) -> Result<u64, BadDevice> {
        let read = number(self.text(setting)).filter(|it| range.contains(it));
        let (first, last) = range.into_inner();
        read.ok_or_else(|| self.bad(setting, format!("must be a number from {first} to {last}")))
    }

    /// A number of bytes.
    pub fn bytes(&self, setting: &Setting) -> Result<u64, BadDevice> {
        let rule = "must be a number of bytes such as 65536, 512M or 1G";
        bytes(self.text(setting)).ok_or_else(|| self.bad(setting, rule))
    }

    /// log2 of a number of bytes.
    pub fn order(&self, setting: &Setting, range: RangeInclusive<u32>) -> Result<u8, BadDevice> {
        let bytes = self.bytes(setting)?;
        let order = bytes.trailing_zeros();
        if !bytes.is_power_of_two() || !range.contains(&order) {
            let (first, last) = (1u64 << range.start(), 1u64 << range.end());
            return Err(self.bad(setting, format!("must be a power of two from {first} to {last}")));
        }
        Ok(order as u8)
    }

    /// Whether something is on.
    pub fn is_on(&self, setting: &Setting) -> Result<bool, BadDevice> {
        match self.text(setting) {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(self.bad(setting, "must be on or off")),
        }
    }

    /// A time, or times up to one.
    pub fn latency(&self) -> Result<Latency, BadDevice> {
        let read = || {
            let text = self.text(&LATENCY);
            match text.strip_prefix("0..") {
                // any seed will do; it is the same in each run
                Some(max) => Some(Latency::Random { max: time(max)?, seed: 1 }),
                None if text == "0" => Some(Latency::None),
                None => Some(Latency::Fixed(time(text)?)),
            }
        };
        read().ok_or_else(|| self.bad(&LATENCY, "must be a time such as 20us, 1ms or 0..100us"))
    }
}

/// A number of ns, us, ms or s.
fn time(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let nanos = match &text[digits.len()..] {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    Some(Duration::from_nanos(number(digits)?.checked_mul(nanos)?))
}

/// A number of bytes, KiB (K), MiB (M), GiB (G) or TiB (T).
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_uppercase());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number(digits)?.checked_mul(1 << shift)
}

/// Digits alone: no sign, no space.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        #[rustfmt::skip] // one device, one line
        let cases: &[(&str, Option<&str>)] = &[
            ("dmatest",                          None),
            ("dmatest,latency=20us",             None),
            ("dmatest,latency=0..3s",            None),
            ("dmatest,dma-logging=on",           None),
            ("dmatest,dma-logging=yes",          Some("device dmatest: dma-logging is \"yes\": must be on or off")),
            ("",                                 Some("unknown device \"\"; known: ")),
            ("dmatests",                         Some("unknown device \"dmatests\"; known: ")),
            ("dmatest,",                         Some("device dmatest: \"\" is no setting; write it as name=value")),
            ("dmatest,latency",                  Some("device dmatest: \"latency\" is no setting; write it as name=value")),
            ("dmatest,size=1",                   Some("device dmatest: unknown setting \"size\"; known: dma-logging, latency")),
            ("dmatest,latency=1ms,latency=2ms",  Some("device dmatest: latency is set twice")),
            ("dmatest,latency=1",                Some("device dmatest: latency is \"1\": must be a time such as 20us, 1ms or 0..100us")),
            ("dmatest,latency=+1us",             Some("device dmatest: latency is \"+1us\": must be a time")),
            ("nvme,size=1G,path=/a,,b,block=4096,serial=x,namespaces=3", None),
            ("nvme,size=1g",                     Some("device nvme: size is \"1g\": must be a number of bytes")),
            ("nvme,size=99999999999T",           Some("device nvme: size is \"99999999999T\": must be a number of bytes")),
            ("nvme,size=1K",                     Some("device nvme: size is \"1K\": must be 4096 at least")),
            ("nvme,namespaces=0",                Some("device nvme: namespaces is \"0\": must be a number from 1 to 256")),
            ("nvme,serial=12345678901234567890", None),
            ("nvme,serial=123456789012345678901", Some("device nvme: serial is \"123456789012345678901\": must be up to 20 ASCII characters")),
            ("nvme,serial=\u{e4}",               Some("device nvme: serial is \"\u{e4}\": must be up to 20 ASCII characters")),
            ("nvme,block=1024",                  Some("device nvme: block is \"1024\": must be 512 or 4096")),
            ("ioat,version=3.4,transfer=4K,latency=1us", None),
            ("ioat,version=3.5",                 Some("device ioat: version is \"3.5\": must be 3.3 or 3.4")),
            ("ioat,transfer=2M",                 Some("device ioat: transfer is \"2M\": must be a power of two from 4096 to 1048576")),
            ("dsa,queues=2,transfer=2G,page-requests=off,handles=on", None),
            ("dsa,transfer=5000",                Some("device dsa: transfer is \"5000\": must be a power of two from 4096 to 2147483648")),
            ("dsa,queues=9",                     Some("device dsa: queues is \"9\": must be a number from 1 to 8")),
            ("dsa,handles=1",                    Some("device dsa: handles is \"1\": must be on or off")),
            ("igb,latency=0..5us",               None),
            ("dmatest,latency=99999999999s",     Some("device dmatest: latency is \"99999999999s\": must be a time")),
        ];
        for (text, expected) in cases {
            let told = Wanted::parse(text).err().map(|bad| bad.to_string());
            match (told, expected) {
                (None, None) => {}
                (Some(told), Some(expected)) if told.starts_with(expected) => {}
                (told, _) => panic!("{text}: {told:?}"),
            }
        }
    }

    #[test]
    fn a_comma_of_a_value_is_doubled() {
        assert_eq!(split("a,b=1,,2,c"), ["a", "b=1,2", "c"]);
        assert_eq!(split(""), [""]);
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> = ALL.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for entry in ALL {
            assert!(Wanted::parse(entry.name).is_ok(), "{}: defaults", entry.name);
        }
    }
}
